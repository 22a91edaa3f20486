"""Every notebook runs from top to bottom, shortened (SGDIFF_FAST=1), in a fresh kernel: their cells are the tests."""
import subprocess

import pytest

from run_notebooks import NBS, ROOT, execute, find_notebooks


def untracked():
    "The files in nbs/ that git neither tracks nor ignores, notebooks aside."
    listing = subprocess.run(["git", "ls-files", "--others", "--exclude-standard", "nbs"], cwd=ROOT, capture_output=True, text=True)
    return {name for name in listing.stdout.splitlines() if not name.endswith(".ipynb")}


@pytest.fixture(scope="module")
def files_before():
    return untracked()


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda p: p.stem)
def test_notebook(path, notebook_runs, files_before):
    run = execute(path, fast=True, timeout=600)
    notebook_runs.append(run)
    if run.error:
        pytest.fail(f"nbs/{path.name}, {run.error}", pytrace=False)
    assert untracked() <= files_before, "it leaves files behind"


def test_there_are_notebooks():
    assert [p.stem for p in find_notebooks()][:1] == ["00_core"] and (NBS / "index.ipynb").exists()
