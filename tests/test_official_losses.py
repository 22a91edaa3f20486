"""The official losses and masks, written anew, against recorded outputs of the official modules
(they lie in tests/fixtures)."""

import pytest
import torch
from official_tensors import layout, recorded

from sgdiff.method.contrastive import ContrastiveHead
from sgdiff.pretrained.official_losses import (
    OfficialMaskedHead, covered, official_mask, official_masked_loss)

MASKS = {
    "a": (0.2, 32, 32),
    "b": (0.2, 24, 40),
    "c": (0.5, 32, 32),
    "d": (-1.0, 32, 32),
    "e": (0.2, 32, 32),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    t, (threshold, height, width) = recorded("boxmask"), MASKS[name]
    draws = t[f"in/mask_{name}_rand"][:, 0]
    assert torch.equal((draws > threshold).float(), t[f"in/mask_{name}_indicator"])
    assert torch.equal(
        official_mask(t["in/boxes"], t["in/obj_to_img"], 4, (height, width), draws, threshold),
        t[f"out/mask_{name}"],
    )


def test_mask_counts_boxes():
    """By a loop over pixels: 1 minus the number of hidden boxes, each enlarged by a sixteenth on
    every side."""
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.7], [0.4, 0.4, 0.9, 0.9], [0.0, 0.0, 1.0, 1.0]])
    mask = official_mask(boxes, torch.tensor([0, 0, 1]), 2, (11, 13), torch.ones(3))
    for row in range(11):
        for column in range(13):
            x, y = column / 12, row / 10
            inside = [x0 - w / 16 < x < x1 + w / 16 and y0 - h / 16 < y < y1 + h / 16
                      for x0, y0, x1, y1 in boxes.tolist() for w, h in [(x1 - x0, y1 - y0)]]
            assert mask[:, 0, row, column].tolist() == [1 - inside[0] - inside[1], 1 - inside[2]]
    assert mask.min() == -1 and (mask[1] == 0).all() and covered(boxes, 4, 5).shape == (3, 4, 5)


def test_masked_head_and_loss():
    t = recorded("mimloss")
    head = OfficialMaskedHead(64, 96)
    head.load_state_dict(
        {k.removeprefix("weights/"): v.float() for k, v in t.items() if k.startswith("weights/")}
    )
    local = t["in/local_graph_fea"].clone().requires_grad_()
    made = head(t["in/local_masked_image_fea"].transpose(0, 1), local)
    loss = official_masked_loss(made, t["in/local_gt_image_fea"].transpose(0, 1))
    loss.backward()
    for name, got in (
        ("reconstruction", made),
        ("loss", loss),
        ("grad_local_graph_fea", local.grad),
    ):
        torch.testing.assert_close(got, t[f"out/{name}"], atol=1e-5, rtol=1e-4)


def test_names_of_the_masked_head_at_true_size():
    with torch.device("meta"):
        state = OfficialMaskedHead().state_dict()
    listed = {
        pattern.replace("*", "N"): shapes
        for pattern, (_, shapes) in layout("keys_mim_head.txt").items()
    }
    ours = {}
    for name, value in state.items():
        pattern = ".".join("N" if part.isdigit() else part for part in name.split("."))
        ours.setdefault(pattern, []).append(str(tuple(value.shape)))
    assert {k: " | ".join(v) for k, v in ours.items()} == listed


def test_contrastive_loss_and_its_gradients():
    t = recorded("cliploss")
    head = ContrastiveHead(start=float(t["in/clip_logit_scale"]))
    graph, image = (t[f"in/clip_{k}_features"].clone().requires_grad_() for k in ("graph", "image"))
    loss, _ = head(graph, image)
    loss.backward()
    torch.testing.assert_close(loss, t["out/clip_loss"], atol=1e-5, rtol=1e-5)
    # ours normalises and exponentiates inside: gradients tangential to the sphere, and by the
    # logarithm of the scale
    for features, official in (
        (graph, t["out/clip_grad_graph_features"]),
        (image, t["out/clip_grad_image_features"]),
    ):
        tangential = official - (official * features).sum(1, keepdim=True) * features
        torch.testing.assert_close(features.grad, tangential, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        head.logit_scale.grad,
        t["out/clip_grad_logit_scale"] * t["in/clip_logit_scale"],
        atol=1e-5,
        rtol=1e-4,
    )
