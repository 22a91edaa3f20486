"""Every form of a graph, every seed and every setting goes through the same checks; what is refused
is refused in words."""
import json

import networkx as nx
import numpy as np
import pytest
import torch

from sgdiff.method.choosing import draw_best
from sgdiff.cli import main
from sgdiff.errors import SGDiffError, default_weights
from sgdiff.method.noise import as_seeds, image_generators, initial_noise
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.method.pipeline_checks import as_graph, as_graphs, sort_graphs
from sgdiff.method.samplers import SAMPLERS
from sgdiff.graphs.edits import edit_graph, find_object
from sgdiff.graphs.faults import GraphError
from sgdiff.graphs.forms import graph_entries, graph_from, read_graphs
from sgdiff.graphs.graph import SceneGraph
from sgdiff.graphs.names import object_names
from sgdiff.graphs.vocab import UnknownWordError, Vocab
from sgdiff.toy.world import EASY, make_dataset

VOCAB = EASY.vocab
NAN = float("nan")


def networkx_graph(objects, triples, kind=nx.MultiDiGraph):
    g = kind()
    for i, word in enumerate(objects): g.add_node(i, word=word)
    for s, p, o in triples: g.add_edge(s, o, predicate=p)
    return g


def text(objects, triples):
    names = object_names(SceneGraph(tuple(objects)))
    return "; ".join([f"{names[s]} {p} {names[o]}" for s, p, o in triples] or names)


FORMS = {"dict": lambda o, t: {"objects": o, "relationships": t},
         "JSON": lambda o, t: json.dumps({"objects": o, "relationships": t}),
         "networkx": networkx_graph,
         "SceneGraph": lambda o, t: SceneGraph(tuple(o), tuple(t)),
         "text": text}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("objects, triples, said", [
    (["sheep", "unicorn"], [[0, "above", 1]], ["unknown object 'unicorn'"]),
    (["sheep", "tree"], [[0, "__in_image__", 1]], ["__in_image__" "|write 'object "
                                                                  "predicate object'"]),
    (["__image__", "tree"], [[0, "above", 1]], ["__image__"]),
    (["sheep"], [[0, "left of", 0]], ["ties an object to itself", "'sheep left of sheep#2'"]),
    (["sheep", "tree"], [[0, "over", 1], [0, "on top of", 1]], ["'sheep over tree' = 'sheep on top "
                                                                "of tree'", "2 times"]),
    (["gras", "shep"], [[0, "left of", 1], [0, "left of", 0]], ["'gras'", "'shep'", "itself"]),
    (["sheep"] * 40, [], ["at most 30"]),
    (["sheep#abc", "tree"], [[0, "above", 1]], ["sheep#abc"]),
    (["sheep#0"], [], ["sheep#0"]), (["sheep#-1"], [], ["sheep#-1"]), (["sheep#999999999"], [], ["sheep#999999999"]),
    ([], [], ["empty|no object"]),
])
def test_all_faults_are_told_whatever_the_form(form, objects, triples, said):
    with pytest.raises(SGDiffError) as refused: as_graph(FORMS[form](objects, triples), VOCAB)
    for words in said:
        assert any(w in str(refused.value) for w in words.split("|")), str(refused.value)


@pytest.mark.parametrize("form", FORMS)
def test_case_does_not_matter_whatever_the_form(form):
    assert (
        as_graph(FORMS[form](["Sheep", "OCEAN"], [[0, "Left  Of", 1]]), VOCAB).to_text()
        == "sheep left of water"
    )
    vocab = Vocab(("__image__", "TV", "Turkey", "turkey"), ("__in_image__", "On", "on"))
    graph = as_graph(FORMS[form](["tv", "Turkey", "turkey"], [[0, "On", 1], [0, "on", 2]]), vocab)
    assert (
        graph.objects == ("TV", "Turkey", "turkey")
        and [p for _, p, _ in graph.triples] == ["On", "on"]
    )
    with pytest.raises(UnknownWordError, match="TURKEY.*Turkey, turkey"):
        as_graph(FORMS[form](["TURKEY"], []), vocab)


@pytest.mark.parametrize("form", ["dict", "networkx", "SceneGraph"])
@pytest.mark.parametrize("word, predicate", [(5, "above"), (None, "above"), ("sheep", 5), ("sheep", None), ("", "above"), ("sheep", " ")])
def test_what_is_no_word_is_refused_whatever_the_form(form, word, predicate):
    with pytest.raises(GraphError):
        as_graph(FORMS[form]([word, "tree"], [[0, predicate, 1]]), VOCAB)


@pytest.mark.parametrize("form", ["dict", "SceneGraph"])
def test_rows_are_whole_numbers_of_any_library(form):
    for zero, one in (
        (np.int64(0), np.int64(1)),
        (torch.tensor(0), torch.tensor(1)),
        (0.0, 1.0),
        (np.uint8(0), np.array(1)),
    ):
        assert as_graph(FORMS[form](["sheep", "tree"], [[zero, "above", one]]), VOCAB).triples == (
            (0, "above", 1),
        )
    for row in (True, np.True_, torch.tensor(True), 0.5, "0", None, NAN, -1, 2, 10**5000, [0]):
        with pytest.raises(GraphError, match="a row number|points outside"):
            as_graph(FORMS[form](["sheep", "tree"], [[row, "above", 1]]), VOCAB)
    array = np.array([[0, "above", 1]], dtype=object)
    assert as_graph(FORMS[form](["sheep", "tree"], array), VOCAB).triples == ((0, "above", 1),)


def test_every_fault_of_every_triple_is_told():
    with pytest.raises(GraphError) as refused:
        as_graph(
            {
                "objects": ["unicorn", "sky", 3],
                "relationships": [[0, "eatin", 9], [True, 4, 1], [1, "on top of", 1]],
                "relation": [],
                "boxes": [[0, 0, 1, 1], [0.5, 0, 0.1, 1], [0, 0, NAN, 1]],
            },
            VOCAB,
        )
    for words in (
        "'unicorn'", "an object is a word, got 3", "'eatin'", "row 9", "got True", "got 4",
        "'sky on top of sky'", "'relation'", "'relationships'", "box 1", "box 2",
    ):
        assert words in str(refused.value), words


@pytest.mark.parametrize("box", [[0, 0, NAN, 1], [0.5, 0, 0.1, 1], [0, 0, 2, 1], [0, 0, 1], "0011", ["0", "0", "1", "1"], None, [0, 0, True, 1], [0, 0, 10**5000, 1]])
def test_boxes_are_four_numbers_in_the_picture(box):
    net = networkx_graph(["sheep"], [])
    net.nodes[0]["box"] = box
    for attempt in (
        lambda: SceneGraph(("sheep",), (), (box,)),
        lambda: as_graph({"objects": ["sheep"], "boxes": [box]}, VOCAB),
        lambda: as_graph(net, VOCAB),
    ):
        with pytest.raises(GraphError, match="box 0"): attempt()


def test_direction_and_keys_are_never_guessed():
    objects, triples = ["sheep", "tree"], [[1, "left of", 0]]
    for kind in (nx.DiGraph, nx.MultiDiGraph):
        assert (
            as_graph(networkx_graph(objects, triples, kind), VOCAB).to_text()
            == "tree left of sheep"
        )
    for kind in (nx.Graph, nx.MultiGraph):
        with pytest.raises(GraphError, match="no directions"):
            as_graph(networkx_graph(objects, triples, kind), VOCAB)
    for key, near in (
        ("relations", "relationships"),
        ("Relationship", "relationships"),
        ("object", "objects"),
        ("BOXES", "boxes"),
    ):
        with pytest.raises(GraphError, match=f"{key}.*did you mean '{near}"):
            as_graph({"objects": objects, key: triples}, VOCAB)
    for key in ("triples", "licence", 5):
        with pytest.raises(
            GraphError, match=f"{key}.*known are objects, relationships, boxes"
        ) as refused:
            as_graph({"objects": objects, key: triples}, VOCAB)
        assert "did you mean" not in str(refused.value)
    assert as_graph(
        {"objects": objects, "relationships": triples, "image_id": 7, "url": "x"}, VOCAB
    ).triples
    net = networkx_graph(objects, triples)
    net.nodes[0]["wrod"] = "dog"
    with pytest.raises(GraphError, match="wrod.*'word'"): as_graph(net, VOCAB)


def test_what_could_be_one_or_two_is_asked_back():
    assert as_graph("sheep left of tree; sheep", VOCAB).objects == ("sheep", "tree")
    assert (
        as_graph("sheep; sheep#2", VOCAB).objects
        == as_graph("SHEEP #2; a sheep", VOCAB).objects
        == ("sheep", "sheep")
    )
    for said, second in (
        ("sheep; sheep", "sheep#2"),
        ("the sheep;a Sheep", "sheep#2"),
        ("sheep; sheep#2; sheep#2", "sheep#3"),
        ("sheep left of sheep", "sheep#2"),
    ):
        with pytest.raises(GraphError, match=second): as_graph(said, VOCAB)
    for said in ("sheep#2", "sheep; sheep#3"):
        with pytest.raises(GraphError, match="without a gap"): as_graph(said, VOCAB)
    graph = as_graph("sheep left of sheep#2; dog", VOCAB)
    for change, after in (
        ("remove sheep#2", "sheep; dog"),
        ("replace dog by sheep#3", "sheep left of sheep#2; sheep#3"),
        ("add sheep#3", "sheep left of sheep#2; dog; sheep#3"),
        ("add SHEEP#3 above dog", "sheep left of sheep#2; sheep#3 above dog"),
        ("Sheep left of sheep#2 -> sheep Right Of sheep#2", "sheep right of sheep#2; dog"),
    ):
        assert edit_graph(graph, change, VOCAB).to_text() == after
    for change in (
        "add sheep#7", "remove sheep#0", "remove sheep#abc", "replace dog by sheep#9", "", " ; ",
    ):
        with pytest.raises(GraphError): edit_graph(graph, change, VOCAB)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_graph_files_of_any_program_are_read(encoding, tmp_path):
    (tmp_path / "g.json").write_bytes(
        '[{"objects": ["Sheep", "tree"],\r\n "relationships": [[0, "Left of", 1]]}]\r\n'.encode(
            encoding
        )
    )
    assert as_graphs(read_graphs(tmp_path / "g.json"), VOCAB) == as_graphs(
        graph_entries(tmp_path / "g.json"), VOCAB
    )
    assert as_graphs(read_graphs(tmp_path / "g.json"), VOCAB)[0].to_text() == "sheep left of tree"


@pytest.mark.parametrize("content, said", [
    (b"[" * 100_000, "too deep"), (b'{"objects": ["a"], '
                                   b'"objects": []}', "twice"), (b'{"objects": [NaN]}', "NaN"), (b"[]", "no graph"), (b"", "broken"),
    (b"\xff\xd8\xff\xe0", "not text"), (b"[[1]]", "graph 1 of 1"), (b'[{"objects": ["sheep"]}, 3, '
                                                                    b'{"object": []}]', "graph 3 of 3"), (b'"sheep"', "graph 1 of 1")])
def test_bad_graph_files_are_refused_in_words(content, said, tmp_path, capsys):
    (tmp_path / "g.json").write_bytes(content)
    with pytest.raises(GraphError, match=said): read_graphs(tmp_path / "g.json")
    assert (
        main(
            [
                "generate", "--graph", str(tmp_path / "g.json"), "--out", str(tmp_path / "a.png"),
                "--steps", "1",
            ]
        )
        == 1
    )
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message


def test_the_good_ones_of_several_graphs_are_told_from_the_bad():
    good, bad = sort_graphs(
        ["sheep", "unicorn", [["sheep"]], {"objects": ["sky"]}, 5, None, b"sheep"], VOCAB
    )
    assert list(good) == [1, 4] and list(bad) == [2, 3, 5, 6, 7]
    with pytest.raises(UnknownWordError, match="graph 2 of 2: unknown object 'unicorn'"):
        as_graphs(["sheep", "unicorn"], VOCAB)
    with pytest.raises(GraphError, match="no graph"): as_graphs([], VOCAB)


@pytest.mark.parametrize("huge", ["a" * 10**6, "sheep;" * 10**6, "z;" * 40_000, {"objects": ["sheep"] * 10**6}, {"objects": ["x" * 10**6]},
                                  {"objects": ["sheep", "tree"], "relationships": [[0, "above", 1]] * 10**5}, "sheep" + "#1" * 40_000])
def test_what_is_too_large_is_refused_at_once_and_in_few_words(huge):
    with pytest.raises(SGDiffError) as refused: as_graph(huge, VOCAB)
    assert len(str(refused.value)) < 3000


SEEDS = [
    7.0, "7", True, NAN, None, -1,
    2**63,
    [7.5],
    [True],
    ["7"],
    np.array([7.0]),
    np.array([[7]]),
    torch.tensor([7.0]),
    {7},
    {7: 7},
    np.bool_(True),
]


@pytest.fixture(scope="module")
def pipe():
    return SGDiffPipeline.from_pretrained(default_weights())


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_a_seed_is_a_whole_number_everywhere(seed, pipe):
    doors = [
        lambda: as_seeds(seed, 1),
        lambda: initial_noise((1, 2), seed),
        lambda: image_generators(seed),
    ]
    if seed is not None:            # None: no seed
        doors += [
            lambda: pipe("sheep", seed=seed, num_inference_steps=1),
            lambda: pipe.edit("sheep", "add dog", seed=seed, num_inference_steps=1),
            lambda: draw_best(pipe, None, ["sheep"], 1, seed=seed),
        ]
    if not isinstance(seed, (list, dict, set)) and not getattr(seed, "ndim", 0):
        doors.append(lambda: make_dataset(EASY, 1, seed=seed, progress=False))
    for door in doors:
        with pytest.raises(ValueError, match="seed"): door()


def test_whole_numbers_of_any_library_are_seeds(pipe):
    wanted = pipe("sheep", seed=[7, 8], num_images_per_graph=2, num_inference_steps=1).pixels
    for seed in (
        7,
        np.int64(7),
        np.array(7),
        torch.tensor(7),
        np.array([7, 8]),
        torch.tensor([7, 8]),
        range(7, 9),
        (np.uint8(7), 8),
    ):
        assert torch.equal(
            pipe("sheep", seed=seed, num_images_per_graph=2, num_inference_steps=1).pixels, wanted
        )


@pytest.mark.parametrize("name, values", [
    ("guidance_scale", [NAN, float("inf"), "4", True, 1e30, torch.ones(2)]), ("relation_scale", [NAN, -float("inf"), None, "1"]),
    ("num_inference_steps", [0, -1, 2.5, NAN, "3", True, 10**6]), ("num_images_per_graph", [0, 1.5, NAN, None, 10**9]),
    ("latents", [torch.zeros(1, 2, 3, 4), torch.zeros(3), [0.0], np.zeros((1, 8, 8, 8)), "x"]), ("sampler", ["dmp", None, 3, ""]),
    ("callback", [3]), ("generator", [7, "x", [7]])])
def test_wrong_settings_are_named_before_anything_is_computed(name, values, pipe, monkeypatch):
    def computed(*args): raise AssertionError("computed before it was checked")
    monkeypatch.setattr(SGDiffPipeline, "context", computed)
    for value in values:
        with pytest.raises(ValueError, match=name): pipe("sheep", **{name: value})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_refuse_what_is_no_number(sampler, pipe):
    def asked(x, t): raise AssertionError("the model was asked")
    sample, x_T = SAMPLERS[sampler], torch.zeros(1, 2)
    for wrong in (
        dict(num_inference_steps=NAN),
        dict(num_inference_steps=2.0),
        dict(clip=NAN),
        dict(clip="1"),
        dict(prediction="x"),
        dict(spacing="x"),
        dict(timesteps=[5.5, -1]),
        dict(timesteps=[10**9, -1]),
        dict(x_T=x_T * NAN),
    ) + ((dict(eta=NAN), dict(eta=-1), dict(eta="1")) if sampler == "ddim" else ()):
        with pytest.raises(ValueError):
            sample(
                asked, **{"x_T": x_T, "schedule": pipe.schedule, "num_inference_steps": 2, **wrong}
            )


@pytest.mark.parametrize("path", ["data/toy", "runs/easy", "nowhere", "a/b/c", "./a", "https://example.org/a", "owner//name"])
def test_a_folder_that_is_not_here_is_no_name_of_the_hub(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SGDiffError) as refused: SGDiffPipeline.from_pretrained(path)
    message = str(refused.value)
    assert (
        "there is no folder" in message
        and str(tmp_path) in message
        and str(default_weights()) in message
        and "hub did not" not in message
    )


@pytest.mark.parametrize("args, said", [
    (["generate", "sheep", "--guidance", "nan"], "--guidance"), (["generate", "sheep", "--relations", "inf"], "--relations"),
    (["generate", "sheep", "--seed", "-1"], "--seed"), (["generate", "sheep; sheep"], "sheep#2"), (["generate", "sheep#abc"], "sheep#abc"),
    (["generate", "sheep on top of sheep"], "'sheep on top of sheep'"), (["edit", "sheep", "--change", ";"], "the change is empty"),
    (["generate", "sheep", "--n", "1000000000"], "--n"), (["generate", '{"objects": ["sheep"], '
                                                                       '"relations": []}'], "relationships"),
    (["generate", "sheep", "--weights", "data/nothing"], "no folder")])
def test_the_command_line_says_it_in_one_message(args, said, capsys, tmp_path):
    bad_option = said.startswith("--")
    assert main([*args, "--steps", "1", "--out", str(tmp_path / "a.png")]) == (
        2 if bad_option else 1
    )
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message
    assert bad_option or message.startswith("sgdiff: ")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("said, after", [
    ("sheep#2 left of sheep", "sheep#2 left of sheep"), ("sheep#2 left of tree; sheep "
                                                         "right of tree", "sheep#2 left of tree; "
                                                                          "sheep right of tree"),
    ("dog above sheep#3; sheep#2; sheep", "dog above sheep#3; sheep; sheep#2")])
def test_a_number_in_a_text_stays_with_its_object(said, after):
    graph = as_graph(said, VOCAB)
    assert graph.to_text() == after and as_graph(after, VOCAB).to_text() == after
    assert object_names(graph)[find_object(graph, "sheep#2")] == "sheep#2"


def test_an_edit_that_could_mean_several_is_asked_back():
    vocab = Vocab(
        ("__image__", "person", "tree", "dog"),
        ("__in_image__", "left of", "right of"),
        {"man": "person", "woman": "person"},
    )
    graph = graph_from("man left of tree; woman left of tree", vocab)
    for change in (
        "replace person by dog", "person -> dog", "remove person", "add person right of tree",
        "left of -> right of", "replace LEFT OF by right of",
    ):
        with pytest.raises(GraphError, match="say which: .*man"): edit_graph(graph, change, vocab)
    with pytest.raises(GraphError, match="no 'man#2'"): edit_graph(graph, "remove man#2", vocab)
    for change in ("replace woman by dog", "person#2 -> dog"):
        assert edit_graph(graph, change, vocab).objects == ("man", "tree", "dog")
    assert (
        edit_graph(graph, "woman left of tree -> woman right of tree", vocab).to_text()
        == "man left of tree; woman right of tree"
    )
    assert edit_graph(graph_from("dog; dog#2", vocab), "remove dog", vocab).objects == ("dog",)


@pytest.mark.parametrize("change, said", [
    ("sheep left of tree -> tree left "
     "of sheep", "same two objects, in the "
                 "same order"), ("sheep left of tree -> dog left of tree", "same two objects"),
    ("tree left of sheep -> tree right "
     "of sheep", "no relation 'tree left "
                 "of sheep'"), ("-> dog", "nothing before"), ("left of ->", "nothing after"),
    ("remove left of", "remove OBJECT left "
                       "of OBJECT"), ("left of \u2192 right of", "write ->"), ("left of => right of", "write ->"), ("left of -> flies", "unknown predicate")])
def test_a_wrong_edit_is_told_in_words(change, said):
    with pytest.raises(SGDiffError, match=said):
        edit_graph(as_graph("sheep left of tree", VOCAB), change, VOCAB)


@pytest.mark.parametrize("said, mend", [
    ("sheep left of tree "
     "above grass", "two relations in one clause"), ("sheep left of tree, sky "
                                                     "above grass", "two relations in one clause"),
    ("sheep left of tree and sky "
     "above grass", "two relations in one clause"), ("sheep, tree", "parted by ';'"), ("sheep and tree", "parted by ';'"),
    ("sheep left_of tree", "write 'sheep left of tree'"), ("sheep looking-at tree", "write 'sheep "
                                                                                    "looking at tree'")])
def test_a_clause_that_holds_too_much_is_told_in_words(said, mend):
    with pytest.raises(SGDiffError, match=mend): as_graph(said, VOCAB)


@pytest.mark.parametrize("triple, mend", [
    (["sheep", "left of", 1], "write 0, the row of 'sheep'"), (["0", "left of", 1], "write 0 without quotes"), ([0, 1, "left of"], r"as in \[0, 'left of', 1\]"),
    (["left of", 0, 1], r"as in \[0, 'left of', 1\]"), ([9, "eats", 1], "unknown predicate 'eats'")])
def test_a_wrong_triple_says_how_to_mend_it(triple, mend):
    with pytest.raises(GraphError, match=mend):
        as_graph({"objects": ["sheep", "tree"], "relationships": [triple]}, VOCAB)
    array = np.array(["sheep", "left of", "1"])
    with pytest.raises(GraphError) as refused:
        as_graph({"objects": ["sheep", "tree"], "relationships": [array]}, VOCAB)
    assert "np." not in str(refused.value)


def test_json_that_is_no_graph_says_what_it_looks_like(tmp_path):
    for data in (
        {"objects": [{"names": ["sheep"]}]},
        {"objects": {"1": {"name": "sheep"}}},
        {"image_id": 1, "relationships": [{"predicate": "on"}]},
        {"2407890": {"objects": {"1": {"name": "sheep"}}}},
    ):
        with pytest.raises(GraphError, match="sgdiff prepare"): as_graph(data, VOCAB)
    for key in ("Objects", "object"):
        with pytest.raises(GraphError, match="did you mean 'objects'"):
            as_graph({key: ["sheep"]}, VOCAB)
    with pytest.raises(GraphError, match='{"objects": '): as_graph({"a": 1}, VOCAB)
    (tmp_path / "g.json").write_text('["sheep left of tree", "sheep"]')
    with pytest.raises(GraphError, match="graph 1 of 2 is a text: give it as an argument"):
        read_graphs(tmp_path / "g.json")


def test_a_relation_to_itself_is_no_fault_in_data():
    data = {"objects": ["sheep", "unicorn"], "relationships": [[0, "above", 0]]}
    for flag in (True, False):
        with pytest.raises(SGDiffError) as refused:
            graph_from({**data, "boxes": [3, 3]}, VOCAB, flag)
        assert ("itself" in str(refused.value)) is not flag and "unicorn" in str(refused.value)


@pytest.mark.parametrize("objects, aliases, said", [
    ({"__image__": 0}, {}, "list of words"), (None, {}, "list of words"), (("__image__", [1]), {}, "no word"),
    (("__image__", "car"), {"auto": "car", "moped": "motorbike"}, "'moped'.*'motorbike'.*none of them")])
def test_a_wrong_vocabulary_is_refused_in_words(objects, aliases, said):
    with pytest.raises(ValueError, match=said): Vocab(objects, ("__in_image__",), aliases)


def test_the_best_pictures_keep_the_words_they_were_asked_in(pipe, monkeypatch):
    monkeypatch.setattr(
        "sgdiff.method.choosing.graph_image_similarity",
        lambda model, graphs, images, vocab: torch.zeros(images.shape[:2]),
    )
    out, _ = draw_best(pipe, torch.nn.Linear(1, 1), ["sheep above ocean"], 2, num_inference_steps=1)
    assert [g.to_text() for g in out.written] == ["sheep above ocean"]
