"""Builds the site: `make docs`.

    python tools/build_docs.py                  with smalldocs, into _docs/
    python tools/build_docs.py --quarto         with Quarto, where it is installed
    python tools/build_docs.py --out DIR        somewhere else

First _proc/ is filled with what the site is made of (chapters with their committed outputs, pages
that are made, the configuration), then that folder is rendered, then the pages are mended so that
they need no network. Nothing is executed. Quarto's pages are left as Quarto makes them: their
formulas and widgets come from the network.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

import make_slides
import site_doors
import site_draw
import site_live
import site_pages
import site_widgets
from site_chapters import chapter

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT / "nbs"
SITE = Path(__file__).resolve().parent / "site"
KATEX = re.compile(r"https://cdn\.jsdelivr\.net/npm/katex@[^/]+/dist/(?:contrib/)?")
FONTS = re.compile(r"@import url\([^)]*fonts\.googleapis[^)]*\);?")
SCRIPTS = ("find.js", "sidebar.js", "tables.js")  # of every page
SKIP = '<a class="skip" href="#quarto-document-content">Skip to the content</a>'


def stage_config(
    stage,  # folder of the site in the making
    out,  # where the pages go
    quarto,  # for Quarto
):
    "The root's _quarto.yml with paths as they are in `stage`, and the reference in the sidebar."
    said = yaml.safe_load(
        (ROOT / "_quarto.yml")
        .read_text(encoding="utf-8")
        .replace("nbs/", "")
        .replace("tools/site/", "")
    )
    said["project"] |= {
        "output-dir": os.path.relpath(out, stage),
        "render": ["*.ipynb", "*.qmd", "**/*.ipynb", "**/*.qmd"],
        "resources": ["gallery/*", "files/**", "slides/**", "draw/**", "images/*"],
    }
    said["website"]["sidebar"]["contents"].append(
        {"section": "Reference", "contents": site_pages.module_list(stage, ROOT / "sgdiff")}
    )
    if not quarto:
        del said["execute"]  # smalldocs executes nothing
    for name in ("styles.css", "favicon.svg"):
        shutil.copy(SITE / name, stage)
    (stage / "_quarto.yml").write_text(
        yaml.safe_dump(said, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )


def stage_pages(
    stage,  # an empty folder, filled
    names,  # name -> page and anchor in the reference
    quarto,  # for Quarto, which embeds widgets by itself
):  # list of Figure
    "Chapters, hand-written pages and what they link to."
    figures, copied = [], set()
    for path in sorted(NBS.rglob("*.ipynb")):
        if any(part.startswith((".", "_")) for part in path.relative_to(NBS).parts):
            continue
        nb, found = chapter(path, NBS, names, copied)
        figures += [] if "solutions" in path.parts else found
        site_live.add(nb, path.relative_to(NBS).with_suffix("").as_posix())
        if not quarto:
            site_widgets.show(nb)
        target = stage / path.relative_to(NBS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(nbformat.writes(nb), encoding="utf-8")
    report = json.loads((ROOT / "data" / "toy" / "report.json").read_text(encoding="utf-8"))
    made = {"gallery": site_pages.gallery(figures, stage), "results": site_pages.results(report),
            "evidence": site_pages.evidence(ROOT / "data" / "results")}
    for path in sorted(NBS.rglob("*.qmd")):
        target = stage / path.relative_to(NBS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(site_pages.fill(path.read_text(encoding="utf-8"), made), encoding="utf-8")
    for name in sorted(copied):
        (stage / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, stage / "files" / name)
    site_pages.hand_out(NBS, stage / "files" / "workshop.zip")
    return figures


def mend(
    out,  # the built site
    state,  # page -> widget state, from `site_widgets.states`
):  # list of what is missing
    """Formulas, fonts, widgets and search from the site itself instead of from the network; a
    sidebar and a page that can be used by keyboard."""
    shutil.copytree(SITE / "katex", out / "site_libs" / "katex", dirs_exist_ok=True)
    index = (out / "search.json").read_text(encoding="utf-8").replace(site_doors.WORDS, "")
    (out / "search.json").write_text(index, encoding="utf-8")
    (out / "site_libs" / "search-index.js").write_text(
        f"window.searchIndex={index};\n{(SITE / 'search.js').read_text(encoding='utf-8')}",
        encoding="utf-8",
    )
    for css in (out / "site_libs" / "themes").rglob("*.css"):
        css.write_text(FONTS.sub("", css.read_text(encoding="utf-8")), encoding="utf-8")
    for name in SCRIPTS: shutil.copy(SITE / name, out / "site_libs")
    missing = []
    for page in sorted(out.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        if "smalldocs:offset" not in text:
            continue
        up = "../" * (len(page.relative_to(out).parts) - 1)
        text = KATEX.sub(f"{up}site_libs/katex/", text)
        text = text.replace(
            "</head>",
            "".join(f'<script src="{up}site_libs/{name}" defer></script>' for name in SCRIPTS)
            + "</head>",
            1,
        )
        text = re.sub(r"<body[^>]*>", lambda tag: tag[0] + SKIP, text, count=1)
        text, missed = site_widgets.embed(text, page, out, state, ROOT)
        page.write_text(text, encoding="utf-8")
        missing += missed
    return missing


def build(
    out=ROOT / "_docs",  # where the pages go; emptied first
    stage=ROOT / "_proc",  # where the site is put together; emptied first
    quarto=False,  # render with Quarto
):  # (list of Figure, list of warnings)
    "The whole site."
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    names = site_pages.reference(stage, ROOT)
    figures = stage_pages(stage, names, quarto)
    make_slides.write_decks(stage / "slides")
    undrawn = site_draw.add(stage, ROOT)
    stage_config(stage, out, quarto)
    if quarto:
        subprocess.run(["quarto", "render", str(stage)], check=True)
        site_doors.write_copies(NBS, out)
        return figures, undrawn
    from smalldocs.site import build as render

    site = render(stage, quiet=True)
    site_doors.write_copies(NBS, out)
    return figures, site.warnings + undrawn + mend(out, site_widgets.states(stage))


def main():
    "Returns 1 if something is broken."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "_docs")
    parser.add_argument("--stage", type=Path, default=ROOT / "_proc")
    parser.add_argument("--quarto", action="store_true")
    args = parser.parse_args()
    if args.quarto and not shutil.which("quarto"):
        sys.exit(
            "quarto is not on the PATH; without --quarto the site is built by smalldocs, which "
            "`make docs` installs"
        )
    figures, warnings = build(args.out.resolve(), args.stage.resolve(), args.quarto)
    for warning in warnings:
        print(f"warning: {warning}")
    untold = sorted({f"{f.page}#{f.anchor}" for f in figures if not f.told})
    if untold:
        print(f"pictures without a caption or a text (add `#| fig-alt: ...`): {', '.join(untold)}")
    print(
        f"{len(list(args.out.rglob('*.html')))} pages, {len(figures)} pictures: open "
        f"{args.out / 'index.html'}"
    )
    return int(bool(warnings))


if __name__ == "__main__":
    sys.exit(main())
