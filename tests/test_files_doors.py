"""Files that are not what they should be are told as what they are, at the doors every module
shares."""
import gzip
import os
import shutil

import pytest
import torch
from torch import nn

from sgdiff.core import find_device, load_module, load_weights, save_weights
from sgdiff.errors import (
    SGDiffError, atomic_write, cannot_write, default_weights, described, load_json, save_json)
from sgdiff.folders import SUMS, check_sums, one_writer, read_sums, write_sums
from sgdiff.toy.judge import load_judge, save_judge
from sgdiff.method.pipeline import SGDiffPipeline

WEIGHTS = default_weights()
LINES = (WEIGHTS / SUMS).read_text().splitlines(keepends=True)


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(WEIGHTS, tmp_path / "weights")


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
def test_an_empty_list_is_no_list(text, copy):
    (copy / SUMS).write_text(text, encoding="utf-8")
    for door in (
        SGDiffPipeline.from_pretrained,
        check_sums,
        lambda folder: load_judge(folder / "judge"),
    ):
        with pytest.raises(SGDiffError, match="SHA256SUMS is empty"): door(copy)


@pytest.mark.parametrize("n", [n for n in range(1, len(LINES)) if any(".json\n" in line for line in LINES[n:])])
def test_a_list_cut_at_a_line_end_is_noticed(n, copy):
    (copy / SUMS).write_text("".join(LINES[:n]))
    with pytest.raises(
        SGDiffError, match="does not name .*: the list was cut short, or the file was added"
    ):
        check_sums(copy)


def test_a_part_is_checked_for_itself(copy):
    (copy / SUMS).write_text("".join(line for line in LINES if "judge/model" not in line))
    check_sums(copy / "unet")
    with pytest.raises(SGDiffError, match="does not name judge/model.safetensors"):
        load_judge(copy / "judge")


def test_records_notes_hidden_files_and_folders_with_a_list_do_not_matter(copy):
    judge = load_judge(copy / "judge")
    for name in ("report.json", "sources.json", ".hidden.json", "note.txt"):
        (copy / name).write_text("{}")
    save_judge(judge, copy / "another")
    check_sums(copy)
    (copy / "vae" / "more.safetensors").write_bytes(b"")
    with pytest.raises(SGDiffError, match="does not name vae/more.safetensors"): check_sums(copy)
    write_sums(copy)
    check_sums(copy)


def test_a_list_of_another_system_means_the_same(copy):
    rows = [line.split() for line in LINES]
    (copy / SUMS).write_text(
        "".join(f"{digest.upper()} *.\\{name.replace('/', chr(92))}\r\n" for digest, name in rows)
    )
    assert read_sums(copy) == read_sums(WEIGHTS)
    check_sums(copy)
    (copy / SUMS).write_text("0" * 64 + "  ..\\outside")
    with pytest.raises(SGDiffError, match="names a file outside"): read_sums(copy)


STATE = nn.Linear(2, 2).state_dict()
WRONG = {
    "int8": (
        lambda: {k: v.to(torch.int8) for k, v in STATE.items()},
        "weight holds int8, expected float16, bfloat16 or float32",
    ),
    "nan": (
        lambda: STATE | {"bias": torch.tensor([1, float("nan")])},
        "bias holds NaN or infinity",
    ),
    "infinity": (
        lambda: STATE | {"bias": torch.tensor([1, float("-inf")]).half()},
        "bias holds NaN or infinity",
    ),
    "prefix": (
        lambda: {f"module.{k}": v for k, v in STATE.items()},
        "all names begin with 'module.'",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_are_none_are_refused(kind, tmp_path):
    (make, told), path, module = WRONG[kind], tmp_path / "model.safetensors", nn.Linear(2, 2)
    save_weights(make(), path)
    before = module.weight.clone()
    for door in (
        lambda: load_weights(path, module),
        lambda: load_module(path, lambda: nn.Linear(2, 2)),
    ):
        with pytest.raises(SGDiffError, match=told) as refused: door()
        assert str(path) in str(refused.value)
    assert module.weight.equal(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_of_every_width_are_weights(dtype, tmp_path):
    save_weights({k: v.to(dtype) for k, v in STATE.items()}, tmp_path / "model.safetensors")
    load_module(tmp_path / "model.safetensors", lambda: nn.Linear(2, 2))


def test_weights_of_another_form_beside_are_named(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(
        SGDiffError, match="no weights at .*model.safetensors; pytorch_model.bin beside it"
    ):
        load_weights(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["meta", "hpu", "xpu", "abacus", "", "cuda:99"])
def test_a_device_that_is_none(name):
    with pytest.raises(SGDiffError, match=f"there is no device '{name}' here; there is cpu"):
        find_device(name)


NO_JSON = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "is no JSON but a pointer of git-lfs",
    ),
    "page": (b"<!DOCTYPE html><title>Log in</title>", "is no JSON but a web page .'Log in'"),
    "empty": (b"", "broken JSON.*It is empty"),
    "zero": (bytes(5000), "zero bytes"),
    "gzip": (gzip.compress(b"{}"), "is not text but a gzip archive"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(20), "is not text but a picture"),
    "blank": (b" \n", "It is empty"),
    "lines": (b'{"a": 1}\n{"a": 2}\n', r"one value a line: put them into \[ , \]"),
    "behind": (b"{} and more", "behind its end"),
    "single": (b"{'a': 1}", "double quotes"),
    "single value": (b"{\"a\": 'b'}", "double quotes"),
    "comma": (b'{"a": 1,\n}', "comma before a closing bracket"),
    "comma in a list": (b"[1, ]", "comma before a closing bracket"),
    "comment": (b'{"a": 1, // one\n "b": 2}', "no comments"),
    "hash": (b"# a list\n[1]", "no comments"),
    "cut": (b'{"a": [1, 2', "broken JSON.*cut short"),
    "cut word": (b'{"a": "wo', "broken JSON.*cut short"),
    "word": (b"hello", "broken JSON"),
    "digits": (b'{"a": -' + b"7" * 5000 + b"}", "a number of 5000 digits"),
}


@pytest.mark.parametrize("kind", NO_JSON)
def test_what_is_no_json_is_told_as_what_it_is(kind, tmp_path):
    content, told = NO_JSON[kind]
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(SGDiffError, match=told) as refused: load_json(tmp_path / "a.json")
    assert "a.json" in str(refused.value) and "sys." not in str(refused.value)
    if kind in ("lines", "single", "comma", "comment"): assert "cut short" not in str(refused.value)


def test_a_key_of_another_version_is_told(copy):
    path = copy / "unet" / "config.json"
    save_json(load_json(path) | {"flash": True}, path)
    write_sums(copy)
    with pytest.raises(
        SGDiffError, match="config.json .*has the key 'flash', which this version does not know"
    ) as refused:
        SGDiffPipeline.from_pretrained(copy)
    assert "__init__" not in str(refused.value)


def test_a_key_that_is_missing_is_told(tmp_path):
    save_json({}, tmp_path / "size.json")
    with (
        pytest.raises(SGDiffError, match="'width' is missing"),
        described(tmp_path / "size.json", "a size") as data,
    ):
        (lambda width: width)(**data)


@pytest.mark.parametrize("name", ["n" * 255, "n" * 249, "ü" * 127])
def test_a_name_as_long_as_names_can_be(name, tmp_path):
    with atomic_write(tmp_path / name) as file:
        file.write("whole")
        assert len(list(tmp_path.glob(".*.tmp"))) == 1  # what `one_writer` sweeps
    assert os.listdir(tmp_path) == [name]
    with (
        pytest.raises(SGDiffError, match="Choose a shorter name"),
        atomic_write(tmp_path / ("n" * 256)),
    ):
        pass


def test_two_files_at_once_have_two_temporary_names(tmp_path):
    with atomic_write(tmp_path / "a") as a, atomic_write(tmp_path / "b") as b:
        a.write("a"), b.write("b")
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a", "b"]
    (tmp_path / ".0.1.tmp").touch()
    with one_writer(tmp_path): assert not (tmp_path / ".0.1.tmp").exists()


@pytest.mark.parametrize("name, told", [("ENOSPC", "Free some space"), ("ENAMETOOLONG", "Choose a shorter name"),
                                        ("EACCES", "Choose another folder"), ("EROFS", "Choose another folder"),
                                        ("EIO", "Choose another place")])
def test_advice_fits_the_error(name, told, tmp_path):
    import errno
    number = getattr(errno, name)
    assert str(cannot_write(tmp_path / "a", OSError(number, os.strerror(number)))).endswith(
        f"{told}."
    )
