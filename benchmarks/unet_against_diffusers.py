"""Our UNet in the official form against diffusers' `UNet2DConditionModel` of the same shape: the time of one as a share of the other's.

    python benchmarks/unet_against_diffusers.py     # needs diffusers: pip install -e ".[dev]"

Both have random weights and see the same latents. They run in turn, A B B A ..., and what counts is the median of the ratios of
neighbours: whatever else the machine does slows both. Writes benchmarks/unet_against_diffusers.json, which notebook 12 shows.
"""
import argparse
import gc
import statistics
import time
from functools import partial
from pathlib import Path

import torch

from sgdiff.errors import save_json
from sgdiff.unet import UNet, UNetConfig

SIZES = {"256 channels, batch 1": (256, 1, 30), "64 channels, batch 16": (64, 16, 30)}  # width, images, pairs of runs
PLACES, TOKENS = 32, 16  # latents of 32 x 32 places (256 pixels); 15 triples and the whole graph


def theirs(config: UNetConfig):
    "diffusers' UNet of the same shape: the same number of parameters in the same layers."
    from diffusers import UNet2DConditionModel
    widths = [config.model_channels * m for m in config.channel_mult]
    return UNet2DConditionModel(
        sample_size=PLACES, in_channels=config.in_channels, out_channels=config.out_channels, block_out_channels=widths,
        layers_per_block=config.num_res_blocks, cross_attention_dim=config.context_dim,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths), up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        attention_head_dim=tuple(w // config.head_dim for w in widths))  # in diffusers this is the number of heads


def forward(ask):
    "One answer."
    with torch.no_grad(): ask()


def forward_and_backward(ask):
    "One answer and the gradients of all parameters."
    ask().square().mean().backward()


def ratios(jobs, pairs):  # jobs: ours, theirs
    "Seconds of both in each pair of runs, after one of each that is not counted; who is first changes."
    for job in jobs: job()
    found = []
    for i in range(pairs):
        seconds = [0.0, 0.0]
        for who in ((0, 1) if i % 2 else (1, 0)):
            start = time.perf_counter()
            jobs[who]()
            seconds[who] = time.perf_counter() - start
        found.append(seconds)
    return found


def compare(width, batch, pairs, measures):
    "For forward, and forward and backward: the median ratio, its quartiles, and the median seconds of both."
    torch.manual_seed(0)
    config = UNetConfig.official(model_channels=width, zero_init=False)
    ours, other = UNet(config), theirs(config)
    n, n_other = (sum(p.numel() for p in m.parameters()) for m in (ours, other))
    x, t, context = torch.randn(batch, 4, PLACES, PLACES), torch.randint(1000, (batch,)), torch.randn(batch, TOKENS, config.context_dim)
    mask = torch.ones(batch, TOKENS, dtype=torch.bool)
    asks = [partial(ours, x, t, context, mask), lambda: other(x, t, context).sample]
    report = {"parameters": n, "parameters_of_diffusers": n_other}
    for name in measures:
        run = MEASURES[name]
        pairs_of_seconds = ratios([partial(run, ask) for ask in asks], pairs)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs_of_seconds], n=4)
        medians = [round(statistics.median(s), 4) for s in zip(*pairs_of_seconds)]
        report[name] = {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "seconds": medians[0], "seconds_of_diffusers": medians[1]}
    return report


MEASURES = {"forward": forward, "forward and backward": forward_and_backward}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--pairs", type=int, help="runs of each; default 30")
    p.add_argument("--sizes", nargs="*", default=SIZES)
    p.add_argument("--measures", nargs="*", default=MEASURES)
    p.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    report = {"threads": args.threads, "torch": torch.__version__, "sizes": {}}
    for name in args.sizes:
        width, batch, pairs = SIZES[name]
        report["sizes"][name] = compare(width, batch, args.pairs or pairs, args.measures)
        for m in args.measures: print(name, m, report["sizes"][name][m], flush=True)
        gc.collect()
    save_json(report, args.out)


if __name__ == "__main__": main()
