"""Live figures: something to drag in a chapter of the site, drawn by the networks of draw/.

A notebook knows nothing of them, and shows nothing of them in JupyterLab: on its way to the site,
`add` puts each figure at the end of a section. There it is a title, a sentence and, by
site/live.js, a button. Nothing is fetched before a reader presses it.
"""
import html
import json
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

SCRIPT = Path(__file__).resolve().parent / "site" / "live.js"
MEGABYTES = 13  # of networks and runtime, fetched once; a test adds them up
TAUGHT = 2  # more, where the figure asks what pre-training taught with
STILL = "This figure needs scripts, and a page that comes from a web server, not from a disk."


@dataclass(frozen=True)
class Live:
    "A figure of a chapter."
    kind: str  # a figure of site/live.js
    section: str  # heading, at whose end the figure stands
    title: str  # an order to the reader
    words: str  # what happens, and what to look at
    graphs: tuple  # texts: the graph, and for "change" and "tokens" those it may become
    seeds: tuple = (0,)  # one a picture
    more: dict = field(default_factory=dict)  # other settings of the kind


SHEEP = "sheep left of tree; sky above grass"
FIGURES = {  # page -> figure
    "method/00_a_picture_from_a_graph": Live(
        "change", "Change one word", "change one word",
        "Left: the graph of this chapter. Right: a graph that differs in one word, from the same "
        "noise. What changes besides the word?",
        (SHEEP, "sheep right of tree; sky above grass", "car left of tree; sky above grass",
         "sheep left of house; sky above grass", "sheep left of tree; night above grass",
         "sheep left of tree; sky above snow")),
    "method/03_graph_encoder": Live(
        "change", "One vector for the scene", "see which tokens a word moves",
        "The trained encoder reads two graphs that differ in one word. Which tokens hear of it, "
        "though the word is not theirs?",
        (SHEEP, "sheep right of tree; sky above grass", "dog left of tree; sky above grass",
         "sheep left of tree; night above grass"), more={"meters": True}),
    "method/04_attention": Live(
        "attention", "It learns to look things up", "point at a token",
        "The trained denoiser draws, and each place of the picture reads the tokens of the graph. "
        "Orange: the places that read the chosen token, a mean over all blocks and steps.",
        (SHEEP,)),
    "method/05_contrastive": Live(
        "fits", "Does it help? A short training", "find the graph that fits",
        "A graph is drawn. The shipped encoders, which were trained longer, compare the picture "
        "with all six. The second tells the same from the other end. The third and the fourth have "
        "one word turned or replaced. The fifth says more. Which bars come close to the longest?",
        ("sheep left of tree; sky above grass", "tree right of sheep; grass below sky",
         "sheep right of tree; sky above grass", "dog left of tree; sky above grass",
         "sheep left of tree; sheep looking away from tree; sky above grass",
         "boat left of car; sky above water")),
    "method/06_masked": Live(
        "masked", "After a full training", "hide a part, and say what it was",
        "The shipped masked head draws what is hidden, from what is seen and from the tokens of a "
        "graph. The first graph is true, the last does not speak of it, the others lie. What comes "
        "back, and what does a lie change?",
        (SHEEP, "dog left of tree; sky above grass", "ball left of tree; sky above grass",
         "boat left of tree; sky above grass", "tree; sky above grass"),
        more={"hole": (0, 7, 16)}),
    "method/07_latents_and_diffusion": Live(
        "noise", "Noise in many steps, or in one", "drag the noise level",
        "Middle: the latents with noise, decoded. Right: what the trained denoiser takes them for "
        "if it is told no graph. At which level does it lose the things, at which the horizon?",
        (SHEEP,), more={"noise": "1"}),
    "method/08_unet": Live(
        "hide", "What does it read?", "hide a token",
        "A token without a tick is read by no place; the noise stays the same. The relation is "
        "hidden: do the tokens of its objects still know of it? What must be hidden before the "
        "sheep is lost?",
        (SHEEP,)),
    "method/09_sampling": Live(
        "guidance", "Guidance", "turn guidance",
        "Three seeds at each guidance scale; 1 is no guidance. Where do the pictures begin to "
        "obey, and where do the colours become too strong?",
        (SHEEP,), seeds=(0, 1, 2)),
    "method/10_generating_and_editing": Live(
        "change", "Edit", "edit the graph",
        "The same noise before and after. Does only that change which the edit names?",
        (SHEEP, "sheep right of tree; sky above grass", "sheep above tree; sky above grass",
         "sheep looking at tree; sky above grass", "boat left of tree; sky above water")),
}


def element(
    figure,  # Live
    up,  # from the page to the site's root: "", or "../"
):  # str
    "The figure as HTML, in one piece: a blank line would end it in Markdown."
    said = json.dumps({"graphs": figure.graphs, "seeds": figure.seeds, **figure.more})
    title = html.escape(figure.title)
    size = MEGABYTES + TAUGHT * (figure.kind in ("fits", "masked"))
    return (
        f'<section class="live" data-figure="{figure.kind}" data-said="{html.escape(said)}" '
        f'data-size="{size} MB" aria-label="Live figure: {title}">\n'
        f"<p><strong>Live: {title}.</strong> {html.escape(figure.words)}</p>\n"
        f'<p class="live-still">{STILL}</p>\n</section>\n'
        f'<script type="module" src="{up}draw/{SCRIPT.name}"></script>'
    )


def cell_of(
    figure,  # Live
    page,  # its name, from the site's root
):  # a Markdown cell
    "The figure as a cell of its own."
    return nbformat.v4.new_markdown_cell(element(figure, "../" * page.count("/")), id="live")


def add(
    nb,  # a chapter for a renderer, changed
    page,  # its name, from the site's root, without an ending
):
    "The chapter with its figure, if it has one. Raises ValueError if the section is not there."
    figure = FIGURES.get(page)
    if figure is None: return
    cells = nb.cells
    heads = [(i, k, line.removeprefix("## ")) for i, cell in enumerate(cells)
             if cell.cell_type == "markdown"
             for k, line in enumerate(cell.source.split("\n")) if line.startswith("## ")]
    names = [name for _, _, name in heads]
    if figure.section not in names:
        raise ValueError(f"{page} has no section '{figure.section}' for its live figure, but "
                         f"{', '.join(names)}")
    after = heads[names.index(figure.section) + 1:]
    if not after: return cells.append(cell_of(figure, page))
    i, k, _ = after[0]
    lines = cells[i].source.split("\n")
    above = "\n".join(lines[:k]).rstrip()
    cells[i].source = "\n".join(lines[k:])
    cells.insert(i, cell_of(figure, page))
    if above: cells.insert(i, nbformat.v4.new_markdown_cell(above, id="above-live"))
