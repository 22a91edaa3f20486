"""AdamW or Muon for stage 2, in the same minutes: the loss after training from the same first weights on the same scenes.

    python benchmarks/optimisers.py --run runs/easy_preset [--seconds 200]

RUN is a folder of `sgdiff train --stage all --preset easy`: its first stage and its graph encoder serve both. AdamW takes the preset's
batches of 32 and learning rate; Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the update of each matrix by the
nearest orthogonal one, scaled to the size of AdamW's (arXiv 2502.16982, equation 4), and takes batches of 64, since its work does not
grow with them. A few steps are timed first, and as many are taken as fit into --seconds, warm-up and cosine over all of them.
Writes benchmarks/optimisers.json. Run it on a machine that does nothing else.
"""
import argparse
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from sgdiff.recipes import PRESETS, SETUPS, stage_data

ROOT = Path(__file__).resolve().parents[1]
N_TIMED, N_MEAN, WARMUP, WEIGHT_DECAY, CLIP = 8, 50, 100, 0.01, 1.0
MUON_RATE = 4e-3  # highest, of matrices; the rest keep AdamW and the preset's


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:  # (k, m, n) float, m <= n -> (k, m, n) float, singular values near 1
    "Five steps of the Newton-Schulz iteration that Muon uses."
    x = matrices.bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
    return x.float()


class Muon:
    "Steps of matrices; a kernel counts as the matrix of its output channels."

    def __init__(self, weights: list, momentum: float = 0.95):
        self.weights, self.momentum, self.means = weights, momentum, [torch.zeros_like(w) for w in weights]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        "One step of all of them, those of one shape together."
        gradients = [w.grad for w in self.weights]
        torch._foreach_lerp_(self.means, gradients, 1 - self.momentum)
        alike = {}
        for weight, update in zip(self.weights, torch._foreach_lerp(gradients, self.means, self.momentum), strict=True):
            flat = update.flatten(1)
            tall = flat.shape[0] > flat.shape[1]
            flat = flat.T if tall else flat
            alike.setdefault(flat.shape, []).append((weight, tall, flat))
        for shape, members in alike.items():
            for (weight, tall, _), update in zip(members, orthogonal(torch.stack([flat for *_, flat in members])), strict=True):
                weight.mul_(1 - rate * WEIGHT_DECAY).add_((update.T if tall else update).reshape(weight.shape), alpha=-rate * 0.2 * max(shape) ** 0.5)


def train(run: Path, kind: str, batch: int, seconds: float) -> dict:  # kind: "adamw" or "muon"
    "What is reached in a time."
    preset = replace(PRESETS["easy"], diffusion_batch_size=batch)
    data = stage_data("diffusion", preset, False)
    model, loss_fn = SETUPS["diffusion"](preset, data, run)
    weights = [w for w in model.parameters() if w.requires_grad]
    matrices = [w for w in weights if kind == "muon" and w.ndim > 1 and min(w.shape[0], w[0].numel()) >= 16]
    chosen = {id(w) for w in matrices}
    muon, adamw = Muon(matrices), torch.optim.AdamW([w for w in weights if id(w) not in chosen], weight_decay=WEIGHT_DECAY, fused=True)

    def step(i: int, share: float) -> float:  # share: of the highest learning rates
        with torch.autocast("cpu", torch.bfloat16): loss, _ = loss_fn(model, i)
        for w in weights: w.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        adamw.param_groups[0]["lr"] = preset.diffusion_lr * share
        adamw.step()
        if matrices: muon.step(MUON_RATE * share)
        return loss.item()

    for i in range(2): step(i, 0.0)
    start = time.perf_counter()
    for i in range(N_TIMED): step(i, 0.0)
    n = int(seconds / (time.perf_counter() - start) * N_TIMED)
    start, losses = time.perf_counter(), []
    for i in range(n):
        losses.append(step(i, min(1, (i + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * i / n))))
        if (i + 1) % 100 == 0: print(f"{kind}: step {i + 1} of {n}, loss {sum(losses[-N_MEAN:]) / N_MEAN:.4f}", flush=True)
    return {"batch": batch, "steps": n, "seconds": round(time.perf_counter() - start), "loss": round(sum(losses[-N_MEAN:]) / N_MEAN, 4)}


def main() -> None:
    "Trains both ways, writes what they reached."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of --preset easy")
    parser.add_argument("--seconds", type=float, default=200.0, help="of training, for each")
    args = parser.parse_args()
    told = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
            **{kind: train(args.run, kind, batch, args.seconds) for kind, batch in (("adamw", PRESETS["easy"].diffusion_batch_size), ("muon", 64))}}
    (ROOT / "benchmarks" / "optimisers.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__": main()
