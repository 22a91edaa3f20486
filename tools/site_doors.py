"""Where a chapter is opened: in Colab, in Binder, or at home from a file.

Owner, name and branch of the repository are those of settings.ini, and stand nowhere else. Binder
installs from the repository and opens its notebooks. Colab and whoever downloads one notebook get
a copy whose first cell fetches and installs what is missing: the site has these copies in
files/notebooks, and Colab finds them on the branch that the site is published from.
"""
import configparser
from pathlib import Path
from urllib.parse import quote

import nbformat

from make_readme import LINK

SETTINGS = Path(__file__).resolve().parents[1] / "settings.ini"
PUBLISHED = "gh-pages"  # the branch with the site; .github/workflows/site.yml writes it
COPIES = "files/notebooks"  # from the site's root
COLAB, BINDER, COPY = "Open in Colab", "Open in Binder", "Download this notebook"
WORDS = f"{COLAB} {BINDER} {COPY} "  # as the search index has them: every page says so
INSTALL = """\
# Elsewhere than in a clone of the repository: fetches one, installs it, and goes to this chapter.
from pathlib import Path

if not Path("{root}/settings.ini").exists():
    if not Path("sgdiff-clone").exists():
        !git clone --quiet --depth 1 --branch {branch} {address} sgdiff-clone
        %pip install --quiet anywidget ./sgdiff-clone
    %cd -q sgdiff-clone/{folder}"""


def repository():  # (owner and name, branch)
    "What settings.ini says of the repository."
    said = configparser.ConfigParser(interpolation=None)
    said.read(SETTINGS, encoding="utf-8")
    return f"{said['DEFAULT']['user']}/{said['DEFAULT']['repo']}", said["DEFAULT"]["branch"]


def colab(
    page,  # a notebook without its ending, from nbs/
):  # address
    "Where Colab opens the copy of a notebook."
    where = f"{repository()[0]}/blob/{PUBLISHED}/{COPIES}/{page}.ipynb"
    return f"https://colab.research.google.com/github/{where}"


def binder(
    page,  # a notebook without its ending, from nbs/
):  # address
    "Where Binder opens a notebook."
    where, branch = repository()
    return f"https://mybinder.org/v2/gh/{where}/{branch}?labpath={quote(f'nbs/{page}.ipynb', safe='')}"


def doors(
    page,  # a notebook without its ending, from nbs/
):  # Markdown
    "The line below a chapter's title."
    copy = "../" * page.count("/") + f"{COPIES}/{page}.ipynb"
    return (
        "::: {.doors}\n"
        f"[{COLAB}]({colab(page)}) [{BINDER}]({binder(page)}) "
        f'<a href="{copy}" download>{COPY}</a>\n'
        ":::"
    )


def with_doors(
    opening,  # the first cell of a notebook
    page,  # its name without the ending, from nbs/
):  # Markdown
    "The cell with that line below its title."
    title, _, rest = opening.partition("\n")
    return f"{title}\n\n{doors(page)}\n\n{rest}"


def copy_for_elsewhere(
    path,  # a notebook
    nbs,  # the folder of the notebooks
):  # notebook
    "The notebook with a first cell that installs, and links that lead to the repository."
    where, branch = repository()
    nb = nbformat.read(path, as_version=4)

    def moved(m):
        target, _, anchor = m[2].partition("#")
        file = (path.parent / target).resolve()
        if not file.is_relative_to(nbs.parent): return m[0]
        address = f"https://github.com/{where}/blob/{branch}/{file.relative_to(nbs.parent).as_posix()}"
        return m[1] + address + (f"#{anchor}" if anchor else "")
    for cell in nb.cells:
        if cell.cell_type == "markdown" and "attachments" not in cell:
            cell.source = LINK.sub(moved, cell.source)
    folder = path.parent.relative_to(nbs.parent).as_posix()
    install = INSTALL.format(
        root="/".join([".."] * (folder.count("/") + 1)),
        branch=branch,
        address=f"https://github.com/{where}",
        folder=folder,
    )
    nb.cells.insert(0, nbformat.v4.new_code_cell(install, id="install"))
    return nb


def write_copies(
    nbs,  # the folder of the notebooks
    out,  # the built site
):
    "A copy of every notebook beside the pages."
    for path in sorted(nbs.rglob("*.ipynb")):
        if any(part.startswith((".", "_")) for part in path.relative_to(nbs).parts): continue
        copy = out / COPIES / path.relative_to(nbs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(copy_for_elsewhere(path, nbs), copy)
