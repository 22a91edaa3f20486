"""From a committed notebook to a page: cells as the reader should see them, a text for each
picture, links to the reference.

Nothing is executed. What is shown are the outputs that were committed; smalldocs and Quarto both
render the result.
"""
import ast
import json
import os
import re
from dataclasses import dataclass

import nbformat

from make_readme import LINK, directives
from site_doors import with_doors

ALT_LENGTH = 320  # characters; a screen reader reads all of it aloud
HIDDEN = {"hide", "default_exp", "include: false"}  # directives of cells that a reader does not see
# directives that mean nothing to a renderer
NBDEV = {"export", "exports", "exporti", "slow", "hide", "eval: false"}
# italics that open a cell: more than a word of them
CAPTION = re.compile(r"\*(?![*\s])((?:(?!\n\n).){12,}?)(?<![*\s])\*(?=\s|\Z)", re.DOTALL)
KEEP = re.compile(
    r"(^```.*?^```|^~~~.*?^~~~|!?\[[^\]]*\]\([^)]*\)|<[^>]*>|\$\$.*?\$\$)", re.DOTALL | re.MULTILINE
)
NAME = re.compile(r"`([A-Za-z_][\w.]*)(\(\))?`")


@dataclass
class Figure:
    "One picture of one chapter, for the gallery."
    page: str  # the chapter's file, from the site's root
    title: str  # the chapter's
    anchor: str  # on that page
    kind: str  # png or svg+xml
    data: str  # base64, or the text of an SVG
    alt: str  # what it shows, in words
    told: bool  # False: neither a `fig-alt` nor a caption says what it shows


def plain(
    markdown,  # a paragraph
    length=ALT_LENGTH,  # cut after a word
):  # str
    "The words of a paragraph, without marks, links and formulas' backslashes."
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"\\(?:mathrm|mathbf|text|hat|bar|tilde|sqrt)\b", "", text)
    text = re.sub(r"\s+", " ", re.sub(r"[*`$\\{}#>]", "", text)).strip()
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"


def picture(
    out,  # an output of a code cell
):  # (kind, data) or None
    "The picture in an output, if it is one."
    data = out.get("data", {})
    kind = next((k for k in ("image/svg+xml", "image/png") if k in data), None)
    return (kind.removeprefix("image/"), "".join(data[kind])) if kind else None


def heading(
    cells,  # of a notebook
    i,  # a cell
):  # str
    "The heading under which a cell stands."
    found = [
        m
        for c in cells[:i]
        if c.cell_type == "markdown"
        for m in re.findall(r"^#+ (.+)$", c.source, re.M)
    ]
    return plain(found[-1]) if found else ""


def description(
    cells,  # of a notebook
    i,  # a code cell with a picture
):  # (what it shows, whether someone wrote that of the picture)
    """The text for a picture: `#| fig-alt`, else its caption below; for want of both its heading
    and the paragraph above."""
    said = directives(cells[i].source)[0].get("fig-alt", "")
    if said:
        return said, True
    after = cells[i + 1] if i + 1 < len(cells) else None
    caption = (
        CAPTION.match(after.source.lstrip())
        if after is not None and after.cell_type == "markdown"
        else None
    )
    if caption:
        return plain(caption[1]), True
    before = cells[i - 1] if i and cells[i - 1].cell_type == "markdown" else None
    words = (
        [p for p in before.source.split("\n\n") if not p.startswith(("#", "|", "```", "$$"))]
        if before
        else []
    )
    where = f"Figure in the section “{heading(cells, i)}”"
    return (f"{where}: {plain(words[-1])}" if words else where), False


def link_names(
    markdown,  # a cell
    names,  # name -> page and anchor, from the site's root
    up,  # from the page to the site's root: "", or "../"
):  # str
    """The cell with each name of the library, where it stands in backticks, leading to its entry in
    the reference."""
    def linked(m):
        return f"[{m[0]}]({up}{names[m[1]]})" if m[1] in names else m[0]
    parts = KEEP.split(markdown)
    return "".join(
        part
        if k % 2
        else "\n".join(
            line if line.startswith("#") else NAME.sub(linked, line) for line in part.split("\n")
        )
        for k, part in enumerate(parts)
    )


def definitions(
    source,  # a code cell
):  # list of names
    "What a cell defines at its top level and does not keep to itself."
    try:
        tree = ast.parse(
            "\n".join(
                line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))
            )
        )
    except SyntaxError:
        return []
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return [
        node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def code_source(
    source,  # a code cell
    alt="",  # text for its picture
):  # str
    "The cell with the directives that a renderer knows; what the module keeps to itself is folded."
    lines = source.splitlines()
    said = [line[2:].strip() for line in lines if line.startswith("#|")]
    kept = [
        f"#| {d}"
        for d in said
        if d.partition(":")[0] not in NBDEV | {"fig-alt"}
        and d not in NBDEV
        and not d.startswith("default_exp")
    ]
    if "export" in said or "exporti" in said:
        kept += ["#| code-fold: true", '#| code-summary: "Imports and small helpers of the module"']
    if alt:
        kept.append(f"#| fig-alt: {json.dumps(alt, ensure_ascii=False)}")
    return "\n".join(
        [*kept, "\n".join(line for line in lines if not line.startswith("#|")).strip()]
    )


def move_links(
    markdown,  # a cell
    path,  # the notebook
    nbs,  # folder that becomes the site's root
    root,  # the repository's
    copied,  # set of paths from the repository's root, added to
):  # str
    "Links out of `nbs` go to copies of those files inside the site."
    def moved(m):
        target, _, anchor = m[2].partition("#")
        file = (path.parent / target).resolve()
        if file.is_relative_to(nbs) or not file.is_relative_to(root) or not file.exists():
            return m[0]
        copied.add(file.relative_to(root).as_posix())
        here = os.path.relpath(root, path.parent)
        return (
            m[1]
            + "../" * (here.count("..") - 1)
            + "files/"
            + file.relative_to(root).as_posix()
            + (f"#{anchor}" if anchor else "")
        )
    # JupyterLab keeps a heading's capitals, the site does not
    here = re.sub(r"\]\(#([^)]+)\)", lambda m: f"](#{m[1].lower()})", markdown)
    return LINK.sub(moved, here)


def chapter(
    path,  # a notebook
    nbs,  # folder that becomes the site's root
    names,  # name -> page and anchor in the reference
    copied=None,  # set of other files that the page links to, added to
):  # (the notebook for a renderer, list of Figure)
    "One notebook as a page."
    nb, figures, cells = nbformat.read(path, as_version=4), [], []
    page = path.relative_to(nbs).with_suffix("").as_posix()
    up = "../" * page.count("/")
    title = plain(
        next(
            (
                re.findall(r"^# (.+)$", c.source, re.M)
                for c in nb.cells
                if c.cell_type == "markdown"
            ),
            [page],
        )[0]
    )
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            text = directives(cell.source)[1]  # the module's text is exported
            source = move_links(
                text, path, nbs, nbs.parent, copied if copied is not None else set()
            )
            caption = (
                CAPTION.match(source)
                if i and any(map(picture, nb.cells[i - 1].get("outputs", [])))
                else None
            )
            if caption:
                source = f"::: {{.caption}}\n{caption[0]}\n:::\n{source[caption.end():]}"
            if i == 0 and page != "index": source = with_doors(source, page)
            shown = nbformat.v4.new_markdown_cell(link_names(source, names, up), id=cell.id)
            shown.attachments = cell.get("attachments", {})
            cells.append(shown)
        elif cell.cell_type == "code":
            said, code = directives(cell.source)
            if (
                HIDDEN & {k if not v else f"{k}: {v}" for k, v in said.items()}
                or any(k.startswith("default_exp") for k in said)
                or not code
            ):
                continue
            # of a docstring in a cell: itself once more
            outputs = [] if {"export", "exporti"} & set(said) else cell.outputs
            shown = [p for p in map(picture, outputs) if p]
            alt, told = description(nb.cells, i) if shown else ("", True)
            if shown:
                anchor = f"figure-{len(figures) + 1}"
                cells.append(
                    nbformat.v4.new_markdown_cell(f'<a id="{anchor}"></a>', id=f"{cell.id}-a")
                )
                figures += [
                    Figure(f"{page}.html", title, anchor, kind, data, alt, told)
                    for kind, data in shown
                ]
            cells.append(
                nbformat.v4.new_code_cell(
                    code_source(cell.source, alt), id=cell.id, outputs=outputs
                )
            )
            entries = (
                [f"[`{n}`]({up}{names[n]})" for n in definitions(code) if n in names]
                if "exports" in said
                else []
            )
            if entries:
                cells.append(
                    nbformat.v4.new_markdown_cell(
                        "::: {.reference}\nIn the reference: " + ", ".join(entries) + "\n:::",
                        id=f"{cell.id}-r",
                    )
                )
    staged = nbformat.v4.new_notebook(cells=cells, metadata=nb.metadata)
    return staged, figures
