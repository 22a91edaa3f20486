"""The evidence: intervals against closed forms, tables that are continued and never mixed, the
command as a person meets it. The parts here are coins: they take no time. Of the defects, each is
put into a training of two steps."""
import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import site_pages
from run_notebooks import ROOT
from small_models import small_pipeline
from sgdiff.cli import main
from sgdiff.errors import SGDiffError
from sgdiff.evidence import (
    ablate, conditioning, defects, full_marks_table, global_local_table, heads_table,
    manipulation_table, parts)
from sgdiff.evidence.composition_table import COMPOSITION
from sgdiff.evidence.conditioning_table import CONDITIONING
from sgdiff.evidence.defects_table import DEFECTS
from sgdiff.evidence.full_marks_table import FULL_MARKS, NAMES, facts_met, facts_of, marked
from sgdiff.evidence.global_local_table import GLOBAL_LOCAL, TOKENS
from sgdiff.evidence.heads_table import HEADS, heads_of, heads_off, moved_tokens, tokens_moved
from sgdiff.evidence.manipulation_table import (
    KINDS, MANIPULATION, alike, edits_of, kept, obeyed, true_triples)
from sgdiff.evidence.parts import (
    Claim, Part, longest_results, packed, read_results, results_path, run_part, table_lines,
    to_markdown, unpacked)
from sgdiff.evidence.retrieval_table import RETRIEVAL
from sgdiff.evidence.speed_table import SPEED
from sgdiff.evidence.statistics import difference, estimate, seeds_needed, student, verdict
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.graph import SceneGraph
from sgdiff.method.graph_encoder import SceneGraphEncoder
from sgdiff.method.masked import choose_objects, object_mask
from sgdiff.toy.compliance import compliance, judged
from sgdiff.toy.judge import Judge
from sgdiff.toy.marks import Marks, marks
from sgdiff.toy.obedience import edit_marks, with_facts
from sgdiff.toy.park import LAND, PARK
from sgdiff.toy.placing import THINGS
from sgdiff.toy.reader import Reading, load_reader
from sgdiff.toy.recipes import PRESETS, build, encoder_config
from sgdiff.toy.world import EASY, FAMILIES, flip_triple, flippable, make_dataset


@dataclass(frozen=True)
class Throws:
    seeds: int = 3
    throws: int = 50


@dataclass(frozen=True)
class Coin:
    heads: float


def throw(coin, seed, budget):
    rng = np.random.default_rng([seed, int(100 * coin.heads)])
    return {"heads": rng.random(budget.throws) < coin.heads}


def coin_part(run=throw, **changes):
    settings = dict(
        name="coins", title="Coins", about="Coins.", rows={"a": Coin(0.9), "b": Coin(0.4)},
        budgets={"full": Throws(), "quick": Throws(2, 20), "trial": Throws(2, 8)}, run=run,
        tables={"Throws": ("heads",)}, claims=(Claim("a beats b", "a", "b", "heads"),))
    return Part(**settings | changes)


@pytest.fixture(autouse=True)
def _one_code(monkeypatch):
    "The coins' code is this file, which is no module of the package."
    monkeypatch.setattr(parts, "fingerprint", lambda module: "0123456789abcdef")


def quiet(line): pass


# --- statistics

ANSWERS = st.integers(2, 5).flatmap(lambda seeds: st.lists(
    st.lists(st.integers(0, 1), min_size=6, max_size=6), min_size=seeds, max_size=seeds))


@given(ANSWERS)
@settings(max_examples=30, deadline=None)
def test_an_interval_is_that_of_student_and_of_the_bootstrap(rows):
    x = np.array(rows, float)
    found = estimate(dict(enumerate(x)))
    seeds = student(len(x) - 1) * x.mean(1).std(ddof=1) / math.sqrt(len(x))
    questions = 1.96 * x.mean(0).std() / math.sqrt(6)  # what the bootstrap comes to
    assert found.mean == pytest.approx(x.mean())
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    assert found.high - found.mean == pytest.approx(math.hypot(seeds, questions), rel=0.1, abs=1e-6)


@given(ANSWERS)
@settings(max_examples=30, deadline=None)
def test_a_difference_turns_round_and_pairs_by_seed(rows):
    ours = {seed: np.array(row, float) for seed, row in enumerate(rows)}
    theirs = {seed: 1 - row for seed, row in ours.items()}
    there, back = difference(ours, theirs), difference(theirs, ours)
    assert (there.mean, there.low) == pytest.approx((-back.mean, -back.high))
    assert difference(ours, ours | {99: np.ones(6)}).high == 0  # a seed that only one has
    mixed = dict(reversed(ours.items()))
    assert difference(mixed, theirs) == there


def test_a_verdict_needs_the_whole_interval():
    sure = {seed: np.full(400, 0.03) for seed in range(3)}
    assert [verdict(estimate(sure), least) for least in (0.01, 0.05)] == ["holds", "does not hold"]
    wide = {0: np.zeros(400), 1: np.full(400, 0.1), 2: np.zeros(400)}
    assert verdict(estimate(wide)) == verdict(estimate({0: sure[0]})) == verdict(None)
    assert verdict(None) == "cannot be told here"


def test_seeds_that_are_needed_are_enough_and_one_less_is_not():
    for spread, gap in ((0.03, 0.05), (0.05, 0.02), (0.01, 0.04)):
        n = seeds_needed(spread, gap)
        assert student(n - 1) * spread / math.sqrt(n) <= gap
        assert n == 2 or student(n - 2) * spread / math.sqrt(n - 1) > gap


# --- parts

@given(st.lists(st.booleans(), max_size=40))
def test_packed_answers_come_back(answers):
    assert unpacked(json.loads(json.dumps(packed(answers)))).tolist() == answers


def test_a_table_that_was_stopped_goes_on(tmp_path):
    done = []

    def stopped(coin, seed, budget):
        if len(done) == 3: raise KeyboardInterrupt
        done.append((coin.heads, seed))
        return throw(coin, seed, budget)

    with pytest.raises(KeyboardInterrupt):
        run_part(coin_part(stopped), "full", tmp_path, tell=quiet)
    assert len(read_results(tmp_path / "coins.json").cells) == 3
    told = []
    result = run_part(coin_part(), "full", tmp_path, tell=told.append)
    whole = run_part(coin_part(), "full", tmp_path / "at once", tell=quiet)
    assert len(told) == 3 and result.cells.keys() == whole.cells.keys()
    for cell in whole.cells: assert result.cells[cell]["answers"] == whole.cells[cell]["answers"]


def test_results_of_other_code_or_settings_are_refused_and_kept(tmp_path, monkeypatch):
    run_part(coin_part(), "full", tmp_path, tell=quiet)
    before = (tmp_path / "coins.json").read_bytes()
    others = {"settings": coin_part(rows={"a": Coin(0.8), "b": Coin(0.4)}), "code": coin_part()}
    for what, part in others.items():
        if what == "code": monkeypatch.setattr(parts, "fingerprint", lambda module: "f" * 16)
        with pytest.raises(SGDiffError, match=f"results of other {what} .*--anew"):
            run_part(part, "full", tmp_path, tell=quiet)
        assert (tmp_path / "coins.json").read_bytes() == before
    anew = run_part(coin_part(), "full", tmp_path, seeds=1, anew=True, tell=quiet)
    assert anew.head["code"] == "f" * 16 and len(anew.cells) == 2


def test_the_budgets_have_files_of_their_own(tmp_path):
    for kind in ("full", "quick"): run_part(coin_part(), kind, tmp_path, tell=quiet)
    names = {results_path(coin_part(), kind, tmp_path).name for kind in ("full", "quick", "trial")}
    assert names == {"coins.json", "coins-quick.json", "coins-trial.json"}
    assert sorted(p.name for p in tmp_path.glob("coins*")) == [
        "coins-quick.json", "coins-quick.md", "coins.json", "coins.md"]


def test_values_stand_as_they_are_with_an_interval_over_seeds(tmp_path):
    def weigh(coin, seed, budget):
        return throw(coin, seed, budget) | {"grams": [coin.heads + [0.1, 0.25, -0.2][seed]]}

    part = coin_part(weigh, tables={"Throws": ("heads", "grams")},
                     claims=(Claim("a is heavier", "a", "b", "grams", 0.4),))
    results = run_part(part, "full", tmp_path, tell=quiet)
    there = read_results(tmp_path / "coins.json")
    assert there.cells == results.cells and there.is_share("heads")
    assert not there.is_share("grams")
    values = np.array([1.0, 1.15, 0.7])
    half = student(2) * values.std(ddof=1) / math.sqrt(3)
    shown = f"{values.mean():.3f} ± {values.std(ddof=1):.3f} ({values.mean() - half:.3f} to "
    text = (tmp_path / "coins.md").read_text()
    assert shown in table_lines(part, there, "Throws")[2] and shown in text
    assert "| a is heavier | paper | +0.500 ± 0.000 (+0.500 to +0.500) | holds |" in text


@pytest.mark.parametrize("values", ["3", [[1.0]], ["x"], [math.nan], [math.inf], None])
def test_values_that_are_no_numbers_are_refused(tmp_path, values):
    run_part(coin_part(), "full", tmp_path, tell=quiet)
    path = tmp_path / "coins.json"
    whole = json.loads(path.read_text())
    whole["cells"][0]["answers"]["heads"] = {"values": values}
    path.write_text(json.dumps(whole))
    with pytest.raises(SGDiffError, match="coins.json"): read_results(path)


def test_a_chapter_shows_the_longest_results_or_a_trial(tmp_path):
    part = coin_part()
    trial = longest_results(part, tmp_path, "b")
    assert trial.head["budget"] == "trial" and {row for row, _ in trial.cells} == {"b"}
    assert not any(tmp_path.iterdir())
    for kind in ("quick", "full"):
        run_part(part, kind, tmp_path, seeds=1, tell=quiet)
        assert longest_results(part, tmp_path, "b").head["budget"] == kind


@pytest.mark.parametrize("wrong", [
    {"cells": 3}, {"cells": [{"row": "a", "seed": 0}]}, {"code": None},
    {"cells": [{"row": "a", "seed": 0, "seconds": 1, "answers": {"heads": {"n": 9, "bits": "f"}}}]},
    {"cells": [{"row": "a", "seed": 0, "seconds": 1, "answers": {"heads": {"n": 9, "bits": "ff"}}}]},
])
def test_a_broken_results_file_is_named(tmp_path, wrong):
    run_part(coin_part(), "full", tmp_path, tell=quiet)
    path = tmp_path / "coins.json"
    whole = json.loads(path.read_text()) | wrong
    path.write_text(json.dumps({k: v for k, v in whole.items() if v is not None}))
    with pytest.raises(SGDiffError, match="coins.json"):
        run_part(coin_part(), "full", tmp_path, tell=quiet)


def test_a_table_says_where_it_comes_from_and_what_it_lacks(tmp_path):
    result = run_part(coin_part(rows={"a": Coin(0.9), "b": Coin(0.4)}), "quick", tmp_path, tell=quiet)
    text = to_markdown(coin_part(rows={"a": Coin(0.9), "b": Coin(0.4), "c": Coin(0.1)}), result)
    assert "`sgdiff ablate coins --quick`, seeds 0, 1" in text and "| c |" not in text
    mean = 100 * np.mean([throw(Coin(0.9), seed, Throws(2, 20))["heads"] for seed in (0, 1)])
    assert f"| a | {mean:.1f} ± " in text and text == (tmp_path / "coins-quick.md").read_text()


def test_a_fingerprint_follows_code_and_not_words(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(
        parts, "_place", lambda name: tmp_path.joinpath(*name.split(".")[1:]).with_suffix(".py"))
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "low.py").write_text("X = 1\n")
    high, low = tmp_path / "room" / "high.py", tmp_path / "room" / "low.py"
    high.write_text("'Doc.'\nfrom .low import X\nimport os\n\n\ndef f(): return X  # one\n")
    first = parts.fingerprint("sgdiff.room.high")
    assert parts.modules_read("sgdiff.room.high") == ["sgdiff.room.high", "sgdiff.room.low"]
    high.write_text("from .low import X\nimport os\ndef f():\n    'The X.'\n    return X\n")
    assert parts.fingerprint("sgdiff.room.high") == first
    low.write_text("X = 2\n")
    assert parts.fingerprint("sgdiff.room.high") != first
    low.write_text("from sgdiff.room import third\nX = 1\n")
    (tmp_path / "room" / "third.py").write_text("from . import high\n")
    assert "sgdiff.room.third" in parts.modules_read("sgdiff.room.high")


# --- the defects

TRIAL = defects.BUDGETS["trial"]


@pytest.fixture(scope="module")
def eight():
    "Eight scenes, their batch, and the objects that are hidden in them."
    data = make_dataset(EASY, 8, seed=3, progress=False)
    batch = SceneGraphBatch.from_graphs(data.graphs, EASY.vocab)
    return data.pixels(range(8)), batch, choose_objects(batch, torch.Generator().manual_seed(1), 1)


def masked_part(loss, eight):
    "What the masked loss sees and asks in a first step: squared error, count, the picture's mask."
    images, batch, chosen = eight
    model, seen = defects.first_model(defects.LOSSES[loss], 0, 32), []
    own = model.image_encoder.forward
    model.image_encoder.forward = lambda x, mask=None: (seen.append(mask), own(x, mask))[1]
    torch.manual_seed(5)
    _, metrics = model(images, batch, chosen)
    return float(metrics["masked"]), seen[-1]


def test_a_defect_of_the_loss_changes_what_is_said_of_it_and_nothing_else(eight):
    _, batch, chosen = eight
    hidden = object_mask(batch, 32, chosen)
    (ours, mask), (adding, sums) = (masked_part(n, eight) for n in ("", "hidden boxes add up"))
    assert torch.equal(mask, hidden) and torch.equal(sums > 0, hidden) and sums.max() == 2
    assert ours != adding
    overall, mask = masked_part("loss over everything", eight)
    assert torch.equal(mask, hidden) and overall != ours
    _, sums = masked_part("the image among them", eight)
    whole = (sums > 0).flatten(1).all(1)
    assert whole.any() and sums.max() > 2 and not hidden.flatten(1).all(1).any()
    assert masked_part("head never trained", eight)[0] == ours  # the first head is the same one


def test_where_no_boxes_meet_adding_them_up_costs_nothing(eight):
    images, batch, chosen = eight
    first = {int(i): row for row, i in reversed([*enumerate(batch.obj_to_img)]) if chosen[row]}
    one = torch.zeros_like(chosen)
    one[list(first.values())] = True
    alone = images, batch, one
    assert masked_part("", alone)[0] == masked_part("hidden boxes add up", alone)[0]


def test_a_head_that_is_never_trained_is_another_one_each_epoch(eight, monkeypatch):
    monkeypatch.setattr(defects, "EPOCH", 2)
    model, heads = defects.first_model(defects.LOSSES["head never trained"], 0, 32), []
    for _ in range(4):
        loss, _ = model(*eight)
        loss.backward()
        heads.append(model.masked_head.to_pixels[1].weight.clone())
    assert torch.equal(heads[0], heads[1]) and torch.equal(heads[2], heads[3])
    assert not torch.equal(heads[1], heads[2])
    assert all(p.grad is None for p in model.masked_head.parameters())
    assert all(p.grad is not None for p in model.graph_encoder.parameters())


@pytest.mark.parametrize("form", defects.FORMS)
def test_a_form_keeps_the_weights_and_reads_graphs_one_by_one_as_together(form, eight):
    graphs = [SceneGraph(("sheep", "tree"), ((0, "left of", 1),)), SceneGraph(("car",)),
              SceneGraph(("dog", "sky", "car"), ((0, "below", 1), (2, "right of", 0)))]
    plain = defects.first_model(defects.PretrainingModel, 0, 32).eval()
    model = defects.with_form(plain, form)
    old, new = (m.graph_encoder.state_dict() for m in (plain, model))
    assert all(map(torch.equal, old.values(), new.values()))
    with torch.no_grad():
        told = model.graph_encoder(SceneGraphBatch.from_graphs(graphs, EASY.vocab))
        for i, graph in enumerate(graphs):
            alone = model.graph_encoder(SceneGraphBatch.from_graphs([graph], EASY.vocab))
            torch.testing.assert_close(told.global_[[i]], alone.global_, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(told.local[i][told.mask[i]], alone.local[0][alone.mask[0]],
                                       atol=1e-5, rtol=1e-4)


def test_orphans_are_one_and_the_same_only_where_layers_replace_without_an_image_node():
    lone = SceneGraphBatch.from_graphs([SceneGraph((w,)) for w in ("sheep", "house")], EASY.vocab)
    plain = defects.first_model(defects.PretrainingModel, 0, 32).eval()
    apart = {}
    with torch.no_grad():
        for form in ("", "layers replace", "no image node", "no image node, layers replace"):
            a, b = defects.with_form(plain, form).graph_encoder(lone).global_
            apart[form] = float((a - b).abs().max())
    assert apart.pop("no image node, layers replace") < defects.TIE < min(apart.values())


def test_a_cell_of_each_kind_is_asked_the_same_and_comes_out_the_same():
    rows = ("loss over everything", "no image node, layers replace", "the same, ties are right")
    cells = [defects.run_defect(defects.ROWS[row], 1, TRIAL) for row in rows]
    measures = {measure for columns in DEFECTS.tables.values() for measure in columns}
    assert measures & {*cells[0]} == {*cells[0]} == {*cells[1]}
    assert not cells[1]["a lone thing"].any() and cells[2]["a lone thing"].all()
    defects.trained_models.cache_clear()
    again = defects.run_defect(defects.ROWS[rows[1]], 1, TRIAL)
    assert all(np.array_equal(a, again[name]) for name, a in cells[1].items())


def test_a_collapsed_encoder_has_full_marks_where_ties_are_right():
    model = defects.with_form(defects.first_model(defects.PretrainingModel, 0, 32), "collapsed")
    data = make_dataset(EASY, 16, 200, "test", distinct_graphs=True, progress=False)
    for lean, all_right in ((-defects.TIE, False), (defects.TIE, True)):
        answers = defects.ask_by_cosine(model, data, (16,), lean)
        assert answers.pop("graph to image among 16").sum() <= 1  # no tie: pictures differ
        assert all(a.all() == a.any() == all_right for a in answers.values())


# --- heads and tokens

WATCHING = SceneGraph(("sheep", "tree", "sky", "grass"), ((2, "above", 3), (0, "looking at", 1)))


@pytest.fixture(scope="module")
def nonsense(): return small_pipeline(EASY.vocab)


def test_a_head_that_is_off_is_one_whose_columns_are_zero(nonsense):
    unet, heads = nonsense.unet, heads_of(nonsense.unet)
    name, i = heads[-1]
    layer = unet.get_submodule(name)
    x, context = torch.randn(2, 4, layer.to_q.in_features), torch.randn(
        2, 3, unet.config.context_dim)
    with torch.no_grad():
        whole = layer(x, context)
        with pytest.raises(KeyboardInterrupt), heads_off(unet, [(name, i)]):
            off = layer(x, context)
            raise KeyboardInterrupt
        assert torch.equal(layer(x, context), whole) and not torch.allclose(off, whole)
        linear, d = layer.to_out[0], len(layer.to_out[0].weight) // layer.heads
        kept = linear.weight.clone()
        linear.weight[:, i * d:(i + 1) * d] = 0
        torch.testing.assert_close(layer(x, context), off)
        linear.weight.copy_(kept)


def test_tokens_are_taken_from_the_turned_graph_and_from_no_other(nonsense):
    other = SceneGraph(("dog", "ball"), ((0, "left of", 1),))
    graphs, turned = [WATCHING, other], flip_triple(WATCHING, 1)
    (told, mask), (donor, _) = nonsense.context(graphs), nonsense.context([turned, other])
    for which, places in {"one": [1], "pair": [1, 2, 3], "local": [0, 1, 2, 3, 4, 5], "whole": [6],
                          "all": [0, 1, 2, 3, 4, 5, 6]}.items():
        taken = moved_tokens(WATCHING, 1, which, told.shape[1])
        assert taken.nonzero()[:, 0].tolist() == places
        with tokens_moved(nonsense, [("looking", WATCHING, 1)], which):
            mixed, same = nonsense.context(graphs)
        assert torch.equal(mixed[0], torch.where(taken[:, None], donor[0], told[0]))
        assert torch.equal(mixed[1], told[1]) and torch.equal(same, mask)
    assert torch.equal(nonsense.context(graphs)[0], told)


def test_a_reader_is_asked_as_a_judge_is():
    class Reads:
        def read(self, images): return ["met", "not met", "not there"]
    found = {"met": {1: True}, "not met": {1: False}, "not there": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads_table, "marks", lambda graph, reading: Marks(
            {}, (), (), found[reading], (), 0))
        shown = heads_table.true_in(Reads(), torch.zeros(3, 3, 8, 8), [(WATCHING, 1)] * 3)
    assert shown.tolist() == [True, False, False]


def test_heads_of_a_family_are_those_whose_loss_is_there_and_not_elsewhere(monkeypatch):
    heads, lost = [("a", i) for i in range(5)], np.zeros((5, len(FAMILIES)))
    own = [*FAMILIES].index("looking")
    lost[:, own] = [0.1, 0.9, 0.6, 0.0, 0.9]
    lost[4, own - 1] = 0.8  # it carries another one as much
    monkeypatch.setattr(heads_table, "losses", lambda seed, budget: (heads, lost))
    budget = heads_table.HeadsBudget(together=2, weights="")
    assert heads_table.chosen_heads("looking", 0, budget) == [("a", 1), ("a", 2)]
    assert len(set(heads_table.chosen_heads("lot", 0, budget))) == 2


# --- full marks, manipulation

@pytest.fixture(scope="module")
def in_the_park():
    "Forty scenes of the park."
    return [PARK.scenes(800, "test").scene(i) for i in range(40)]


def land_of(graph): return tuple(word for word in graph.objects if word in LAND)


def test_where_facts_fail_alone_the_product_is_the_share_of_all(in_the_park):
    scene = next(s for s in in_the_park if len({t.category for t in s.things}) == 2 == len(s.things))
    graph = with_facts(scene.graph, 2, np.random.default_rng(0))
    both, shown = [0, 1], {"alone": ([], [0], [1], [0, 1]), "together": ([], [], [0, 1], [0, 1]),
                           "apart": ([0], [1], [0], [1])}
    for habit, all_ in {"alone": 1 / 4, "together": 1 / 2, "apart": 0}.items():
        readings = [Reading([scene.things[i] for i in both if i in rows], land_of(graph))
                    for rows in shown[habit]]
        told, as_product = (marked([graph] * 4, readings, 2, way) for way in (False, True))
        assert told[NAMES[2]].mean() == all_ and as_product[NAMES[2]] == pytest.approx([1 / 4] * 4)
        assert told[f"things, {NAMES[2]}"].mean() == 1 / 2


def test_each_fact_is_asked_once_whatever_the_picture_shows(in_the_park):
    rng = np.random.default_rng(0)
    for scene in in_the_park:
        graph = with_facts(scene.graph, 6, rng)
        if graph is None: continue
        some = [t for t in scene.things if rng.random() < 0.7]
        for things in (scene.things, some, []):
            reading = Reading(things, land_of(graph))
            found = marks(graph, reading)
            told = marked([graph], [reading], 6)
            assert sum(len(a) for name, a in told.items() if name != NAMES[6]) == 6
            met = facts_met(graph, found)
            assert all(met[kind, "yes"] <= met[kind, "asked"] <= n
                       for kind, n in facts_of(graph).items())
            everything = {kind: met[kind, "yes"] for kind in facts_of(graph)} == facts_of(graph)
            assert everything == found.full == told[NAMES[6]].item()
        assert marks(graph, Reading(scene.things, land_of(graph))).full


def test_an_edit_ends_in_what_is_true_and_changes_what_it_says(in_the_park):
    made = edits_of(in_the_park, 10)
    assert tuple(made) == KINDS and all(len(edits) > 4 for edits in made.values())
    longer = {"object swap": 0, "relation swap": 0, "addition": 1, "removal": -1}
    for kind, edits in made.items():
        for edit in edits:
            true = Reading(in_the_park[edit.scene].things, land_of(edit.after))
            assert marks(edit.after, true).full and obeyed(edit, true)
            assert not marks(edit.before, true).full or kind == "addition"
            assert len(edit.after) - len(edit.before) == longer[kind]
            pairs = [*zip(edit.before.objects, edit.after.objects)]
            differ = [i for i, (a, b) in enumerate(pairs) if a != b]
            assert differ == ([*edit.touched] if kind == "object swap" else [])
            triples = {*edit.before.triples} ^ {*edit.after.triples}
            assert all({s, o} & {*edit.touched} for s, _, o in triples)
            assert len(triples) == 2 or kind != "relation swap"
    assert all(word in alike(other) for word in THINGS for other in alike(word))


def test_what_is_kept_is_what_the_report_calls_unchanged(in_the_park):
    edits = [e for e in edits_of(in_the_park, 30)["relation swap"]]
    rng, seen = np.random.default_rng(1), set()
    for edit in edits:
        true = Reading(in_the_park[edit.scene].things, ())
        less = Reading([t for t in true.things if rng.random() < 0.7], ())
        row = next(r for r, t in enumerate(edit.after.triples) if t not in edit.before.triples)
        for was, now in ((true, true), (true, less), (less, true)):
            count = edit_marks([(edit.before, row, edit.after)], [was], [now])
            assert count["changed", "yes"] == obeyed(edit, now)
            lost = count["unchanged", "yes"] < count["unchanged", "asked"]
            gone = len(marks(edit.after, now).at) - marks(edit.after, now).things[0]
            assert kept(edit, was, now) or lost or gone
            if lost: assert not kept(edit, was, now)
            seen.add((lost, kept(edit, was, now)))
    assert {(True, False), (False, True)} <= seen


def test_a_thing_too_many_a_thing_left_and_a_relation_lost_are_seen(in_the_park):
    for kind, edits in edits_of(in_the_park, 10).items():
        for edit in edits:
            things = in_the_park[edit.scene].things
            true, nothing = Reading(things, ()), Reading([], ())
            assert kept(edit, true, true) and kept(edit, nothing, true)
            if kind in ("object swap", "addition"):
                new = edit.after.objects[edit.touched[0]]
                twice = Reading([*things, next(t for t in things if t.category == new)], ())
                assert not obeyed(edit, nothing) and not obeyed(edit, twice)
            if kind == "removal":
                left = replace(things[0], category=edit.before.objects[-1])
                assert obeyed(edit, nothing) and not obeyed(edit, Reading([*things, left], ()))
            shown = true_triples(edit.before, true)
            if shown & {*edit.after.triples}: assert not kept(edit, true, nothing)


@pytest.fixture
def park_weights(monkeypatch):
    "Weights that draw nonsense, with the reader that comes along."
    pipe = small_pipeline(PARK.vocab)
    pipe.image_size = PARK.image_size
    both = pipe, load_reader(ROOT / "data" / "park" / "reader")
    made = [full_marks_table.shipped_with_reader, full_marks_table.readings_of,
            manipulation_table.pictures_of]
    monkeypatch.setattr(full_marks_table, "shipped", lambda: both)
    for one in made: one.cache_clear()
    yield both
    for one in made: one.cache_clear()


@pytest.mark.parametrize("part", (FULL_MARKS, MANIPULATION), ids=lambda part: part.name)
def test_a_part_of_the_park_asks_all_rows_the_same(part, park_weights):
    budget = part.budgets["trial"]
    cells = {row: part.run(setting, 1, budget) for row, setting in part.rows.items()}
    columns = {measure for measures in part.tables.values() for measure in measures}
    for cell in cells.values(): assert {*cell} <= columns
    for measure in columns:
        assert len({len(cell[measure]) for cell in cells.values() if measure in cell}) <= 1
    for claim in part.claims:
        sides = [row for row in (claim.ours, claim.theirs) if isinstance(row, str)]
        assert all(claim.measure in cells[row] for row in sides)
    shown = [a for name, a in cells["real scenes"].items() if name in NAMES.values()
             or "obeyed" in name]
    assert np.concatenate(shown).mean() > 0.8


def test_pictures_that_are_left_keep_everything_and_noise_is_that_of_the_seed(park_weights):
    budget, run = MANIPULATION.budgets["trial"], manipulation_table.run_manipulation
    cells = {row: run(setting, 2, budget) for row, setting in MANIPULATION.rows.items()}
    left, other = cells["left as it is"], cells["drawn, other noise"]
    for kind in KINDS:
        assert left[f"{kind}: rest kept"].all() and not left[f"{kind}: change elsewhere"].any()
        elsewhere = [cells[row][f"{kind}: change elsewhere"].item()
                     for row in ("drawn, same noise", "drawn, other noise")]
        assert elsewhere[0] < elsewhere[1]
    manipulation_table.pictures_of.cache_clear()
    again = run(MANIPULATION.rows["drawn, other noise"], 2, budget)
    assert all(np.array_equal(answers, again[name]) for name, answers in other.items())


@pytest.mark.parametrize("name", ("full_marks", "manipulation"))
def test_weights_without_a_reader_are_refused_in_words(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(full_marks_table, "shipped", lambda: (None, Judge()))
    full_marks_table.shipped_with_reader.cache_clear()
    full_marks_table.readings_of.cache_clear()
    monkeypatch.setenv("SGDIFF_FAST", "1")
    assert main(["ablate", name, "--out", str(tmp_path)]) == 1
    assert "these weights have no reader" in capsys.readouterr().err
    assert not [*tmp_path.glob("*.md")] and not [*tmp_path.glob("*.json")]


# --- the command

@pytest.fixture
def coins(monkeypatch):
    monkeypatch.delenv("SGDIFF_FAST", raising=False)
    monkeypatch.setattr(ablate, "load_part", lambda name: coin_part())
    monkeypatch.setattr(ablate, "PARTS", {"coins": ("", "", "how often heads")})


def test_ablate_writes_json_and_markdown(coins, tmp_path, capsys):
    assert main(["ablate", "--quick", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "a, seed 0 (1 of 4)" in said and "| a beats b | paper |" in said
    assert len(read_results(tmp_path / "coins-quick.json").cells) == 4
    assert main(["ablate", "--quick", "--seeds", "3", "--out", str(tmp_path)]) == 0
    assert "(2 of 2" in capsys.readouterr().out


def test_ablate_refuses_in_words(coins, tmp_path, capsys, monkeypatch):
    (tmp_path / "coins.json").write_text("{")
    assert main(["ablate", "--out", str(tmp_path)]) == 1
    assert "coins.json" in capsys.readouterr().err
    assert main(["ablate", "--out", str(tmp_path / "coins.json")]) == 1
    monkeypatch.undo()
    assert main(["ablate", "retrieval", "retreival", "--out", str(tmp_path / "new")]) == 1
    said = f"unknown part 'retreival'; the parts are {', '.join(ablate.PARTS)}"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["ablate", "--seeds", "0"]) == 2


ALL_PARTS = (
    RETRIEVAL, CONDITIONING, GLOBAL_LOCAL, DEFECTS, COMPOSITION, HEADS, SPEED, FULL_MARKS,
    MANIPULATION)


@pytest.mark.parametrize("part", ALL_PARTS, ids=lambda part: part.name)
def test_claims_are_about_rows_and_columns_that_there_are(part):
    columns = {measure for measures in part.tables.values() for measure in measures}
    for claim in part.claims:
        assert claim.ours in part.rows
        assert claim.theirs in part.rows or 0 < claim.theirs < 1  # another row, or a value
        assert claim.measure in columns
        assert claim.source in ("paper", "ours") or claim.source.startswith("arXiv ")
    assert all(part.budgets[kind].seeds >= 3 for kind in ("full", "quick"))


def test_what_the_paper_claims_is_asked_without_hard_negatives():
    ours = {c.ours for c in RETRIEVAL.claims if c.source == "paper"}
    assert not any(RETRIEVAL.rows[row].n_wrong for row in ours)
    told = {row for c in CONDITIONING.claims if c.source == "paper" for row in (c.ours, c.theirs)}
    encoders = [CONDITIONING.rows[row].encoder for row in told]
    assert not any(encoder.n_wrong for encoder in encoders if encoder is not None)


# --- conditioning

CONFIG = encoder_config(PRESETS["easy"])
TINY = conditioning.BUDGETS["trial"]


@pytest.fixture(scope="module")
def scenes(): return make_dataset(EASY, 40, 200, "test", progress=False)


def embedded(reader, *graphs):
    return reader(SceneGraphBatch.from_graphs(graphs, EASY.vocab))


def renamed(graph, order):
    "The graph with its objects in another order."
    place = {old: new for new, old in enumerate(order)}
    return SceneGraph(tuple(graph.objects[i] for i in order),
                      tuple((place[s], p, place[o]) for s, p, o in graph.triples[::-1]),
                      tuple(graph.boxes[i] for i in order))


def sorted_tokens(embedding, i):
    return sorted(map(tuple, embedding.local[i][embedding.mask[i]].tolist()))


def test_a_bag_knows_words_and_not_who_is_who(scenes):
    bag = conditioning.WordBag(CONFIG)
    for graph in scenes.graphs:
        turned = SceneGraph(graph.objects, tuple((o, p, s) for s, p, o in graph.triples))
        told = embedded(bag, graph, turned)
        assert sorted_tokens(told, 0) == sorted_tokens(told, 1)
        assert torch.equal(*told.global_)
        assert int(told.mask[0].sum()) == len(graph.objects) + len(graph.triples)
    flipped = flip_triple(graph, flippable(graph)[0])
    told = embedded(bag, graph, flipped)
    assert sorted_tokens(told, 0) != sorted_tokens(told, 1)  # which predicates there are, it knows


def test_a_layout_is_the_map_of_its_boxes_in_any_order_and_under_any_predicate(scenes):
    for graph in scenes.graphs[:20]:
        rows = flippable(graph)
        flipped = flip_triple(graph, rows[0]) if rows else graph
        told = embedded(conditioning.Layout(CONFIG), graph, flipped,
                        renamed(graph, range(len(graph))[::-1]))
        maps = conditioning.label_map(told.local, told.mask)
        assert torch.equal(maps[0], maps[1]) and torch.equal(told.local[0], told.local[1])
        assert torch.allclose(maps[0], maps[2]) and torch.allclose(told.global_[0], told.global_[2])
        assert sorted_tokens(told, 0) == sorted_tokens(told, 2)
        by_hand = torch.zeros(EASY.vocab.n_objects, 32, 32)
        for word, box in zip(graph.objects, graph.boxes):
            x0, y0, x1, y1 = (round(32 * v) for v in box)
            by_hand[EASY.vocab.object_id(word), y0:y1, x0:x1] = 1
        by_hand = by_hand.view(-1, 8, 4, 8, 4).mean((2, 4))
        assert torch.allclose(maps[0], by_hand)


def test_a_layout_changes_nothing_at_first_and_is_dropped_with_its_graph(scenes):
    unet = build("diffusion", conditioning.preset_of(TINY, 0))
    torch.nn.init.normal_(unet.out[-1].weight, std=0.1)
    wide = conditioning.beside_layout(unet)
    told = embedded(conditioning.Layout(CONFIG), *scenes.graphs[:4])
    z, t = torch.randn(4, 8, 8, 8), torch.tensor([10, 300, 600, 990])
    with torch.no_grad():
        plain = unet(z, t, *unet.make_context(told))
        assert torch.allclose(plain, wide(z, t, *wide.make_context(told)), atol=1e-5)
        torch.nn.init.normal_(wide.input_blocks[0][0].weight, std=0.1)
        drop = torch.tensor([True, False, True, False])
        *_, labels = context = wide.make_context(told, drop)
        assert labels.flatten(1).any(1).tolist() == [False, True, False, True]
        seen = wide(z, t, *context)
        emptied = wide(z, t, *context[:2], torch.zeros_like(labels))
    changed = (seen - emptied).flatten(1).abs().amax(1) > 1e-4
    assert changed.tolist() == [False, True, False, True]


class Says:
    "A judge that sees what it is told to see, and answers by a rule."
    accuracy = None
    def __init__(self, rule): self.rule = rule
    def objects(self, images): return [set() for _ in images]
    def answer(self, images, questions): return [[self.rule(*q) for q in qs] for qs in questions]


def test_judged_answers_are_those_that_compliance_counts(scenes):
    def rule(s, p, o): return None if p in ("inside", "surrounding") else len(s + p + o) % 3 > 0
    images, judge = torch.zeros(len(scenes), 3, 32, 32), Says(rule)
    found = judged(images, scenes.graphs, judge, batch_size=7)
    told = compliance(images, scenes.graphs, judge)
    assert len(found["exact"]) == len(scenes) and not any(found["exact"] + found["found"])
    assert told["objects"] == {"exact": 0, "found": 0, "n": len(scenes)}
    assert told["containment"]["true"] is None and found["containment", "true"] == []
    spatial = [rule(*t) for g in scenes.graphs for t in g.named_triples()
               if t[1] in ("left of", "right of", "above", "below")]
    assert found["spatial", "true"] == spatial
    assert told["spatial"]["true"] == np.mean(spatial) and told["spatial"]["n"] == len(spatial)


def test_mixed_tokens_come_from_where_their_row_says():
    unet = build("diffusion", conditioning.preset_of(TINY, 0))
    encoder = SceneGraphEncoder(CONFIG).eval()
    model = conditioning.GraphToLatent(encoder, unet, PRESETS["easy"].diffusion)
    graphs, twins = global_local_table.twins(TINY)["spatial"]
    contexts, nothing = global_local_table.contexts_of(model, graphs, twins)
    for row in TOKENS.values():
        tokens, mask = global_local_table.mixed(contexts, row, unet)
        local = contexts["own" if row.local == "none" else row.local]
        assert torch.equal(tokens[:, :-1], local[0][:, :-1]) and mask[:, -1].all()
        assert bool(mask[:, :-1].any()) == (row.local != "none")
        null = torch.equal(tokens[0, -1], unet.null_context)
        assert null == (row.whole == "none")
        if not null: assert torch.equal(tokens[:, -1], contexts[row.whole][0][:, -1])
    assert contexts["own"][1][:, :-1].any(), "the mask of another row was written into"
    assert not torch.equal(contexts["own"][0], contexts["flipped"][0])
    assert nothing[0].shape == contexts["own"][0].shape and not nothing[1][:, :-1].any()


def test_a_pair_is_asked_as_the_graph_and_as_its_twin_has_it():
    for graphs, twins in global_local_table.twins(conditioning.BUDGETS["trial"]).values():
        said = {global_local_table.flipped_words(*pair)[0] for pair in zip(graphs, twins)}
        images = torch.zeros(len(graphs), 3, 32, 32)
        judge = Says(lambda *question, said=said: question in said)
        own, flipped = global_local_table.ask_pair(images, graphs, twins, judge)
        assert own.all() and not flipped.any()


def test_a_cell_is_the_same_again_and_rows_share_what_they_should():
    tiny = replace(TINY, steps=4)  # a first step changes the last layer alone, which reads nothing
    names = ("layout", "layout, true boxes", "bag of words", "both")
    row, *others = (conditioning.ROWS[name] for name in names)
    first = conditioning.run_conditioning(row, 0, tiny)
    models = [conditioning.drawer_of(r, 0, tiny) for r in (row, others[1])]
    for made in (conditioning.train_drawer, conditioning.box_network, conditioning.autoencoder):
        made.cache_clear()
    again = conditioning.run_conditioning(row, 0, tiny)
    assert first.keys() == again.keys() >= {"exact objects", "FID", "Inception Score"}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    asked = conditioning.run_conditioning(conditioning.ROWS["true pictures, decoded"], 0, tiny)
    assert {m: len(a) for m, a in asked.items()} == {m: len(a) for m, a in first.items()}
    untouched = [m.unet.state_dict()["input_blocks.0.0.weight"].shape[1] for m in models]
    assert untouched == [8 + EASY.vocab.n_objects + 2, 8 + 2]
    assert models[0].graph_encoder.network is not None
    drawn = [conditioning.pictures_of(r, 0, tiny) for r in (row, *others)]
    for i, one in enumerate(drawn):
        for two in drawn[:i]: assert (one - two).abs().max() > 1e-4, "what is told changes nothing"


# --- defects

def test_defects_differ_from_ours_in_one_thing():
    for row in DEFECTS.rows.values(): assert not (row.loss and row.form)


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "results").glob("*.json")), ids=lambda p: p.name)
def test_a_committed_table_can_be_shown(path):
    results = read_results(path)
    text = to_markdown(ablate.load_part(results.head["part"]), results)
    assert results.head["code"] in text and path.with_suffix(".md").exists()


def test_the_results_page_prints_the_tables(tmp_path):
    assert "sgdiff ablate" in site_pages.evidence(tmp_path)
    (tmp_path / "coins-quick.md").write_text("## Coins\n\nquickly\n")
    (tmp_path / "pins.md").write_text("## Pins\n\n| a |\n")
    shown = site_pages.evidence(tmp_path)
    assert shown.index("quickly") < shown.index("| a |")
    (tmp_path / "coins.md").write_text("## Coins\n\nat length\n")
    assert "quickly" not in (shown := site_pages.evidence(tmp_path)) and "at length" in shown
