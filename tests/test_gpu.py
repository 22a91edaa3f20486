"""On a GPU: the same answers as on the CPU, each way of computing them, training in bfloat16, and
the commands. Skipped where there is none."""
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from official_tensors import golden
from torch.distributed.nn.functional import all_gather

from sgdiff import cli
from sgdiff.core import device_of, set_seed, step_generator
from sgdiff.errors import default_weights, load_json
from sgdiff.full.losses import generation_in_parts
from sgdiff.full.presets import PRESETS as FULL_PRESETS
from sgdiff.full.presets import build_generation, open_image_encoder
from sgdiff.method.graph_encoder import GraphEmbedding, SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.toy.recipes import PRESETS, train_all
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.toy.world import EASY, make_dataset
from sgdiff.training.fit import fit
from sgdiff.training.steps import FitConfig
from sgdiff.method.unet import UNet, UNetConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
GRAPH = "sheep looking at tree; sheep left of tree; sky above grass"
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    "Products in true float32: TF32 keeps three digits."
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def to_gpu(*values):
    "Each value on the GPU."
    return [v.to("cuda") for v in values]


def close(ours, theirs, atol=1e-4):
    torch.testing.assert_close(ours.float().cpu(), theirs.float().cpu(), atol=atol, rtol=1e-4)


@torch.no_grad()
def test_the_official_encoder_and_unet_compute_the_recorded_tensors():
    weights, t = golden("encoder")
    weights.pop("logit_scale")
    encoder = SceneGraphEncoder(SceneGraphEncoderConfig.official(13, 6, dim=32)).eval()
    encoder.load_state_dict(weights)
    batch = SceneGraphBatch(
        t["in/objs"],
        t["in/triples"],
        t["in/obj_to_img"],
        t["in/triple_to_img"],
        int(t["in/batch_size"]),
    )
    embedding = encoder.cuda()(batch.to("cuda"))
    close(embedding.local, t["out/c_local"])
    close(embedding.global_, t["out/c_global"])

    weights, t = golden("unet_r1")
    unet = UNet(
        UNetConfig.official(
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_levels=(0, 1),
            local_dim=96,
            global_dim=32,
            context_dim=32,
        )
    ).eval()
    unet.load_state_dict(weights)
    local = t["in/c_local"]
    told = GraphEmbedding(*to_gpu(local, (local != 0).any(-1), t["in/c_global"][:, 0]))
    close(
        unet.cuda()(*to_gpu(t["in/x"], t["in/timesteps"]), *unet.make_context(told)), t["out/eps"]
    )


@pytest.fixture(scope="module")
def small():
    """A UNet without zeros in it, its inputs, and what they give on the CPU: output and gradient of
    a kernel."""
    set_seed(0)
    config = UNetConfig(model_channels=32, zero_init=False)
    unet = UNet(config)
    inputs = torch.randn(4, 8, 8, 8), torch.tensor([3, 700, 20, 999])
    told = (
        torch.randn(4, 5, 384),
        torch.arange(5) < torch.tensor([[5], [3], [0], [1]]),
        torch.randn(4, 128),
    )
    return config, unet.state_dict(), inputs, told, computed(unet, inputs, told)


def computed(unet, inputs, told):
    "(output, gradient of the first kernel) of a UNet, compiled or not."
    out = unet(*inputs, *unet.make_context(GraphEmbedding(*told)))
    return out.detach(), torch.autograd.grad(out.square().mean(), unet.input_blocks[0][0].weight)[0]


@pytest.mark.parametrize("changes", [{}, {"sdpa": True}, {"channels_last": True, "sdpa": True}, {"gradient_checkpointing": True},
                                     {"compile": True}], ids=str)
def test_each_way_of_computing_a_unet_gives_the_cpus_answer(small, changes):
    config, weights, inputs, told, (out, gradient) = small
    changes = dict(changes)
    compiled = changes.pop("compile", False)
    unet = UNet(replace(config, **changes))
    unet.load_state_dict(weights)
    unet.cuda()
    if compiled: unet.compile()
    got, slope = computed(unet, to_gpu(*inputs), to_gpu(*told))
    close(got, out)
    close(slope, gradient)


def test_a_seed_draws_the_same_picture_on_both():
    there = SGDiffPipeline.from_pretrained(default_weights(), "cuda")
    here = SGDiffPipeline.from_pretrained(default_weights())
    for sampler in ("dpm", "ddim", "ddpm"):
        a, b = (
            p(GRAPH, seed=1, num_images_per_graph=2, sampler=sampler, num_inference_steps=20)
            for p in (there, here)
        )
        assert (a.pixels.cpu() - b.pixels).abs().mean() < 0.01, sampler
        assert a.images[0].size == (32, 32)
    edit = there.edit(GRAPH, "replace sheep by dog", seed=1)
    assert not edit.before.pixels.equal(edit.after.pixels)


def test_a_model_is_trained_where_it_lies():
    def loss_fn(model, step):
        x = torch.randn(16, 4, generator=step_generator(0, step)).to(device_of(model))
        return (model(x) - x).square().mean(), {}
    losses = {}
    for device in ("cpu", "cuda"):
        set_seed(0)
        result = fit(
            torch.nn.Linear(4, 4).to(device),
            loss_fn,
            FitConfig(100, 5e-2, 5, log_every=10),
            progress=False,
        )
        assert device_of(result.model).type == device == device_of(result.model_ema).type
        losses[device] = result.history[-1]["loss"]
    assert losses["cpu"] == pytest.approx(losses["cuda"], rel=1e-2) and losses["cpu"] < 0.1


def test_every_stage_of_the_toy_world_is_trained_and_drawn(tmp_path, capsys):
    assert (
        cli.main(
            [
                "train", "--preset", "tiny", "--out", str(tmp_path / "run"), "--device", "cuda",
                "--quiet",
            ]
        )
        == 0
    )
    ours = SGDiffPipeline.from_pretrained(tmp_path / "run" / "weights", "cuda")(
        GRAPH, seed=0
    ).pixels
    assert ours.isfinite().all() and ours.device.type == "cuda"
    for command in (
        ["generate", GRAPH, "--best-of", "2", "--n", "2"],
        ["edit", GRAPH, "--change", "replace sheep by dog"],
    ):
        assert cli.main([*command, "--device", "cuda", "--out", str(tmp_path / "a.png")]) == 0, (
            capsys.readouterr().err
        )
    asked = [
        "evaluate", "--device", "cuda", "--n", "20", "--seeds", "1", "--steps", "5", "--out",
        str(tmp_path / "report.json"),
    ]
    assert cli.main(asked) == 0, capsys.readouterr().err
    assert load_json(tmp_path / "report.json")["pictures"]["objects"]["exact"]["mean"] > 0.3


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    "But for the order in which a GPU adds."
    preset = replace(PRESETS["tiny"], diffusion_steps=24, polish_steps=0, judge_steps=1)
    stages = ("vae", "pretrain", "diffusion")
    once = iter([*[False] * 17, True])  # within the third stage
    for name, should_stop in (("whole", None), ("cut", lambda: next(once, False)), ("cut", None)):
        train_all(
            preset, tmp_path / name, stages, should_stop=should_stop, progress=False, device="cuda"
        )
    whole, cut = (
        torch.load(tmp_path / name / "diffusion" / "checkpoint.pt", weights_only=True)
        for name in ("whole", "cut")
    )
    assert whole["step"] == cut["step"] == 24
    for name, weight in whole["model"].items(): close(cut["model"][name], weight, atol=1e-3)
    for name, weight in whole["ema"].items(): close(cut["ema"][name], weight, atol=1e-3)


def test_bfloat16_learns_what_float32_learns():
    data = make_dataset(EASY, 256, 0, progress=False)
    latents = torch.randn(256, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    losses = {}
    for precision in ("no", "bf16"):
        preset = replace(FULL_PRESETS["trial"], precision=precision)
        model = build_generation(preset, data.config.vocab, 8).cuda()
        config = FitConfig(60, 2e-3, 10, log_every=20, precision=precision)
        losses[precision] = fit(
            model, generation_in_parts(data, latents, 32), config, progress=False
        ).history
    first, last = losses["no"][0]["loss"], losses["no"][-1]["loss"]
    assert last < first and losses["bf16"][-1]["loss"] == pytest.approx(last, rel=0.03)


def test_a_full_run_by_the_launcher(tmp_path):
    where = [
        "--data", "toy", "--preset", "trial", "--out", str(tmp_path), "--quiet", "--set",
        "toy_scenes=64",
    ]
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    }
    for stage, more in (
        ("pretrain", []),
        ("diffusion", ["--set", "precision=bf16", "--set", "compile=true"]),
    ):
        done = subprocess.run(
            [*launch, "-m", "sgdiff.cli", "train", *where, *more, "--stage", stage],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads((tmp_path / "diffusion" / "log.jsonl").read_text().splitlines()[-1])
    assert line["loss"] < 2
    checkpoint = torch.load(tmp_path / "diffusion" / "checkpoint.pt", weights_only=True)
    # trained there, not here
    assert all(tensor.device.type == "cuda" for tensor in checkpoint["model"].values())
    assert (
        cli.main(
            ["evaluate", "--folder", str(tmp_path), "--steps", "2", "--features", "judge"]
        )
        == 0
    )
    assert load_json(tmp_path / "evaluation-test" / "report.json")["fid"]["fid"] > 0


def test_clip_looks_from_the_gpu():
    pytest.importorskip("open_clip", reason="CLIP needs open_clip: pip install 'sgdiff[clip]'")
    preset = replace(FULL_PRESETS["paper"], clip="ViT-B-32-quickgelu/random")
    images = torch.rand(2, 3, 224, 224) * 2 - 1
    here, there = (
        open_image_encoder(preset, device)(images.to(device)) for device in ("cpu", "cuda")
    )
    for a, b in zip(here, there, strict=True): close(a, b, atol=1e-3)


def test_nccl_gathers_and_sends_gradients_back(tmp_path):
    "A group of one; two processes need two GPUs."
    dist.init_process_group(
        "nccl", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        rows = torch.randn(6, 16, device="cuda", requires_grad=True)
        gathered = torch.cat(all_gather(rows))
        gathered.square().sum().backward()
        assert gathered.equal(rows) and rows.grad.equal(2 * rows)
    finally: dist.destroy_process_group()
