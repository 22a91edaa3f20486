"""The pages that no one writes: the reference and the sources from the modules, the gallery from
the chapters' pictures, the results from the report card."""
import base64
import html
import json
import re
import zipfile
from collections import Counter

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


def rows_of(report) -> list:    # of toy.report.Row
    "The claims of a report card, of the easy world or of the park."
    from sgdiff.toy.park_report import park_rows
    from sgdiff.toy.report import report_rows

    return park_rows(report) if "reader" in report else report_rows(report)


def percent(x): return f"{100 * x:.1f} %"


def result_line(
    row,
    met,  # "yes", "no", with a question mark where it is not sure; or nothing
):  # HTML
    "A line of the table of results."
    mark = "" if row.target is None else f'<i style="left:{100 * row.target:.1f}%"></i>'
    bar = (
        ""
        if row.value is None
        else '<div class="bar" aria-hidden="true"><b '
             f'style="width:{100 * min(row.value, 1):.1f}%"></b>{mark}</div>'
    )
    cells = (
        html.escape(row.what),
        "–" if row.value is None else percent(row.value),
        "" if row.spread is None else percent(row.spread),
        "–" if row.interval is None else " to ".join(map(percent, row.interval)),
        bar,
        "" if row.target is None else f"{row.sense} {100 * row.target:.0f} %",
        met,
        row.n,
    )
    kind = met.rstrip("?") or "none"
    return f'<tr class="met-{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def results(
    report,  # what `sgdiff evaluate` wrote
):  # Markdown
    "The report card as a table, with a bar for each value and a mark at its target."
    from sgdiff.toy.report import UNSURE, met

    told = {"ok": "yes", "SHORT": "no", "ok?": "yes?", "SHORT?": "no?", "": ""}
    rows = [(row, told[met(row)]) for row in rows_of(report)]
    lines = [
        '<table class="results">',
        "<caption>Value (bar) and target (mark), the spread over the seeds, the 95 % interval, and on how many questions it stands</caption>",
        "<thead><tr><th>what</th><th>value</th><th>spread</th><th>95 % interval</th><th></th><th>target</th><th>met</th><th>n</th></tr></thead>",
        "<tbody>",
        *(result_line(*row) for row in rows),
    ]
    count = Counter(answer for _, answer in rows)
    settings = ", ".join(f"`{k}` {v}" for k, v in report["settings"].items())
    sizes = report.get("scenes") or {k: report[k] for k in ("n", "seeds")}
    scenes = ", ".join(f"{k} {v}" for k, v in sizes.items())
    head = (
        f"Seed {report['seed']}; {settings}; held-out scenes: {scenes}. Targets not reached: "
        f"**{count['no'] + count['no?']}**; not sure whether reached: "
        f"**{count['yes?'] + count['no?']}**. {UNSURE}"
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
