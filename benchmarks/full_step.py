"""What a training step at the paper's size costs on this machine's GPU: images a second, memory,
and what `sgdiff plan` foretold.

    python benchmarks/full_step.py [--steps 12] [--only NAME ...] [--out full_step.json]

The loop is the one that trains (`fit`); images and latents are noise, graphs are chains of eight
objects, CLIP and the first stage have random weights: nothing is downloaded. Speeds are medians
over steps after the first few; memory is the most that PyTorch had given out.
"""
import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sgdiff.errors import save_json
from sgdiff.pretrained.first_stages import FirstStage
from sgdiff.full.losses import generation_in_parts, pretraining_in_parts
from sgdiff.full.presets import (
    PRESETS, build_generation, build_pretraining, open_image_encoder)
from sgdiff.pretrained.official import OfficialPipeline
from sgdiff.full.planner import SIZES, numbered_vocab, plan
from sgdiff.real.records import RealConfig, Record, make_graph
from sgdiff.training.fit import fit

VOCAB = numbered_vocab(*SIZES["vg"][1:])
RUNS = {  # name: stage, preset, fields set otherwise
    "paper, float32": ("diffusion", "paper", {}),
    "paper, bf16": ("diffusion", "paper", {"precision": "bf16"}),
    "paper, bf16, compiled": ("diffusion", "paper", {"precision": "bf16", "compile": True}),
    "paper, bf16, checkpointing": (
        "diffusion",
        "paper",
        {"precision": "bf16", "gradient_checkpointing": True},
    ),
    "single_24gb": ("diffusion", "single_24gb", {}),
    "stage 1, float32": ("pretrain", "paper", {}),
    "stage 1, bf16": ("pretrain", "paper", {"precision": "bf16"}),
}


class Noise:
    """As many images as are asked for, all noise, each with a graph of eight objects and seven
    relations: fifteen tokens."""

    def __init__(self, size, n=256):
        boxes = np.array([[50 * (i % 5), 120 * (i // 5), 50, 120] for i in range(8)], np.float32)
        triples = tuple((i, VOCAB.predicates[1], i + 1) for i in range(7))
        self.told = Record("noise", "", (256, 256), VOCAB.objects[1:9], boxes, triples)
        self.n, self.size, self.config = n, size, RealConfig(VOCAB, size)

    def __len__(self): return self.n

    def training_graph(self, index, rng): return make_graph(self.told, self.config, rng)

    def pixels(self, rows):
        generator = torch.Generator().manual_seed(int(rows[0]))
        return torch.rand(len(rows), 3, self.size, self.size, generator=generator) * 2 - 1


def training_step(stage, preset, steps, device):
    "Images a second, GB at most, and the last loss of a few steps of training."
    if stage == "diffusion":
        data, model = Noise(preset.image_size), build_generation(preset, VOCAB, 4)
        loss_fn = generation_in_parts(
            data, torch.randn(len(data), 4, 32, 32), preset.diffusion_batch
        )
        batch = preset.diffusion_batch
    else:
        data, model = Noise(preset.pretrain_size), build_pretraining(preset, VOCAB)
        look = open_image_encoder(
            replace(preset, clip=preset.clip.split("/")[0] + "/random"), device
        )
        loss_fn = pretraining_in_parts(
            data, preset.pretrain_batch, 0, look, preset.mask_probability
        )
        batch = preset.pretrain_batch
    # as `prepare_diffusion` does
    if stage == "diffusion" and preset.compile: model.unet.compile(dynamic=False)
    config = replace(
        preset.fit_config(stage, len(data)), max_steps=steps, warmup_steps=1, log_every=2
    )
    history = fit(model.to(device), loss_fn, config, progress=False).history
    speed = statistics.median(line["steps_per_second"] for line in history[len(history) // 3:])
    return batch * speed, torch.cuda.max_memory_allocated(device) / 2**30, history[-1]["loss"]


def drawing(device, n=8, steps=50):
    "Seconds for n images of 256 pixels by the official form: 50 steps of DDIM, VQ-f8 decoded."
    preset = PRESETS["paper"]
    model, stage = build_generation(preset, VOCAB, 4), FirstStage()
    pipe = OfficialPipeline(model.graph_encoder, model.unet, stage, VOCAB, model.config, 256, 9).to(
        device
    )
    graph, seconds = Noise(256).training_graph(0, np.random.default_rng(0)), []
    for _ in range(3):
        start = time.perf_counter()
        pipe([graph], num_inference_steps=steps, num_images_per_graph=n, seed=0)
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12, help="of each run")
    parser.add_argument("--only", nargs="*", help=f"of: {'; '.join(RUNS)}; drawing")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; `sgdiff plan` measures a smaller model on the CPU")
    device = torch.device("cuda")
    found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "runs": {}}
    print(
        f"{found['device']}, PyTorch {found['torch']}\n{'':28s} images/s  TFLOP/s   GB at most   "
        "GB planned   loss",
        flush=True,
    )
    for name, (stage, preset, changes) in RUNS.items():
        if args.only and name not in args.only: continue
        preset = replace(PRESETS[preset], **changes)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        planned = plan(preset)
        speed, memory, loss = training_step(stage, preset, args.steps, device)
        operations = planned[
            "stage 2, GFLOP an image" if stage == "diffusion" else "stage 1, GFLOP an image"
        ]
        expected = planned["stage 2, memory, GB" if stage == "diffusion" else "stage 1, memory, GB"]
        found["runs"][name] = {
            "images_per_second": speed,
            "tflops": speed * operations / 1e3,
            "gb": memory,
            "gb_planned": expected,
            "loss": loss,
        }
        print(
            f"{name:28s} {speed:8.1f} {speed * operations / 1e3:8.1f} {memory:12.1f} "
            f"{expected:12.1f} {loss:6.3f}",
            flush=True,
        )
        if args.out: save_json(found, args.out)
    if not args.only or "drawing" in args.only:
        found["seconds_for_8_images"] = drawing(device)
        print(
            "8 images of 256 pixels, 50 steps of DDIM, float32: "
            f"{found['seconds_for_8_images']:.2f} s"
        )
    if args.out: save_json(found, args.out)


if __name__ == "__main__": main()
