"""AdamW or Muon for stage 2, in the same minutes: the loss after training from the same first
weights on the same scenes.

    python benchmarks/optimisers.py --run runs/easy_preset [--seconds 200]

RUN is a folder of `sgdiff train --stage all --preset easy`: its first stage and its graph encoder
serve both. AdamW takes batches of 32, which suit it best in so short a time; Muon (notebook
`training/muon`) takes batches of 64, since its work does not grow with them. A few steps are timed
first, and as many are taken as fit into --seconds, warm-up and cosine over all of them. Writes
benchmarks/optimisers.json, which notebook `training/muon` shows. Run it on a machine that does
nothing else.
"""
import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from sgdiff.training.muon import make_optimizers, set_learning_rate
from sgdiff.toy.recipes import PRESETS, set_up, stage_data
from sgdiff.training.steps import learning_rate_at

ROOT = Path(__file__).resolve().parents[1]
RACERS = {"adamw": {"muon": 0.0, "diffusion_batch_size": 32}, "muon": {"diffusion_batch_size": 64}}
N_TIMED, N_MEAN, WARMUP = 8, 50, 100


def train(run: Path, racer: str, seconds: float) -> dict:  # racer: a key of RACERS
    "What is reached in a time."
    preset = replace(PRESETS["easy"], **RACERS[racer])
    data = stage_data("diffusion", preset, False)
    model, loss_fn = set_up("diffusion", preset, data, run)
    config = replace(preset.fit_config("diffusion"), warmup_steps=WARMUP)
    optimizers = make_optimizers(model, config)
    weights = [w for w in model.parameters() if w.requires_grad]

    def step(i: int, rate: float) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.autocasts(torch.device("cpu"))):
            loss, _ = loss_fn(model, i)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, config.grad_clip)
        set_learning_rate(optimizers, rate)
        for optimizer in optimizers: optimizer.step()
        return loss.item()

    for i in range(2): step(i, 0.0)
    start = time.perf_counter()
    for i in range(N_TIMED): step(i, 0.0)
    config = replace(config, max_steps=int(seconds / (time.perf_counter() - start) * N_TIMED))
    start, losses = time.perf_counter(), []
    for i in range(config.max_steps):
        losses.append(step(i, learning_rate_at(i, config)))
        if (i + 1) % 100 == 0:
            print(
                f"{racer}: step {i + 1} of {config.max_steps}, loss "
                f"{sum(losses[-N_MEAN:]) / N_MEAN:.4f}",
                flush=True,
            )
    return {
        "batch": preset.diffusion_batch_size,
        "steps": config.max_steps,
        "seconds": round(time.perf_counter() - start),
        "loss": round(sum(losses[-N_MEAN:]) / N_MEAN, 4),
    }


def main() -> None:
    "Trains both ways, writes what they reached."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of --preset easy")
    parser.add_argument("--seconds", type=float, default=200.0, help="of training, for each")
    args = parser.parse_args()
    told = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
            **{racer: train(args.run, racer, args.seconds) for racer in RACERS}}
    (ROOT / "benchmarks" / "optimisers.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__": main()
