"""How many sampling steps are enough? The judge looks at pictures of the same graphs, from the same
noise, in 4 to 30 steps.

    python benchmarks/steps.py    # a quarter of an hour on two cores; stopped, it goes on

The rule, written down before the first picture was drawn: take the smallest number of steps for
which, and for every larger one, the 95 % interval of the difference from 30 steps lies within 2
points either way, for graphs whose objects are exactly there and for all relations together, and no
family of relations has an interval wholly below 0. Differences are paired, graph by graph, and the
intervals come from drawing the graphs again 5,000 times (bootstrap). Writes benchmarks/steps.json,
which notebook `comparisons/steps_and_guidance` shows.
"""
import argparse
from pathlib import Path

import numpy as np

from sgdiff.errors import default_weights, load_json, save_json
from sgdiff.toy.compliance import compliance
from sgdiff.toy.judge import load_judge
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.world import EASY, FAMILIES, make_dataset

ROOT = Path(__file__).resolve().parents[1]
COUNTS, BATCH, SEED, LIMIT = (4, 6, 8, 10, 12, 16, 20, 30), 20, 700, 0.02


def outcomes(
    pipe, judge, graphs, n,
) -> list:  # for each graph {"objects": [1 or 0, 1], family: [found, asked]}
    "What the judge finds in one picture of each graph."
    found = []
    for start in range(0, len(graphs), BATCH):
        some = graphs[start:start + BATCH]
        pixels = pipe(list(some), seed=start, num_inference_steps=n).pixels
        for image, graph in zip(pixels, some, strict=True):
            seen = compliance(image[None], [graph], judge)
            found.append(
                {"objects": [round(seen["objects"]["exact"]), 1]}
                | {
                    f: [round((seen[f]["true"] or 0) * seen[f]["n"]), seen[f]["n"]]
                    for f in FAMILIES
                }
            )
    return found


def kept(path, make):
    "What the file holds; made and written first where it is not there."
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_json(make(), path)
    return load_json(path)


def counts(found) -> dict:  # name -> (graphs, 2) int: found, asked
    "The outcomes as arrays; `relations` are those of all families together."
    table = {name: np.array([row[name] for row in found]) for name in ("objects", *FAMILIES)}
    return table | {"relations": sum(table[f] for f in FAMILIES)}


def share(table, rows):  # (graphs, 2), (..., graphs) row numbers -> (...)
    "Found of asked among these graphs."
    found, asked = np.moveaxis(table[rows].sum(-2), -1, 0)
    return found / np.maximum(asked, 1)


def compare(found, yardstick, rows) -> dict:  # name -> share, n, difference, interval
    "Shares, and their differences from the yardstick's with a 95 % interval."
    ours, theirs, report = counts(found), counts(yardstick), {}
    for name, table in ours.items():
        everyone = np.arange(len(table))
        difference = share(table, everyone) - share(theirs[name], everyone)
        interval = np.quantile(share(table, rows) - share(theirs[name], rows), [0.025, 0.975])
        report[name] = {
            "share": round(float(share(table, everyone)), 4),
            "n": int(table[:, 1].sum()),
            "difference": round(float(difference), 4),
            "interval": [round(float(v), 4) for v in interval],
        }
    return report


def is_enough(report) -> bool:
    "The rule, for one number of steps."
    within = all(
        abs(end) <= LIMIT for name in ("objects", "relations") for end in report[name]["interval"]
    )
    return within and all(report[f]["interval"][1] >= 0 for f in FAMILIES)


def chosen(steps) -> int:  # steps: number of steps -> report
    "The smallest number that is enough, as are all above it."
    enough = [n for n in COUNTS if all(is_enough(steps[m]) for m in COUNTS if m >= n)]
    return min(enough)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", type=int, default=600, help="held-out graphs, one picture each")
    parser.add_argument("--weights", default=default_weights())
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "runs" / "steps",
        help="where outcomes are kept until all are there",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    pipe = SGDiffPipeline.from_pretrained(args.weights)
    judge = load_judge(Path(args.weights) / "judge")
    graphs = list(make_dataset(EASY, args.graphs, SEED, split="test", progress=False).graphs)
    found = {}
    for n in COUNTS[::-1]:
        found[n] = kept(
            args.work / f"{args.graphs}-{n}.json", lambda n=n: outcomes(pipe, judge, graphs, n)
        )
        print(
            n,
            "steps:",
            round(float(share(counts(found[n])["objects"], np.arange(len(graphs)))), 4),
            flush=True,
        )
    rows = np.random.default_rng(0).integers(len(graphs), size=(5000, len(graphs)))
    steps = {n: compare(found[n], found[COUNTS[-1]], rows) for n in COUNTS}
    report = {
        "graphs": len(graphs),
        "seed": SEED,
        "sampler": "dpm",
        "limit": LIMIT,
        "chosen": chosen(steps),
        "steps": {str(n): steps[n] for n in COUNTS},
    }
    save_json(report, args.out)
    for n in COUNTS:
        print(
            f"{n:3d} steps",
            *(
                f"{k} {v['share']:.3f} ({v['difference']:+.3f}, {v['interval'][0]:+.3f} to "
                f"{v['interval'][1]:+.3f})"
                for k, v in steps[n].items()
                if k in ("objects", "relations")
            ),
        )
    print("smallest that is enough:", report["chosen"])


if __name__ == "__main__": main()
