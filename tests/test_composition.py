"""Trainings that lack pairs: they lack them in the graph, in the boxes and in every telling; the
dials stand where they say; all are asked the same."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from sgdiff.evidence import composition
from sgdiff.evidence.composition import (
    BUDGETS, LEFT, RIGHT, ROWS, THINGS, CompositionRow, asked, balance, chosen, completeness,
    in_a_mirror, lesson, ring, role_matrix, shown)
from sgdiff.evidence.composition_table import CLAIMS
from sgdiff.evidence.conditioning import GraphToLatent, build, preset_of
from sgdiff.evidence.defects import first_model
from sgdiff.method.pretraining import PretrainingModel
from sgdiff.toy.recipes import PRESETS
from sgdiff.toy.world import graph_signature

TINY = replace(BUDGETS["trial"], scenes=400)
TRAINED = {name: row for name, row in ROWS.items() if row.drawn != "true"}
NEVER = {*ring(4), *ring(4, turned=True)}


def said_pairs(graph):
    "Who stands left of whom, by what is said: a second implementation."
    words = graph.named_triples()
    return ({(s, o) for s, p, o in words if p == "left of"}
            | {(o, s) for s, p, o in words if p == "right of"})


def seen_pair(graph):
    "Who stands left of whom, by the boxes."
    middle = {word: x0 + x1 for word, (x0, _, x1, _) in zip(graph.objects, graph.boxes)
              if word in THINGS}
    return tuple(sorted(middle, key=middle.__getitem__))


def test_the_rings_are_all_pairs_of_a_left_and_a_right_thing():
    usual = [pair for step in range(5) for pair in ring(step)]
    turned = [pair for step in range(5) for pair in ring(step, turned=True)]
    assert {*LEFT}.isdisjoint(RIGHT) and len(usual) == len({*usual}) == 25
    assert {*usual} == {(left, right) for left in LEFT for right in RIGHT}
    assert {*turned} == {pair[::-1] for pair in usual}


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_lacks_what_it_says_in_every_telling(name):
    row = ROWS[name]
    pairs = {*shown(row)}
    assert len(pairs) == 20 and pairs.isdisjoint(NEVER)
    if row.mirrored: pairs |= {pair[::-1] for pair in pairs}
    data, rng, told = lesson(row, 0, TINY), np.random.default_rng(0), set()
    for graph in data.graphs:
        said = data.thin_graph(graph, rng, keep_all=1.0)  # what a step of the training reads
        assert said_pairs(said) == said_pairs(graph) == {seen_pair(graph)}
        told |= said_pairs(said)
    assert told == pairs


def test_the_dials_stand_where_they_say():
    budget = replace(TINY, pool=2000, scenes=2000)
    roles = [role_matrix(chosen(CompositionRow(both), 0, budget).graphs) for both in range(6)]
    assert [completeness(r) for r in roles] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    even = [balance(r) for r in roles]
    assert even == sorted(even) and even[0] == 0 and even[-1] == pytest.approx(1)
    for n in (3, 10, 30):  # each thing twice on its usual side and 2 / n times on the other
        found = role_matrix(chosen(CompositionRow(turned=1 / n), 0, budget).graphs)
        assert balance(found) == pytest.approx(2 / (n + 1), rel=0.1) and completeness(found) == 1
    for r in roles: assert (r > 0).sum() == 20 and r.sum() == 2000


def test_balance_and_completeness_of_matrices_by_hand():
    roles = np.zeros((10, 10), int)
    roles[:5, 5:] = 1
    assert completeness(roles) == balance(roles) == 0
    assert completeness(roles + roles.T) == balance(roles + roles.T) == 1
    assert balance(3 * roles + roles.T) == pytest.approx(0.5)


def test_one_end_is_another_telling_of_the_same_scenes():
    both, one = (lesson(CompositionRow(one_end=end), 0, TINY) for end in (False, True))
    assert both.graphs == one.graphs and torch.equal(both.images, one.images)
    rng = np.random.default_rng(0)
    def subjects(data): return {s for g in data.graphs for s, p, _ in
                                data.thin_graph(g, rng, keep_all=1.0).named_triples()
                                if p in ("left of", "right of")}
    assert subjects(one) == {*LEFT} and subjects(both) == {*THINGS}


def test_a_mirror_turns_picture_and_graph_and_twice_nothing():
    plain, half = (lesson(CompositionRow(0, mirrored=m), 0, TINY) for m in (False, True))
    assert torch.equal(half.images[::2], plain.images[::2].flip(-1))
    assert torch.equal(half.images[1::2], plain.images[1::2])
    assert half.graphs[1::2] == plain.graphs[1::2]
    for old, new in zip(plain.graphs[::2], half.graphs[::2]):
        assert seen_pair(new) == seen_pair(old)[::-1]
        again = in_a_mirror(new)
        assert again.triples == old.triples and np.allclose(again.boxes, old.boxes)


def test_all_rows_are_asked_the_same_and_nothing_that_they_were_told():
    first = asked(ROWS["skewed"], TINY)
    for name, row in TRAINED.items():
        questions = asked(row, TINY)
        lessons = {graph_signature(graph) for graph in lesson(row, 0, TINY).graphs}
        for kind, data in questions.items():
            pairs = {"seen": {*shown(row)}, "new": {*ring(4)},
                     "turned": {*ring(4, turned=True)}}[kind]
            assert len(data) == TINY.graphs and {seen_pair(g) for g in data.graphs} <= pairs
            assert lessons.isdisjoint(map(graph_signature, data.graphs)), (name, kind)
            if kind != "seen": assert data.graphs == first[kind].graphs


def test_scenes_are_the_same_again():
    first = lesson(ROWS["skewed, mirrored"], 1, TINY)
    composition.scenes_of.cache_clear()
    again = lesson(ROWS["skewed, mirrored"], 1, TINY)
    assert first.graphs == again.graphs and torch.equal(first.images, again.images)
    assert lesson(ROWS["skewed, mirrored"], 2, TINY).graphs != first.graphs


def test_three_things_are_told_in_words_that_two_have_taught():
    data = composition.three_things(12)
    assert len(data) == 12
    for graph in data.graphs:
        assert len({*graph.objects} & {*THINGS}) == 3 and said_pairs(graph)
        between = {p for s, p, o in graph.named_triples() if {s, o} <= {*THINGS}}
        assert between <= {"left of", "right of", "looking at", "looking away from"}


def test_answers_do_not_depend_on_who_is_asked_beside():
    data = asked(ROWS["skewed"], TINY)["turned"]
    alone = [composition.part_of(data, [i]) for i in range(len(data))]
    model = first_model(PretrainingModel, 0, TINY.dim).eval()
    together = composition.ask_encoder(model, data)
    for end, answers in together.items():
        assert answers.tolist() == [composition.ask_encoder(model, one)[end][0] for one in alone]
    unet = build("diffusion", replace(preset_of(TINY, 0), dim=TINY.dim))
    torch.nn.init.normal_(unet.out[-1].weight, std=0.1)
    drawer = GraphToLatent(model.graph_encoder, unet, PRESETS["easy"].diffusion).eval()
    drawn = composition.pictures(drawer, data, 70, TINY)
    for i, one in enumerate(alone):
        lone = composition.pictures(drawer, one, 70 + i, TINY)
        assert torch.allclose(drawn[i], lone[0], atol=1e-4)
    assert (drawn[0] - drawn[1]).abs().max() > 0.01


class Says:
    "A judge that sees all that is asked for, and answers by a rule."
    def __init__(self, graphs, rule): self.graphs, self.rule = graphs, rule
    def objects(self, images): return [{*graph.objects} for graph in self.graphs]
    def answer(self, images, questions): return [[self.rule(*q) for q in qs] for qs in questions]


@pytest.mark.parametrize("usual", [True, False])
def test_a_judge_that_sees_the_usual_way_alone_finds_turned_pairs_the_other_way_round(usual):
    def rule(s, p, o): return ((s in LEFT) == (p == "left of")) == usual
    for kind, data in asked(ROWS["skewed"], TINY).items():
        found = composition.ask_pictures(data.images, data.graphs, Says(data.graphs, rule))
        as_asked = (kind != "turned") == usual
        assert found["things"].all() and (found["side"] == as_asked).all()
        assert (found["other side"] != as_asked).all()


def test_the_encoder_of_complete_pairs_is_that_of_the_complete_row():
    tiny = BUDGETS["trial"]
    whole = composition.encoder_of(ROWS["complete"], 0, tiny)
    assert composition.encoder_of(ROWS["skewed, encoder complete"], 0, tiny) is whole
    assert composition.encoder_of(ROWS["skewed"], 0, tiny) is not whole


def test_what_was_read_elsewhere_names_its_paper():
    sources = {claim.source for claim in CLAIMS}
    assert sources == {"ours", "arXiv 2403.16394", "arXiv 2310.09336"}
    assert all(row.n_wrong for name, row in ROWS.items() if "no hard" not in name)
