"""The graph encoder at its edges: small graphs, wrong arguments, gradients, mixed precision."""
import pytest
import torch

from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.graph import SceneGraph
from sgdiff.graphs.vocab import Vocab
from sgdiff.method.graph_encoder import (
    GraphTripleConv,
    SceneGraphEncoder,
    SceneGraphEncoderConfig,
    pad_by_image,
    segment_mean,
)

VOCAB = Vocab(("__image__", "cat", "dog", "tree"), ("__in_image__", "left of", "above"))
OFFICIAL = dict(residual=False, norm=False, final_activation=True)
FORMS = [{}, OFFICIAL, dict(norm=False), dict(residual=False)]
GRAPHS = [SceneGraph.from_text("cat left of dog; tree above cat", VOCAB), SceneGraph(()),
          SceneGraph(("cat",)), SceneGraph(("cat", "dog"), ((0, "above", 1),) * 2),
          SceneGraph(("cat",), ((0, "above", 0),))]


def make(n_objects=4, **form):
    torch.manual_seed(0)
    return SceneGraphEncoder(SceneGraphEncoderConfig(n_objects, 3, 16, 16, 3, 16, **form)).eval()


def batch_of(*graphs, **options):
    return SceneGraphBatch.from_graphs(graphs, VOCAB, **options)


def test_no_rows_have_a_mean_of_zero_and_no_places():
    none = torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)
    assert segment_mean(*none, 3).tolist() == [[0, 0]] * 3
    assert pad_by_image(*none, 4)[0].shape == (4, 0, 2)
    assert pad_by_image(*none, 0)[1].shape == (0, 0)


def test_padding_agrees_with_pytorch_and_cuts_at_a_length():
    rows, to_img = torch.arange(1.0, 7).unsqueeze(1), torch.tensor([0, 0, 0, 2, 3, 3])
    parts = [rows[to_img == b] for b in range(4)]
    expected = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    torch.testing.assert_close(pad_by_image(rows, to_img, 4)[0], expected)
    cut = pad_by_image(rows, to_img, 4, length=2)[0]
    assert cut.squeeze(-1).tolist() == [[1, 2], [0, 0], [4, 0], [5, 6]]


def test_small_graphs_and_the_choice_of_rows():
    e = make()(batch_of(*GRAPHS))
    assert e.mask.sum(1).tolist() == [5, 0, 1, 4, 2]
    assert torch.isfinite(e.local).all() and torch.isfinite(e.global_).all()
    torch.testing.assert_close(e.local[3, 0], e.local[3, 1])  # given twice: two equal tokens
    assert len(e.index([2, 0])) == 2 and e.index(torch.tensor([2, 0])).mask.sum(1).tolist() == [1, 5]
    assert e.index(e.mask.any(1)).local.shape[0] == 4 and e.to("cpu").local.equal(e.local)
    assert make()(batch_of()).global_.shape == (0, 16)


def test_without_triples_there_are_no_tokens_and_a_cat_is_no_dog():
    bare = make()(batch_of(SceneGraph(("cat",)), SceneGraph(("dog",)), image_node=False))
    assert bare.local.shape == (2, 0, 48) and bare.mask.shape == (2, 0)
    assert not torch.allclose(bare.global_[0], bare.global_[1])


def test_a_convolution_counts_a_triple_as_often_as_it_is_given():
    torch.manual_seed(0)
    conv, objects, predicates = GraphTripleConv(8, 16), torch.randn(3, 8), torch.randn(2, 8)
    edges = torch.tensor([[0, 1], [1, 2]])
    once = conv(objects, predicates, edges)[0]
    every_twice = conv(objects, predicates.repeat(2, 1), edges.repeat(2, 1))[0]
    torch.testing.assert_close(once, every_twice)
    one_twice = conv(objects, predicates[[0, 1, 0]], edges[[0, 1, 0]])[0]
    assert not torch.allclose(once, one_twice)


def silent(encoder, batch, use):
    "Names of the parameters without gradient from a random reading of the outputs `use`."
    encoder.zero_grad(set_to_none=True)
    e, g = encoder(batch), torch.Generator().manual_seed(0)
    read = [(v * torch.randn(v.shape, generator=g)).sum() for v in (getattr(e, name) for name in use)]
    sum(read).backward()
    return {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradients_reach_all_that_is_used_and_nothing_else(form):
    encoder, batch = make(**form), batch_of(*GRAPHS)
    assert silent(encoder, batch, ["local", "global_"]) == set() == silent(encoder, batch, ["global_"])
    only_local = silent(encoder, batch, ["local"])
    assert only_local == {"graph_projection.weight", "graph_projection.bias"}


def test_a_row_of_a_table_learns_only_from_its_word():
    encoder = make()
    silent(encoder, batch_of(SceneGraph(("cat",))), ["global_"])
    assert encoder.obj_embeddings.weight.grad.any(1).nonzero().flatten().tolist() == [0, 1]
    assert encoder.pred_embeddings.weight.grad.any(1).nonzero().flatten().tolist() == [0]


def test_without_triples_predicates_do_not_learn():
    no_triples = silent(make(), batch_of(SceneGraph(("cat",)), image_node=False), ["global_"])
    never = {"pred_embeddings.weight", "graph_conv.net1.0.weight", "graph_conv.net2.0.weight"}
    assert never <= no_triples
    still = {"obj_embeddings.weight", "graph_projection.weight", "graph_conv.net2.0.bias"}
    assert not still & no_triples


def test_mixed_precision_stays_near_full_precision():
    encoder, batch = make(), batch_of(*GRAPHS)
    with torch.autocast("cpu", dtype=torch.bfloat16): mixed = encoder(batch)
    assert torch.isfinite(mixed.global_).all() and mixed.local.dtype == torch.float32
    torch.testing.assert_close(mixed.local, encoder(batch).local, atol=0.1, rtol=0.1)


COLOURED = Vocab(VOCAB.objects, VOCAB.predicates, attributes=("red", "blue", "small"))
SAID = SceneGraph(("cat", "dog", "cat"), ((0, "left of", 1), (2, "above", 1)), None,
                  (("red", "small"), (), ("blue",)))


def coloured(*graphs, **options):
    return SceneGraphBatch.from_graphs(graphs, COLOURED, **options)


def close(a, b, rows=slice(None)):
    torch.testing.assert_close(a.global_, b.global_, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(a.local[:, rows], b.local, atol=1e-5, rtol=1e-5)


def entering(encoder, batch):
    "The vectors of objects that come to the first convolution."
    met = []
    hook = encoder.graph_conv.register_forward_pre_hook(lambda _, args: met.append(args[0]))
    encoder(batch)
    hook.remove()
    return met[0]


def test_without_the_switches_an_encoder_is_what_it_was():
    plain, told = make(), make(n_attributes=3, counts=True)
    more = {"attribute_embeddings.weight", "count_embeddings.weight"}
    assert set(told.state_dict()) - set(plain.state_dict()) == more
    bare = SceneGraph(SAID.objects, SAID.triples)
    assert plain(coloured(SAID)).global_.equal(plain(batch_of(bare)).global_)
    official = SceneGraphEncoderConfig.official()
    assert official.n_attributes == 0 and not official.counts
    state = {name: told.state_dict()[name] for name in plain.state_dict()}
    told.attribute_embeddings.weight.data.zero_(); told.count_embeddings.weight.data.zero_()
    plain.load_state_dict(state)
    assert told(coloured(SAID)).global_.equal(plain(batch_of(bare)).global_)


def test_an_attribute_is_added_to_its_object_alone():
    encoder = make(n_attributes=3)
    words, table = encoder.obj_embeddings.weight, encoder.attribute_embeddings.weight
    cat, dog, image = words[1], words[2], words[0]
    expected = torch.stack([cat + table[0] + table[2], dog, cat + table[1], image])
    torch.testing.assert_close(entering(encoder, coloured(SAID)), expected)


def test_a_picture_is_told_how_many_it_holds_of_a_word():
    encoder = make(counts=True)
    batch = batch_of(SceneGraph(("cat",) * 2 + ("dog",)), SceneGraph(("cat",) * 6), SceneGraph(()))
    rows = [2, 2, 1, 1] + [4] * 6 + [1, 1]
    expected = encoder.obj_embeddings(batch.objects) + encoder.count_embeddings.weight[rows]
    torch.testing.assert_close(entering(encoder, batch), expected)


def test_one_cat_is_not_two_where_cats_are_counted():
    one, two = SceneGraph(("cat",)), SceneGraph(("cat", "cat"))
    for counts in (False, True):
        e = make(counts=counts, residual=True)(batch_of(one, two, image_node=False))
        assert torch.allclose(e.global_[0], e.global_[1], atol=1e-5) is not counts


@pytest.mark.parametrize("form", [dict(n_attributes=3), dict(n_attributes=3, counts=True),
                                  dict(n_attributes=3, counts=True, **OFFICIAL)], ids=str)
def test_neither_order_nor_batch_matter_with_attributes(form):
    encoder = make(**form)
    alone = encoder(coloured(SAID))
    turned = SceneGraph(("cat", "cat", "dog"), ((1, "left of", 2), (0, "above", 2)), None,
                        (("blue",), ("small", "red"), ()))
    close(alone, encoder(coloured(turned)), [0, 1, 4, 2, 3])
    other = SceneGraph(("cat", "tree"), (), None, (("blue",), ("small",)))
    together = encoder(coloured(other, SAID, SceneGraph(())))
    torch.testing.assert_close(together.global_[1:2], alone.global_, atol=1e-5, rtol=1e-5)
    otherwise = SceneGraph(SAID.objects, SAID.triples, None, (("blue",), (), ("red", "small")))
    assert not torch.allclose(encoder(coloured(otherwise)).global_, alone.global_, atol=1e-3)


def test_attributes_and_counts_learn():
    encoder = make(n_attributes=3, counts=True)
    assert silent(encoder, coloured(SAID), ["local", "global_"]) == set()
    assert encoder.attribute_embeddings.weight.grad.any(1).all()
    assert encoder.count_embeddings.weight.grad.any(1).tolist() == [False, True, True, False, False]
    assert "attribute_embeddings.weight" in silent(encoder, batch_of(*GRAPHS), ["global_"])
    assert encoder.attribute_embeddings.weight.grad is not None      # no attributes: zeros


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"attribute ids must lie in \[0, 2\), got 0 to 2; give .*"
                       "n_attributes of the vocabulary"):
        make(n_attributes=2)(coloured(SAID))
    with pytest.raises(ValueError, match="n_attributes is -1"):
        SceneGraphEncoderConfig(5, 5, n_attributes=-1)
    with pytest.raises(ValueError, match="residual needs output_dim == dim, got 12 and 8"):
        GraphTripleConv(8, 16, output_dim=12)
    with pytest.raises(ValueError, match=r"object ids must lie in \[0, 2\), got 0 to 3"):
        make(n_objects=2)(batch_of(*GRAPHS))
    with pytest.raises(ValueError, match="n_layers is 0"):
        SceneGraphEncoderConfig(5, 5, n_layers=0)
