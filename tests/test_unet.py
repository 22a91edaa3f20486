"""The UNet's borders: what it refuses, graphs without triples, where recording ends, and the forms that only speed changes."""
import pytest
import torch
import torch.nn.functional as F

from sgdiff.core import set_seed
from sgdiff.method.graph_encoder import GraphEmbedding
from sgdiff.method.unet import (
    Block, Downsample, ResBlock, SpatialTransformer, UNet, UNetConfig, record_attention, timestep_embedding,
    triple_attention)

SMALL = dict(model_channels=32, local_dim=24, global_dim=16, context_dim=32, zero_init=False)


@pytest.fixture
def unet():
    set_seed(0)
    return UNet(UNetConfig(**SMALL)).requires_grad_(False)


def embedding(n_triples):
    "Of two graphs."
    return GraphEmbedding(torch.randn(2, n_triples, 24), torch.ones(2, n_triples, dtype=torch.bool), torch.randn(2, 16))


@pytest.mark.parametrize("wrong, words", [
    (dict(model_channels=100), "expected multiples of 32"), (dict(project_global=False), "expected context_dim 192"),
    (dict(channel_mult=()), "give one factor a level")])
def test_sizes_that_do_not_fit_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        UNetConfig(**wrong)


@pytest.mark.parametrize("x, context, words", [
    ((2, 4, 8, 8), (2, 3, 32), "c=8"), ((2, 8, 8, 7), (2, 3, 32), "multiples of 2 for 2 levels"),
    ((2, 8, 8, 8), (2, 3, 31), "C=32"), ((2, 8, 8, 8), (1, 3, 32), "B=2")])
def test_shapes_that_do_not_fit_are_refused(unet, x, context, words):
    with pytest.raises(ValueError, match=words):
        unet(torch.zeros(x), torch.zeros(2, dtype=torch.long), torch.zeros(context))


def test_a_graph_without_triples_still_has_its_global_token(unet):
    context, mask = unet.make_context(embedding(0))
    assert mask.all() and context.shape == (2, 1, 32)
    assert unet(torch.randn(2, 8, 8, 8), torch.tensor([0, 999]), context, mask).isfinite().all()


def test_recording_changes_nothing_and_ends_with_its_block(unet):
    x, t, told = torch.randn(2, 8, 8, 8), torch.tensor([0, 999]), unet.make_context(embedding(3))
    with record_attention(unet) as maps:
        watched = unet(x, t, *told)
    torch.testing.assert_close(watched, unet(x, t, *told))
    assert len(maps) == 5 and all(probs.shape[-1] == 4 for probs in maps.values())
    before = dict(maps)
    unet(x.flip(0), t, *told)
    assert all(maps[name] is before[name] for name in maps)


def test_padding_gets_no_share(unet):
    given = embedding(3)
    given.mask[1, 1:] = False
    context, mask = unet.make_context(given)
    with record_attention(unet) as maps:
        unet(torch.randn(2, 8, 8, 8), torch.tensor([0, 999]), context, mask)
    assert (triple_attention(maps, 16)[~mask] == 0).all()


def test_shares_of_a_picture_twice_as_wide_as_high():
    wide = {"layer": torch.full((1, 2, 4 * 8, 5), 0.2)}
    assert triple_attention(wide, (16, 32)).shape == (1, 5, 16, 32)


def test_a_row_of_layers_is_the_same_with_checkpointing():
    set_seed(0)
    row = Block(ResBlock(32, 64, 128, zero_init=False), SpatialTransformer(64, 20, zero_init=False), Downsample(64))
    x, emb, tokens = torch.randn(2, 32, 8, 8), torch.randn(2, 128), torch.randn(2, 6, 20)

    def answer_and_gradients(checkpointing):
        row.zero_grad()
        row.checkpointing = checkpointing
        out = row(x, emb, tokens)
        (out ** 3).mean().backward()
        return out.detach(), [p.grad.clone() for p in row.parameters()]

    plain, again = answer_and_gradients(False), answer_and_gradients(True)
    torch.testing.assert_close(again, plain)
    assert all(gradient.abs().sum() > 0 for gradient in plain[1])


def test_more_padding_changes_nothing():
    set_seed(0)
    reader = SpatialTransformer(64, context_dim=20, zero_init=False).requires_grad_(False)
    x, tokens, real = torch.randn(2, 64, 4, 4), torch.randn(2, 6, 20), torch.arange(6) < torch.tensor([[6], [3]])
    longer = reader(x, F.pad(tokens, (0, 0, 0, 5)), F.pad(real, (0, 5)))
    torch.testing.assert_close(longer, reader(x, tokens, real))


def test_later_is_a_rotation_of_the_embedding_and_likeness_depends_on_the_distance():
    t, later = torch.tensor([0, 10, 400]), 25
    cos, sin = timestep_embedding(t, 32).chunk(2, dim=1)
    angle = later * 10000.0 ** (-torch.arange(16) / 16)
    turned = torch.cat([cos * angle.cos() - sin * angle.sin(), sin * angle.cos() + cos * angle.sin()], dim=1)
    torch.testing.assert_close(turned, timestep_embedding(t + later, 32), atol=1e-4, rtol=1e-4)
    steps, speeds = torch.arange(0, 1000, 4), 10000.0 ** (-torch.arange(48) / 48)
    likeness = timestep_embedding(steps, 96) @ timestep_embedding(torch.tensor([500]), 96)[0]
    torch.testing.assert_close(likeness, torch.cos((steps[:, None] - 500) * speeds).sum(1), atol=1e-3, rtol=1e-3)
