"""What `sgdiff train --stage all --preset easy` takes and reaches, from an empty folder.

    python benchmarks/easy_preset.py

Trains into runs/easy_preset (which must not exist) and notes the minutes there; draws held-out
graphs, and writes benchmarks/easy_preset.json and nbs/images/easy_preset.png, which notebook
`toy/recipes` shows. Run it on a machine that does nothing else. With --measure the training is
taken from an earlier run of this program, and only what follows is done.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from PIL import Image

from sgdiff.core import to_uint8
from sgdiff.errors import default_weights
from sgdiff.toy.compliance import evaluate
from sgdiff.toy.judge import load_judge
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.recipes import PRESETS, load_pretraining
from sgdiff.method.retrieval import evaluate_retrieval, flip_test
from sgdiff.training.steps import computes_bf16
from sgdiff.toy.world import EASY, make_dataset

ROOT = Path(__file__).resolve().parents[1]
N_SCENES, N_CANDIDATES, N_SHOWN, SCALE = 300, 1000, 16, 2


def train(out: Path) -> None:
    "Trains every stage, as a reader would; `minutes.json` says how long it took."
    if out.exists(): sys.exit(f"{out} exists: remove it, for the time counts from an empty folder")
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "sgdiff.cli", "train", "--stage", "all", "--preset", "easy",
            "--out", str(out), "--quiet",
        ],
        check=True,
    )
    (out / "minutes.json").write_text(json.dumps((time.perf_counter() - start) / 60))


def measure(weights: Path) -> dict:  # "pictures", "retrieval", "flip_test"
    "What held-out graphs and scenes say of it; the shipped judge looks at the pictures."
    pipe = SGDiffPipeline.from_pretrained(weights)
    pretrained = load_pretraining(weights)
    judge = load_judge(default_weights() / "judge")
    test = make_dataset(EASY, N_SCENES, seed=300, split="test", progress=False)
    candidates = make_dataset(
        EASY, N_CANDIDATES, seed=200, split="test", distinct_graphs=True, progress=False
    )
    pictures = evaluate(
        lambda graphs, seed: pipe(graphs, seed=seed).pixels,
        test.graphs,
        judge,
        seeds=(0,),
        real=test.pixels(range(N_SCENES)),
    )
    return {
        "pictures": pictures,
        "retrieval": evaluate_retrieval(pretrained, candidates, sizes=(64, N_CANDIDATES)),
        "flip_test": flip_test(pretrained, candidates),
    }


def picture(weights: Path) -> Image.Image:
    "Two double rows: true scenes of held-out graphs, and below each what was drawn for its graph."
    test = make_dataset(EASY, 2 * N_SHOWN, seed=500, split="test", progress=False)
    drawn = SGDiffPipeline.from_pretrained(weights)(test.graphs, seed=0).pixels
    rows = [
        half
        for start in (0, N_SHOWN)
        for half in (test.pixels(range(start, start + N_SHOWN)), drawn[start : start + N_SHOWN])
    ]
    image = Image.fromarray(
        to_uint8(torch.cat([torch.cat(list(row), 2) for row in rows], 1)[None])[0]
    )
    return image.resize((image.width * SCALE, image.height * SCALE), Image.NEAREST)


def main() -> None:
    "Trains, measures, writes."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="do not train: the run is there")
    args, out = parser.parse_args(), ROOT / "runs" / "easy_preset"
    if not args.measure: train(out)
    minutes = json.loads((out / "minutes.json").read_text())
    found = measure(out / "weights")
    stages = {
        stage: json.loads((out / stage / "stage.json").read_text())["seconds"]
        for stage in PRESETS["easy"].stages
    }
    told = {
        "minutes": round(minutes, 1),
        "seconds of each stage": stages,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "bfloat16": computes_bf16(torch.device("cpu")),
        "torch": torch.__version__,
        **found,
    }
    (ROOT / "benchmarks" / "easy_preset.json").write_text(json.dumps(told, indent=1) + "\n")
    picture(out / "weights").save(ROOT / "nbs" / "images" / "easy_preset.png", optimize=True)
    print(
        f"{minutes:.1f} minutes; exact set of objects "
        f"{found['pictures']['objects']['exact']['mean']:.1%}"
    )


if __name__ == "__main__": main()
