"""Tables, pictures and shards that others have made, or a disk has damaged: told in words, never
taken for something else."""
import json
import os
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgdiff.errors import SGDiffError, save_json
from sgdiff.folders import one_writer, write_sums

h5py = pytest.importorskip("h5py", reason="the extra [data] is not installed")

from sgdiff.cli import main  # noqa: E402
from sgdiff.full.presets import open_data  # noqa: E402
from sgdiff.real.images import as_rgb, image_fault, read_image  # noqa: E402
from sgdiff.real.tiny import write_tiny_coco, write_tiny_vg  # noqa: E402
from sgdiff.graphs.vocab import read_vocab  # noqa: E402
from sgdiff.real.dataset import CocoStuff, VisualGenome  # noqa: E402
from sgdiff.real.shards import PackedData, read_index, record_from_json  # noqa: E402
from sgdiff.real.columns import read_columns, write_table  # noqa: E402
from sgdiff.real.rules import check_record  # noqa: E402
from sgdiff.real.tables import Table  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
FEW = [f"--min-{kind}-instances=1" for kind in ("object", "attribute", "predicate")]
# pycocotools under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def sgdiff(*words):
    "The exit status of a command, in this process."
    return main([str(word) for word in words])


def packing(root, out, per_shard=1000):
    "The words of a command that packs the tables in `out` of a folder."
    return ("prepare", "shards", "--tables", root / "out", "--images", root / "images",
            "--out", out, "--per-shard", per_shard, "--quiet")


def prepare_vg(root, *more, out="out"):
    return sgdiff(
        "prepare", "vg", "--raw",
        root / "raw",
        "--images",
        root / "images",
        "--out",
        root / out,
        "--quiet",
        *FEW,
        *more,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A tiny Visual Genome with its tables in `out` and shards of three samples in `sh`."
    root = write_tiny_vg(tmp_path_factory.mktemp("doors") / "vg", 12)
    assert prepare_vg(root) == 0
    assert sgdiff(*packing(root, root / "sh", 3)) == 0
    return root


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "vg")
    return tmp_path / "vg"


def without_sums(folder):
    "As a folder that somebody else has made: nothing to hold its files against."
    for name in ("SHA256SUMS", "prepared.json"): (folder / name).unlink(missing_ok=True)


def change(path, edit):
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def open_vg(root, **options):
    return VisualGenome(root / "out", root / "images", image_size=16, progress=False, **options)


# --- every reference of a table

def first_row(columns, count):
    "A row that has something of the kind."
    return int(np.flatnonzero(columns[count])[0])


WRONG = [
    ("object_names", lambda c: (first_row(c, "objects_per_image"), 0), 99, "another preparation"),
    ("object_names", lambda c: (first_row(c, "objects_per_image"), 0), 0, "expected 1 to"),
    (
        "relationship_predicates",
        lambda c: (first_row(c, "relationships_per_image"), 0),
        99,
        "another preparation",
    ),
    (
        "relationship_predicates",
        lambda c: (first_row(c, "relationships_per_image"), 0),
        0,
        "expected 1 to",
    ),
    (
        "relationship_subjects",
        lambda c: (first_row(c, "relationships_per_image"), 0),
        29,
        "row of an object",
    ),
    (
        "relationship_objects",
        lambda c: (first_row(c, "relationships_per_image"), 0),
        -1,
        "row of an object",
    ),
    ("objects_per_image", lambda c: 1, 31, "expected 0 to 30"),
    ("relationships_per_image", lambda c: 1, -2, "expected 0 to 30"),
    ("attributes_per_object", lambda c: (0, 0), 77, "expected 0 to"),
    ("object_boxes", lambda c: (0, 0, 2), 0, "above 0"),
    ("object_boxes", lambda c: (0, 0, 3), float("inf"), "above 0"),
    ("image_sizes", lambda c: (0, 1), -5, "above 0"),
    ("image_paths", lambda c: 2, "/etc/hostname", "inside the folder of images"),
    ("image_paths", lambda c: 2, "../../secret.jpg", "inside the folder of images"),
    ("image_paths", lambda c: 2, "C:\\secret.jpg", "inside the folder of images"),
    ("image_paths", lambda c: 2, "", "inside the folder of images"),
]


@pytest.mark.parametrize("name, place, value, told", WRONG, ids=lambda v: None if callable(v) else str(v)[:30])
def test_a_wrong_reference_is_named_with_file_column_and_row(copy, name, place, value, told):
    path = copy / "out" / "train.h5"
    columns = read_columns(path)
    columns["image_paths"] = [text.decode() for text in columns["image_paths"]]
    if isinstance(value, float): columns[name] = columns[name].astype(float)
    where = place(columns)
    columns[name][where] = value
    write_table(columns, path)
    without_sums(copy / "out")
    row = where[0] if isinstance(where, tuple) else where
    with pytest.raises(SGDiffError, match=rf"train\.h5: column {name}, row {row}(.|\n)*{told}"):
        open_vg(copy)


@pytest.mark.parametrize("edit, told", [
    (lambda h5: h5.__delitem__("relationship_objects"), "relationship_objects are missing"),
    (lambda h5: h5.__delitem__("object_boxes"), "object_boxes are missing"),
    (lambda h5: replaced(h5, "image_ids", data=np.arange(3)), "3 where other columns have"),
    (lambda h5: replaced(h5, "image_sizes", data=np.ones((8, 2))), "expected a count"),
    (lambda h5: replaced(h5, "image_paths", data=np.arange(8)), "expected a text"),
    (lambda h5: replaced(h5, "object_names", data=np.arange(8)), "expected 2 axes"),
    (lambda h5: replaced(h5, "object_ids", shape=(10**12, 30), dtype="i4", chunks=(1000, 30), compression="gzip"), "GB, more than"),
    (lambda h5: replaced(h5, "object_ids", data=h5py.Empty("i4")), "no column of values"),
    (lambda h5: linked(h5, h5py.ExternalLink("/etc/hostname", "x")), "link to another place"),
    (lambda h5: linked(h5, h5py.SoftLink("/image_ids")), "link to another place"),
    (lambda h5: replaced(h5, "object_ids", shape=(8, 30), dtype="i4", external=[("/etc/hostname", 0, 960)]), "no column of values"),
])
def test_columns_of_another_shape_or_place_are_not_read(copy, edit, told):
    with h5py.File(copy / "out" / "train.h5", "r+") as h5: edit(h5)
    without_sums(copy / "out")
    with pytest.raises(SGDiffError, match=told): open_vg(copy)


def replaced(h5, name, **new):
    del h5[name]
    h5.create_dataset(name, **new)


def linked(h5, link):
    del h5["image_sizes"]
    h5["image_sizes"] = link


def test_a_predicate_beyond_the_vocabulary_is_told_as_an_object_is(copy):
    def fewer(words, kind):
        words[f"{kind}_name_to_idx"] = {
            w: i for w, i in words[f"{kind}_name_to_idx"].items() if i < 3
        }
        words[f"{kind}_idx_to_name"] = words[f"{kind}_idx_to_name"][:3]
        words[f"{kind}_aliases"] = {}

    whole = (copy / "out" / "vocab.json").read_text()
    for kind in ("object", "pred"):
        (copy / "out" / "vocab.json").write_text(whole)
        change(copy / "out" / "vocab.json", lambda words, kind=kind: fewer(words, kind))
        with pytest.raises(SGDiffError, match="vocab.json is not the file that was written"):
            open_vg(copy)
        read = read_vocab(copy / "out" / "vocab.json")
        with pytest.raises(SGDiffError, match="another preparation"):
            Table(copy / "out" / "train.h5", read)


@pytest.mark.parametrize("edit, told", [
    (lambda w: w["object_name_to_idx"].update(cat=10**9), "whole number from 0"),
    (lambda w: w["object_name_to_idx"].update(cat=1), "idx_to_name says otherwise|one number"),
    (lambda w: w["object_name_to_idx"].update(cat=True), "whole number"),
    (lambda w: w["pred_idx_to_name"].reverse(), "says otherwise"),
    (lambda w: w.pop("pred_name_to_idx") and w.pop("pred_idx_to_name"), "pred_name_to_idx"),
    (lambda w: w.update(object_aliases={"cat": 3}), "3, which is no word"),
    (lambda w: w.update(object_name_to_idx=[1]), "vocabulary"),
    (lambda w: w["object_name_to_idx"].update(__image__=5), "says otherwise|objects"),
])
def test_a_vocabulary_with_two_meanings_is_refused(copy, edit, told):
    change(copy / "out" / "vocab.json", edit)
    with pytest.raises(SGDiffError, match=told): read_vocab(copy / "out" / "vocab.json")


def test_the_vocabulary_is_read_whatever_program_has_written_it(copy):
    path = copy / "out" / "vocab.json"
    words = read_vocab(path)
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(
            json.dumps(
                json.loads(
                    (copy.parent / "vg" / "out" / "vocab.json")
                    .read_bytes()
                    .decode(json.detect_encoding(path.read_bytes()))
                )
            ),
            encoding=encoding,
        )
        assert read_vocab(path) == words
    path.write_text("[" * 100_000)
    with pytest.raises(SGDiffError, match="deep|JSON"): read_vocab(path)


def test_a_list_with_holes_is_the_mapping_with_holes():
    mapping = {
        "object_name_to_idx": {"__image__": 0, "person": 1, "car": 3},
        "pred_name_to_idx": {"__in_image__": 0},
    }
    listed = {
        "object_idx_to_name": ["__image__", "person", "NONE", "car"],
        "pred_idx_to_name": ["__in_image__"],
    }
    assert read_vocab(mapping) == read_vocab(listed) == read_vocab(mapping | listed)


def test_object_numbers_of_holes_are_no_words(tmp_path):
    root = write_tiny_coco(tmp_path / "coco", 8)
    assert sgdiff("prepare", "coco", "--raw", root, "--out", tmp_path / "out", "--quiet") == 0
    columns = read_columns(tmp_path / "out" / "train.h5")
    columns["image_paths"] = [text.decode() for text in columns["image_paths"]]
    columns["object_names"][0, 0] = 12
    write_table(columns, tmp_path / "out" / "train.h5")
    without_sums(tmp_path / "out")
    with pytest.raises(SGDiffError, match="holds 12, expected the number of a word"):
        CocoStuff(tmp_path / "out", root, progress=False)


def test_ids_of_eleven_digits_stay_what_they_are(copy):
    columns = read_columns(copy / "out" / "train.h5")
    columns["image_paths"] = [text.decode() for text in columns["image_paths"]]
    columns["image_ids"] = columns["image_ids"].astype(np.int64) + 52_000_000_000
    write_table(columns, copy / "out" / "train.h5")
    without_sums(copy / "out")
    assert int(open_vg(copy).record(0).key) > 52_000_000_000


# --- pictures

RAMP = np.tile(np.linspace(0, 1, 256), (16, 1))


@pytest.mark.parametrize("name, values", [
    ("ramp.png", np.uint16(RAMP * 65535)), ("ramp.tiff", np.uint16(RAMP * 65535)), ("big.tiff", np.uint16(RAMP * 65535).astype(">u2")),
    ("whole.tiff", np.int32(RAMP * 65535)), ("eight.tiff", np.int32(RAMP * 255)), ("one.tiff", np.float32(RAMP)), ("float.tiff", np.float32(RAMP * 255)),
    ("eight.png", np.uint8(RAMP * 255)),
])
def test_a_ramp_is_a_ramp_in_every_kind_of_number(tmp_path, name, values):
    if values.dtype == ">u2":
        Image.frombytes("I;16B", (256, 16), values.tobytes()).save(tmp_path / name)
    else: Image.fromarray(values).save(tmp_path / name)
    row = np.asarray(read_image(tmp_path / name))[8, :, 0].astype(float)
    assert (
        np.abs(row - RAMP[0] * 255).max() <= 1
        and image_fault(tmp_path / name, (256, 16)) is None
    )


@pytest.mark.parametrize("values", [np.float32(RAMP * 300), np.float32(RAMP - 0.5), np.float32(RAMP) * np.float32("nan"), np.int32(RAMP * 10**6), np.int32(RAMP * 255) - 9])
def test_numbers_of_no_known_range_are_refused_in_words(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "x.tiff")
    with pytest.raises(
        SGDiffError, match="x.tiff: its numbers go from .* which of them is white is unknown"
    ):
        read_image(tmp_path / "x.tiff")
    assert image_fault(tmp_path / "x.tiff", (256, 16))[0] == "cannot be decoded"


def test_a_transparent_picture_lies_on_white_in_every_mode():
    clear = Image.new("RGBA", (1, 1), (9, 9, 9, 0))
    for mode in ("RGBA", "LA", "RGBa"):
        assert as_rgb(clear.convert(mode)).getpixel((0, 0)) == (255, 255, 255), mode
    for mode, transparent in (("L", 7), ("RGB", (7, 7, 7)), ("P", 0)):
        picture = Image.new(mode, (1, 1), transparent)
        picture.info["transparency"] = transparent
        assert as_rgb(picture).getpixel((0, 0)) == (255, 255, 255), mode


def break_in(root, name, how):
    "Spoils one picture of a folder."
    path = root / "images" / name
    data = path.read_bytes()
    path.unlink()
    how(path, data)


FAULTS = {
    "one pixel": lambda path, data: Image.new("RGB", (1, 1)).save(path),
    "cut short": lambda path, data: path.write_bytes(data[: len(data) // 2]),
    "empty": lambda path, data: path.write_bytes(b""),
    "text": lambda path, data: path.write_text("<html>not found</html>"),
    "a folder": lambda path, data: path.mkdir(),
    "a pipe": lambda path, data: os.mkfifo(path),
    "a link to nothing": lambda path, data: path.symlink_to("/nowhere/on/this/disk.jpg"),
    "a link to a neighbour that is gone": lambda path, data: path.symlink_to("gone.jpg"),
    "a link out": lambda path, data: path.symlink_to("/etc/hostname"),
    "another size": lambda path, data: Image.new("RGB", (300, 200)).save(path),
    "a hundred million pixels": lambda path, data: Image.new("1", (10_000, 10_000)).save(
        path, "PNG"
    ),
    "postscript": lambda path, data: path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    ),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_picture_costs_itself_by_name_in_tables_and_in_shards(copy, fault, capsys):
    names = [path.decode() for path in read_columns(copy / "out" / "train.h5")["image_paths"]]
    break_in(copy, names[0], FAULTS[fault])
    packed = packing(copy, copy / "again")
    assert sgdiff(*packed) == 0 and names[0] in capsys.readouterr().out
    assert len(PackedData(copy / "again" / "train", progress=False)) == len(names) - 1
    assert sgdiff(*packed, "--strict") == 1
    assert prepare_vg(copy, "--force") == 0 and names[0] in capsys.readouterr().out
    assert len(open_vg(copy)) == len(names) - 1 and prepare_vg(copy, "--force", "--strict") == 1
    if fault not in ("a pipe",): assert "Traceback" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*cannot be read and are left out:UserWarning")
def test_a_table_without_sizes_goes_on_without_a_broken_picture(copy):
    columns = read_columns(copy / "out" / "train.h5")
    names = columns["image_paths"] = [text.decode() for text in columns["image_paths"]]
    write_table(
        {name: column for name, column in columns.items() if name != "image_sizes"},
        copy / "out" / "train.h5",
    )
    without_sums(copy / "out")
    break_in(copy, names[1], FAULTS["empty"])
    data = open_vg(copy)
    assert [data.record(i).path for i in range(len(data))] == [names[0], *names[2:]]
    shutil.rmtree(copy / "images")
    (copy / "images").mkdir()
    with pytest.raises(SGDiffError, match="none of the .* images"): open_vg(copy)


def test_a_picture_of_another_size_is_not_trained_on(copy):
    data = open_vg(copy)
    break_in(copy, data.record(0).path, FAULTS["another size"])
    with pytest.raises(SGDiffError, match="it has 300 x 200 pixels, the data set says"):
        data.pixels([0])


def test_a_picture_is_turned_if_only_so_it_has_the_size_that_is_said(tmp_path):
    image = Image.new("RGB", (40, 20))
    image.paste("white", (0, 0, 40, 5))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.jpg", quality=100, exif=exif)
    assert (
        image_fault(tmp_path / "x.jpg", (20, 40)) is None
        and image_fault(tmp_path / "x.jpg", (40, 20)) is None
    )
    assert (
        read_image(tmp_path / "x.jpg", (20, 40)).getpixel((18, 20))[0]
        > 200
        > 50
        > read_image(tmp_path / "x.jpg", (40, 20)).getpixel((20, 15))[0]
    )


# --- shards

def repack(root, edit=lambda record: None, image=None):
    """Writes the first shard anew, with a record, a header or all pictures changed, and the list of
    sums as the stranger who did it would."""
    import io
    import tarfile
    folder = root / "sh" / "train"
    path = folder / "000000.tar"
    with tarfile.open(path) as tar:
        files = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for member, data in files:
            if member.name.endswith(".sums"): continue
            if member.name.endswith(".json"):
                record = json.loads(data)
                edit(record)
                data = json.dumps(record).encode() if isinstance(record, dict) else data
            elif image is not None: data = image
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    write_sums(folder)


@pytest.mark.parametrize("edit, told", [
    (lambda r: r["objects"].__setitem__(0, "dragon"), "word of the vocabulary"),
    (lambda r: r["objects"].__setitem__(0, "__image__"), "word of the vocabulary"),
    (lambda r: r["triples"].append([0, "eats", 1]), "word of the vocabulary"),
    (lambda r: r["triples"].append([0, r["triples"][0][1] if r["triples"] else "in", 99]), "rows of objects|word of"),
    (lambda r: r["boxes"].__setitem__(0, [1, 2, 0, 5]), "above 0"),
    (lambda r: r["boxes"].__setitem__(0, [1, 2, 3]), "not whole"),
    (lambda r: r["boxes"].pop(), "boxes"),
    (lambda r: r.update(size=[0, 5]), "above 0"),
    (lambda r: r.update(size=[5]), "above 0"),
    (lambda r: r.update(path="/etc/hostname"), "inside the folder"),
    (lambda r: r.update(path="../../x"), "inside the folder"),
    (lambda r: r.update(objects=None), "not whole"),
    (lambda r: r.pop("key"), "not whole"),
])
def test_what_a_table_may_not_say_a_shard_may_not_either(copy, edit, told):
    repack(copy, edit)
    with pytest.raises(SGDiffError, match=told):
        PackedData(copy / "sh" / "train", progress=False)


@pytest.mark.parametrize("image", [b"<html>", b"", bytes(100)], ids=["page", "empty", "zeros"])
def test_a_broken_picture_is_named_by_its_shard(copy, image):
    repack(copy, image=image)
    data = PackedData(copy / "sh" / "train", progress=False)
    with pytest.raises(SGDiffError) as refused: data.pixels(range(len(data)))
    assert "000000.tar, sample 0" in str(refused.value) and "BytesIO" not in str(refused.value)


@pytest.mark.parametrize("edit, told", [
    (lambda d: d["shards"].update({"../x.tar": 3}), "shard '../x.tar'"),
    (lambda d: d["shards"].update({"000000.tar": -1}), "whole number"),
    (lambda d: d["shards"].update({"000000.tar": "3"}), "whole number"),
    (lambda d: d.pop("fingerprint"), "fingerprint"),
    (lambda d: d["vocab"].update(objects=["__image__"] * 3, object_aliases={}), "twice"),
    (lambda d: d["vocab"].update(objects=["__image__", *map(str, range(200_000))],
                                 object_aliases={}), "more than"),
    (lambda d: d["vocab"].update(objects=["__image__", 7]), "no word"),
    (lambda d: d.update(shards=[]), "index.json"),
])
def test_an_index_that_does_not_fit_is_told(copy, edit, told):
    folder = copy / "sh" / "train"
    change(folder / "index.json", edit)
    write_sums(folder)
    with pytest.raises(SGDiffError, match=told): PackedData(folder, progress=False)
    (folder / "index.json").write_text("[" * 100_000)
    write_sums(folder)
    with pytest.raises(SGDiffError, match="deep|JSON"): read_index(folder)


def test_files_that_have_no_place_in_a_shard(copy):
    import io
    import tarfile
    folder = copy / "sh" / "train"
    path = folder / "000000.tar"
    whole = path.read_bytes()

    def with_member(**fields):
        member = tarfile.TarInfo("000000777.image")
        for name, value in fields.items(): setattr(member, name, value)
        with tarfile.open(path, "w") as tar:
            tar.addfile(member, io.BytesIO(b"") if member.size == 0 else None)

    for fields in (
        dict(name="../../evil.image"),
        dict(name="/etc/hostname"),
        dict(type=tarfile.SYMTYPE, linkname="/etc/hostname"),
        dict(size=10**13),
        dict(type=tarfile.DIRTYPE),
        dict(name="000000777.exe"),
        dict(size=2**30),
    ):
        with_member(**fields)
        write_sums(folder)
        with pytest.raises(SGDiffError, match="000000.tar is not a whole shard"):
            PackedData(folder, progress=False)
    path.write_bytes(whole)


def test_a_record_a_hundred_thousand_deep_is_told():
    with pytest.raises(SGDiffError, match="deep|JSON"):
        record_from_json(b'{"key":' + b"[" * 100_000)


def test_a_turned_bit_in_a_shard_is_told_when_the_sample_is_read(copy):
    folder = copy / "sh" / "train"
    path = folder / "000000.tar"
    whole = path.read_bytes()
    opened = PackedData(folder, 16, progress=False)
    expected = [opened[i] for i in range(len(opened))]
    for place in np.random.default_rng(0).integers(0, len(whole), 25):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        try:
            opened = PackedData(folder, 16, progress=False)
            found = [opened[i] for i in range(len(opened))]
        except SGDiffError: continue
        assert all(a.equal(c) and b == d for (a, b), (c, d) in zip(found, expected, strict=True)), (
            place
        )
    path.write_bytes(whole)


@pytest.mark.parametrize("name", ["D:/shards", "{000..9}", "a::b", "pipe:cat", "50%25 off", "two\nlines", " spaces ", "http:/x", "#?&"])
def test_names_of_folders_are_names_of_folders(made, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert sgdiff("prepare", "vg", "--raw", made / "raw", "--out", name, "--quiet", *FEW) == 0
    packed = Path(name) / "sh"
    assert (
        sgdiff(
            "prepare", "shards", "--tables", name, "--images",
            made / "images",
            "--out",
            packed,
            "--quiet",
        )
        == 0
    )
    assert len(PackedData(packed / "train", 16, progress=False)) == 8


# --- strangers

def test_a_table_that_names_a_file_elsewhere_is_not_packed(copy, tmp_path):
    columns = read_columns(copy / "out" / "train.h5")
    paths = columns["image_paths"] = [text.decode() for text in columns["image_paths"]]
    secret = tmp_path / "secret.jpg"
    shutil.copy(copy / "images" / paths[0], secret)
    without_sums(copy / "out")
    for outward in (str(secret), f"../../{secret.name}"):
        write_table(columns | {"image_paths": [outward, *paths[1:]]}, copy / "out" / "train.h5")
        assert sgdiff(*packing(copy, tmp_path / "sh")) == 1
    (copy / "images" / "VG_100K" / "link.jpg").symlink_to(secret)
    write_table(
        columns | {"image_paths": ["VG_100K/link.jpg", *paths[1:]]}, copy / "out" / "train.h5"
    )
    with pytest.raises(SGDiffError, match="leads out"): open_vg(copy).pixels([0])
    assert sgdiff(*packing(copy, tmp_path / "sh")) == 0
    assert len(PackedData(tmp_path / "sh" / "train", progress=False)) == len(paths) - 1


# --- splits and lists

def test_an_image_in_train_and_test_is_told_and_not_trained_on(copy, capsys):
    splits = json.loads((copy / "raw" / "vg_splits.json").read_text())
    both = int(read_columns(copy / "out" / "test.h5")["image_ids"][0])
    splits["train"] += [both, splits["train"][0]]
    save_json(splits, copy / "raw" / "vg_splits.json")
    assert prepare_vg(copy) == 0
    assert "listed twice" in capsys.readouterr().out
    assert (
        both not in read_columns(copy / "out" / "train.h5")["image_ids"]
        and both in read_columns(copy / "out" / "test.h5")["image_ids"]
    )
    assert prepare_vg(copy, "--force", "--strict") == 1


@pytest.mark.parametrize("splits, told", [
    ({"train": [1], "../x": [2]}, "'../x'"), ({"train": [1], "": [2]}, "no name of a table"), ({"train": 7}, "not a file of splits"), ([1], "not a file"),
])
def test_splits_that_mean_nothing_are_told(copy, capsys, splits, told):
    save_json(splits, copy / "raw" / "vg_splits.json")
    assert prepare_vg(copy) == 1 and told in capsys.readouterr().err


def test_splits_and_lists_of_ids_from_any_program(copy, tmp_path):
    path = copy / "raw" / "vg_splits.json"
    path.write_bytes(path.read_text().encode("utf-16"))
    assert prepare_vg(copy) == 0
    root = write_tiny_coco(tmp_path / "coco", 8)
    (tmp_path / "ids.txt").write_bytes("1\r\n2\r\n7\r\n8\r\n".encode("utf-8-sig"))
    words = (
        "prepare", "coco", "--raw", root, "--out",
        tmp_path / "few",
        "--quiet",
        "--image-ids",
        tmp_path / "ids.txt",
    )
    assert sgdiff(*words) == 0
    (tmp_path / "ids.txt").write_text("1_0 2")
    assert sgdiff(*words) == 1


# --- writing

def run_limited(limit, *words):
    """A command in a process that may write files of `limit` bytes at most, as on a disk that is
    full."""
    def less(): resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.run(
        [sys.executable, "-m", "sgdiff.cli", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=less,
    )


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name[0] != "."
    }


@pytest.mark.parametrize("limit", [1000, 30_000])
def test_a_disk_that_is_full_leaves_the_old_tables_and_shards(copy, limit):
    before = contents(copy / "out")
    tables = ("prepare", "vg", "--raw", copy / "raw", "--quiet", *FEW)
    for out, more in (("out", ["--force", "--sg2im"]), ("new", [])):
        done = run_limited(limit, *tables, "--out", copy / out, *more)
        assert (
            done.returncode == 1
            and "cannot write" in done.stderr
            and "Traceback" not in done.stderr
        ), done.stderr
    done = run_limited(limit, *packing(copy, copy / "packed"))
    assert (
        done.returncode == 1 and "cannot write" in done.stderr and "Traceback" not in done.stderr
    ), done.stderr
    assert (
        contents(copy / "out") == before
        and not contents(copy / "new")
        and not contents(copy / "packed")
    )
    assert not list(copy.rglob("*.tmp")) and not list(copy.rglob(".new"))


def test_what_a_killed_run_has_left_is_no_hindrance(copy):
    (copy / "out" / ".new").mkdir()
    (copy / "out" / ".new" / "train.h5").write_text("half")
    (copy / "out" / "vocab.json").write_text("{}")  # killed between two renames
    with pytest.raises(SGDiffError, match="not the file that was written"): open_vg(copy)
    assert (
        prepare_vg(copy) == 0
        and len(open_vg(copy)) == 8
        and not (copy / "out" / ".new").exists()
    )


def test_a_table_of_an_earlier_preparation_does_not_stay_beside_the_new_ones(copy):
    splits = json.loads((copy / "raw" / "vg_splits.json").read_text())
    save_json(
        {"train": splits["train"] + splits["val"], "test": splits["test"]},
        copy / "raw" / "vg_splits.json",
    )
    assert prepare_vg(copy) == 0 and not (copy / "out" / "val.h5").exists()


@pytest.mark.parametrize("name", ["train.h5", "val.h5", "vocab.json", "prepared.json", "SHA256SUMS"])
def test_what_is_prepared_is_believed_by_its_content(copy, capsys, name):
    before = contents(copy / "out")
    data = bytearray(before[name])
    data[len(data) // 2] ^= 4
    (copy / "out" / name).write_bytes(data)
    assert (
        prepare_vg(copy) == 0
        and "Nothing to do" not in capsys.readouterr().out
        and contents(copy / "out") == before
    )
    assert prepare_vg(copy) == 0 and "Nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["000001.tar", "index.json", "SHA256SUMS"])
def test_what_is_packed_is_believed_by_its_content(copy, capsys, name):
    before = contents(copy / "sh")
    path = copy / "sh" / "train" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    words = packing(copy, copy / "sh", 3)
    assert (
        sgdiff(*words) == 0
        and "made again" in capsys.readouterr().out
        and contents(copy / "sh") == before
    )
    assert sgdiff(*words) == 0 and "made again" not in capsys.readouterr().out


def test_two_preparations_of_one_folder_the_second_is_told(copy, capsys):
    with one_writer(copy / "out"): assert prepare_vg(copy, "--force") == 1
    assert "being written to by another program" in capsys.readouterr().err
    for folder in (copy / "sh", copy / "sh" / "train"):
        shutil.rmtree(copy / "sh")
        with one_writer(folder):
            assert sgdiff(*packing(copy, copy / "sh")) == 1
        assert "being written to by another program" in capsys.readouterr().err


def test_check_record_is_quiet_about_what_tables_hold(made):
    data = open_vg(made)
    for i in range(len(data)): check_record(data.record(i), data.config.vocab)


# --- what lies where something else was meant

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 7\n"


def test_shards_of_an_earlier_preparation_do_not_stand_for_newer_tables(copy, capsys):
    out, images = copy / "out", ("--images", copy / "images")
    assert sgdiff("prepare", "shards", "--tables", out, *images, "--out", out, "--quiet") == 0
    assert len(open_data(out, "train", 16, copy / "images")) == 8
    assert prepare_vg(copy) == 0 and "earlier preparation" not in capsys.readouterr().out
    splits = json.loads((copy / "raw" / "vg_splits.json").read_text())
    save_json(splits | {"train": splits["train"][:4]}, copy / "raw" / "vg_splits.json")
    for told in ("note: ", "Nothing to do"):
        assert prepare_vg(copy) == 0
        said = capsys.readouterr().out
        assert told in said and "shards of an earlier preparation" in said
    with pytest.raises(SGDiffError, match="remove .*train.*pack again"):
        open_data(out, "train", 16, copy / "images")
    shutil.rmtree(out / "train")
    assert 0 < len(open_data(out, "train", 16, copy / "images")) < 8


def test_shards_that_do_not_tell_their_tables_are_read_and_told(copy):
    "Packed before shards noted the sums of their tables."
    out, images = copy / "out", ("--images", copy / "images")
    assert sgdiff("prepare", "shards", "--tables", out, *images, "--out", out, "--quiet") == 0
    index = json.loads((out / "train" / "index.json").read_text())
    del index["tables"]
    save_json(index, out / "train" / "index.json")
    write_sums(out / "train")
    with pytest.warns(UserWarning, match="train was packed before .* pack again to be sure"):
        assert len(open_data(out, "train", 16, copy / "images")) == 8
    for name in ("vocab.json", *(f"{split}.h5" for split in ("train", "val", "test"))):
        (out / name).unlink()           # nothing beside it that it could be mistaken for
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_data(out, "train", 16, copy / "images")) == 8


def test_another_data_set_does_not_replace_the_first_unasked(copy, capsys):
    root = write_tiny_coco(copy / "coco", 8)
    words = ("prepare", "coco", "--raw", root, "--out", copy / "out", "--quiet")
    before = contents(copy / "out")
    assert (
        sgdiff(*words) == 1
        and "holds vg" in capsys.readouterr().err
        and contents(copy / "out") == before
    )
    assert sgdiff(*words, "--force") == 0 and contents(copy / "out") != before


@pytest.mark.parametrize("edit, told", [(lambda d: d["shards"].popitem(), "'samples' is 8"), (lambda d: d.update(shards=["000000.tar"]), "'shards' is no")])
def test_an_index_that_has_lost_a_shard_is_told(copy, edit, told):
    change(copy / "sh" / "train" / "index.json", edit)
    write_sums(copy / "sh" / "train")
    with pytest.raises(SGDiffError, match=told): read_index(copy / "sh" / "train")


def test_a_split_of_another_name_is_told_before_it_is_lost(copy, capsys):
    splits = json.loads((copy / "raw" / "vg_splits.json").read_text())
    splits["valid"] = splits.pop("val")
    save_json(splits, copy / "raw" / "vg_splits.json")
    assert prepare_vg(copy) == 1 and "is it 'val'?" in capsys.readouterr().err
    shutil.copy(copy / "out" / "val.h5", copy / "out" / "valid.h5")
    assert sgdiff(*packing(copy, copy / "packed")) == 0
    assert "valid.h5 passed over" in capsys.readouterr().out


def test_images_behind_a_link_are_told_with_the_remedy_once(copy, capsys):
    shutil.move(copy / "images" / "VG_100K", copy / "elsewhere")
    (copy / "images" / "VG_100K").symlink_to(copy / "elsewhere")
    assert prepare_vg(copy, "--force") == 0
    said = capsys.readouterr().out
    assert (
        f"VG_100K is a link to {copy / 'elsewhere'}: name a folder"
        in said.split("broken image files", 1)[1]
        and said.count("or mount it there") <= 4
    )


@pytest.mark.parametrize("data, told", [(POINTER, "git-lfs"), ("", "empty"), ("<html><title>Log in</title>", "web page")])
def test_what_a_file_is_in_place_of_the_one_that_was_meant(copy, data, told):
    image = next((copy / "images").rglob("*.jpg"))
    for path in (copy / "out" / "train.h5", copy / "sh" / "train" / "000000.tar", image):
        path.write_text(data)
    with pytest.raises(SGDiffError, match=told): open_vg(copy)
    without_sums(copy / "out")
    with pytest.raises(SGDiffError, match=told): open_vg(copy)
    with pytest.raises(SGDiffError, match=told): PackedData(copy / "sh" / "train", progress=False)
    with pytest.raises(SGDiffError, match=told): read_image(image)
    assert told in str(image_fault(image, (1, 1))[1])


def test_a_folder_in_the_place_of_a_table_is_told_before_anything_moves(copy, capsys):
    (copy / "out" / "train.h5").unlink()
    (copy / "out" / "train.h5").mkdir()
    before = contents(copy / "out")
    assert (
        prepare_vg(copy, "--force") == 1
        and "train.h5 is a folder" in capsys.readouterr().err
        and contents(copy / "out") == before
    )


def test_a_box_far_from_its_image_and_attributes_without_words_are_told(copy):
    without_sums(copy / "out")
    with h5py.File(copy / "out" / "train.h5", "a") as h5:
        h5["object_boxes"][0, 0] = 100_000, 0, 50, 50
    with pytest.raises(SGDiffError, match="object_boxes, row 0, place 0 .*fits its image"):
        open_vg(copy)
    with h5py.File(copy / "out" / "train.h5", "a") as h5: h5["object_boxes"][0, 0] = 0, 0, 50, 50
    change(
        copy / "out" / "vocab.json",
        lambda d: d.update(attribute_name_to_idx={}, attribute_idx_to_name=[]),
    )
    with pytest.raises(SGDiffError, match="no words for attributes"): open_vg(copy)


def test_a_least_number_below_none_is_refused(copy, capsys):
    assert (
        prepare_vg(copy, "--min-object-instances=-1") == 1
        and "-1, expected 0 or more" in capsys.readouterr().err
    )
