"""Does pre-training help, and should stage 2 train the encoder on? Four runs of the preset `easy`,
alike but for the graph encoder.

    python benchmarks/easy_preset.py                # first: leaves runs/easy_preset
    python benchmarks/encoders.py    # three more UNets, each about as long as that one

The encoder is pre-trained or random, and frozen or trained along with the UNet. Scenes, noise,
steps, first stage and decoder are the same. All draw the same 600 held-out graphs, and the shipped
judge looks at the pictures (`benchmarks/polish.py` asks in the same way). Runs that are finished
are kept, an unfinished one goes on. Writes benchmarks/encoders.json, which notebook
`comparisons/does_pretraining_help` shows.
"""
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from polish import N_SCENES, SEED, examine

from sgdiff.core import save_weights
from sgdiff.errors import save_json
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.recipes import PRESETS, build, train_all
from sgdiff.toy.world import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
EASY_RUN, RUNS = ROOT / "runs" / "easy_preset", ROOT / "runs" / "encoders"
VARIANTS = {
    "pre-trained, frozen": (True, False),
    "pre-trained, trained along": (True, True),
    "random, frozen": (False, False),
    "random, trained along": (False, True),
}


def run_of(pretrained: bool, train_encoder: bool) -> Path:
    "Trains a variant, all but stage 2 copied from the run of the preset; -> its folder."
    if pretrained and not train_encoder: return EASY_RUN
    preset = replace(PRESETS["easy"], train_encoder=train_encoder)
    out = (
        RUNS
        / f"{'pretrained' if pretrained else 'random'}-{'along' if train_encoder else 'frozen'}"
    )
    for stage in preset.stages:
        if stage != "diffusion" and not (out / stage).exists():
            shutil.copytree(EASY_RUN / stage, out / stage)
    # as stage 1 found it
    if not pretrained:
        save_weights(build("pretrain", preset), out / "pretrain" / "model.safetensors")
    if not train_all(preset, out): sys.exit(f"stopped; {out} goes on where it was")
    return out


def main() -> None:
    "Trains, draws, asks, writes."
    if not (EASY_RUN / "weights").exists():
        sys.exit(f"{EASY_RUN} is missing: run benchmarks/easy_preset.py first")
    report = {
        "scenes": N_SCENES,
        "seed": SEED,
        "steps": PRESETS["easy"].diffusion_steps,
        "threads": torch.get_num_threads(),
        "variants": {},
    }
    for name, how in VARIANTS.items():
        found = report["variants"][name] = examine(
            SGDiffPipeline.from_pretrained(run_of(*how) / "weights")
        )
        print(
            f"{name:28s} exact {found['objects']['exact']['mean']:.1%}",
            {f: round(found[f]["true"]["mean"], 3) for f in FAMILIES},
            flush=True,
        )
        save_json(report, ROOT / "benchmarks" / "encoders.json")


if __name__ == "__main__": main()
