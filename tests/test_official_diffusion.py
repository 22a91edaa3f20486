"""Our schedule and samplers against tensors recorded from the official SGDiff code (they lie in
tests/fixtures)."""

import pytest
import torch
from official_tensors import recorded

from sgdiff.method.diffusion import NoiseSchedule, levels, predict_x0, q_sample
from sgdiff.method.samplers import ddim_sample, ddim_step, sampling_timesteps


def close(ours, official, atol=1e-4, rtol=1e-5):
    torch.testing.assert_close(ours.double(), official.double(), atol=atol, rtol=rtol)


@pytest.fixture
def schedule():
    return NoiseSchedule.sqrt_linear()


def test_tables(schedule):
    g = recorded("schedule")
    close(schedule.betas, g["out/betas_f64"], atol=0, rtol=1e-12)
    close(schedule.alphas_cumprod, g["out/alphas_cumprod_f64"], atol=0, rtol=1e-12)
    close(schedule.signal, g["out/sqrt_alphas_cumprod_f64"], atol=0, rtol=1e-12)
    close(schedule.noise, g["out/sqrt_one_minus_alphas_cumprod_f64"], atol=0, rtol=1e-12)
    close(schedule.betas, g["out/buffer_betas"], atol=1e-7)
    close(schedule.alphas_cumprod, g["out/buffer_alphas_cumprod"], atol=1e-7)


def test_posterior_variance(schedule):
    g = recorded("schedule")
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    ours = (
        torch.cat([ddim_step(schedule, zero, zero, t, t - 1, 1.0, one) for t in range(1000)]) ** 2
    )
    close(ours, g["out/buffer_posterior_variance"], atol=1e-7)


def test_q_sample(schedule):
    g = recorded("schedule")
    close(q_sample(schedule, g["in/x0"], g["in/t"], g["in/noise"]), g["out/q_sample"], atol=1e-6)


@pytest.mark.parametrize("steps", [10, 50, 200])
def test_timesteps_and_levels(schedule, steps):
    g = recorded("schedule")
    # rising; begins with 0, not with clean
    walk = sampling_timesteps(schedule, steps, "official")[::-1]
    assert walk[1:] == g[f"out/ddim{steps}_timesteps"].tolist() and walk[0] == 0
    shares = torch.tensor([levels(schedule, t)[0] ** 2 for t in walk], dtype=torch.float64)
    close(shares[1:], g[f"out/ddim{steps}_alphas_f64"], atol=0, rtol=1e-10)
    close(shares[:-1], g[f"out/ddim{steps}_alphas_prev_f64"], atol=0, rtol=1e-10)
    assert shares[0] == schedule.alphas_cumprod[0]  # the official first step: alphas_cumprod[0] and not 1


@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("steps", [10, 50, 200])
def test_fresh_noise(schedule, steps, eta):
    g = recorded("schedule")
    walk = sampling_timesteps(schedule, steps, "official")[::-1]
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    ours = torch.cat(
        [ddim_step(schedule, zero, zero, t, s, float(eta), one) for s, t in zip(walk, walk[1:])]
    )
    close(ours, g[f"out/ddim{steps}_eta{eta}_sigmas_f64"], atol=1e-12, rtol=1e-9)
    close(ours, g[f"out/ddim{steps}_eta{eta}_sigmas_as_sampled"], atol=1e-9, rtol=1e-5)


def test_single_steps(schedule):
    "eps is read off the recorded x and pred_x0; it must lead to the recorded x_prev."
    g = recorded("ddim")
    walk = sampling_timesteps(schedule, 10, "official")[::-1]
    for i, (s, t) in enumerate(zip(walk, walk[1:])):
        a, b = levels(schedule, t)
        x, x0 = g["in/step_x"][i].double(), g["out/step_pred_x0"][i].double()
        close(ddim_step(schedule, x0, (x - a * x0) / b, t, s), g["out/step_x_prev"][i])


@pytest.mark.parametrize("eta", [0, 1])
def test_single_steps_with_given_eps(schedule, eta):
    g = recorded("ddim")
    xs, beliefs, answers = g[f"out/eta{eta}_x"], g[f"out/eta{eta}_pred_x0"], g[f"mid/eta{eta}_eps"]
    walk = sampling_timesteps(schedule, 10, "official")
    assert walk[:-1] == g["out/timesteps_in_call_order"].tolist()
    for k, (t, s) in enumerate(zip(walk, walk[1:])):
        x0 = predict_x0(schedule, xs[k], torch.full((2,), t), answers[k], "eps")
        close(x0, beliefs[k])
        close(
            ddim_step(schedule, x0, answers[k], t, s, float(eta), g["in/eta1_noise"][k]), xs[k + 1]
        )


def test_whole_walk(schedule):
    """The sampler itself, its model replaced by the recorded answers: what it asks, in which order,
    and where it ends."""
    g = recorded("ddim")
    answers = dict(zip(g["out/timesteps_in_call_order"].tolist(), g["mid/eta0_eps"]))
    path = []

    def replay(x, t):
        assert t.tolist() == [t[0].item()] * 2
        return answers[t[0].item()]

    end = ddim_sample(replay, g["in/x_T"], schedule, 10, prediction="eps", spacing="official",
                      callback=lambda i, x: path.append(x.clone()))
    assert torch.equal(end, path[-1])
    # values reach 200 and errors add up
    close(torch.stack([g["in/x_T"], *path]), g["out/eta0_x"], atol=1e-3)
