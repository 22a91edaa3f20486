"""torch.compile on the UNet: one graph without detours into Python, and the same answers and gradients."""
import torch

from sgdiff.graph_encoder import GraphEmbedding
from sgdiff.unet import UNet, UNetConfig


def test_compiles_to_one_graph():
    torch.manual_seed(0)
    unet = UNet(UNetConfig(model_channels=32, zero_init=False))
    embedding = GraphEmbedding(torch.randn(2, 5, 384), torch.arange(5) < torch.tensor([[5], [3]]), torch.randn(2, 128))
    x, t = torch.randn(2, 8, 8, 8), torch.tensor([3, 700])
    context, mask = unet.make_context(embedding)
    expected = unet(x, t, context, mask)
    compiled = torch.compile(unet, backend="aot_eager", fullgraph=True)  # this backend needs no compiler
    out = compiled(x, t, context, mask)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    weight = unet.input_blocks[0][0].weight
    want, = torch.autograd.grad(expected.square().mean(), weight, retain_graph=True)
    got, = torch.autograd.grad(out.square().mean(), weight)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
