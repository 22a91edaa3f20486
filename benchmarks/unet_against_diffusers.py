"""Our UNet in the official form against diffusers' `UNet2DConditionModel` of the same shape: the
time of one as a share of the other's.

    pip install -e ".[dev]"                        # it needs diffusers
    python benchmarks/unet_against_diffusers.py    # six minutes on two free cores

Both have random weights and see the same latents. They run in turn, A B B A ..., and what counts is
the median of the ratios of neighbours: whatever else the machine does slows both. Beside the clock
on the wall stands the processor time of all threads, which a busy machine spoils less. Writes
benchmarks/unet_against_diffusers.json.
"""
import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import torch

from sgdiff.errors import save_json
from sgdiff.method.unet import UNet, UNetConfig

# width of the finest level, images
SIZES = {"256 channels, batch 1": (256, 1), "64 channels, batch 16": (64, 16)}
PLACES, TOKENS = 32, 16  # latents of 32 x 32 places (256 pixels); 15 triples and the whole graph


def diffusers_unet(config: UNetConfig):
    "diffusers' UNet of the same layers; ours also brings a global embedding into the time's."
    from diffusers import UNet2DConditionModel
    widths = [config.model_channels * m for m in config.channel_mult]
    return UNet2DConditionModel(
        sample_size=PLACES, in_channels=config.in_channels, out_channels=config.out_channels,
        block_out_channels=widths, layers_per_block=config.num_res_blocks,
        cross_attention_dim=config.context_dim,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        # in diffusers this is the number of heads
        attention_head_dim=tuple(w // config.head_dim for w in widths),
    )


def forward(ask):
    "One answer."
    with torch.no_grad(): ask()


def forward_and_backward(ask):
    "One answer and the gradients of all parameters."
    ask().square().mean().backward()


# what is timed, pairs of runs
WAYS = {"forward": (forward, 20), "forward and backward": (forward_and_backward, 10)}


def timed(job):  # -> seconds on the wall, seconds of all threads
    "How long `job()` takes."
    wall, processor = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - processor


def pairs_of_seconds(ours, theirs, n):  # -> n x (ours, theirs) x (wall, processor)
    "Both in turn, after one run of each that is not counted; who is first changes."
    ours(), theirs()
    pairs = []
    for i in range(n):
        first, second = (ours, theirs) if i % 2 else (theirs, ours)
        seconds = {job: timed(job) for job in (first, second)}
        pairs.append((seconds[ours], seconds[theirs]))
    return pairs


def told(pairs, clock):  # clock: 0 wall, 1 processor
    "Median and quartiles of the ratios, and the median seconds of both."
    ratios = [ours[clock] / theirs[clock] for ours, theirs in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    seconds = [statistics.median(pair[who][clock] for pair in pairs) for who in (0, 1)]
    return {
        "ratio": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "seconds": round(seconds[0], 3),
        "seconds_of_diffusers": round(seconds[1], 3),
    }


def compare(width, batch, shorter):
    "Both networks at one size, forward, and forward and backward."
    torch.manual_seed(0)
    config = UNetConfig.official(model_channels=width, zero_init=False)
    ours, theirs = UNet(config), diffusers_unet(config)
    x, t = torch.randn(batch, config.in_channels, PLACES, PLACES), torch.randint(1000, (batch,))
    context = torch.randn(batch, TOKENS, config.context_dim)
    mask = torch.ones(batch, TOKENS, dtype=torch.bool)
    counts = [sum(p.numel() for p in m.parameters()) for m in (ours, theirs)]
    report = {"parameters": counts[0], "parameters_of_diffusers": counts[1]}
    for name, (way, n) in WAYS.items():
        pairs = pairs_of_seconds(
            partial(way, lambda: ours(x, t, context, mask)),
            partial(way, lambda: theirs(x, t, context).sample),
            max(2, n // shorter),
        )
        report[name] = {"pairs": len(pairs), "wall": told(pairs, 0), "processor": told(pairs, 1)}
    return report


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=1, help="how often all is done")
    p.add_argument("--shorter", type=int, default=1, help="so many times fewer pairs")
    p.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).with_suffix(".json"),
        help="JSON file for the figures",
    )
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    report = {"threads": args.threads, "torch": torch.__version__, "rounds": []}
    for _ in range(args.rounds):
        report["rounds"].append({})
        for size, (width, batch) in SIZES.items():
            report["rounds"][-1][size] = found = compare(width, batch, args.shorter)
            for way in WAYS:
                clocks = (
                    f"{found[way][clock]['ratio']:.3f} ({clock})" for clock in ("wall", "processor")
                )
                print(f"{size:24s}{way:22s} of diffusers' time:", *clocks, flush=True)
            save_json(report, args.out)


if __name__ == "__main__": main()
