"""The shipped weights are the files that were written: one byte turned in any of them is noticed by
the door that reads it."""
import random
import shutil
import warnings

import pytest

from sgdiff.errors import SGDiffError, default_weights
from sgdiff.folders import SUMS, check_sums, read_sums
from sgdiff.toy.judge import load_judge
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.recipes import load_pretraining

WEIGHTS = default_weights()
DOORS = {"judge": lambda folder: load_judge(folder / "judge"), "pretraining": load_pretraining}


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(WEIGHTS, tmp_path / "weights")


@pytest.mark.parametrize("name", sorted(read_sums(WEIGHTS)))
def test_a_turned_byte_is_noticed(name, copy):
    data = bytearray((copy / name).read_bytes())
    data[random.Random(name).randrange(len(data))] ^= 1
    (copy / name).write_bytes(data)
    for door in {
        SGDiffPipeline.from_pretrained,
        DOORS.get(name.split("/")[0], SGDiffPipeline.from_pretrained),
    }:
        with pytest.raises(SGDiffError, match=f"{name} is not the file that was written"):
            door(copy)


def test_every_file_that_is_loaded_has_a_sum():
    read = {
        path.relative_to(WEIGHTS).as_posix()
        for path in WEIGHTS.rglob("*")
        if path.suffix in (".safetensors", ".json")
    }
    assert read - {"report.json"} <= set(read_sums(WEIGHTS))


def test_a_folder_without_sums_is_loaded_with_a_word(copy):
    (copy / SUMS).unlink()
    with pytest.warns(UserWarning, match="cannot be told"): SGDiffPipeline.from_pretrained(copy)


def test_what_is_saved_has_sums(tmp_path):
    SGDiffPipeline.from_pretrained(WEIGHTS).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sums(tmp_path)
        SGDiffPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["no sums at all", "0" * 64 + "  ../outside", "0" * 64 + "  /etc/hostname", "\0"])
def test_a_broken_list_is_told(text, copy):
    (copy / SUMS).write_text(text)
    with pytest.raises(SGDiffError, match=SUMS): SGDiffPipeline.from_pretrained(copy)
