"""Runs notebooks, each in a fresh kernel, one after the other; shows the cell that failed; can
write the outputs back.

python tools/run_notebooks.py                 every notebook in nbs/, in order, at full budget
python tools/run_notebooks.py 04 vae --fast   those two, shortened as in `make test`
python tools/run_notebooks.py --write         outputs go into the notebooks (`make notebooks`)
python tools/run_notebooks.py --clean         runs nothing, only tidies (`make clean-nbs`)
"""
import argparse
import copy
import math
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tidy_notebook import image_sizes, plain, tidy

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT / "nbs"
MAX_IMAGE = 150_000  # bytes of one committed picture
MINUTES = (1, 2, 3, 5, 8, 12, 20, 30)  # that a chapter's opening may speak of
RUNS_IN = re.compile(r"\n\n\*Runs in (?:under a minute|about (\d+) minutes) on two cores\.\*$")
LONG_CELL = 10  # seconds after which a cell gets a line of its own in the progress


def pages(
    items,  # of a sidebar: file names, and sections of such
):  # yields file names, from the repository's root
    "What a sidebar leads to, in its order."
    for item in items:
        if isinstance(item, dict) and "contents" in item:
            yield from pages(item["contents"])
        else:
            yield item


def reading_order(
    root=ROOT,  # the repository
):  # list of paths
    "Every notebook in the order of the site's sidebar, which is the one place that says it."
    site = yaml.safe_load((Path(root) / "_quarto.yml").read_text(encoding="utf-8"))
    return [
        Path(root) / page
        for page in pages(site["website"]["sidebar"]["contents"])
        if page.endswith(".ipynb")
    ]


def handed_out(
    path,  # a notebook
):  # bool
    "Whether it is one of the workshop whose exercises are unsolved."
    return path.parent.name == "workshop" and re.match(r"w\d", path.name) is not None


def find_notebooks(
    names=(),  # numbers, parts of names, or paths; none: all
    root=ROOT,  # the repository
    students=False,  # also those of the workshop that are handed out, whose exercises are unsolved
):  # list of paths in reading order
    "The notebooks meant by `names`. Raises SystemExit where a name fits none."
    every = [p for p in reading_order(root) if students or not handed_out(p)]
    if not names:
        return every
    found = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        fits = [p for p in every if p.stem == stem] or [p for p in every if stem in p.stem]
        if not fits:
            sys.exit(f"no notebook fits {name!r}; there are: {', '.join(p.stem for p in every)}")
        found += fits
    return sorted(set(found), key=every.index)


@dataclass
class Run:
    "What became of one notebook."
    path: Path
    notebook: nbformat.NotebookNode  # with its new outputs
    started: float  # on the clock of time.monotonic
    seconds: float  # start of the kernel included
    slowest: tuple  # (seconds, number) of the cell that took longest
    error: str  # empty: it passed; otherwise the cell and its traceback


def skipped(
    source,  # a code cell's text
    fast,  # shortened runs also leave out `#| slow`
):  # bool
    "True for a cell that is shown, not run."
    directives = [
        line[2:].strip().replace(" ", "") for line in source.splitlines() if line.startswith("#|")
    ]
    return "eval:false" in directives or (fast and "slow" in directives)


def failure(
    cell,  # the cell that failed
    number,  # its place among all the cells
    error,  # what nbclient raised
):  # str
    "The report of a failed cell: where, its source, and its traceback without colours."
    if isinstance(error, CellExecutionError):
        said = "\n".join(
            o for out in cell.outputs if out.output_type == "error" for o in out.traceback
        )
        said = said or f"{error.ename}: {error.evalue}"
    else:
        said = f"{type(error).__name__}: {error}"
    return f"cell {number} (id {cell.get('id')}) failed:\n\n{cell.source}\n\n{plain(said)}"


def execute(
    path,  # the notebook; it is read, never written
    fast=False,  # sets SGDIFF_FAST=1 for its kernel
    timeout=1800,  # seconds, for any one cell
    on_cell=lambda number, total, seconds: None,  # called after each cell
    kernels=AsyncKernelManager,  # who starts its kernel
):  # Run
    "Runs one notebook in a fresh kernel, in its own folder."
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code" and skipped(cell.source, fast):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "skip-execution"]
    started, slowest, at = time.monotonic(), (0.0, 0), {}

    def before(cell, cell_index):
        at.update(cell=cell, number=cell_index, start=time.monotonic())

    def after(cell, cell_index, execute_reply):
        nonlocal slowest
        seconds = time.monotonic() - at["start"]
        slowest = max(slowest, (seconds, cell_index))
        on_cell(cell_index, len(nb.cells), seconds)

    client = NotebookClient(
        nb, timeout=timeout, kernel_name="python3", record_timing=False,
        kernel_manager_class=kernels,
        skip_cells_with_tag="skip-execution",
        # of the kernel: it warns of TCP on a machine's own loopback
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(Path(path).resolve().parent)}},
        on_cell_execute=before,
        on_cell_executed=after,
    )
    env = {k: v for k, v in os.environ.items() if k not in ("SGDIFF_FAST", "IN_TEST")} | {
        "JUPYTER_PREFER_ENV_PATH": "1"
    }
    error = ""
    try:
        client.execute(env=env | ({"SGDIFF_FAST": "1"} if fast else {}))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
        error = failure(at["cell"], at["number"], e) if at else f"{type(e).__name__}: {e}"
    return Run(Path(path), nb, started, time.monotonic() - started, slowest, error)


def busy_seconds(
    runs,  # list of Run
):  # float
    "How long at least one of them was at work: less than the sum where several ran at once."
    total, until = 0.0, -math.inf
    for run in sorted(runs, key=lambda r: r.started):
        end = run.started + run.seconds
        total += max(0.0, end - max(run.started, until))
        until = max(until, end)
    return total


def table(
    runs,  # list of Run
):  # str
    "The time of each notebook, its slowest cell, and the time of all on the wall clock."
    rows = [
        f"{r.path.stem:<24}{r.seconds:7.1f} s   slowest cell {r.slowest[1]:3d}: "
        f"{r.slowest[0]:6.1f} s"
        + ("   FAILED" if r.error else "")
        for r in runs
    ]
    return "\n".join([*rows, f"{'all':<24}{busy_seconds(runs):7.1f} s"])


def say_how_long(
    nb,  # changed in place
    seconds,  # that it ran, the start of its kernel included
):
    "Ends the opening of a chapter with the time that it takes; a time that still holds stays."
    opening = nb.cells[0]
    told = RUNS_IN.search(opening.source)
    minutes = int(told[1] or 1) if told else 0
    if not (20 * minutes if minutes > 1 else 0) <= seconds <= 60 * minutes:
        minutes = next((m for m in MINUTES if seconds <= 55 * m), MINUTES[-1])
    words = "under a minute" if minutes == 1 else f"about {minutes} minutes"
    opening.source = (
        RUNS_IN.sub("", opening.source.rstrip()) + f"\n\n*Runs in {words} on two cores.*"
    )


def write(
    nb,  # the notebook
    path,  # where to
    seconds=None,  # that it ran, for a chapter's opening
):  # bool: did the file change
    """Tidies `nb` and writes it if that changes the file; warns of pictures that are too big to
    commit."""
    nb = copy.deepcopy(nb)
    if seconds is not None:
        say_how_long(nb, seconds)
    nb = tidy(nb, ROOT)
    for number, size in image_sizes(nb):
        if size > MAX_IMAGE:
            print(
                f"  warning: {Path(path).name} cell {number}: a picture of {size // 1000} kB, more "
                f"than {MAX_IMAGE // 1000}"
            )
    text = nbformat.writes(nb) + "\n"
    if Path(path).read_text(encoding="utf-8") == text:
        return False
    partial = Path(path).with_suffix(".ipynb.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return True


def progress(number, total, seconds):
    "One line that moves on a terminal; elsewhere a line for each long cell."
    if sys.stdout.isatty():
        print(f"\r  cell {number + 1}/{total}", end="\r", flush=True)
    elif seconds > LONG_CELL:
        print(f"  cell {number}: {seconds:.0f} s", flush=True)


def main():
    "Returns 1 if a notebook failed."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="numbers, names or paths; none: all")
    parser.add_argument(
        "--fast", action="store_true", help="shortened (SGDIFF_FAST=1), as in `make test`"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the outputs of those that pass into nbs/"
    )
    parser.add_argument("--clean", action="store_true", help="run nothing, only tidy")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for any one cell")
    args = parser.parse_args()
    if args.fast and args.write:
        parser.error("--fast with --write would commit shortened results")
    paths = find_notebooks(args.names)
    if args.clean:
        for path in paths if args.names else find_notebooks(students=True):
            if write(nbformat.read(path, as_version=4), path):
                print(f"tidied {path.name}")
        return 0
    runs = []
    for path in paths:
        print(f"{path.stem} ...", flush=True)
        runs.append(run := execute(path, args.fast, args.timeout, progress))
        if run.error:
            print(run.error, flush=True)
        elif args.write:
            write(
                run.notebook,
                path,
                run.seconds if "solutions" not in path.parts and path.stem != "index" else None,
            )
    print(f"\n{table(runs)}")
    return int(any(r.error for r in runs))


if __name__ == "__main__":
    sys.exit(main())
