"""Makes the workshop's slides out of the notebooks: one deck for each part, a folder that needs no
network.

    python tools/make_slides.py                 into _docs/slides/ (`make docs` does it too)
    python tools/make_slides.py --out slides    somewhere else, say on a stick

A deck opens with the goals of its part. Then each chapter that the part names is a section: its
question, and every captioned picture as a slide. The exercises follow, each with its solution on
the next slide. Nothing is executed.
"""
import argparse
import html
import posixpath
import re
import shutil
import sys
from pathlib import Path

import nbformat

from make_readme import LINK, directives
from make_workshop import SOLUTION, cut, solutions
from site_chapters import CAPTION, description, heading, picture, plain

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(__file__).resolve().parent / "site"
HERE = "workshop/solutions"
CHAPTER = re.compile(r"\((?:\.\./)+((?:\w+/)*\w+\.ipynb)\)")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="katex/katex.min.css"><link rel="stylesheet" href="slides.css">
<script defer src="katex/katex.min.js"></script><script defer src="slides.js"></script></head>
<body><main>
{slides}
</main><nav aria-label="Slides"><button id="back" aria-label="Back">&larr;</button><span id="where" aria-live="polite"></span><button id="next" aria-label="Next">&rarr;</button></nav></body></html>
"""


def to_html(
    markdown,  # a cell or a part of one
    folder="",  # where its notebook lies, from nbs/
):  # str
    "HTML, with formulas marked for KaTeX; links lead to the site's pages."
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def formula(text, options):
        kind = "display" if options.get("display_mode") else "inline"
        return f'<span class="math {kind}">{html.escape(text.strip())}</span>'

    md = (
        MarkdownIt("commonmark")
        .enable("table")
        .use(dollarmath_plugin, allow_space=False, double_inline=True, renderer=formula)
    )
    def moved(m):
        return m[1] + posixpath.normpath(
            posixpath.join("..", folder, re.sub(r"\.(ipynb|qmd)\b", ".html", m[2]))
        )

    return md.render(LINK.sub(moved, markdown))


def slide(
    body,  # HTML
    section=False,  # does a section begin here
):  # str
    "One slide."
    return f'<section class="slide{" first" if section else ""}">{body}</section>'


def code(
    source,  # of a cell
):  # str
    "Code, coloured as on the site."
    from smalldocs.highlight import highlight

    return f'<pre><code>{highlight(directives(source)[1], "python")}</code></pre>'


def figures(
    nb,  # a chapter
    folder,  # where it lies, from nbs/
):  # list of (heading, picture as HTML, caption as HTML)
    "The captioned pictures of a chapter."
    found = []
    for i, cell in enumerate(nb.cells[:-1]):
        shown = [p for p in map(picture, cell.get("outputs", [])) if p]
        caption = (
            CAPTION.match(nb.cells[i + 1].source)
            if nb.cells[i + 1].cell_type == "markdown"
            else None
        )
        if shown and caption:
            kind, data = shown[0]
            alt = html.escape(description(nb.cells, i)[0], quote=True)
            image = (
                f'<img src="data:image/png;base64,{data.strip()}" alt="{alt}">'
                if kind == "png"
                else data
            )
            found.append((heading(nb.cells, i), image, to_html(caption[1], folder)))
    return found


def chapter_slides(
    nbs,  # folder of the chapters
    name,  # of one of them, from there: method/03_graph_encoder.ipynb
):  # list of slides
    "The chapter's title, summary and question; then its pictures."
    nb, folder = nbformat.read(nbs / name, as_version=4), posixpath.dirname(name)
    opening = "\n\n".join(
        p for p in nb.cells[0].source.split("\n\n") if p.startswith(("# ", "**Question"))
    )
    made = [slide(to_html(opening, folder), section=True)]
    return made + [
        slide(
            f"<h2>{html.escape(title)}</h2><figure>{image}<figcaption>{caption}</figcaption></figure>"
        )
        for title, image, caption in figures(nb, folder)
    ]


def exercise_slides(
    nb,  # a notebook with solutions
):  # list of slides
    "Each exercise, and on the next slide its solution."
    made, task = [], None
    for cell in nb.cells:
        said = cell.source
        if cell.cell_type == "markdown":
            before, _, after = said.partition("**Solution.**")
            if "## Exercise" in said:
                task = before[before.index("## Exercise"):]
            if after and made:
                made[-1] = made[-1].replace(
                    "</section>",
                    to_html("**Solution.** " + after.split("\n\n")[0].strip(), HERE) + "</section>",
                )
        elif SOLUTION.search(said) and task:
            title = plain(task.splitlines()[0])
            solved = re.sub(r"^[ \t]*### (BEGIN|END) SOLUTION\n?", "", said, flags=re.M)
            made.append(slide(to_html(task, HERE) + code(cut(said)), section=not made))
            made.append(slide(f"<h2>{html.escape(title)}: solution</h2>" + code(solved)))
    return made


def deck(
    path,  # of a notebook with solutions
    nbs,  # folder of the chapters
):  # HTML
    "The slides of one part of the workshop."
    nb = nbformat.read(path, as_version=4)
    opening = nb.cells[0].source.replace(" (solutions)\n", "\n", 1)
    slides = [slide(to_html(opening.split("**Chapters:**")[0], HERE), section=True)]
    for name in dict.fromkeys(CHAPTER.findall(opening)):
        slides += chapter_slides(nbs, name)
    return PAGE.format(
        title=html.escape(plain(opening.splitlines()[0])),
        slides="\n".join(slides + exercise_slides(nb)),
    )


def write_decks(
    folder,  # made if it is not there
    nbs=ROOT / "nbs",  # folder of the notebooks
):  # list of paths
    "All decks, and what they need, beside each other."
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("slides.css", "slides.js"):
        shutil.copy(SITE / name, folder)
    shutil.copytree(
        SITE / "katex",
        folder / "katex",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("README.md", "auto-render*"),
    )
    made = []
    for path in solutions(nbs / "workshop"):
        made.append(folder / f"{path.stem}.html")
        made[-1].write_text(deck(path, nbs), encoding="utf-8")
    return made


def main():
    "Writes the decks and says where."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "_docs" / "slides")
    for path in write_decks(parser.parse_args().out):
        print(f"{path}: {path.read_text(encoding='utf-8').count('<section')} slides")
    return 0


if __name__ == "__main__":
    sys.exit(main())
