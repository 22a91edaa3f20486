"""The official form of the UNet against tensors made by the official modules (random weights, tiny
sizes)."""
import re
from collections import Counter

import pytest
import torch
from official_tensors import layout, recorded

from sgdiff.method.graph_encoder import GraphEmbedding
from sgdiff.method.unet import UNet, UNetConfig, timestep_embedding


@pytest.fixture(scope="module")
def golden():
    return recorded("unet_r1")


def official_unet(golden, **changes):
    config = UNetConfig.official(
        model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_levels=(0, 1),
        local_dim=96, global_dim=32, context_dim=32, **changes)
    unet = UNet(config).eval()
    weights = {
        k.removeprefix("weights/"): v.float() for k, v in golden.items() if k.startswith("weights/")
    }
    # strict: the names and shapes are the official ones, none missing, none left over
    unet.load_state_dict(weights)
    return unet


def graph_context(unet, golden):
    local, global_ = golden["in/c_local"], golden["in/c_global"][:, 0]
    mask = (local != 0).any(-1)
    return unet.make_context(GraphEmbedding(local, mask, global_))


@pytest.mark.parametrize("changes", [
    {}, {"sdpa": False}, {"channels_last": False}, {"gradient_checkpointing": True}], ids=str)
def test_output_and_every_block(golden, changes):
    unet = official_unet(golden, **changes)
    seen = {}
    blocks = {
        f"{part}.{i}": b
        for part in ("input_blocks", "output_blocks")
        for i, b in enumerate(getattr(unet, part))
    }
    for name, block in {
        **blocks, "middle_block": unet.middle_block, "emb": unet.time_embed,
    }.items():
        block.register_forward_hook(
            lambda module, args, out, name=name: seen.__setitem__(name, out)
        )
    out = unet(golden["in/x"], golden["in/timesteps"], *graph_context(unet, golden))
    torch.testing.assert_close(out, golden["out/eps"], atol=1e-4, rtol=1e-4)
    checked = [k for k in golden if k.startswith("mid/") and k.removeprefix("mid/") in seen]
    assert len(checked) == 10
    for key in checked:
        torch.testing.assert_close(
            seen[key.removeprefix("mid/")],
            golden[key],
            atol=1e-4,
            rtol=1e-4,
            msg=lambda m, key=key: f"{key}: {m}",
        )


def test_context_and_time(golden):
    unet = official_unet(golden)
    context, mask = graph_context(unet, golden)
    torch.testing.assert_close(context, golden["mid/context"], atol=1e-5, rtol=1e-5)
    assert mask.all(), "the official form attends to padding too"
    torch.testing.assert_close(
        timestep_embedding(golden["in/timesteps"], 32),
        golden["mid/timestep_embedding"],
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return UNet(UNetConfig.official())


def test_full_size(full_size):
    assert sum(p.numel() for p in full_size.parameters()) == pytest.approx(395.8e6, abs=0.05e6)


def test_full_size_names(full_size):
    official = layout("keys_unet_full.txt")
    ours, our_shapes = Counter(), {}
    for key, tensor in full_size.state_dict().items():
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", key)
        ours[pattern] += 1
        our_shapes.setdefault(pattern, set()).add(str(tuple(tensor.shape)))
    assert ours == {pattern: count for pattern, (count, _) in official.items()}
    for pattern, (_, shapes) in official.items():
        listed = set(shapes.removesuffix(" ...").split(" | "))
        assert listed <= our_shapes[pattern] and (
            shapes.endswith("...") or listed == our_shapes[pattern]
        ), pattern
