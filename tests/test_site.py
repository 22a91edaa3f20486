"""The site, built once: no broken link, words for every picture, no raw formula, nothing from the
network; then in a browser."""
import base64
import configparser
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytest.importorskip("smalldocs", reason="the site is built by smalldocs, of the extra dev")
import build_docs
import site_chapters
import site_doors
import site_live
import site_pages
import site_widgets
from contrast import FAINT
from run_notebooks import NBS, ROOT, find_notebooks
from small_browser import chromium, served
from tidy_notebook import STATE, VIEW

PIXEL = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
).decode()


class Reader(HTMLParser):
    """What a test wants to know of a page: targets, places to link to, pictures, and its text
    without code and formulas."""

    def __init__(self, text):
        super().__init__()
        self.links = []
        self.loads = []
        self.ids = set()
        self.images = []
        self.words = []
        self.inside = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ("id", "name") if attrs.get(k)}
        if tag == "a" and attrs.get("href"): self.links.append(attrs["href"])
        if tag in ("script", "img", "source") and attrs.get("src"): self.loads.append(attrs["src"])
        if tag == "link" and attrs.get("href"): self.loads.append(attrs["href"])
        if tag == "img": self.images.append(attrs)
        if (
            tag in ("script", "style", "pre", "code")
            or "math" in (attrs.get("class") or "").split()
        ):
            self.inside.append([tag, 0])
        elif self.inside and self.inside[-1][0] == tag: self.inside[-1][1] += 1

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1][0] == tag:
            if self.inside[-1][1]: self.inside[-1][1] -= 1
            else: self.inside.pop()

    def handle_data(self, data):
        if not self.inside: self.words.append(data)


MODULES = [p for p in sorted((ROOT / "sgdiff").rglob("*.py")) if not p.stem.startswith("_")]


def page_of(module):
    "A page of the reference has its module's name; where two have the same, both in full."
    several = sum(p.stem == module.stem for p in MODULES) > 1
    return ".".join(module.relative_to(ROOT).with_suffix("").parts) if several else module.stem


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The built site: its folder, its figures, its warnings, its pages."
    folder = tmp_path_factory.mktemp("site")
    figures, warnings = build_docs.build(folder / "docs", folder / "proc")
    out = folder / "docs"
    pages = {
        p.relative_to(out).as_posix(): Reader(p.read_text(encoding="utf-8"))
        for p in sorted(out.rglob("*.html"))
    }
    return type(
        "Site",
        (),
        dict(out=out, proc=folder / "proc", figures=figures, warnings=warnings, pages=pages),
    )


def test_nothing_is_missing(site):
    without_npm = [w for w in site.warnings if site_widgets.NO_NPM in w]
    assert [w for w in site.warnings if w not in without_npm] == []
    if without_npm: pytest.skip(without_npm[0])


def test_every_notebook_and_every_module_has_a_page(site):
    wanted = {
        p.relative_to(NBS).with_suffix(".html").as_posix()
        for kind in ("*.ipynb", "*.qmd")
        for p in NBS.rglob(kind)
        if ".ipynb_checkpoints" not in p.parts
    }
    wanted |= {f"{folder}/{page_of(p)}.html" for folder in ("api", "source") for p in MODULES}
    assert wanted <= set(site.pages) and len(wanted) > 60


def test_directives_of_text_are_not_shown(site):
    "`#| export` before a module's text is for the export, not for readers."
    shown = [name for name in site.pages if "<p>#|" in (site.out / name).read_text(encoding="utf-8")]
    assert shown == []


def test_live_figures_stand_at_the_end_of_their_sections(site):
    for name, figure in site_live.FIGURES.items():
        text = (site.out / f"{name}.html").read_text(encoding="utf-8")
        above, below = text.split('<section class="live"')
        here = re.sub(r"[^a-z0-9]+", "-", figure.section.lower()).strip("-")
        headings = [re.findall(r'<h2[^>]*data-anchor-id="([^"]*)"', part) for part in (above, below)]
        assert headings[0][-1] == here and headings[1], name


def test_a_live_figure_without_its_section_is_told():
    nb = new_notebook(cells=[new_markdown_cell("# 9\n## Other")])
    with pytest.raises(ValueError, match="has no section 'Guidance'"): site_live.add(nb, "method/09_sampling")
    nb.cells = [new_markdown_cell("# 9\n\n## Guidance\nWords.\n\n## Recap\nMore.")]
    site_live.add(nb, "method/09_sampling")
    assert [cell.source.split("\n")[0][:20] for cell in nb.cells] == ["# 9", '<section class="live', "## Recap"]
    site_live.add(nb, "method/11_does_it_obey")
    assert len(nb.cells) == 3


def test_no_link_is_broken(site):
    broken = []
    for name, page in site.pages.items():
        for target in page.links + page.loads:
            parts = urlsplit(target)
            if parts.scheme:
                continue
            file = (site.out / name).parent / unquote(parts.path) if parts.path else site.out / name
            file = file / "index.html" if file.is_dir() else file
            there = file.exists()
            if (
                there
                and parts.fragment
                and file.suffix == ".html"
                and "/slides/" not in file.as_posix()
            ):
                there = (
                    unquote(parts.fragment)
                    in site.pages[file.resolve().relative_to(site.out.resolve()).as_posix()].ids
                )
            if not there:
                broken.append(f"{name}: {target}")
    assert broken == []


def test_nothing_comes_from_the_network(site):
    outside = [
        f"{name}: {t}"
        for name, page in site.pages.items()
        for t in page.loads
        if urlsplit(t).scheme not in ("", "data")
    ]
    assert outside == []
    for css in site.out.rglob("*.css"):
        text = css.read_text(encoding="utf-8")
        targets = re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(
            r"@import\s+['\"]([^'\"]+)", text
        )
        bad = [
            t
            for t in targets
            if not t.startswith(("data:", "#"))
            and not (css.parent / t.partition("?")[0].partition("#")[0]).exists()
        ]
        assert bad == [], css


def test_every_picture_has_words(site):
    dumb = [
        f"{name}: {dict(image, src=image.get('src', '')[:40])}"
        for name, page in site.pages.items()
        for image in page.images
        if not (image.get("alt") or "").strip()
    ]
    assert dumb == []
    assert [f"{f.page}#{f.anchor}: {f.alt}" for f in site.figures if not f.told] == [], (
        "add `#| fig-alt: ...` to the cell, or a caption below it"
    )
    assert len(site.pages["gallery.html"].images) == len(site.figures) > 50


def test_no_formula_is_left_in_the_text(site):
    raw = re.compile(
        r"\$\$|\\(?:frac|sqrt|mathrm|mathbf|hat|bar|sum|cdot|alpha|varepsilon|begin)\b|\\[(\[]"
    )
    found = [
        (name, m[0], "".join(page.words)[max(0, m.start() - 30) : m.end() + 30])
        for name, page in site.pages.items()
        for m in raw.finditer("".join(page.words))
    ]
    assert found == []


def test_a_source_link_leads_to_the_definition(site):
    found = []
    for name in ("vocab", "graph", "edits"):
        links = [t for t in site.pages[f"api/{name}.html"].links if f"source/{name}.html#L-" in t]
        text = (ROOT / "sgdiff" / "graphs" / f"{name}.py").read_text(encoding="utf-8")
        lines = text.splitlines()
        found += [lines[int(t.rpartition("-")[2]) - 1] for t in links]
    assert len(found) > 20 and all(re.match(r"\s*(def|class|@)", line) for line in found)


def test_names_in_the_text_lead_to_the_reference(site):
    assert "../api/graph.html#SceneGraph" in site.pages["graphs/graph.html"].links
    assert "../api/pipeline.html#SGDiffPipeline" not in site.pages["index.html"].links


def test_the_results_are_those_of_the_report(site):
    from sgdiff.toy.report import met, report_rows
    report = json.loads((ROOT / "data" / "toy" / "report.json").read_text(encoding="utf-8"))
    text = "".join(site.pages["results.html"].words)
    rows = report_rows(report)
    assert (
        all(what in text for what, *_ in rows)
        and all(f"{100 * value:.1f} %" in text for _, value, *_ in rows if value is not None)
    )
    ends = [end for row in rows for end in row.interval or ()]
    assert len(ends) > len(rows) and all(f"{100 * end:.1f} %" in text for end in ends)
    assert f"not sure whether reached: {sum(met(row)[-1:] == '?' for row in rows)}." in text
    other = site_pages.results(json.loads(json.dumps(report)) | {"seed": 12345})
    assert "Seed 12345" in other


def test_the_search_index_has_every_chapter(site):
    found = {
        entry["href"].partition("#")[0]
        for entry in json.loads((site.out / "search.json").read_text(encoding="utf-8"))
    }
    assert (
        {p.relative_to(NBS).with_suffix(".html").as_posix() for p in find_notebooks()} <= found
        and not any(h.startswith("source/") for h in found)
    )


def test_each_chapter_can_be_opened_elsewhere(site):
    "Owner, name and branch are those of settings.ini; the copy is there and installs first."
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    where, branch = (settings["DEFAULT"][k] for k in ("user", "branch"))
    where = f"{where}/{settings['DEFAULT']['repo']}"
    assert len(find_notebooks()) > 60
    for path in find_notebooks(students=True):
        page = path.relative_to(NBS).with_suffix("").as_posix()
        if page == "index": continue
        links = site.pages[f"{page}.html"].links
        (colab,) = [t for t in links if "colab.research" in t]
        (binder,) = [t for t in links if "mybinder" in t]
        (copy,) = [t for t in links if t.endswith(f"files/notebooks/{page}.ipynb") and ":" not in t]
        assert colab.endswith(f"/github/{where}/blob/gh-pages/files/notebooks/{page}.ipynb")
        assert binder == f"https://mybinder.org/v2/gh/{where}/{branch}?labpath=nbs%2F" + page.replace(
            "/", "%2F") + ".ipynb"
        nb = nbformat.read((site.out / f"{page}.html").parent / copy, as_version=4)
        original = nbformat.read(path, as_version=4)
        assert f"--branch {branch} https://github.com/{where} " in nb.cells[0].source
        assert [c.id for c in nb.cells[1:]] == [c.id for c in original.cells]
        assert [c.source for c in nb.cells[1:] if c.cell_type == "code"] == [
            c.source for c in original.cells if c.cell_type == "code"
        ]
        text = "".join(c.source for c in nb.cells if "attachments" not in c)
        assert not re.search(r"\]\((?![a-z]+:|#|attachment)[^)\s]*\.(ipynb|qmd)", text), page


def test_a_copy_leads_back_to_the_repository_and_installs_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "nbs" / "a").mkdir(parents=True)
    cells = [new_markdown_cell("# T\n[b](../b.ipynb#x), [l](../../LICENSE), [w](https://w.org), [h](#h)")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "nbs" / "a" / "t.ipynb")
    monkeypatch.setattr(site_doors, "repository", lambda: ("me/mine", "dev"))
    nb = site_doors.copy_for_elsewhere(tmp_path / "nbs" / "a" / "t.ipynb", tmp_path / "nbs")
    base = "https://github.com/me/mine/blob/dev"
    assert nb.cells[1].source == (
        f"# T\n[b]({base}/nbs/b.ipynb#x), [l]({base}/LICENSE), [w](https://w.org), [h](#h)"
    )
    from IPython.core.inputtransformer2 import TransformerManager
    code, asked = TransformerManager().transform_cell(nb.cells[0].source), []
    shell = type("Shell", (), {
        "run_line_magic": lambda self, *said: asked.append(said),
        "system": lambda self, command: asked.append(command),
    })
    def run(): exec(code, {"get_ipython": shell})
    clone = "git clone --quiet --depth 1 --branch dev https://github.com/me/mine sgdiff-clone"
    install = ("pip", "install --quiet anywidget ./sgdiff-clone")
    go = ("cd", "-q sgdiff-clone/nbs/a")
    monkeypatch.chdir(tmp_path / "nbs" / "a")
    run()
    (tmp_path / "nbs" / "a" / "sgdiff-clone").mkdir()
    run()       # the kernel was started anew
    (tmp_path / "settings.ini").touch()
    run()       # in a clone
    assert asked == [clone, install, go, go]


def test_the_home_page_has_pictures_and_the_two_commands(site):
    home = (site.out / "index.html").read_text(encoding="utf-8")
    assert (
        site.pages["index.html"].images
        and re.search(r"make.*demo", home)
        and re.search(r"make.*test", home)
    )


def test_the_slides_have_everything_they_need(site):
    decks = [name for name in site.pages if name.startswith("slides/")]
    assert len(decks) == len(list(NBS.glob("workshop/solutions/*.ipynb")))
    for name in decks:
        text = (site.out / name).read_text(encoding="utf-8")
        assert (
            text.count('<section class="slide') > 10
            and "Exercise 1" in text
            and ": solution</h2>" in text
            and "SOLUTION" not in text
        )


# --- with Quarto, as far as one can see without it

QUARTO_KEYS = {  # of _quarto.yml, from Quarto's reference of websites, navigation and HTML
    "project": {
        "type", "output-dir", "render", "resources", "lib-dir", "pre-render", "post-render",
        "preview", "execute-dir",
    },
    "execute": {
        "enabled", "freeze", "cache", "echo", "eval", "output", "warning", "error", "include",
    },
    "format": {"html"},
    "format.html": {
        "theme", "css", "toc", "toc-depth", "toc-location", "toc-title", "code-line-numbers",
        "code-fold", "code-copy", "code-overflow", "html-math-method", "number-sections",
        "anchor-sections", "page-layout", "grid", "include-in-header",
    },
    "format.html.theme": {"light", "dark"},
    "website": {
        "title", "description", "favicon", "image", "site-url", "site-path", "repo-url",
        "page-navigation", "page-footer", "search", "navbar", "sidebar", "bread-crumbs",
        "back-to-top-navigation", "open-graph", "twitter-card",
    },
    "website.navbar": {
        "title", "logo", "background", "foreground", "search", "pinned", "collapse", "left",
        "right", "tools",
    },
    "website.sidebar": {
        "title", "logo", "style", "search", "contents", "collapse-level", "background", "border",
        "alignment", "header", "footer",
    },
    "": {"project", "execute", "format", "website"},
    "entry": {"text", "href", "icon", "aria-label", "menu", "section", "contents"},  # of a bar
}


@pytest.fixture(scope="module")
def quarto(site, tmp_path_factory):
    """What `build_docs.py --quarto` hands to Quarto: a program of that name notes its arguments and
    what the folder held when it was called."""
    folder = tmp_path_factory.mktemp("quarto")
    program = folder / "bin" / "quarto"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh\nprintf '%s\\n' "$@" > '{folder}/said'\ncd "$2" && find . -type f > '{folder}/held'\n"""
    )
    program.chmod(0o755)

    def reference(stage, root):
        "The pages that the build above made: they are the same, and take ten seconds."
        for name in ("api", "source"): shutil.copytree(site.proc / name, stage / name)
        return {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        patch.setattr(
            sys,
            "argv",
            [
                "build_docs.py", "--quarto", "--out", str(folder / "docs"), "--stage",
                str(folder / "proc"),
            ],
        )
        patch.setattr(site_pages, "reference", reference)
        assert build_docs.main() == 0
    said, held = ((folder / name).read_text().splitlines() for name in ("said", "held"))
    return type(
        "Staged",
        (),
        dict(
            proc=folder / "proc",
            said=said,
            held={name.removeprefix("./") for name in held},
            config=yaml.safe_load((folder / "proc" / "_quarto.yml").read_text(encoding="utf-8")),
        ),
    )


def entries(items):
    "The entries of a bar and of what is folded in it."
    for item in items:
        yield item
        yield from entries(item.get("contents", ())) if isinstance(item, dict) else ()


def test_quarto_renders_the_stage_and_finds_there_all_that_the_configuration_names(quarto):
    assert quarto.said == ["render", str(quarto.proc)]
    website, html = quarto.config["website"], quarto.config["format"]["html"]
    listed = [
        e if isinstance(e, str) else e["href"]
        for e in entries(website["sidebar"]["contents"] + website["navbar"]["left"])
        if isinstance(e, str) or "href" in e
    ]
    assert {*listed, html["css"], website["favicon"]} <= quarto.held
    pages = {name for name in quarto.held if name.endswith((".ipynb", ".qmd"))}
    assert len(pages) > 60 and set(listed) <= pages
    for pattern in quarto.config["project"]["render"] + quarto.config["project"]["resources"]:
        assert any(
            p.is_file()
            for p in quarto.proc.glob(pattern + "/*" if pattern.endswith("**") else pattern)
        ), f"{pattern} finds nothing"
    assert (quarto.proc / quarto.config["project"]["output-dir"]).resolve() == (
        quarto.proc.parent / "docs"
    ).resolve()
    assert quarto.config["execute"] == {"enabled": False}


def test_quarto_knows_every_key(quarto):
    def unknown(said, at=""):
        return [f"{at}.{key}" for key in said if key not in QUARTO_KEYS[at]] + [
            key
            for name, value in said.items()
            if isinstance(value, dict)
            for key in unknown(value, f"{at}.{name}".lstrip("."))
        ]
    assert unknown(quarto.config) == []
    website = quarto.config["website"]
    assert [
        e
        for e in entries(website["sidebar"]["contents"] + website["navbar"]["left"])
        if isinstance(e, dict) and not set(e) <= QUARTO_KEYS["entry"]
    ] == []


def test_quarto_gets_each_widget_with_its_state(quarto, site):
    def widgets(nb):
        return [
            out.data[VIEW]["model_id"]
            for cell in nb.cells
            for out in cell.get("outputs", [])
            if VIEW in out.get("data", {})
        ]
    shown = 0
    for path in quarto.proc.rglob("*.ipynb"):
        nb = nbformat.read(path, as_version=4)
        state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
        assert set(widgets(nb)) <= set(state), path.name
        shown += len(widgets(nb))
    smalldocs = [nbformat.read(path, as_version=4) for path in site.proc.rglob("*.ipynb")]
    tags = sum(
        f'<script type="{VIEW}">' in out.get("data", {}).get("text/html", "")
        for nb in smalldocs
        for cell in nb.cells
        for out in cell.get("outputs", [])
    )
    assert shown == tags > 0 and not any(map(widgets, smalldocs)), (
        "smalldocs gets a script tag in the place of each"
    )


# --- the parts, on small notebooks

def figure_cell(source="plot()"):
    return new_code_cell(source, outputs=[new_output("display_data", {"image/png": PIXEL})])


def test_where_the_words_of_a_picture_come_from():
    say = lambda *cells: site_chapters.description(
        list(cells), next(i for i, c in enumerate(cells) if c.cell_type == "code")
    )
    caption = new_markdown_cell("*Left: $a_t$ falls. See [the notebook](11.ipynb).*\n\nMore.")
    assert say(figure_cell('#| fig-alt: "A curve"\nplot()'), caption) == ("A curve", True)
    assert say(new_markdown_cell("Above."), figure_cell(), caption) == (
        "Left: a_t falls. See the notebook.",
        True,
    )
    assert say(
        new_markdown_cell("## Noise\n\nIt grows."), figure_cell(), new_markdown_cell("*Note* this.")
    ) == ("Figure in the section “Noise”: It grows.", False)
    assert say(figure_cell(), new_markdown_cell("*Left it falls; right it rises.* And so on.")) == (
        "Left it falls; right it rises.",
        True,
    )
    assert say(new_markdown_cell("## Noise"), figure_cell()) == (
        "Figure in the section “Noise”",
        False,
    )
    assert len(site_chapters.plain("word " * 500)) < 330


def test_names_are_linked_outside_of_code_and_links_only():
    names = {"fit": "api/training.qmd#fit"}
    text = "# `fit`\nUse `fit`, `fit()` and `other`; [`fit`](x.ipynb).\n```python\n`fit`\n```\n"
    assert site_chapters.link_names(text, names, "../") == text.replace(
        "Use `fit`, `fit()`",
        "Use [`fit`](../api/training.qmd#fit), [`fit()`](../api/training.qmd#fit)",
    )


def test_cells_are_shown_as_a_reader_should_see_them(tmp_path):
    nbs = tmp_path / "nbs"
    nbs.mkdir()
    (tmp_path / "LICENSE").write_text("free")
    cells = [
        new_markdown_cell("# Title\nSee [licence](../LICENSE)."),
        new_code_cell("#| default_exp x"),
        new_code_cell("#| hide\nsecret"),
        new_code_cell("#| export\nimport os"),
        new_code_cell("#| exports\ndef f(): pass"),
        figure_cell(),
        new_markdown_cell("*Here it is seen.*\n\nNext."),
    ]
    nbformat.write(new_notebook(cells=cells), nbs / "01_x.ipynb")
    copied = set()
    nb, figures = site_chapters.chapter(nbs / "01_x.ipynb", nbs, {"f": "api/x.qmd#f"}, copied)
    text = "\n".join(c.source for c in nb.cells)
    assert copied == {"LICENSE"} and "files/LICENSE" in text
    assert (
        "secret" not in text
        and "default_exp" not in text
        and "code-fold: true" in text
        and "[`f`](api/x.qmd#f)" in text
    )
    assert (
        '#| fig-alt: "Here it is seen."' in text
        and "::: {.caption}\n*Here it is seen.*\n:::" in text
    )
    assert [(f.page, f.title, f.anchor, f.alt) for f in figures] == [
        ("01_x.html", "Title", "figure-1", "Here it is seen.")
    ]


@pytest.mark.parametrize("npm", ["there", "without a network", None])
def test_widgets_and_diagrams_say_what_is_missing(tmp_path, monkeypatch, npm):
    monkeypatch.setattr(site_widgets.shutil, "which", lambda name: npm)

    def install(command, **kwargs):
        package = command[-1].rpartition("@")[0]
        for file in site_widgets.FILES:
            if npm == "there" and file.startswith(f"{package}/"):
                path = tmp_path / "build" / "npm" / "node_modules" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("//")
        return type("Done", (), {"returncode": int(npm != "there")})
    monkeypatch.setattr(site_widgets.subprocess, "run", install)
    out = new_output("display_data", {VIEW: {"model_id": "1" * 32}, "text/plain": "IntSlider()"})
    site_widgets.show(new_notebook(cells=[new_code_cell("slider", outputs=[out])]))
    shown = out.data["text/html"]
    diagram = (
        "<script type=\"module\">import mermaid from 'https://somewhere';mermaid.initialize({});</script>"
    )
    page = tmp_path / "docs" / "sub" / "page.html"
    text, missing = site_widgets.embed(
        f"<html>{diagram}{shown}</body>",
        page,
        tmp_path / "docs",
        {"sub/page.html": {"state": {"1" * 32: {}}}},
        tmp_path,
    )
    if npm == "there":
        assert (
            missing == []
            and "../site_libs/npm/embed-amd.js" in text
            and STATE in text
            and "../site_libs/npm/mermaid.js" in text
        )
        assert (tmp_path / "docs" / "site_libs" / "npm" / "require.js").exists()
    else:
        assert (
            len(missing) == 2
            and all(("is there a network?" if npm else "install Node.js") in m for m in missing)
            and "IntSlider()" in text
            and "embed-amd" not in text
        )
    assert "https://" not in text


def test_the_zip_is_the_same_for_the_same_notebooks(tmp_path):
    for name in ("a", "b"):
        site_pages.hand_out(NBS, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


# --- in a browser

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    with chromium() as started: yield started


@pytest.fixture(scope="module")
def address(site):
    "Where the site is served on this machine."
    with served(site.out) as (where, _): yield where


def window(browser, size="desktop", mode="light"):
    "A page and the list of what goes wrong on it; only this machine may be reached."
    width, height = SIZES[size]
    page = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=mode, reduced_motion="reduce"
    ).new_page()
    wrong = []
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    # left while it loaded
    page.on(
        "requestfailed",
        lambda r: wrong.append(f"failed: {r.url}") if r.failure != "net::ERR_ABORTED" else None,
    )
    page.on(
        "request",
        lambda r: (
            wrong.append(f"outside: {r.url}")
            if not r.url.startswith(("http://127.0.0.1", "data:", "file:", "blob:"))
            else None
        ),
    )
    page.set_default_timeout(180_000)       # a busy machine is no broken page
    return page, wrong


def shows(page, mode):
    "Waits until the page has turned light or dark: its script takes a moment, a slide has none."
    page.emulate_media(color_scheme=mode)
    page.wait_for_function(
        "dark => !document.querySelector('link.quarto-color-scheme') || "
        "document.documentElement.classList.contains('quarto-dark') === dark",
        arg=mode == "dark",
    )


def too_wide(page):
    "What is said of a page that has to be pushed sideways."
    wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return [f"{wide} pixels too wide"] if wide > 0 else []


def too_faint(page, mode):
    "Words of a page that are hard to read in this mode."
    shows(page, mode)
    words = page.evaluate(
        f"settings => ({FAINT})(document.body, settings)",
        {"large": 3, "apart": "script, style, noscript, .katex-mathml, .visually-hidden"},
    )
    return [f"{mode}: {w}" for w in words[:12]]


PUSHED = "all => all.filter(t => t.scrollWidth > t.clientWidth + 1).map(t => t.innerText)"


@pytest.fixture(scope="module")
def on_a_phone(site, browser, address):
    """What is wrong with each page on a phone; its tables that have to be pushed, and how many are
    stacked. Each page is opened once."""
    (page, wrong), found, tables = window(browser, "phone"), {}, {}
    for name in site.pages:
        page.goto(address + name)
        table = page.locator("main table")
        if table.count() and not name.startswith(("api/", "source/", "slides/")):
            tables[name] = table.evaluate_all(PUSHED), page.locator("main table.stacked").count()
        raw = page.evaluate(
            "[...document.querySelectorAll('.math')].filter((m) => "
            "!m.querySelector('.katex')).map((m) => m.textContent)"
        )
        failed = page.evaluate(
            "[...document.querySelectorAll('.katex-error')].map((m) => m.textContent)"
        )
        flat = page.evaluate(
            "[...document.images].filter((i) => i.loading !== 'lazy' && !i.naturalWidth && "
            "!i.closest('.slide:not(.shown)')).map((i) => i.alt)"
        )
        faint = (
            []
            if name.startswith(("api/", "source/"))
            else too_faint(page, "light") + too_faint(page, "dark")
        )
        page.emulate_media(color_scheme="light")
        said = [*wrong, *raw, *failed, *flat, *too_wide(page), *faint]
        if said: found[name] = said
        wrong.clear()
    page.context.close()
    return found, tables


def test_every_page_opens_without_an_error_fits_a_phone_and_has_its_formulas(on_a_phone):
    "And what is written by hand, which leaves out the reference, can be read in light and in dark."
    assert on_a_phone[0] == {}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_can_be_read_with_all_that_stands_beside_them(site, browser, address, mode):
    "One page of each kind on a wide screen, which shows the bars that a phone folds away."
    (page, wrong), found = window(browser, "desktop", mode), {}
    for name in (
        "index.html", "method/05_contrastive.html", "app/views.html", "app/editor.html",
        "app/retrain.html", "gallery.html", "results.html", "workshop/index.html",
        "api/pipeline.html", "source/core.html", "slides/w3_diffusion.html",
    ):
        page.goto(address + name)
        said = [*too_faint(page, mode), *too_wide(page), *wrong]
        if said: found[name] = said
        wrong.clear()
    page.context.close()
    assert found == {}


SHOWN = "all => all.filter(a => a.getClientRects().length).map(a => a.textContent.trim())"


def test_the_sidebar_folds_and_stands_at_the_page_and_keys_open_it(site, browser, address):
    page, wrong = window(browser)
    page.goto(address + "real/shards.html")
    links = page.locator("#quarto-sidebar a.sidebar-link")
    shown = links.evaluate_all(SHOWN)
    assert "Shards" in " ".join(shown) and len(shown) < 45 < links.count()
    bar, here = (page.locator(f"#quarto-sidebar{s}").bounding_box() for s in ("", " .active"))
    assert bar["y"] <= here["y"] and here["y"] + here["height"] <= bar["y"] + bar["height"]
    page.locator("#quarto-sidebar a[role=button]", has_text="Studio").focus()
    page.keyboard.press("Enter")
    page.locator("#quarto-sidebar a[href='../app/editor.html']").wait_for(state="visible")
    assert wrong == []
    page.context.close()


def test_the_first_tab_stop_skips_to_the_content(site, browser, address):
    page, wrong = window(browser)
    page.goto(address + "method/05_contrastive.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null") and wrong == []
    page.context.close()


def test_code_fits_its_column(site, browser, address):
    "In the chapters of the path, on a laptop's screen."
    page, _ = window(browser)
    page.set_viewport_size({"width": 1440, "height": 900})
    wide = {}
    for chapter in sorted((site.out / "method").glob("[01][0-9]_*.html")):
        page.goto(f"{address}method/{chapter.name}")
        wide[chapter.stem] = page.locator("main pre.cell-code").evaluate_all(
            "all => all.filter(a => a.scrollWidth > a.clientWidth).map(a => a.textContent)"
        )
    page.context.close()
    assert len(wide) == 12 and not any(wide.values()), wide


def test_tables_are_read_on_a_phone_without_pushing(on_a_phone, browser, address):
    page, _ = window(browser, "phone")
    page.goto(address + "results.html")
    row = page.locator("main table.stacked tbody tr").first
    assert {"value", "target", "met", "n"} <= set(
        row.locator("td").evaluate_all("all => all.map(c => c.dataset.label)")
    )
    page.set_viewport_size({"width": 1440, "height": 900})
    page.wait_for_function("!document.querySelector('main table.stacked')")
    page.context.close()
    tables = on_a_phone[1]
    wide = {name: pushed for name, (pushed, _) in tables.items() if pushed}
    assert len(tables) > 20 and sum(n for _, n in tables.values()) > 5 and wide == {}


def test_a_question_finds_its_answer(site, browser, address):
    "The words of a question stand in no row on any page; a word with a slip is still found."
    page, wrong = window(browser)
    page.goto(address + "index.html")
    for question, answer in (
        ("how do I train on a GPU", "full/index.html#how-do-i-train-on-a-gpu"),
        ("training with gpu", "full/index.html#how-do-i-train-on-a-gpu"),
        ("choosing a preset", "full/index.html#choosing-a-preset"),
        ("gudance", "method/09_sampling.html"),
    ):
        page.locator(".smalldocs-search input:visible").first.fill(question)
        page.wait_for_selector(f".search-result[href*='{answer}']")
        first = page.locator(".search-result").evaluate_all(
            "all => all.slice(0, 3).map(a => a.getAttribute('href'))"
        )
        assert any(answer in href for href in first), (question, first)
    assert wrong == []
    page.context.close()


@pytest.mark.parametrize("way", ["served", "from a disk"])
def test_search_finds_a_chapter(site, browser, address, way):
    page, wrong = window(browser)
    page.goto(address + "index.html" if way == "served" else (site.out / "index.html").as_uri())
    page.locator(".smalldocs-search input:visible").first.fill("temperature")
    page.wait_for_selector(".search-result[href*='method/05_contrastive.html']")
    page.locator(".smalldocs-search input:visible").first.fill("guidance")
    page.wait_for_selector(".search-result[href*='method/09_sampling.html']")
    first = page.locator(".search-result").evaluate_all(
        "all => all.slice(0, 3).map(a => a.getAttribute('href'))"
    )
    assert not any("api/" in href for href in first), (
        "what explains a word comes before what lists it"
    )
    assert wrong == []
    page.context.close()


def test_slides_are_turned_by_keys(site, browser, address):
    page, wrong = window(browser)
    page.goto(address + "slides/w1_graphs.html")
    shown = lambda: page.locator(".slide.shown h1, .slide.shown h2").first.inner_text()
    first = shown()
    page.keyboard.press("ArrowRight")
    assert shown() != first and page.url.endswith("#2")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    assert shown() == first and page.locator(".slide.shown").count() == 1 and wrong == []
    page.context.close()
