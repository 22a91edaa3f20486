"""The paper's model learns fifteen photographs by heart on one GPU: every command of a full run, in
small time but at full size.

    python benchmarks/photographs_at_size.py --samples FOLDER [--set NAME=VALUE ...]

FOLDER holds COCO's layout (annotations/instances_train2017.json, annotations/stuff_train2017.json,
train2017/*.jpg). `sgdiff prepare` makes the tables, `sgdiff train` both stages at the paper's
widths (graph encoder 512 wide, UNet of 396 million parameters, official form) on 128 pixels, which
a linear first stage makes the paper's latents of 32x32. Stage 2 is killed with SIGKILL half way and
goes on from its checkpoint. Then retrieval, and a drawing of each graph: is the photograph that is
nearest to it the graph's own? Writes photographs_at_size.json and .png (drawings alone) to --out.
--set makes it small enough to try on a CPU.
"""
import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from PIL import Image

from sgdiff.core import to_uint8
from sgdiff.errors import load_json
from sgdiff.full.commands import assemble_run, open_run, pretrained_pair
from sgdiff.full.presets import open_data
from sgdiff.full.protocol import Protocol, retrieval

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {  # of --preset paper; what is not named is the paper's
    "clip": "",
    "pretrain_size": 128,
    "pretrain_batch": 15,
    "pretrain_epochs": 200,
    "pretrain_warmup": 50,
    "image_size": 128,
    "first_stage": "pca",
    "diffusion_batch": 15,
    "diffusion_images": 15_000,
    "rate_per_image": 6e-6,
    "diffusion_warmup": 100,
    "ema_decay": 0.99,
    "precision": "bf16",
    "compile": "true",
    "save_every": 1000,
    "log_every": 50,
}


def sgdiff(*words) -> list:
    "A command line."
    return [sys.executable, "-m", "sgdiff.cli", *(str(w) for w in words)]


def with_stuff(samples: Path, folder: Path) -> None:
    """COCO's two files of annotations, each photograph with an annotation of stuff, if only of
    `other`: the rules drop one that has none."""
    things, stuff = (
        load_json(samples / "annotations" / f"{kind}_train2017.json")
        for kind in ("instances", "stuff")
    )
    told, known = {a["image_id"] for a in stuff["annotations"]}, {p["id"] for p in stuff["images"]}
    for i, image in enumerate(p for p in things["images"] if p["id"] not in told):
        whole = {
            "size": [image["height"], image["width"]],
            "counts": [image["height"] * image["width"]],
        }
        stuff["annotations"].append(
            {
                "id": 10**9 + i,
                "image_id": image["id"],
                "category_id": 183,
                "bbox": [0, 0, 1, 1],
                "area": 1,
                "iscrowd": 0,
                "segmentation": whole,
            }
        )
    stuff["images"] += [p for p in things["images"] if p["id"] not in known]
    folder.mkdir(parents=True)
    for kind, data in (("instances", things), ("stuff", stuff)):
        (folder / f"{kind}_train2017.json").write_text(json.dumps(data))


def last_line(folder: Path) -> dict:
    "The last whole line of a stage's log; {} where there is none."
    path = folder / "log.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return json.loads(lines[-1]) if lines else {}


def train(command: list, stage: Path, kill_at: int = 0) -> float:
    "Seconds that a stage took; killed once it has logged step `kill_at`, if that is not 0."
    start, process = time.perf_counter(), subprocess.Popen(command)
    while process.poll() is None:
        time.sleep(0.2)
        if kill_at and last_line(stage).get("step", 0) >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.perf_counter() - start
    if process.returncode: sys.exit(process.returncode)
    return time.perf_counter() - start


@torch.no_grad()
def measure(run: Path, prepared: Path, samples: Path, device: str) -> tuple[dict, torch.Tensor]:
    """Retrieval, how many drawings are nearest to their own photograph, and the drawings (n, 3, H,
    W)."""
    preset = open_run(run)[1]
    data, seen = (
        open_data(str(prepared), "train", size, samples)
        for size in (preset.image_size, preset.pretrain_size)
    )
    n = len(data)
    found = retrieval(
        *pretrained_pair(run, data.config.vocab, device), seen, Protocol("train"), (n,)
    )[str(n)]
    pipe, photographs = assemble_run(run, data, device), data.pixels(range(n))
    drawn = torch.cat(
        [
            pipe(
                list(data.graphs[i : i + 8]),
                seed=list(range(i, min(i + 8, n))),
                num_inference_steps=50,
                eta=0.0,
            )
            .pixels.float()
            .cpu()
            for i in range(0, n, 8)
        ]
    )
    nearest = (drawn[:, None] - photographs[None]).square().flatten(2).mean(2).argmin(1)
    return {
        "photographs": n,
        "retrieval": found,
        "nearest_is_own": (nearest == torch.arange(n)).double().mean().item(),
    }, drawn


def sheet(drawn: torch.Tensor, columns: int = 8) -> Image.Image:
    "The drawings, a few a row."
    blank = -torch.ones_like(drawn[:1]).expand(-len(drawn) % columns, -1, -1, -1)
    rows = torch.cat([drawn, blank]).split(columns)
    return Image.fromarray(
        to_uint8(torch.cat([torch.cat(list(row), 2) for row in rows], 1)[None])[0]
    )


def main() -> None:
    "Prepares, trains, kills, goes on, measures, writes."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--samples", type=Path, required=True, help="folder of annotations/ and train2017/"
    )
    parser.add_argument(
        "--set", dest="changes", action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting of the preset",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="for measuring; training finds its own",
    )
    parser.add_argument(
        "--run",
        type=Path,
        default=ROOT / "runs" / "photographs_at_size",
        help="folder of the run; emptied first",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs", help="folder for what is found")
    args = parser.parse_args()
    settings = SETTINGS | dict(text.split("=", 1) for text in args.changes)
    shutil.rmtree(args.run, ignore_errors=True)
    with_stuff(args.samples, args.run / "raw")
    prepared = args.run / "tables"
    subprocess.run(
        sgdiff(
            "prepare", "coco", "--raw",
            args.run / "raw",
            "--images",
            args.samples,
            "--out",
            prepared,
            "--quiet",
        ),
        check=True,
    )
    command = sgdiff(
        "train", "--data", prepared, "--images", args.samples, "--preset", "paper", "--out",
        args.run, "--quiet",
    )
    for name, value in settings.items(): command += ["--set", f"{name}={value}"]
    stage_2 = args.run / "diffusion"
    last = int(settings["diffusion_images"]) // int(settings["diffusion_batch"])
    seconds = {"pretrain": train([*command, "--stage", "pretrain"], args.run / "pretrain")}
    seconds["diffusion, until killed"] = train(
        [*command, "--stage", "diffusion"], stage_2, last // 2 + int(settings["log_every"])
    )
    killed_at = last_line(stage_2)["step"]
    seconds["diffusion, gone on with"] = train(
        [*command, "--stage", "diffusion", "--resume"], stage_2
    )
    found, drawn = measure(args.run, prepared, args.samples, args.device)
    logged = [json.loads(line) for line in (stage_2 / "log.jsonl").read_text().splitlines()]
    told = {
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device,
        "torch": torch.__version__,
        "settings": settings,
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
        "killed_at": killed_at,
        "steps": logged[-1]["step"],
        "loss": {
            str(line["step"]): line["loss"]
            for line in (logged[0], logged[len(logged) // 2], logged[-1])
        },
        **found,
    }
    (args.out / "photographs_at_size.json").write_text(json.dumps(told, indent=1) + "\n")
    sheet(drawn).save(args.out / "photographs_at_size.png", optimize=True)
    print(json.dumps(told, indent=1))


if __name__ == "__main__": main()
