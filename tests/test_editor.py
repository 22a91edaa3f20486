"""The editor's model under random commands, and its views under the same: what must hold whatever a
hand does."""
import json
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("anywidget", reason="no anywidget: pip install 'sgdiff[widgets]'")
from sgdiff.app.model import EditorModel, board, follow, what_changed  # noqa: E402
from run_notebooks import ROOT  # noqa: E402
from tidy_notebook import VIEW  # noqa: E402
from sgdiff.app.editor import Exchange  # noqa: E402
from sgdiff.app.views import GraphCanvas, GraphForm  # noqa: E402
from sgdiff.graphs.drawing import place_objects  # noqa: E402
from sgdiff.graphs.graph import SceneGraph, check_graph  # noqa: E402
from sgdiff.toy.world import EASY, ToyWorld  # noqa: E402

COLOURS, SIZES = ("red", "blue"), ("small", "large")
VOCAB = replace(
    EASY.vocab, attributes=(*COLOURS, *SIZES), attribute_aliases={"big": "large"},
    attributes_of={"sheep": SIZES, "dog": (*COLOURS, *SIZES), "sand": COLOURS},
    attribute_kinds=(COLOURS, SIZES))
rows = st.integers(-1, 5)
words = st.sampled_from([*VOCAB.objects[1:6], "zebra", "unicorn", "__image__"])
predicates = st.sampled_from([*VOCAB.predicates[1:5], "on", "eats"])
commands = st.one_of(
    st.tuples(st.just("add_object"), st.fixed_dictionaries({"word": words})),
    st.tuples(st.just("replace_object"), st.fixed_dictionaries({"row": rows, "word": words})),
    st.tuples(st.just("remove_object"), st.fixed_dictionaries({"row": rows})),
    st.tuples(st.just("toggle_attribute"), st.fixed_dictionaries(
        {"row": rows, "attribute": st.sampled_from(["red", "blue", "small", "BIG", "green", 5])})),
    st.tuples(
        st.just("move_object"),
        st.fixed_dictionaries({"row": rows, "x": st.floats(-1, 2), "y": st.floats(-1, 2)}),
    ),
    st.tuples(
        st.just("add_triple"),
        st.fixed_dictionaries({"subject": rows, "predicate": predicates, "object": rows}),
    ),
    st.tuples(
        st.just("replace_triple"),
        st.fixed_dictionaries(
            {"row": rows, "subject": rows, "predicate": predicates, "object": rows}
        ),
    ),
    st.tuples(
        st.just("replace_predicate"), st.fixed_dictionaries({"row": rows, "predicate": predicates})
    ),
    st.tuples(
        st.sampled_from(["turn_triple", "remove_triple"]), st.fixed_dictionaries({"row": rows})
    ),
    st.tuples(
        st.just("load"),
        st.fixed_dictionaries(
            {
                "graph": st.sampled_from(
                    ["dog; sheep", "sheep left of dog; sky above grass", "", "{", "a unicorn",
                     "big red dog left of small dog", "two sheep", "red tree"]
                )
            }
        ),
    ),
    st.tuples(st.sampled_from(["undo", "redo"]), st.just({})),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(commands, max_size=25))
# two words, one relation
@example([("add_triple", {"subject": 1, "predicate": word, "object": 0}) for word in ("above", "on")])
def test_whatever_is_done_the_model_holds_together(sequence):
    model = EditorModel(VOCAB, "sheep left of tree; sky above grass")
    start = model.now
    for command, arguments in sequence:
        before, version = model.now, model.version
        done = model.do(command, **arguments)
        m = model.now
        assert done == (model.error == "") and (done or m == before), (
            "what is refused changes nothing"
        )
        assert (model.version != version) == (m.graph != before.graph), (
            "a version stands for a graph"
        )
        assert len(m.keys) == len(set(m.keys)) == len(m.places) == len(m.graph)
        assert all(0 <= v <= 1 for place in m.places for v in place)
        assert not len(m.graph) or check_graph(m.graph, VOCAB) == m.graph, (
            "what is on the board can be drawn"
        )
        assert not what_changed(m, m) and bool(what_changed(before, m)) == (
            set(before.keyed_triples()) != set(m.keyed_triples())
            or dict(zip(before.keys, before.called())) != dict(zip(m.keys, m.called()))
        )
    end, steps = model.now, len(model.past)
    while model.past:
        assert model.do("undo")
    assert model.now == start
    for _ in range(steps):
        assert model.do("redo")
    assert model.now == end


@settings(max_examples=25, deadline=None)
@given(st.lists(commands, max_size=12))
def test_board_and_form_show_the_same(sequence):
    model = EditorModel(VOCAB, "sheep left of tree; sky above grass")
    canvas, form = GraphCanvas(model), GraphForm(model)
    for command, arguments in sequence:
        canvas._handle_custom_msg({"command": command, "arguments": arguments}, [])
        g = model.graph
        assert canvas.board == board(model)
        assert (
            [n["word"] for n in canvas.board["nodes"]]
            == [row.boxes[0].value for row in form.object_rows.children]
            == list(g.objects)
        )
        for row, node, said in zip(
            form.object_rows.children, canvas.board["nodes"], g.each_attributes, strict=True
        ):
            assert tuple(node["attributes"]) == said
            assert (row.boxes[1].label, row.boxes[1].value) == (" ".join(said) or "any", "")
            assert (row.boxes[1].layout.display == "none") == (not node["may"])
        assert [
            tuple(e[k] for k in ("subject", "predicate", "object")) for e in canvas.board["edges"]
        ] == list(g.triples)
        assert [tuple(box.value for box in row.boxes) for row in form.triple_rows.children] == list(
            g.triples
        )


def test_a_thing_is_described_on_the_board_and_in_the_form():
    model = EditorModel(VOCAB, "big dog left of sheep; sky above sand")
    canvas, form = GraphCanvas(model), GraphForm(model)
    dog, sheep = form.object_rows.children[:2]
    assert [label for label, _ in dog.boxes[1].options] == [
        "large", "red", "blue", "small", "not large"]
    assert model.notes == ["big is drawn as large: these weights know no big"]
    assert dog.note.value == "written as “big”"
    dog.boxes[1].value = "red"
    assert model.graph.to_text() == "large red dog left of sheep; sky above sand"
    dog.boxes[1].value = "blue"                             # no dog is red and blue
    dog.boxes[1].value = "large"                            # taken back
    assert model.graph.to_text() == "blue dog left of sheep; sky above sand" and not model.notes
    assert [n["name"] for n in canvas.board["nodes"]] == ["blue dog", "sheep", "sky", "sand"]
    assert what_changed(model.past[-1], model.now).words == ("blue large dog became blue dog",)
    assert not model.do("toggle_attribute", row=1, attribute="red")
    assert model.error == "'sheep' cannot be 'red'; 'sheep' can be: small, large"
    assert model.do("toggle_attribute", row=0, attribute="small")
    assert model.do("replace_object", row=0, word="sheep")  # which can be small, but not blue
    assert model.graph.to_text().startswith("small sheep left of sheep#2")
    assert model.do("undo") and model.graph.each_attributes[0] == ("blue", "small")
    assert model.do("load", graph="blue small dog; red dog left of sheep")
    assert what_changed(model.past[-1], model.now).words[0] == "red dog came"


def test_a_word_that_another_stands_in_for_is_said_in_every_view():
    model = EditorModel(VOCAB, "zebra on top of line")
    canvas, form = GraphCanvas(model), GraphForm(model)
    notes = lambda: [
        row.note.value for rows in (form.object_rows, form.triple_rows) for row in rows.children
    ]
    assert model.notes == [
        f"{a} is drawn as {b}: these weights know no {a}"
        for a, b in (("zebra", "sheep"), ("line", "street"), ("'on top of'", "above"))
    ]
    assert notes() == ["written as “zebra”", "written as “line”", "written as “on top of”"]
    assert (
        [n["written"] for n in canvas.board["nodes"]] == ["zebra", "line"]
        and canvas.board["edges"][0]["written"] == "on top of"
    )
    model.do("replace_object", row=0, word="bus")
    model.do("load", graph="bus on top of street")
    assert model.notes == [
        "bus is drawn as car: these weights know no bus",
        "'on top of' is drawn as above: these weights know no 'on top of'",
    ]
    model.do("load", graph="car above street")
    assert model.notes == [] and notes() == ["", "", ""]


def test_the_editor_says_beside_the_pictures_what_it_draws_instead():
    from small_models import small_pipeline
    from sgdiff.app.editor import GraphEditor
    editor = GraphEditor(small_pipeline(VOCAB), graph="sheep above grass", pictures=1, steps=1)
    assert editor.wait() and editor.view.message == "drawn"
    editor.load("zebra above grass")  # the same picture: it is there already
    assert (
        editor.view.message == "zebra is drawn as sheep: these weights know no zebra"
        and editor.text.value == "sheep above grass"
    )
    editor.load("zebra above grass; bus")
    assert (
        editor.wait()
        and "bus is drawn as car" in editor.view.message
        and "zebra is drawn as sheep" in editor.view.message
    )
    editor.load('[{"objects": ["dog"]}, {"objects": ["tree"]}]')
    assert editor.wait() and "of 2 graphs in the list this is the first" in editor.view.message


def test_the_pictures_are_seen_while_they_come():
    from small_models import small_pipeline
    from sgdiff.app.editor import GraphEditor
    editor, shown = GraphEditor(small_pipeline(VOCAB), graph="sheep", pictures=2, steps=3), []
    editor.view.observe(lambda change: shown.append(change.new), "born")
    assert editor.wait() and [len(images) for images in shown] == [2, 2, 0]
    assert shown[0] != shown[1] and all(p["after"] for p in editor.view.pictures)
    assert json.loads(editor.view.graph) == {"objects": ["sheep"], "relationships": []}


def test_the_buttons_of_a_row_and_what_it_says():
    model = EditorModel(VOCAB, "sheep left of tree; sky above grass")
    form, start = GraphForm(model), model.now
    press = lambda row, name: next(
        b for b in row.children if getattr(b, "description", "") == name
    ).click()
    notes = lambda: [
        row.note.value for rows in (form.object_rows, form.triple_rows) for row in rows.children
    ]
    press(form.triple_rows.children[0], "Turn")
    assert (
        model.graph.named_triples()[0] == ("tree", "left of", "sheep")
        and form.triple_rows.children[0].boxes[0].label == "tree"
    )
    form.show(start, (False, True))
    assert notes() == [
        "", "", "", "", "changed, ✗ the judge does not see it", "✓ the judge sees it",
    ]
    press(form.triple_rows.children[0], "Remove")
    assert model.graph.named_triples() == (("sky", "above", "grass"),) and notes() == [""] * 5, (
        "what was said of another graph is gone"
    )
    press(form.object_rows.children[2], "Remove")
    assert model.graph.objects == ("sheep", "tree", "grass") and not model.graph.triples
    press(form.object_rows.children[0], "Remove")
    assert (
        [row.boxes[0].value for row in form.object_rows.children] == ["tree", "grass"]
        and form.error.value == ""
    )


def test_another_graph_keeps_what_it_can():
    before, world = EditorModel(VOCAB, "sheep left of tree; sky above grass").now, ToyWorld(EASY)
    for i in range(20):
        graph = SceneGraph(world.scene(i).graph.objects, world.scene(i).graph.triples)
        after = follow(before, graph, 100)
        kept = set(after.keys) & set(before.keys)
        # a sky, a ground and up to two things
        assert len(kept) == min(len(graph), 4) and len(set(after.keys)) == len(graph)
        same = {w for w in graph.objects if w in before.graph.objects}
        named = lambda m: dict(zip(m.graph.objects, m.keys))
        assert all(named(after)[w] == named(before)[w] for w in same)
        assert follow(after, graph, 200) == after
        assert len(set(place_objects(graph))) == len(graph)


@pytest.mark.parametrize("name", ["editor", "editor_app", "retrain"])
def test_a_page_without_a_kernel_shows_finished_pictures(name):
    saved = json.loads((ROOT / "nbs" / "app" / f"{name}.ipynb").read_text())["metadata"]["widgets"]
    views = [
        m["state"]
        for kind in saved.values()
        for m in kind["state"].values()
        if "pictures" in m["state"]
    ]
    assert (
        views
        and all(p["after"] for view in views for p in view["pictures"])
        and not any(view["message"].startswith("drawing") for view in views)
    )


@pytest.mark.parametrize("name", ["editor", "retrain"])
def test_a_demo_chapter_opens_with_its_widget(name):
    cells = json.loads((ROOT / "nbs" / "app" / f"{name}.ipynb").read_text())["cells"]
    first = next(i for i, c in enumerate(cells) if VIEW in str(c.get("outputs", "")))
    above = ["".join(c["source"]) for c in cells[1:first]]
    assert len(above) == 2 and all(len(source.splitlines()) <= 5 for source in above)


def test_a_file_is_opened_or_said_to_be_none():
    model = EditorModel(VOCAB, "sheep left of tree")
    exchange = Exchange(lambda field, text: model.do("load", field, graph=text))
    model.listeners.append(lambda m: exchange.show(m.graph, m.error))
    def choose(name, content):      # as the browser sends it
        exchange.upload.set_state(
            {
                "value": [
                    {
                        "name": name,
                        "type": "",
                        "size": len(content),
                        "last_modified": 0,
                        "content": memoryview(content),
                    }
                ]
            }
        )
    graph = SceneGraph(("dog", "sky"), ((1, "above", 0),))
    text = json.dumps(graph.to_json())
    # one graph; a list with a byte order mark; other programs' text
    for content in (
        text.encode(),
        ("\ufeff \n[" + text + "]").encode(),
        ("\r\n" + text).encode("utf-16"),
        text.encode("utf-16-le"),
    ):
        model.do("load", graph="boat")
        choose("graph.json", content)
        assert (
            model.graph == graph
            and exchange.error.value == ""
            and json.loads(exchange.text.value)["objects"] == ["dog", "sky"]
        )
        assert exchange.upload.value == (), "the same file can be opened again"
    for name, content, said in (
        ("notes<b>.txt", b"a dog", "notes&lt;b&gt;.txt holds no JSON"),
        ("cut.json", b'{"objects": ["dog"', "broken JSON"),
        ("other.json", b'{"objects": ["unicorn"], "relationships": []}', "unknown object"),
        ("picture.json", b"\xff\xd8\xff", "picture.json holds no JSON"),
        ("empty.json", b"", "empty.json holds no JSON"),
    ):
        choose(name, content)
        assert (
            said in exchange.error.value
            and "role='alert'" in exchange.error.value
            and model.graph == graph
        ), (name, exchange.error.value)
        assert exchange.upload.value == ()


def test_graphs_come_to_the_board_through_the_same_door():
    model = EditorModel(VOCAB, '\ufeff[{"objects": ["sheep"]}]')
    assert model.graph.to_text() == "sheep"
    assert not model.do(
        "load", graph={"objects": ["unicorn", "tree"], "relationships": [[0, "eats", 9]]}
    )
    assert all(word in model.error for word in ("unicorn", "eats", "row 9"))
    assert (
        not model.do("load", graph='["sheep", "tree"]')
        and "graph 1 of 2 is a text" in model.error
    )
    assert not model.do("load", graph=5) and "a graph is a text" in model.error


def test_a_note_goes_with_the_word_that_it_is_about():
    model = EditorModel(VOCAB, "sheep above ocean")
    note = model.notes
    assert len(note) == 1 and "ocean" in note[0]
    assert model.do("replace_object", row=1, word="tree") and not model.notes
    assert model.do("replace_object", row=1, word="water") and not model.notes
    model.undo(), model.undo()
    assert model.notes == note
    assert model.do("add_object", word="dog") and model.notes == note
    assert model.do("load", graph="sheep above water") and not model.notes


def test_a_view_that_asks_wrongly_is_answered_in_words():
    model = EditorModel(VOCAB, "sheep above tree")
    before = model.now
    for x in (float("nan"), float("inf"), "far", None):
        assert (
            not model.do("move_object", row=0, x=x, y=0.5)
            and "a place is two numbers" in model.error
        )
    assert (
        not model.do("add_object", word="dog", x=float("nan"), y=0)
        and "a place is two numbers" in model.error
    )
    assert (
        not model.do("replace_object", row=0)
        and model.error == "replace_object takes row, word; got row"
    )
    assert not model.do("undo", steps=2) and model.error == "undo takes nothing; got steps"
    assert not model.do("remove_object", row=True) and model.now == before
