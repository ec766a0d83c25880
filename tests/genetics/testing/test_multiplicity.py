"""As how many independent tests those of a variant count, against quadrature and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi2, norm

from ecg_spark.genetics.testing.multiplicity import any_beyond, effective_tests


def alike(k, r):
    """Correlation of k phenotypes, r between any two."""
    return np.full((k, k), r) + (1 - r) * np.eye(k)


@settings(max_examples=8)
@given(
    k=st.integers(2, 30), r=st.floats(0.05, 0.95), log_p=st.sampled_from([-1.5, -4.0, -7.3, -9.0])
)
def test_equally_correlated_phenotypes_have_the_probability_of_an_integral(k, r, log_p):
    p = 10**log_p
    limit = norm.isf(p / 2)

    def density(common):
        shift, spread = np.sqrt(r) * common, np.sqrt(1 - r)
        one = norm.sf((limit - shift) / spread) + norm.cdf((-limit - shift) / spread)
        return norm.pdf(common) * -np.expm1(k * np.log1p(-min(one, 1 - 1e-16)))

    pieces = [quad(density, a, a + 1, epsabs=0)[0] for a in range(-12, 12)]
    assert any_beyond(alike(k, r), [], p) == pytest.approx(sum(pieces) / p, abs=0.015 * k)


def test_with_omnibus_tests_it_is_that_of_a_simulation():
    rng = np.random.default_rng(3)
    correlation, p, own = alike(5, 0.5), 1e-3, [1, 2, 3]
    z = rng.normal(size=(2_000_000, 5)) @ np.linalg.cholesky(correlation).T
    square = np.einsum("ni,ij,nj->n", z[:, own], np.linalg.inv(correlation[:3, :3]), z[:, own])
    beyond = (np.abs(z) > norm.isf(p / 2)).any(axis=1) | (square > chi2.isf(p, 3))
    error = 4 * np.sqrt(beyond.mean() / len(z)) / p
    assert any_beyond(correlation, [own], p) == pytest.approx(beyond.mean() / p, abs=error)


def test_the_same_test_twice_counts_once_and_independent_ones_all():
    assert any_beyond(np.ones((4, 4)), [range(4)], 5e-8) == pytest.approx(1)
    assert any_beyond(np.eye(6), [], 5e-8) == pytest.approx(6, abs=0.01)
    tests, effective = effective_tests(alike(20, 0.8), [], 5e-8)
    assert (tests, effective) == (20, pytest.approx(16.1, abs=0.2))
