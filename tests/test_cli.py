"""The command line, as a person meets it: what it writes, and how it refuses."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from official_tensors import sample
from PIL import Image
from small_models import small_pipeline

from run_notebooks import ROOT
from sgdiff.cli import main
from sgdiff.errors import SGDiffError
from sgdiff.method.graph_encoder import SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.method.pipeline_checks import as_graph
from sgdiff.toy.world import EASY, training_scenes
from sgdiff.method.unet import UNet, UNetConfig

TEXT = "sheep looking at tree; sky above grass"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    "A small pipeline with random weights: it draws nonsense, quickly."
    path = tmp_path_factory.mktemp("pipeline")
    small_pipeline(EASY.vocab).save_pretrained(path)
    return path


def run(*args, weights=None):
    return main([*args, *(["--weights", str(weights)] if weights else [])])


def test_generate_writes_a_png(weights, tmp_path, capsys):
    out = tmp_path / "deep" / "grid.png"
    assert (
        run(
            "generate", TEXT, "dog left of ball", "--n", "2", "--steps", "2", "--out", str(out),
            weights=weights,
        )
        == 0
    )
    assert Image.open(out).size[0] > 100 and str(out) in capsys.readouterr().out


def test_generate_reads_the_series_of_sg2im(weights, tmp_path):
    series = [
        {
            "objects": ["sky", "grass", "zebra"],
            "relationships": [[0, "above", 1], [2, "standing on", 1]],
        },
        {
            "objects": ["sky", "grass", "sheep", "sheep"],
            "relationships": [[0, "above", 1], [2, "standing on", 1], [3, "by", 2]],
        },
    ]
    (tmp_path / "g.json").write_text(json.dumps(series))
    assert (
        run(
            "generate", "--graph", str(tmp_path / "g.json"), "--n", "1", "--steps", "2", "--out",
            str(tmp_path / "a.png"), weights=weights,
        )
        == 0
    )


@pytest.mark.parametrize("name, status, said", [("figure_6_sheep", 0, ""), ("figure_6_street", 1, "graph 7 of 7: unknown object 'window'; the closest known ones are: ")])
def test_the_figures_of_sg2im_run_as_they_are_or_say_what_is_unknown(
    name, status, said, weights, tmp_path, capsys
):
    path = sample(f"scene_graphs/{name}.json")
    assert (
        run(
            "generate", "--graph", str(path), "--n", "1", "--steps", "1", "--out",
            str(tmp_path / "a.png"), weights=weights,
        )
        == status
    )
    message = capsys.readouterr().err
    assert said in message and ("unknown" in message) == bool(said)


def test_edit_writes_a_png(weights, tmp_path):
    out = tmp_path / "edit.png"
    assert (
        run(
            "edit", TEXT, "--change", "replace sheep by dog", "--n", "1", "--steps", "2", "--out",
            str(out), weights=weights,
        )
        == 0
    )
    assert Image.open(out).size[1] > 100


@pytest.mark.parametrize("change, after", [
    ("replace cow by dog", "dog looking at tree; dog left of tree; sky above water"),
    ("remove the cow", "sky above water; tree"),
    ("facing -> looking away from", "sheep looking away from tree; sheep left of tree; sky "
                                    "above water"),
    ("add dog right of the cow", "sheep looking at tree; sheep left of tree; sky above water; dog "
                                 "right of sheep"),
    ("remove cow facing tree; remove lake", "sheep left of tree; sky"),
])
@pytest.mark.parametrize("text", ["cow facing tree; cow left of tree; clouds "
                                  "above sea", "sheep looking at tree; sheep left of tree; sky "
                                               "above water"])
def test_a_change_knows_the_words_that_a_graph_knows(text, change, after, weights):
    edit = SGDiffPipeline.from_pretrained(weights).edit(text, change, seed=0, num_inference_steps=1)
    assert edit.after.graphs[0].to_text() == after


def test_two_words_for_two_objects_stay_apart_in_an_edit(weights):
    pipe = SGDiffPipeline.from_pretrained(weights)
    for change, after in {
        "remove sheep": "sheep looking at tree",
        "remove cow": "sheep; tree",
        "remove sheep#2": "sheep looking at tree",
    }.items():
        assert (
            pipe.edit("cow left of sheep; cow facing tree", change, seed=0, num_inference_steps=1)
            .after.graphs[0]
            .to_text()
            == after
        )


def test_all_unknown_words_are_named_at_once_and_where_they_stand(weights, tmp_path, capsys):
    assert run("generate", "unicorn left of tree; griffin above gras", weights=weights) == 1
    message = capsys.readouterr().err
    for word in ("unicorn", "griffin", "gras"):
        assert f"unknown object '{word}'; the closest known ones are: " in message
    assert "graph" not in message                           # there is but one
    (tmp_path / "g.json").write_text(
        json.dumps(
            [
                {"objects": ["sky"]},
                {"objects": ["hut", "tree"], "relationships": [[0, "eating", 1]]},
            ]
        )
    )
    assert (
        run("generate", "unicorn", "dog", "--graph", str(tmp_path / "g.json"), weights=weights) == 1
    )
    first, last, hint = capsys.readouterr().err.splitlines()
    assert hint == "--skip-bad draws the others"
    assert first.startswith("sgdiff: graph 1 of 4: unknown object 'unicorn'")
    assert (
        last.startswith("graph 4 of 4: unknown object 'hut'")
        and "unknown predicate 'eating'" in last
    )


def test_the_demo_says_of_every_picture_what_the_judge_sees(tmp_path, monkeypatch, capsys):
    from sgdiff.cli import DEMO_EDITS, DEMO_GRAPHS, MARKS, load_pipeline
    call, pixels = SGDiffPipeline.__call__, []

    def recorded(self, *args, **settings):
        out = call(self, *args, **settings)
        pixels.extend(out.pixels.chunk(len(out.graphs)))
        return out
    with monkeypatch.context() as watched:
        watched.setattr(SGDiffPipeline, "__call__", recorded)
        assert main(["demo", "--steps", "1", "--seed", "5", "--out", str(tmp_path)]) == 0
    blocks = re.findall(
        r"^(asked|before|after): (.+)\n((?:    .+\n)+)", capsys.readouterr().out, re.M
    )
    assert [kind for kind, *_ in blocks] == ["asked"] * len(DEMO_GRAPHS) + [
        "before",
        "after",
    ] * len(DEMO_EDITS)
    pipe, judge = load_pipeline()
    # the seed that a column names is that of its picture
    for i, seed in ((1, 9), (len(DEMO_GRAPHS), 5)):
        torch.testing.assert_close(
            pipe(blocks[i][1], seed=seed, num_inference_steps=1).pixels,
            pixels[i][:1],
            rtol=1e-3,
            atol=1e-3,
        )
    graphs = [as_graph(text, pipe.vocab) for _, text, _ in blocks]
    for i, ((_, _, told), drawn, graph) in enumerate(zip(blocks, pixels, graphs, strict=True)):
        seeds = range(5 + 4 * i, 9 + 4 * i) if i < len(DEMO_GRAPHS) else range(5, 8)
        answers = [
            [MARKS[a] for a in row]
            for row in judge.answer(drawn, [graph.named_triples()] * len(drawn))
        ]
        table = [line.split()[-len(seeds):] for line in told.splitlines()[:1 + len(graph.triples)]]
        assert table == [[str(s) for s in seeds], *(list(column) for column in zip(*answers))]
        seen = {
            seed: words
            for seeds, words in re.findall(r"seen in (.+): (.+)", told)
            for seed in seeds.split(", ")
        }
        assert seen == {
            str(s): ", ".join(sorted(words)) or "nothing"
            for s, words in zip(seeds, judge.objects(drawn))
        }


@pytest.mark.parametrize("args, said", [
    (["generate", "sheeep above grass"], "unknown object 'sheeep'; the closest known ones "
                                         "are: sheep"),
    (["generate", "sheep lookin at tree"], "write 'object predicate object'"),
    (["generate", ""], "holds no object"),
    (["generate"], "nothing to draw"),
    (["generate", "sheep left of sheep"], "ties an object to itself"),
    (["generate", "sheep left of dog; sheep left of dog"], "stands 2 times"),
    (["generate", "; ".join(f"sheep#{i}" for i in range(2, 202))], "at most 30"),
    (["generate", "--graph", "nowhere.json"], "nowhere.json"),
    (["edit", TEXT, "--change", "improve it"], "cannot read the change"),
    (["edit", TEXT, "--change", "replace boat by dog"], "neither a relation nor an object"),
    (["edit", TEXT, "--change", "looking at -> lookng at"], "looking at"),
    (["generate", TEXT, "--steps", "5000"], "5000"),
])
def test_bad_requests_end_in_one_clear_line(args, said, weights, tmp_path, capsys):
    out = tmp_path / "old.png"
    out.write_bytes(b"what was there before")
    assert run(*args, "--out", str(out), weights=weights) == 1
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message
    assert out.read_bytes() == b"what was there before"


@pytest.mark.parametrize("text, said", [
    ('{"objects": ["sky"', "broken JSON"),
    ('{"objects": ["sky"], "relationships": [[0, "above", 3]]}', "points outside the graph"),
    ('{"objects": []}', "empty"),
    ("[]", "no graph"),
    ('{"objects": ["sky", 3]}', "an object is a word"),
])
def test_bad_files_are_named(text, said, weights, tmp_path, capsys):
    (tmp_path / "g.json").write_text(text)
    assert (
        run(
            "generate", "--graph", str(tmp_path / "g.json"), "--out", str(tmp_path / "a.png"),
            weights=weights,
        )
        == 1
    )
    assert said in capsys.readouterr().err and not (tmp_path / "a.png").exists()


def test_missing_truncated_and_foreign_weights(weights, tmp_path):
    import shutil
    with pytest.raises(SGDiffError, match="no folder"):
        SGDiffPipeline.from_pretrained(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SGDiffError, match="model_index.json"):
        SGDiffPipeline.from_pretrained(tmp_path / "empty")
    broken = shutil.copytree(weights, tmp_path / "broken")
    path = broken / "unet" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SGDiffError, match="safetensors"): SGDiffPipeline.from_pretrained(broken)
    path.unlink()
    with pytest.raises(SGDiffError, match="unet"): SGDiffPipeline.from_pretrained(broken)
    assert run("generate", TEXT, weights=broken) == 1
    foreign = shutil.copytree(
        weights, tmp_path / "foreign", ignore=shutil.ignore_patterns("SHA256SUMS")
    )
    path = foreign / "unet" / "config.json"
    config = json.loads(path.read_text())
    for changes, said in (
        ({"model_channels": 2 * config["model_channels"]}, "does not fit UNet"),
        ({"model_channels": 40}, "multiples of 32"),
        ({"width": 3}, "width"),
    ):
        path.write_text(json.dumps(config | changes))
        with pytest.raises(SGDiffError, match=said): SGDiffPipeline.from_pretrained(foreign)


@pytest.mark.parametrize("name, change, said", [
    ("scheduler/scheduler_config.json", lambda d: d | {"beta_start": 0.1}, "beta_start"),
    ("scheduler/scheduler_config.json", lambda d: d | {"schedule": "linear"}, "linear"),
    ("scheduler/scheduler_config.json", lambda d: [1, 2], "list"),
    ("model_index.json", lambda d: {k: v for k, v in d.items() if k != "max_things"}, "'max_things' is missing"),
    ("model_index.json", lambda d: {}, "'_class_name' is missing"),
    ("model_index.json", lambda d: d | {"_class_name": "StableDiffusionPipeline"}, "StableDiffusionPipeline"),
    ("model_index.json", lambda d: d | {"unet": ["diffusers", "UNet2DModel"]}, "UNet2DModel"),
    ("vocab.json", lambda d: {"objects": d["objects"]}, "'predicates' is missing"),
    ("vocab.json", lambda d: d | {"objects": None}, "null stands where something else is expected"),
    ("vae/config.json", lambda d: d | {"channels": 7}, "a number stands where something else"),
    ("pretraining/config.json", lambda d: {"image": {}}, "'encoder' is missing"),
    ("pretraining/config.json", lambda d: {"image": {"colours": 3}, "encoder": {}}, "colours"),
])
def test_a_foreign_configuration_is_named(name, change, said, weights, tmp_path):
    import shutil
    from sgdiff.toy.recipes import load_pretraining
    foreign = shutil.copytree(
        weights, tmp_path / "foreign", ignore=shutil.ignore_patterns("SHA256SUMS")
    )
    path = foreign / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(change(json.loads(path.read_text()) if path.exists() else {})))
    with pytest.raises(SGDiffError, match=f"{path.name} does not fit") as error:
        (load_pretraining if "pretraining" in name else SGDiffPipeline.from_pretrained)(foreign)
    assert said in str(error.value)


PYTHON = re.compile(r"NoneType|object is not|has no attribute|iterable|argument|Error\b")


@pytest.mark.filterwarnings("ignore:.*has no SHA256SUMS")
def test_whatever_a_file_of_weights_says_is_told_in_words(tmp_path):
    "Any value in the place of any other, at the top of any JSON file."
    pipe = small_pipeline(EASY.vocab)
    pipe.scenes = training_scenes(EASY)
    pipe.save_pretrained(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    told = 0
    for path in sorted(tmp_path.rglob("*.json")):
        whole = json.loads(path.read_text())
        for key in whole:
            for bad in (None, 7, [[]], {"a": 1}, "x"):
                path.write_text(json.dumps(whole | {key: bad}))
                try: SGDiffPipeline.from_pretrained(tmp_path)
                except SGDiffError as error:
                    told += 1
                    assert not PYTHON.search(str(error)), error
        path.write_text(json.dumps(whole))
    assert told > 150


def test_a_saved_pipeline_draws_the_same(weights, tmp_path):
    pipe = SGDiffPipeline.from_pretrained(weights)
    pipe.save_pretrained(tmp_path / "again")
    again = SGDiffPipeline.from_pretrained(tmp_path / "again")
    a, b = (p(TEXT, num_inference_steps=3, seed=5).pixels for p in (pipe, again))
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_picture_depends_on_its_own_seed_and_graph_alone(weights):
    pipe = SGDiffPipeline.from_pretrained(weights)
    alone = pipe(TEXT, num_inference_steps=3, seed=[7]).pixels
    among = pipe(
        [TEXT, "dog left of ball; night above snow; car"], num_inference_steps=3, seed=[7, 8]
    ).pixels
    torch.testing.assert_close(among[:1], alone, rtol=1e-3, atol=1e-3)
    edit = pipe.edit(TEXT, "replace sheep by dog", seed=7, num_inference_steps=3)
    torch.testing.assert_close(edit.before.pixels, alone, rtol=1e-3, atol=1e-3)


# --- what is written, and where

def odd_process(args, **environment):
    "A command in a process of its own, on an odd terminal."
    environment = (
        {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        | {"PYTHONPATH": str(ROOT)}
        | environment
    )
    return subprocess.Popen(
        [sys.executable, "-m", "sgdiff.cli", *map(str, args)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


QUICK = ("--n", "1", "--steps", "1")


def told(capsys):
    "The notes that were told, by the words that they are about."
    return re.findall(
        r"note: (.+) is drawn as (.+): these weights know no", capsys.readouterr().err
    )


def test_a_word_that_another_stands_in_for_is_told_once_and_kept_in_the_picture(
    weights, tmp_path, capsys
):
    out = tmp_path / "zebra.png"
    assert (
        run(
            "generate", "zebra on top of the meadow", "zebra; bus", "dog", *QUICK, "--seed", "7",
            "--out", str(out), weights=weights,
        )
        == 0
    )
    assert told(capsys) == [
        ("zebra", "sheep"),
        ("meadow", "grass"),
        ("'on top of'", "above"),
        ("bus", "car"),
    ]
    kept = Image.open(out).text
    assert (
        kept["graphs as written"] == "zebra on top of meadow\nzebra; bus\ndog"
        and kept["graphs as drawn"] == "sheep above grass\nsheep; car\ndog"
    )
    assert (
        "zebra -> sheep" in kept["substitutions"]
        and kept["seed"] == "7"
        and kept["steps"] == "1"
        and kept["guidance"] == "4.0"
    )
    assert kept["Software"].startswith("sgdiff ") and len(kept["weights"].split()[-1]) == 16
    assert (
        run(
            "edit", "zebra above grass", "--change", "replace zebra by bus", *QUICK, "--out",
            str(out), weights=weights,
        )
        == 0
    )
    assert told(capsys) == [("zebra", "sheep"), ("bus", "car")]
    assert (
        Image.open(out).text["graphs as drawn"] == "sheep above grass\ncar above grass"
        and Image.open(out).text["change"] == "replace zebra by bus"
    )
    assert (
        run("generate", "Sheep  ABOVE grass", *QUICK, "--out", str(out), weights=weights) == 0
        and told(capsys) == []
    )


def test_a_pipeline_warns_of_other_words(weights):
    pipe = SGDiffPipeline.from_pretrained(weights)
    with pytest.warns(
        UserWarning, match="zebra is drawn as sheep: these weights know no zebra"
    ) as given:
        out = pipe(["zebra above grass", "zebra"], num_inference_steps=1, seed=0)
    assert (
        len(given) == 1
        and [g.objects for g in out.written] == [("zebra", "grass"), ("zebra",)]
        and out.graphs[1].objects == ("sheep",)
    )


@pytest.mark.parametrize("name", ["a b.png", "#%20?.png", "D:/x.png", "http:/y.png", "x\ny.png", "羊/羊.png", "-x.png", "no suffix", "a.PNG", ".hidden"])
def test_a_path_is_a_path(name, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("generate", "sheep", *QUICK, f"--out={name}", weights=weights) == 0
    assert Image.open(name).format == "PNG" and f"wrote {name}" in capsys.readouterr().out


@pytest.mark.parametrize("args, said", [
    (["--guidance", "nan"], "'nan' is no number"), (["--relations", "inf"], "'inf' is no number"), (["--guidance", "1e30"], "is no number from"), (["--steps", "0"], "too small"),
    (["--n", "10000000"], "expected 1 to 100"), (["--best-of", "1000"], "too large"), (["--seed", "-1"], "too small"), (["--seed", "1.5"], "'1.5' is no whole number"),
    (["--seed", "9" * 20], "too large"), (["--out", "a.jpg"], "call it a.png"), (["--out", ""], "needs a name"),
    (["--out", "graph.json"], "call it graph.png"), (["--out", "a.pngg"], "call it a.png"),
    *((["--out", f"{scheme}://x/a.png"], "is an address, and no path") for scheme in ("http", "https", "s3", "file", "HTTPS"))])
def test_wrong_options_are_told_before_anything_is_loaded(args, said, capsys):
    assert run("generate", "sheep", *args, weights="nowhere") == 2
    assert said in capsys.readouterr().err


def test_out_is_written_to_and_through_and_never_replaced(weights, tmp_path, capsys):
    draw = lambda out: run("generate", "sheep", *QUICK, "--out", str(out), weights=weights)
    (tmp_path / "link.png").symlink_to(tmp_path / "new" / "target.png")
    assert (
        draw(tmp_path / "link.png") == 0
        and (tmp_path / "link.png").is_symlink()
        and Image.open(tmp_path / "new" / "target.png")
    )
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert draw(tmp_path / "pipe") == 0
        assert reader.communicate()[0].startswith(b"\x89PNG") and (tmp_path / "pipe").is_fifo()
    assert draw("/dev/null") == 0 and not os.path.isfile("/dev/null")
    for place, said in (
        (tmp_path, "it is a folder"),
        (f"{tmp_path}/newdir/", "it is a folder"),
        (tmp_path / "link.png" / "a.png", "is a file, and no folder"),
        ("/dev/full", "No space left"),
        ("/proc/a.png", "cannot write"),
    ):
        if str(place)[0:2] == "/d" and not os.path.exists(place): continue
        capsys.readouterr()
        assert draw(place) == 1 and said in capsys.readouterr().err, place


def test_many_graphs_go_on_pages_of_the_same_pictures(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sgdiff.app.picture_files.LONGEST_PAGE", 2)
    drawn, figure = [], sys.modules["sgdiff.method.pipeline"].pictures_figure
    monkeypatch.setattr(
        "sgdiff.method.pipeline.pictures_figure",
        lambda graphs, rows, *more: (
            drawn.extend(i for row in rows for i in row),
            figure(graphs, rows, *more),
        )[1],
    )
    texts = ["sheep", "dog", "tree", "car", "boat"]
    ask = lambda *more: run(
        "generate", *texts, "--n", "2", "--steps", "1", "--seed", "3", *more, weights=weights
    )
    assert (
        ask("--out", str(tmp_path / "a.png")) == 0
        and "5 graphs on 3 pages" in capsys.readouterr().out
    )
    assert (
        sorted(p.name for p in tmp_path.iterdir()) == ["a-2.png", "a-3.png", "a.png"]
        and Image.open(tmp_path / "a-3.png").text["graphs as drawn"] == "boat"
    )
    at_once = SGDiffPipeline.from_pretrained(weights)(
        texts, num_inference_steps=1, num_images_per_graph=2, seed=3
    ).images
    for one, other in zip(drawn, at_once, strict=True):
        assert max(abs(a - b) for a, b in zip(one.tobytes(), other.tobytes())) <= 2
    assert (
        ask("--out", "/dev/null") == 1
        and "/dev/null takes one picture" in capsys.readouterr().err
    )


def test_one_bad_graph_of_several_is_named_and_the_others_are_drawn_where_asked(
    weights, tmp_path, capsys
):
    (tmp_path / "g.json").write_text(
        json.dumps(
            [
                {"objects": ["sheep"]},
                {"objects": 5},
                7,
                {"objects": ["sky"], "relationships": [[0, "above", 9]]},
                {"objects": ["dog"]},
            ]
        )
    )
    ask = lambda *more: run(
        "generate", "unicorn", "--graph", str(tmp_path / "g.json"), *QUICK, "--out",
        str(tmp_path / "a.png"), *more, weights=weights,
    )
    assert ask() == 1 and not (tmp_path / "a.png").exists()
    capsys.readouterr()
    assert ask("--skip-bad") == 0
    assert re.findall(r"left out, graph (\d) of 6", capsys.readouterr().err) == ["1", "3", "4", "5"]
    assert Image.open(tmp_path / "a.png").text["graphs as drawn"] == "sheep\ndog"
    assert (
        run("generate", "unicorn", "griffin", "--skip-bad", weights=weights) == 1
        and "none of the graphs can be drawn" in capsys.readouterr().err
    )
    assert (
        run("generate", "unicorn", "dog", weights=weights) == 1
        and "--skip-bad draws the others" in capsys.readouterr().err
    )


# --- terminals

def test_any_terminal_can_show_what_is_said(weights, tmp_path):
    child = odd_process(
        ["generate", "sheep", *QUICK, "--weights", weights, "--out", tmp_path / "羊.png"],
        PYTHONIOENCODING="cp1252:strict",
        PYTHONUTF8="0",
    )
    out, err = child.communicate()
    assert (
        child.returncode == 0
        and b"\\u7f8a.png" in out
        and not err
        and (tmp_path / "羊.png").exists()
    )


def test_a_reader_who_goes_away_ends_a_command_quietly():
    child = odd_process(["--help"])
    child.stdout.close()
    assert child.wait() == 141 and child.stderr.read() == b""


def test_a_picture_through_standard_output_is_nothing_but_a_picture(weights):
    child = odd_process(["generate", "zebra", *QUICK, "--weights", weights, "--out", "/dev/stdout"])
    out, err = child.communicate()
    assert child.returncode == 0 and out.startswith(b"\x89PNG") and out.endswith(b"IEND\xaeB`\x82")
    assert b"wrote /dev/stdout" in err and b"zebra is drawn as sheep" in err


# --- weights of every kind

@pytest.fixture(scope="module")
def official_weights(tmp_path_factory):
    "Weights in the official form, random and small."
    from sgdiff.pretrained.first_stages import FirstStage, FirstStageConfig
    from sgdiff.method.generation import DiffusionConfig
    from sgdiff.pretrained.official import OfficialPipeline
    from sgdiff.graphs.vocab import Vocab
    torch.manual_seed(0)
    vocab = Vocab(("__image__", "sky", "grass", "zebra"), ("__in_image__", "above"))
    unet = UNet(
        UNetConfig.official(
            model_channels=32,
            channel_mult=(1,),
            num_res_blocks=1,
            attention_levels=(0,),
            local_dim=96,
            global_dim=32,
            context_dim=32,
            zero_init=False,
        )
    )
    stage = FirstStage(
        FirstStageConfig(channels=(32, 32), n_blocks=1, attention_levels=(1,), n_codes=32)
    )
    encoder = SceneGraphEncoder(SceneGraphEncoderConfig.official(5, 2, dim=32))
    path = tmp_path_factory.mktemp("official")
    OfficialPipeline(
        encoder, unet, stage, vocab,
        DiffusionConfig("sqrt_linear", 1000, "eps", drop_probability=0.0),
        16,
        max_things=30,
    ).save_pretrained(path)
    return path


def test_official_weights_draw_and_edit(official_weights, tmp_path, capsys):
    out = tmp_path / "a.png"
    assert (
        run(
            "generate", "zebra; sky above grass", "--n", "2", "--steps", "2", "--out", str(out),
            weights=official_weights,
        )
        == 0
    )
    assert {k: Image.open(out).text[k] for k in ("steps", "guidance", "relations", "sampler")} == {
        "steps": "2", "guidance": "1.0", "relations": "0.0", "sampler": "ddim",
    }
    assert (
        run(
            "edit", "sky above grass", "--change", "replace grass by zebra", "--n", "1", "--steps",
            "2", "--out", str(out), weights=official_weights,
        )
        == 0
    )
    assert capsys.readouterr().out.endswith("before: sky above grass\nafter: sky above zebra\n"), (
        "no judge has a word in this"
    )
    assert (
        run("evaluate", weights=official_weights) == 1
        and "nothing but the toy world" in capsys.readouterr().err
    )
    assert (
        run("generate", "sky", *QUICK, "--best-of", "2", weights=official_weights) == 1
        and "leave --best-of out" in capsys.readouterr().err
    )


def test_a_full_run_draws_and_edits(tmp_path, capsys):
    small = ["toy_scenes=16", "pretrain_batch=8", "diffusion_batch=8", "diffusion_images=16",
             "pretrain_epochs=1"]
    changes = [p for s in small for p in ("--set", s)]
    assert (
        main(["train", "--preset", "trial", "--out", str(tmp_path / "run"), "--quiet", *changes])
        == 0
    )
    draw = lambda: run(
        "generate", "zebra above grass", *QUICK, "--out", str(tmp_path / "a.png"),
        weights=tmp_path / "run",
    )
    assert draw() == 0 and told(capsys) == [("zebra", "sheep")]
    assert (
        run(
            "edit", "sky above grass", "--change", "add dog", *QUICK, "--out",
            str(tmp_path / "a.png"),
            weights=tmp_path / "run",
        )
        == 0
    )
    assert (
        run("evaluate", "--seeds", "2", weights=tmp_path / "run") == 1
        and "leave --seeds out" in capsys.readouterr().err
    )
    whole = json.loads((tmp_path / "run" / "run.json").read_text())
    for change, said in (
        ({"first_stage": "weights/none.ckpt"}, "start the command from the same folder"),
        ({"first_stage_fingerprint": "another"}, "another first stage"),
        ({"dim": "wide"}, "dim is 'wide'"),
    ):
        (tmp_path / "run" / "run.json").write_text(json.dumps(whole | change))
        assert draw() == 1 and said in capsys.readouterr().err
    (tmp_path / "run" / "run.json").write_text(json.dumps(whole))
    (tmp_path / "run" / "diffusion" / "unet.safetensors").unlink()
    assert draw() == 1 and "unet.safetensors is missing" in capsys.readouterr().err


def test_neither_the_graph_nor_a_strangers_page_is_drawn_over(
    weights, tmp_path, monkeypatch, capsys
):
    (tmp_path / "graph").write_text('{"objects": ["sheep"]}')
    (tmp_path / "link.png").symlink_to("graph")
    for out in ("graph", "link.png"):
        for command in (["generate"], ["edit", "--change", "add dog"]):
            assert (
                run(
                    *command, "--graph", str(tmp_path / "graph"), *QUICK, "--out",
                    str(tmp_path / out), weights=weights,
                )
                == 1
            )
            assert "is the file of --graph" in capsys.readouterr().err
    assert "sheep" in (tmp_path / "graph").read_text()
    monkeypatch.setattr("sgdiff.app.picture_files.LONGEST_PAGE", 1)
    draw = lambda: run(
        "generate", "sheep", "dog", *QUICK, "--out", str(tmp_path / "a.png"), weights=weights
    )
    assert draw() == draw() == 0                                    # its own pages, twice
    Image.new("RGB", (9, 9)).save(tmp_path / "a-2.png")
    strange = (tmp_path / "a-2.png").read_bytes()
    (tmp_path / "a.png").unlink()
    assert (
        draw() == 1
        and f"{tmp_path / 'a-2.png'} is there already, no picture of sgdiff"
        in capsys.readouterr().err
    )
    assert (tmp_path / "a-2.png").read_bytes() == strange and not (tmp_path / "a.png").exists()


def test_words_without_quotes_and_files_without_their_option_are_understood(
    weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for command in (["generate"], ["generate", "--skip-bad"], ["edit", "--change", "add dog"]):
        assert run(*command, "sheep", "left", "of", "tree", weights=weights) == 1
        said = capsys.readouterr().err
        assert (
            "4 graphs were given; did you mean one? Put it in quotes: 'sheep left of tree'" in said
            and "--skip-bad" not in said
        )
    (tmp_path / "graph.json").write_text("{}")
    assert (
        run("generate", "graph.json", weights=weights) == 1
        and "graph.json is a file: write --graph graph.json" in capsys.readouterr().err
    )
    assert not (tmp_path / "sgdiff.png").exists()


def test_what_an_edit_or_a_picture_leaves_out_is_told(weights, tmp_path, capsys):
    ask = lambda *args: run(*args, *QUICK, "--out", str(tmp_path / "a.png"), weights=weights)
    same = "note: the change leaves the drawn graph as it is"
    assert (
        ask("edit", "zebra above grass", "--change", "replace zebra by sheep") == 0
        and same in capsys.readouterr().err
    )
    assert (
        ask("edit", "sheep above grass", "--change", "replace sheep by dog") == 0
        and same not in capsys.readouterr().err
    )
    (tmp_path / "g.json").write_text('{"objects": ["sheep"], "boxes": [[0, 0, 0.5, 0.5]]}')
    assert (
        ask("generate", "--graph", str(tmp_path / "g.json")) == 0
        and "boxes are not drawn" in capsys.readouterr().err
    )
    assert run("generate", "sheep", "--steps", "5000", weights=weights) == 1
    said = capsys.readouterr().err
    assert "--steps is 5000" in said and "num_inference_steps" not in said


def refitted(weights, folder, name, change):
    "A copy of weights with one of its files changed."
    import shutil
    shutil.copytree(weights, folder, ignore=shutil.ignore_patterns("SHA256SUMS"))
    (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_text()))))
    return folder


@pytest.mark.parametrize("name, change, said", [
    ("vocab.json", lambda d: d | {"objects": [*d["objects"], "unicorn"]}, r"vocab.json has (\d+) "
                                                                          r"objects, the graph "
                                                                          r"encoder \d+: they are "
                                                                          r"not of the same weights"),
    ("vocab.json", lambda d: d | {"predicates": [*d["predicates"], "eats"]}, "predicates, the "
                                                                             "graph encoder"),
    *(("model_index.json", lambda d, size=size: d | {"image_size": size}, f"image_size is {size}: "
                                                                          ".* a multiple of 4 "
                                                                          "pixels, of at least 4") for size in (33, 1)),
])
def test_words_and_sizes_must_fit_the_weights(name, change, said, weights, tmp_path):
    with pytest.raises(SGDiffError, match=said):
        SGDiffPipeline.from_pretrained(refitted(weights, tmp_path / "w", name, change))


def test_official_weights_must_fit_too(official_weights, tmp_path):
    from sgdiff.pretrained.official import OfficialPipeline
    two_more = refitted(
        official_weights,
        tmp_path / "w",
        "vocab.json",
        lambda d: d | {"objects": [*d["objects"], "lion", "bear"]},
    )
    with pytest.raises(SGDiffError, match="6 objects, the graph encoder 5"):
        OfficialPipeline.from_pretrained(two_more)


def test_weights_are_named_by_their_folder(weights, tmp_path, monkeypatch, capsys):
    ask = lambda name: run(
        "generate", "sheep", *QUICK, "--out", str(tmp_path / "a.png"), "--weights", str(name)
    )
    assert ask("") == 1 and "--weights is empty: name a folder" in capsys.readouterr().err
    for part in ("unet", "model_index.json", "unet/model.safetensors"):
        assert (
            ask(weights / part) == 1
            and f"name the folder above, --weights {weights}" in capsys.readouterr().err
        )
    (tmp_path / "file").touch()
    for file in (tmp_path / "file", os.devnull):
        assert ask(file) == 1
        assert f"{file} is a file: --weights names a folder" in capsys.readouterr().err
    monkeypatch.chdir(weights)
    assert (
        ask(".") == 0
        and Image.open(tmp_path / "a.png").text["weights"].split()[0] == weights.name
    )


@pytest.mark.parametrize("text, said", [("{}", "'data' is missing"), ("[]", "got a list"), ('{"data"', "broken JSON"), ('{"lr": 1}', "'data' is missing")])
def test_a_foreign_run_json_is_no_run(text, said, weights, tmp_path, capsys):
    import shutil
    ask = lambda folder: run(
        "generate", "sheep", *QUICK, "--out", str(tmp_path / "a.png"), weights=folder
    )
    (tmp_path / "run.json").write_text(text)
    assert ask(tmp_path) == 1
    message = capsys.readouterr().err
    assert said in message and "run.json" in message and "train it first" not in message
    shutil.copytree(weights, tmp_path / "both")
    (tmp_path / "both" / "run.json").write_text(text)
    assert ask(tmp_path / "both") == 0


def test_the_demo_is_of_the_toy_world_alone(official_weights, tmp_path, capsys):
    assert run("demo", "--out", str(tmp_path), weights=official_weights) == 1
    assert "these weights know others: use generate" in capsys.readouterr().err
    assert (
        run(
            "generate", "sky", *QUICK, "--guidance", "3", "--out", str(tmp_path / "a.png"),
            weights=official_weights,
        )
        == 1
    )
    assert "--guidance is 3.0: the official weights" in capsys.readouterr().err


def test_a_toy_run_is_found_by_its_folder(weights, tmp_path, capsys):
    import shutil
    (tmp_path / "preset.json").write_text("{}")
    draw = lambda: run(
        "generate", "sheep", *QUICK, "--out", str(tmp_path / "a.png"), weights=tmp_path
    )
    assert draw() == 1 and "no weights yet" in capsys.readouterr().err
    shutil.copytree(weights, tmp_path / "weights")
    assert draw() == 0


def test_missing_weights_say_what_to_do(monkeypatch, capsys):
    monkeypatch.delenv("SGDIFF_WEIGHTS", raising=False)
    monkeypatch.setattr("sgdiff.__file__", "/nowhere/site/sgdiff/__init__.py")
    for command in (
        ["generate", "sheep"],
        ["edit", "sheep", "--change", "add dog"],
        ["demo"],
        ["evaluate"],
    ):
        assert run(*command) == 1
        message = capsys.readouterr().err
        assert (
            "run `pip install .` (or `pip install -e .`) there" in message
            and "SGDIFF_WEIGHTS=FOLDER" in message
            and "--weights FOLDER" in message
        )
    monkeypatch.setenv("SGDIFF_WEIGHTS", "/nowhere/at/all")
    assert run("generate", "sheep") == 1 and "which SGDIFF_WEIGHTS names" in capsys.readouterr().err


def test_what_evaluate_needs_is_looked_at_first(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sgdiff.toy.report.evaluate_weights",
        lambda *args, **more: pytest.fail("it began to measure"),
    )
    assert (
        run("evaluate", "--out", str(tmp_path)) == 1
        and "it is a folder" in capsys.readouterr().err
    )
    assert (
        run("evaluate", weights=weights) == 1
        and "has no folder `judge`" in capsys.readouterr().err
    )


def test_inception_that_cannot_be_had_is_told_in_words_of_the_command_line(monkeypatch, tmp_path):
    pytest.importorskip(
        "torch_fidelity", reason="Inception needs torch-fidelity: pip install 'sgdiff[eval]'"
    )
    from sgdiff.full.commands import check_inception

    def offline(*args, **more): raise OSError("no network")
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    with pytest.raises(SGDiffError, match=r"no network.*--features judge"): check_inception()


def test_a_full_run_is_told_that_it_goes_on_with_resume(tmp_path, monkeypatch, capsys):
    import sgdiff.training.fit as training
    save = training._save

    def pressed(run):
        save(run)
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(training, "_save", pressed)
    asked = [
        "train", "--data", "toy", "--preset", "trial", "--stage", "pretrain", "--set",
        "toy_scenes=16", "--set", "pretrain_epochs=1", "--out", str(tmp_path), "--quiet",
    ]
    assert main(asked) == 130
    told = f"saved in {tmp_path / 'pretrain'}; run the same with --resume to go on"
    assert told in capsys.readouterr().err


def test_help_imports_no_torch():
    code = "import sys; from sgdiff.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "generate" in done.stdout, done.stderr


# --- training

def train(out, stage="vae,pretrain"):
    return [
        sys.executable, "-m", "sgdiff.cli", "train", "--preset", "tiny", "--set", "n_scenes=64",
        "--stage", stage, "--out", str(out), "--quiet",
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
import accelerate, torch, torch._dynamo
from sgdiff.cli import main
from sgdiff.toy.recipes import PRESETS      # all of it once for all the children

save = torch.save

def train(out, stage=None):
    "The status of a process of its own; it is killed with the last checkpoint of `stage` half written."
    def saved(state, file):
        at = Path(file.name).parent.name
        if at == stage and state["step"] == 4:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, file)
        with open(out / "saved.txt", "a") as told: told.write(f"{at} {state['step']}\\n")
    if child := os.fork(): return os.waitpid(child, 0)[1]
    torch.save = saved
    os._exit(main(["train", "--preset", "tiny", "--set", "n_scenes=64", "--out", str(out), "--quiet"]))

out, stages = Path(sys.argv[1]), PRESETS["tiny"].stages
assert train(out / "whole") == 0
for stage in stages:
    assert train(out / "cut", stage) == signal.SIGKILL, stage
    assert torch.load(out / "cut" / stage / "checkpoint.pt")["step"] == 2 and not (out / "cut" / stage / "model.safetensors").exists(), stage
assert train(out / "cut") == 0
for run in ("whole", "cut"):            # each checkpoint was made once: a killed run went on from its first, not anew
    assert (out / run / "saved.txt").read_text().split("\\n")[:-1] == [f"{stage} {step}" for stage in stages for step in (2, 4)], run
"""


def test_killed_in_the_middle_of_every_stage_training_ends_with_the_same_weights(tmp_path):
    """SIGKILL, as a power cut: no handler runs. The children are forks of one process, which alone
    waits for PyTorch to be imported."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    whole = sorted((tmp_path / "whole").rglob("*.safetensors"))
    assert len(whole) == 13
    for file in whole:
        assert (
            file.read_bytes()
            == (tmp_path / "cut" / file.relative_to(tmp_path / "whole")).read_bytes()
        ), f"{file}: the weights differ"


def test_ctrl_c_in_the_middle_keeps_the_run(tmp_path):
    child = subprocess.Popen(
        train(tmp_path / "run"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore it, and hand that down
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while child.poll() is None and not (tmp_path / "run" / "vae" / "checkpoint.pt").exists():
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, message = child.communicate(timeout=120)
    assert (
        child.returncode == 130
        and message.startswith("sgdiff: interrupted")
        and "Traceback" not in message
    ), message
    assert subprocess.run(train(tmp_path / "run"), cwd=ROOT, capture_output=True).returncode == 0


def test_ctrl_c_in_training_says_where_to_go_on(tmp_path, monkeypatch, capsys):
    import sgdiff.training.fit as training
    save = training._save
    command = ["train", "--preset", "tiny", "--stage", "vae", "--out", str(tmp_path), "--quiet"]

    def pressed(run):
        save(run)
        if run.step == 2: signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(training, "_save", pressed)
    assert main(command) == 130
    assert (
        "after step 3 of 4" in (message := capsys.readouterr().err)
        and f"saved in {tmp_path / 'vae'}; run the same again to go on" in message
    )
    assert main(command) == 0


@pytest.mark.parametrize("command", [["train", "--preset", "tiny"], ["train", "--data", "vg"], ["generate", TEXT]])
def test_ctrl_c_anywhere_else_ends_in_130_too(command, monkeypatch, capsys):
    def pressed(*args, **settings): raise KeyboardInterrupt
    for place in ("toy.recipes.train_all", "full.commands.train_run", "cli.load_pipeline"):
        monkeypatch.setattr(f"sgdiff.{place}", pressed)
    assert main(command) == 130 and capsys.readouterr().err == "sgdiff: interrupted\n"


@pytest.mark.parametrize("step", [2, 4])
def test_ctrl_c_is_heard_at_every_step_the_last_included(tmp_path, step):
    import sgdiff.training.fit as training
    from torch import nn
    model, config = nn.Linear(1, 1), training.FitConfig(4, 1e-2, 1)
    loss_fn = lambda model, step: (model.weight.square().sum(), {})

    def pressed(model, at):
        if at == step - 1: signal.raise_signal(signal.SIGINT)
        return loss_fn(model, at)
    with pytest.raises(training.Interrupted, match=f"after step {step} of 4"):
        training.fit(model, pressed, config, tmp_path)
    assert training.fit(model, loss_fn, config, tmp_path).finished


def test_ctrl_c_is_heard_after_the_last_checkpoint_too(tmp_path, monkeypatch):
    import sgdiff.training.fit as training
    from torch import nn
    save, model = training._save, nn.Linear(1, 1)

    def pressed(run):
        save(run)
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(training, "_save", pressed)
    with pytest.raises(training.Interrupted, match="after step 2 of 2"):
        training.fit(
            model,
            lambda model, step: (model.weight.square().sum(), {}),
            training.FitConfig(2, 1e-2, 1),
            tmp_path,
        )


def test_a_full_disk_is_told_and_harms_nothing(tmp_path, monkeypatch, capsys):
    import sgdiff.training.fit as training
    assert (
        main(
            [
                "train", "--preset", "tiny", "--stage", "vae", "--out", str(tmp_path / "run"),
                "--quiet",
            ]
        )
        == 0
    )
    before = (tmp_path / "run" / "vae" / "model.safetensors").read_bytes()

    def full(*args, **kwargs): raise OSError(28, "No space left on device")
    monkeypatch.setattr(training.torch, "save", full)
    assert (
        main(
            [
                "train", "--preset", "tiny", "--stage", "pretrain", "--out", str(tmp_path / "run"),
                "--quiet",
            ]
        )
        == 1
    )
    message = capsys.readouterr().err.lower()
    assert "space" in message and "traceback" not in message
    assert (tmp_path / "run" / "vae" / "model.safetensors").read_bytes() == before
    monkeypatch.undo()
    assert (
        main(
            [
                "train", "--preset", "tiny", "--stage", "pretrain", "--out", str(tmp_path / "run"),
                "--quiet",
            ]
        )
        == 0
    )


def test_another_preset_in_the_same_folder_is_refused(tmp_path, capsys):
    assert (
        main(["train", "--preset", "tiny", "--stage", "vae", "--out", str(tmp_path), "--quiet"])
        == 0
    )
    assert (
        main(
            [
                "train", "--preset", "tiny", "--seed", "3", "--stage", "vae", "--out",
                str(tmp_path), "--quiet",
            ]
        )
        == 1
    )
    assert "other settings" in capsys.readouterr().err


def test_a_stage_needs_the_ones_before_it(tmp_path, capsys):
    assert (
        main(
            ["train", "--preset", "tiny", "--stage", "diffusion", "--out", str(tmp_path), "--quiet"]
        )
        == 1
    )
    assert "'vae' is not done" in capsys.readouterr().err
