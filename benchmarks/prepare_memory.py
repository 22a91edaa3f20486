"""How much memory and time `sgdiff prepare vg` needs for a data set of Visual Genome's size.

Written, read and removed again: made-up annotations in the format of v1.4 in Visual Genome's
numbers (108,077 images with 35 objects, 26 attributes and 21 relationships on average; Krishna et
al., arXiv 1602.07332), and as many photographs, which are one grey JPEG with many names. So
everything is true to size but the pictures' contents: decoding real ones takes longer, not more
memory. Words are so unevenly common that about 178 kinds of objects are left, as in the true files;
relationships are rather told of common things, and a quarter of them have a merged end.

    python benchmarks/prepare_memory.py [--images 108077] [--folder /tmp] [--no-photographs]
"""
import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# of an image, on average
OBJECTS, ATTRIBUTES, RELATIONSHIPS = 3.8e6 / 108_077, 2.8e6 / 108_077, 2.3e6 / 108_077
WIDTH, HEIGHT = 500, 375                                        # of every image
# different words: the paper's table 1
KINDS = {"object": 33_877, "attribute": 68_111, "predicate": 42_374}
LINKS = 20_000  # names of one file; file systems allow so many and no more


def chances(n, shift, power):
    "(n,) how often each word is said: 1 / (rank + shift) ** power."
    p = 1 / (np.arange(n) + 1 + shift) ** power
    return p / p.sum()


class Words:
    "Draws words, a million at a time."
    def __init__(self, kind, rng, shift, power):
        self.kind = kind
        self.p = chances(KINDS[kind], shift, power)
        self.rng = rng
        self.drawn = iter(())

    def __next__(self):
        word = next(self.drawn, None)
        if word is None:
            self.drawn = iter(self.rng.choice(len(self.p), 1_000_000, p=self.p).tolist())
            word = next(self.drawn)
        return f"{self.kind} {word}"


def things(key, first, rng, words):
    "The objects of an image; one in seven has taken in another, as in the true files."
    n = 1 + rng.poisson(OBJECTS - 1)
    x, y = rng.integers(0, WIDTH - 20, n).tolist(), rng.integers(0, HEIGHT - 20, n).tolist()
    w, h = (np.minimum(20 + rng.exponential(110, n), 300).astype(int).tolist() for _ in range(2))
    for i, merged in enumerate((rng.random(n) < 1 / 7).tolist()):
        name = next(words)
        yield {
            "synsets": [f"{name}.n.01"],
            "h": h[i],
            "object_id": first + i,
            "merged_object_ids": [first + i + 10_000_000] if merged else [],
            "names": [name],
            "w": w[i],
            "y": y[i],
            "x": x[i],
        }


def end(thing, gone):
    """An end of a relationship as v1.4 tells it; `gone`: by the id of an object that was merged
    away."""
    told = {k: v for k, v in thing.items() if k not in ("names", "merged_object_ids")} | {
        "name": thing["names"][0]
    }
    return (
        told | {"object_id": thing["merged_object_ids"][0]}
        if gone and thing["merged_object_ids"]
        else told
    )


def relations(found, first, rng, words):
    "The relationships of an image; the commoner its word, the likelier is a thing to have some."
    n = rng.poisson(RELATIONSHIPS)
    common = sorted(range(len(found)), key=lambda i: int(found[i]["names"][0].split()[1]))
    rows = np.array(common)[(len(found) * rng.random((n, 2)) ** 2).astype(int)].tolist()
    gone = (rng.random((n, 2)) < 0.9).tolist()
    for k in range(n):
        subject, object_ = (end(found[i], g) for i, g in zip(rows[k], gone[k], strict=True))
        yield {
            "predicate": next(words).upper() if k % 5 == 0 else next(words),
            "object": object_,
            "relationship_id": first + k,
            "synsets": [],
            "subject": subject,
        }


def attributes(found, rng, words):
    "The same objects with what is said of them."
    for thing, n in zip(found, rng.poisson(ATTRIBUTES / OBJECTS, len(found)).tolist(), strict=True):
        yield {k: v for k, v in thing.items() if k != "merged_object_ids"} | (
            {"attributes": [next(words) for _ in range(n)]} if n else {}
        )


def write(raw, n, seed=0):
    """Writes the raw files of n images, record by record; (objects, attributes, relationships) come
    back."""
    raw.mkdir(parents=True)
    rng, count = np.random.default_rng(seed), [0, 0, 0]
    words = [
        Words("object", rng, 5, 1.2), Words("attribute", rng, 2, 1.2),
        Words("predicate", rng, 0, 1.3),
    ]
    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context(open(raw / f"{name}.json", "w"))
            for name in ("image_data", "objects", "attributes", "relationships")
        }
        for key in range(1, n + 1):
            found = list(things(key, 100 * key, rng, words[0]))
            said = list(attributes(found, rng, words[1]))
            told = list(relations(found, 100 * key, rng, words[2]))
            image = {
                "width": WIDTH,
                "url": f"https://cs.stanford.edu/people/rak248/VG_100K/{key}.jpg",
                "height": HEIGHT,
                "image_id": key,
                "coco_id": None,
                "flickr_id": None,
            }
            records = {
                "image_data": image,
                "objects": {"image_id": key, "objects": found},
                "attributes": {"image_id": key, "attributes": said},
                "relationships": {"relationships": told, "image_id": key},
            }
            for name, record in records.items():
                files[name].write(("[" if key == 1 else ", ") + json.dumps(record))
            count = [
                a + b
                for a, b in zip(
                    count,
                    (len(found), sum(len(t.get("attributes", ())) for t in said), len(told)),
                    strict=True,
                )
            ]
        for file in files.values(): file.write("]")
    for kind in ("object", "relationship"): (raw / f"{kind}_alias.txt").write_text("")
    a, b = round(0.8 * n), round(0.9 * n)  # train, val, test as in sg2im: 8, 1 and 1 tenths
    (raw / "vg_splits.json").write_text(
        json.dumps(
            {
                "train": list(range(1, a + 1)),
                "val": list(range(a + 1, b + 1)),
                "test": list(range(b + 1, n + 1)),
            }
        )
    )
    return count


def write_photographs(folder, n):
    "One JPEG under n names; a new copy whenever a file has as many as a file system allows."
    folder.mkdir(parents=True)
    for key in range(1, n + 1):
        path = folder / f"{key}.jpg"
        if key % LINKS == 1: Image.new("RGB", (WIDTH, HEIGHT), "gray").save(path)
        else: os.link(folder / f"{key - (key - 1) % LINKS}.jpg", path)


def prepare(folder, photographs, least):
    "Runs the command in a process of its own; its output comes back."
    command = [
        sys.executable, "-m", "sgdiff.cli", "prepare", "vg", "--raw", str(folder / "raw"), "--out",
        str(folder / "out"), "--quiet",
    ]
    if photographs: command += ["--images", str(folder / "images")]
    for kind, usual in (("object", 2000), ("attribute", 2000), ("predicate", 500)):
        if least < 1: command += [f"--min-{kind}-instances", str(max(1, round(usual * least)))]
    done = subprocess.run(
        command, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    )
    if done.returncode: sys.exit(done.stderr)
    return done.stdout


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--images", type=int, default=108_077, help="how many (default: all of Visual Genome's)"
    )
    p.add_argument(
        "--folder", help="where to write 2 GB for a while (default: the system's folder for such)"
    )
    p.add_argument(
        "--no-photographs", action="store_true", help="prepare without looking at images"
    )
    args = p.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder, start = Path(name), time.perf_counter()
        count = write(folder / "raw", args.images)
        if not args.no_photographs: write_photographs(folder / "images" / "VG_100K", args.images)
        size = sum(f.stat().st_size for f in (folder / "raw").iterdir()) / 1e9
        print(
            f"{args.images:,} images, {count[0]:,} objects, {count[1]:,} attributes, {count[2]:,} "
            f"relationships, {size:.2f} GB of JSON, "
            f"written in {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        start = time.perf_counter()
        print(
            prepare(folder, not args.no_photographs, args.images / 108_077).replace(name, "FOLDER")
        )
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(
            f"prepared in {seconds:.0f} s; highest memory "
            f"{peak / (2**30 if sys.platform == 'darwin' else 2**20):.2f} GB"
        )


if __name__ == "__main__": main()
