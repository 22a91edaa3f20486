"""Attention and the transformer block: both ways of computing, order, padding, gradients, names."""
import math

import pytest
import torch
from torch import nn

from sgdiff.method.attention import Attention, FeedForward, TransformerBlock, attention_probs

MASK = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
close = torch.testing.assert_close


@pytest.fixture
def layers():
    "The fused layer, the same written out, places and tokens."
    torch.manual_seed(0)
    fused, plain = Attention(96, 20), Attention(96, 20, sdpa=False)
    plain.load_state_dict(fused.state_dict())
    return fused, plain, torch.randn(2, 6, 96), torch.randn(2, 5, 20)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return TransformerBlock(64, 20), torch.randn(2, 6, 64), torch.randn(2, 5, 20)


@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "no mask"])
def test_fused_and_written_out_agree_in_results_and_gradients(layers, mask):
    fused, plain, x, context = layers
    close(fused(x, context, mask), plain(x, context, mask))
    for layer in (fused, plain): (layer(x, context, mask) ** 2).sum().backward()
    for a, b in zip(fused.parameters(), plain.parameters(), strict=True):
        close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


def test_looking_at_the_weights_changes_nothing(layers):
    fused, plain, x, context = layers
    seen = []
    fused.record = seen.append
    close(fused(x, context, MASK), plain(x, context, MASK))
    assert seen[0].shape == (2, 3, 6, 5) and not seen[0].requires_grad
    close(seen[0].sum(-1), torch.ones(2, 3, 6))


def test_alone_and_unpadded_is_the_same(layers):
    fused, _, x, context = layers
    close(fused(x[1:], context[1:, :2]), fused(x, context, MASK)[1:])


def test_a_token_given_twice_is_a_score_raised_by_log_2():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 3, 8), torch.randn(1, 1, 4, 8)
    twice = attention_probs(q, torch.cat([k, k[..., :1, :]], 2))
    scores = q @ k.transpose(-1, -2) / math.sqrt(8) + torch.tensor([math.log(2), 0, 0, 0])
    close(twice[..., 0] + twice[..., 4], scores.softmax(-1)[..., 0])


def test_the_feed_forward_works_on_each_place_alone():
    wide, x = FeedForward(4), torch.randn(2, 5, 4)
    close(wide(x)[:, 2], wide(x[:, 2]))


def test_a_block_sees_no_order_of_tokens_no_padding_and_no_other_image(block):
    block, x, context = block
    out, order = block(x, context, MASK), torch.randperm(5)
    close(block(x, context[:, order], MASK[:, order]), out)
    close(block(x, context.masked_fill(~MASK[..., None], -7.0), MASK), out)
    for b in range(2): close(block(x[b:b + 1], context[b:b + 1][:, MASK[b]]), out[b:b + 1])


def test_a_block_only_adds(block):
    block, x, context = block
    for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    close(block(x, context, MASK), x)


def test_parameters_have_the_names_of_the_official_checkpoints(block):
    names = set(block[0].state_dict())
    attention = {f"{a}.{p}" for a in ("attn1", "attn2") for p in (
        "to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias")}
    norms = {f"norm{n}.{p}" for n in (1, 2, 3) for p in ("weight", "bias")}
    wide = {f"ff.net.{p}" for p in ("0.proj.weight", "0.proj.bias", "2.weight", "2.bias")}
    assert names == attention | norms | wide
