"""Every notebook runs from top to bottom, shortened (SGDIFF_FAST=1), in a kernel of its own: their
cells are the tests."""
import subprocess
import sys
from dataclasses import replace

import pytest
from jupyter_client import AsyncKernelManager

from forked_kernels import ForkedKernel
from run_notebooks import NBS, ROOT, execute, find_notebooks

KERNELS = ForkedKernel if sys.platform == "linux" else AsyncKernelManager


def untracked():
    "The files in nbs/ that git neither tracks nor ignores, notebooks aside."
    listing = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "nbs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return {name for name in listing.stdout.splitlines() if not name.endswith(".ipynb")}


@pytest.fixture(scope="module")
def nothing_left_behind():
    before = untracked()
    yield
    assert untracked() <= before, f"left behind: {untracked() - before}"


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda p: p.stem)
def test_notebook(path, nothing_left_behind, record_property):
    run = execute(path, fast=True, timeout=600, kernels=KERNELS)
    # plain values: another process may report them
    record_property("run", vars(replace(run, path=str(path), notebook=None)))
    if run.error:
        pytest.fail(f"{path.relative_to(ROOT)}, {run.error}", pytrace=False)


def test_there_are_notebooks():
    assert find_notebooks()[0] == NBS / "index.ipynb" and len(find_notebooks()) > 50
