"""Files of strangers at every door that takes one: what they are is told, nothing in them runs, and
they cannot ask for memory."""
import gzip
import io
import json
import os
import pickle
import re
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from small_models import official_parts
from safetensors.torch import save_file

pytest.importorskip(
    "diffusers", reason="the official first stage needs diffusers: pip install 'sgdiff[hub]'"
)

from sgdiff.pretrained.official_weights import (  # noqa: E402
    load_encoder, load_ldm, load_vq, official_layout)
from sgdiff.pretrained.checkpoints import read_checkpoint  # noqa: E402
from sgdiff.core import load_weights  # noqa: E402
from sgdiff.errors import SGDiffError  # noqa: E402
from sgdiff.pretrained.first_stages import FirstStage, FirstStageConfig, load_first_stage  # noqa: E402
from sgdiff.pretrained.official import pipeline_from_official
from sgdiff.pretrained.clip import ClipConfig, clip_from_official, load_tower  # noqa: E402
from sgdiff.graphs.vocab import Vocab  # noqa: E402

WORDS = ("__image__", "sheep", "tree", "grass", "sky", "zebra")
RELATIONS = ("__in_image__", "left of", "above", "standing on")
DOORS = {
    "read_checkpoint": read_checkpoint, "sip": load_encoder, "ldm": load_ldm, "vq": load_vq,
    "clip": clip_from_official,
    "pipeline_from_official": lambda file: pipeline_from_official(
        ldm=file, vocab=Vocab(WORDS, RELATIONS)
    ),
    "tower": lambda file: load_tower(f"any/{file}", ClipConfig()),
}


@pytest.fixture(scope="module")
def states():
    "The three state dicts of tiny random modules in the official layout."
    encoder, unet, stage, _ = official_parts(len(WORDS), len(RELATIONS))
    return official_layout(encoder, unet, stage)


# --- no checkpoint at all

def packed_tar(file):
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo("model.ckpt"), io.BytesIO())


def packed_zip(file):
    with zipfile.ZipFile(file, "w") as archive: archive.writestr("model.ckpt", b"x" * 100)


def cut_zip(file):
    torch.save({"x": torch.ones(100)}, file)
    file.write_bytes(file.read_bytes()[:700])


WRONG = {
    "pointer": (
        "git lfs pull",
        lambda f: f.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
        ),
    ),
    "pointer in UTF-16": (
        "git lfs pull",
        lambda f: f.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-16"),
    ),
    "page": (
        "web page .*quota.*save the file itself",
        lambda f: f.write_text("\n <!DOCTYPE html><html><title>quota exceeded</title>"),
    ),
    "xml": (
        "web page",
        lambda f: f.write_text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    ),
    "json": ("JSON text .*error", lambda f: f.write_text('{"error": "not found"}')),
    "text": ("a text .'hello", lambda f: f.write_text("hello")),
    "empty": ("empty file: fetch it again", lambda f: f.write_bytes(b"")),
    "cut": ("cut short", cut_zip),
    "tar": ("tar archive: unpack", packed_tar),
    "zip": ("holds model.ckpt: unpack", packed_zip),
    "gzip": ("gzip archive: unpack", lambda f: f.write_bytes(gzip.compress(b"x"))),
    "pickle": (
        "pickle of Python that torch.save did not write; nothing in it was run",
        lambda f: f.write_bytes(pickle.dumps({"x": 1})),
    ),
    "pickle of text": ("pickle of Python", lambda f: f.write_bytes(pickle.dumps({"x": 1}, 0))),
    "picture": ("picture .PNG", lambda f: f.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))),
    "tables": ("HDF5", lambda f: f.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))),
    "noise": ("kind not known", lambda f: f.write_bytes(bytes(range(128, 256)))),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_checkpoint_is_told_as_what_it_is(tmp_path, kind, door):
    file, (told, write) = tmp_path / "model.ckpt", WRONG[kind]
    write(file)
    with pytest.raises(SGDiffError, match=told) as refused:
        DOORS[door](file)
    assert str(file) in str(refused.value) and "wants more than tensors" not in str(refused.value)


@pytest.mark.parametrize("kind", [kind for kind in WRONG if kind != "noise"])
def test_weights_of_our_own_are_told_apart_from_them_too(tmp_path, kind):
    file, (told, write) = tmp_path / "model.safetensors", WRONG[kind]
    write(file)
    for door in (load_weights, read_checkpoint):
        with pytest.raises(SGDiffError, match=told):
            door(file)


def test_a_folder_an_address_and_a_checkpoint_of_another_form(tmp_path, states):
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(SGDiffError, match=r"it is a folder: name a file in it \(model.ckpt\)"):
        read_checkpoint(tmp_path)
    with pytest.raises(SGDiffError, match="an address is no file; download it first"):
        read_checkpoint("https://example.org/model.ckpt")
    # safetensors under another name
    save_file({k: v.contiguous() for k, v in states["vq"].items()}, tmp_path / "model.ckpt")
    torch.save(states["vq"], tmp_path / "model.safetensors")
    for name in ("model.ckpt", "model.safetensors"):
        assert set(read_checkpoint(tmp_path / name).tensors) == set(states["vq"])
    with pytest.raises(
        SGDiffError, match="model.safetensors holds no weights but is a file of torch.save"
    ):
        load_weights(tmp_path / "model.safetensors")


@pytest.mark.parametrize("wrong, right, told", [("vq", load_encoder, "first stage .vq"), ("sip", load_ldm, "pre-training .sip"),
                                                ("ldm", load_vq, r"no encoder.conv_in.weight; the closest it has: first_stage_model")])
def test_one_official_file_in_the_place_of_another(tmp_path, states, wrong, right, told):
    torch.save(states[wrong], tmp_path / "model.ckpt")
    with pytest.raises(SGDiffError, match=told):
        right(tmp_path / "model.ckpt")


# --- nothing runs

class Call:
    "An object that is made again by a call."
    def __init__(self, function, *args, state=None):
        self.made = (function, args) if state is None else (function, args, state)
    def __reduce__(self): return self.made


class Item:
    "An object that is made again by a call with items to put into it."
    def __init__(self, function, *args): self.made = (function, args)
    def __reduce__(self): return (*self.made, None, iter([self]), iter([("k", "v")]))


CALLS = [
    (os.system, "touch trapped"),
    (os.popen, "touch trapped"),
    (eval, "open('trapped', 'w')"),
    (exec, "open('trapped', 'w')"),
    (open, "trapped", "w"),
    (subprocess.Popen, ["touch", "trapped"]),
    (subprocess.check_output, ["touch", "trapped"]),
    (Path.touch, Path("trapped")),
    (pickle.loads, b"cos\nsystem\n(S'touch trapped'\ntR."),
    (getattr, Path("trapped"), "touch"),
    (__import__, "antigravity"),
    (torch.load, "trapped"),
]
HAND = [
    b"cos\nsystem\n(S'touch trapped'\ntR.",
    b"(S'touch trapped'\nios\nsystem\n.",
    b"(cos\nsystem\nS'touch trapped'\no.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\rtouch trapped\x85R.",
    b"c__builtin__\neval\n(S\"open('trapped', 'w')\"\ntR.",
    b"\x80\x02c__builtin__\ngetattr\ncos\nX\x06\x00\x00\x00system\x86RX\r\x00\x00\x00touch "
    b"trapped\x85R.",
    b"\x80\x02ctorch._utils\n_rebuild_parameter\n}X\x0c\x00\x00\x00__reduce_ex__K\x01sb.",
    b"\x82\x01.",
    b"\x80\x02ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
]


def in_a_checkpoint(program) -> bytes:
    "A zip of torch.save with this pickle in it."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", program)
        archive.writestr("model/version", b"3\n")
    return file.getvalue()


def hostile_files(state):
    """Contents of files, each of which runs something when it is opened by a reader that believes
    it."""
    for function, *args in CALLS:
        for evil in (
            Call(function, *args),
            Item(function, *args),
            Call(dict, state=Call(function, *args)),
        ):
            for protocol in (2, 4):
                for new in (True, False):
                    file = io.BytesIO()
                    torch.save(
                        {"state_dict": state, "surprise": evil},
                        file,
                        pickle_protocol=protocol,
                        _use_new_zipfile_serialization=new,
                    )
                    yield file.getvalue()
            yield pickle.dumps({"state_dict": evil})
            yield in_a_checkpoint(pickle.dumps({"state_dict": {"weight": evil}}))
    yield from HAND
    yield from map(in_a_checkpoint, HAND)


def test_no_door_runs_anything(tmp_path, monkeypatch, states):
    monkeypatch.chdir(tmp_path)
    file, small = tmp_path / "evil.ckpt", {"weight": torch.ones(1)}
    files, antigravity = list(hostile_files(small)), "antigravity" in sys.modules
    assert len(files) > 160
    for content in files:
        file.write_bytes(content)
        for door in DOORS.values():
            try: door(file)
            except SGDiffError: pass
        assert not Path("trapped").exists() and ("antigravity" in sys.modules) == antigravity


def test_nothing_depends_on_what_a_version_of_pytorch_has(tmp_path, monkeypatch, states):
    "torch 2.4 and 2.5 have no get_unsafe_globals_in_checkpoint; 2.4 has no safe_globals."
    torch.save({"state_dict": states["sip"], "surprise": Call(print, "x")}, tmp_path / "sip.pt")
    for name in (
        "get_unsafe_globals_in_checkpoint", "safe_globals", "add_safe_globals", "load", "_load",
        "_legacy_load",
    ):
        monkeypatch.delattr(torch.serialization, name, raising=False)
    monkeypatch.delattr(torch, "load")
    read = read_checkpoint(tmp_path / "sip.pt")
    assert (
        read.inert == ("builtins.print",)
        and all(torch.equal(v, states["sip"][k]) for k, v in read.tensors.items())
    )


# --- nothing asks for more than it holds

def shared_by_all(state):
    "The same names and shapes, all of one storage: a small file for a large network."
    numbers = torch.zeros(max(v.numel() for v in state.values()))
    return {name: numbers[: v.numel()].view(v.shape) for name, v in state.items()}


def with_pickle(file, program):
    "The file of torch.save with another pickle."
    torch.save({"x": torch.ones(4)}, file)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, program if name.endswith("data.pkl") else data)


def tensor_of(key, count, size, stride, offset=0, storage="FloatStorage") -> bytes:
    "A pickle of {'x': a tensor as told}."
    long = lambda n: b"\x8a\x08" + struct.pack("<q", n)
    whole = lambda numbers: b"(" + b"".join(map(long, numbers)) + b"t"
    return (
        b"\x80\x02}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
        + storage.encode()
        + b"\nX"
        + struct.pack("<I", len(key))
        + key.encode()
        + b"X\x03\x00\x00\x00cpu"
        + long(count)
        + b"tQ"
        + long(offset)
        + whole(size)
        + whole(stride)
        + b"\x89}tRs."
    )


def packed_parts(file):
    torch.save({"x": torch.zeros(20_000_000)}, file)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items(): archive.writestr(name, data)


def claims(file):
    "A zip whose part claims 64 GB, in the directory at its end."
    torch.save({"x": torch.ones(4)}, file)
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\x01\x02", data.index(b"data/0") + 6)
    while data[at + 46 : at + 46 + 40].find(b"data/0") < 0: at = data.index(b"PK\x01\x02", at + 4)
    data[at + 20 : at + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    file.write_bytes(data)


BOMBS = {
    "one number as 64 GB": lambda f: torch.save({"x": torch.zeros(1).expand(2**34)}, f),
    "one number as 64 GB, old form": lambda f: torch.save(
        {"x": torch.zeros(1).expand(2**34)}, f, _use_new_zipfile_serialization=False
    ),
    "a thousand names for 3 MB": lambda f: torch.save(
        dict.fromkeys(map(str, range(1000)), torch.zeros(750_000)), f
    ),
    "more than the storage": lambda f: with_pickle(f, tensor_of("0", 4, [2**33], [1])),
    "more than the part": lambda f: with_pickle(f, tensor_of("0", 2**33, [2**33], [1])),
    "behind the storage": lambda f: with_pickle(f, tensor_of("0", 4, [2], [1], offset=2**40)),
    "a step behind the storage": lambda f: with_pickle(f, tensor_of("0", 4, [2], [2**40])),
    "below nothing": lambda f: with_pickle(f, tensor_of("0", 4, [-2], [1])),
    "a step backwards": lambda f: with_pickle(f, tensor_of("0", 4, [2], [-1])),
    "a storage that is not there": lambda f: with_pickle(
        f, tensor_of("../../etc/passwd", 4, [2], [1])
    ),
    "an empty tensor of great width": lambda f: with_pickle(
        f, tensor_of("0", 4, [2**50, 0], [1, 1])
    ),
    "compressed": packed_parts,
    "a part of 4 GB in 1 kB": claims,
    "millions of lists": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x02" + b"]" * 40_000_000 + b".")
    ),
    "millions of sets": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x04" + b"\x8f" * 40_000_000 + b".")
    ),
    "a pickle of 100 MB": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x02" + b"N0" * 50_000_000 + b"N.")
    ),
    "a list two hundred thousand deep": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
    ),
    "a key that takes for ever": lambda f: f.write_bytes(
        in_a_checkpoint(
            b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"K\x01s."
        )
    ),
    "a memory at number four thousand million": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x02}r\xff\xff\xff\xff.")
    ),
    "text of 2 GB in 10 bytes": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x02X\xff\xff\xff\x7fab.")
    ),
    "a long number": lambda f: f.write_bytes(
        in_a_checkpoint(b"\x80\x02}\x8b\xff\xff\xff\x00" + b"\xff" * 0xFFFFFF + b"N0s.")
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_cannot_ask_for_more_than_it_holds(tmp_path, kind):
    file = tmp_path / "model.ckpt"
    BOMBS[kind](file)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for door in (read_checkpoint, load_vq):
        with pytest.raises(SGDiffError, match="model.ckpt"):
            door(file)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert more < 300 and time.monotonic() - began < 30, f"{more:.0f} MB"
    assert os.listdir(tmp_path) == ["model.ckpt"]


@pytest.mark.parametrize("name, door", [("sip", load_encoder), ("ldm", load_ldm), ("vq", load_vq)])
def test_a_network_whose_weights_are_all_the_same_bytes(tmp_path, states, name, door):
    torch.save(shared_by_all(states[name]), tmp_path / "model.ckpt")
    with pytest.raises(SGDiffError, match="asks for more than it holds"):
        door(tmp_path / "model.ckpt")


@pytest.mark.parametrize("name, door, more", [
    ("ldm", load_ldm, "model.diffusion_model.input_blocks.1.1.transformer_blocks.99999999.norm1.weight"),
    ("ldm", load_ldm, "model.diffusion_model.input_blocks.99999999.0.op.weight"),
    ("ldm", load_ldm, "model.diffusion_model.input_blocks." + "9" * 5000 + ".0.op.weight"),
    ("vq", load_vq, "encoder.down.0.block.10000000.conv1.weight"), ("vq", load_vq, "encoder.down.10000000.block.0.conv1.weight")])
def test_a_name_does_not_make_ten_million_blocks(tmp_path, states, name, door, more):
    torch.save(states[name] | {more: torch.ones(1)}, tmp_path / "model.ckpt")
    began = time.monotonic()
    with pytest.raises(SGDiffError, match="model.ckpt"):
        door(tmp_path / "model.ckpt")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name, door, key, shape", [
    ("sip", load_encoder, "obj_embeddings.weight", (10**12, 0)), ("sip", load_encoder, "graph_conv.net1.0.weight", (5,)),
    ("sip", load_encoder, "graph_projection.weight", (2, 2, 2)), ("sip", load_encoder, "pred_embeddings.weight", ()),
    ("vq", load_vq, "encoder.conv_in.weight", (3,)), ("vq", load_vq, "encoder.down.0.block.0.conv2.weight", (33, 33, 3, 3)),
    ("vq", load_vq, "quantize.embedding.weight", (0, 4)), ("vq", load_vq, "quantize.embedding.weight", (4,)),
    ("ldm", load_ldm, "model.diffusion_model.out.2.weight", (4,)), ("ldm", load_ldm, "model.diffusion_model.input_blocks.0.0.weight", (31, 4, 3, 3)),
    ("ldm", load_ldm, "model.diffusion_model.context_local_mlp.0.weight", (7, 7)), ("ldm", load_ldm, "scale_factor", (2,)),
    ("ldm", load_ldm, "betas", ()), ("ldm", load_ldm, "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.2.weight", (1, 0))])
def test_a_tensor_of_another_shape_is_told(tmp_path, states, name, door, key, shape):
    torch.save(states[name] | {key: torch.ones(shape)}, tmp_path / "model.ckpt")
    with pytest.raises(SGDiffError, match="model.ckpt"):
        door(tmp_path / "model.ckpt")


@pytest.mark.parametrize("value", [torch.tensor([float("nan")] * 32), torch.tensor([float("inf")] * 32), torch.ones(32, dtype=torch.int64), torch.ones(32, dtype=torch.complex64)])
def test_weights_are_finite_numbers(tmp_path, states, value):
    torch.save(states["sip"] | {"graph_projection.bias": value}, tmp_path / "sip.pt")
    with pytest.raises(SGDiffError, match="sip.pt.*graph_projection.bias.*diverged"):
        load_encoder(tmp_path / "sip.pt")


def test_any_changed_byte_is_found_or_without_effect(tmp_path):
    file = tmp_path / "last.ckpt"
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(3, dtype=torch.float16)}
    torch.save({"state_dict": state, "epoch": 3}, file)
    whole, found = file.read_bytes(), 0
    for at in range(0, len(whole), 2):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try: tensors = read_checkpoint(file).tensors
        except SGDiffError: found += 1
        else:
            assert list(tensors) == list(state) and all(
                torch.equal(tensors[k], v) for k, v in state.items()
            ), at
    assert found > 300


# --- safetensors, and folders of diffusers

def safetensors_file(header: bytes, n: int) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(n)


@pytest.mark.parametrize("content", [
    struct.pack("<Q", 2**40) + b"{}", b"\xff" * 8 + b"{}", struct.pack("<Q", 90_000_000) + b"{" + b" " * 1000, safetensors_file(b"[" * 100_000, 0),
    safetensors_file(b'{"a":' * 20_000, 0), safetensors_file(json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}).encode(), 16),
    safetensors_file(json.dumps({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}).encode(), 16),
    safetensors_file(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}', 32),
    safetensors_file(json.dumps({"a": {"dtype": "F32", "shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}}).encode(), 0)],
    ids=["terabyte", "below", "cut", "deep list", "deep dict", "too large", "overlapping", "twice", "overflow"])
def test_hostile_safetensors(tmp_path, content):
    for name in ("model.safetensors", "model.ckpt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SGDiffError, match="model"):
            (load_weights if name.endswith("tensors") else read_checkpoint)(tmp_path / name)


@pytest.mark.parametrize("settings", [{"layers_per_block": 10_000_000}, {"block_out_channels": [2**40, 2**40]}, {"block_out_channels": []}, {"block_out_channels": "many"},
                                      {"num_vq_embeddings": 2**50}, {"layers_per_block": None}, {"norm_num_groups": 0}, {"down_block_types": [1, 2]}])
def test_a_first_stage_of_absurd_sizes_is_not_built(tmp_path, settings):
    stage = FirstStage(
        FirstStageConfig(channels=(32, 32), n_blocks=1, attention_levels=(1,), n_codes=32)
    )
    stage.network.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | settings))
    began = time.monotonic()
    with pytest.raises(SGDiffError, match=re.escape(f"{tmp_path}") + ".*config.json tells sizes"):
        load_first_stage(tmp_path)
    assert time.monotonic() - began < 20


def test_a_first_stage_without_some_of_its_weights_is_not_made_up(tmp_path):
    stage = FirstStage(
        FirstStageConfig(channels=(32, 32), n_blocks=1, attention_levels=(1,), n_codes=32)
    )
    stage.network.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_weights(file)
    for changed, told in (
        ({k: v for k, v in state.items() if "conv_out" not in k}, "missing_keys"),
        (state | {"more": torch.ones(1)}, "unexpected_keys"),
        (state | {"decoder.conv_out.bias": torch.full((3,), float("nan"))}, "no finite numbers"),
    ):
        save_file({k: v.clone() for k, v in changed.items()}, file)
        with pytest.raises(SGDiffError, match=told):
            load_first_stage(tmp_path)
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SGDiffError, match="git lfs pull"):
        load_first_stage(tmp_path)
