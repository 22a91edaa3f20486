"""How fast the page that draws is, in a headless Chromium on this machine, and what it weighs.

    python benchmarks/page.py FOLDER      # of `sgdiff export web --out FOLDER`; writes benchmarks/page.json

First picture: from opening the page, nothing kept from before, until the picture is drawn. Edit: one
relation changed, until the picture of the new graph is drawn. Memory: of the browser's process for
the page, after both. Runtime: without a graphics card, and with one.
"""
import functools
import http.server
import json
import os
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]
DRAWN = "document.querySelectorAll('figcaption ul').length"
GRAPHS = ("sheep left of tree; sky above grass", "sheep right of tree; sky above grass")


class Quiet(http.server.SimpleHTTPRequestHandler):
    "A server of files that prints nothing."
    def log_message(self, *args): "Nothing."


def memory(browser) -> float:  # MB
    "What the processes that show pages hold for themselves."
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    total = 0
    for process in found:
        if process["type"] != "renderer": continue
        text = Path(f"/proc/{int(process['id'])}/smaps_rollup").read_text()
        total += int(text.split("Pss:")[1].split()[0]) / 1024
    return total


def measure(browser, address) -> dict:
    "One first visit: seconds to the first picture, seconds of four edits, memory."
    page = browser.new_page(viewport=dict(width=390, height=844))
    begun = time.monotonic()
    page.goto(f"{address}#g={GRAPHS[0]}&n=1")
    page.wait_for_function(DRAWN, timeout=300_000)
    first, edits = time.monotonic() - begun, []
    for i in range(4):
        page.fill("#text", GRAPHS[1 - i % 2])
        begun = time.monotonic()
        page.keyboard.press("Enter")
        page.wait_for_function(f"!{DRAWN}")
        page.wait_for_function(DRAWN, timeout=300_000)
        edits.append(time.monotonic() - begun)
    found = dict(first_picture=first, edit=statistics.median(edits), memory=memory(browser))
    page.close()
    return found


def weights(folder: Path) -> dict:  # MB
    "The networks; the runtime where there is no graphics card, and where there is one."
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {f"{f.parent.name}/{f.name}": f.stat().st_size / 1e6 for f in folder.glob("*/*")}
    total = lambda part, *without: round(
        sum(size for name, size in files.items() if name.startswith(part) and name not in without), 2)
    return dict(model_MB=total("model/"), runtime_MB=total("runtime/", *manifest["card"]),
                card_runtime_MB=total("runtime/", *manifest["files"]))


def main(folder: Path) -> None:
    "Three visits, each with a browser of its own; the median of each number is written."
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = os.environ.get("SGDIFF_CHROMIUM") or shutil.which("chromium")
    visits = []
    with sync_playwright() as p:
        for _ in range(3):
            browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
            visits.append(measure(browser, f"http://127.0.0.1:{server.server_port}/"))
            browser.close()
    told = {name: round(statistics.median(v[name] for v in visits), 2) for name in visits[0]}
    told |= weights(folder) | dict(cores=os.cpu_count(), load=round(os.getloadavg()[0], 1))
    print(json.dumps(told, indent=1))
    (Path(__file__).parent / "page.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__": main(Path(sys.argv[1]))
