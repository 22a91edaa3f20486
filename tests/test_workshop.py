"""The workshop: solutions pass their checks, what is handed out fails every one of them, and the
two cannot drift."""
import contextlib
import io
import re
import threading

import matplotlib
import nbformat
import pytest

import make_workshop
from run_notebooks import NBS, ROOT
from tidy_notebook import tidy

matplotlib.use("Agg")
SOLUTIONS = make_workshop.solutions()
parts = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: p.stem)
CHECKED = re.compile(r'^check\("([\w-]+)"', re.M)


def code_of(path):
    "The code cells of a notebook, joined."
    return "\n\n".join(
        c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"
    )


@pytest.fixture
def fast(monkeypatch):
    "Notebooks run shortened, and figures are closed afterwards."
    import matplotlib.pyplot as plt
    monkeypatch.setenv("SGDIFF_FAST", "1")
    yield
    plt.close("all")


def verdicts(path):
    """The checks of a notebook, run from top to bottom in this process: name -> whether the answer
    was right."""
    from sgdiff.workshop import checks as workshop
    workshop.PASSED.clear()
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code_of(path), path.name, "exec"), {"__name__": "__notebook__"})
    return dict(workshop.PASSED)


@parts
def test_every_solution_passes(path, fast):
    found = verdicts(path)
    assert list(found) == CHECKED.findall(code_of(path)) and all(found.values())


@parts
def test_what_is_handed_out_runs_to_its_end_and_fails_every_check(path, fast):
    found = verdicts(make_workshop.WORKSHOP / path.name)
    assert list(found) == CHECKED.findall(code_of(path)) and not any(found.values())


def test_what_is_handed_out_is_cut_from_the_solutions():
    assert make_workshop.stale() == {}, "run `make workshop`"
    assert sorted(p.name for p in make_workshop.WORKSHOP.glob("w*.ipynb")) == [
        p.name for p in SOLUTIONS
    ]


@parts
def test_nothing_of_a_solution_is_handed_out(path):
    handed_out = nbformat.read(make_workshop.WORKSHOP / path.name, as_version=4)
    text = "\n".join(c.source for c in handed_out.cells)
    assert (
        "SOLUTION" not in text
        and "**Solution.**" not in text
        and not any(c.get("outputs") for c in handed_out.cells)
    )
    for body in make_workshop.SOLUTION.findall(code_of(path)):
        lines = [line.strip() for line in body[1].splitlines() if len(line.strip()) > 12]
        assert lines and not any(line in text for line in lines)
    assert text.count("# your turn") == len(CHECKED.findall(code_of(path)))
    assert nbformat.writes(tidy(handed_out, ROOT)) + "\n" == (
        make_workshop.WORKSHOP / path.name
    ).read_text(encoding="utf-8")


def test_what_right_answers_draw_is_handed_out_as_a_picture():
    """Below the cell that draws it, with words; what is drawn from no answer is not."""
    drawn = {}
    for path in SOLUTIONS:
        cells = nbformat.read(make_workshop.WORKSHOP / path.name, as_version=4).cells
        solved = {c.id: c for c in nbformat.read(path, as_version=4).cells}
        for above, cell in zip(cells, cells[1:]):
            if "attachments" not in cell: continue
            (bundle,) = cell.attachments.values()
            shown = [out.data.get("image/png") for out in solved[above.id].outputs if "data" in out]
            assert bundle["image/png"] in shown and "](attachment:right.png)" in cell.source
            assert len(re.search(r"!\[(.*)\]", cell.source)[1]) > 40
            drawn[path.stem] = drawn.get(path.stem, 0) + 1
    assert drawn == {"w1_graphs": 2, "w2_pretraining": 3, "w3_diffusion": 4, "w4_pictures": 2}


def test_every_check_has_an_exercise_and_every_exercise_a_check():
    from sgdiff.workshop import checks as workshop
    from sgdiff.workshop import pictures as workshop_pictures
    asked = [name for path in SOLUTIONS for name in CHECKED.findall(code_of(path))]
    for number, path in enumerate(SOLUTIONS, 1):
        here = [name for name, notebook in workshop.NOTEBOOK.items() if notebook == number]
        assert here == CHECKED.findall(code_of(path)), path.stem
        assert f"print(progress({number}))" in code_of(path)
    assert (
        len(asked) == len(set(asked))
        and set(asked) == set(workshop.CHECKS)
        and workshop_pictures.check is workshop.check
    )


def test_cutting_and_marks():
    assert (
        make_workshop.cut("### BEGIN SOLUTION\nanswer = 3\n### END SOLUTION")
        == "answer = ...     # your turn"
    )
    cut = make_workshop.cut(
        'def f(x):\n    "Twice x."\n    ### BEGIN SOLUTION\n    y = x\n    return 2 * y\n    ### '
        'END SOLUTION\n'
    )
    assert cut == 'def f(x):\n    "Twice x."\n    ...     # your turn'
    assert make_workshop.cut("print(1)") == "print(1)"


@pytest.mark.parametrize("name, wrong", [
    ("segment-mean", "lambda rows, index, n: torch.stack([rows[index == i].sum(0) for i in "
                     "range(n)])"),
    ("geometry", "lambda a, b: 'left of' if a[0] < b[0] else 'right of'"),
    ("contrastive", "lambda logits: -logits.log_softmax(1).diagonal().mean()"),
    ("ties", "lambda s: (s.argmax(1) == torch.arange(len(s))).float().mean()"),
    ("mask", "lambda boxes, size: 1 - box_masks(boxes, size, grow=0).float().sum(0)"),
    ("masked-loss", "lambda p, x, hidden: ((p - x) ** 2 * hidden).mean()"),
    ("flip-test", "lambda image, true, wrong: ((image * true).sum(1) >= (image * "
                  "wrong).sum(1)).float().mean()"),
    ("latent-scale", "lambda z: (z - z.mean()) / z.std()"),
    ("forward", "lambda schedule, x0, t, noise: x0 + levels(schedule, t)[1] * noise"),
    ("velocity", "lambda x_t, v, a, s: (x_t - s * v) / a"),
    ("attention", "lambda q, k, mask: (q @ k.T / q.shape[1] ** 0.5).softmax(1) * mask"),
    ("ddim", "lambda schedule, x0, eps, s: levels(schedule, s)[0] * x0"),
    ("guidance", "lambda untold, told, scale: told + scale * (told - untold)"),
    ("locality", "lambda before, after, inside: (after - before).abs().mean()"),
    ("segment-mean", "lambda rows, index, n: torch.stack([rows[index == i].sum(0) / 2 for i in "
                     "range(n)])"),
    ("ties", "lambda s: float(((s.clone().fill_diagonal_(-1e9)).amax(0) < "
             "s.diagonal()).float().mean())"),
    ("broken-mask", "lambda boxes, size: box_masks(boxes, size, grow=0).float().sum(0) - 1"),
    ("masked-loss", "lambda p, x, hidden: ((p - x) ** 2 * hidden).sum() / (3 * hidden.sum())"),
    ("latent-scale", "lambda z: (z - z.mean((2, 3), keepdim=True)) / z.std((2, 3), keepdim=True)"),
    ("locality", "lambda before, after, inside: ((after - before) * ~inside).sum() / (3 * "
                 "(~inside).sum())"),
    ("same-noise", "lambda pipe, a, b, noise, **settings: (pipe(a, latents=noise), pipe(b, "
                   "latents=noise))"),
    ("same-noise", "lambda pipe, a, b, noise, **settings: (pipe(a, latents=noise + 1, **settings), "
                   "pipe(b, latents=noise + 1, **settings))"),
    ("balanced", "lambda true, false: (sum(true) + len(false) - sum(false)) / (len(true) + "
                 "len(false))"),
])
def test_plausible_wrong_answers_fail_with_a_reason(name, wrong):
    import torch

    from sgdiff.method.diffusion import levels
    from sgdiff.method.masked import box_masks
    from sgdiff.workshop.pictures import check  # noqa: F401 (registers its checks)
    from sgdiff.workshop.checks import verdict
    right, said = verdict(name, eval(wrong, {"torch": torch, "box_masks": box_masks, "levels": levels}))
    assert not right and "stopped with" not in said and len(said) > 20


def test_a_function_without_an_answer_is_told_so():
    """The body of what is handed out is three dots, so it returns None: no reason to show a student
    a TypeError."""
    from sgdiff.workshop import pictures as workshop_pictures  # noqa: F401 (registers its checks)
    from sgdiff.workshop.checks import CHECKS, verdict
    # whose answers are values
    for name in set(CHECKS) - {
        "scene-graph", "shapes", "gradients", "latent-shape", "unet-shapes", "edits",
    }:
        right, said = verdict(name, lambda *args, **named: None)
        assert not right and "returns nothing yet" in said, (name, said)


def test_progress_counts_what_was_not_tried(monkeypatch):
    from sgdiff.workshop import checks
    monkeypatch.setattr(checks, "PASSED", {"geometry": True, "shapes": False, "forward": True})
    assert checks.progress(1).splitlines() == [
        "1 of 4 solved", "  not yet  scene-graph", "  yes      geometry", "  not yet  shapes",
        "  not yet  segment-mean",
    ]


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_an_endless_loop_ends_with_a_word(in_a_thread):
    from sgdiff.workshop.checks import verdict

    def endless(rows, index, n):
        while True:
            try: n += 1
            except Exception: pass

    found = []
    def run(): found.append(verdict("segment-mean", endless, seconds=0.3))
    if in_a_thread:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(60)
    else:
        run()
    assert found == [(False, found[0][1])] and "stopped after 0.3 seconds" in found[0][1]
    assert verdict("segment-mean", lambda rows, index, n: None, seconds=0.3)[1].startswith("your")


def exercise_minutes(path):
    "Exercise -> the minutes that its heading gives."
    text = "\n".join(
        c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"
    )
    return {
        int(number): int(minutes)
        for number, minutes in re.findall(r"^## Exercise (\d+): .*\((\d+) minutes\)$", text, re.M)
    }


@parts
def test_a_notebook_takes_as_long_as_its_exercises(path):
    minutes = exercise_minutes(path)
    told = int(
        re.search(r"About (\d+) minutes", nbformat.read(path, as_version=4).cells[0].source)[1]
    )
    assert list(minutes) == list(range(1, len(CHECKED.findall(code_of(path))) + 1))
    assert sum(minutes.values()) <= told <= sum(minutes.values()) + 5


def test_the_plans_keep_their_time():
    text = (NBS / "workshop" / "index.qmd").read_text(encoding="utf-8")
    plans = [
        re.findall(r"^\| (\d):(\d\d) \| (\d+) \| (.*?) \|", plan, re.M)
        for plan in text.split("\n## ")
        if plan.startswith(("Half a day", "One hour"))
    ]
    given = [exercise_minutes(path) for path in SOLUTIONS]
    for plan, length, blocks in zip(plans, (210, 60), (4, 3), strict=True):
        starts = [60 * int(h) + int(m) for h, m, *_ in plan]
        slots = [int(minutes) for *_, minutes, _ in plan]
        assert starts == [sum(slots[:i]) for i in range(len(plan))] and sum(slots) == length
        chosen = [
            (slot, *m.groups())
            for slot, (*_, what) in zip(slots, plan, strict=True)
            if (m := re.fullmatch(r"Notebook (\d), exercises ([\d, and]+|\d to \d)", what))
        ]
        assert (
            len(chosen)
            == blocks
            == sum("exercises " in what and "Notebook" in what for *_, what in plan)
        )
        for slot, notebook, which in chosen:
            first, to, last = which.partition(" to ")
            numbers = range(int(first), int(last) + 1) if to else map(int, re.findall(r"\d", which))
            assert sum(given[int(notebook) - 1][n] for n in numbers) <= slot, (
                f"notebook {notebook}, exercises {which}"
            )
