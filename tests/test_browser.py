"""The editor and the retraining in a real browser: JupyterLab runs both notebooks, a graph is
edited by mouse and by keys, and what is drawn is judged. Skipped where there is no Chromium or no
playwright; screenshots go to out/browser/ (not in git)."""
import base64
import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from contrast import FAINT
from run_notebooks import ROOT
from small_browser import chromium, needs_chromium

SHOTS = ROOT / "out" / "browser"
HARMLESS = ("favicon", "ResizeObserver")        # what a console says that is no fault of ours
sync_api, _ = needs_chromium(allow_module_level=True)
for needed in ("jupyterlab", "anywidget"):
    pytest.importorskip(needed, reason=f"no {needed}: pip install 'sgdiff[dev]'")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, seconds, what):
    "The first true value of condition(), asked again and again."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"after {seconds} s still not: {what}", pytrace=False)


# a notebook that is run before its kernel has answered asks which kernel it should have
READY = """async () => {
    const context = jupyterapp.shell.currentWidget.sessionContext;
    await context.ready;
    await context.session.kernel.info;
}"""


@contextlib.contextmanager
def serving(command, url, tree, log):
    "A server in `tree`, with folders and a home of its own, until the block ends."
    home = tree.parent / "home"
    own = {f"JUPYTER_{k}": str(home / k.lower()) for k in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")}
    own |= {
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "HOME": str(home),
    }
    env = (
        os.environ
        | own
        | {"SGDIFF_FAST": "1", "PYTHONPATH": str(tree), "JUPYTER_PREFER_ENV_PATH": "1"}
    )
    for name, setting in (
        ("apputils-extension/notification", '{"fetchNews": "false", "checkForUpdates": false}'),
        ("apputils-extension/themes", '{"theme": "JupyterLab Dark"}'),
        # every cell stays in the page
        ("notebook-extension/tracker", '{"windowingMode": "none"}'),
    ):
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(setting)
    with open(log, "w") as out:
        server = subprocess.Popen(
            command, cwd=tree, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        def answers():
            assert server.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(url, timeout=5).status == 200
        wait_until(answers, 90, f"an answer from {command[2]}")
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    "A clean copy of what is in the repository."
    target = tmp_path_factory.mktemp("browser") / "tree"
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for name in listing.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    SHOTS.mkdir(parents=True, exist_ok=True)
    return target


@pytest.fixture(scope="module")
def lab(tree):
    "The address of a JupyterLab in the copy."
    port, token = free_port(), "a-token-for-the-tests"
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={tree}", "--ServerApp.open_browser=False", "--LabApp.news_url=",
        "--LabApp.expose_app_in_browser=True",
    ]
    address = f"http://127.0.0.1:{port}"
    with serving(command, f"{address}/api", tree, tree.parent / "lab.log"):
        # a workspace each
        yield (
            lambda path: (
                f"{address}/lab/workspaces/{path.rpartition('/')[2][:2]}-{free_port()}/tree/{path}?token={token}"
            )
        )


@pytest.fixture(scope="module")
def browser():
    with chromium() as started: yield started


@pytest.fixture
def page(browser):
    "A page that collects what its console complains about."
    page = browser.new_page(viewport={"width": 1500, "height": 1200})
    page.complaints = []
    page.on("console", lambda m: m.type == "error" and page.complaints.append(m.text))
    page.on("pageerror", lambda e: page.complaints.append(str(e)))
    yield page
    page.close()


def complaints(page):
    return [c for c in page.complaints if not any(h in c for h in HARMLESS)]


def run_all(page, url):
    "Opens a notebook in JupyterLab and runs every cell; fails where a cell fails."
    page.goto(url)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext")
    page.evaluate(READY)
    page.complaints.clear()  # what the page said before it had a kernel is JupyterLab's business
    prompts = lambda: page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    failed = lambda: page.locator(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']"
    ).all_inner_texts()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
    wait_until(lambda: any(re.search(r"[0-9*]", p) for p in prompts()), 60, "a cell that runs")
    wait_until(
        lambda: failed() or all(re.search(r"[0-9]", p) for p in prompts()), 600, "all cells run"
    )
    assert failed() == []


def run_in_last_cell(page, code):
    "Writes over the last cell of the notebook and runs it."
    page.locator(".jp-CodeCell .cm-content").last.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def shot(page, name):
    "Keeps a picture of the page as an artifact."
    page.wait_for_timeout(300)
    page.screenshot(path=SHOTS / f"{name}.png")


class Editor:
    "The last graph editor of a page, as its user sees it."

    def __init__(self, page):
        self.page = page
        self.box = page.locator(".widget-vbox:has(> .widget-hbox .sgdiff-view)").last

    def item(
        self, name,
    ):  # what a screen reader would say: "sheep, object", "sheep left of tree"
        return self.box.get_by_role("button", name=re.compile(rf"^{name}(,|$)"))

    def items(self):
        # at one moment
        return self.box.locator(".sgdiff-item").evaluate_all(
            "all => all.map(i => i.getAttribute('aria-label').split(',')[0])"
        )

    def type_graph(self, text):
        box = self.box.get_by_label("text", exact=True)
        return self.after(lambda: box.fill(text) or box.press("Enter"))

    def sources(self, what="picture"):          # or "before", "born"
        # at one moment
        return self.box.locator(f".sgdiff-frame img.{what}").evaluate_all(
            "all => all.map(i => i.getAttribute('src'))"
        )

    def message(self):
        return self.box.locator(".sgdiff-view .sgdiff-status").inner_text()

    def settled(self):
        "Waits until nothing is being drawn."
        wait_until(
            lambda: self.sources() and not self.message().startswith("drawing"),
            60,
            "fresh pictures",
        )

    def after(self, change):
        "Does something that changes the graph; the pictures that follow."
        old = self.sources()
        change()
        wait_until(
            lambda: self.sources() not in ([], old) and not self.message().startswith("drawing"),
            60,
            "other pictures",
        )
        return self.sources()

    def choose(self, word):
        "Clicks a word of the list that has opened."
        self.box.locator(".sgdiff-popup [role=option]", has_text=re.compile(f"^{word}$")).click()

    def place(self, locator):
        "Where something lies; asked again where the board is drawn anew at that moment."
        return wait_until(locator.bounding_box, 10, "a place on the page")

    def centre(self, locator):
        box = self.place(locator)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, start, end):
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
        self.page.mouse.move(*end, steps=4)
        self.page.mouse.up()


class Finger:
    "Touches a page."

    def __init__(self, page):
        self.page, self.send = page, page.context.new_cdp_session(page).send
        self.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def drag(self, start, end, steps=8):
        touch = lambda kind, *at: self.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]},
        )
        touch("touchStart", start)
        for i in range(1, steps + 1):
            touch("touchMove", tuple(a + (b - a) * i / steps for a, b in zip(start, end)))
            self.page.wait_for_timeout(16)
        touch("touchEnd")

    def tap(self, locator):
        where = locator.evaluate(
            "e => { e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 3, r.y + r.height / 2]; }"
        )
        # found at one moment: the board may be drawn anew between two
        self.drag(where, (0, 0), steps=0)


TIGHT = """box => {        // what a finger can hardly hit, and what the page cuts off
  const seen = e => { const r = e.getBoundingClientRect(); return r.width ? [r] : []; }, name = e => `${e.tagName} ${e.getAttribute("aria-label") ?? e.textContent.slice(0, 20)}`;
  const small = [...box.querySelectorAll("button, select, .widget-text input, .lm-TabBar-tab, .sgdiff-item, .reach, [role=option], label:has(input)")]
    .flatMap(e => seen(e).filter(r => Math.min(r.width, r.height) < 32).map(r => `${name(e)}: ${Math.round(r.width)} x ${Math.round(r.height)}`));
  const cut = [...box.querySelectorAll("*")].flatMap(e => seen(e).filter(r => r.left < 0 || r.right > innerWidth + 1).map(r => `${name(e)} ends at ${Math.round(r.right)}`));
  return [...small, ...cut];
}"""


@pytest.fixture(scope="module")
def judge():
    from sgdiff.errors import default_weights
    from sgdiff.toy.judge import judge_beside
    return judge_beside(default_weights())


def seen(judge, sources, question):
    "In how many pictures, as the browser shows them, the judge sees what is asked."
    import numpy as np
    import torch
    from PIL import Image
    images = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))).convert("RGB"))
        for s in sources
    ]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
    return sum(a is True for (a,) in judge.answer(pixels, [[question]] * len(images)))


ALONE = """async source => {       // the board in an empty page, with a model that writes down what it is sent
  const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const node = (key, word, x) => ({ key, word, x, y: 0.5, changed: false }), heard = {};
  const values = { board: { nodes: [node(7, "sheep", 0.3), node(8, "tree", 0.7)], edges: [], can_undo: true, error: "" }, objects: ["ball", "sky"], predicates: [], hover: "" };
  window.sent = [];
  window.news = board => { values.board = { ...values.board, ...board }; heard["change:board"](); };
  window.without = key => news({ nodes: values.board.nodes.filter(n => n.key !== key) });
  widget.render({ el: document.body.appendChild(document.createElement("div")), model: {
    get: name => values[name], set: (name, value) => { values[name] = value; }, save_changes: () => {},
    send: m => sent.push([m.command, m.arguments]), on: (name, f) => { heard[name] = f; }, off: () => {} } });
}"""


def test_a_node_that_is_being_moved_when_the_board_changes(page):
    page.evaluate(ALONE, (ROOT / "sgdiff" / "app" / "static" / "graph_canvas.js").read_text())
    focus = lambda id: page.locator(f"[data-id={id}]").focus()
    sent = lambda n: wait_until(
        lambda: len(found := page.evaluate("sent")) >= n and found, 5, f"{n} commands"
    )
    focus("o1")
    page.keyboard.press("ArrowDown")
    page.evaluate("news({ can_redo: true })")           # fresh pictures, say
    page.keyboard.press("ArrowDown")
    page.evaluate("without(7)")                         # and the tree has another row now
    assert sent(1) == [["move_object", {"row": 0, "x": 0.7, "y": pytest.approx(0.58)}]], (
        "both steps, as one"
    )
    focus("o0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+z")
    assert [c for c, _ in sent(3)] == ["move_object", "move_object", "undo"], (
        "undone is what was seen"
    )

    page.evaluate(
        "news({ nodes: [{ key: 7, word: 'sheep', x: 0.3, y: 0.5 }, { key: 8, word: 'tree', x: 0.7, "
        "y: 0.5 }] })"
    )
    box = page.locator("[data-id=o0] rect").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 30, steps=3)
    page.evaluate("news({ can_redo: false })")
    assert page.locator("[data-id=o0] rect").bounding_box()["y"] > box["y"] + 20, (
        "it stays in the hand"
    )
    page.mouse.up()
    command, arguments = sent(4)[3]
    assert (
        command == "move_object"
        and arguments["row"] == 0
        and arguments["x"] > 0.3
        and arguments["y"] > 0.5
    )
    focus("o1")
    page.keyboard.press("ArrowLeft")
    page.evaluate("without(8)")
    page.wait_for_timeout(500)
    assert len(page.evaluate("sent")) == 4 and page.complaints == [], "what has gone is not moved"


def test_a_thing_is_described_on_the_board(page):
    page.evaluate(ALONE, (ROOT / "sgdiff" / "app" / "static" / "graph_canvas.js").read_text())
    page.evaluate(
        "news({ nodes: [{ key: 7, word: 'ball', name: 'small ball', attributes: ['small'], x: 0.3, "
        "y: 0.5, may: ['red', 'blue', 'small', 'large'] }, { key: 8, word: 'sky', x: 0.7, y: 0.2, "
        "name: 'sky', attributes: [], may: [] }] })"
    )
    text = page.locator("[data-id=o0] text")
    assert text.text_content() == "small ball"
    box, word = (page.locator(f"[data-id=o0] {what}").bounding_box() for what in ("rect", "text"))
    assert word["width"] < box["width"], "the words fit into their box"
    options = lambda: page.locator(".sgdiff-popup [role=option]").all_text_contents()
    page.locator("[data-id=o0]").focus()
    page.keyboard.press("d")
    assert options() == ["red", "blue", "not small", "large"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator("[data-id=o0]").focus()
    page.keyboard.press("Enter")
    page.locator(".sgdiff-popup button", has_text="Describe").click()
    page.locator(".sgdiff-popup [role=option]", has_text="not small").click()
    assert page.evaluate("sent") == [
        ["toggle_attribute", {"row": 0, "attribute": word}] for word in ("blue", "small")]
    page.locator("[data-id=o1]").focus()
    page.keyboard.press("d")
    assert options() == [], "a sky is not described"
    page.keyboard.press("Enter")
    assert not page.locator(".sgdiff-popup button", has_text="Describe").count()
    assert page.complaints == []


def test_two_clicks_change_delete_removes_and_the_right_button_opens_the_list(page):
    page.evaluate(ALONE, (ROOT / "sgdiff" / "app" / "static" / "graph_canvas.js").read_text())
    sheep, popup = page.locator("[data-id=o0]"), page.locator(".sgdiff-popup")
    title = lambda: popup.locator("> div").first.text_content()
    sheep.dblclick()
    assert title() == "in place of sheep" and page.evaluate("sent") == [], "nothing is removed"
    page.keyboard.type("ba")
    page.keyboard.press("Enter")
    assert page.evaluate("sent.pop()") == ["replace_object", {"row": 0, "word": "ball"}]
    for press in (lambda: sheep.click(), lambda: sheep.focus()):    # with its list open, and without
        press()
        page.keyboard.press("Delete")
        assert page.evaluate("sent.pop()") == ["remove_object", {"row": 0}] and not popup.count()
    page.evaluate("window.menus = 0; addEventListener('contextmenu', () => { menus++; })")
    page.locator("[data-id=o1]").click(button="right")
    assert title() == "in place of tree"
    page.keyboard.press("Escape")
    page.locator("svg").click(button="right", position={"x": 20, "y": 20})
    assert title() == "add an object"
    page.keyboard.press("Enter")
    command, arguments = page.evaluate("sent.pop()")
    assert command == "add_object" and arguments["x"] < 0.1 and arguments["y"] < 0.1
    assert page.evaluate("menus") == 0 and page.evaluate("sent") == [] and page.complaints == []


PICTURES = """async ([source, css, values]) => {       // the view of pictures in an empty page
  const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const heard = {}, square = (colour, side) => { const c = document.createElement("canvas"); c.width = c.height = side; const ink = c.getContext("2d"); ink.fillStyle = colour; ink.fillRect(0, 0, side, side); return c.toDataURL(); };
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  window.square = square;
  window.news = more => { Object.assign(values, more); Object.keys(more).forEach(name => heard[`change:${name}`]?.()); };
  widget.render({ el: document.body.appendChild(document.createElement("div")), model: {
    get: name => values[name], on: (name, f) => { heard[name] = f; }, off: () => {} } });
}"""


def test_pictures_come_are_compared_and_are_saved(page):
    import json
    from PIL import Image
    static = ROOT / "sgdiff" / "app" / "static"
    values = dict(pictures=[], overlays={}, born=[], hover="", names={}, message="", empty="…",
                  told_before="dog", told_after="cat", graph='{"objects": ["cat"]}')
    sources = [(static / name).read_text() for name in ("picture_view.js", "views.css")]
    page.evaluate(PICTURES, [*sources, values])
    frames, visible = page.locator(".sgdiff-frame"), lambda name: page.locator(name).is_visible()
    # on their way: what is expected, and nothing to compare or to save yet
    page.evaluate("""news({ born: [square("grey", 32), square("grey", 32)], message: "drawing",
        pictures: [1, 2].map(i => ({ before: square("red", 32), after: null, label: `seed ${i}` })) })""")
    assert page.locator("img.born").count() == 2 and not page.locator("img.picture").count()
    assert page.get_by_role("button", name="PNG").is_disabled() and not visible("kbd")
    # there: 256 pixels each, the one before under cover, the outline only if it is asked for
    page.evaluate("""news({ born: [], message: "drawn", overlays: { changed: [square("lime", 32), square("lime", 32)] },
        pictures: [1, 2].map(i => ({ before: square("red", 32), after: square("blue", 32), label: `seed ${i}` })) })""")
    assert frames.first.bounding_box()["width"] == 256 and not page.locator("img.born").count()
    assert not page.locator("img.overlay").count()
    page.get_by_label("outline the pixels").check()
    assert page.locator("img.overlay").count() == 2
    page.get_by_label("outline the pixels").uncheck()
    def colours():      # of the first picture as it is seen: left and right
        image = Image.open(io.BytesIO(frames.first.screenshot())).convert("RGB")
        return [image.getpixel((x, 128)) for x in (10, 245)]
    red, blue = (255, 0, 0), (0, 0, 255)
    assert colours() == [blue, blue]
    page.get_by_label("how much of the picture before").fill("50")
    assert colours() == [red, blue]
    frames.first.focus()
    page.keyboard.down("b")
    assert colours() == [red, red]
    page.keyboard.up("b")
    assert colours() == [blue, blue]
    page.keyboard.press("Enter")            # larger, by keys
    assert frames.first.get_attribute("aria-pressed") == "true"
    assert frames.first.bounding_box()["width"] > 500
    page.evaluate("news({ message: 'said' })")
    assert page.evaluate("document.activeElement.className") == "sgdiff-frame", "it keeps the focus"
    def saved(name):
        with page.expect_download() as download: page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename in ("sgdiff.png", "graph.json")
        return download.value.path()
    sheet = Image.open(saved("PNG")).convert("RGB")
    assert sheet.size == (512, 256) and sheet.getpixel((300, 100)) == blue
    assert json.loads(saved("JSON").read_text()) == {"objects": ["cat"]}
    assert page.complaints == []


def test_a_narrow_board_has_room_for_fingers(page):
    page.set_viewport_size({"width": 640, "height": 800})
    page.evaluate(ALONE, (ROOT / "sgdiff" / "app" / "static" / "graph_canvas.js").read_text())
    heights = lambda: page.locator(".sgdiff-item").evaluate_all(
        "all => all.map(i => i.getBoundingClientRect().height)"
    )
    assert min(heights()) < 32, "a mouse needs less"
    page.set_viewport_size({"width": 500, "height": 800})
    wait_until(lambda: min(heights()) >= 32, 5, f"room, but {heights()}")


def test_the_editor_in_jupyterlab(lab, page, judge):
    run_all(page, lab("nbs/app/editor.ipynb"))
    e = Editor(page)
    e.box.evaluate("box => box.scrollIntoView({block: 'start'})")
    first = e.type_graph("sheep left of tree; sky above grass")
    ask = lambda side: ("sheep", f"{side} of", "tree")
    shot(page, "editor-1-at-first")
    # a small laptop, the list of files open beside the notebook
    page.set_viewport_size({"width": 1366, "height": 768})
    wait_until(
        lambda: e.box.evaluate(
            "box => { box.scrollIntoView({block: 'start'}); return "
            "box.querySelector('.sgdiff-pictures').getBoundingClientRect().bottom < innerHeight "
            "&& box.querySelector('.sgdiff-stage').getBoundingClientRect().bottom < innerHeight; }"
        ),
        10,
        "board and pictures on one screen",
    )
    shot(page, "editor-1b-on-a-small-laptop")
    page.set_viewport_size({"width": 1500, "height": 1200})

    # by mouse: another predicate, from the list that a click opens
    e.item("sheep left of tree").click()
    shot(page, "editor-2-a-list")
    turned = e.after(lambda: e.choose("right of"))
    assert e.sources("before") == first and "became 'right of'" in e.message()
    assert seen(judge, first, ask("left")) > seen(judge, first, ask("right"))
    assert seen(judge, turned, ask("right")) > seen(judge, turned, ask("left")), (
        "the picture obeys the new relation"
    )
    shown = {}
    for name, words in (
        ("sheep, object", "sheep"),
        ("tree, object", "tree"),
        ("sheep right of tree", "sheep right of tree"),
    ):
        e.item(name).hover()
        wait_until(
            lambda words=words: e.message() == f"orange: where the pictures attend to “{words}”",
            5,
            f"the attention to {words}",
        )
        shown[words] = e.box.locator("img.overlay").first.get_attribute("src")
    assert len(set(shown.values())) == 3, (
        "attention follows the pointer, and a relation has its own"
    )
    shot(page, "editor-3-changed-by-mouse")

    # a relation drawn from one object to another, a node dragged, a relation deleted
    dot = e.item("sheep, object").locator(".dot")
    e.drag(e.centre(dot), e.centre(e.item("tree, object")))
    e.after(lambda: e.choose("looking at"))
    assert "sheep looking at tree" in e.items()
    before, where = e.sources(), e.place(e.item("sheep, object"))
    x, y = e.centre(e.item("sheep, object").locator("rect"))
    e.drag((x, y), (x, y + 60))
    page.wait_for_timeout(500)
    assert e.place(e.item("sheep, object"))["y"] - where["y"] > 40 and e.sources() == before, (
        "moving draws nothing"
    )
    e.item("sheep looking at tree").click()     # its list opens
    e.after(lambda: page.keyboard.press("Delete"))
    assert "sheep looking at tree" not in e.items() and "tree" in e.items()
    e.after(lambda: e.box.get_by_role("button", name="Undo", exact=True).first.click())
    assert "sheep looking at tree" in e.items()
    shot(page, "editor-4-drawn-by-hand")

    # by keys alone
    e.box.locator("svg[aria-label='scene graph']").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label') || ''").startswith(
            "sheep right of tree"
        ):
            break
    page.keyboard.press("Enter")
    back = e.after(lambda: [page.keyboard.press(k) for k in ("ArrowUp", "Enter")])
    assert (
        "sheep left of tree" in e.items()
        and seen(judge, back, ask("left")) > seen(judge, back, ask("right"))
    )
    e.after(lambda: page.keyboard.press("Delete"))
    assert "sheep left of tree" not in e.items()
    e.after(lambda: page.keyboard.press("Control+z"))
    e.after(lambda: page.keyboard.press("Control+y"))
    assert "sheep left of tree" not in e.items()
    e.item("tree, object").focus()
    page.keyboard.press("r")
    page.keyboard.press("Enter")                        # to the first object of the list
    e.after(lambda: [page.keyboard.press(k) for k in ("ArrowDown", "Enter")])
    assert sum(name.startswith("tree ") for name in e.items()) == 1
    page.keyboard.press("a")
    e.after(lambda: page.keyboard.type("bo") or page.keyboard.press("Enter"))
    assert (
        "boat" in e.items()
        and page.evaluate("document.activeElement.getAttribute('aria-label')") == "boat, object"
    ), "what has come can be related at once"
    shot(page, "editor-5-by-keys")

    # while the kernel has something else to do, that is said
    page.get_by_role("menuitem", name="Kernel", exact=True).wait_for()
    run_in_last_cell(page, "import time; time.sleep(12)")
    page.wait_for_timeout(500)
    e.item("boat, object").click()
    e.choose("house")
    said = lambda: e.message() + e.box.locator(".sgdiff-canvas .sgdiff-status").inner_text()
    wait_until(lambda: "another cell" in said(), 8, "that another cell is running")
    shot(page, "editor-5b-a-busy-kernel")
    wait_until(
        lambda: "house" in e.items() and "another cell" not in said() and e.sources(),
        60,
        "the pictures after all",
    )
    e.after(lambda: e.box.get_by_role("button", name="Undo", exact=True).first.click())

    # what cannot be done is said, and nothing changes
    box = e.box.get_by_label("text", exact=True)
    box.fill("a unicorn")
    box.press("Enter")
    wrong = e.box.get_by_role("alert").filter(has_text="unknown object 'unicorn'")
    wait_until(wrong.is_visible, 10, "an error in words")
    under = e.place(wrong)["y"] - e.place(box)["y"]
    assert 0 < under < 60 and "boat" in e.items(), "the words stand below the field"
    assert "unicorn" not in e.box.locator(".sgdiff-canvas .sgdiff-status").inner_text()
    shot(page, "editor-6-an-error")

    # the form, on the same model
    e.type_graph("dog left of house; sky above street")
    e.box.get_by_role("tab", name="Form").click()
    e.after(
        lambda: e.box.locator(
            ".widget-tab-contents select:visible", has_text="left of"
        ).first.select_option("above")
    )
    assert "'dog left of house' became 'above'" in e.message()
    shot(page, "editor-7-the-form")
    e.box.get_by_role("tab", name="Board").click()
    assert "dog above house" in e.items()

    # cancel
    e.box.get_by_label("pictures").select_option("16")
    e.settled()
    slider = e.box.get_by_role("button", name="Draw", exact=True)
    slider.click()
    e.box.get_by_role("button", name="Cancel", exact=True).click()
    wait_until(lambda: e.message().startswith("cancelled"), 10, "cancelled")

    # in the dark
    assert page.locator("body[data-jp-theme-light=false]").count(), (
        "JupyterLab runs in its dark theme; the app below in the light one"
    )
    e.item("dog above house").click()
    wait_until(
        lambda: e.box.evaluate(FAINT) == [],
        5,
        f"words that can be read in the dark, but {e.box.evaluate(FAINT)}",
    )
    shot(page, "editor-8-in-the-dark")
    assert complaints(page) == []


def test_retraining_in_jupyterlab(lab, page):
    run_all(page, lab("nbs/app/retrain.ipynb"))
    box = page.locator(".widget-vbox:has(> .widget-hbox button:text-is('Start'))").last
    box.evaluate("box => box.scrollIntoView({block: 'start'})")
    press = lambda name: box.get_by_role("button", name=name, exact=True).click()
    state = lambda: box.locator(".widget-html-content").first.inner_text()
    step = lambda: [int(n) for n in re.findall(r"diffusion: step (\d+)", state())]
    at_first = box.locator("img[alt^='curves']").get_attribute("src")
    for label, value in (("encoder steps", "4"), ("denoiser steps", "1000")):
        field = box.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Tab")
    press("Start")
    wait_until(step, 120, "the denoiser trains")
    shot(page, "retrain-1-running")
    press("Pause")
    wait_until(lambda: state().startswith("paused"), 60, "paused")
    rested = step()
    page.wait_for_timeout(1000)
    assert step() == rested and box.get_by_label("encoder steps", exact=True).is_disabled()
    assert box.locator("img[alt^='curves']").get_attribute("src") != at_first, "new curves"
    shot(page, "retrain-2-paused")
    press("Resume")
    wait_until(
        lambda: state().startswith("running") and step() > rested, 120, "it goes on after the pause"
    )
    press("Stop")
    wait_until(lambda: state().startswith("stopped"), 60, "stopped")
    assert box.locator("img[alt^='true scenes']").is_visible()
    of_step = page.locator("b:has-text('drawn by the model of step')").last
    old = of_step.inner_text()                  # the notebook has opened one too
    press("Open in the editor")
    wait_until(lambda: of_step.inner_text() != old, 60, "the editor of the new model")
    e = Editor(page)
    e.settled()
    of_step.evaluate("b => b.scrollIntoView({block: 'end'})")
    shot(page, "retrain-3-opened-in-the-editor")

    # saved, and opened as any other pipeline
    press("Save")
    wait_until(lambda: "saved in" in box.inner_text(), 30, "saved")
    drawn = e.sources()
    asked = [e.box.get_by_label(name, exact=True).input_value() for name in ("seed", "text")]
    run_in_last_cell(
        page,
        "from sgdiff.method.pipeline import "
        "SGDiffPipeline\nGraphEditor(SGDiffPipeline.from_pretrained(retrain.folder / 'weights'))",
    )
    wait_until(lambda: page.locator(".sgdiff-editor").count() == 2, 60, "another editor")
    e.settled()
    assert [
        e.box.get_by_label(name, exact=True).input_value() for name in ("seed", "text")
    ] == asked and e.sources() == drawn, "the same pictures"
    shot(page, "retrain-4-saved-and-opened")
    assert complaints(page) == []


SHADE = """() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g))"""


def test_the_editor_as_an_app(tree, page, judge):
    pytest.importorskip("voila", reason="no voila: pip install 'sgdiff[dev]'")
    port = free_port()
    command = [
        sys.executable, "-m", "voila", "nbs/app/editor_app.ipynb", "--no-browser", f"--port={port}",
        "--Voila.config_file_paths=nbs/app", "--SharedKernels.cull_idle_timeout=900",
        "--Voila.ip=127.0.0.1", "--VoilaConfiguration.show_tracebacks=True",
    ]
    with serving(
        command, f"http://127.0.0.1:{port}/voila/static/voila.js", tree, tree.parent / "voila.log"
    ):
        link = "#g=dog%20left%20of%20car%3B%20sky%20above%20street&seed=4&n=2"
        page.goto(f"http://127.0.0.1:{port}/{link}", timeout=300_000)
        page.wait_for_selector(".sgdiff-canvas svg", timeout=300_000)
        e = Editor(page)
        asked = lambda: [
            e.box.get_by_label(n, exact=True).input_value() for n in ("text", "seed", "pictures")]
        wait_until(lambda: asked()[1] == "4", 30, "the graph of the link")
        wait_until(lambda: len(e.sources()) == 2, 60, "as many pictures as the link says")
        assert asked()[0] == "dog left of car; sky above street"
        assert page.title() == "Draw from a scene graph · sgdiff"
        e.settled()
        e.box.evaluate("box => box.scrollIntoView({block: 'start'})")
        first = e.sources()
        shot(page, "app-1")
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(SHADE) < 60 and e.box.evaluate(FAINT) == [], e.box.evaluate(FAINT)
        shot(page, "app-1b-in-the-dark")
        page.emulate_media(color_scheme="light")
        assert page.evaluate(SHADE) > 200
        box = e.box.get_by_label("seed", exact=True)
        e.box.get_by_text("draw at once").click()
        box.fill("11")
        box.press("Tab")
        wait_until(lambda: e.message().startswith("not drawn yet"), 30, "it waits for the button")
        assert e.sources() == []
        e.box.get_by_role("button", name="Draw", exact=True).click()
        e.settled()
        assert e.sources() != first and seen(judge, e.sources(), ("dog", "left of", "car")) > 0
        assert "&seed=11&n=2" in page.url, "the address follows"
        shot(page, "app-2-drawn-by-the-button")

        # on a phone, by finger
        finger = Finger(page)
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(1000)             # until the board has its new width
        finger.tap(e.item("dog, object"))
        shot(page, "app-3-on-a-phone")
        wait_until(
            lambda: e.box.evaluate(TIGHT) == [],
            5,
            f"room for a finger, but {e.box.evaluate(TIGHT)}",
        )
        assert e.box.evaluate(FAINT) == [] and "dog" in e.items(), (
            "the tap that opens the list picks nothing from it"
        )
        finger.tap(e.box.locator(".sgdiff-popup [role=option]", has_text="sheep"))
        wait_until(lambda: "sheep left of car" in e.items(), 10, "another word by finger")
        stage = e.place(e.box.locator(".sgdiff-stage svg"))
        where = e.place(e.item("sheep, object").locator("rect"))
        x, y = e.centre(e.item("sheep, object").locator("rect"))
        finger.drag((x - 10, y), (x - 10, y + 60))
        wait_until(
            lambda: e.place(e.item("sheep, object").locator("rect"))["y"] > where["y"] + 40,
            10,
            "a thing moved by finger",
        )
        assert e.place(e.box.locator(".sgdiff-stage svg")) == stage, "the page stays where it is"
        finger.drag(
            e.centre(e.item("sheep, object").locator(".reach")),
            e.centre(e.item("street, object").locator("rect")),
        )
        finger.tap(e.box.locator(".sgdiff-popup [role=option]", has_text="above"))
        wait_until(lambda: "sheep above street" in e.items(), 10, "a relation drawn by finger")
        finger.tap(e.item("sheep above street"))
        finger.tap(e.box.locator(".sgdiff-popup").get_by_role("button", name="Remove"))
        wait_until(
            lambda: "sheep above street" not in e.items(), 10, "a relation removed by finger"
        )
        shot(page, "app-4-edited-by-finger")
        # Voilà's own template asks for fonts on the net
        ours = [c for c in complaints(page) if "net::ERR" not in c]
        assert ours == [] and page.get_by_text("Traceback").count() == 0
