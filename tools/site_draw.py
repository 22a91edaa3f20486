"""The page that draws, beside the pages that explain: draw/ of the site.

Exporting the networks takes a minute or two, so the folder is kept in build/draw until the weights,
the scripts or PyTorch change. Without npm or ONNX the site is built all the same: then draw/ says
what is missing.
"""
import hashlib
import html
import json
import shutil

import torch

from site_live import SCRIPT
from site_widgets import NO_NPM

WITHOUT = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Draw</title><p>This site was built without the page that draws: {}.</p></html>'
LINKS = {  # as seen from draw/; pages: words -> page
    "pages": {"Home": "../index.html", "The method in an afternoon": "../method/index.html", "How this page is made": "../app/in_the_page.html"},
    "chapters": "../method/",
}


def made_from(
    root,  # the repository's
):  # 16 hexadecimal digits
    "A sum over all that the page is made of."
    paths = [root / "sgdiff" / "app" / name for name in ("page.py", "onnx_graphs.py")]
    paths += [root / "sgdiff" / "app" / "static", root / "sgdiff" / "method", root / "data" / "toy"]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.*")))]
    digest = hashlib.sha256(torch.__version__.encode())
    for file in files:
        if file.is_file() and file.suffix != ".pyc": digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def kept(
    root,  # the repository's
):  # folder of the page
    "The page for the shipped weights, made where it is not there yet. Raises SGDiffError."
    from sgdiff.app.page import add_pretraining, fetch_runtime, write_page
    from sgdiff.cli import load_pipeline
    from sgdiff.toy.reader import reader_beside
    from sgdiff.toy.recipes import load_pretraining
    folder = root / "build" / "draw" / made_from(root)
    if (folder / "manifest.json").is_file(): return folder
    shutil.rmtree(folder.parent, ignore_errors=True)  # what was made of older weights
    runtime = fetch_runtime(root / "build" / "npm")
    pipe, judge = load_pipeline(root / "data" / "toy")
    unfinished = folder.with_name("unfinished")
    write_page(pipe, judge or reader_beside(root / "data" / "toy"), unfinished, runtime)
    add_pretraining(load_pretraining(root / "data" / "toy"), unfinished)
    return unfinished.rename(folder)


def add(
    stage,  # folder of the site in the making
    root,  # the repository's
):  # list of what is missing
    "Nothing is missing where draw/ now draws."
    from sgdiff.errors import SGDiffError
    target = stage / "draw"
    (stage / "images").mkdir(exist_ok=True)
    shutil.copy(root / "nbs" / "images" / "draw.png", stage / "images")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(SCRIPT, target)  # it says itself what is missing
    try: shutil.copytree(kept(root), target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    except SGDiffError as error:
        why = str(error) if shutil.which("npm") else NO_NPM
        (target / "index.html").write_text(WITHOUT.format(html.escape(why)), encoding="utf-8")
        return [f"draw/index.html: the page that draws is not there: {why}"]
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    (target / "manifest.json").write_text(json.dumps(manifest | {"site": LINKS}), encoding="utf-8")
    return []
