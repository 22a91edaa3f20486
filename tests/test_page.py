"""The page that draws in the browser: its scripts against Python, in Node.js; then the page itself in Chromium, as a reader uses
it. Skipped where ONNX, Node.js or npm is missing; screenshots go to out/browser/ (not in git)."""
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import site_live
from contrast import FAINT
from run_notebooks import ROOT
from sgdiff.app import page as pages
from sgdiff.app.model import SERIES, EditorModel, board
from sgdiff.app.onnx_graphs import ReaderMaps, encoder_part, short_weights, steps_of, write_part
from sgdiff.cli import main
from sgdiff.core import rounded
from sgdiff.errors import SGDiffError, default_weights, save_json
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.drawing import place_objects
from sgdiff.graphs.text import graph_from_text
from sgdiff.graphs.vocab import closest_words
from sgdiff.method.diffusion import levels, predict_x0, q_sample
from sgdiff.method.masked import masked_loss
from sgdiff.method.noise import initial_noise
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.method.samplers import SAMPLERS, sampling_timesteps
from sgdiff.method.unet import layer_attention, record_attention, triple_attention
from sgdiff.toy import sprites
from sgdiff.toy.judge import judge_beside
from sgdiff.toy.marks import marks
from sgdiff.toy.park import PARK, scene_relations, thin_graph
from sgdiff.toy.reader import HEADS, Reader, make_targets, pixels_of, reader_beside
from sgdiff.toy.recipes import PRESETS, build, load_pretraining, pipeline_of
from sgdiff.toy.world import SKIES
from small_browser import FLAGS, chromium, needs_chromium, served

for needed in ("onnx", "onnxscript"):
    pytest.importorskip(needed, reason=f"no {needed}: pip install 'sgdiff[web]'")
NODE = shutil.which("node")
if NODE is None or shutil.which("npm") is None:
    pytest.skip("no Node.js with npm", allow_module_level=True)

SHEEP = "sheep looking at tree; sheep left of tree; sky above grass"


@pytest.fixture(scope="session")
def pipe():
    return SGDiffPipeline.from_pretrained(default_weights())


@pytest.fixture(scope="session")
def judge():
    "What looks at the pictures of the shipped weights: a judge or a reader."
    return judge_beside(default_weights()) or reader_beside(default_weights())


def called(thing):
    "How the page names a thing that it reads."
    return " ".join(filter(None, (sprites.SIZES[thing.size], thing.color, thing.category)))


def looked(judge, out):
    "Of each picture of one graph: a verdict on each relation, and what is seen, sorted."
    graph = out.graphs[0]
    if not isinstance(judge, Reader):
        return (judge.answer(out.pixels, [graph.named_triples()] * len(out.pixels)),
                [sorted(words) for words in judge.objects(out.pixels)])
    readings = judge.read(out.pixels)
    met = [marks(graph, reading).relations for reading in readings]
    return ([[of.get(row) for row in range(len(graph.triples))] for of in met],
            [sorted(map(called, reading.things)) for reading in readings])


@pytest.fixture(scope="session")
def runtime():
    "The folder of onnxruntime-web, fetched once into the cache that the site's builder uses."
    try:
        return pages.fetch_runtime(ROOT / "build" / "npm")
    except SGDiffError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def folder(tmp_path_factory, runtime):
    "The page, as the command writes it."
    out = tmp_path_factory.mktemp("page") / "draw"
    assert main(["export", "web", "--out", str(out), "--runtime", str(runtime)]) == 0
    return out


@pytest.fixture(scope="session")
def taught(folder, tmp_path_factory):
    "The page as the site has it, with what pre-training taught with."
    out = tmp_path_factory.mktemp("taught") / "draw"
    shutil.copytree(folder, out)
    pages.add_pretraining(load_pretraining(default_weights()), out)
    return out


@pytest.fixture(scope="session")
def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def ask_node(folder, *requests):
    "The answers of the scripts that lie in a folder."
    done = subprocess.run(
        [NODE, ROOT / "tests" / "page_node.mjs", folder],
        input=json.dumps(requests), capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def node(folder):
    "node(requests) -> answers of the page's scripts."
    return lambda *requests, folder=folder: ask_node(folder, *requests)


@pytest.fixture(scope="session")
def park():
    "A pipeline of the park, small and untrained."
    p = replace(PRESETS["park"], dim=16, model_channels=32, vae_channels=(8, 8, 8), latent_channels=4)
    return pipeline_of(p, build("pretrain", p).graph_encoder, build("diffusion", p), build("vae", p))


@pytest.fixture(scope="session")
def park_node(park, tmp_path_factory):
    "park_node(requests) -> answers of the scripts with the words of the park, without networks."
    out = tmp_path_factory.mktemp("park")
    (out / "model").mkdir()
    for script in (pages.STATIC / "page").glob("*.js"): shutil.copy(script, out)
    pages.write_sprites(out / "model" / "sprites.gz")
    save_json(pages.page_manifest(park, Reader()) | dict(files={}), out / "manifest.json")
    return lambda *requests: ask_node(out, *requests)


# --- the folder

def test_the_folder_holds_what_the_manifest_says_and_is_small_enough(folder, manifest):
    sizes = {name: (folder / name).stat().st_size for name in manifest["files"]}
    assert {name: told["bytes"] for name, told in manifest["files"].items()} == sizes
    model = sum(size for name, size in sizes.items() if name.startswith("model/"))
    card = {name: (folder / name).stat().st_size for name in manifest["card"]}
    runtime = sum(p.stat().st_size for p in (folder / "runtime").iterdir())
    assert {name: told["bytes"] for name, told in manifest["card"].items()} == card
    assert model < 12e6
    assert runtime - sum(card.values()) < 6e6 and runtime - sizes[pages.CODE] < 6e6  # nobody fetches the code of both builds


def test_what_cannot_be_written_is_refused_in_words(tmp_path, runtime, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["export", "web", "--out", str(tmp_path)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    broken = tmp_path / "runtime"
    shutil.copytree(runtime, broken)
    (broken / "ort.wasm.min.mjs").write_text("half")
    with pytest.raises(SGDiffError, match="missing, or another file: ort.wasm.min.mjs"):
        pages.check_runtime(broken)


def encoder_inputs(pipe, text):
    "What the exported encoder is given for a text, as the page gives it."
    batch = SceneGraphBatch.from_graphs([pipe.read(text)], pipe.vocab)
    said = torch.zeros(len(batch.objects), pipe.vocab.n_attributes)
    said[tuple(batch.attributes.T)] = 1
    return {"objects": batch.objects.numpy(), "triples": batch.triples.numpy(), "said": said.numpy()}


def test_attributes_and_numbers_are_read_by_the_exported_encoder(park, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = onnxruntime.InferenceSession(str(write_part(tmp_path / "e.onnx", *encoder_part(park))))
    for text in ("two sheep; small red ball left of house", "dog", "four small balls; large ball; sky"):
        tokens, = run.run(["tokens"], encoder_inputs(park, text))
        wanted, _ = park.context([park.read(text)])
        assert np.allclose(tokens[:-1], wanted[0].numpy(), atol=1e-3), text


def one_weight(values):
    "A file of ONNX that says one matrix."
    from onnx import TensorProto, helper, numpy_helper
    return helper.make_model(helper.make_graph(
        [helper.make_node("Identity", ["w"], ["out"])], "one", [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, values.shape)],
        [numpy_helper.from_array(values, "w")]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("turned", [False, True])
def test_rounded_weights_travel_in_eight_bits_and_lose_nothing(turned):
    "A step of its own for each row, or, where the exporter has turned the matrix, for each column."
    onnxruntime = pytest.importorskip("onnxruntime")
    layer = torch.nn.Linear(96, 64)
    layer.weight.data *= torch.logspace(-5, 2, 64)[:, None]
    layer.weight.data[3] = 0
    sizes = {}
    for bits, weight in ((16, layer.weight.data.half().float()), (8, rounded(layer).weight.data)):
        values = np.ascontiguousarray(weight.numpy().T if turned else weight.numpy())
        short = short_weights(one_weight(values)).SerializeToString()
        assert np.array_equal(onnxruntime.InferenceSession(short).run(None, {})[0], values)
        sizes[bits] = len(short)
    assert sizes[8] < 0.6 * sizes[16]
    assert ((rounded(layer).weight - layer.weight).abs().amax(1) <= 9 / 8 * layer.weight.abs().amax(1) / 254 + 2**-25).all()


def test_a_matrix_on_no_grid_stays_in_sixteen_bits():
    values = torch.randn(32, 32).half().float().numpy()
    assert {w.data_type for w in short_weights(one_weight(values)).graph.initializer} == {10}       # FLOAT16
    assert (np.abs(values / steps_of(values)) > 127).any()


def test_the_second_visit_has_every_file(folder, manifest):
    "sw.js names what it keeps; what it leaves out is the networks and the runtimes, which worker.js keeps."
    named = re.search(r"PARTS = \[(.*?)\]", (folder / "sw.js").read_text(encoding="utf-8"), re.S)[1]
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if not p.name.startswith(".")}
    kept = set(json.loads(f"[{named}]")) - {"."}
    assert kept == files - {*manifest["files"], *manifest["card"], "sw.js"}


def test_the_scripts_know_no_word_of_these_weights(pipe):
    words = [w for w in pipe.vocab.objects if len(w) > 3 and not w.startswith("__")]
    for script in (pages.STATIC / "page").glob("*.js"):
        code = re.sub(r"//.*", "", script.read_text(encoding="utf-8"))
        assert [w for w in words if re.search(rf"\b{w}\b", code)] == [], script.name


# --- the scripts, in Node.js

def test_noise_is_pythons(node):
    n = 512
    seeds = [0, 1, 7, 2**31, 2**32, 2**63 - 1]
    found = node(*[dict(what="noise", n=n, seed=str(s)) for s in seeds],
                 *[dict(what="normal", n=k, seed=5) for k in (16, 17, 53, 700)])
    for seed, numbers in zip(seeds, found):
        assert torch.allclose(torch.tensor(numbers), initial_noise((n,), [seed])[0], atol=1e-6)
    for k, numbers in zip((16, 17, 53, 700), found[len(seeds):]):
        wanted = torch.randn(k, generator=torch.Generator().manual_seed(5))
        assert torch.allclose(torch.tensor(numbers), wanted, atol=1e-6), k


def test_timesteps_are_pythons(node, pipe):
    counts = [1, 2, 3, 7, 16, 30, 50, 999]
    found = node(*[dict(what="timesteps", n=n) for n in counts])
    assert found == [sampling_timesteps(pipe.schedule, n) for n in counts]


GRAPHS = [SHEEP, "dog", "house; boat; sky", "person holding kite; person left of kite; sky above sand",
          "bird inside tree", "sheep; sheep#2; sheep left of sheep#2; night above snow"]


@pytest.mark.parametrize("text", GRAPHS)
def test_the_page_draws_what_python_draws(node, pipe, judge, text):
    "The same noise, latents, picture, attention and verdicts; other settings than the usual ones too."
    seeds, usual = [3, 4], {}
    other = dict(steps=5, guidance=2.0, relations=0.0)
    for settings in (usual, other):
        found, = node(dict(what="draw", text=text, seeds=seeds, **settings))
        named = dict(num_inference_steps=settings.get("steps", 16), relation_scale=settings.get("relations", 1.0),
                     guidance_scale=settings.get("guidance"))
        total, each = 0, []  # over the steps; of the first picture, step by step and layer by layer
        with record_attention(pipe.unet) as maps:
            def look(step, latents, each=each):
                nonlocal total
                total = total + triple_attention(maps, pipe.image_size)[-len(seeds):]
                each.append(torch.stack([layer_attention(p, pipe.image_size)[-len(seeds)] for p in maps.values()]))
            out = pipe(text, seed=seeds, num_images_per_graph=len(seeds), callback=look, **named)
        assert torch.allclose(torch.tensor(found["latents"]), out.latents.flatten(), atol=1e-3)
        apart = (torch.tensor(found["pixels"]) - out.pixels.flatten()).abs()
        assert (apart <= 2 * 2 / 255).float().mean() >= 0.99
        attention = total.flatten() / named["num_inference_steps"]
        assert torch.allclose(torch.tensor(found["attention"]), attention, atol=1e-3)
        assert torch.allclose(torch.tensor(found["maps"]), torch.stack(each).flatten(1), atol=1e-3)
        verdicts, sees = looked(judge, out)
        assert [f["verdicts"] for f in found["found"]] == verdicts
        assert [sorted(f["sees"]) for f in found["found"]] == sees


def test_verdicts_are_pythons_on_twenty_graphs(node, pipe, judge):
    texts = pages.random_texts(pipe, 20)
    found = node(*[dict(what="draw", text=text, seeds=[i], steps=8) for i, text in enumerate(texts)])
    for i, (text, drawn) in enumerate(zip(texts, found)):
        out = pipe(text, seed=i, num_inference_steps=8)
        assert [drawn["found"][0]["verdicts"]] == looked(judge, out)[0]


def test_hidden_tokens_are_read_by_nobody_as_in_python(node, pipe, monkeypatch):
    graph, hidden, real = pipe.read(SHEEP), [0, 3], pipe.context
    shown, found = node(*[dict(what="draw", text=SHEEP, seeds=[3], **more) for more in ({"hidden": []}, {"hidden": hidden})])
    shape = len(graph.triples) + len(graph.objects) + 1, pipe.image_size, pipe.image_size
    before, after = (torch.tensor(f["attention"]).view(shape) for f in (shown, found))
    assert (after[hidden] == 0).all() and (before[hidden] > 0).any()
    torch.testing.assert_close(after.sum(0), torch.ones(shape[1:]), atol=1e-4, rtol=0)

    def hiding(graphs):
        context, mask = real(graphs)
        mask[0, hidden] = False  # the first row is the graph, the second its objects alone
        return context, mask
    monkeypatch.setattr(pipe, "context", hiding)
    assert torch.allclose(torch.tensor(found["latents"]), pipe(SHEEP, seed=3).latents.flatten(), atol=1e-3)


def test_guidance_one_is_the_walk_without_guidance_and_a_seed_repeats(node, pipe):
    plain, again, two = node(*[dict(what="draw", text="sheep left of tree", seeds=[1], steps=6, relations=0, guidance=g) for g in (1, 1, 2)])
    assert plain == again and plain["pixels"] != two["pixels"]
    context, mask = pipe.context([pipe.read("sheep left of tree")])
    with torch.no_grad():
        z = SAMPLERS["dpm"](lambda x, t: pipe.unet(x, t, context, mask), initial_noise(pipe.latent_shape, [1]), pipe.schedule, 6, None, None,
                            pipe.diffusion.prediction)
    assert torch.allclose(torch.tensor(plain["latents"]), z.flatten(), atol=1e-3)


@pytest.mark.parametrize("t", [0, 504, 999])
def test_noise_is_added_and_taken_for_latents_as_in_python(node, pipe, t):
    x0, at = pipe("dog", seed=0, num_inference_steps=4).latents, torch.tensor([t])
    found, = node(dict(what="noised", text="dog", latents=x0.flatten().tolist(), seed="5", t=t))
    x = q_sample(pipe.schedule, x0, at, initial_noise(pipe.latent_shape, [5]))
    with torch.no_grad():
        answer = pipe.unet(x, at, pipe.unet.null_context.view(1, 1, -1), torch.ones(1, 1, dtype=torch.bool))
        guess = predict_x0(pipe.schedule, x, at, answer, pipe.diffusion.prediction)
        pixels = pipe.vae.from_latents(torch.cat([x, guess])).clamp(-1, 1)
    assert found["levels"] == pytest.approx(levels(pipe.schedule, t), abs=1e-6)
    assert ((torch.tensor(found["pixels"]) - pixels.flatten()).abs() <= 2 * 2 / 255).float().mean() >= 0.99


def test_a_picture_fits_graphs_as_in_python(node, pipe, taught):
    "The flip test: the cosine with its own graph is larger than with a graph that has a word turned."
    texts, model = site_live.FIGURES["method/05_contrastive"].graphs, load_pretraining(default_weights())
    out = pipe(texts[0], seed=0)
    with torch.no_grad():
        graphs = model.graph_encoder(SceneGraphBatch.from_graphs([pipe.read(text) for text in texts], pipe.vocab)).global_
        wanted = torch.cosine_similarity(model.image_encoder(out.pixels)[1], graphs)
    found, = node(dict(what="fits", texts=texts, latents=out.latents.flatten().tolist()), folder=taught)
    assert found == pytest.approx(wanted.tolist(), abs=2e-3)
    assert min(found[:2]) > max(found[2:])


def test_a_hole_is_drawn_again_as_in_python(node, pipe, taught):
    figure, model = site_live.FIGURES["method/06_masked"], load_pretraining(default_weights())
    out, (left, top, size) = pipe(figure.graphs[0], seed=0), figure.more["hole"]
    hidden = torch.zeros(1, 1, pipe.image_size, pipe.image_size, dtype=torch.bool)
    hidden[:, :, top:top + size, left:left + size] = True
    latents = out.latents.flatten().tolist()
    found = node(*[dict(what="redrawn", text=text, latents=latents, hole=figure.more["hole"]) for text in figure.graphs], folder=taught)
    for text, there in zip(figure.graphs, found, strict=True):
        with torch.no_grad():
            drawn = model.reconstruct(out.pixels, hidden, model.graph_encoder(SceneGraphBatch.from_graphs([pipe.read(text)], pipe.vocab)))
        wanted = torch.cat([out.pixels * ~hidden, drawn])
        assert ((torch.tensor(there["pixels"]) - wanted.flatten()).abs() <= 2 * 2 / 255).float().mean() >= 0.99
        assert there["loss"] == pytest.approx(masked_loss(drawn, out.pixels, hidden).item(), abs=2e-3)
    assert found[0]["loss"] == min(there["loss"] for there in found)


def test_a_newer_wish_stops_the_drawing(node):
    assert node(dict(what="cancelled", text="dog", after=3)) == [dict(drawn=None, steps=3)]


# --- who draws: the processor or the graphics card

def wish(k):
    return "page", dict(draw=dict(id=k))


def answer(who, k, seconds=1.0, off=0, wrong=0):
    "The last message of a drawing: one picture of 100 pixels, of which some are off by a number."
    picture = [off if i < 4 * wrong and i % 4 < 3 else 0 for i in range(400)]
    return who, dict(id=k, seconds=seconds, drawn=[picture], last=True)


READY = "processor", dict(ready=True, card=True)
TWO = [wish(1), READY, answer("processor", 1), wish(2), answer("processor", 2)]  # pictures, by the processor
TRIAL = [*TWO, ("time", 10), ("card", dict(ready=True, card=True)), answer("card", 2, 9.0)]
TAKEN = [*TRIAL, answer("card", 2, 0.5)]


def happened(node, *events):
    found, = node(dict(what="takeover", events=events))
    return [tuple(entry) for entry in found["log"]], found["onCard"]


def test_the_card_takes_over_if_it_draws_the_same_and_sooner(node):
    log, on_card = happened(node, *TAKEN, wish(3), answer("card", 3))
    assert on_card and log[-4:] == [("card", 2), ("ended", "processor"), ("card", 3), ("told", 3)]
    assert log.count(("told", 2)) == 1, "nobody hears of the trial"
    log, on_card = happened(node, *TRIAL[:-1], answer("card", 2, 9.0, off=2, wrong=100), answer("card", 2, 0.5, off=255, wrong=1))
    assert on_card, "within 2 of 255 on 99 of 100 pixels is the same"


FAILS = [("card", dict(failed="lost", id=None)), ("card", dict(error="broken")), ("time", 100)]


@pytest.mark.parametrize("last", [
    *[(*TWO, ("time", 10), fails) for fails in FAILS], *[(*TRIAL, fails) for fails in FAILS],
    (*TRIAL[:-1], answer("card", 2, 0.1, off=3, wrong=2)), (*TRIAL, answer("card", 2, 0.1, off=3, wrong=2)), (*TRIAL, answer("card", 2, 1.0))])
def test_a_card_that_fails_is_wrong_or_slower_is_not_asked_again(node, last):
    log, on_card = happened(node, *last, ("time", 1000), wish(3), answer("processor", 3), ("time", 1000))
    assert not on_card and log[-4:] == [("card", 2), ("ended", "card"), ("processor", 3), ("told", 3)]
    assert log.count(("made", "card")) == 1 and ("ended", "processor") not in log


@pytest.mark.parametrize("fails", [*FAILS, ("card", dict(failed="lost", id=3))])
def test_if_the_card_fails_later_the_processor_draws_the_same_wish(node, fails):
    log, on_card = happened(node, *TAKEN, wish(3), ("time", 99), ("card", dict(step=1, id=3)), ("time", 99), fails,
                            READY, answer("processor", 3), ("time", 1000))
    assert not on_card and log[-6:] == [("told", 3), ("ended", "card"), ("made", "processor"), ("processor", 3), ("told", "ready"), ("told", 3)]


def test_nobody_waits_for_a_trial(node):
    log, on_card = happened(node, *TRIAL, wish(3), answer("card", 2, 0.1), ("time", 1000), answer("processor", 3), ("time", 9), wish(4), ("time", 1000))
    assert not on_card and log[-4:] == [("card", "cancel"), ("processor", 3), ("told", 3), ("processor", 4)]
    log, on_card = happened(node, *TRIAL, wish(3), answer("processor", 3), ("time", 10), answer("card", 3, 9.0), answer("card", 3, 0.5))
    assert on_card and log.count(("made", "card")) == 1, "the next picture is the next trial"


def test_no_card_no_trial_and_one_picture_needs_none(node):
    for events in ([wish(1), ("processor", dict(ready=True, card=False)), *TWO[2:]], TWO[:3]):
        log, _ = happened(node, *events, ("time", 1000))
        assert ("made", "card") not in log
    log, _ = happened(node, *TWO[:4], answer("processor", 1), ("time", 1000))
    assert ("made", "card") not in log, "the answer to an older wish ends no newer one"
    log, _ = happened(node, ("processor", dict(error="no modules")))
    assert log == [("made", "processor"), ("error", "no modules")]


def test_the_card_is_silent_only_while_it_is_asked(node):
    log, on_card = happened(node, *TAKEN, ("time", 1000), wish(3), answer("card", 3), ("time", 1000), ("page", dict(cancel=True)), ("time", 1000))
    assert on_card and ("ended", "card") not in log


TEXTS = [
    *GRAPHS, *[t for series in SERIES.values() for t in series], "a Zebra standing on the meadow",
    "SHEEP  Left Of  tree", "sheep#2 left of sheep", "tree\nsky above grass\r\nsheep;; ", "a puppy watching a man",
    "night sky above sea; ship in the sea", "ball #2; ball",
]
WRONG = [
    "", " ; ", "unicorn", "sheep left of", "sheep eats tree", "sheep left of sheep", "sheep#3 left of tree",
    "sheep left of tree; sheep left of tree", "sheep over tree; sheep above tree", "sheep; sheep", "__image__",
    "sheep left of tree right of dog", "sheep, dog", "sheep and dog", "shep left of tre", "#", "sheep#0",
    ";".join(f"sheep#{i}" if i > 1 else "sheep" for i in range(1, 32)), "sheep __in_image__ tree", "x" * 100_001,
]


def plain(graph):
    "A graph as the page has it."
    return dict(objects=list(graph.objects), triples=[list(t) for t in graph.triples],
                attributes=[list(said) for said in graph.each_attributes])


def test_texts_are_read_as_by_python(node, pipe):
    found = node(*[dict(what="read", text=text) for text in TEXTS])
    for text, there in zip(TEXTS, found):
        graph, written = pipe.read(text), graph_from_text(text, pipe.vocab)
        assert there["graph"] == plain(graph), text
        assert pipe.read(there["text"]) == pipe.read(written.to_text()), text


def test_what_python_refuses_is_refused_in_words(node, pipe):
    found = node(*[dict(what="read", text=text) for text in WRONG])
    for text, there in zip(WRONG, found):
        with pytest.raises(SGDiffError):
            pipe.read(text)
        assert there.get("error"), text
    told = dict(zip(WRONG, (there["error"] for there in found)))
    for text in ("unicorn", "shep left of tre", "sheep#3 left of tree", "sheep; sheep", "#", "sheep left of tree right of dog"):
        with pytest.raises(SGDiffError, match=re.escape(told[text])):
            pipe.read(text)
    for text in ('{"objects": ["sheep"], "relationships": [[0, "left of", 3]]}', "[]", "{", '[{"objects": "sheep"}]'):
        answer, = node(dict(what="read", text=text))
        assert answer.get("error"), text


PARK_TEXTS = [
    "small ball left of large red ball; two sheep", "red ball left of small house", "two sheep", "three red kites",
    "two small red balls above large tree", "dog left of dog#2", "red ball left of blue ball", "a tiny violet Kite", "two people; dog",
    "small ball; ball left of tree", "two sheep left of tree", "red ball; blue ball; red ball left of blue ball", "2 birds; BIRD#1 left of bird#2",
    "RED Ball", "two women left of three men", "an ocean; small boat inside the sea", "large  red ball ;small ball#2\nsmall ball#3",
    "two big buses", "small red ball right of small blue ball; two trees; tree#1 left of tree#2", "one dog", "three sheep; three dogs; car",
]
PARK_WRONG = [
    "green ball", "red sheep", "red blue ball", "sheeps", "balls", "seven sheep", "many dogs", "two ball#2", "dog left of dog",
    "red ball; blue ball; ball left of tree", "two sheep; three sheep", "big red", "shiny red ball", "very small ball", "red", "small small ball",
    "small tiny ball", "red ball and blue ball", "red ball, blue ball", "left of", "sheep_left_of_tree", "red house sky", "two red", "eleven balls",
    "0 balls", "one two balls", "ball#1000000", "red ball left of green house; unicorn", "red sky", "two skies", "dog; dog", "two dogs; dog",
    "red ball left of red ball", "red ball red", "two cats", "small", "ball#3", "ball;ball#3", "large red purple kite left of small large dog",
    "ball left of ball#2; ball left of ball#2", "sheep above tree; sheep over tree", "red cat", "red big cat", "four sheep left of sheep#5",
    "red ball left of dog right of tree", "dog - cat", "it's; \"dog\"", "dog's tail and \"x\" ", "x" * 70, "red " * 45 + "ball", "a red  ball#2; yellow ball",
]


def misspelt(texts, rng):
    "The texts with a word too much, one too few, or two that changed places."
    more = "two three red small big dogs # #2 left of and ; , violet unicorn the sheep's people".split()
    for text in texts:
        words = text.split(" ")
        for _ in range(rng.randint(1, 3)):
            i, j, what = rng.randrange(len(words)), rng.randrange(len(words)), rng.randrange(3)
            if what == 0: words.insert(i, rng.choice(more))
            elif what == 1 and len(words) > 1: words.pop(i)
            else: words[i], words[j] = words[j], words[i]
        yield " ".join(words)


def told(pipe, text):
    "What Python makes of a text: a graph and its doubts, or why there is none."
    try: graph = pipe.read(text)
    except SGDiffError as error: return dict(error=str(error))
    return dict(graph=plain(graph), text=graph_from_text(text, pipe.vocab).to_text(), doubts=pipe.doubts(graph))


def test_things_in_colours_and_numbers_are_read_and_refused_as_by_python(park_node, park):
    "Texts by hand, of scenes, and the same with slips: the same graph, the same text again, the same words why not."
    scenes = pages.random_texts(park, 60)
    texts = [*PARK_TEXTS, *PARK_WRONG, *scenes, *misspelt(scenes * 3, random.Random(3))]
    found = park_node(*[dict(what="told", text=text) for text in texts])
    wrong = 0
    for text, there in zip(texts, found, strict=True):
        assert there == told(park, text), text
        wrong += "error" in there
    assert wrong > 100


def test_what_json_says_of_things_is_read_as_by_python(park_node, park):
    good = [{"objects": ["ball", "dog"], "relationships": [[0, "left of", 1]], "attributes": [["tiny", "red"], []]}, {"objects": ["sky"], "attributes": []}]
    bad = [{"objects": ["ball", "dog"], "attributes": [["red"]]}, {"objects": ["ball"], "attributes": [["red", "red"]]}, {"objects": ["dog"], "attributes": [["red"]]}]
    found = park_node(*[dict(what="read", text=json.dumps(graph)) for graph in (*good, *bad)])
    for graph, there in zip(good, found): assert there["graph"] == plain(park.read(json.dumps(graph)))
    for graph, there in zip(bad, found[len(good):]):
        with pytest.raises(SGDiffError, match=re.escape(there["error"])): park.read(json.dumps(graph))


class Scribbled(Reader):
    "A reader whose network says what it is told to."
    def forward(self, images): return dict(self.maps)


def scribble(scenes, noise):
    "Maps that say what scenes show, and noise on top: with much of it things that are not there."
    t, draw = make_targets(scenes), lambda *shape: noise * torch.randn(shape, generator=torch.Generator().manual_seed(len(scenes)))
    B, _, h, _ = t.heat.shape
    maps = {name: draw(B, n, h, h) for name, n in HEADS.items()} | {"land": draw(B, len(SKIES) + 5)}
    maps["heat"] += 12 * (t.heat - 0.6)
    (b, y, x), sky, ground = t.at.T, t.land[:, 0], t.land[:, 1]
    maps["offset"][b, :, y, x] += t.offset
    for name, said in (("color", t.color), ("reach", t.reach)): maps[name][b, said.clamp(min=0), y, x] += 4
    maps["facing"][b, 0, y, x] += 4 * (t.facing - 0.5)
    rows = torch.arange(B)
    maps["land"][rows, sky] += 4
    maps["land"][rows, len(SKIES) + ground] += 4
    maps["land"][:, -1] += 4 * (t.land[:, 2] - 0.5)
    return maps


@pytest.mark.parametrize("noise", [0.3, 2.5])
def test_the_page_reads_pictures_as_python_does(park_node, noise):
    "Things, who is in front, land, relations, and how much of a graph is met: of true maps, and of wild ones."
    scenes = [PARK.scenes(7, "test").scene(i) for i in range(20)]
    reader, images, rng = Scribbled(), pixels_of(scenes), np.random.default_rng(0)
    images = images + 0.3 * noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    reader.maps = scribble(scenes, noise)
    readings, names = reader.read(images), ("peaks", *list(HEADS)[1:], "land")
    maps = dict(zip(names, ReaderMaps(reader)(images), strict=True))
    graphs = [thin_graph(scene.graph, rng) for scene in scenes]
    found = park_node(*[
        dict(what="reading", text=graph.to_text(), pixels=images[i].flatten().tolist(), maps={k: v[i].flatten().tolist() for k, v in maps.items()})
        for i, graph in enumerate(graphs)])
    for graph, reading, there in zip(graphs, readings, found, strict=True):
        keys = ("color", "size", "x", "y", "w", "h", "facing", "reach")
        assert there["things"] == [dict(word=t.category) | {k: getattr(t, k) for k in keys} for t in reading.things]
        assert there["land"] == list(reading.land)
        assert sorted(map(tuple, there["relations"])) == sorted(scene_relations(reading.things, clear=1.0))
        graph, said = graph_from_text(graph.to_text(), PARK.vocab), there["marks"]
        met = marks(graph, reading)
        assert said["verdicts"] == [met.relations.get(row) for row in range(len(graph.triples))]
        assert (tuple(said["things"]), tuple(said["attributes"]), tuple(said["land"])) == (met.things, met.attributes, met.land)
        assert said["relations"] == [sum(met.relations.values()), len(met.relations)]


def test_close_words_are_pythons(node, pipe):
    known = [w for w in (*pipe.vocab.objects, *pipe.vocab.object_aliases) if not w.startswith("__")]
    words = ["shep", "Treee", "unicorn", "x", "", "boats", "nite", "personn", "cra"]
    found = node(*[dict(what="closest", word=w, known=known) for w in words])
    assert found == [closest_words(w, known) for w in words]


def test_doubts_and_places_are_pythons(node, pipe):
    texts = [*GRAPHS, "sheep above tree; sheep left of tree", "sheep; dog; boat; car; sky", "car behind house; car left of house"]
    found = node(*[dict(what="doubts", text=t) for t in texts])
    assert found == [pipe.doubts(pipe.read(t)) for t in texts]
    for text, places in zip(texts, node(*[dict(what="places", text=t) for t in texts])):
        assert torch.allclose(torch.tensor(places), torch.tensor(place_objects(pipe.read(text))), atol=2e-3), text


def some_edits(vocab, seed, texts, n=60):
    "Commands as the board sends them, right and wrong ones; texts: to load, the first at the beginning."
    rng = random.Random(seed)
    words, predicates = vocab.objects[1:], vocab.predicates[1:]
    make = {
        "add_object": lambda: dict(word=rng.choice([*words, "unicorn"]), x=rng.random(), y=rng.random()),
        "replace_object": lambda: dict(row=rng.randrange(2), word=rng.choice(words)),
        "remove_object": lambda: dict(row=rng.randrange(2)),
        "move_object": lambda: dict(row=0, x=0.25, y=0.75),
        "add_triple": lambda: dict(subject=rng.randrange(3), predicate=rng.choice(predicates), object=rng.randrange(3)),
        "replace_predicate": lambda: dict(row=0, predicate=rng.choice(predicates)),
        "turn_triple": lambda: dict(row=0), "remove_triple": lambda: dict(row=0),
        "load": lambda: dict(graph=rng.choice(texts)), "undo": dict, "redo": dict,
        "toggle_attribute": lambda: dict(row=rng.randrange(3), attribute=rng.choice([*vocab.attributes, "green"])),
    }
    names = [rng.choice([*make, "add_object", "add_triple", "add_triple", "undo"]) for _ in range(n)]
    return [("load", dict(graph=texts[0])), *[(name, make[name]()) for name in names]]


@pytest.mark.parametrize("seed", range(4))
def test_the_board_is_edited_as_in_python(node, pipe, seed):
    "Whatever is done, both have the same graph, or both refuse."
    edited_alike(node, pipe.vocab, some_edits(pipe.vocab, seed, GRAPHS))


@pytest.mark.parametrize("seed", range(4))
def test_things_are_described_on_the_board_as_in_python(park_node, park, seed):
    edited_alike(park_node, park.vocab, some_edits(park.vocab, seed, PARK_TEXTS))


def edited_alike(node, vocab, commands):
    "Both have the same graph after each command, or both refuse it."
    found, = node(dict(what="edits", commands=commands))
    model = EditorModel(vocab)
    for (command, arguments), there in zip(commands, found):
        done = model.do(command, **arguments)
        assert (there["done"], bool(there["error"])) == (done, not done), (command, arguments, there["error"], model.error)
        assert there["graph"] == plain(model.graph), (command, arguments)
        assert there["board"]["can_undo"] == bool(model.past) and there["board"]["can_redo"] == bool(model.future)
        for name in ("word", "name", "attributes", "may"):
            assert [n[name] for n in there["board"]["nodes"]] == [n[name] for n in board(model)["nodes"]], (command, arguments)
        for axis, place in enumerate("xy"):
            assert [n[place] for n in there["board"]["nodes"]] == pytest.approx([at[axis] for at in model.now.places], abs=2e-3), (command, arguments)


# --- the page in a browser

SHOTS = ROOT / "out" / "browser"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    if not os.environ.get("SGDIFF_TEST_PAGE"):
        pytest.skip("drawing in a browser wants the processor for itself: run `make test-page`")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with chromium() as started: yield started


@contextlib.contextmanager
def opened(browser, address, size="desktop", mode="light", at="", context=None):
    "A page on which nothing may go wrong: no error in the console, no request to another host."
    width, height = SIZES[size]
    own = context or browser.new_context(
        viewport=dict(width=width, height=height), color_scheme=mode, has_touch=size == "phone",
        permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce")
    page, wrong = own.new_page(), []
    page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: r.url.startswith((address, "blob:", "data:")) or wrong.append(f"outside: {r.url}"))
    page.set_default_timeout(180_000)       # a busy machine is no broken page
    page.wrong = wrong
    page.goto(address + at)
    yield page
    page.close()
    if context is None: own.close()
    assert wrong == []


DONE = "text => document.querySelectorAll('figcaption ul').length && text === document.querySelector('#text').value"


def drawn(page, text=None):
    "Waits for pictures of a graph that the judge has seen; what the captions say."
    page.wait_for_function(DONE, arg=page.input_value("#text") if text is None else text)
    return page.locator("figcaption").all_inner_texts()


def pixels(page, which="now"):
    "The bytes of the first picture."
    return page.evaluate(
        "name => { const c = document.querySelector(`canvas.${name}`);"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }", which)


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as (address, _):
        yield address


def test_the_first_picture_is_pythons(browser, address, pipe, judge):
    link = "#g=dog%20right%20of%20car%3B%20dog%20looking%20at%20car%3B%20sky%20above%20street&seed=7&n=1"
    text = "dog right of car; dog looking at car; sky above street"
    with opened(browser, address, at=link) as page:
        captions = drawn(page, text)
        page.screenshot(path=SHOTS / "page.png")
        out = pipe(text, seed=7)
        side = out.images[0].width
        there = torch.tensor(pixels(page)).reshape(side, side, 4)[..., :3]
        here = torch.tensor(list(out.images[0].tobytes())).reshape(side, side, 3)
        assert ((there - here).abs() <= 2).float().mean() >= 0.99
        (verdicts,), _ = looked(judge, out)
        sign = {True: "✓", False: "✗", None: "–"}
        for verdict, triple in zip(verdicts, out.graphs[0].named_triples()):
            assert f"{sign[verdict]} {' '.join(triple)}" in captions[0]


def test_an_edit_by_mouse_and_by_keys(browser, address):
    with opened(browser, address) as page:
        first = drawn(page)
        page.locator("[data-id=t0]").click()
        page.locator(".sgdiff-list [role=option]", has_text="right of").click()
        page.wait_for_function("document.querySelector('#text').value.includes('right of')")
        drawn(page)
        assert page.locator("#wipe").is_visible() and page.locator(".sgdiff-item.changed").count() == 1
        now = pixels(page)
        page.locator("#wipe input").fill("100")
        assert page.locator("canvas.before").first.evaluate("c => c.style.clipPath").startswith("inset(0")
        assert pixels(page, "before") != now
        page.locator("[data-id=o0]").focus()
        page.keyboard.down("b")
        assert page.input_value("#wipe input") == "100"
        page.keyboard.up("b")
        assert page.input_value("#wipe input") == "0"
        page.keyboard.press("Enter")
        page.keyboard.type("dog")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('#text').value.includes('dog')")
        drawn(page)
        page.locator("[data-id=o0]").focus()
        page.keyboard.press("Control+z")
        page.wait_for_function("!document.querySelector('#text').value.includes('dog')")
        page.keyboard.press("Control+z")
        page.wait_for_function("document.querySelector('#text').value.includes('left of')")
        assert drawn(page) == first


def test_the_way_to_the_picture_and_where_it_looks(browser, address):
    with opened(browser, address, at="#g=sheep&n=1") as page:
        drawn(page, "sheep")
        scale, last = page.locator("#born input"), pixels(page)
        scale.fill("1")
        assert "step 1 of" in page.locator("#born output").inner_text() and pixels(page) != last
        scale.fill(scale.get_attribute("max"))
        assert pixels(page) == last and not any(pixels(page, "attention"))
        page.locator("[data-id=o0]").hover()
        page.wait_for_function("document.querySelector('#status').textContent.includes('attend to')")
        assert any(pixels(page, "attention"))


def test_looking_inside_tells_which_tokens_an_edit_moved(browser, address):
    with opened(browser, address, at="#g=sheep%20left%20of%20tree%3B%20sky&n=1") as page:
        drawn(page, "sheep left of tree; sky")
        page.locator("#inside > summary").click()
        cards = page.locator("#within .cards").first.locator("figcaption")
        assert cards.all_inner_texts() == ["sheep left of tree", "sheep in the image", "tree in the image", "sky in the image", "the whole graph"]
        layers, steps = (page.locator("#within select").nth(i) for i in (0, 1))
        maps = page.locator("#within .cards").first.locator("canvas + canvas")
        shown = lambda: maps.evaluate_all("all => all.map(c => c.toDataURL()).join()")
        seen = {shown()}
        for chosen, value in ((layers, "0"), (steps, "0"), (layers, "2"), (steps, "9"), (steps, "all")):
            chosen.select_option(value)
            seen.add(shown())
        assert len(seen) == 6, "another layer or step, and the same attention is shown"
        page.fill("#text", "sheep right of tree; sky")
        page.keyboard.press("Enter")
        drawn(page, "sheep right of tree; sky")
        page.wait_for_function("document.querySelector('#within b')")
        told = [text.split("\n") for text in cards.all_inner_texts()]
        moved = {name: float(word.removeprefix("moved by ")) for name, word in told[1:]}
        assert told[0] == ["sheep right of tree", "new"]
        assert moved["sheep in the image"] > 2 * moved["sky in the image"]


def test_a_link_holds_all_and_the_rest_can_be_taken_along(browser, address):
    with opened(browser, address, at="#g=sheep%20left%20of%20tree&seed=5&n=2&guidance=2.5") as page:
        drawn(page, "sheep left of tree")
        assert [page.input_value(f"#{name}") for name in ("seed", "n", "guidance")] == ["5", "2", "2.5"]
        page.click("#link")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.url and "g=sheep%20left%20of%20tree&seed=5&n=2&guidance=2.5" in copied
        page.click("#python")
        program = page.evaluate("navigator.clipboard.readText()")
        compile(program, "copied", "exec")
        assert '"sheep left of tree"' in program and "seed=5" in program and "guidance_scale=2.5" in program
        for button, name in (("#png", "sgdiff.png"), ("#json", "graph.json")):
            with page.expect_download() as download: page.click(button)
            assert download.value.suggested_filename == name
        saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
        assert saved == dict(objects=["sheep", "tree"], relationships=[[0, "left of", 1]])


def test_what_is_wrong_is_told_beside_its_field_and_the_page_goes_on(browser, address):
    with opened(browser, address, at="#g=unicorn&seed=x&n=9") as page:
        drawn(page)
        assert "unknown object 'unicorn'" in page.inner_text("#wrong") or "seed=x" in page.inner_text("#wrong")
        for text, said in (("shep left of tree", "closest known ones are: sheep"), ("", "holds no object"),
                           ("sheep left of sheep", "ties an object to itself")):
            page.fill("#text", text)
            page.click("button[type=submit]")
            assert said in page.inner_text("#wrong") and page.get_attribute("#text", "aria-invalid")
        page.fill("#seed", "-1")
        page.keyboard.press("Tab")
        assert "a seed is a whole number" in page.inner_text("#status")
        page.fill("#seed", "3")
        page.fill("#text", "dog")
        page.keyboard.press("Enter")
        drawn(page, "dog")
        assert page.inner_text("#wrong") == "" and not page.get_attribute("#text", "aria-invalid")
        page.locator("[data-id=o0]").focus()
        page.keyboard.press("Delete")
        page.wait_for_function("document.querySelector('#status').textContent.includes('the board is empty')")
        page.fill("#text", "dog; cat; sheep; tree; car".replace("cat; ", ""))
        page.keyboard.press("Enter")
        drawn(page)
        assert "these weights were trained on at most" in page.inner_text("#notes")


def test_a_model_that_is_cut_short_is_told(browser, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "site")
    model = tmp_path / "site" / "model" / "decoder.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    with served(tmp_path / "site") as (address, _), opened(browser, address) as page:
        page.wait_for_function("document.querySelector('#status').classList.contains('error')")
        assert "decoder.onnx came cut short" in page.inner_text("#status")
        page.fill("#text", "dog")
        page.keyboard.press("Enter")
        assert page.locator("[data-id=o0]").get_attribute("aria-label").startswith("dog")


def test_the_second_visit_needs_no_network(browser, folder):
    context = browser.new_context(viewport=dict(width=1440, height=900))
    with served(folder) as (address, end):
        with opened(browser, address, at="#g=dog&n=1", context=context) as page:
            drawn(page, "dog")
            page.wait_for_function("navigator.serviceWorker.ready.then(r => Boolean(r.active))")
            first = pixels(page)
        end()
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.goto(f"{address}#g=dog&n=1")
        drawn(page, "dog")
        assert pixels(page) == first
    context.close()


SIMULATED = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]  # a graphics card, by the processor
QUICK = "#g={}&n=1&steps=2&guidance=1&relations=0"  # a simulated card is slow


@contextlib.contextmanager
def beside(browser, flags):
    "A context of another browser, with other flags."
    path = needs_chromium()[1]
    other = browser.browser_type.launch(executable_path=path, args=[*FLAGS, *flags])
    yield other.new_context(viewport=dict(width=1440, height=900))
    other.close()


def ask_for(page, text):
    "Waits for the picture of a graph; what the page says of it."
    page.fill("#text", text)
    page.keyboard.press("Enter")
    drawn(page, text)
    return page.inner_text("#status")


@pytest.mark.parametrize("flags", [[], SIMULATED], ids=["none", "simulated"])
def test_where_there_is_no_real_card_nothing_is_fetched_for_one(browser, folder, manifest, flags):
    asked = []
    with served(folder, asked) as (address, _), beside(browser, flags) as context:
        with opened(browser, address, at=QUICK.format("dog"), context=context) as page:
            drawn(page, "dog")
            assert "graphics card" not in ask_for(page, "tree")
            page.wait_for_timeout(1500)  # it would be tried after one second
            assert len(page.workers) == 1
    fetched = {path.split("?")[0].strip("/") for path in asked}
    assert fetched >= {*manifest["files"]} and fetched.isdisjoint(manifest["card"])


def believing(folder, out):
    "The page in a browser that takes a simulated card for a real and fast one; it waits for it as long as need be."
    shutil.copytree(folder, out)
    for name, before, after in (("page.js", "name }));", "name }), 2 ** 31 - 1);\nglobalThis.drawer = worker;"), ("worker.js", "import {", """
        Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
        if (name === "card") performance.now = () => 0;
        const requested = GPUAdapter.prototype.requestDevice;
        GPUAdapter.prototype.requestDevice = async function (...all) { return globalThis.device = await requested.apply(this, all); };
        import {""")):
        text = (out / name).read_text(encoding="utf-8")
        assert text.count(before) == 1
        (out / name).write_text(text.replace(before, after), encoding="utf-8")


def test_a_card_takes_over_draws_the_same_is_lost_and_nobody_misses_a_picture(browser, folder, manifest, tmp_path):
    believing(folder, tmp_path / "site")
    asked = []
    with served(tmp_path / "site", asked) as (address, end), beside(browser, SIMULATED) as context:
        with opened(browser, address, at=QUICK.format("dog"), context=context) as page:
            page.set_default_timeout(3_600_000)
            drawn(page, "dog")
            first = torch.tensor(pixels(page))
            assert "graphics card" not in ask_for(page, "tree")
            second = torch.tensor(pixels(page))
            page.wait_for_function("drawer.card === false")
            assert page.evaluate("drawer.onCard") and len(page.workers) == 1
            assert "on the graphics card" in ask_for(page, "dog")
            page.screenshot(path=SHOTS / "page-card.png")
            assert ((torch.tensor(pixels(page)) - first).abs() <= 2).float().mean() >= 0.99
            page.workers[0].evaluate("device.destroy()")
            assert "graphics card" not in ask_for(page, "tree")
            assert torch.equal(torch.tensor(pixels(page)), second)
            page.wait_for_function("navigator.serviceWorker.ready.then(r => Boolean(r.active))")
        fetched = {path.split("?")[0].strip("/") for path in asked}
        assert fetched >= {*manifest["card"]} and pages.CODE not in fetched
        end()
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.goto(address + QUICK.format("dog"))
        drawn(page, "dog")
        assert torch.equal(torch.tensor(pixels(page)), first)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_it_fits_the_screen_and_can_be_read(browser, address, size, mode):
    with opened(browser, address, size, mode) as page:
        drawn(page)
        boxes = [page.locator(what).first.bounding_box() for what in (".picture", "#board svg")]
        assert all(0 <= b["y"] and b["y"] + b["height"] <= SIZES[size][1] for b in boxes), "both are seen together"
        assert boxes[0]["width"] >= (256 if size == "desktop" else 150)
        for summary in page.locator("summary").all(): summary.click()
        page.screenshot(path=SHOTS / f"page-{size}-{mode}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        faint = page.evaluate(f"settings => ({FAINT})(document.body, settings)", dict(large=3, apart=":disabled, option, script, style, noscript"))
        assert faint == []
        small = page.evaluate("""[...document.querySelectorAll("button, input, select")].filter(e => e.getClientRects().length && e.type !== "range"
          && (e.getBoundingClientRect().height < 28)).map(e => e.id || e.textContent)""")
        nameless = page.evaluate("""[...document.querySelectorAll("button, input, select")].filter(e => e.getClientRects().length
          && !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length)).map(e => e.id)""")
        assert small == [] and nameless == []


# --- the live figures of the site's chapters

LIVE = "<!doctype html><html lang=en><meta charset=utf-8><title>A chapter</title><meta name=viewport content='width=device-width'><link rel=icon href='data:,'><link rel=stylesheet href=../styles.css><main>{}</main>"
DRAWN = "document.querySelector('.live input') && /^(Drawn|Orange|t = )/.test(document.querySelector('.live-status').textContent)"
BYTES = "() => [...document.querySelectorAll('.live canvas')].map(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])"
ONE_OF_EACH = sorted({figure.kind + str(figure.more): name for name, figure in site_live.FIGURES.items()}.values())


@pytest.fixture(scope="module")
def chapters(taught, tmp_path_factory):
    "A site of nothing but the live figures."
    out = tmp_path_factory.mktemp("chapters")
    shutil.copytree(taught, out / "draw")
    shutil.copy(site_live.SCRIPT, out / "draw")
    shutil.copy(ROOT / "tools" / "site" / "styles.css", out)
    for name, figure in site_live.FIGURES.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / f"{name}.html").write_text(LIVE.format(site_live.element(figure, "../")), encoding="utf-8")
    with served(out) as (address, _): yield address


def started(page):
    "Presses the button by keyboard, and waits for the first pictures."
    page.locator(".live button").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(DRAWN)


def test_the_size_that_the_button_names_is_that_of_the_files(taught):
    manifest = json.loads((taught / "manifest.json").read_text(encoding="utf-8"))
    first, more = (sum(told["bytes"] for told in manifest[when].values()) / 1e6 for when in ("files", "later"))
    assert [round(first), round(more)] == [site_live.MEGABYTES, site_live.TAUGHT]
    assert sum(path.stat().st_size for path in (taught / "model").iterdir()) < 12e6


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_live_figure_fetches_nothing_before_it_is_asked_fits_a_phone_and_has_words(browser, chapters, name):
    with opened(browser, chapters, "phone", at=f"{name}.html") as page:
        page.wait_for_selector(".live button")
        fetched = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        assert [url.removeprefix(chapters) for url in fetched if "/draw/" in url] == ["draw/live.js"]
        started(page)
        nameless = page.evaluate("[...document.querySelectorAll('.live input')].filter(e => !e.labels.length || !e.labels[0].textContent.trim()).length")
        assert nameless == 0 and all(page.locator(".live canvas[role=img]").evaluate_all("all => all.map(c => c.ariaLabel)"))
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        page.screenshot(path=SHOTS / f"live-{Path(name).name}.png", full_page=True)
        first, last = page.evaluate(BYTES), page.locator(".live input").last
        last.focus()
        page.keyboard.press("PageUp" if last.get_attribute("type") == "range" else "Space")
        page.wait_for_function(f"first => JSON.stringify(({BYTES})()) !== JSON.stringify(first)", arg=first)


def test_the_slider_of_guidance_reaches_the_sampler(browser, chapters, node):
    with opened(browser, chapters, at="method/09_sampling.html") as page:
        started(page)
        first = page.evaluate(BYTES)
        text = site_live.FIGURES["method/09_sampling"].graphs[0]
        for value in ("1", "4"):
            page.locator(".live input").fill(value)
            page.wait_for_function("document.querySelector('.live-status').textContent.startsWith('Drawn')")
            wanted, = node(dict(what="draw", text=text, seeds=["0", "1", "2"], guidance=int(value), relations=0))
            here = torch.tensor(wanted["pixels"]).view(3, 3, -1).transpose(1, 2)  # B pixels C
            there = torch.tensor(page.evaluate(BYTES)).view(3, -1, 4)[..., :3]
            assert ((here + 1) * 127.5 - there).abs().max() <= 1
        assert page.evaluate(BYTES) != first
        page.locator(".live input").fill("1")
        page.wait_for_function("document.querySelector('.live-status').textContent.startsWith('Drawn')")
        assert page.evaluate(BYTES) == first


def test_what_pretraining_taught_with_is_fetched_by_the_figure_that_asks_for_it(browser, chapters):
    with opened(browser, chapters, at="method/05_contrastive.html") as page:
        started(page)
        page.wait_for_function("document.querySelectorAll('.live-meters li').length")
        told = [text.split("\n") for text in page.locator(".live-meters li").all_inner_texts()]
        cosines = {name: float(value) for value, name in told}
        assert max(cosines, key=cosines.get) == site_live.FIGURES["method/05_contrastive"].graphs[1] or max(cosines, key=cosines.get).endswith("(drawn)")
    with opened(browser, chapters, at="method/08_unet.html") as page:
        started(page)
        fetched = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        assert [url for url in fetched if "pretraining" in url] == []


def test_one_token_must_stay(browser, chapters):
    with opened(browser, chapters, at="method/08_unet.html") as page:
        started(page)
        for box in page.locator(".live input:checked").all()[::-1]: box.click()
        page.wait_for_function("document.querySelector('.live-status').textContent.startsWith('One token must stay')")


def test_a_live_figure_without_networks_says_so(browser, tmp_path):
    (tmp_path / "draw").mkdir()
    shutil.copy(site_live.SCRIPT, tmp_path / "draw")
    (tmp_path / "index.html").write_text(LIVE.format(site_live.element(site_live.FIGURES["method/09_sampling"], "")), encoding="utf-8")
    with served(tmp_path) as (address, _):
        page = browser.new_page()
        page.goto(address)
        page.click(".live button")
        page.wait_for_function("document.querySelector('.live-status').textContent.includes('built without the networks')")
        page.close()
