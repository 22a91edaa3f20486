"""Real data: the losses of the toy world run on it, graphs are what they claim, and the small real
samples go all the way through.

The samples (real images of COCO, Visual Genome and GQA) are not part of this repository; where
they are absent, the tests that need them skip. tests/fixtures/README.md says where to get them.
"""
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_tensors import sample
from PIL import Image

from sgdiff.method import pretraining
from sgdiff.errors import SGDiffError
from sgdiff.method.generation import DiffusionConfig, GraphToLatent
from sgdiff.method.graph_encoder import SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.real.records import (
    GEOMETRIC, RealConfig, Record, choose_rows, fit_boxes, fit_image, geometric_triples, make_graph,
    record_rng)
from sgdiff.graphs.data import geometric_relation
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.graph import SceneGraph, check_graph
from sgdiff.graphs.vocab import Vocab, read_vocab

h5py = pytest.importorskip("h5py", reason="the extra [data] is not installed")
pytest.importorskip("pycocotools", reason="the extra [data] is not installed")

from sgdiff.real.prepare import add_command  # noqa: E402
from sgdiff.real.tiny import write_tiny_coco, write_tiny_gqa, write_tiny_vg  # noqa: E402
from sgdiff.real.dataset import CocoStuff, RealData, VisualGenome  # noqa: E402
from sgdiff.real.shards import PackedData, write_shards  # noqa: E402
from sgdiff.real.tables import Table  # noqa: E402

# pycocotools under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FEW = ["--min-object-instances=2", "--min-predicate-instances=2", "--min-attribute-instances=2"]


def prepare(*words):
    "`sgdiff prepare ...` without the rest of the command line; returns its report."
    import argparse
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    args = parser.parse_args(["prepare", *map(str, words), "--quiet"])
    return args.run(args)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "A folder with tiny Visual Genome, GQA and COCO, raw and prepared."
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_vg(root / "vg", 36)
    write_tiny_coco(root / "coco", 24)
    write_tiny_gqa(root / "gqa", 24)
    prepare(
        "vg",
        "--raw",
        root / "vg" / "raw",
        "--images",
        root / "vg" / "images",
        "--out",
        root / "out" / "vg",
        *FEW,
    )
    prepare(
        "coco", "--raw", root / "coco", "--images", root / "coco", "--out", root / "out" / "coco"
    )
    prepare(
        "gqa",
        "--raw",
        root / "gqa",
        "--images",
        root / "gqa" / "images",
        "--out",
        root / "out" / "gqa",
        *FEW,
    )
    return root


def open_tiny(root, name, **options):
    images = {"vg": root / "vg" / "images", "gqa": root / "gqa" / "images", "coco": root / "coco"}[
        name
    ]
    return (CocoStuff if name == "coco" else VisualGenome)(
        root / "out" / name, images, **{"image_size": 32, "progress": False, **options}
    )


# --- pictures and boxes

boxes = st.lists(
    st.tuples(*[st.floats(0, 600), st.floats(0, 600), st.floats(1, 700), st.floats(1, 700)]),
    min_size=1,
    max_size=12,
)
sizes = st.tuples(st.integers(20, 800), st.integers(20, 800))


@settings(max_examples=40, deadline=None)
@given(boxes, sizes, st.sampled_from(["crop", "squash"]))
def test_boxes_in_the_picture(given_boxes, size, fit):
    cut, seen = fit_boxes(given_boxes, size, fit)
    assert ((0 <= cut) & (cut <= 1)).all() and (cut[:, :2] <= cut[:, 2:]).all()
    assert ((0 <= seen) & (seen <= 1 + 1e-9)).all()
    side = min(size)
    # by hand: clip in pixels, then divide
    for (x, y, w, h), box, share in zip(given_boxes, cut, seen):
        left, top = ((size[0] - side) / 2, (size[1] - side) / 2) if fit == "crop" else (0, 0)
        width, height = (side, side) if fit == "crop" else size
        x0, x1 = (min(max(v, left), left + width) for v in (x, x + w))
        y0, y1 = (min(max(v, top), top + height) for v in (y, y + h))
        np.testing.assert_allclose(
            box,
            ((x0 - left) / width, (y0 - top) / height, (x1 - left) / width, (y1 - top) / height),
            atol=1e-6,
        )
        assert math.isclose(share, (x1 - x0) * (y1 - y0) / (w * h), abs_tol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (1, 1), (3000, 40)])
def test_any_image_becomes_a_square_picture(mode, size):
    for fit in ("crop", "squash"):
        picture = fit_image(Image.new(mode, size), 32, fit)
        assert picture.shape == (3, 32, 32) and picture.dtype == np.uint8


def test_the_crop_keeps_circles_round():
    y, x = np.mgrid[:200, :500]
    disc = Image.fromarray(np.uint8(255 * ((x - 250) ** 2 + (y - 100) ** 2 < 80 ** 2)))
    for fit, aspect in (("crop", 1.0), ("squash", 500 / 200)):
        seen = fit_image(disc, 128, fit)[0] > 127
        assert math.isclose(seen.any(1).sum() / seen.any(0).sum(), aspect, rel_tol=0.05)


# --- graphs

places = st.integers(0, 8)


@settings(max_examples=150, deadline=None)
@given(st.tuples(places, places, places, places), st.tuples(places, places, places, places))
def test_geometric_relations_by_a_second_implementation(a, b):
    "By complex numbers and the quarter of the turn, in place of thresholds on an angle."
    s, o = ((min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3])) for v in (a, b))
    centre = lambda box: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    inner = lambda p, q: p[0] > q[0] and p[1] > q[1] and p[2] < q[2] and p[3] < q[3]
    if inner(o, s): expected = "surrounding"
    elif inner(s, o): expected = "inside"
    else:
        d = complex(s[0] + s[2] - o[0] - o[2], s[1] + s[3] - o[1] - o[3])
        # by 45 degrees: the quarters become quadrants; exact for whole numbers
        turned = d * complex(1, 1)
        re, im = turned.real, turned.imag
        if d == 0 or (re > 0 and im >= 0): expected = "right of"
        elif re <= 0 and im > 0: expected = "below"
        # from the open corner -135 to the open corner -45 degrees
        elif re > 0 and im < 0: expected = "above"
        else: expected = "left of"
    assert geometric_relation(s, o, centre(s), centre(o)) == expected


def test_the_corner_cases_of_the_rule():
    unit = (0, 0, 1, 1)
    at = lambda dx, dy: geometric_relation(unit, unit, (dx, dy), (0, 0))
    assert [at(1, 1), at(-1, 1), at(-1, -1), at(1, -1), at(0, 0)] == [
        "below", "left of", "left of", "right of", "right of",
    ]
    assert [at(1, 0), at(0, 1), at(-1, 0), at(0, -1)] == ["right of", "below", "left of", "above"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 12), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=30), st.integers(0, 99))
def test_chosen_objects_are_as_many_as_asked_for_and_related_ones_come_first(n, limit, pairs, seed):
    triples = [(s, "near", o) for s, o in pairs if s < n and o < n]
    rows = choose_rows(n, triples, limit, np.random.default_rng(seed))
    assert (
        rows == sorted(set(rows))
        and len(rows) == min(n, limit)
        and all(0 <= i < n for i in rows)
    )
    related = {i for s, _, o in triples for i in (s, o)}
    if n > limit: assert len(related & set(rows)) == min(limit, len(related))


VOCAB = Vocab(("__image__", "a", "b", "c"), ("__in_image__", "near", "on"),
              attributes=("red", "wet"))


@st.composite
def records(draw):
    n = draw(st.integers(1, 14))
    words = st.sampled_from(VOCAB.objects[1:])
    W, H = draw(sizes)
    box = st.tuples(
        st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.05, 1), st.floats(0.05, 1)
    ).map(lambda b: (b[0] * W, b[1] * H, b[2] * W, b[3] * H))
    row = st.integers(0, n - 1)
    triples = draw(
        st.none()
        | st.lists(st.tuples(row, st.sampled_from(VOCAB.predicates[1:]), row), max_size=12).map(
            tuple
        )
    )
    return Record(
        str(draw(st.integers(0, 999))),
        "x.jpg",
        (W, H),
        tuple(draw(words) for _ in range(n)),
        np.float32([draw(box) for _ in range(n)]),
        triples,
        None,
        draw(st.just(()) | st.tuples(*[st.lists(st.sampled_from(VOCAB.attributes), unique=True)
                                       .map(tuple)] * n)),
    )


@settings(max_examples=60, deadline=None)
@given(records(), st.integers(2, 8), st.booleans(), st.sampled_from(["crop", "squash"]), st.none() | st.integers(0, 5))
def test_graphs_are_sound_whatever_the_record(record, max_objects, image_node, fit, epoch):
    config = RealConfig(VOCAB, 32, fit, max_objects, image_node)
    graph = make_graph(record, config, record_rng(0, epoch, record.key))
    assert graph == make_graph(record, config, record_rng(0, epoch, record.key))
    batch = (
        SceneGraphBatch.from_graphs([graph], config.vocab, image_node)
        if record.triples is not None
        else None
    )
    if batch is not None:
        assert len(batch.objects) <= max_objects
        assert not len(batch.objects) or (batch.objects[-1] == 0) == image_node
    assert (
        len(set(graph.triples)) == len(graph.triples)
        and all(s != o for s, _, o in graph.triples)
    )
    vocab = Vocab(VOCAB.objects, (*VOCAB.predicates, *GEOMETRIC), attributes=VOCAB.attributes)
    if len(graph): check_graph(graph, vocab)
    said = record.attributes or ((),) * len(record.objects)
    of = {(word, frozenset(told)) for word, told in zip(record.objects, said)}
    assert {(w, frozenset(told)) for w, told in zip(graph.objects, graph.each_attributes)} <= of
    if record.triples is None:
        assert (
            len(graph.triples) <= len(graph)
            and {p for _, p, _ in graph.triples} <= set(GEOMETRIC)
        )
    else:
        assert {(graph.objects[s], p, graph.objects[o]) for s, p, o in graph.triples} <= {
            (record.objects[s], p, record.objects[o]) for s, p, o in record.triples
        }


def test_what_is_cropped_away_takes_its_relations_along():
    record = Record(
        "1",
        "",
        (400, 100),
        ("a", "b", "c"),
        np.float32([[0, 0, 80, 100], [160, 20, 60, 60], [200, 0, 200, 100]]),
        ((0, "near", 1), (1, "on", 2), (2, "near", 0)),
    )
    graph = make_graph(record, RealConfig(VOCAB), record_rng(0, None, "1"))
    assert graph.objects == ("b", "c") and graph.triples == ((0, "on", 1),)
    assert (
        make_graph(record, RealConfig(VOCAB, fit="squash"), record_rng(0, None, "1")).objects
        == record.objects
    )


def test_relations_drawn_at_random_pair_each_object_once():
    rng, boxes = np.random.default_rng(0), np.random.default_rng(1).random((5, 4))
    first = [0, 0]
    for _ in range(400):
        triples = geometric_triples(boxes, boxes[:, :2], rng)
        assert len(triples) == 5
        for i, (s, p, o) in enumerate(triples):
            assert (
                i in (s, o)
                and s != o
                and p == geometric_relation(boxes[s], boxes[o], boxes[s, :2], boxes[o, :2])
            )
            first[i == s] += 1
    assert (
        0.45 < first[1] / sum(first) < 0.55
        and geometric_triples(boxes[:1], boxes[:1, :2], rng) == ()
    )


# --- data sets

@pytest.mark.parametrize("name", ["vg", "gqa", "coco"])
def test_an_item_is_that_of_the_toy_world(tiny, name):
    data = open_tiny(tiny, name)
    images, batch = data.batch(torch.tensor([0, 2, 1]))
    assert (
        images.shape == (3, 3, 32, 32)
        and images.dtype == torch.float32
        and -1 <= images.min() < images.max() <= 1
    )
    assert (
        isinstance(batch, SceneGraphBatch)
        and batch.n_images == 3
        and batch.boxes.shape == (len(batch.objects), 4)
    )
    torch.testing.assert_close(images, data.pixels([0, 2, 1]))
    torch.testing.assert_close(data.images[torch.tensor([0, 2, 1])].float() / 127.5 - 1, images)
    assert (
        data.images[:2].dtype == torch.uint8
        and isinstance(data.graphs[0], SceneGraph)
        and data.graphs[:2] == [data.graphs[0], data.graphs[1]]
    )
    with pytest.raises(IndexError, match="there is no image"): data.graphs[len(data)]
    thin = data.batch([0, 1], np.random.default_rng(0))[1]
    assert thin.n_images == 2 and len(thin.triples) <= 20 + len(data.batch([0, 1])[1].triples)


@pytest.mark.parametrize("name", ["vg", "coco"])
def test_epochs_differ_and_evaluation_does_not(tiny, name):
    data = open_tiny(tiny, name, max_objects=4)
    still = list(data.graphs)
    data.set_epoch(0)
    zero = list(data.graphs)
    data.set_epoch(1)
    one = list(data.graphs)
    data.set_epoch(None)
    assert list(data.graphs) == still and zero != one
    assert (
        list(open_tiny(tiny, name, max_objects=4, epoch=0).graphs)
        == zero
        != list(open_tiny(tiny, name, max_objects=4, epoch=0, seed=1).graphs)
    )


def test_workers_change_nothing(tiny):
    data = open_tiny(tiny, "coco", epoch=3)
    loaded = [
        [
            item
            for batch in torch.utils.data.DataLoader(
                data, batch_size=4, num_workers=n, collate_fn=list
            )
            for item in batch
        ]
        for n in (0, 2)
    ]
    assert [g for _, g in loaded[0]] == [g for _, g in loaded[1]] == list(data.graphs)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(*loaded))


@pytest.mark.parametrize("name", ["vg", "coco"])
def test_the_losses_of_the_toy_world_run_on_real_data(tiny, name):
    "With the data set's own thinning and flips: those of the toy world know only its own words."
    from sgdiff.method import generation
    from sgdiff.method.unet import UNet, UNetConfig
    data = open_tiny(tiny, name, max_objects=6)
    model, encoder = tiny_model(data.config.vocab)
    assert_learns(model, pretraining.pretraining_loss(data, 8))
    unet = UNet(
        UNetConfig(
            in_channels=3, out_channels=3, model_channels=32,
            channel_mult=(1,),
            attention_levels=(0,),
            local_dim=96,
            global_dim=32,
            context_dim=32,
            zero_init=False,
        )
    )
    latents = torch.nn.functional.avg_pool2d(data.pixels(range(len(data))), 4)
    latents_model = GraphToLatent(encoder, unet, DiffusionConfig(), train_encoder=True)
    assert_learns(latents_model, generation.generation_loss(data, latents, 8))


def tiny_model(vocab):
    from sgdiff.method.contrastive import ImageEncoderConfig
    torch.manual_seed(0)
    config = SceneGraphEncoderConfig(
        vocab.n_objects, vocab.n_predicates, dim=32, hidden_dim=32, n_layers=2, global_dim=32
    )
    model = pretraining.PretrainingModel(
        pretraining.PretrainingConfig(config, ImageEncoderConfig(32, width=32, global_dim=32))
    )
    return model, model.graph_encoder


def assert_learns(model, loss_fn):
    "Two steps give finite losses, the same ones each time, and gradients."
    losses = []
    for step in (0, 1, 0):
        model.zero_grad()
        loss, _ = loss_fn(model, step)
        loss.backward()
        losses.append(loss.item())
    assert all(math.isfinite(v) for v in losses) and losses[0] == losses[2] != losses[1]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_attributes_come_along_from_the_annotations(tiny, tmp_path):
    data = open_tiny(tiny, "vg", fit="squash", max_objects=30)
    assert data.config.vocab.attributes == ("large",)       # said of objects wider than 200 pixels
    records = [data.record(i) for i in range(len(data))]
    for record in records:
        wide = [("large",) if width > 200 else () for width in record.boxes[:, 2]]
        assert [*(record.attributes or ((),) * len(wide))] == wide
    assert any(record.attributes for record in records)
    for record, graph in zip(records, data.graphs):
        assert sorted(graph.each_attributes) == sorted(record.attributes or graph.each_attributes)
    write_shards(data, tmp_path / "shards", per_shard=9, progress=False)
    packed = PackedData(tmp_path / "shards", 32, progress=False, fit="squash", max_objects=30)
    assert [packed.graphs[i] for i in range(len(packed))] == list(data.graphs[:])
    assert not open_tiny(tiny, "coco").config.vocab.attributes
    encoder = SceneGraphEncoder(SceneGraphEncoderConfig(
        data.config.vocab.n_objects, data.config.vocab.n_predicates, 8, 8, 2, 8, n_attributes=1))
    _, batch = data.batch([0, 1, 2])
    assert len(batch.attributes) and torch.isfinite(encoder(batch).global_).all()


def test_flips_say_something_wrong_and_spare_what_is_the_same_from_both_ends():
    flip = RealData.random_flip
    rng = np.random.default_rng(0)
    graph = SceneGraph(
        ("man", "horse", "tree"), ((0, "riding", 1), (0, "near", 2)), ((0, 0, 1, 1),) * 3
    )
    assert flip(None, graph, rng) == SceneGraph(
        graph.objects, ((1, "riding", 0), (0, "near", 2)), graph.boxes
    )
    for none in (((0, "near", 1),), ((0, "on", 1), (1, "on", 0)), ()):
        assert flip(None, SceneGraph(("man", "horse"), none), rng) is None


def test_faults_are_told_in_words(tiny, tmp_path):
    with pytest.raises(SGDiffError, match="sgdiff prepare"):
        VisualGenome(tiny / "out" / "vg", tiny, "validation")
    with pytest.raises(SGDiffError, match="CocoStuff"):
        VisualGenome(tiny / "out" / "coco", tiny / "coco")
    with pytest.raises(SGDiffError, match="cannot read the image .*000000000001.jpg"):
        CocoStuff(tiny / "out" / "coco", tmp_path).pixels([0])
    with pytest.raises(ValueError, match="crop"): open_tiny(tiny, "coco", fit="stretch")
    with pytest.raises(ValueError, match="max_objects"): open_tiny(tiny, "coco", max_objects=1)
    (tmp_path / "train.h5").write_bytes((tiny / "out" / "vg" / "train.h5").read_bytes()[:3000])
    with pytest.raises(SGDiffError, match="HDF5"): Table(tmp_path / "train.h5", VOCAB)
    (tmp_path / "vocab.json").write_text(json.dumps({"object_name_to_idx": {"__image__": 0}}))
    with pytest.raises(SGDiffError, match="vocabulary"): read_vocab(tmp_path / "vocab.json")
    with pytest.raises(SGDiffError, match="another preparation"):
        Table(tiny / "out" / "vg" / "train.h5", VOCAB)


def test_vocabularies_keep_numbers_and_aliases(tiny):
    vocab = read_vocab(tiny / "out" / "coco" / "vocab.json")
    assert (
        vocab.n_objects == 184
        and vocab.object_id("sheep") == 20
        and vocab.object_id("tree") == 169
        and vocab.objects[12] == "__none_12__"
    )
    assert vocab.predicates == ("__in_image__", *GEOMETRIC)
    vg = read_vocab(tiny / "out" / "vg" / "vocab.json")
    assert (
        vg.object_id("woman") == vg.object_id("person")
        and vg.predicate_id("within") == vg.predicate_id("in")
    )
    assert SceneGraph.from_text("woman within street", vg).objects == ("woman", "street")
    holes = read_vocab(
        {"object_name_to_idx": {"__image__": 0, "x": 2}, "pred_name_to_idx": {"__in_image__": 0}}
    )
    assert holes.objects == ("__image__", "__none_1__", "x")


# --- the real samples

def test_real_coco_goes_all_the_way(tmp_path):
    report = prepare(
        "coco",
        "--raw",
        sample("coco"),
        "--images",
        sample("coco/train2017").parent,
        "--out",
        tmp_path / "coco",
        "--strict",
    )
    assert report["images"] == {"train": 5} and report["objects"] == 173
    data = CocoStuff(tmp_path / "coco", sample("coco"), image_size=64)
    images, batch = data.batch(range(len(data)))
    assert images.shape == (5, 3, 64, 64) and images.std() > 0.2 and batch.objects.max() < 184
    assert {p for g in data.graphs for _, p, _ in g.triples} <= set(GEOMETRIC)
    raw = json.loads(sample("coco/annotations/stuff_train2017.json").read_text())
    areas = {a["id"]: a["area"] for a in raw["annotations"]}
    from sgdiff.real.coco_stuff import decode_mask
    sizes = {i["id"]: (i["height"], i["width"]) for i in raw["images"]}
    for a in raw["annotations"]:
        assert decode_mask(a["segmentation"], *sizes[a["image_id"]]).sum() == areas[a["id"]]


def test_real_gqa_and_its_images(tmp_path):
    few = [f"--min-{kind}-instances=1" for kind in ("object", "attribute", "predicate")]
    report = prepare(
        "gqa",
        "--raw",
        sample("gqa"),
        "--images",
        sample("gqa/images"),
        "--out",
        tmp_path / "gqa",
        "--strict",
        *few,
    )
    split = max(report["images"], key=report["images"].get)
    data = VisualGenome(tmp_path / "gqa", sample("gqa/images"), split, image_size=64)
    raw = json.loads(sample("gqa/sceneGraphs.json").read_text())
    told = raw[data.record(0).key]["objects"]
    by_name = {
        (told[k]["name"], r["name"], told[r["object"]]["name"])
        for k in told
        for r in told[k]["relations"]
    }
    graph = data.graphs[0]
    assert graph.triples and set(graph.named_triples()) <= by_name and data.pixels([0]).std() > 0.2
    said = {(o["name"], *sorted(o["attributes"])) for o in told.values()}
    assert graph.attributes and {
        (word, *of) for word, of in zip(graph.objects, graph.attributes)} <= said


def test_real_visual_genome_without_images(tmp_path):
    few = [
        "--min-object-instances=5", "--min-attribute-instances=5", "--min-predicate-instances=3",
        "--splits=hash",
    ]
    ours = prepare(
        "vg", "--raw", sample("visual_genome"), "--out", tmp_path / "vg", "--strict", *few
    )
    theirs = prepare(
        "vg",
        "--raw",
        sample("visual_genome"),
        "--out",
        tmp_path / "sg2im",
        "--strict",
        "--sg2im",
        *few,
    )
    assert (tmp_path / "vg" / "vocab.json").read_text() == (
        tmp_path / "sg2im" / "vocab.json"
    ).read_text()
    count = lambda report: report["counts"]["relationships in the tables"]
    assert count(theirs).get("saved by name and box", 0) == 0 < count(ours)["saved by name and box"]
    assert count(ours)["found by their ids"] >= count(theirs)["found by their ids"]
    table = Table(tmp_path / "vg" / "train.h5", read_vocab(tmp_path / "vg" / "vocab.json"))
    raw = {
        d["image_id"]: d
        for d in json.loads(sample("visual_genome/objects.json").read_text())
    }
    for i in range(len(table)):
        told = {
            o["object_id"]: (o["x"], o["y"], o["w"], o["h"])
            for o in raw[int(table.columns["image_ids"][i])]["objects"]
        }
        for k, box in zip(table.columns["object_ids"][i].tolist(), table.record(i).boxes.tolist()):
            assert told[k] == tuple(box)


def test_the_command_fits_beside_the_others_and_needs_no_torch():
    code = (
        "import argparse, sys; from sgdiff.real.prepare import add_command; p = "
        "argparse.ArgumentParser(); add_command(p.add_subparsers())\n"
        "a = p.parse_args(['prepare', 'coco', '--raw', 'a', '--out', 'b']); assert a.data == "
        "'coco' and callable(a.run) and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
