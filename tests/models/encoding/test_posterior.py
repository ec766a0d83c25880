"""The posterior of a beat's latents, against automatic derivatives and a closed form."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ecg_spark.simulate.heart import PARAMETERS, beat_mv, hearts_from_scores
from models.encoding.fold_encoder import independent_leads
from models.encoding.posterior import posterior
from models.network.vae import VAE


@pytest.fixture
def network(beats):
    """An untrained network whose warp and curved parts do something."""
    torch.manual_seed(1)
    network = VAE(4, 4)
    network.start_from(beats)
    torch.nn.init.normal_(network.warp.weight, std=0.1)
    torch.nn.init.normal_(network.curved[-1].weight, std=0.05)
    return network.eval()


@pytest.fixture(scope="module")
def beats():
    """Simulated hearts' beats, [300, 8, 600] in mV."""
    scores = np.random.default_rng(1).standard_normal((300, len(PARAMETERS)))
    return independent_leads(beat_mv(hearts_from_scores(scores)))


def energy(network, beats, z):
    off = (beats - network.decode(z)) / network.noise.exp()
    return (off**2).flatten(1).sum(dim=1) + (z**2).sum(dim=1)


def test_derivatives_are_those_of_automatic_differentiation(network):
    z = torch.randn(3, 4)
    rebuilt, slopes = network.linearised(z)
    torch.testing.assert_close(rebuilt, network.decode(z))
    for row, own in zip(z, slopes, strict=True):
        # Four latents and 4,800 samples: forwards it is four derivatives, backwards 4,800.
        expected = torch.func.jacfwd(lambda q: network.decode(q[None])[0])(row)
        torch.testing.assert_close(own, expected.transpose(0, 1), rtol=1e-4, atol=1e-6)


def test_without_a_warp_it_is_that_of_linear_regression(network, beats):
    """Bishop, Pattern Recognition and Machine Learning, 2006, eq. 3.50 and 3.51."""
    torch.nn.init.zeros_(network.warp.weight)
    found = posterior(network, torch.from_numpy(beats[:20]))
    mean, covariance = found.mean, found.covariance
    design = (network.amplitude.weight.T @ network.axes).detach().double().numpy().T
    precision = np.exp(-2 * network.noise.item())
    expected = np.linalg.inv(np.eye(4) + precision * design.T @ design)
    np.testing.assert_allclose(covariance, np.tile(expected, (20, 1, 1)), rtol=2e-3, atol=1e-7)
    around = beats[:20].reshape(20, -1) - network.template.detach().numpy().ravel()
    np.testing.assert_allclose(mean, precision * around @ design @ expected, rtol=1e-3, atol=1e-4)


def test_posterior_mode_is_at_least_as_likely_as_the_encoders_guess(network, beats):
    x = torch.from_numpy(beats) * torch.linspace(-8, 8, len(beats))[:, None, None]
    with torch.inference_mode():
        guess = network.encode(x)[0]
        mean = posterior(network, x).mean
        before, after = energy(network, x, guess), energy(network, x, mean)
    assert (after <= before).all()
    assert after.mean() < before.mean()


def test_a_beat_does_not_depend_on_its_neighbours(network, beats):
    x = torch.from_numpy(beats[:6].copy())
    alone = torch.cat([posterior(network, row[None]).mean for row in x])
    x[3] = float("nan")
    found = posterior(network, x)
    together, covariance = found.mean, found.covariance
    assert together[3].isnan().all()
    kept = [0, 1, 2, 4, 5]
    torch.testing.assert_close(together[kept], alone[kept], rtol=1e-4, atol=1e-4)
    assert covariance[kept].isfinite().all()


def hard(beats):
    """Beats unlike those that the network started from: scaled, moved in time, turned over."""
    scales = torch.linspace(-3, 3, len(beats))[:, None, None]
    moved = torch.stack([torch.roll(row, k % 41 - 20, dims=1) for k, row in enumerate(beats)])
    return scales * moved


def test_the_mode_is_where_an_optimiser_of_another_kind_ends(network, beats):
    """BFGS with automatic derivatives in double precision, from the mode that is said."""
    x = hard(torch.from_numpy(beats[::8]))
    mean = posterior(network, x).mean.double().numpy()
    exact, x = network.double(), x.double()

    def one(z, row):
        z = torch.tensor(z[None], requires_grad=True)
        value = energy(exact, row[None], z)[0]
        return value.item(), torch.autograd.grad(value, z)[0][0].numpy()

    for own, row in zip(mean, x, strict=True):
        best = minimize(one, own, args=(row,), jac=True, method="BFGS").x
        assert np.abs(best - own).max() < 0.02


def test_beats_whose_search_does_not_end_have_no_factors(network, beats, monkeypatch):
    x = hard(torch.from_numpy(beats[:40]))
    whole = posterior(network, x).mean
    assert whole.isfinite().all()
    for steps in range(2, 40):  # until some have ended and others have not
        monkeypatch.setattr("models.encoding.posterior.MOST_STEPS", steps)
        cut = posterior(network, x)
        lost = cut.mean.isnan().all(dim=1)
        if lost.sum() < len(x):
            break
    assert 0 < lost.sum() < len(x)
    assert cut.covariance[lost].isnan().all()
    torch.testing.assert_close(cut.mean[~lost], whole[~lost], rtol=0, atol=1e-2)
