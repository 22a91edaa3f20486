"""The pages that no one writes: the reference and the sources from the modules, the gallery from
the chapters' pictures, the results from the report card."""
import base64
import html
import json
import re
import zipfile

# what the models draw, before what explains them
GALLERY_FIRST = (
    "index.html", "method/10_generating_and_editing.html", "method/10_generating_and_editing.html",
)
MARK = "<!-- made by tools/build_docs.py: {} -->"  # where a hand-written page takes in what is made


def reference(
    stage,  # folder of the site in the making
    root,  # the repository's
    package="sgdiff",
):  # name -> page and anchor
    "Writes a page for each module, and one with its source; returns where each name is explained."
    from smalldocs import api
    from smalldocs.highlight import highlight
    from smalldocs.markdown import numbered_lines

    api.build(api.Settings(stage, [package], "api", root, "SOURCE"))
    (stage / "source").mkdir(exist_ok=True)
    for page in sorted((stage / "api").glob("*.qmd")):
        path = module_file(page, root / package)
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        text = page.read_text(encoding="utf-8").replace(
            f"SOURCE/{path.relative_to(root).as_posix()}#L", f"../source/{page.stem}.qmd#L-"
        )
        code = path.read_text(encoding="utf-8")
        made_in = re.search(r"File to edit: (?:\.\./)+nbs/(\S+)\.ipynb", code)
        where = (
            "\n\nBuilt and explained in the notebook "
            f"[{made_in[1].rpartition('/')[2]}](../{made_in[1]}.ipynb).\n\n"
            if made_in
            else "\n\n"
        )
        text = re.sub(r"^title: .*$", f"title: {module}", text, count=1, flags=re.M)
        page.write_text(text.replace("\n---\n\n", f"\n---{where}", 1), encoding="utf-8")
        body = numbered_lines(highlight(code, "python"), "L")
        (stage / "source" / f"{page.stem}.qmd").write_text(
            f"---\ntitle: The source of {module}\nsearch: false\ntoc: false\n---\n\nWhat it does: "
            f"[{module}](../api/{page.stem}.qmd)\n\n"
            f"`````{{=html}}\n<div class=\"sourceCode source-page\"><pre class=\"sourceCode "
            f"python\"><code>{body}</code></pre></div>\n`````\n",
            encoding="utf-8",
        )
    names = json.loads((stage / "_symbols.json").read_text(encoding="utf-8"))
    return {name: target.lstrip("/") for name, target in names.items()}


def module_file(
    page,  # of the reference: named like its module, in full where two have one name
    package,  # its folder
):  # path of the module
    "The file that a page of the reference is about."
    where = "/".join(page.stem.split(".")[1:]) or page.stem
    return next(
        path
        for path in sorted(package.rglob("*.py"))
        if path.with_suffix("").as_posix().endswith(f"/{where}")
    )


def module_list(
    stage,  # folder of the site in the making
    package,  # folder of the package
):  # list of pages and sections
    "The reference's pages, room by room."
    rooms = {}
    for page in sorted((stage / "api").glob("*.qmd")):
        room = module_file(page, package).parent
        rooms.setdefault("" if room == package else room.name, []).append(f"api/{page.name}")
    return [
        *rooms.pop("", []),
        *({"section": room, "contents": found} for room, found in sorted(rooms.items())),
    ]


def gallery(
    figures,  # list of Figure
    stage,  # folder of the site in the making
):  # Markdown
    """Cards with every picture of every chapter, the models' own drawings first; each leads to its
    place."""
    (stage / "gallery").mkdir(exist_ok=True)
    order = {page: i for i, page in enumerate(GALLERY_FIRST)}
    chapters = sorted(
        dict.fromkeys((f.page, f.title) for f in figures), key=lambda c: order.get(c[0], len(order))
    )
    parts = []
    for page, title in chapters:
        cards = []
        for i, f in enumerate(f for f in figures if f.page == page):
            name = (
                f"gallery/{page.replace('/', '-').removesuffix('.html')}-{i + 1}.{'png' if f.kind == 'png' else 'svg'}"
            )
            (stage / name).write_bytes(
                base64.b64decode(f.data) if f.kind == "png" else f.data.encode()
            )
            words = html.escape(f.alt, quote=True)
            cards.append(
                f'<a class="card-link" href="{page}#{f.anchor}"><img src="{name}" alt="{words}" loading="lazy"></a>'
            )
        parts.append(
            f'## [{title}]({page.removesuffix(".html")}.ipynb)\n\n```{{=html}}\n<div class="gallery">\n'
            + "\n".join(cards)
            + "\n</div>\n```"
        )
    return "\n\n".join(parts)


def results(
    report,  # what `sgdiff evaluate` wrote
):  # Markdown
    "The report card as a table, with a bar for each value and a mark at its target."
    from sgdiff.toy.report import report_rows

    lines = [
        '<table class="results">',
        "<caption>Value (bar) and target (mark), the spread over the seeds, and on how many questions it stands</caption>",
        "<thead><tr><th>what</th><th>value</th><th>spread</th><th></th><th>target</th><th>met</th><th>n</th></tr></thead>",
        "<tbody>",
    ]
    missed = 0
    for what, value, target, sense, n, spread in report_rows(report):
        met = (
            ""
            if target is None or value is None
            else "yes"
            if (value >= target if sense == "at least" else value <= target)
            else "no"
        )
        missed += met == "no"
        mark = "" if target is None else f'<i style="left:{100 * target:.1f}%"></i>'
        bar = (
            ""
            if value is None
            else '<div class="bar" aria-hidden="true"><b '
                 f'style="width:{100 * min(value, 1):.1f}%"></b>{mark}</div>'
        )
        lines.append(
            f'<tr class="met-{met or "none"}"><td>{html.escape(what)}</td><td>{"–" if value is None else f"{100 * value:.1f} %"}</td>'
            f'<td>{"" if spread is None else f"{100 * spread:.1f} %"}</td><td>{bar}</td>'
            f'<td>{"" if target is None else f"{sense} {100 * target:.0f} %"}</td><td>{met}</td><td>{n}</td></tr>'
        )
    settings = ", ".join(f"`{k}` {v}" for k, v in report["settings"].items())
    scenes = ", ".join(f"{k} {v}" for k, v in report["scenes"].items())
    head = (
        f"Seed {report['seed']}; {settings}; held-out scenes: {scenes}. Targets not reached: **{missed}**."
    )
    return head + "\n\n```{=html}\n" + "\n".join([*lines, "</tbody></table>"]) + "\n```"


def evidence(
    folder,  # of what `sgdiff ablate` wrote
):  # Markdown
    "The tables of the evidence; of a part that has a long and a quick one, the long one."
    tables = {path.stem: path for path in sorted(folder.glob("*.md"))}
    shown = [path.read_text(encoding="utf-8") for name, path in tables.items()
             if name.removesuffix("-quick") == name or name.removesuffix("-quick") not in tables]
    return "\n\n".join(shown) or "No table is here yet: `sgdiff ablate --quick` computes them."


def fill(
    text,  # a hand-written page
    made,  # name of a mark -> Markdown
):  # str
    "The page with what is made put in at its marks."
    for name, markdown in made.items():
        text = text.replace(MARK.format(name), markdown)
    return text


def hand_out(
    nbs,  # folder of the notebooks
    path,  # of the zip file
):
    "The workshop's notebooks for students in one file; the same bytes for the same notebooks."
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for notebook in sorted(nbs.glob("workshop/w*.ipynb")):
            file.writestr(zipfile.ZipInfo(f"workshop/{notebook.name}"), notebook.read_bytes())
