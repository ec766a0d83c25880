"""The network, its loss, its factors and its linear peer, against independent computations."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from ecg_spark.ecg.recording import LEADS
from ecg_spark.errors import DataError
from ecg_spark.study import Model
from models.evaluation import evaluate, largest_by_chance
from models.factors import factor_kl, fit_factors, varimax
from models.fitting import Fitting, compiled
from models.loader import Resident
from models.loss import gaussian_nll, kl_divergence, sample
from models.pca import fit_components
from models.vae import VAE, resample, twelve_leads

CPU = torch.device("cpu")


@pytest.fixture
def beats():
    """Smooth random beats, [60, 8, 600] in mV."""
    rng = np.random.default_rng(3)
    basis = np.sin(np.outer(np.arange(1, 9), np.linspace(0, np.pi, 600)))
    return (rng.standard_normal((60, 8, 8)) @ basis * 0.2).astype(np.float32)


def test_kl_and_likelihood_are_those_of_torch_distributions():
    torch.manual_seed(1)
    mean, log_variance = torch.randn(7, 5), torch.randn(7, 5)
    expected = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
    x, y, log_sd = torch.randn(3, 8, 600), torch.randn(3, 8, 600), torch.tensor(-1.3)
    expected = -Normal(y, log_sd.exp()).log_prob(x).sum(dim=(1, 2))
    torch.testing.assert_close(gaussian_nll(x, y, log_sd), expected, rtol=1e-4, atol=1e-2)


def test_draws_have_the_posterior_s_mean_and_spread():
    torch.manual_seed(1)
    drawn = sample(torch.full((200_000,), 2.0), torch.full((200_000,), np.log(0.09)))
    assert drawn.mean() == pytest.approx(2.0, abs=0.01)
    assert drawn.std() == pytest.approx(0.3, abs=0.01)


def test_derived_leads_obey_einthoven_and_goldberger():
    torch.manual_seed(1)
    lead = dict(zip(LEADS, twelve_leads(torch.randn(2, 8, 600)).unbind(1), strict=True))
    torch.testing.assert_close(lead["I"] + lead["III"], lead["II"])
    torch.testing.assert_close(
        lead["aVR"] + lead["aVL"] + lead["aVF"], torch.zeros(2, 600), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(lead["aVL"], (lead["I"] - lead["III"]) / 2)
    torch.testing.assert_close(lead["aVF"], (lead["II"] + lead["III"]) / 2)


def test_components_are_those_of_a_full_svd(beats):
    components = fit_components(beats, 6)
    flat = beats.reshape(60, -1).astype(np.float64)
    _, singular, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(components.sd, singular[:6] / np.sqrt(60), rtol=1e-4)
    np.testing.assert_allclose(np.abs(components.axes @ axes[:6].T), np.eye(6), atol=1e-3)
    scores = components.scores(beats)
    np.testing.assert_allclose(scores.std(axis=0), 1, rtol=1e-3)
    left = flat - components.rebuild(scores)
    assert components.noise_sd == pytest.approx(np.sqrt((left**2).mean()), rel=1e-3)


def test_an_untrained_network_is_a_pca(beats):
    torch.manual_seed(1)
    network = VAE(4, 4)
    network.start_from(beats)
    for last in (network.curved[-1], network.warp):
        torch.nn.init.zeros_(last.weight)
    with torch.inference_mode():
        mean, _ = network.encode(torch.from_numpy(beats))
        rebuilt = network.decode(mean).numpy()
    flat = (beats - beats.mean(axis=0)).reshape(len(beats), -1).astype(np.float64)
    left, singular, axes = np.linalg.svd(flat, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(mean.numpy()), np.abs(left[:, :4]) * np.sqrt(len(beats)), atol=5e-3
    )
    expected = ((left[:, :4] * singular[:4]) @ axes[:4]).reshape(beats.shape) + beats.mean(axis=0)
    np.testing.assert_allclose(rebuilt, expected, atol=2e-3)


def test_a_warp_reads_the_beat_at_the_shifted_time():
    ramp = torch.arange(600.0).expand(2, 8, 600)
    shift = torch.stack([torch.full((600,), 2.5), torch.linspace(-3, 3, 600)])
    warped = resample(ramp, shift)
    inside = slice(5, 590)
    expected = (torch.arange(600.0) + shift)[:, None].expand(2, 8, 600)
    torch.testing.assert_close(warped[..., inside], expected[..., inside])
    torch.testing.assert_close(resample(ramp, torch.zeros(2, 600))[..., :-1], ramp[..., :-1])
    assert torch.isfinite(resample(ramp, torch.full((2, 600), 1e6))).all()


def fitting(beats, **settings):
    """A fitting of 48 beats, and twelve to be held out."""
    training, held_out = (Resident(torch.from_numpy(part), 1) for part in np.split(beats, [48]))
    chosen = Model(**{"latents": 3, "channels": 4, "epochs": 3, "batch_size": 16} | settings)
    return Fitting(training, chosen, 1, CPU, None), held_out


def test_training_on_a_cpu_repeats_bit_for_bit(beats):
    histories, weights = [], []
    for _ in range(2):
        one, held_out = fitting(beats)
        histories.append(list(one.epochs(held_out)))
        weights.append(one.result().state_dict())
    assert histories[0] == histories[1]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])


def test_training_stops_without_a_better_elbo_and_keeps_the_best_weights(beats):
    other = np.concatenate([beats[:48] * 0.01, beats[48:]])  # the noise learned is too small
    one, held_out = fitting(other, epochs=50, patience=2)
    losses = [metrics["val/loss"] for metrics in one.epochs(held_out)]
    assert len(losses) == np.argmin(losses) + 1 + 2 < 10
    kept = evaluate(one.result(), held_out, one.settings)
    assert kept["val/loss"] == pytest.approx(min(losses), rel=1e-7)
    patient, held_out = fitting(other, epochs=5, patience=None)
    assert len(list(patient.epochs(held_out))) == 5


def test_mixed_precision_computes_millivolts_in_full_precision(beats):
    """As on a GPU, on a CPU: the scores and the decoder stay in float32, the rest is near."""
    torch.manual_seed(1)
    network, x = VAE(4, 4), torch.from_numpy(beats)
    network.start_from(beats)
    whole, _ = network.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        half, log_variance = network.encode(x)
    assert half.dtype == log_variance.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.02
    torch.nn.init.zeros_(network.curved[-1].weight)
    straight, _ = network.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network.encode(x)[0], straight, rtol=0, atol=0)


def test_the_network_can_be_compiled_whole(beats):
    """No part of it leaves the graph that torch.compile captures."""
    torch.manual_seed(1)
    network, x = VAE(4, 4), torch.from_numpy(beats)
    network.start_from(beats)
    assert compiled(network.encode, CPU) == network.encode
    encode, decode = (
        torch.compile(part, backend="eager", fullgraph=True)
        for part in (network.encode, network.decode)
    )
    z = network.encode(x)[0]
    torch.testing.assert_close(encode(x)[0], z)
    torch.testing.assert_close(decode(z), network.decode(z))


@pytest.mark.parametrize(("k", "n"), [(20, 300), (20, 2000), (5, 100)])
def test_the_largest_correlation_by_chance_is_that_of_independent_columns(k, n):
    rng, pairs = np.random.default_rng(1), np.triu_indices(k, 1)
    largest = [np.abs(np.corrcoef(rng.standard_normal((k, n)))[pairs]).max() for _ in range(200)]
    assert largest_by_chance(k, n) == pytest.approx(np.median(largest), rel=0.04)
    assert largest_by_chance(1, n) == largest_by_chance(k, 2) == 0


MIXED = np.array([[1, 0.4, 0], [0, 1, 0.3], [0, 0, 0.8]])
WAVES = np.kron(np.eye(3), [0.0, 2.0, 1.0, -0.5]) * [[1.0], [-1.0], [0.5]]
"""What three causes do to a beat of twelve samples: each to its own four."""


def posteriors(n=4000):
    """Posteriors of four latents: three causes, mixed, and one latent that carries nothing.

    The errors of the second and third cause go together.
    """
    rng = np.random.default_rng(2)
    causes = rng.standard_normal((n, 3))
    causes = (causes - causes.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(causes.T))).T
    mixed = causes @ MIXED
    mean = np.column_stack([mixed[:, 0], 0.01 * rng.standard_normal(n), mixed[:, 1:]]) + 0.2
    covariance = np.diag([0.01, 0.98, 0.04, 0.2])
    covariance[2, 3] = covariance[3, 2] = -0.05
    mean[:, 1] -= 0.2
    return causes, mean.astype(np.float32), np.tile(covariance.astype(np.float32), (n, 1, 1))


def effect(factors):
    """What each factor does to the beat of a decoder that undoes the mixing."""
    return factors.back[[0, 2, 3]].T @ np.linalg.inv(MIXED) @ WAVES


def test_factors_are_decorrelated_ordered_and_signed():
    _, mean, covariance = posteriors()
    factors, kl = fit_factors(mean, covariance, 0.05, effect)
    z, z_sd = factors.of_posterior(mean, covariance)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=1e-3)
    assert (np.diff(kl) <= 0).all()
    np.testing.assert_allclose(kl, factor_kl(factors, mean, covariance))
    latents = factors.to_latents(z)
    np.testing.assert_allclose(latents[:, [0, 2, 3]], mean[:, [0, 2, 3]], atol=1e-4)
    assert ((effect(factors) ** 3).sum(axis=1) > 0).all()
    draws = np.random.default_rng(1).multivariate_normal(mean[0], covariance[0], 50_000)
    spread = ((draws - factors.offset) @ factors.turn.T).std(axis=0)
    np.testing.assert_allclose(spread, z_sd[0], rtol=0.02)


def test_factors_find_the_causes_that_act_on_parts_of_the_beat():
    causes, mean, covariance = posteriors()
    factors, _ = fit_factors(mean, covariance, 0.05, effect)
    z, _ = factors.of_posterior(mean, covariance)
    r = np.corrcoef(causes.T, z.T)[:3, 3:]
    assert (np.abs(r).max(axis=0) > 0.999).all()
    assert sorted(np.abs(r).argmax(axis=0)) == [0, 1, 2]
    # A cause whose wave points down is turned round.
    np.testing.assert_array_equal(np.sign(r[[0, 1, 2], np.abs(r).argmax(axis=1)]), [1, -1, 1])


@pytest.mark.parametrize("seed", range(3))
def test_varimax_does_not_depend_on_where_it_starts(seed):
    rng = np.random.default_rng(seed)
    loadings = np.kron(np.eye(4), np.ones((30, 1))) * rng.gamma(1.0, size=(120, 4))
    start, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    rotation = varimax(loadings @ start)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(np.sort(np.abs(start @ rotation).max(axis=0)), np.ones(4), atol=1e-3)


def test_a_model_without_an_active_latent_is_refused():
    mean, covariance = (
        np.zeros((50, 3), np.float32),
        np.tile(np.eye(3, dtype=np.float32), (50, 1, 1)),
    )
    with pytest.raises(DataError, match="kl_weight"):
        fit_factors(mean, covariance, 0.05, effect)
