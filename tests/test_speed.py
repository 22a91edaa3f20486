"""The race of recipes: its clock, its goals, what a look may change (nothing), and a loss place by
place. Trainings are of a few steps."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdiff.errors import SGDiffError
from sgdiff.evidence import ablate, conditioning, speed
from sgdiff.evidence.parts import claimed, read_results, run_part, table_lines
from sgdiff.evidence.speed import (
    ALL_CHANGES, BUDGETS, GOALS, ROWS, TODAY, Clock, Goal, Mark, SpeedRow, measures_of, met,
    preset_of, reached, run_speed)
from sgdiff.evidence.speed_table import CLAIMS, SPEED
from sgdiff.method.generation import GraphToLatent, generation_loss
from sgdiff.method.masked import box_masks
from sgdiff.toy.recipes import PRESETS, build, coverage, place_weights
from sgdiff.toy.world import EASY, FAMILIES, GROUNDS, SKIES, make_dataset

TINY = BUDGETS["trial"]
WHOLE = Goal(1.0, 1.0)


@pytest.fixture
def hands(monkeypatch):
    "A clock of the processor whose hands we move."
    class Hands:
        at = 7.0
        def turn(self, seconds): self.at += seconds
    hands = Hands()
    monkeypatch.setattr(speed.time, "process_time", lambda: hands.at)
    return hands


def answers(share, exact=1.0):
    "Twenty questions to each family."
    def some(of): return np.arange(20) < 20 * of
    return {"exact objects": some(exact), **dict.fromkeys(FAMILIES, some(share))}


TRUE = answers(1.0)


# --- the clock

def test_the_clock_stands_still_while_somebody_looks_even_where_looking_fails(hands):
    clock = Clock()
    hands.turn(30)
    with clock.stopped(): hands.turn(600)
    assert clock.minutes() == 0.5
    with pytest.raises(KeyboardInterrupt), clock.stopped():
        hands.turn(60)
        raise KeyboardInterrupt
    hands.turn(90)
    assert clock.minutes() == 2


def test_marks_and_laps_have_the_clock_s_minutes(hands, monkeypatch):
    "Every stage takes a minute, every look an hour, and nothing else takes any time."
    stages = []

    def mean_of(model, loss_fn, config, on_log=None):
        stages.append(config.max_steps)
        for step in range(config.log_every, config.max_steps + 1, config.log_every):
            hands.turn(60 * config.log_every / config.max_steps)
            if on_log: on_log({"step": step}, type("Result", (), {"model_ema": model}))
        return model

    def pictures_of(*_):
        hands.turn(3600)
        return torch.zeros(TINY.graphs, 3, 32, 32)

    row = replace(ALL_CHANGES, preset=replace(TODAY, diffusion_steps=2400))
    monkeypatch.setattr(speed, "mean_of", mean_of)
    monkeypatch.setattr(speed, "pictures_of", pictures_of)
    monkeypatch.setattr(speed, "first_stage", lambda p, data: mean_of(
        build("vae", p), None, replace(p.fit_config("vae"), max_steps=1, log_every=1)))
    monkeypatch.setattr(speed, "encoder_of", lambda row, p, data: mean_of(
        build("pretrain", p), None, replace(p.fit_config("pretrain"), max_steps=1, log_every=1)
    ).graph_encoder)
    laps, marks = speed.train(row, 0, replace(TINY, looks=3))
    assert stages == [1, 1, 6]
    assert laps == {"autoencoder": 1, "graph encoder": 2, "denoiser": 3}
    assert [mark.minutes for mark in marks] == pytest.approx([2 + 1 / 3, 2 + 2 / 3, 3])


def test_one_thread_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with speed.one_thread(): assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally: torch.set_num_threads(before)


# --- goals

@given(st.lists(st.booleans(), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_goal_is_reached_at_the_first_mark_after_which_it_is_not_lost(is_met):
    marks = [Mark(i + 1.0, answers(float(here))) for i, here in enumerate(is_met)]
    for_good = [i + 1.0 for i in range(len(is_met)) if all(is_met[i:])]
    assert reached(WHOLE, marks, TRUE) == (for_good[0] if for_good else None)


def test_a_goal_asks_the_weakest_family_and_the_exact_things():
    goal = Goal(0.85, 0.9)
    assert met(goal, answers(0.85, 0.9), TRUE)
    assert not met(goal, answers(0.85, 0.85), TRUE) and not met(goal, answers(0.8), TRUE)
    for family in FAMILIES:
        assert not met(goal, answers(1.0) | {family: np.arange(20) < 16}, TRUE)
    assert met(goal, answers(0.8), answers(0.9)), "a share of what is found in true scenes"
    assert not met(goal, answers(1.0, 0.85), answers(1.0, 0.9)), "exact things are no such share"


def test_a_training_that_ends_before_its_goal_leaves_a_floor():
    laps = {"autoencoder": 1.0, "graph encoder": 3.0, "denoiser": 9.0}
    shares = (0.2, 0.75, 0.8)
    marks = [Mark(5.0 + 2 * i, answers(share)) for i, share in enumerate(shares)]
    found = measures_of(laps, marks, TRUE)
    assert found["live: reached"].tolist() == [True] and found["live: minutes"] == [7.0]
    assert found["record: reached"].tolist() == [False] and found["record: minutes"] == [9.0]
    assert found["record: reached"].dtype == bool, "a share of trainings, shown in percent"
    assert found["weakest family"] == [0.8] and found["spatial"].tolist() == answers(0.8)[
        "spatial"].tolist()
    spent = [found[f"minutes: {stage}"].tolist() for stage in laps]
    assert spent == [[1.0], [2.0], [6.0]]
    assert found["curve: weakest family"].tolist() == pytest.approx(shares)
    assert found["curve: minutes"].tolist() == [5.0, 7.0, 9.0]


# --- the loss, place by place

@pytest.fixture(scope="module")
def scenes(): return make_dataset(EASY, 24, 200, "test", progress=False)


def test_coverage_is_that_of_pixels(scenes):
    boxes = torch.tensor([box for graph in scenes.graphs for box in graph.boxes])
    by_pixels = box_masks(boxes, 32, grow=0).float().view(-1, 8, 4, 8, 4).mean((2, 4))
    torch.testing.assert_close(coverage(boxes, 8), by_pixels)
    beyond = torch.tensor([[-1.0, -1, 0, 0], [0.25, 0.5, 0.25, 0.75]])
    assert not coverage(beyond, 8).any()


def test_each_thing_has_the_same_weight_however_small(scenes):
    weights = place_weights(scenes.graphs, 8, 2.0)
    assert torch.allclose(weights.mean((1, 2, 3)), torch.ones(24))
    for graph, own in zip(scenes.graphs, weights[:, 0]):
        things = [i for i, word in enumerate(graph.objects) if word not in SKIES + GROUNDS]
        by_hand = torch.ones(8, 8)
        for i in things:
            covered = coverage(torch.tensor([graph.boxes[i]]), 8)[0]
            by_hand += 2 * 64 * covered / covered.sum()
        torch.testing.assert_close(own, by_hand / (1 + 2 * len(things)))
    assert torch.equal(place_weights(scenes.graphs, 8, 0.0), torch.ones(24, 1, 8, 8))


def test_with_equal_weights_the_loss_is_the_old_one_and_weights_multiply_it_until_they_fade(scenes):
    p = preset_of(ROWS["preset easy"], 0, TINY)
    encoder, unet = build("pretrain", p).graph_encoder, build("diffusion", p)
    torch.nn.init.normal_(unet.out[-1].weight, std=0.1)
    latents = torch.randn(24, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    model = GraphToLatent(encoder, unet, p.diffusion)

    def loss(weights=None, fade=10**9, step=5):
        loss_fn = generation_loss(scenes, latents, 8, 3, weights=weights, fade=fade)
        return loss_fn(model, step)[0].item()

    weights = place_weights(scenes.graphs, 8, 1.0)
    plain, counted = loss(), loss(weights)
    assert loss(torch.ones_like(weights)) == pytest.approx(plain, rel=1e-6)
    assert loss(3 * weights) == pytest.approx(3 * counted, rel=1e-6)
    assert counted != pytest.approx(plain, rel=1e-3)
    # half way they are half what they were; at the end they are gone
    assert loss(weights, fade=10) == pytest.approx((plain + counted) / 2, rel=1e-6)
    assert loss(weights, fade=5) == plain == loss(weights, fade=1)


# --- rows, budgets, cells

def test_a_row_takes_back_one_change_and_nothing_else():
    fields = SpeedRow.__dataclass_fields__
    today = ROWS["preset easy"]
    for name, row in ROWS.items():
        if name in ("true scenes", "preset easy", "all changes"): continue
        own, all_ = vars(row.preset), vars(ALL_CHANGES.preset)
        differing = {field for field in own if own[field] != all_[field]}
        others = {f for f in fields if f not in ("preset", "seeds")
                  and getattr(row, f) != getattr(ALL_CHANGES, f)}
        assert differing | others, name
        assert all(own[field] == vars(TODAY)[field] for field in differing), name
        assert all(getattr(row, field) == getattr(today, field) for field in others), name
    assert today.preset == PRESETS["easy"] == preset_of(today, 0, BUDGETS["full"])


@pytest.mark.parametrize("kind", BUDGETS)
def test_every_budget_asks_for_every_family(kind):
    true = speed.true_answers(BUDGETS[kind])
    assert {*true} == {"exact objects", *FAMILIES} and all(len(a) for a in true.values())
    assert len(true["exact objects"]) == BUDGETS[kind].graphs
    for name, share in true.items(): assert share.mean() > 0.8, name


def test_looking_changes_nothing_and_a_seed_gives_the_same_again():
    once, often, other = (run_speed(ALL_CHANGES, seed, replace(TINY, share=0.007, looks=looks))
                          for seed, looks in ((0, 1), (0, 3), (1, 1)))
    assert len(once["curve: minutes"]) == 1 and len(often["curve: minutes"]) == 3
    kept = ("exact objects", *FAMILIES, "weakest family")
    for name in kept: assert np.array_equal(once[name], often[name]), name
    assert any(not np.array_equal(once[name], other[name]) for name in kept)


def test_seeds_that_a_row_does_not_ask_for_cost_nothing(tmp_path, monkeypatch):
    trained = []

    def train(row, seed, budget):
        trained.append((row, seed))
        return {"denoiser": 2.0}, [Mark(2.0, speed.true_answers(budget))]

    monkeypatch.setattr(speed, "train", train)
    part = replace(SPEED, budgets={"trial": replace(TINY, seeds=3)})
    results = run_part(part, "trial", tmp_path, tell=lambda line: None)
    assert len(trained) == sum(row.seeds for row in ROWS.values() if row.preset is not None)
    assert {*results.answers("all changes", "record: reached")} == {0, 1, 2}
    assert {*results.answers("preset easy", "record: reached")} == {0}
    assert read_results(tmp_path / "speed-trial.json").cells == results.cells
    lines = table_lines(part, results, "How soon")
    assert len(lines) == 1 + len(ROWS), "true scenes are in no race"
    assert any("2.000 (one seed)" in line for line in lines)
    assert all(claimed(claim, results) is not None for claim in CLAIMS
               if claim.measure == "weakest family")


def test_without_a_judge_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(conditioning, "default_weights", lambda: tmp_path)
    monkeypatch.setattr(speed, "train", lambda *_: pytest.fail("trained before it was asked"))
    speed.shipped_judge.cache_clear()
    try:
        with pytest.raises(SGDiffError, match="judge"): run_speed(ALL_CHANGES, 0, TINY)
    finally: speed.shipped_judge.cache_clear()


def test_claims_are_about_rows_and_columns_that_there_are():
    columns = {measure for measures in SPEED.tables.values() for measure in measures}
    for claim in CLAIMS:
        sides = {side for side in (claim.ours, claim.theirs) if isinstance(side, str)}
        assert sides <= {*ROWS} and claim.measure in columns and claim.source == "ours"
    assert all(SPEED.budgets[kind].seeds >= 3 for kind in ("full", "quick"))
    assert {f"{goal}: reached" for goal in GOALS} <= columns
    assert ablate.load_part("speed") is SPEED
