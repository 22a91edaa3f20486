"""A Chromium for the tests that look at pages, and a server for the files they look at."""
import contextlib
import functools
import http.server
import os
import shutil
import threading

import pytest

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]


def needs_chromium(
    **where,  # as of pytest.skip: allow_module_level
):  # (playwright's module, path)
    "Playwright and a Chromium; without them whatever asks is skipped, and says why."
    found = os.environ.get("SGDIFF_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("no chromium: apt-get install chromium, or set SGDIFF_CHROMIUM to one", **where)
    return pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install 'sgdiff[dev]'"
    ), found


@contextlib.contextmanager
def chromium():
    "A browser without a window."
    sync_api, found = needs_chromium()
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def served(
    folder,
    asked=None,  # list that gets the path of each request
):
    "The address of a server of files, and a function that ends it."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): "Nothing is printed."

        def do_GET(self):
            if asked is not None: asked.append(self.path)
            super().do_GET()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    def end():
        server.shutdown()
        server.server_close()
    yield f"http://127.0.0.1:{server.server_port}/", end
    end()
