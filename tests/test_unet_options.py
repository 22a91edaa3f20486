"""torch.compile on the UNet: one graph without detours into Python, and the same answers and
gradients."""
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from torch._dynamo.testing import CompileCounterWithBackend

from sgdiff.core import set_seed, step_generator
from sgdiff.full.losses import FewShapes
from sgdiff.method.generation import DiffusionConfig, GraphToLatent
from sgdiff.method.graph_encoder import GraphEmbedding, SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.graph import SceneGraph
from sgdiff.toy.world import EASY
from sgdiff.method.unet import UNet, UNetConfig


def test_compiles_to_one_graph():
    torch.manual_seed(0)
    unet = UNet(UNetConfig(model_channels=32, zero_init=False))
    embedding = GraphEmbedding(
        torch.randn(2, 5, 384), torch.arange(5) < torch.tensor([[5], [3]]), torch.randn(2, 128)
    )
    x, t = torch.randn(2, 8, 8, 8), torch.tensor([3, 700])
    context, mask = unet.make_context(embedding)
    expected = unet(x, t, context, mask)
    # this backend needs no compiler
    compiled = torch.compile(unet, backend="aot_eager", fullgraph=True)
    out = compiled(x, t, context, mask)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    weight = unet.input_blocks[0][0].weight
    want, = torch.autograd.grad(expected.square().mean(), weight, retain_graph=True)
    got, = torch.autograd.grad(out.square().mean(), weight)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_batches_of_a_few_lengths_are_one_program_and_the_padding_changes_nothing():
    set_seed(0)
    encoder = SceneGraphEncoder(
        SceneGraphEncoderConfig(EASY.vocab.n_objects, EASY.vocab.n_predicates, 32, 64, 3, 32)
    )
    model = FewShapes(
        encoder,
        UNet(
            UNetConfig(
                model_channels=32, channel_mult=(1,), attention_levels=(0,), local_dim=96,
                global_dim=32, context_dim=64, zero_init=False,
            )
        ),
        DiffusionConfig(drop_probability=0.5),
    )
    words = ["sheep", "tree", "grass", "house", "dog"]
    latents = torch.randn(2, 8, 8, 8)

    def losses():
        given = []
        for n in (1, 2, 3, 4, 2):  # triples: each batch has another length
            graph = SceneGraph(words, [(i, "left of", i + 1) for i in range(n)])
            batch = SceneGraphBatch.from_graphs([graph, graph], EASY.vocab)
            given.append(model(latents, batch, step_generator(0, n))[0])
        return torch.stack(given)

    expected, counter = losses(), CompileCounterWithBackend("aot_eager")
    want, = torch.autograd.grad(expected.sum(), model.unet.context_local_mlp[0].weight)
    model.unet.compile(backend=counter, dynamic=False)  # as `sgdiff train` does
    out = losses()
    assert counter.frame_count == 1
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    got, = torch.autograd.grad(out.sum(), model.unet.context_local_mlp[0].weight)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)
    one = SceneGraphBatch.from_graphs([SceneGraph(words, [(0, "left of", 1)])], EASY.vocab)
    alone, padded = GraphToLatent.embed(model, one), model.embed(one)
    assert (padded.local.shape[1] + 1) % 16 == 0 and padded.mask.sum() == alone.mask.sum()
    x, c, u = latents[:1], model.unet.make_context, UNet.forward  # not compiled
    torch.testing.assert_close(
        u(model.unet, x, torch.tensor([3]), *c(padded)),
        u(model.unet, x, torch.tensor([3]), *c(alone)),
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_place_of_several_latents_is_a_channel_for_each():
    config = UNetConfig(in_channels=2, out_channels=2, model_channels=32, local_dim=96,
                        global_dim=32, patch=2, zero_init=False, position_channels=True)
    set_seed(0)
    unet = UNet(config)
    folded = UNet(replace(config, in_channels=8, out_channels=8, patch=1))
    folded.load_state_dict(unet.state_dict())
    context = unet.make_context(GraphEmbedding(
        torch.randn(3, 4, 96), torch.ones(3, 4, dtype=torch.bool), torch.randn(3, 32)))
    x, t = torch.randn(3, 2, 8, 8), torch.tensor([0, 500, 999])
    # rows and columns of 2 by 2 latents, by hand
    places = rearrange(x, "b c (h i) (w j) -> b (c i j) h w", i=2, j=2)
    want = rearrange(folded(places, t, *context), "b (c i j) h w -> b c (h i) (w j)", i=2, j=2)
    torch.testing.assert_close(unet(x, t, *context), want)
    with pytest.raises(ValueError, match="multiples of 4"): unet(x[..., :6], t, *context)
