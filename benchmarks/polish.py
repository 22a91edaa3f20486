"""What the stage `polish` buys: the same run asked before and after it, with everything else held
equal.

    sgdiff train --stage all --preset shipped    # first: leaves runs/shipped
    python benchmarks/polish.py

Both draw the same held-out graphs from the same noise (other scenes than those of `sgdiff
evaluate`), with the run's last decoder, and the shipped judge looks at the pictures. Writes
benchmarks/polish.json, which notebook `toy/recipes` shows.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path

from sgdiff.errors import default_weights, load_json, save_json
from sgdiff.toy.compliance import evaluate
from sgdiff.toy.judge import load_judge
from sgdiff.toy.recipes import Preset, assemble
from sgdiff.toy.world import EASY, FAMILIES, make_dataset

ROOT = Path(__file__).resolve().parents[1]
N_SCENES, SEED = 600, 700


def examine(pipe) -> dict:  # as `evaluate` returns it
    "What the judge finds in pictures of the held-out graphs."
    test = make_dataset(EASY, N_SCENES, SEED, split="test", progress=False)
    draw = lambda graphs, seed: pipe(graphs, seed=seed).pixels
    return evaluate(
        draw,
        test.graphs,
        load_judge(default_weights() / "judge"),
        seeds=(0,),
        real=test.pixels(range(N_SCENES)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run",
        type=Path,
        default=ROOT / "runs" / "shipped",
        help="folder of a finished run that was polished",
    )
    args = parser.parse_args()
    if not (args.run / "polish" / "model.safetensors").exists():
        sys.exit(f"{args.run} holds no polished run: train one, or name it with --run")
    after = Preset(**load_json(args.run / "preset.json"))
    report = {"scenes": N_SCENES, "seed": SEED}
    for name, preset in (("before", replace(after, polish_steps=0)), ("after", after)):
        report[name] = examine(assemble(preset, args.run))
        print(name, {k: v["true"]["of_real"] for k, v in report[name].items() if k in FAMILIES})
    save_json(report, ROOT / "benchmarks" / "polish.json")


if __name__ == "__main__":
    main()
