"""Widgets and diagrams on a page without a kernel and without a network.

Their scripts are large and few pages need them, so they are not kept here: npm fetches them into
build/npm at the first build that has such a page. Without npm the page shows the widget's text and
the build says what is missing.
"""
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat

from tidy_notebook import STATE, VIEW

PACKAGES = {"@jupyter-widgets/html-manager": "1.0.15", "requirejs": "2.3.7", "mermaid": "11.12.0"}
FILES = {  # file in the package -> name beside the pages
    "requirejs/require.js": "require.js",
    "@jupyter-widgets/html-manager/dist/embed-amd.js": "embed-amd.js",
    "mermaid/dist/mermaid.min.js": "mermaid.js",
}
MERMAID = re.compile(r'<script type="module">import mermaid from [^<]*</script>')
DIAGRAM = '<script src="{}"></script><script>mermaid.initialize({{startOnLoad:true,theme:document.documentElement.dataset.scheme?"dark":"default"}})</script>'

NO_NPM = "npm is not on the PATH: install Node.js, which brings it, and run `make docs` again"
NOT_FETCHED = "npm could not fetch the scripts: is there a network?"
STILL = "<p><small>A still of a widget: nothing answers on this page. Open the chapter in JupyterLab to use it.</small></p>"


def show(
    nb,  # a notebook, changed
):
    "Puts in the place of each widget the script tag that the widget manager looks for."
    for cell in nb.cells:
        for out in cell.get("outputs", []):
            if VIEW in out.get("data", {}):
                text = "".join(out.data.get("text/plain", ""))
                out.data = {
                    "text/html": '<script '
                    f'type="{VIEW}">{json.dumps(out.data[VIEW])}</script><noscript>{text}</noscript>{STILL}'
                }


def states(
    stage,  # folder of the site in the making
):  # page -> state
    "The state of the widgets of each page."
    found = {}
    for path in stage.rglob("*.ipynb"):
        state = nbformat.read(path, as_version=4).metadata.get("widgets", {}).get(STATE)
        if state and state.get("state"):
            found[path.relative_to(stage).with_suffix(".html").as_posix()] = state
    return found


def fetch(
    package,  # a key of PACKAGES
    cache,  # folder
):  # bool
    "Whether the package lies in the cache, fetched if need be."
    if (cache / "node_modules" / package).exists():
        return True
    if not shutil.which("npm"):
        return False
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(cache),
        f"{package}@{PACKAGES[package]}",
    ]
    return subprocess.run(command, capture_output=True).returncode == 0


def provide(
    file,  # a key of FILES
    out,  # the built site
    root,  # the repository's
):  # bool
    "Whether the file lies beside the pages."
    target = out / "site_libs" / "npm" / FILES[file]
    package = next(p for p in PACKAGES if file.startswith(f"{p}/"))
    cache = root / "build" / "npm"
    if not target.exists() and fetch(package, cache):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cache / "node_modules" / file, target)
    return target.exists()


def anywidget_script(
    out,  # the built site
):  # bool
    "Whether anywidget's own script, which comes with its Python package, lies beside the pages."
    import sysconfig
    source = (
        Path(sysconfig.get_path("data"))
        / "share"
        / "jupyter"
        / "nbextensions"
        / "anywidget"
        / "index.js"
    )
    if source.exists():
        (out / "site_libs" / "npm").mkdir(parents=True, exist_ok=True)
        shutil.copy(source, out / "site_libs" / "npm" / "anywidget.js")
    return source.exists()


def embed(
    text,  # a page
    page,  # its file
    out,  # the built site
    state,  # page -> widget state
    root,  # the repository's
):  # (the page, list of what is missing)
    "The page with the scripts for its diagrams and widgets."
    name = page.relative_to(out).as_posix()
    libs = "../" * name.count("/") + "site_libs/npm"
    missing, why = [], NOT_FETCHED if shutil.which("npm") else NO_NPM
    if MERMAID.search(text):
        if provide("mermaid/dist/mermaid.min.js", out, root):
            text = MERMAID.sub(lambda m: DIAGRAM.format(f"{libs}/mermaid.js"), text)
        else:
            text = MERMAID.sub("", text)
            missing.append(f"{name}: its diagram is shown as text: {why}")
    if name in state and VIEW in text:
        scripts = ("requirejs/require.js", "@jupyter-widgets/html-manager/dist/embed-amd.js")
        if all(provide(file, out, root) for file in scripts):
            config = ""
            if "anywidget" in json.dumps(state[name]) and anywidget_script(out):
                config = (
                    f'<script>var require = {{paths:{{anywidget:"{libs}/anywidget"}}}}</script>'
                )
            data = json.dumps(state[name]).replace("</", "<\\/")
            text = text.replace(
                "</body>",
                f'{config}<script defer src="{libs}/require.js"></script><script defer '
                f'src="{libs}/embed-amd.js"></script>'
                f'<script type="{STATE}">{data}</script></body>',
                1,
            )
        else:
            missing.append(f"{name}: its widgets are shown as text: {why}")
    return text, missing
