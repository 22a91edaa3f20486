"""What the official modules computed at tiny sizes, recorded in files beside the checkout; without
them a test skips and says so."""
from pathlib import Path

import pytest
from safetensors.torch import load_file

SHARED = Path(__file__).resolve().parents[2] / "shared"


def recorded(name):
    "All tensors of one recorded file."
    path = SHARED / "fixtures" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no recorded tensors of the official code at {path}")
    return load_file(path)


def golden(name):
    "(weights in float32, all tensors) of one recorded file."
    tensors = recorded(name)
    return {
        k.removeprefix("weights/"): v.float()
        for k, v in tensors.items()
        if k.startswith("weights/")
    }, tensors
