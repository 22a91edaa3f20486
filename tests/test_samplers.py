"""Samplers and guidance: what they refuse, what they do not ask for, and what must come out the
same."""
import math
from dataclasses import replace

import pytest
import torch

from sgdiff.method.diffusion import NoiseSchedule, q_sample
from sgdiff.method.gaussian_mixture import GaussianMixture, best_denoiser
from sgdiff.method.samplers import (
    SAMPLERS, GuidedDenoiser, SamplingCancelled, check_sampler, ddim_sample, dpm_solver_pp_sample,
    sampling_timesteps)

COSINE = NoiseSchedule.cosine()
BLOBS = GaussianMixture(
    torch.tensor([[-1.2, -0.6], [1.2, -0.6]]).double(),
    torch.diag(torch.tensor([0.03, 0.03])).double().expand(2, 2, 2),
    torch.tensor([0.5, 0.5]).double(),
)
START = torch.randn(40, 2, generator=torch.Generator().manual_seed(1)).double()
denoise = BLOBS.denoiser(COSINE)


@pytest.mark.parametrize("schedule", [COSINE, NoiseSchedule.sqrt_linear(), NoiseSchedule.cosine(100)])
@pytest.mark.parametrize("spacing", ["angle", "trailing"])
def test_timesteps_fall_from_the_noisiest_to_clean(schedule, spacing):
    for n in (1, 2, 7, 50, 99, schedule.n_timesteps):
        ts = sampling_timesteps(schedule, n, spacing)
        assert len(ts) == n + 1 and ts[0] == schedule.n_timesteps - 1 and ts[-1] == -1
        assert all(t > s for t, s in zip(ts, ts[1:]))


@pytest.mark.parametrize("n, spacing", [(0, "angle"), (1001, "angle"), (300, "official"), (10, "linear")])
def test_timesteps_that_cannot_be_had_are_told(n, spacing):
    with pytest.raises(ValueError, match="num_inference_steps|spacing"):
        sampling_timesteps(COSINE, n, spacing)


@pytest.mark.parametrize("wrong, said", [
    (dict(eta=math.nan), "eta"), (dict(eta=2), "eta"), (dict(clip=math.nan), "clip"), (dict(prediction="x0"), "prediction"),
    (dict(num_inference_steps=2.5), "num_inference_steps"), (dict(timesteps=[9.5, -1]), "a timestep"),
    (dict(timesteps=[5]), "two at least"), (dict(timesteps=[3, 7, -1]), "must fall")])
def test_wrong_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said): ddim_sample(denoise, START, COSINE, **wrong)


def test_noise_that_is_no_number_and_samplers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        dpm_solver_pp_sample(denoise, START * math.nan, COSINE)
    with pytest.raises(ValueError, match="expected one of dpm, ddpm, ddim"): check_sampler("dppm")


def test_a_callback_hears_of_each_step_and_may_stop():
    seen = []
    ddim_sample(denoise, START, COSINE, 5, callback=lambda i, x: seen.append(i))
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(SamplingCancelled, match="after step 4 of 50"):
        ddim_sample(denoise, START, COSINE, 50, callback=lambda i, x: i < 3)


def test_a_sample_may_start_half_way():
    half_way = [t for t in sampling_timesteps(COSINE, 50) if t <= 400]
    noisy = q_sample(COSINE, BLOBS.means, torch.full((2,), half_way[0]), 0.3 * START[:2])
    nudged = ddim_sample(denoise, noisy, COSINE, timesteps=half_way)
    assert (torch.cdist(nudged, BLOBS.means).argmin(1) == torch.arange(2)).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_models_of_eps_and_of_v_give_the_same(name):
    one, other = (
        SAMPLERS[name](
            BLOBS.denoiser(COSINE, p),
            START,
            COSINE,
            20,
            torch.Generator().manual_seed(4),
            prediction=p,
        )
        for p in ("v", "eps")
    )
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def model(x, t, weights): return best_denoiser(replace(BLOBS, weights=weights), COSINE)(x, t)
def rows(*weights): return torch.tensor([weights]).double().clamp(min=1e-12).expand(40, 2)


def test_guidance_follows_its_formula_and_asks_for_no_answer_that_does_not_count():
    t, sizes = torch.full((40,), 600), []
    heard, objects, nothing = rows(0.7, 0.3), rows(0.6, 0.4), rows(0.5, 0.5)
    v_all, v_part, v_none = (model(START, t, c) for c in (heard, objects, nothing))
    guided = GuidedDenoiser(model, [heard], [nothing], 3.0, [objects], 2.0)(START, t)
    torch.testing.assert_close(guided, v_none + 3 * (v_all - v_none) + 2 * (v_all - v_part))
    def counting(x, t, c, mask): sizes.append((len(x), mask)); return x
    for s, r in ((1.0, 0.0), (3.0, 0.0), (1.0, 2.0), (3.0, 2.0)):
        GuidedDenoiser(counting, [heard, None], [nothing, None], s, [objects, None], r)(START, t)
    assert sizes == [(40, None), (80, None), (80, None), (120, None)]


@pytest.mark.parametrize("scales, said", [((3.0, 2.0), "partial"), ((math.nan, 0.0), "guidance_scale"), ((1e30, 0.0), "guidance_scale")])
def test_wrong_scales_of_guidance_are_refused(scales, said):
    with pytest.raises(ValueError, match=said):
        GuidedDenoiser(model, [rows(1, 0)], [rows(0.5, 0.5)], scales[0], relation_scale=scales[1])


@pytest.mark.parametrize("schedule", [COSINE, NoiseSchedule.sqrt_linear()])
def test_a_shift_divides_signal_over_noise_and_can_be_taken_back(schedule):
    shifted = schedule.shifted(4.0)
    ratio = (schedule.signal / schedule.noise) / (shifted.signal / shifted.noise)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 4.0))
    torch.testing.assert_close(shifted.signal**2 + shifted.noise**2, torch.ones_like(ratio))
    back = shifted.shifted(0.25)
    assert back.shift == 1 and schedule.shifted(1) is schedule
    torch.testing.assert_close(back.alphas_cumprod, schedule.alphas_cumprod)
    # a sampler takes the same timesteps, which now have more noise
    for spacing in ("angle", "trailing"):
        assert sampling_timesteps(shifted, 12, spacing) == sampling_timesteps(schedule, 12, spacing)
