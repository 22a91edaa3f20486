"""CLIP behind the interface of our image encoder: names and sizes of the true model, equality with
open_clip, frozen and clean."""
from dataclasses import replace

import pytest
import torch

open_clip = pytest.importorskip(
    "open_clip", reason="CLIP needs open_clip: pip install 'sgdiff[clip]'"
)
pytest.importorskip("diffusers", reason="first stages need diffusers: pip install 'sgdiff[hub]'")

from sgdiff.core import step_generator  # noqa: E402
from sgdiff.errors import SGDiffError  # noqa: E402
from sgdiff.method.masked import choose_objects  # noqa: E402
from sgdiff.pretrained.first_stages import FirstStage, FirstStageConfig, load_first_stage  # noqa: E402
from sgdiff.pretrained.clip import (
    ClipConfig, ClipImageEncoder, build_tower, clip_from_official, clip_pixels,
)  # noqa: E402

TINY = ClipConfig(image_size=32, patch=8, width=128, n_layers=2, global_dim=32)


def test_true_size_is_open_clips_own():
    with torch.device("meta"):
        ours = build_tower(ClipConfig()).state_dict()
    theirs = open_clip.create_model(
        "ViT-B-32-quickgelu", pretrained=None, device="meta"
    ).visual.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert (ClipConfig().n_tokens, ClipConfig().width, ClipConfig().global_dim) == (50, 768, 512)


def test_true_size_gives_the_official_shapes():
    with torch.device("meta"):
        tokens, whole = ClipImageEncoder()(torch.empty(2, 3, 64, 64), torch.empty(2, 1, 64, 64))
    assert tokens.shape == (2, 50, 768) and whole.shape == (2, 512)


def test_tokens_are_what_the_last_block_adds():
    torch.manual_seed(0)
    clip, images = ClipImageEncoder(TINY), torch.rand(3, 3, 32, 32) * 2 - 1
    states = {}
    last = clip.tower.transformer.resblocks[-1]
    hooks = [last.ln_2.register_forward_hook(lambda m, args, out: states.update(before=args[0])),
             last.register_forward_hook(lambda m, args, out: states.update(after=out))]
    tokens, whole = clip(images)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(states["after"] - states["before"], tokens, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole, clip.tower(clip_pixels(images, 32)))
    one = clip(images[1:2])
    torch.testing.assert_close(one[0][0], tokens[1], atol=1e-5, rtol=1e-4)


def test_frozen_and_no_hook_left_even_after_an_error():
    clip = ClipImageEncoder(TINY)
    assert not clip.train().training and not any(p.requires_grad for p in clip.parameters())
    mlp = clip.tower.transformer.resblocks[-1].mlp
    clip(torch.zeros(1, 3, 32, 32))
    # breaks the call after the hook has run
    clip.tower.proj = torch.nn.Parameter(torch.zeros(3, 3), requires_grad=False)
    with pytest.raises(RuntimeError):
        clip(torch.zeros(1, 3, 32, 32))
    assert not mlp._forward_hooks


@pytest.mark.parametrize("size", [32, 50])
def test_nothing_under_the_mask_is_seen(size):
    torch.manual_seed(0)
    clip, images = ClipImageEncoder(TINY), torch.rand(2, 3, size, size) * 2 - 1
    mask = torch.zeros(2, 1, size, size)
    mask[:, :, 5:20, 7:30] = 1
    for a, b in zip(clip(images, mask), clip(torch.where(mask.bool(), -images, images), mask)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.fixture
def pretraining():
    "(config, images, batch) of a pre-training that looks through a tiny CLIP."
    from sgdiff.method.graph_encoder import SceneGraphEncoderConfig
    from sgdiff.method.pretraining import PretrainingConfig
    from sgdiff.toy.world import EASY, make_dataset
    images, batch = make_dataset(EASY, 4, seed=0, progress=False).batch(torch.arange(4))
    encoder = SceneGraphEncoderConfig(
        EASY.vocab.n_objects, EASY.vocab.n_predicates, dim=32, hidden_dim=32, n_layers=2,
        global_dim=32,
    )
    return PretrainingConfig(encoder, replace(TINY, class_token=False), n_wrong=0), images, batch


def test_takes_the_place_of_the_small_encoder_in_pretraining(pretraining):
    "Both losses run; the graph encoder and the masked head learn, CLIP does not."
    from sgdiff.method.pretraining import PretrainingModel
    config, images, batch = pretraining
    model = PretrainingModel(config)
    loss, metrics = model.train()(images, batch, choose_objects(batch, step_generator(0, 0)))
    loss.backward()
    assert (
        set(metrics) == {"contrastive", "accuracy", "masked"}
        and not model.image_encoder.training
    )
    assert all(
        p.grad is not None
        for part in (model.graph_encoder, model.masked_head)
        for p in part.parameters()
    )
    assert all(p.grad is None for p in model.image_encoder.parameters())


def test_a_run_beside_clip_saves_what_it_trains_and_goes_on_from_there(pretraining, tmp_path):
    from sgdiff.core import load_weights, save_weights
    from sgdiff.method.pretraining import PretrainingModel
    from sgdiff.training.fit import fit
    from sgdiff.training.steps import FitConfig
    config, images, batch = pretraining
    settings = FitConfig(4, 1e-3, 1, log_every=1)

    def loss_fn(model, step):
        return model(images, batch, choose_objects(batch, step_generator(0, step)))

    def run(folder, stop=None):
        torch.manual_seed(0)
        return fit(
            PretrainingModel(config), loss_fn, settings, folder,
            on_log=lambda line, _: done.append(line["step"]),
            should_stop=stop,
        )

    done = []
    whole = run(tmp_path / "whole")
    assert not run(tmp_path / "cut", lambda: done[-1] == 2).finished
    saved = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)
    assert (
        saved["step"] == 2
        and not any("image_encoder" in name for name in [*saved["model"], *saved["ema"]])
    )
    again = run(tmp_path / "cut")
    for a, b in zip(
        whole.model_ema.state_dict().values(), again.model_ema.state_dict().values(), strict=True
    ):
        assert a.equal(b)
    save_weights(whole.model_ema, tmp_path / "model.safetensors")
    model = PretrainingModel(config)
    load_weights(tmp_path / "model.safetensors", model)
    for a, b in zip(
        model.image_encoder(images), whole.model_ema.image_encoder(images), strict=True
    ):
        assert a.equal(b)  # random weights that nobody has saved are the same ones again
    with pytest.raises(RuntimeError, match="masked_head"):  # what is trained is still missed
        model.load_state_dict(
            {
                name: v
                for name, v in model.state_dict().items()
                if not name.startswith("masked_head.")
            }
        )


def test_what_does_not_fit_is_said_before_anything_is_built(pretraining):
    from sgdiff.method.pretraining import PretrainingConfig
    encoder = pretraining[0].encoder
    with pytest.raises(ValueError, match="class_token=False"):
        PretrainingConfig(encoder, TINY)
    with pytest.raises(ValueError, match="set global_dim=64"):
        PretrainingConfig(encoder, replace(TINY, class_token=False, global_dim=64))
    with pytest.raises(SGDiffError, match="knows no model"):
        ClipConfig.named("ViT-XXS/random")


def test_the_clip_inside_an_official_file(tmp_path):
    clip = ClipImageEncoder(TINY)
    state = {f"module.clip_model.visual.{k}": v for k, v in clip.tower.state_dict().items()} | {
        "module.logit_scale": torch.ones(())
    }
    torch.save({"state_dict": state}, tmp_path / "sip.pt")
    again = clip_from_official(tmp_path / "sip.pt")
    images = torch.rand(1, 3, 32, 32)
    for a, b in zip(again(images), clip(images)):
        torch.testing.assert_close(a, b)
    torch.save(
        {"state_dict": {k: v for k, v in state.items() if "resblocks.1.mlp" not in k}},
        tmp_path / "sip.pt",
    )
    with pytest.raises(SGDiffError, match=r"missing: transformer\.resblocks\.1\.mlp"):
        clip_from_official(tmp_path / "sip.pt")
    torch.save(
        {
            "state_dict": state
            | {
                "module.clip_model.text_projection": torch.ones(1),
                "module.clip_model.other": torch.ones(1),
            }
        },
        tmp_path / "sip.pt",
    )
    with pytest.raises(SGDiffError, match="left over: clip_model.other"):
        clip_from_official(tmp_path / "sip.pt")
    torch.save({"logit_scale": torch.ones(())}, tmp_path / "sip.pt")
    with pytest.raises(SGDiffError, match="carries no CLIP"):
        clip_from_official(tmp_path / "sip.pt")


@pytest.mark.parametrize("config", [FirstStageConfig(), FirstStageConfig.stable_diffusion()], ids=["vq-f8", "stable diffusion"])
def test_a_first_stage_of_the_true_size_codes_and_draws_as_before_it_was_saved(config, tmp_path):
    "With random weights: the sizes are the released ones', the folder is diffusers'."
    torch.manual_seed(0)
    stage, pictures = FirstStage(config).eval(), torch.rand(2, 3, 64, 48) * 2 - 1
    stage.network.save_pretrained(tmp_path)
    again = load_first_stage(tmp_path)
    assert again.config == config
    with torch.no_grad():
        latents = again.to_latents(pictures)
        drawn = again.from_latents(latents)
        assert (
            latents.shape == (2, config.diffused_channels, 8, 6)
            and drawn.shape == pictures.shape
        )
        assert (
            latents.std() > 0
            and torch.equal(latents, stage.to_latents(pictures))
            and torch.equal(drawn, stage.from_latents(latents))
        )
