"""The sum of single effects: R's results, brute force, and truth that was planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecg_spark.genetics.findings import susie
from ecg_spark.genetics.findings.susie import COVERAGE, fit


def _statistics(x, y):
    """What `fit` takes, of calls [n, p] and phenotypes [n, k]."""
    x, y, n = x - x.mean(axis=0), y - y.mean(axis=0), len(x)
    x = x / np.sqrt((x**2).sum(axis=0) / (n - 1))
    return x.T @ x / (n - 1), x.T @ y / np.sqrt(n - 1), float((y**2).sum()), n


def _linked(rng, n, p):
    """Calls [n, p] of which neighbours are linked."""
    latent = np.cumsum(rng.normal(size=(2 * n, p)), axis=1) / np.sqrt(np.arange(1, p + 1))
    return (latent < rng.normal(0, 0.6, p)).reshape(n, 2, p).sum(axis=1).astype(float)


def test_the_fit_is_that_of_susier():
    """susieR 0.12.35 of CRAN, susie(x, y, L = 10), on the same numbers."""
    rng = np.random.default_rng(5)
    x = _linked(rng, 400, 60)
    y = 0.45 * x[:, 17] - 0.4 * x[:, 44] + rng.normal(size=400)
    found = fit(*_statistics(x, y[:, None]))
    assert found.has_converged
    assert [sorted(one.variants.tolist()) for one in found.sets] == [[17], [44, 45]]
    assert [one.log_bf_of_set for one in found.sets] == pytest.approx([9.497744660, 8.854422342])
    assert [one.min_abs_r for one in found.sets] == pytest.approx([1, 0.8155663])
    assert found.sigma2 == pytest.approx(1.05898614, rel=1e-8)
    assert found.elbo == pytest.approx(
        [-595.279564874, -594.441715339, -592.777818702, -590.640632479, -590.008302069,
         -589.979510470, -589.978619856], abs=1e-6,
    )  # fmt: skip
    chosen = [0, 3, 6, 10, 15, 16, 17, 18, 44, 45, 47, 49, 59]
    assert found.pip[chosen] == pytest.approx(
        [0.000001360, 0.000001352, 0.000061343, 0.000403667, 0.004131841, 0.018360659,
         0.972287488, 0.002338320, 0.873020100, 0.107102230, 0.002599186, 0.010122860,
         0.000014530], abs=2e-8,
    )  # fmt: skip


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_one_effect_has_the_evidence_of_normal_densities(seed, k):
    """Of each variant that of y ~ N(0, σ² I + V xx'), for all phenotypes together."""
    rng = np.random.default_rng(seed)
    n, p = 60, 5
    x = _linked(rng, n, p) + 0.01 * rng.normal(size=(n, p))
    y = 0.7 * x[:, [2]] + rng.normal(size=(n, k))
    _, z, total, _ = _statistics(x, y)
    sigma2 = total / ((n - 1) * k)
    chi2 = (z**2).sum(axis=1) / sigma2
    variance = susie._prior_variance(chi2, k, n - 1, susie._FIRST_VARIANCE)
    own = susie._log_bf(chi2, k, variance * (n - 1))
    scaled = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    centred = y - y.mean(axis=0)

    def evidence(variance):
        noise = sigma2 * np.eye(n)
        densities = np.zeros((p + 1, k))
        for j in range(p + 1):
            spread = noise if j == p else noise + variance * np.outer(scaled[:, j], scaled[:, j])
            densities[j] = stats.multivariate_normal(np.zeros(n), spread).logpdf(centred.T)
        return (densities[:p] - densities[p]).sum(axis=1)

    tried = np.array([evidence(v) for v in sigma2 * np.geomspace(1e-4, 10, 40)])
    best = np.logaddexp.reduce(tried, axis=1).max()
    together = np.logaddexp.reduce(own)
    # The prior variance is the one with the largest evidence; none is better than it.
    assert max(best, np.log(p)) <= together + 1e-6
    assert together == pytest.approx(max(best, np.log(p)), abs=0.05)


@settings(max_examples=4)
@given(st.integers(0, 10_000))
def test_phenotypes_together_are_the_same_however_they_are_decorrelated(seed):
    rng = np.random.default_rng(seed)
    x = _linked(rng, 300, 20)
    y = np.outer(x[:, 4] - x[:, 13], 0.2 * rng.normal(size=5)) + rng.normal(size=(300, 5))
    r, z, total, n = _statistics(x, y)
    turned = z @ stats.ortho_group.rvs(5, random_state=seed)
    one, other = fit(r, z, total, n), fit(r, turned, total, n)
    assert other.pip == pytest.approx(one.pip, abs=1e-6)
    assert [a.variants.tolist() for a in one.sets] == [b.variants.tolist() for b in other.sets]


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_sets_hold_the_fewest_variants_with_the_probability_that_they_claim(seed, k):
    rng = np.random.default_rng(seed)
    x = _linked(rng, 200, 15)
    found = fit(*_statistics(x, 0.5 * x[:, [3]] + rng.normal(size=(200, k))))
    assert (found.pip >= 0).all()
    assert (found.pip <= 1).all()
    for one in found.sets:
        assert one.alpha.sum() == pytest.approx(1)
        own = one.alpha[one.variants]
        assert own.sum() >= COVERAGE > own[:-1].sum()
        assert (np.diff(own) <= 0).all()
        assert own[-1] >= np.delete(one.alpha, one.variants).max(initial=0)


def test_noise_has_hardly_any_signal():
    rng = np.random.default_rng(3)
    found = [fit(*_statistics(_linked(rng, 300, 40), rng.normal(size=(300, 2)))) for _ in range(10)]
    assert sum(len(one.sets) for one in found) <= 1


def test_variants_that_are_the_same_share_a_signal():
    rng = np.random.default_rng(4)
    x = _linked(rng, 500, 10)
    x[:, 7] = x[:, 2]
    (one,) = fit(*_statistics(x, 0.5 * x[:, [2]] + rng.normal(size=(500, 1)))).sets
    assert sorted(one.variants.tolist()) == [2, 7]
    assert one.alpha[2] == pytest.approx(one.alpha[7])
