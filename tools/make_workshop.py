"""Makes the workshop's notebooks for students out of the solutions: nbs/workshop/solutions/*.ipynb
-> nbs/workshop/*.ipynb.

    python tools/make_workshop.py            writes them
    python tools/make_workshop.py --check    writes nothing; exit 1 where one is out of date

What stands between `### BEGIN SOLUTION` and `### END SOLUTION` (nbgrader's marks) becomes three
dots, cells that open with **Solution.** go, and so do all outputs. A picture that a right answer
draws is shown below the cell that draws it. Edit the solutions; the students' copies cannot drift.
"""
import argparse
import copy
import re
import sys
from pathlib import Path

import nbformat

from make_readme import directives

ROOT = Path(__file__).resolve().parents[1]
WORKSHOP = ROOT / "nbs" / "workshop"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION\n?", re.M | re.S)
ASSIGNED = re.compile(r"^(\w+) = ", re.M)
ANSWER = re.compile(r"^(?:def )?(\w+)(?: = |\()", re.M)  # what a cell with a solution defines


def solutions(folder=WORKSHOP):  # list of paths
    "The notebooks with solutions, in order."
    return sorted((folder / "solutions").glob("*.ipynb"))


def cut(
    source,  # a code cell
):  # str
    """The cell with three dots for each solution: as the body of a function, or as the value of the
    name it defines."""
    def dots(m):
        if m[1]:
            return f"{m[1]}...     # your turn\n"
        return f"{ASSIGNED.search(m[2])[1]} = ...     # your turn\n"
    return SOLUTION.sub(dots, source).rstrip("\n")


def right_picture(
    cell,  # a code cell of the solutions, with its outputs
):  # Markdown cell, or None for a cell without a picture
    "What the cell draws from right answers; the picture lies in the cell itself."
    shown = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
    if not shown: return None
    alt = directives(cell.source)[0].get("fig-alt", "what right answers draw")
    return nbformat.v4.new_markdown_cell(
        f"With right answers the cell above draws this:\n\n![{alt}](attachment:right.png)",
        id=f"{cell.id}-right",
        attachments={"right.png": {"image/png": shown[0]}},
    )


def with_right_pictures(
    cells,  # of a notebook with solutions
):  # list of cells
    "The cells, and below each one that draws from an answer what it draws from the right one."
    answers, found = set(), []
    for cell in cells:
        found.append(cell)
        if cell.cell_type != "code": continue
        if SOLUTION.search(cell.source):
            answers |= set(ANSWER.findall(cell.source))
        elif answers & set(re.findall(r"\w+", cell.source)) and (shown := right_picture(cell)):
            found.append(shown)
    return found


def student(
    nb,  # a notebook with solutions
):  # notebook
    "What is handed out."
    nb = copy.deepcopy(nb)
    nb.cells = with_right_pictures(nb.cells)
    nb.cells = [c for c in nb.cells if not c.source.startswith("**Solution.**")]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source, cell.outputs, cell.execution_count = cut(cell.source), [], None
        else:  # one folder up; an explanation below a task's text goes too
            cell.source = (
                re.sub(r"\n+\*\*Solution\.\*\*[^\n]*", "", cell.source)
                .replace("](../../", "](../")
                .replace(" (solutions)\n", "\n", 1)
            )
    return nb


def stale(
    folder=WORKSHOP,
):  # dict of path -> text as it should be
    "The students' notebooks that are missing or not what their solutions say."
    made = {
        folder / p.name: nbformat.writes(student(nbformat.read(p, as_version=4))) + "\n"
        for p in solutions(folder)
    }
    return {
        p: text
        for p, text in made.items()
        if not p.exists() or p.read_text(encoding="utf-8") != text
    }


def main():
    "Returns 1 if --check finds a difference."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    changed = stale()
    for path, text in changed.items():
        print(("differs: " if check else "wrote ") + path.relative_to(ROOT).as_posix())
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
