"""Full runs in small: prepared photographs through both stages and the evaluation, and the official
form of the models."""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from sgdiff import cli
from sgdiff.full import commands as full_commands
from sgdiff.method.contrastive import ImageEncoder
from sgdiff.core import load_weights
from sgdiff.errors import SGDiffError, load_json
from sgdiff.full.presets import (
    PRESETS, build_generation, open_data, open_first_stage, open_image_encoder)
from sgdiff.pretrained.official import OfficialPipeline
from sgdiff.pretrained.official_weights import official_ddim
from sgdiff.full.protocol import Protocol, pipeline_draw
from sgdiff.full.train import Request, check_settings
from sgdiff.training.stages import changed


def train(argv):
    "What `sgdiff train` ends with."
    return cli.main(["train", *argv])


SMALL = [
    "--set", "pretrain_batch=4", "--set", "diffusion_batch=4", "--set", "diffusion_images=16",
    "--set", "pretrain_epochs=1", "--quiet",
]


def options(**values):
    "The command line of these options."
    return [part for name, value in values.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    "A tiny Visual Genome, prepared as the real one is."
    pytest.importorskip("h5py")
    raw_formats = pytest.importorskip("sgdiff.real.tiny")
    prepare = pytest.importorskip("sgdiff.real.prepare")
    folder = raw_formats.write_tiny_vg(tmp_path_factory.mktemp("vg"), n=24)
    parser = argparse.ArgumentParser()
    prepare.add_command(parser.add_subparsers())
    few = [
        "--min-object-instances", "1", "--min-attribute-instances", "1",
        "--min-predicate-instances", "1", "--quiet",
    ]
    args = parser.parse_args(
        [
            "prepare",
            "vg",
            *options(raw=folder / "raw", images=folder / "images", out=folder / "prepared"),
            *few,
        ]
    )
    args.run(args)
    return folder


QUICK = [
    "--set", "toy_scenes=16", "--set", "pretrain_batch=8", "--set", "diffusion_batch=8", "--set",
    "diffusion_images=16", "--set", "pretrain_epochs=1", "--quiet",
]


class Colours(torch.nn.Module):
    "Features and classes of any pictures, where Inception's weights cannot be had."
    name, num_features = "mean colours", 6

    def forward(self, images): return torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)


@pytest.fixture
def colours(monkeypatch):
    "`--features judge` means `Colours` here: the toy world's judge is refused on photographs."
    monkeypatch.setattr(full_commands, "toy_features", lambda folder: (Colours(), Colours()))


def test_photographs_go_through_both_stages_and_the_evaluation(prepared, tmp_path, capsys):
    where = options(
        data=prepared / "prepared", images=prepared / "images", preset="trial", out=tmp_path / "run"
    )
    for stage in ("pretrain", "diffusion"):
        assert train([*where, *options(stage=stage), *SMALL]) == 0, capsys.readouterr().err
    told = load_json(tmp_path / "run" / "run.json")
    assert told["training_images"] > 4 and told["pretrain_batch"] == 4
    asked = [
        "evaluate",
        *options(folder=tmp_path / "run", split="test", steps=2, features="judge", batch=3),
    ]
    assert cli.main(asked) == 1 and "knows toy scenes" in capsys.readouterr().err
    assert not (tmp_path / "run" / "evaluation-test").exists()  # nothing was drawn for it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_commands, "toy_features", lambda folder: (Colours(), Colours()))
        assert cli.main(asked) == 0, capsys.readouterr().err
    report = load_json(tmp_path / "run" / "evaluation-test" / "report.json")
    drawn = list((tmp_path / "run" / "evaluation-test" / "pictures").rglob("*.png"))
    assert len(drawn) == report["n"] > 0 and report["protocol"]["num_inference_steps"] == 2
    assert (
        set(report["weights"]) == {"graph_encoder", "unet", "pretrain"}
        and report["versions"]["torch"]
    )
    assert report["image_encoder"] == "our own, trained in stage 1"
    said = capsys.readouterr().out
    assert (
        "FID" in said
        and f"retrieval among 1000: left out, for there are only {report['n']} images" in said
    )


def test_names_alone_train_both_stages_and_evaluate_them(prepared, tmp_path, monkeypatch, capsys,
                                                         colours):
    """`sgdiff train --data vg --preset paper` and `sgdiff evaluate --data vg`, as they stand in the
    help; the sizes alone are small."""
    shutil.copytree(prepared / "prepared", tmp_path / "prepared" / "vg")
    (tmp_path / "prepared" / "vg" / "images").symlink_to(prepared / "images")
    monkeypatch.chdir(tmp_path)
    train_vg = ["train", "--data", "vg", "--preset", "paper"]
    evaluate_vg = ["evaluate", "--data", "vg", "--split", "test"]
    assert cli.main(train_vg) == 1 and "weights/vq-f8.ckpt" in capsys.readouterr().err
    assert (
        cli.main(evaluate_vg) == 1
        and "runs/paper-vg holds no run.json" in capsys.readouterr().err
    )
    assert not Path("runs").exists()
    tiny = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in asdict(PRESETS["trial"]).items()
    }
    small = [part for name, value in tiny.items() for part in ("--set", f"{name}={value}")] + SMALL
    assert cli.main([*train_vg, *small]) == 0, capsys.readouterr().err
    assert cli.main([*train_vg, *small]) == 1 and "add --resume" in capsys.readouterr().err
    assert cli.main([*train_vg, *small, "--resume"]) == 0
    short = ["--steps", "2", "--features", "judge"]
    assert cli.main([*evaluate_vg, *short]) == 0, capsys.readouterr().err
    report = load_json("runs/paper-vg/evaluation-test/report.json")
    assert report["data"].startswith("vg, split test")

    shutil.copytree("prepared/vg", "moved", symlinks=True)
    elsewhere = ["evaluate", "--folder", "runs/paper-vg", "--out", "elsewhere", *short]
    assert cli.main([*elsewhere, "--data", "moved"]) == 0
    assert load_json("elsewhere/report.json")["data"].startswith("moved, ")
    other = load_json("prepared/vg/vocab.json")
    other["object_name_to_idx"] = dict(
        zip(other["object_name_to_idx"], [0, *reversed(range(1, len(other["object_name_to_idx"])))])
    )
    other["object_idx_to_name"] = sorted(
        other["object_name_to_idx"], key=other["object_name_to_idx"].get
    )
    Path("moved").rename("prepared/coco")
    Path("prepared/coco/vocab.json").write_text(json.dumps(other))
    Path("prepared/coco/SHA256SUMS").unlink()
    assert (
        cli.main([*elsewhere, "--data", "coco"]) == 1
        and "another vocabulary" in capsys.readouterr().err
    )
    assert (
        cli.main([*elsewhere, "--data", "gqa"]) == 1
        and "prepared/gqa holds no vocab.json" in capsys.readouterr().err
    )


def test_shards_train_the_weights_that_the_folder_trains(prepared, tmp_path, capsys, colours):
    """Both stages, bit for bit; a run that was begun on the folder is finished on shards;
    evaluation reads them too."""
    tables, images, packed = prepared / "prepared", prepared / "images", tmp_path / "packed"
    pack = [
        "prepare",
        "shards",
        *options(tables=tables, images=images, out=packed),
        "--per-shard",
        "3",
        "--quiet",
    ]
    assert cli.main(pack) == 0 and "train images in" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in packed.rglob("*.tar")}
    assert (
        cli.main(pack) == 0
        and {path: path.stat().st_mtime_ns for path in packed.rglob("*.tar")} == before
    )
    small = [*SMALL, "--set", "fit=squash"]
    assert (
        train([*options(data=tables, images=images, preset="trial", out=tmp_path / "a"), *small])
        == 0
    )
    assert (
        train(
            [
                *options(
                    data=tables, images=images, preset="trial", stage="pretrain", out=tmp_path / "b"
                ),
                *small,
            ]
        )
        == 0
    )
    assert (
        train(
            [
                *options(data=packed, preset="trial", stage="diffusion", out=tmp_path / "b"),
                *small,
                "--resume",
            ]
        )
        == 0
    )
    assert train([*options(data=packed, preset="trial", out=tmp_path / "c"), *small]) == 0
    for name in ("pretrain/model.safetensors", "diffusion/model.safetensors"):
        assert len({(tmp_path / run / name).read_bytes() for run in "abc"}) == 1, name
    assert (
        train([*options(data=packed, preset="trial", out=tmp_path / "c"), *SMALL, "--resume"]) == 1
        and "fit: 'squash' there, 'crop' now" in capsys.readouterr().err
    )
    assert (
        cli.main(
            ["evaluate", *options(folder=tmp_path / "c", split="test", steps=2, features="judge")]
        )
        == 0
    )
    assert (
        load_json(tmp_path / "c" / "evaluation-test" / "report.json")["data_settings"]["fit"]
        == "squash"
    )
    shutil.rmtree(packed / "test")
    assert (
        cli.main(
            ["evaluate", *options(folder=tmp_path / "c", split="test", steps=2, features="judge")]
        )
        == 1
    )
    assert "holds shards of train, val, none of test" in capsys.readouterr().err
    assert (
        cli.main([*pack[:2], *options(tables=images, images=images, out=packed)]) == 1
        and "holds no train.h5" in capsys.readouterr().err
    )


def test_a_photograph_is_squashed_or_cropped_and_nothing_else():
    with pytest.raises(SGDiffError, match="fit is 'stretch', expected 'crop' or 'squash'"):
        changed(PRESETS["trial"], ["fit=stretch"])
    assert changed(PRESETS["paper"], ["fit=squash"]).fit == "squash"


def test_the_linear_first_stage_is_not_made_of_other_pictures(tmp_path, capsys):
    """pca is made of the training images anew: a run held against other data would draw through
    another first stage than its own."""
    assert train([*options(data="toy", preset="trial", out=tmp_path), *QUICK]) == 0
    told = load_json(tmp_path / "run.json")
    (tmp_path / "run.json").write_text(json.dumps(told | {"toy_scenes": 24}))
    assert (
        cli.main(["evaluate", *options(folder=tmp_path, steps=2, features="judge")]) == 1
    )
    assert "another first stage" in capsys.readouterr().err


def test_the_official_form_is_trained_and_draws_by_the_same_commands(tmp_path):
    form = [
        "--set", "official=true", "--set", "channel_mult=1,2", "--set", "toy_scenes=16", "--set",
        "pretrain_batch=8", "--set", "diffusion_batch=8", "--set", "diffusion_images=16", "--set",
        "pretrain_epochs=1", "--set", "gradient_checkpointing=true", "--quiet",
    ]
    for stage in ("pretrain", "diffusion"):
        assert train([*options(data="toy", preset="trial", stage=stage, out=tmp_path), *form]) == 0
    checkpoint = torch.load(tmp_path / "diffusion" / "checkpoint.pt", weights_only=True)
    assert (
        checkpoint["step"] == 2
        and not any("null_context" in name for name in checkpoint["model"])
    )
    lines = [
        json.loads(line) for line in (tmp_path / "diffusion" / "log.jsonl").read_text().splitlines()
    ]
    # noise is predicted, and at first nothing is known of it
    assert all(0.5 < line["loss"] < 2 for line in lines)


    pipe = full_commands.assemble_run(tmp_path, open_data("toy", "train", 32, toy_scenes=16))
    assert (
        isinstance(pipe, OfficialPipeline)
        and pipe.graph_encoder.config.max_triples == 15
        and not pipe.unet.config.null_token
    )
    graph = {"objects": ["sheep", "tree"], "relationships": [[0, "left of", 1]]}
    start = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    drawn = pipe(graph, num_inference_steps=4, latents=start, eta=0.0)
    assert drawn.images[0].size == (32, 32) and drawn.pixels.isfinite().all()
    context, _ = pipe.context(drawn.graphs)
    assert context.shape == (1, 16, 32)  # 15 triples, most of them padding, and the whole
    with torch.no_grad():
        by_hand = pipe.vae.from_latents(
            official_ddim(lambda x, t: pipe.unet(x, t, context), start, 4, 0.0)
        )
    torch.testing.assert_close(by_hand, drawn.pixels)
    turned = pipe(
        {**graph, "relationships": [[1, "left of", 0]]},
        num_inference_steps=4,
        latents=start,
        eta=0.0,
    )
    assert not turned.pixels.equal(drawn.pixels)  # the graph is read
    by_protocol = pipeline_draw(pipe, Protocol(num_inference_steps=4, sampler="ddpm"))(
        drawn.graphs, [3]
    )
    assert by_protocol.shape == drawn.pixels.shape and by_protocol.isfinite().all()


def test_stage_1_of_the_paper_looks_through_open_clip(prepared, tmp_path):
    """ViT-B/32 in its true shapes, with random weights: two steps by the command line, and the pair
    that retrieval asks for."""
    pytest.importorskip("open_clip", reason="CLIP needs open_clip: pip install 'sgdiff[clip]'")
    out = tmp_path / "run"
    where = options(
        data=prepared / "prepared",
        images=prepared / "images",
        preset="paper",
        stage="pretrain",
        out=out,
    )
    few = [
        "--set", "clip=ViT-B-32-quickgelu/random", "--set", "n_layers=2", "--set",
        "pretrain_batch=8", "--set", "pretrain_epochs=1", "--set", "log_every=1", "--quiet",
    ]
    assert train([*where, *few]) == 0
    lines = [json.loads(line) for line in (out / "pretrain" / "log.jsonl").read_text().splitlines()]
    assert (
        1 <= len(lines) <= 3
        and all(line["grad_norm"] > 0 and 0 < line["masked"] < 5 for line in lines)
    )
    saved = load_weights(out / "pretrain" / "model.safetensors")
    # CLIP's 350 MB are not copied
    assert {name.split(".")[0] for name in saved} == {
        "graph_encoder", "contrastive_head", "masked_head",
    }
    assert saved["masked_head.out.1.weight"].shape == (768, 768)
    data = open_data(str(prepared / "prepared"), "train", 224, prepared / "images")
    encoder, look = full_commands.pretrained_pair(out, data.config.vocab)
    tokens, seen = look(data.pixels(torch.arange(2)))
    assert tokens.shape == (2, 49, 768) and seen.shape == (2, encoder.config.global_dim) == (2, 512)
    assert not any(p.requires_grad for p in look.parameters())
    again = open_image_encoder(full_commands.open_run(out)[1])
    # of every process
    assert all(
        a.equal(b)
        for a, b in zip(look.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_an_unfinished_run_is_not_evaluated(tmp_path):
    assert (
        train(
            [
                *options(data="toy", preset="trial", stage="pretrain", out=tmp_path),
                "--set",
                "toy_scenes=16",
                "--set",
                "pretrain_epochs=1",
                "--quiet",
            ]
        )
        == 0
    )
    with pytest.raises(SGDiffError, match="stage 'diffusion' is not done"):
        full_commands.assemble_run(tmp_path, None)
    assert cli.main(["evaluate", *options(folder=tmp_path / "nothing")]) == 1


@pytest.mark.parametrize("off", ["contrastive", "masked"])
def test_a_loss_of_stage_1_may_be_off(tmp_path, off):
    assert (
        train(
            [
                *options(data="toy", preset="trial", stage="pretrain", out=tmp_path),
                *QUICK,
                "--set",
                f"{off}=false",
            ]
        )
        == 0
    )
    line = json.loads((tmp_path / "pretrain" / "log.jsonl").read_text().splitlines()[-1])
    assert off not in line and {"contrastive", "masked"} - {off} <= set(line)


def test_without_losses_there_is_no_stage_1_and_stage_2_trains_the_graph_encoder(tmp_path, capsys):
    off = [*QUICK, "--set", "contrastive=false", "--set", "masked=false"]
    where = options(data="toy", preset="trial", out=tmp_path)
    assert (
        train([*where, *off, *options(stage="diffusion")]) == 1
        and "set train_encoder=true" in capsys.readouterr().err
    )
    off += ["--set", "train_encoder=true"]
    assert (
        train([*where, *off, *options(stage="pretrain")]) == 1
        and "there is no stage 1" in capsys.readouterr().err
    )
    assert train([*where, *off, *options(stage="diffusion")]) == 0
    preset = full_commands.open_run(tmp_path)[1]
    data = open_data("toy", "train", 32, toy_scenes=16)
    first = build_generation(preset, data.config.vocab, 8)
    trained = full_commands.assemble_run(tmp_path, data)
    assert any(
        not a.equal(b)
        for a, b in zip(
            first.graph_encoder.state_dict().values(),
            trained.graph_encoder.state_dict().values(),
            strict=True,
        )
    )
    assert (
        cli.main(["evaluate", *options(folder=tmp_path, steps=2, features="judge")]) == 0
    )
    report = load_json(tmp_path / "evaluation-test" / "report.json")
    assert (
        report["retrieval"] is None
        and set(report["weights"]) == {"graph_encoder", "unet"}
        and report["fid"]["fid"] > 0
    )
    assert "retrieval: left out" in capsys.readouterr().out


def test_no_option_is_the_beginning_of_a_launchers():
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser
    theirs = {
        name
        for p in (get_args_parser(), launch_command_parser())
        for a in p._actions
        for name in a.option_strings
    }
    commands = cli.make_parser()._subparsers._group_actions[0].choices
    ours = {
        name
        for c in ("train", "evaluate")
        for a in commands[c]._actions
        for name in a.option_strings
        if name.startswith("--")
    } - {"--help", "--quiet", "--n"}  # for --n there is --first
    assert {"--data", "--folder", "--resume"} <= ours
    # they would read it as theirs, or stop
    assert not [(o, t) for o in ours for t in theirs if t.startswith(o)]


def test_each_stage_is_asked_for_its_own_settings(tmp_path):
    """Stage 1 knows of no first stage, stage 2 of no batch of stage 1; what both share may not
    change, nor what a begun stage was begun with."""
    def ask(stage, resume=True, **changes):
        check_settings(
            Request("toy", stage, tmp_path, replace(PRESETS["trial"], **changes), resume=resume),
            {"training_images": 512},
        )

    def begin(stage):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "checkpoint.pt").touch()

    ask("pretrain", dim=16)
    # nothing was begun: the settings may still change
    ask("pretrain", False, first_stage="", pretrain_batch=8)
    begin("pretrain")
    with pytest.raises(SGDiffError, match="--resume"):
        ask("pretrain", False, first_stage="", pretrain_batch=8)
    with pytest.raises(SGDiffError, match="pretrain_batch: 8 there, 16 now"):
        ask("pretrain")
    with pytest.raises(SGDiffError, match="dim: 32 there, 16 now"):
        ask("diffusion", dim=16)
    ask("diffusion", first_stage="pca", precision="bf16", model_channels=64)
    begin("diffusion")
    told, preset = full_commands.open_run(tmp_path)
    assert (
        preset.pretrain_batch, preset.first_stage, preset.model_channels,
        told["training_images"],
    ) == (8, "pca", 64, 512)
    ask("diffusion", precision="bf16", model_channels=64, accumulate=2)
    with pytest.raises(SGDiffError, match="model_channels: 64 there, 32 now"):
        ask("diffusion", precision="bf16")
    ask("pretrain", pretrain_batch=8)  # the same line as at first, whatever stage 2 was run with
    # finished, and its checkpoint thrown away
    (tmp_path / "pretrain" / "checkpoint.pt").rename(tmp_path / "pretrain" / "model.safetensors")
    ask("diffusion", model_channels=64)
    assert full_commands.open_run(tmp_path)[1].pretrain_batch == 8


def test_data_and_first_stage_may_be_moved_but_not_replaced(tmp_path):
    def ask(stage, data="here", first_stage="here.ckpt", rate=1e-6, **held):
        preset = replace(PRESETS["trial"], first_stage=first_stage, rate_per_image=rate)
        check_settings(
            Request(data, stage, tmp_path, preset, resume=True),
            {"training_images": 512, "data_fingerprint": "a", "first_stage_fingerprint": "b"}
            | held,
        )

    for stage in ("pretrain", "diffusion"):
        ask(stage)
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "checkpoint.pt").touch()
        ask(stage, data="there", first_stage="there.ckpt")
    ask("diffusion", rate=5e-7)  # fit warns of it
    with pytest.raises(SGDiffError, match="data_fingerprint: 'a' there, 'other' now"):
        ask("diffusion", data_fingerprint="other")
    with pytest.raises(SGDiffError, match="first_stage_fingerprint: 'b' there, 'other' now"):
        ask("diffusion", first_stage_fingerprint="other")
    ask("pretrain", first_stage_fingerprint=None)  # stage 1 knows of none


def test_latents_are_those_of_these_pictures_and_this_first_stage(prepared):
    "A data set is known by what it holds, not by its name or its place."
    from sgdiff.real.dataset import data_fingerprint
    from sgdiff.folders import write_sums
    from sgdiff.full.presets import first_stage_fingerprint
    opened = [
        open_data(str(prepared / "prepared"), split, size, prepared / "images")
        for split, size in (("train", 32), ("train", 64), ("test", 32))
    ]
    marks = [data_fingerprint(data) for data in opened]
    assert marks[0] == marks[1] != marks[2]
    copied = prepared / "elsewhere"
    shutil.copytree(prepared / "prepared", copied)
    assert data_fingerprint(open_data(str(copied), "train", 32, prepared / "images")) == marks[0]
    words = load_json(copied / "vocab.json")  # as many words, in another order
    names = words["object_name_to_idx"]
    a, b = [name for name in names if names[name]][:2]
    names[a], names[b] = names[b], names[a]
    words["object_idx_to_name"] = sorted(names, key=names.get)
    (copied / "vocab.json").write_text(json.dumps(words))
    write_sums(copied)
    other = open_data(str(copied), "train", 32, prepared / "images")
    assert data_fingerprint(other) != marks[0]
    with pytest.raises(SGDiffError, match="another vocabulary"):
        full_commands.check_words(opened[0].config.vocab, other.config.vocab)
    full_commands.check_words(opened[0].config.vocab, opened[2].config.vocab)
    weights = prepared / "stage"
    weights.mkdir()
    (weights / "a.bin").write_bytes(b"1")
    stage = replace(PRESETS["trial"], first_stage=str(weights))
    before = first_stage_fingerprint(stage, opened[0])
    (weights / "a.bin").write_bytes(b"2")
    assert first_stage_fingerprint(stage, opened[0]) != before
    assert (
        first_stage_fingerprint(replace(stage, first_stage="owner/name"), opened[0]) == "owner/name"
    )


def test_a_kl_autoencoder_in_a_bare_checkpoint_must_be_told_its_scale(tmp_path):
    pytest.importorskip("diffusers")
    from sgdiff.pretrained.first_stages import FirstStage, FirstStageConfig, from_diffusers
    small = FirstStageConfig(
        "kl", channels=(32, 64), attention_levels=(), n_blocks=1, scale=0.18215
    )
    stage = FirstStage(small)
    torch.save({"state_dict": from_diffusers(stage.network.state_dict(), 2)}, tmp_path / "kl.ckpt")
    preset = replace(PRESETS["trial"], first_stage=str(tmp_path / "kl.ckpt"))
    with pytest.raises(SGDiffError, match="--set first_stage_scale"):
        open_first_stage(preset, None)
    told = open_first_stage(replace(preset, first_stage_scale=0.18215), None)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert (
        told.config.scale == 0.18215
        and torch.allclose(told.to_latents(x), stage.eval().to_latents(x), atol=1e-5)
    )


def test_a_vq_that_says_nothing_of_a_scale_has_none(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    from sgdiff.pretrained.first_stages import load_first_stage
    network = diffusers.VQModel(
        block_out_channels=(32,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        latent_channels=4,
        num_vq_embeddings=16,
    )
    network.save_pretrained(tmp_path)
    told = load_json(tmp_path / "config.json")
    del told["scaling_factor"]
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert load_first_stage(tmp_path).config.scale == 1
    (tmp_path / "config.json").write_text(json.dumps(told | {"scaling_factor": 0.5}))
    assert load_first_stage(tmp_path).config.scale == 0.5


@pytest.mark.parametrize("size, patch", [(32, 4), (64, 8), (224, 16), (256, 32), (20, 4)])
def test_an_image_encoder_of_our_own_cuts_every_usual_size(size, patch):
    from sgdiff.full.presets import image_config
    sizes = image_config(replace(PRESETS["trial"], pretrain_size=size))
    assert sizes.patch == patch
    tokens, seen = ImageEncoder(sizes)(torch.zeros(1, 3, size, size))
    assert tokens.shape[1] == (size // patch) ** 2 and seen.shape == (1, 32)


def test_a_size_without_patches_is_refused():
    with pytest.raises(SGDiffError, match="pretrain_size=112"):
        open_image_encoder(replace(PRESETS["trial"], pretrain_size=98))


def test_the_official_form_is_evaluated_by_the_official_sampler():
    def protocol(official, *argv):
        return full_commands.protocol_of(
            full_commands.usual(cli.make_parser().parse_args(["evaluate", "--folder", "x", *argv])),
            replace(PRESETS["trial"], official=official),
        )

    told = protocol(True)
    assert (told.sampler, told.num_inference_steps, told.guidance_scale, told.relation_scale) == (
        "ddim", 200, 1.0, 0.0,
    )
    told = protocol(False, "--relations", "1.5", "--seed", "3", "--batch", "5")
    assert (told.sampler, told.guidance_scale, told.relation_scale, told.seed, told.batch_size) == (
        "ddpm", 3.0, 1.5, 3, 5,
    )
    with pytest.raises(SGDiffError, match="--steps is 150.*divisor of 1000"):
        protocol(True, "--steps", "150")
    assert protocol(True, "--steps", "150", "--sampler", "ddpm").num_inference_steps == 150
    for wrong in (["--guidance", "2"], ["--relations", "1"]):
        with pytest.raises(SGDiffError, match="without guidance"):
            protocol(True, *wrong)
    for official in (True, False):
        with pytest.raises(SystemExit, match="2"):  # a wrong option
            protocol(official, "--steps", "0")


TWO_STAGES = [
    *options(data="toy", preset="trial"),
    *QUICK,
    "--set",
    "diffusion_images=32",
    "--set",
    "log_every=1",
]


@pytest.fixture(scope="module")
def by_one_process(tmp_path_factory):
    "Folders of two runs by one process: stage 1 alone, and both stages."
    begun, whole = (tmp_path_factory.mktemp("run") / name for name in ("begun", "whole"))
    assert train([*TWO_STAGES, *options(stage="pretrain", out=begun)]) == 0
    shutil.copytree(begun, whole)
    assert train([*TWO_STAGES, *options(stage="diffusion", out=whole)]) == 0
    return begun, whole


@pytest.mark.parametrize("machines", [1, 2])
def test_stage_2_by_two_processes_of_accelerates_launcher_is_that_of_one(
    by_one_process, tmp_path, machines
):
    """The lines of 30_full_runs, on CPUs: two processes, of one launcher or of one on each of two
    machines, make the latents once, and each computes half of every batch."""
    begun, one = by_one_process
    two = shutil.copytree(begun, tmp_path / "two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", str(machines), "--main_process_ip", "127.0.0.1", "--main_process_port",
        str(port), "--rdzv_backend", "static", "--mixed_precision", "no", "--dynamo_backend", "no",
    ]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(cli.__file__).parents[1]),
    }
    launched = [
        subprocess.Popen(
            [
                *launcher, "--machine_rank", str(rank), "-m", "sgdiff.cli", "train", *TWO_STAGES,
                *options(stage="diffusion", out=two),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(machines)
    ]
    try: said = [process.communicate(timeout=300)[1] for process in launched]
    finally: [process.kill() for process in launched]
    assert [process.returncode for process in launched] == [0] * machines, said[0][-3000:]
    checkpoints = [
        torch.load(out / "diffusion" / "checkpoint.pt", weights_only=True) for out in (one, two)
    ]
    assert (
        [c["step"] for c in checkpoints] == [4, 4]
        and [c["processes"] for c in checkpoints] == [1, 2]
    )
    histories = [
        [
            json.loads(line)["loss"]
            for line in (out / "diffusion" / "log.jsonl").read_text().splitlines()
        ]
        for out in (one, two)
    ]
    assert histories[1] == pytest.approx(histories[0], rel=1e-4) and len(histories[0]) == 4
    latents = [
        {
            path.relative_to(out): path.read_bytes()
            for path in (out / "latents").rglob("*.safetensors")
        }
        for out in (one, two)
    ]
    assert latents[0] == latents[1] != {}
    weights = [load_weights(out / "diffusion" / "unet.safetensors") for out in (one, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=2e-3)


TASK = """
trap "" USR1
{launcher} -m sgdiff.cli train {options} & launcher=$!
trap "pkill -USR1 -P $launcher" USR1
wait $launcher; wait $launcher
"""


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "pkill"))), reason="the script of "
                                                                          "30_full_runs needs bash "
                                                                          "and pkill")
def test_a_schedulers_signal_saves_a_run_of_two_processes(tmp_path):
    """The task of the SLURM script, with torch's launcher, which `accelerate launch` starts too:
    USR1 to all of it saves, and the run goes on."""
    launcher = (
        f"{sys.executable} -m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2"
    )
    long = [
        "--set", "pretrain_batch=8", "--set", "pretrain_epochs=100000", "--set", "toy_scenes=64",
        "--quiet", "--resume",
    ]
    script = TASK.format(
        launcher=launcher,
        options=" ".join(
            [*options(data="toy", preset="trial", stage="pretrain", out=tmp_path / "run"), *long]
        ),
    )
    checkpoint, saved = tmp_path / "run" / "pretrain" / "checkpoint.pt", []
    for _ in range(2):
        with open(tmp_path / "said", "a") as said:
            task = subprocess.Popen(
                ["bash", "-c", script],
                stderr=said,
                stdout=said,
                start_new_session=True,
                env=os.environ | {"ACCELERATE_USE_CPU": "true"},
            )
        try:
            log = tmp_path / "run" / "pretrain" / "log.jsonl"
            lines = log.read_text().count("\n") if log.exists() else 0
            deadline = time.monotonic() + 180
            while (
                task.poll() is None
                and time.monotonic() < deadline
                and (not log.exists() or log.read_text().count("\n") < lines + 2)
            ):
                time.sleep(0.2)
            assert task.poll() is None and time.monotonic() < deadline, (
                tmp_path / "said"
            ).read_text()
            os.killpg(task.pid, signal.SIGUSR1)  # as a scheduler does: to the whole task
            task.wait(timeout=120)
        finally:
            if task.poll() is None: os.killpg(task.pid, signal.SIGKILL)
            # workers have sessions of their own
            subprocess.run(["pkill", "-KILL", "-f", str(tmp_path / "run")], check=False)
        saved.append(torch.load(checkpoint, weights_only=True)["step"])
    assert 0 < saved[0] < saved[1], (tmp_path / "said").read_text()
    # once in each round; the launcher may end the second process before it says so
    assert (tmp_path / "said").read_text().count("stopped and saved") >= 2


def test_a_plan_is_measured_where_no_speed_is_given(capsys):
    assert cli.main(["plan", "--preset", "trial", "--data", "toy"]) == 0
    said = capsys.readouterr().out
    assert "smaller UNet" in said and "not known" not in said
    hours = [
        float(line.split()[-1])
        for line in said.splitlines()
        if re.match(r"stage [12], (memory|hours)", line)
    ]
    assert len(hours) == 4 and all(value >= 0 for value in hours)


def test_a_plan_counts_what_the_preset_asks_for():
    from sgdiff.full.planner import STAGE_1, plan
    def planned(**changes): return plan(replace(PRESETS["trial"], **changes), "toy", speed=1e12)
    usual, frozen = planned(), planned(clip="ViT-B-32-quickgelu/openai", dim=512)
    n_encoder = usual["graph encoder, million parameters"] * 1e6
    learning = planned(train_encoder=True)
    # gradient and AdamW
    assert learning["stage 2, memory, GB"] - usual["stage 2, memory, GB"] == pytest.approx(
        12 * n_encoder / 2**30, rel=1e-6
    )
    assert learning["stage 2, GFLOP an image"] > usual["stage 2, GFLOP an image"]
    # one look, not two
    assert planned(masked=False)["stage 1, GFLOP an image"] < usual["stage 1, GFLOP an image"]
    # our own image encoder has more patches
    assert (
        planned(pretrain_size=48)["stage 1, GFLOP an image"]
        > 1.5 * usual["stage 1, GFLOP an image"]
    )
    # CLIP resizes to its own
    assert (
        planned(clip="ViT-B-32-quickgelu/openai", dim=512, pretrain_size=64)[
            "stage 1, GFLOP an image"
        ]
        == frozen["stage 1, GFLOP an image"]
    )
    assert planned(pretrain_batch=64)["stage 1, memory, GB"] > usual["stage 1, memory, GB"]
    assert usual["stage 1, hours"] == pytest.approx(
        512 * usual["stage 1, GFLOP an image"] / (STAGE_1 * 1000 * 3600)
    )
    without = planned(contrastive=False, masked=False, train_encoder=True)
    assert (
        without["stage 1, hours"]
        == without["stage 1, memory, GB"]
        == without["stage 1, steps"]
        == 0
    )
