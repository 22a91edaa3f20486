"""The official configuration computes what the official encoder computes, to 1e-4.

The tensors come from the official modules with random weights (tests/fixtures). The names of our
parameters coincide with the official ones, so no mapping is needed; the checkpoint's `logit_scale`
belongs to the contrastive head and is left out here.
"""
import re

import pytest
import torch
from official_tensors import golden, layout

from sgdiff.method.graph_encoder import GraphTripleConv, SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.graphs.batch import SceneGraphBatch

CLOSE = dict(atol=1e-4, rtol=1e-4)


@pytest.fixture
def official():
    "(encoder with the official weights, batch, all tensors)"
    weights, t = golden("encoder")
    assert weights.pop("logit_scale").shape == ()
    encoder = SceneGraphEncoder(SceneGraphEncoderConfig.official(13, 6, dim=32)).eval()
    encoder.load_state_dict(weights)  # strict: the same names and shapes
    batch = SceneGraphBatch(
        t["in/objs"],
        t["in/triples"],
        t["in/obj_to_img"],
        t["in/triple_to_img"],
        int(t["in/batch_size"]),
    )
    return encoder, batch, t


@torch.no_grad()
def test_embeddings(official):
    encoder, batch, t = official
    embedding = encoder(batch)
    torch.testing.assert_close(embedding.local, t["out/c_local"], **CLOSE)
    torch.testing.assert_close(embedding.global_, t["out/c_global"], **CLOSE)
    assert embedding.mask.shape == (4, 15) and embedding.mask.all()  # the official padding counts


@torch.no_grad()
def test_node_vectors(official):
    encoder, batch, t = official
    first = encoder.graph_conv(
        encoder.obj_embeddings(batch.objects),
        encoder.pred_embeddings(batch.triples[:, 1]),
        batch.triples[:, [0, 2]],
    )
    for got, stage in ((first, "after_graph_conv"), (encoder.encode_nodes(batch), "final")):
        torch.testing.assert_close(got[0], t[f"mid/obj_vecs_{stage}"], **CLOSE)
        torch.testing.assert_close(got[1], t[f"mid/pred_vecs_{stage}"], **CLOSE)


@torch.no_grad()
def test_one_triple_convolution():
    weights, t = golden("graphconv_sg2im")
    conv = GraphTripleConv(
        24, 16, output_dim=20, residual=False, norm=False, final_activation=True
    ).eval()
    conv.load_state_dict(weights)
    obj_vecs, pred_vecs = conv(t["in/obj_vecs"], t["in/pred_vecs"], t["in/edges"])
    torch.testing.assert_close(obj_vecs, t["out/obj_vecs"], **CLOSE)
    torch.testing.assert_close(pred_vecs, t["out/pred_vecs"], **CLOSE)


def test_keys_of_the_visual_genome_checkpoint():
    """Names, numbers and shapes as in the listing of the official checkpoint, where `*` stands for
    a number."""
    with torch.device("meta"):
        encoder = SceneGraphEncoder(SceneGraphEncoderConfig.official())
    ours = {}
    for name, value in encoder.state_dict().items():
        ours.setdefault(re.sub(r"\.\d+\.", ".*.", name), []).append(str(tuple(value.shape)))
    theirs = {
        name: (n, set(shapes.split(" | ")))
        for name, (n, shapes) in layout("keys_cgip_vg.txt").items()
        if name != "logit_scale"
    }
    assert {name: (len(shapes), set(shapes)) for name, shapes in ours.items()} == theirs


@torch.no_grad()
def test_our_form_takes_the_same_batch():
    "19 triples stay 19 tokens, padding is masked."
    _, t = golden("encoder")
    batch = SceneGraphBatch(
        t["in/objs"], t["in/triples"], t["in/obj_to_img"], t["in/triple_to_img"], 4
    )
    embedding = SceneGraphEncoder(SceneGraphEncoderConfig(13, 6))(batch)
    assert (
        embedding.local.shape == (4, 19, 384)
        and embedding.mask.sum(1).tolist() == [5, 19, 1, 15]
    )
