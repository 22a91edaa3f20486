"""The path of an afternoon: twelve chapters in nbs/method, short enough to be read, each building on what came before."""
import ast
import re

import nbformat
import pytest

from run_notebooks import NBS, reading_order

PATH = [p for p in reading_order() if p.parent == NBS / "method" and re.match(r"\d\d_", p.name)]
WORDS, LINES = 15_000, 4_000  # of the Markdown cells; of the code cells, blank ones not counted
LONGEST = 30  # lines of one code cell
HOURS = 5  # for all of it, at 200 words and 20 lines a minute
MINUTES = (15, 30)  # for each chapter, as promised; the first takes ten
MADE = re.compile(r"^#\|\s*(?:default_exp|exports?)\s+(\w+(?:\.\w+)*)\s*$", re.M)


def cells(path, kind):
    "The sources of the cells of one kind."
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def words(path):
    return sum(len(source.split()) for source in cells(path, "markdown"))


def lines(source):
    return [line for line in source.splitlines() if line.strip()]


def code(path):
    return sum(len(lines(source)) for source in cells(path, "code"))


def minutes(path):
    return words(path) / 200 + code(path) / 20


def made(path):
    "The modules that a chapter's cells are exported to."
    return {name for source in cells(path, "code") for name in MADE.findall(source)}


def imported(path):
    "The modules that a chapter's cells import from, as seen from the package: `method.unet`."
    found = set()
    for source in cells(path, "code"):
        tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sgdiff."):
                found.add(node.module.removeprefix("sgdiff."))
            if isinstance(node, ast.Import):
                found |= {a.name.removeprefix("sgdiff.") for a in node.names if a.name.startswith("sgdiff.")}
    return found


def test_there_are_twelve_in_the_order_of_their_numbers():
    assert [p.stem[:3] for p in PATH] == [f"{n:02d}_" for n in range(12)]
    titles = [cells(p, "markdown")[0].splitlines()[0] for p in PATH]
    assert [re.match(r"# (\d+)\. \S", title)[1] for title in titles] == [str(n) for n in range(12)]


def test_they_are_read_in_an_afternoon():
    assert sum(map(words, PATH)) <= WORDS
    assert sum(map(code, PATH)) <= LINES
    assert sum(map(minutes, PATH)) < 60 * HOURS


@pytest.mark.parametrize("path", PATH, ids=lambda p: p.stem)
def test_a_chapter_has_small_cells_and_takes_a_while(path):
    long = [source for source in cells(path, "code") if len(lines(source)) > LONGEST]
    assert long == []
    wide = [line for source in cells(path, "code") for line in source.splitlines()
            if len(line) > 100 and not line.startswith("#|")]
    assert wide == []
    shortest, longest = (0, 10) if path == PATH[0] else MINUTES
    assert shortest <= minutes(path) <= longest


@pytest.mark.parametrize("number", range(12))
def test_a_chapter_uses_what_came_before_it(number):
    later = set().union(*(made(path) for path in PATH[number + 1:]))
    assert imported(PATH[number]) & later == set()


@pytest.mark.parametrize("number", range(11))
def test_a_chapter_leads_to_the_next(number):
    last = cells(PATH[number], "markdown")[-1]
    assert f"({PATH[number + 1].name})" in last and "**Next" in last
