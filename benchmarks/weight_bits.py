"""May the page's weights be stored in 8 bits? The judge looks at pictures of the same graphs, from
the same noise, with weights of 16 and of 8 bits.

    python benchmarks/weight_bits.py    # some minutes on two cores

Eight bits: each output of a layer has a scale of its own, the largest of its weights is 127, and all
are rounded to whole numbers; biases and norms stay as they are. The rule, written down before: 8
bits are enough where the 95 % interval of the difference from 16 lies within 2 points either way,
for graphs whose objects are exactly there and for all relations together, and no family of relations
has an interval wholly below 0; as for the number of steps (`benchmarks/steps.py`). Writes
benchmarks/weight_bits.json, which notebook `app/onnx_graphs` shows.
"""
import argparse
import copy
from pathlib import Path

import numpy as np
import torch

from steps import LIMIT, SEED, compare, is_enough, outcomes
from sgdiff.errors import default_weights, save_json
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.judge import load_judge
from sgdiff.toy.world import EASY, make_dataset


@torch.no_grad()
def in_eighth(module):  # -> a copy
    "The module with its matrices and kernels rounded to what 8 bits can say."
    rounded = copy.deepcopy(module)
    for weight in rounded.parameters():
        if weight.ndim < 2: continue
        scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        scale = scale.view(-1, *[1] * (weight.ndim - 1))
        weight.copy_((weight / scale).round() * scale)
    return rounded


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=300, help="held-out graphs, one picture each")
    parser.add_argument("--weights", default=default_weights())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    pipe = SGDiffPipeline.from_pretrained(args.weights)
    judge = load_judge(Path(args.weights) / "judge")
    graphs = make_dataset(EASY, args.graphs, SEED, "test", progress=False).graphs
    sixteen = outcomes(pipe, judge, graphs, 16)
    for name in ("graph_encoder", "unet", "vae"):
        setattr(pipe, name, in_eighth(getattr(pipe, name)))
    eight = outcomes(pipe, judge, graphs, 16)
    rows = np.random.default_rng(0).integers(0, len(graphs), (5000, len(graphs)))
    report = {bits: compare(found, sixteen, rows) for bits, found in (("16", sixteen), ("8", eight))}
    report |= {"graphs": len(graphs), "seed": SEED, "limit": LIMIT, "enough": is_enough(report["8"])}
    save_json(report, args.out)
    print(f"8 bits are {'enough' if report['enough'] else 'not shown to be enough'}")
    for name, row in report["8"].items(): print(name, row)


if __name__ == "__main__":
    main()
