"""The tail of a weighted sum of chi-squared variables: by Imhof's integral, and exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2
from ecg_spark.genetics.testing.quadratic import neg_log10_p_of_sum


def _imhof(q, weights):
    """Imhof (1961, Biometrika 48:419), by integration."""

    def integrand(u):
        theta = 0.5 * np.arctan(weights * u).sum() - 0.5 * q * u
        return np.sin(theta) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25))

    found, _ = integrate.quad(integrand, 0, np.inf, limit=2000, epsabs=1e-10)
    return 0.5 + found / np.pi


@settings(max_examples=40)
@given(st.lists(st.floats(0.05, 5), min_size=4, max_size=30), st.floats(0.3, 4))
def test_the_tail_is_that_of_imhof(weights, spread):
    weights = np.array(weights)
    q = max(weights.sum() + (spread - 1) * 2 * np.sqrt(2 * (weights**2).sum()), 0.1)
    exact = _imhof(q, weights)
    if exact > 1e-7:
        assert 10 ** -neg_log10_p_of_sum(q, weights) == pytest.approx(exact, rel=0.05, abs=1e-8)


def test_weights_that_are_the_same_give_chi_squared_and_far_tails_do_not_underflow():
    for n in (1, 3, 50):
        assert neg_log10_p_of_sum(2 * 30.0, np.full(n, 2.0)) == pytest.approx(
            -stats.chi2.logsf(30.0, n) / np.log(10)
        )
    nearly = np.array([1.0, 1.0, 1.0, 0.999])
    exact = float(neg_log10_p_of_chi2(2_000.0, 4))
    assert neg_log10_p_of_sum(2_000.0, nearly) == pytest.approx(exact, abs=0.1)
    assert neg_log10_p_of_sum(1e5, np.array([1.0, 0.1])) > 20_000
    assert neg_log10_p_of_sum(3.0, np.zeros(3)) == neg_log10_p_of_sum(0.0, nearly) == 0


@settings(max_examples=20)
@given(st.lists(st.floats(0.05, 5), min_size=2, max_size=10))
def test_a_larger_sum_is_less_likely(weights):
    weights = np.array(weights)
    found = [neg_log10_p_of_sum(q, weights) for q in weights.sum() * np.linspace(0.2, 20, 60)]
    assert (np.diff(found) > -0.02).all()


def test_sums_of_simulated_scores_have_uniform_p():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(20, 20))
    covariance = factor @ factor.T
    r = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    z = rng.multivariate_normal(np.zeros(20), r, 4_000)
    p = [10 ** -neg_log10_p_of_sum(float(one @ one), np.linalg.eigvalsh(r)) for one in z]
    assert stats.kstest(p, "uniform").pvalue > 0.01
