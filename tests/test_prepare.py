"""`sgdiff prepare` and shards: broken input in every form, done once, killed at any moment;
streaming JSON against json.load."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdiff.real import json_stream
from sgdiff.errors import SGDiffError, save_json
from sgdiff.real.json_stream import Tally, stream_json, stream_members

h5py = pytest.importorskip("h5py", reason="the extra [data] is not installed")
pytest.importorskip("pycocotools", reason="the extra [data] is not installed")

from sgdiff.real.prepare import add_command, hash_splits  # noqa: E402
from sgdiff.real.tiny import write_tiny_coco, write_tiny_vg  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
FEW = ["--min-object-instances=1", "--min-predicate-instances=1", "--min-attribute-instances=1"]
# pycocotools under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def prepare(*words):
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    args = parser.parse_args(["prepare", *map(str, words), "--quiet"])
    return args.run(args)


def prepare_vg(root, *more, images=True):
    return prepare(
        "vg",
        "--raw",
        root / "raw",
        *(["--images", root / "images"] if images else []),
        "--out",
        root / "out",
        *FEW,
        *more,
    )


@pytest.fixture
def vg(tmp_path):
    return write_tiny_vg(tmp_path / "vg", 12)


def change(path, edit):
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


# --- streaming

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, max_size=6) | st.dictionaries(st.text(max_size=5), values, max_size=5), st.integers(1, 40), st.sampled_from([None, 0, 3]), st.booleans())
def test_streaming_gives_what_json_gives(tmp_path_factory, data, piece, indent, ascii_only):
    path = tmp_path_factory.getbasetemp() / "stream.json"
    path.write_text(json.dumps(data, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    whole, json_stream.PIECE = json_stream.PIECE, piece
    try:
        read = list(stream_json(path))
        assert (read if isinstance(data, list) else dict(read)) == data
        if isinstance(data, dict):
            names = list(data)[::2]
            assert list(stream_members(path, names)) == [
                (k, v) for k in data if k in names and isinstance(data[k], list) for v in data[k]
            ]
    finally: json_stream.PIECE = whole


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400))
def test_any_cut_is_noticed(tmp_path_factory, keep):
    text = json.dumps([{"id": i, "text": "a[]{}\",\\", "box": [1, 2.5]} for i in range(10)])
    path = tmp_path_factory.getbasetemp() / "cut.json"
    path.write_text(text[:min(keep, len(text) - 1)])
    with pytest.raises(SGDiffError, match="broken JSON"): list(stream_json(path))


def test_streaming_faults_are_told(tmp_path):
    with pytest.raises(SGDiffError, match="No such file"): list(stream_json(tmp_path / "none.json"))
    (tmp_path / "bytes.json").write_bytes(b'["\xff\xfe"]')
    with pytest.raises(SGDiffError, match="cannot read"): list(stream_json(tmp_path / "bytes.json"))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(SGDiffError, match="dictionary should begin"):
        list(stream_members(tmp_path / "list.json", ("a",)))


def test_a_tally_counts_names_and_stops():
    tally = Tally(named=2)
    for i in range(3): tally.bad("objects", "no box", i)
    assert tally.to_dict() == {
        "counts": {"objects": {"broken: no box": 3}},
        "broken": {"objects: no box": ["0", "1"]},
    }
    assert "0, 1, ..." in str(tally)
    with pytest.raises(SGDiffError, match="no box: 7"):
        Tally(strict=True).bad("objects", "no box", 7)


# --- the command

def test_a_second_run_does_nothing_and_a_change_is_noticed(vg, capsys):
    first = prepare_vg(vg)
    stamps = {p: p.stat().st_mtime_ns for p in (vg / "out").iterdir()}
    capsys.readouterr()
    assert prepare_vg(vg) == first and "Nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (vg / "out").iterdir()} == stamps
    change(vg / "raw" / "relationships.json", lambda d: d[0]["relationships"].clear())
    assert prepare_vg(vg) != first and "Nothing to do" not in capsys.readouterr().out
    (vg / "out" / "val.h5").write_bytes(b"")
    prepare_vg(vg)
    assert "Nothing to do" not in capsys.readouterr().out and (vg / "out" / "val.h5").stat().st_size
    assert prepare_vg(vg, "--force") and "Nothing to do" not in capsys.readouterr().out


@pytest.mark.parametrize("spoil, told", [
    (lambda raw: change(raw / "objects.json", lambda d: d[0]["objects"][0].pop("x")), "objects: cannot be read"),
    (lambda raw: change(raw / "objects.json", lambda d: d[0]["objects"][0].update(h="tall")), "objects: cannot be read"),
    (lambda raw: change(raw / "objects.json", lambda d: d[0]["objects"][0].update(names=7)), "objects: cannot be read"),
    (lambda raw: change(raw / "objects.json", lambda d: d[0]["objects"][0].update(w=float("nan"))), "objects: cannot be read"),
    (lambda raw: change(raw / "objects.json", lambda d: d[0].update(objects=None)), "records: no "
                                                                                    "image id or no objects"),
    (lambda raw: change(raw / "objects.json", lambda d: d.append(d[1])), "records: listed twice "
                                                                         "in objects"),
    (lambda raw: change(raw / "objects.json", lambda d: d.insert(0, 17)), "records: no image id or "
                                                                          "no objects"),
    (lambda raw: change(raw / "relationships.json", lambda d: d[0]["relationships"][0].update(predicate=None)), "relationships: cannot be read"),
    (lambda raw: change(raw / "image_data.json", lambda d: d[3].pop("url")), "records: no id, size "
                                                                             "or address"),
    (lambda raw: change(raw / "image_data.json", lambda d: d[3].update(width=None)), "records: no "
                                                                                     "id, size or address"),
    (lambda raw: change(raw / "relationships.json", lambda d: d[0]["relationships"].__setitem__(0, "on")), "relationships: cannot be read"),
])
def test_a_broken_record_is_named_or_stops_the_run(vg, spoil, told):
    spoil(vg / "raw")
    report = prepare_vg(vg, images=False)
    assert (
        list(report["broken"]) == [told]
        and len(report["broken"][told]) == 1
        and report["images"]["train"]
    )
    with pytest.raises(SGDiffError, match="strict"):
        prepare_vg(vg, "--strict", "--force", images=False)


@pytest.mark.parametrize("spoil, told", [
    (lambda raw: (raw / "objects.json").write_text((raw / "objects.json").read_text()[:-30]), "objects.json is broken JSON"),
    (lambda raw: (raw / "relationships.json").unlink(), "relationships.json"),
    (lambda raw: (raw / "object_alias.txt").unlink(), "object_alias.txt"),
    (lambda raw: (raw / "vg_splits.json").unlink(), "--splits hash"),
    (lambda raw: (raw / "vg_splits.json").write_text("[1]"), "not a file of splits"),
    (lambda raw: (raw / "objects.json").write_text("[]"), "nothing is left to train on"),
])
def test_what_nobody_can_work_with_is_told(vg, spoil, told):
    spoil(vg / "raw")
    with pytest.raises(SGDiffError, match=told): prepare_vg(vg)
    assert not (vg / "out" / "prepared.json").exists()


def test_a_mistyped_folder_of_images_costs_nothing(vg):
    first = prepare_vg(vg)
    (vg / "images").rename(vg / "pictures")
    for more in ([], ["--force"]):
        with pytest.raises(SGDiffError, match="no folder of images"): prepare_vg(vg, *more)
    (vg / "pictures").rename(vg / "images")
    assert (vg / "out" / "prepared.json").exists() and prepare_vg(vg) == first


def test_an_emptied_folder_of_images_is_not_prepared_already(vg):
    prepare_vg(vg)
    for path in (vg / "images").rglob("*.jpg"): path.unlink()
    # nothing is left to train on
    with pytest.raises(SGDiffError, match="broken: missing"): prepare_vg(vg)


def test_strict_does_not_pass_what_an_earlier_run_has_counted(vg, capsys):
    gone = sorted((vg / "images").rglob("*.jpg"))[0]
    gone.unlink()
    first = prepare_vg(vg)
    assert (
        sum(map(len, first["broken"].values())) == 1
        and prepare_vg(vg) == first
        and "1 or more broken" in capsys.readouterr().out
    )
    with pytest.raises(SGDiffError, match=f"broken or missing(.|\n)*{gone.name}"):
        prepare_vg(vg, "--strict")
    assert (vg / "out" / "prepared.json").exists()


def test_no_merged_ids_may_be_written_as_null(vg):
    first = prepare_vg(vg, images=False)
    change(vg / "raw" / "objects.json", lambda d: d[0]["objects"][0].update(merged_object_ids=None))
    again = prepare_vg(vg, images=False)
    assert not again["broken"] and again["images"] == first["images"]


def test_images_that_cannot_be_used_are_left_out(vg):
    prepare_vg(vg)
    with h5py.File(vg / "out" / "train.h5") as h5:
        files = [vg / "images" / path.decode() for path in h5["image_paths"][:3]]
    files[0].write_bytes(files[0].read_bytes()[:-200])
    files[1].write_bytes(b"not a picture")
    files[2].unlink()
    report = prepare_vg(vg, "--force")
    counts = report["counts"]["image files"]
    assert counts["broken: cannot be decoded"] == 2 and counts["broken: missing"] == 1
    assert sum(report["images"].values()) == counts["fine"]
    named = " ".join(n for names in report["broken"].values() for n in names)
    assert all(f.name in named for f in files[:3])
    with pytest.raises(SGDiffError, match="strict"): prepare_vg(vg, "--strict", "--force")
    assert prepare_vg(vg, "--force", images=False)["images"] != report["images"]


def test_a_run_that_was_killed_leaves_nothing_that_looks_finished(tmp_path):
    root = write_tiny_coco(tmp_path / "coco", 24)
    command = [
        sys.executable,
        "-c",
        "import argparse, sys; from sgdiff.real.prepare import add_command; p = "
        "argparse.ArgumentParser(); add_command(p.add_subparsers()); a = p.parse_args(); a.run(a)",
        "prepare", "coco", "--raw", str(root), "--out", str(tmp_path / "out"), "--quiet",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    while process.poll() is None and not any((tmp_path / "out").glob("*.h5")): time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in (tmp_path / "out").glob("*.h5"):
        with h5py.File(path) as h5: assert len(h5["image_ids"]) == len(h5["object_names"])
    report = prepare("coco", "--raw", root, "--out", tmp_path / "out")
    assert report["images"]["train"] == 18


def test_hash_splits_depend_on_nothing_but_the_id():
    splits = hash_splits(range(1000))
    assert (
        sorted(k for keys in splits.values() for k in keys) == list(range(1000))
        and all(splits.values())
    )
    assert hash_splits(reversed(range(1000))) == splits


# --- shards

@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    from sgdiff.real.dataset import CocoStuff
    from sgdiff.real.shards import write_shards
    root = tmp_path_factory.mktemp("shards")
    write_tiny_coco(root / "coco", 28)
    prepare("coco", "--raw", root / "coco", "--out", root / "out")
    data = CocoStuff(root / "out", root / "coco", image_size=16)
    write_shards(data, root / "shards", per_shard=2, progress=False)
    return root / "shards", data


@pytest.mark.parametrize("workers", [0, 2])
def test_each_packed_sample_is_that_of_the_folder(packed, workers):
    import torch
    from sgdiff.real.shards import PackedData
    folder, data = packed
    shards = PackedData(folder, image_size=16, progress=False)
    order = np.random.default_rng(0).permutation(len(data)).tolist()
    for epoch in (None, 0, 5):
        shards.set_epoch(epoch)
        data.set_epoch(epoch)
        loader = torch.utils.data.DataLoader(
            shards, sampler=order, batch_size=None, num_workers=workers
        )
        for i, (pixels, graph) in zip(order, loader, strict=True):
            assert pixels.equal(data[i][0]) and graph == data[i][1]
    data.set_epoch(None)


def test_packing_twice_gives_equal_bytes_without_date_or_owner(packed, tmp_path):
    import tarfile
    from sgdiff.real.shards import write_shards
    folder, data = packed
    write_shards(data, tmp_path / "again", per_shard=2, progress=False)
    shards = sorted(folder.glob("*.tar"))
    assert shards and all(
        path.read_bytes() == (tmp_path / "again" / path.name).read_bytes() for path in shards
    )
    with tarfile.open(shards[0]) as tar: members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_shards_of_another_data_set_are_not_written_over(packed):
    from sgdiff.real.shards import write_shards
    folder, data = packed
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    write_shards(data, folder, per_shard=2, progress=False)
    with pytest.raises(SGDiffError, match="another data set"):
        write_shards(data, folder, per_shard=3, progress=False)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert np.all(
        [p.name == "shards" or not p.name.startswith(".shards") for p in folder.parent.iterdir()]
    )


def test_packed_data_name_what_is_wrong_with_a_folder(packed, tmp_path):
    import json
    import shutil
    from sgdiff.real.shards import PackedData, write_shards
    folder, data = packed
    with pytest.raises(SGDiffError, match="per_shard is 0, expected at least 1"):
        write_shards(data, tmp_path / "none", per_shard=0, progress=False)
    shutil.copytree(folder, tmp_path / "old")
    index = json.loads((folder / "index.json").read_text())
    del index["fingerprint"]  # as shards were written once
    (tmp_path / "old" / "index.json").write_text(json.dumps(index))
    (tmp_path / "old" / "SHA256SUMS").unlink()
    with (
        pytest.warns(UserWarning, match="cannot be told"),
        pytest.raises(
            SGDiffError, match="index.json does not fit packed data: 'fingerprint' is missing"
        ),
    ):
        PackedData(tmp_path / "old", progress=False)
    assert len(PackedData(folder, progress=False)) == len(data)


def test_shards_notice_other_records_and_a_missing_image(packed, tmp_path):
    import json
    from dataclasses import replace
    from sgdiff.real.shards import write_shards
    folder, data = packed

    class Other(type(data)):
        "The same images, of which one is said to be called something else."
        def __init__(self): self.__dict__ = dict(data.__dict__)
        def record(self, i):
            return replace(data.record(i), key="another") if i == 3 else data.record(i)

    with pytest.raises(SGDiffError, match="another data set"):
        write_shards(Other(), folder, per_shard=2, progress=False)
    before = json.loads((folder / "index.json").read_text())
    sums = (folder / "SHA256SUMS").read_bytes()
    (folder / "SHA256SUMS").unlink()
    # as shards had it that were written earlier
    (folder / "index.json").write_text(
        json.dumps({k: v for k, v in before.items() if k != "records"})
    )
    assert "records" not in write_shards(data, folder, per_shard=2, progress=False)
    save_json(before, folder / "index.json")
    (folder / "SHA256SUMS").write_bytes(sums)
    gone = Other()
    gone.folder = tmp_path
    with pytest.raises(SGDiffError, match="cannot read the image .*No such file"):
        write_shards(gone, tmp_path / "shards", per_shard=2, progress=False)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == [".lock"]
