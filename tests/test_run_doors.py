"""What a run's folder promises: one writer, files as they were written, settings that can be built.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sgdiff import cli
from sgdiff.cli import main
from sgdiff.full import commands as full_commands
from sgdiff.pretrained.checkpoints import read_checkpoint
from sgdiff.core import load_weights
from sgdiff.errors import SGDiffError, load_json, save_json
from sgdiff.folders import SUMS, one_writer
from sgdiff.toy.judge import load_judge
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.recipes import PRESETS, is_packed, keep_packed, load_pretraining, train_all

PRESET = replace(PRESETS["tiny"], n_scenes=64)
ROOT = Path(cli.__file__).parents[1]
FULL = ["--data", "toy", "--preset", "trial", "--set", "toy_scenes=16", "--set", "pretrain_batch=8",
        "--set", "diffusion_batch=8",
        "--set", "diffusion_images=16", "--quiet"]


def train(argv):
    "What `sgdiff train` ends with."
    return main(["train", *argv])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A finished toy run."
    out = tmp_path_factory.mktemp("runs") / "toy"
    assert train_all(PRESET, out, progress=False)
    return out


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    "A finished full run, of a toy's size."
    out = tmp_path_factory.mktemp("runs") / "full"
    assert train([*FULL, "--out", str(out)]) == 0
    return out


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder): path.read_bytes() for path in files}


def turn(path, place=-1):
    "Turns a bit of a file."
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# --- files are those that were written

def test_a_turned_bit_of_any_packed_file_is_noticed(finished):
    files = sorted(path for path in (finished / "weights").rglob("*") if path.is_file())
    assert is_packed(finished / "weights") and len(files) > 15
    for path in files:
        turn(path, len(path.read_bytes()) // 2)
        assert not is_packed(finished / "weights"), path
        turn(path, len(path.read_bytes()) // 2)
    assert is_packed(finished / "weights")


def test_what_is_damaged_is_made_again_as_it_was(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    before = contents(out)
    for path in (out / "weights").rglob("*.safetensors"): turn(path)
    for place in ("vae/model.safetensors", "polish/graph_encoder.safetensors",
                  "pretrain/log.jsonl"):
        turn(out / place)
    (out / "judge" / "stage.json").write_text("{")
    with pytest.warns(UserWarning, match="stage '(vae|polish|pretrain|judge)' is made again"):
        assert train_all(PRESET, out, progress=False)
    after = contents(out)
    assert before.keys() == after.keys()
    # which has the seconds
    other = [name for name in before if before[name] != after[name]]
    assert all(name.name == "stage.json" for name in other)


def test_a_damaged_stage_is_not_read(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    turn(out / "vae" / "model.safetensors")
    shutil.rmtree(out / "decoder")
    with pytest.raises(SGDiffError, match="vae/model.safetensors is not the file that was written"):
        train_all(PRESET, out, ("decoder",), progress=False)


ABSURD = {"graph_encoder": [("n_layers", 10**7), ("dim", "many")],
          "unet": [("num_res_blocks", 10**7), ("channel_mult", [10**6])],
          "vae": [("n_blocks", 10**7), ("channels", [64] * 30)],
          "judge": [("hidden", 10**9), ("widths", [32, 64])],
          "pretraining": [("n_wrong", -1), ("masked_weight", "much")]}
DOORS = {"judge": lambda folder: load_judge(folder / "judge"), "pretraining": load_pretraining}


@pytest.mark.filterwarnings("ignore:.*cannot be told")
@pytest.mark.parametrize("name", ABSURD)
def test_a_settings_file_does_not_ask_for_the_impossible(finished, tmp_path, name):
    "Ten million blocks, a text for a number: a clear word from every door, at once."
    folder = shutil.copytree(finished / "weights", tmp_path / "weights")
    for sums in folder.rglob(SUMS): sums.unlink()  # a stranger's folder would have the right ones
    path = folder / name / "config.json"
    true = load_json(path)
    for field, value in ABSURD[name]:
        save_json(true | {field: value}, path)
        with pytest.raises(SGDiffError, match=f"{name}/config.json does not fit .*{field}"):
            DOORS.get(name, SGDiffPipeline.from_pretrained)(folder)


class Killed(BaseException):
    "The process ends here."


@pytest.mark.parametrize("moment", range(6))
def test_weights_are_there_whenever_the_swap_is_killed(finished, tmp_path, monkeypatch, moment):
    "Killed before each of the steps that change the folder; one of the two is whole, and the next "
    "start has them in place."
    out, steps = shutil.copytree(finished, tmp_path / "run"), []

    def step(real):
        def stepped(*args, **kwargs):
            steps.append(real.__name__)
            if len(steps) == moment + 1: raise Killed
            return real(*args, **kwargs)
        return stepped

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", step(shutil.rmtree))
        patch.setattr(Path, "rename", step(Path.rename))
        patch.setattr("sgdiff.toy.recipes.pack",
                      step(lambda p, out, target: shutil.copytree(out / "weights", target)))
        with pytest.raises(Killed): keep_packed(PRESET, out, renew=True)
    assert any(is_packed(out / name) for name in ("weights", "weights.old"))
    (out / "weights.part").mkdir(exist_ok=True)  # and something half written
    assert train_all(PRESET, out, progress=False)
    assert contents(out).keys() == contents(finished).keys() and is_packed(out / "weights")


def test_full_weights_are_known_and_made_again(full, tmp_path, capsys):
    out = shutil.copytree(full, tmp_path / "run")
    before = contents(out)
    evaluate = ["evaluate", "--folder", str(out), "--steps", "1", "--features", "judge", "--first",
                "4"]
    for place, stage in (("diffusion/unet.safetensors", "diffusion"), ("pretrain/model.safetensors",
                                                                       "pretrain"),
                                                                       ("vocab.json", "diffusion")):
        turn(out / place, len((out / place).read_bytes()) // 2)
        assert main(evaluate) == 1
        said = capsys.readouterr().err
        assert f"{place} is not the file that was written" in said.replace("diffusion/../", "")
        assert f"--stage {stage} --resume" in said
        assert train([*FULL, "--out", str(out), "--resume"]) == 0
        said = capsys.readouterr().err
        assert said.count("is made again: ") == said.count("note: ") == 1
        assert f"{Path(place).name} is not the file that was written" in said
    assert contents(out) == before
    told = load_json(out / "run.json")
    for name, value in (("image_size", 40), ("dim", 10**7), ("channel_mult", "1,2"), ("official",
                                                                                      "no")):
        save_json(told | {name: value}, out / "run.json")
        assert main(evaluate) == 1 and name in capsys.readouterr().err


def test_a_turned_bit_of_a_checkpoint_stops_a_full_run(full, tmp_path, capsys):
    out = shutil.copytree(full, tmp_path / "run")
    for name in ("model", "graph_encoder", "unet"):
        (out / "diffusion" / f"{name}.safetensors").unlink()
    turn(out / "diffusion" / "checkpoint.pt", 5000)
    assert train([*FULL, "--out", str(out), "--resume"]) == 1
    assert "is not a whole checkpoint" in capsys.readouterr().err


# --- one writer

def start(*argv):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
                                "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen([sys.executable, "-m", *argv], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("command",
                         [["sgdiff.cli", "train", "--preset", "tiny", "--set", "n_scenes=64", "--quiet"],
                          ["sgdiff.cli", "train", *FULL]])
def test_of_two_trainings_in_one_folder_the_second_is_refused(tmp_path, command):
    both = [start(*command, "--out", str(tmp_path / "run")) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 1], [0, 0]), said  # [0, 0]: the second came when all was done
    if codes == [0, 1]:
        assert any("being written to by another "
                   "program" in text or "add --resume" in text for text in said), said
    if "tiny" in command: assert is_packed(tmp_path / "run" / "weights")
    else: assert load_weights(tmp_path / "run" / "diffusion" / "unet.safetensors")


def test_commands_that_write_into_a_run_wait_for_nobody(full, finished, capsys):
    with one_writer(full), one_writer(finished):
        assert train([*FULL, "--out", str(full),
                      "--resume"]) == 1 and "being written to" in capsys.readouterr().err
        with pytest.raises(SGDiffError, match="being written to"):
            train_all(PRESET, finished, progress=False)
    with one_writer(full / "evaluation-test"):
        assert main(["evaluate", "--folder", str(full), "--steps", "1", "--features",
                                   "judge", "--first", "4"]) == 1
    assert "being written to" in capsys.readouterr().err


# --- too late, and words that lead out

TOO_LATE = {
    "image_size=33": "toy world has 32 pixels",
    "channel_mult=1,2,2,2,2": "image_size is 32",
    "model_channels=40": "stage 'diffusion'",
    "diffusion_batch=24": "fewer than the 24",
    "diffusion_batch=0": "diffusion_batch is 0",
    "rate_per_image=nan": "rate_per_image is nan",
    "accumulate=3": "cannot be cut",
    "seed=-1": "seed is -1",
    "precision=fp8": "precision",
    "num_res_blocks=10000000": "num_res_blocks",
    "first_stage=none.ckpt": "no first stage at",
}


@pytest.mark.parametrize("change, word", TOO_LATE.items())
def test_what_only_stage_2_minds_is_told_before_stage_1(tmp_path, capsys, change, word):
    assert train([*FULL, "--set", change, "--out", str(tmp_path / "run")]) == 1
    assert word in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_toy_stage_that_cannot_begin_is_told_before_scenes_are_drawn(tmp_path, monkeypatch):
    def drawn(*args, **kwargs): raise AssertionError("too late")

    monkeypatch.setattr("sgdiff.toy.recipes.make_dataset", drawn)
    with pytest.raises(SGDiffError, match="stage 'vae' is not done"):
        train_all(PRESET, tmp_path / "run", ("diffusion",), progress=False)
    with pytest.raises(SGDiffError, match="stage 'diffusion' cannot be built"):
        train_all(replace(PRESET, model_channels=40), tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_stages_are_trained_in_their_order_whatever_was_said(tmp_path):
    assert train_all(PRESET, tmp_path, ("decoder", "vae"), progress=False)
    assert (tmp_path / "decoder" / "stage.json").exists() and not (tmp_path / "weights").exists()


def test_a_full_run_that_ends_early_says_what_its_own_command_needs(tmp_path, capsys, monkeypatch):
    from sgdiff.full.losses import SharedPretraining
    long = [*FULL, "--set", "pretrain_epochs=20", "--set", "save_every=1", "--stage", "pretrain",
            "--out", str(tmp_path / "run")]
    real = SharedPretraining.forward

    def forward(self, *args, **more):
        loss, metrics = real(self, *args, **more)
        if (tmp_path / "run" / "pretrain" / "checkpoint.pt").exists(): loss = loss * torch.nan
        return loss, metrics

    monkeypatch.setattr(SharedPretraining, "forward", forward)
    assert train(long) == 1
    said = capsys.readouterr().err
    assert "--resume and a lower --set pretrain_rate=..." in said and "learning_rate" not in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgdiff.training.fit._loop", lambda run, on_log, should_stop, bar,
                      noted: noted.set())
        assert train([*long, "--resume"]) == 130
    said = capsys.readouterr().err
    assert "run the same with --resume to go on" in said and "again" not in said


def test_a_schedulers_signal_saves_a_toy_run_too(finished, tmp_path, capsys, monkeypatch):
    from sgdiff.toy import recipes
    asked = ["--preset", "tiny", "--set", "n_scenes=64", "--stage", "vae", "--quiet", "--out",
             str(tmp_path / "run")]
    real = recipes.vae_loss

    def loss(*args):
        signal.raise_signal(signal.SIGTERM)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(recipes, "vae_loss", loss)
        assert train(asked) == 75
    said = capsys.readouterr().err
    assert f"stopped and saved in {tmp_path / 'run'}; run the same again to go on" in said
    assert torch.load(tmp_path / "run" / "vae" / "checkpoint.pt", weights_only=True)["step"] == 1
    assert train(asked) == 0
    place = Path("vae") / "model.safetensors"
    assert (tmp_path / "run" / place).read_bytes() == (finished / place).read_bytes()


def test_figures_that_were_left_out_say_why(full, tmp_path, capsys):
    asked = ["evaluate", "--folder", str(full), "--steps", "1", "--features", "judge", "--first",
             "4", "--out", str(tmp_path / "few")]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "note: 4 pictures cannot show how 64 features vary together" in said
    for figure in ("retrieval among 64: left out, for there are only 4 "
                   "images", "Inception Score: left out, for 4 pictures"):
        assert figure in said
    report = load_json(tmp_path / "few" / "report.json")
    assert report["inception_score"] is None and set(report["left_out"]) == {"retrieval among 64",
                                                                             "retrieval among 1000",
                                                                             "Inception Score"}


def test_without_inception_nothing_is_drawn(full, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch_fidelity")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *a,
                        **k: (_ for _ in ()).throw(OSError("no network")))
    assert main(["evaluate", "--folder", str(full), "--steps", "1", "--out",
                               str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert "--features judge" in said
    assert str(tmp_path / "home") in said and not (tmp_path / "none").exists()


def test_old_runs_without_sums_are_made_again_or_told(full, finished, tmp_path, capsys):
    "Of a release before: stage.json without sums, or none; checkpoints without a seal."
    out = shutil.copytree(full, tmp_path / "full")
    before = contents(out)
    (out / "pretrain" / "stage.json").unlink()
    (out / "diffusion" / "stage.json").write_text("{}")
    turn(out / "diffusion" / "unet.safetensors")
    assert train([*FULL, "--out", str(out), "--resume"]) == 0
    assert contents(out) == before
    said = capsys.readouterr().err
    assert "'pretrain' is made again" in said and "'diffusion' is made again" in said
    for stage in ("pretrain", "diffusion"):
        for name in ("stage.json", "checkpoint.pt"): (out / stage / name).unlink()
    assert train([*FULL, "--out", str(out), "--resume"]) == 0
    assert "cannot be told" in capsys.readouterr().err
    toy = shutil.copytree(finished, tmp_path / "toy")
    for path in toy.rglob("stage.json"):
        path.write_text(json.dumps({k: v for k, v in load_json(path).items() if k != "files"}))
        (path.parent / "checkpoint.pt").unlink()
    with pytest.warns(UserWarning, match="tells no sums"):
        assert train_all(PRESET, toy, progress=False)


def test_a_full_run_killed_between_its_stages_goes_on(full, tmp_path):
    out = shutil.copytree(full, tmp_path / "run")
    shutil.rmtree(out / "diffusion")
    before = load_json(out / "run.json")
    assert train([*FULL, "--out", str(out), "--resume", "--stage", "pretrain"]) == 0
    assert load_json(out / "run.json") == before and before["first_stage_fingerprint"]
    assert train([*FULL, "--out", str(out), "--resume"]) == 0
    for name in ("unet", "graph_encoder"):
        place = Path("diffusion") / f"{name}.safetensors"
        assert (out / place).read_bytes() == (full / place).read_bytes()


def test_toy_runs_and_full_runs_keep_out_of_each_other(full, finished, capsys):
    before = contents(full), contents(finished)
    with pytest.raises(SGDiffError, match="holds a full run .run.json.: choose another --out"):
        train_all(PRESET, full, ("vae",), progress=False)
    assert train([*FULL, "--out", str(finished)]) == 1
    assert "holds a toy run (preset.json): choose another --out" in capsys.readouterr().err
    assert (contents(full), contents(finished)) == before


@pytest.mark.parametrize("text", ["[]", "{}", '{"data": 7}', '{"data": null}',
                                  '{"data": "toy", "images": 7}'])
def test_settings_of_a_run_that_are_none_are_told_in_words(full, tmp_path, capsys, text):
    out = shutil.copytree(full, tmp_path / "run")
    (out / "run.json").write_text(text)
    assert train([*FULL, "--out", str(out), "--resume"]) == 1
    assert "run.json does not fit" in capsys.readouterr().err
    evaluate = ["evaluate", "--folder", str(out), "--features", "judge", "--first", "4"]
    assert main(evaluate) == 1
    assert "run.json does not fit" in capsys.readouterr().err
    with pytest.raises(SGDiffError, match="does not fit"):
        full_commands.run_pipeline(out)
    shutil.copy(full / "run.json", out)
    (out / "diffusion" / "stage.json").write_text("[]")
    assert main(evaluate) == 1 and "stage.json" in capsys.readouterr().err
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "preset.json").write_text("[]")
    with pytest.raises(SGDiffError, match="preset.json does not fit"):
        train_all(PRESET, tmp_path / "toy", progress=False)


@pytest.mark.parametrize("changes, word", [
    (["image_size=30"], "--set image_size=32"), (["imagesize=32"], "the closest is image_size"),
    (["dim=8192"], "expected a whole number from 1 to 4096"),
    (["model_channels=4096", "channel_mult=64,64"], "model_channels x the largest of "
                                                    "channel_mult")])
def test_a_setting_that_does_not_fit_is_named(tmp_path, capsys, changes, word):
    asked = [part for change in changes for part in ("--set", change)]
    assert train([*FULL, *asked, "--out", str(tmp_path / "run")]) == 1
    assert word in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_stage_is_told(full, tmp_path, capsys):
    out = shutil.copytree(full, tmp_path / "run")
    shutil.copy(out / "pretrain" / "checkpoint.pt", out / "diffusion")
    (out / "diffusion" / "unet.safetensors").unlink()
    assert train([*FULL, "--out", str(out), "--resume"]) == 1
    said = capsys.readouterr().err
    assert "is the checkpoint of another stage" in said and "out_dir" not in said


@pytest.mark.filterwarnings("ignore:.*Sparse", "ignore:.*quantize")
@pytest.mark.parametrize("odd, word", [(torch.eye(4).to_sparse, "sparse tensor"),
                                       (lambda: torch.quantize_per_tensor(torch.eye(4), 0.1, 0, torch.qint8),
                                        "quantised")])
def test_tensors_of_another_kind_are_named_as_such(tmp_path, odd, word):
    torch.save({"bad": odd()}, tmp_path / "x.pt")
    with pytest.raises(SGDiffError, match=word): read_checkpoint(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.*cannot be told")
@pytest.mark.parametrize("name, changes", [("unet", {"model_channels": 4096, "context_dim": 8192}),
                                           ("graph_encoder", {"dim": 8192, "hidden_dim": 8192, "n_layers": 64}),
                                           ("vae", {"channels": [8192] * 8}), ("judge", {"widths": [4096] * 3}),
                                           ("pretraining", {"image": {"image_size": 1024, "patch": 1}})])
def test_a_settings_file_asks_for_no_more_memory_than_its_weights(
    finished, tmp_path, name, changes
):
    "Each number is allowed, all together are hundreds of GB: refused before any of it is taken."
    folder = shutil.copytree(finished / "weights", tmp_path / "weights")
    for sums in folder.rglob(SUMS): sums.unlink()
    path = folder / name / "config.json"
    save_json(load_json(path) | changes, path)
    with pytest.raises(SGDiffError, match="does not fit"):
        DOORS.get(name, SGDiffPipeline.from_pretrained)(folder)
