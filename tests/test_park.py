"""The park: scenes that are true, splits without leaks, families that boxes cannot tell, a reader
that can be trained, and marks that do not depend on order."""
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sgdiff.app.onnx_graphs import steps_of
from sgdiff.cli import main
from sgdiff.errors import load_json
from sgdiff.graphs.graph import SceneGraph, check_graph
from sgdiff.method.contrastive import ImageEncoderConfig
from sgdiff.toy.captions import CaptionModel, caption_ids, captions, captions_loss, draw_captions
from sgdiff.toy.compliance import drawn
from sgdiff.toy.marks import marks, reader_exam, same_things
from sgdiff.toy.obedience import edit_marks, edit_pairs, shares, tally, with_facts
from sgdiff.toy.park import (
    LAND, PARK, flippable, random_flip, scene_relations, thin_graph)
from sgdiff.toy.park_report import variety
from sgdiff.toy.placing import THINGS, Thing
from sgdiff.toy.reader import (
    Reader, ReaderConfig, Reading, heat_loss, load_reader, make_targets, pixels_of, reader_loss,
    save_reader)
from sgdiff.toy.recipes import PRESETS, Preset, train_all
from sgdiff.toy.report import Row, format_rows, locality_interval, met, of_share, wilson
from sgdiff.toy.splits import SPLITS, UNSEEN_ROLES, UNSEEN_TRIPLES, has_unseen_role
from sgdiff.toy.sprites import SPRITE_SIZES
from sgdiff.toy.world import FACING, FAMILY_OF, apart, facts, make_dataset, turn


@pytest.fixture(scope="module")
def scenes():
    "300 scenes of the training split."
    return [PARK.scenes(0, "train").scene(i) for i in range(300)]


def land_of(scene): return tuple(w for w in scene.graph.objects if w in LAND)


def test_a_scene_is_the_same_for_ever_and_another_seed_another_one():
    a, b = (PARK.scenes(3, "test").scene(7) for _ in range(2))
    assert a.graph == b.graph and np.array_equal(a.image, b.image)
    assert not np.array_equal(a.image, PARK.scenes(4, "test").scene(7).image)


def test_graphs_are_complete_and_can_be_drawn_by_a_pipeline(scenes):
    for scene in scenes[:60]:
        check_graph(scene.graph, PARK.vocab)
        n = len(scene.things)
        assert 1 <= n <= 6 and len(scene.graph) == n + len(land_of(scene))
        told = {min(t, turn(t)) for t in scene.graph.triples}
        true = {min(t, turn(t)) for s, p, o in scene_relations(scene.things)
                for t in [(scene.rows[s], p, scene.rows[o])]}
        assert true <= told
        assert all(scene.graph.objects[t[0]] in LAND for t in told - true)


def test_masks_share_out_the_pixels_and_lie_in_their_boxes(scenes):
    for scene in scenes[:60]:
        assert (scene.masks.sum(0) == 1).all()
        for t, row in zip(scene.things, scene.rows, strict=True):
            y, x = scene.masks[row].nonzero()
            arm = 6 if t.reach else 0
            assert t.x - arm <= x.min() and x.max() < t.right + arm
            assert t.y <= y.min() and y.max() < t.bottom
            assert scene.graph.boxes[row] == (t.x / 64, t.y / 64, t.right / 64, t.bottom / 64)


def test_what_stands_stands_on_the_ground(scenes):
    for scene in scenes:
        ground = next(i for i, w in enumerate(scene.graph.objects)
                      if w in ("grass", "sand", "snow", "street"))
        top = scene.graph.boxes[ground][1] * 64
        for t in scene.things:
            inside = any(p == "surrounding" and scene.things[o] is t
                         for _, p, o in scene_relations(scene.things))
            if t.category in ("sheep", "dog", "person", "tree", "house", "car") and not inside:
                assert t.bottom > top


def test_up_to_three_of_a_kind_occur_and_never_four(scenes):
    most = [max(s.graph.objects.count(w) for w in THINGS) for s in scenes]
    assert {1, 2, 3} == {*most}


@pytest.mark.parametrize("split", SPLITS)
def test_every_scene_belongs_to_its_split(split):
    for i in range(12):
        scene = PARK.scenes(5, split).scene(i)
        said = facts(scene.graph.objects, scene.graph.triples)
        unseen = bool(said & UNSEEN_TRIPLES), has_unseen_role(said)
        expected = {"unseen triples": (True, False)}.get(split)
        if split == "unseen roles": assert unseen[1]
        else: assert unseen == (expected or (False, False))
        assert (len(scene.things) > 6) == (split == "more things")


def test_no_thinned_or_turned_training_graph_tells_what_is_kept_for_later(scenes):
    for scene in scenes:
        rng = np.random.default_rng(len(scene.graph))
        thin = thin_graph(scene.graph, rng)
        said = facts(thin.objects, thin.triples)
        assert not said & UNSEEN_TRIPLES and not has_unseen_role(said)


def test_the_things_with_an_unseen_role_have_the_opposite_role(scenes):
    "So that a role lacks, and not the thing or the family."
    said = set().union(*(facts(s.graph.objects, s.graph.triples) for s in scenes))
    assert any(p == "in front of" and o == "car" for _, p, o in said)
    assert any("dog" in (s, o) and p == "in front of" for s, p, o in said)
    assert {s for s, _ in UNSEEN_ROLES} == {"car", "dog"}


def test_an_unknown_split_is_refused_in_words():
    with pytest.raises(ValueError, match="unseen triples"): make_dataset(PARK, 3, 0, "validation")


# -- what boxes cannot tell

def pairs_of(scenes, family):
    "Words and boxes of the pairs that a family speaks of, told from either end, and the answer."
    kinds, boxes, answers = [], [], []
    for scene in scenes:
        for s, p, o in scene_relations(scene.things):
            if FAMILY_OF[p] != family: continue
            if family == "holding" and scene.things[s].category != "person": continue
            if family == "holding" and scene.things[o].category not in ("ball", "kite"): continue
            a, b = scene.things[s], scene.things[o]
            if family == "occlusion" and (a.x, a.y) > (b.x, b.y): a, b, p = b, a, "behind"
            kinds.append([THINGS.index(t.category) for t in (a, b)])
            boxes.append([v / 64 for t in (a, b) for v in (t.x, t.y, t.w, t.h)])
            answers.append(p in ("in front of", "looking at", "holding"))
    return torch.tensor(kinds), torch.tensor(boxes), torch.tensor(answers).float()


@pytest.mark.parametrize("family, n", [("occlusion", 2500), ("looking", 600), ("holding", 2500)])
def test_categories_and_boxes_do_not_tell_the_answer(family, n):
    "A small network that sees words and boxes stays at chance on pairs it was not trained on."
    kinds, boxes, answers = pairs_of([PARK.scenes(9, "train").scene(i) for i in range(n)], family)
    # roles and triples that are kept for later make a few pairs one-sided: a car is always behind
    words = [[THINGS[k] for k in pair] for pair in kinds.tolist()]
    fair = torch.tensor([not one_sided(*pair, family) for pair in words])
    kinds, boxes, answers = kinds[fair], boxes[fair], answers[fair]
    x = torch.cat([nn.functional.one_hot(kinds, len(THINGS)).flatten(1).float(), boxes], 1)
    half = len(x) // 2
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
    for _ in range(200):
        loss = nn.functional.binary_cross_entropy_with_logits(net(x[:half])[:, 0], answers[:half])
        optimiser.zero_grad(); loss.backward(); optimiser.step()
    right = ((net(x[half:])[:, 0] > 0) == (answers[half:] > 0.5)).float().mean().item()
    assert abs(right - 0.5) < 4 * 0.5 / (len(x) - half) ** 0.5, (right, len(x))


def one_sided(a, b, family):
    "Whether a pair's answer follows from the splits."
    told = {(s, o) for s, p, o in UNSEEN_TRIPLES if FAMILY_OF[p] == family}
    return (a, b) in told or (b, a) in told or (family == "occlusion" and "car" in (a, b))


# -- what is said, and what would be wrong

def test_what_a_thinned_graph_says_is_true(scenes):
    for i, scene in enumerate(scenes[:120]):
        said = thin_graph(scene.graph, np.random.default_rng(i))
        mark = marks(said, Reading(scene.things, land_of(scene)))
        assert mark.full and mark.exact_things


def test_a_wrong_graph_is_wrong(scenes):
    wrong = 0
    for i, scene in enumerate(scenes[:200]):
        flipped = random_flip(scene.graph, np.random.default_rng(i))
        if flipped is None: continue
        # of two equal things the wrong one may be meant: then the graph can be true again
        if len({*scene.graph.objects}) < len(scene.graph): continue
        wrong += 1
        assert not marks(flipped, Reading(scene.things, land_of(scene))).full
    assert wrong > 50


def test_only_what_can_be_held_is_let_go():
    graph = SceneGraph(("person", "ball", "sheep"),
                       ((0, "next to", 1), (0, "next to", 2), (0, "left of", 2)))
    assert flippable(graph, "holding") == [0]


# -- marks

def test_marks_do_not_depend_on_the_order_of_nodes(scenes):
    for i, scene in enumerate(scenes[:40]):
        rng, reading = np.random.default_rng(i), Reading(scene.things, land_of(scene))
        graph = thin_graph(scene.graph, rng)
        order = rng.permutation(len(graph)).tolist()
        row = {old: new for new, old in enumerate(order)}
        again = SceneGraph(
            tuple(graph.objects[i] for i in order),
            tuple((row[s], p, row[o]) for s, p, o in graph.triples), None,
            tuple(graph.each_attributes[i] for i in order))
        said, anew = marks(graph, reading), marks(again, reading)
        for what in ("things", "attributes", "relations", "land", "asked", "full"):
            assert getattr(said, what) == getattr(anew, what)


def sheep(x, size=0, facing=1):
    return Thing("sheep", None, size, x, 40, *SPRITE_SIZES["sheep"][size], facing)


def test_of_two_equal_things_the_better_matching_counts():
    small, large = sheep(4), sheep(34, size=1)
    graph = SceneGraph(("sheep", "sheep"), ((0, "right of", 1),), None, (("large",), ("small",)))
    for things in permutations((small, large)):
        assert marks(graph, Reading(list(things), ("sky", "grass"))).full
    turned = SceneGraph(("sheep", "sheep"), ((0, "left of", 1),), None, (("large",), ("small",)))
    assert not marks(turned, Reading([small, large], ("sky", "grass"))).full


def test_a_thing_too_many_is_seen_and_a_missing_one_loses_its_relations():
    asked = SceneGraph(("sheep", "ball"), ((0, "left of", 1),))
    mark = marks(asked, Reading([sheep(4), sheep(34)], ("sky", "grass")))
    assert mark.things == (1, 2, 2) and mark.relations == {0: False} and not mark.full
    assert not mark.exact_things and not mark.full and mark.asked == 3
    alone = marks(SceneGraph(("sheep",)), Reading([sheep(4), sheep(34)], ("sky", "grass")))
    assert alone.full and not alone.exact_things


# -- the reader

def test_targets_name_every_centre_once(scenes):
    targets = make_targets(scenes[:16])
    n = sum(len(s.things) for s in scenes[:16])
    assert len(targets.at) == n and (targets.heat == 1).sum() >= n - 1
    assert targets.offset.abs().max() <= 0.5
    faces = sum(t.category in FACING for s in scenes[:16] for t in s.things)
    assert (targets.facing >= 0).sum() == faces


def test_a_perfect_network_is_read_back_to_the_scene(scenes):
    "The maps that the targets ask for give the things, their order and all relations."
    part = scenes[:24]
    targets = make_targets(part)

    class Perfect(Reader):
        def forward(self, images):
            b, y, x = targets.at.T
            maps = {name: torch.zeros(len(part), n, 32, 32)
                    for name, n in (("offset", 2), ("color", 4), ("facing", 1), ("reach", 3))}
            maps["offset"][b, :, y, x] = targets.offset.float()
            maps["facing"][b, 0, y, x] = targets.facing.float() * 2 - 1
            for name in ("color", "reach"):
                said = getattr(targets, name).clamp(min=0)
                maps[name][b, said, y, x] = 1
            land = torch.zeros(len(part), 7)
            rows = torch.arange(len(part))
            land[rows, targets.land[:, 0]] = 1
            land[rows, 2 + targets.land[:, 1]] = 1
            land[:, 6] = targets.land[:, 2] * 2.0 - 1
            return {"heat": torch.logit(targets.heat, 1e-6), **maps, "land": land}

    exam = reader_exam(Perfect(), part, batch_size=24)
    assert exam["precision"] == exam["colors"] == exam["sizes"] == exam["land"] == 1
    assert exam["recall"] > 0.98 and exam["exact_graph"] > 0.9


def test_heat_loss_is_least_where_the_centres_are_hot():
    heat = torch.zeros(1, 2, 4, 4)
    heat[0, 1, 2, 2] = 1
    right, wrong = torch.logit(heat, 1e-4), torch.logit(heat.roll(1, 3), 1e-4)
    assert heat_loss(right, heat) < 1e-3 < heat_loss(wrong, heat)


def test_reader_loss_reaches_every_weight(scenes):
    reader = Reader(ReaderConfig(widths=(8, 16, 24)))
    loss, parts = reader_loss(reader, pixels_of(scenes[:8]), make_targets(scenes[:8]))
    loss.backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in reader.parameters())
    assert set(parts) == {"heat", "offset", "color", "facing", "reach", "land"}


def test_reading_does_not_depend_on_the_batch(scenes):
    torch.manual_seed(0)
    reader = Reader(ReaderConfig(widths=(8, 16, 24), threshold=0.02)).eval()
    images = pixels_of(scenes[:3])
    together, alone = reader.read(images), [reader.read(x[None])[0] for x in images]
    assert [r.graph() for r in together] == [r.graph() for r in alone]


def test_a_reader_is_kept_in_a_folder(tmp_path, scenes):
    torch.manual_seed(0)
    reader = Reader(ReaderConfig(widths=(8, 16, 24)))
    reader.exam = {"recall": 0.5}
    save_reader(reader, tmp_path)
    again = load_reader(tmp_path)
    assert again.exam == reader.exam and again.config == reader.config
    images = pixels_of(scenes[:2])
    assert torch.allclose(again(images)["heat"], reader.eval()(images)["heat"], atol=1e-2)


def test_the_same_things_are_near_and_of_a_kind():
    true, read = [sheep(4), sheep(30)], [sheep(31), sheep(5), sheep(60)]
    assert same_things(true, read) == [1, 0]
    assert same_things([sheep(4)], [sheep(20)]) == [None]
    assert all(apart(a, b) for a, b in permutations(read, 2))


# -- the recipe

def test_every_stage_of_the_park_runs_and_leaves_weights_that_can_be_measured(tmp_path, capsys):
    small = replace(
        PRESETS["park"], n_scenes=64, dim=16, model_channels=32, latent_channels=4, vae_muon=0.0,
        vae_channels=(8, 8, 8), vae_steps=2, pretrain_steps=2, diffusion_steps=2, decoder_steps=2,
        eyes_steps=2, reader_steps=2, batch_size=8, diffusion_batch_size=8, vae_batch_size=4)
    assert train_all(small, tmp_path, progress=False)
    from sgdiff.method.pipeline import SGDiffPipeline
    pipeline = SGDiffPipeline.from_pretrained(tmp_path / "weights")
    drawn = pipeline("large dog left of dog#2; red ball", num_inference_steps=2, seed=0)
    assert drawn.images[0].size == (64, 64)
    assert load_reader(tmp_path / "weights" / "reader").exam["scenes"] == 64
    for weight in pipeline.unet.parameters():       # on a grid, which the page sends in 8 bits
        rows = weight.detach().flatten(1).numpy() if weight.ndim > 1 else np.zeros((1, 1), np.float32)
        assert np.abs(rows / steps_of(rows)).max() <= 127
    assert isinstance(small, Preset) and "judge" not in small.stages
    card, folder = tmp_path / "card.json", str(tmp_path / "weights")
    assert main(["evaluate", "--weights", folder, "--n", "12", "--seeds", "2", "--steps", "2",
                 "--out", str(card)]) == 0
    assert "sheep series" in capsys.readouterr().out and load_json(card)["settings"]


# -- obedience
def test_true_scenes_answer_all_questions_about_themselves(scenes):
    for i, scene in enumerate(scenes[:40]):
        reading = Reading(scene.things, land_of(scene))
        told = tally(thin_graph(scene.graph, np.random.default_rng(i)), reading)
        for what, kind in [*told]:
            if kind == "yes" and "flipped" not in what: assert told[what, "asked"] == told[what, kind]


def test_graphs_of_k_facts_say_true_things_and_exactly_so_many(scenes):
    found = {k: [(s, g) for i, s in enumerate(scenes)
                 if (g := with_facts(s.graph, k, np.random.default_rng(i)))] for k in range(1, 9)}
    for k, pairs in found.items():
        assert pairs
        for scene, graph in pairs:
            mark = marks(graph, Reading(scene.things, land_of(scene)))
            assert mark.full and mark.exact_things and mark.asked == k


def test_an_edit_that_is_not_drawn_is_no_edit(scenes):
    graphs = [s.graph for s in scenes]
    readings = {s.graph.to_text(): Reading(s.things, land_of(s)) for s in scenes}
    pairs = edit_pairs(graphs, 10)["looking"]
    same = [readings[g.to_text()] for g, _, _ in pairs]
    told = shares([edit_marks(pairs, same, same)])
    assert len(pairs) > 3 and told["changed"] == 0 and told["unchanged"] == 1


def test_pictures_do_not_depend_on_the_batch():
    asked = []
    def draw(graphs, seed):
        asked.extend(seed + i for i in range(len(graphs)))
        return torch.zeros(len(graphs), 3, 8, 8)
    for batch_size in (2, 5): assert drawn(draw, [None] * 5, 3, batch_size).shape[0] == 5
    assert asked == 2 * [30_000 + i for i in range(5)]


SHARES = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(SHARES, st.floats(0.01, 0.99), st.sampled_from(("at least", "at most")))
def test_no_row_is_ok_where_its_interval_crosses_the_target(counted, target, sense):
    yes, n = counted
    row = of_share("what", yes / n, target, sense, n)
    low, high = row.interval
    assert 0 <= low <= row.value <= high <= 1 and low < high
    mirrored = wilson(1 - yes / n, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))
    assert met(row).endswith("?") == (low < target <= high if sense == "at least"
                                      else low <= target < high)
    assert met(row).startswith("ok") == (row.value >= target if sense == "at least"
                                         else row.value <= target)
    unknown = row._replace(interval=None)
    assert met(unknown) == met(row).rstrip("?") + "?"
    assert met(row._replace(target=None)) == "" == met(row._replace(value=None))


def test_a_row_without_an_interval_has_a_dash():
    known, unknown = of_share("a", 0.9, 0.5, "at least", 100), Row("b", 0.9, 0.5, "at least", 100)
    first, second = format_rows([known, unknown]).splitlines()[1:3]
    assert "82.6 to 94.5" in first and "ok     100" in first
    assert "    -   at least 50  ok?    100" in second
    of_real = of_share("c", 0.6, None, "at least", 100, 0.02, real=0.8)
    assert (of_real.value, of_real.spread) == pytest.approx((0.75, 0.025))
    assert of_real.interval == pytest.approx([end / 0.8 for end in wilson(0.6, 100)])


def test_edits_that_are_all_alike_leave_no_doubt_and_others_do():
    generator = torch.Generator().manual_seed(0)
    before, other = torch.rand(2, 40, 3, 8, 8, generator=generator)
    boxes = [[(0, 0, 0.25, 0.25)]] * 40
    alike = locality_interval(before, before + 0.5 * (other - before), boxes, other)
    assert alike == pytest.approx((0.5, 0.5))
    part = torch.rand(40, 1, 1, 1, generator=generator)
    low, high = locality_interval(before, before + part * (other - before), boxes, other)
    assert low < part.mean() < high and high - low == pytest.approx(
        2 * 1.96 * part.std().item() / 40**0.5, rel=0.3)
    assert locality_interval(before[:1], other[:1], boxes[:1], other[:1]) is None


def test_variety_of_one_picture_is_none_and_of_real_scenes_some(scenes):
    graph = SceneGraph(("dog",))
    dog = lambda x, size: Thing("dog", None, size, x, 40, *SPRITE_SIZES["dog"][size], 1)
    same = variety(graph, [Reading([dog(4, 0)], ())] * 4)
    assert same == (0.0, 0.0)
    place, look = variety(graph, [Reading([dog(x, x % 2)], ()) for x in (4, 15, 22, 33)])
    centers = [dog(x, x % 2).center for x in (4, 15, 22, 33)]
    assert place == pytest.approx(np.std(centers, axis=0).mean())
    assert look == pytest.approx(4 / 6)             # of six pairs, two are of one size
    assert variety(graph, [Reading([], ())] * 9) == (None, None)


def test_captions_are_true_and_the_lies_beside_them_are_not():
    data = make_dataset(PARK, 150, seed=5, progress=False)
    kinds = set()
    for graph in data.graphs:
        said = {(graph.objects[s], p, graph.objects[o]) for s, p, o in graph.triples}
        said |= {turn(fact) for fact in said}
        told = {fact: lie for fact, lie, _ in captions(graph, data)}
        kinds |= {kind for *_, kind in captions(graph, data)}
        assert {*told} <= said and not {*told.values()} & said
        assert all({turn(lie), lie} & {told[turn(fact)]} for fact, lie in told.items())
    assert kinds == {*range(len(data.families))}


def test_rare_families_are_told_as_often_as_common_ones():
    told = np.zeros((40, 7), np.int64)
    told[36:, 6], told[:, 0] = 1, range(40)     # 36 of one family, 4 of another
    rng = np.random.default_rng(0)
    drawn_ones = [draw_captions(told, 4, rng) for _ in range(300)]
    assert 0.4 < np.mean([ones[:, 6].mean() for ones in drawn_ones]) < 0.6
    assert all(len({*ones[:, 0]}) == 4 for ones in drawn_ones)
    assert draw_captions(told[:3], 4, rng) is not None and len(draw_captions(told[:0], 4, rng)) == 0


def test_an_image_encoder_learns_captions_by_heart():
    data = make_dataset(PARK, 16, seed=6, progress=False)
    torch.manual_seed(0)
    sizes = ImageEncoderConfig(64, 8, width=32, global_dim=32, queries=8)
    model = CaptionModel(sizes, PARK.vocab.n_objects, PARK.vocab.n_predicates)
    loss_fn = captions_loss(data, batch_size=16)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(150):
        loss, told = loss_fn(model, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert told["told_apart"] > 0.9 and len(caption_ids(data)) == 16


def test_what_the_readers_find_does_not_depend_on_where_it_stands():
    torch.manual_seed(0)
    encoder = ImageEncoderConfig(64, 8, queries=4, fine_blocks=1).build()
    readers = encoder.to_global
    x = torch.randn(2, 96, 8, 8)
    readers.places.zero_()                      # nobody knows where
    torch.testing.assert_close(readers(x.roll((2, 3), (2, 3))), readers(x))
