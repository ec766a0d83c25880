"""Factors against the causes that they are made from."""

import numpy as np
import pytest

from ecg_spark.errors import DataError
from models.encoding.factors import factor_kl, fit_factors, varimax

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
    return factors.inverse[[0, 2, 3]].T @ np.linalg.inv(MIXED) @ WAVES


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
    spread = ((draws - factors.offset) @ factors.rotation.T).std(axis=0)
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
