"""How long a picture takes, after loading: one image, a grid of four, an edit. Medians, and ratios
that hold on other machines.

    python benchmarks/latency.py [--weights data/toy] [--threads 2] [--repeats 7] [--out FILE]

The numbers go to benchmarks/latency.json, which notebook `cli` shows. Run it on a machine that does
nothing else.
"""
import argparse
import statistics
import time
from pathlib import Path

import torch

from sgdiff.errors import default_weights, save_json
from sgdiff.method.pipeline import SGDiffPipeline

GRAPH = "sheep looking at tree; sheep left of tree; sky above grass"
FIGURES = Path(__file__).with_suffix(".json")


def median_seconds(run, repeats):
    "The median time of `run()`, after one run that is not counted."
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--weights", default=default_weights())
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=7)
    p.add_argument("--out", default=FIGURES, help="JSON file for the figures")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    pipe = SGDiffPipeline.from_pretrained(args.weights)
    jobs = {
        "one image": lambda: pipe(GRAPH, seed=0),
        "four images": lambda: pipe(GRAPH, seed=0, num_images_per_graph=4),
        "edit (before and after)": lambda: pipe.edit(GRAPH, "replace sheep by dog", seed=0),
        "one image, relations as objects": lambda: pipe(GRAPH, seed=0, relation_scale=0.0),
        "one image, no guidance": lambda: pipe(
            GRAPH, seed=0, guidance_scale=1.0, relation_scale=0.0
        ),
    }
    seconds = {name: median_seconds(run, args.repeats) for name, run in jobs.items()}
    save_json(
        {
            "threads": args.threads, "repeats": args.repeats, "torch": torch.__version__,
            "seconds": {name: round(s, 4) for name, s in seconds.items()},
        },
        args.out,
    )
    print(f"{args.threads} threads, the default steps, median of {args.repeats}")
    for name, s in seconds.items():
        print(f"{name:32s} {s:6.3f} s   {s / seconds['one image']:5.2f} x one image")


if __name__ == "__main__":
    main()
