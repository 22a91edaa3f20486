"""What the official modules computed at tiny sizes, recorded in tests/fixtures, and the names in
their checkpoints; and where real samples lie, which are not part of this repository."""
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
FIXTURES = HERE / "fixtures"
SAMPLES = HERE.parents[1] / "shared" / "samples"


def recorded(name):
    "All tensors of one recorded file."
    return load_file(FIXTURES / f"{name}.safetensors")


def golden(name):
    "(weights in float32, all tensors) of one recorded file."
    tensors = recorded(name)
    return {
        k.removeprefix("weights/"): v.float()
        for k, v in tensors.items()
        if k.startswith("weights/")
    }, tensors


def layout(section):
    """Pattern -> (count, shapes) of one official checkpoint, as tests/fixtures/keys.txt lists it.

    `*` stands for a number, and a list of shapes may be cut with `...`."""
    text = (FIXTURES / "keys.txt").read_text().split(f"== {section}\n")[1].split("\n==")[0]
    return {
        pattern: (int(count), shapes)
        for pattern, count, shapes in re.findall(r"^(\S+)  x(\d+)  (.*)$", text, re.M)
    }


def sample(name):
    "The path of a real file or folder, such as `coco/annotations`; without it the test skips."
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"no real sample at {path}: tests/fixtures/README.md says where to get it")
    return path
