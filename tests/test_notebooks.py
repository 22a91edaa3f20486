"""Every notebook runs from top to bottom, shortened (SGDIFF_FAST=1), in a fresh kernel: their cells
are the tests."""
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from run_notebooks import NBS, ROOT, execute, find_notebooks

AT_ONCE = 2  # kernels; a notebook is at work on one core for most of its time


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
def running(request):
    """Notebook -> its run, begun or still to come: all that were asked for, two at a time, each on
    its share of the cores. They leave no files behind."""
    before = untracked()
    paths = [
        item.callspec.params["path"]
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_notebook"
    ]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE) as pool:
        patch.setenv("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // AT_ONCE)))
        yield {path: pool.submit(execute, path, fast=True, timeout=600) for path in paths}
        pool.shutdown(cancel_futures=True)
    assert untracked() <= before, f"left behind: {untracked() - before}"


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda p: p.stem)
def test_notebook(path, running, notebook_runs):
    run = running[path].result()
    notebook_runs.append(run)
    if run.error:
        pytest.fail(f"{path.relative_to(ROOT)}, {run.error}", pytrace=False)


def test_there_are_notebooks():
    assert find_notebooks()[0] == NBS / "index.ipynb" and len(find_notebooks()) > 50
