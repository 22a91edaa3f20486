"""Random graphs: no crash, and what comes out does not depend on the order of nodes and triples or
on what else is in the batch."""
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdiff.errors import SGDiffError
from sgdiff.method.graph_encoder import SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.edits import edit_graph, find_object, remove_object, without_relations
from sgdiff.graphs.graph import SceneGraph, check_graph
from sgdiff.graphs.names import object_names
from sgdiff.toy.world import (
    EASY, FLIPS, flip_triple, flippable, graph_signature, random_flip, thin_graph, turn)
from sgdiff.method.unet import UNet, UNetConfig

COLOURS, SIZES = ("red", "yellow", "blue", "purple"), ("small", "large")
VOCAB = replace(
    EASY.vocab, attributes=(*COLOURS, *SIZES), attribute_aliases={"big": "large"},
    attribute_kinds=(COLOURS, SIZES),
    attributes_of={word: (*COLOURS, *SIZES) if word in ("ball", "car", "house") else SIZES
                   for word in EASY.things})
torch.manual_seed(0)
ENCODER = SceneGraphEncoder(
    SceneGraphEncoderConfig(
        VOCAB.n_objects, VOCAB.n_predicates, dim=32, hidden_dim=32, n_layers=2, global_dim=32,
        n_attributes=VOCAB.n_attributes, counts=True
    )
).eval()
UNET = UNet(
    UNetConfig(
        model_channels=32,
        channel_mult=(1,),
        attention_levels=(0,),
        local_dim=96,
        global_dim=32,
        context_dim=32,
        zero_init=False,
    )
).eval()
words, predicates = st.sampled_from(VOCAB.objects[1:]), st.sampled_from(VOCAB.predicates[1:])


@st.composite
def graphs(draw, most=6):
    """A graph with up to `most` objects, each with what it may be: lone objects, double edges,
    self-loops and no edges at all included."""
    objects = draw(st.lists(words, min_size=1, max_size=most))
    rows = st.integers(0, len(objects) - 1)
    triples = draw(st.lists(st.tuples(rows, predicates, rows), max_size=8))
    said = [[draw(st.sampled_from((None, *kind))) for kind in VOCAB.attribute_kinds
             if kind[0] in VOCAB.attributes_for(word)] for word in objects]
    attributes = tuple(tuple(a for a in of if a) for of in said)
    return SceneGraph(tuple(objects), tuple(triples), None, attributes)


def encode(*gs):
    with torch.no_grad():
        return ENCODER(SceneGraphBatch.from_graphs(list(gs), VOCAB))


def denoise(embedding):
    "What the UNet says of one fixed latent under each graph."
    n = len(embedding.global_)
    x = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(1)).expand(n, -1, -1, -1)
    with torch.no_grad():
        return UNET(x, torch.full((n,), 500), *UNET.make_context(embedding))


def shuffled(graph, seed):
    "The same graph, nodes and triples in another order."
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(graph), generator=g).tolist()
    row = {old: new for new, old in enumerate(order)}
    triples = [(row[s], p, row[o]) for s, p, o in graph.triples]
    return SceneGraph(tuple(graph.objects[i] for i in order),
                      tuple(triples[i] for i in torch.randperm(len(triples), generator=g).tolist()),
                      None, tuple(graph.each_attributes[i][::-1] for i in order))


def things(graph):
    "The objects with what is said of them, in no order."
    return sorted(zip(graph.objects, graph.each_attributes))


def facts(graph):
    "The relations between objects with what is said of them, in no order."
    whole = list(zip(graph.objects, graph.each_attributes))
    return sorted((whole[s], p, whole[o]) for s, p, o in graph.triples)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 1000))
def test_order_does_not_matter(graph, seed):
    a, b = encode(graph), encode(shuffled(graph, seed))
    torch.testing.assert_close(a.global_, b.global_, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(denoise(a), denoise(b), rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(graphs(), min_size=2, max_size=4))
def test_the_rest_of_the_batch_does_not_matter(gs):
    together = encode(*gs)
    drawn = denoise(together)
    for i, graph in enumerate(gs):
        alone = encode(graph)
        torch.testing.assert_close(together.global_[i:i + 1], alone.global_, rtol=1e-4, atol=1e-5)
        n = int(alone.mask.sum())
        assert int(together.mask[i].sum()) == n
        torch.testing.assert_close(
            together.local[i][together.mask[i]], alone.local[0][alone.mask[0]], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(drawn[i:i + 1], denoise(alone), rtol=1e-3, atol=1e-4)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_text_json_and_networkx_bring_the_graph_back(graph):
    assert SceneGraph.from_json(graph.to_json()) == graph
    other = SceneGraph.from_networkx(graph.to_networkx())
    assert other.objects == graph.objects and sorted(other.triples) == sorted(graph.triples)
    assert other.attributes == graph.attributes
    again = SceneGraph.from_text(graph.to_text(), VOCAB)
    assert things(again) == things(graph) and facts(again) == facts(graph)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_names_lead_to_the_objects_that_have_them(graph):
    names = object_names(graph)
    assert len(set(names)) == len(names)
    assert [find_object(graph, name) for name in names] == list(range(len(graph)))
    for row, name in enumerate(names):
        assert edit_graph(graph, f"remove the {name}", VOCAB) == remove_object(graph, row)
    checked = check_graph(replace(graph, triples=()), VOCAB)
    assert checked.attributes == graph.attributes


@settings(max_examples=100, deadline=None)
@given(graphs(), st.data())
def test_an_object_is_made_what_it_can_be_and_nothing_else_changes(graph, data):
    row = data.draw(st.integers(0, len(graph) - 1))
    name, word = object_names(graph)[row], graph.objects[row]
    asked = data.draw(st.sampled_from(VOCAB.attributes))
    if asked not in VOCAB.attributes_for(word):
        with pytest.raises(SGDiffError, match=f"'{word}' cannot be '{asked}'"):
            edit_graph(graph, f"make {name} {asked}", VOCAB)
        return
    made = edit_graph(graph, f"make {name} {asked}", VOCAB)
    others = COLOURS if asked in COLOURS else SIZES
    kept = {a for a in graph.each_attributes[row] if a not in others}
    assert set(made.each_attributes[row]) == kept | {asked}
    assert (made.objects, made.triples) == (graph.objects, graph.triples)
    assert all(made.each_attributes[i] == graph.each_attributes[i]
               for i in range(len(graph)) if i != row)


@settings(max_examples=50, deadline=None)
@given(graphs(), st.integers(0, 1000))
def test_what_is_said_of_a_thing_stays_with_it(graph, seed):
    import numpy as np
    rng, whole = np.random.default_rng(seed), things(graph)
    thin = thin_graph(graph, rng)
    assert all(thing in whole for thing in things(thin))
    assert sum(word in EASY.things for word in thin.objects) == sum(
        word in EASY.things for word in graph.objects)
    flipped = random_flip(graph, rng)
    assert flipped is None or things(flipped) == whole
    assert things(without_relations(graph)) == whole and things(shuffled(graph, seed)) == whole
    batch = SceneGraphBatch.from_graphs([graph, graph], VOCAB)
    said = sum(map(len, graph.each_attributes))
    assert batch.attributes.shape == (2 * said, 2)
    again = [(batch.objects[row], a) for row, a in batch.attributes]
    told = [(VOCAB.object_id(w), VOCAB.attribute_id(a)) for w, of in whole for a in of]
    assert sorted((int(o), int(a)) for o, a in again) == sorted(2 * told)


@settings(max_examples=100, deadline=None)
@given(graphs(), st.text(max_size=30), st.text(max_size=30))
def test_any_text_and_any_edit_is_read_or_refused_in_words(graph, text, change):
    for attempt in (
        lambda: SceneGraph.from_text(text, VOCAB),
        lambda: edit_graph(graph, change, VOCAB),
        lambda: check_graph(graph, VOCAB),
    ):
        try:
            attempt()
        except SGDiffError as e:
            assert str(e)


@settings(max_examples=100, deadline=None)
@given(graphs(), st.integers(0, 1000))
def test_thinning_turning_and_flipping_stay_within_the_graph(graph, seed):
    import numpy as np
    rng = np.random.default_rng(seed)
    thin = thin_graph(graph, rng)
    told = set(graph.named_triples()) | {turn(t) for t in graph.named_triples()}
    assert set(thin.named_triples()) <= told
    assert graph_signature(shuffled(graph, seed)) == graph_signature(graph)
    for i in flippable(graph):
        assert flip_triple(graph, i).triples[i][1] == FLIPS[graph.triples[i][1]]
    flipped = random_flip(graph, rng)
    assert (
        flipped is None
        or flipped.objects == graph.objects and len(flipped.triples) == len(graph.triples)
    )


@pytest.mark.parametrize("n", [1, 30])
def test_large_and_small_graphs_are_drawn(n):
    graph = SceneGraph(("sheep",) * n, tuple((i, "left of", i + 1) for i in range(n - 1)))
    assert torch.isfinite(denoise(encode(graph))).all()


@pytest.mark.parametrize("graph", [SceneGraph(("sheep", "__image__")), SceneGraph(("sheep", "tree"), ((0, "__in_image__", 1),))])
def test_reserved_words_are_the_batch_s_own(graph):
    with pytest.raises(SGDiffError, match="__i.*leave it out"):
        check_graph(graph, VOCAB)
    # which adds one node and one edge, unasked
    batch = SceneGraphBatch.from_graphs([SceneGraph(("sheep",))], VOCAB)
    assert (
        batch.objects.tolist() == [VOCAB.object_id("sheep"), 0]
        and batch.triples.tolist() == [[0, 0, 1]]
    )
