"""Fixed effects by inverse variance against METAL's formulas written out, and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from ecg_spark.genetics.cohorts.fixed_effects import MEDIAN_CHI2, combine, directions

effects = st.lists(
    st.tuples(st.floats(-3, 3), st.floats(0.01, 2), st.booleans()), min_size=1, max_size=50
)


def arrays(cohorts):
    """beta and se [1, k], NaN where a cohort has no result."""
    beta, se, known = (np.array(one) for one in zip(*cohorts, strict=True))
    return np.where(known, beta, np.nan)[None], se[None]


def metal(beta, se):
    """What METAL writes, by Willer et al. 2010 and its documentation, cohort by cohort."""
    weights = [1 / s**2 for s in se]
    joint = sum(w * b for w, b in zip(weights, beta, strict=True)) / sum(weights)
    error = (1 / sum(weights)) ** 0.5
    q = sum(w * (b - joint) ** 2 for w, b in zip(weights, beta, strict=True))
    df = len(beta) - 1
    i2 = max(0.0, 100 * (q - df) / q) if q > 0 else 0.0
    return joint, error, 2 * stats.norm.sf(abs(joint / error)), q, i2, stats.chi2.sf(q, df)


@settings(max_examples=60)
@given(effects)
def test_effects_and_heterogeneity_agree_with_metals_formulas(cohorts):
    beta, se = arrays(cohorts)
    found = combine(beta, se)
    known = np.isfinite(beta[0])
    assert found.cohorts[0] == known.sum()
    if not known.any():
        assert np.isnan([found.beta[0], found.se[0], found.z[0], found.neg_log10_p[0]]).all()
        return
    joint, error, p, q, i2, het_p = metal(beta[0, known], se[0, known])
    assert found.beta[0] == pytest.approx(joint, rel=1e-9, abs=1e-12)
    assert found.se[0] == pytest.approx(error, rel=1e-12)
    assert found.z[0] == pytest.approx(joint / error, rel=1e-9, abs=1e-12)
    if p > 1e-300:
        assert found.neg_log10_p[0] == pytest.approx(-np.log10(p), rel=1e-9, abs=1e-9)
    if known.sum() == 1:
        assert np.isnan([found.q[0], found.i2_percent[0], found.het_neg_log10_p[0]]).all()
        return
    assert found.q[0] == pytest.approx(q, rel=1e-9, abs=1e-9)
    assert found.i2_percent[0] == pytest.approx(i2, rel=1e-6, abs=1e-6)
    if het_p > 1e-290:
        assert found.het_neg_log10_p[0] == pytest.approx(-np.log10(het_p), rel=1e-7, abs=1e-7)


def test_statsmodels_agrees():
    rng = np.random.default_rng(1)
    beta, se = rng.normal(0.1, 0.1, (20, 6)), rng.uniform(0.03, 0.2, (20, 6))
    found = combine(beta, se)
    for i in range(len(beta)):
        with np.errstate(invalid="ignore"):  # in its random effects
            other = combine_effects(beta[i], se[i] ** 2, method_re="dl", use_t=False)
        assert found.beta[i] == pytest.approx(other.mean_effect_fe)
        assert found.se[i] == pytest.approx(other.sd_eff_w_fe)
        assert found.q[i] == pytest.approx(other.q)
        assert found.i2_percent[i] == pytest.approx(100 * max(0.0, other.i2))


def test_two_and_four_cohorts_give_the_values_computed_by_hand():
    two = combine(np.array([[0.1, 0.3]]), np.array([[0.1, 0.1]]))
    assert (two.beta[0], two.se[0]) == pytest.approx((0.2, 0.1 / 2**0.5))
    assert (two.q[0], two.i2_percent[0]) == pytest.approx((2.0, 50.0))
    alike = combine(np.full((1, 4), 0.5), np.full((1, 4), 0.2))
    assert (alike.q[0], alike.i2_percent[0], alike.het_neg_log10_p[0]) == (0, 0, 0)
    assert alike.se[0] == pytest.approx(0.1)


def test_no_p_value_underflows():
    found = combine(np.array([[1.0, -1.0], [1.0, 1.0]]), np.full((2, 2), 0.01))
    assert found.neg_log10_p[1] == pytest.approx(4345, abs=1)  # z = 141
    assert found.het_neg_log10_p[0] == pytest.approx(4345, abs=1)  # Q = 20,000
    assert np.isfinite(found.neg_log10_p).all()


@given(effects, st.randoms())
def test_the_order_of_cohorts_changes_nothing(cohorts, random):
    beta, se = arrays(cohorts)
    order = list(range(len(cohorts)))
    random.shuffle(order)
    first, second = combine(beta, se), combine(beta[:, order], se[:, order])
    for name in ("beta", "se", "cohorts", "q", "neg_log10_p", "het_neg_log10_p"):
        assert getattr(first, name)[0] == pytest.approx(
            getattr(second, name)[0], rel=1e-9, abs=1e-9, nan_ok=True
        )


@given(st.integers(0, 1000), st.floats(0.3, 0.7))
@settings(max_examples=15)
def test_one_cohort_in_two_parts_gives_what_the_whole_gives(seed, share):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.3, 4000)
    y = 0.1 * x + rng.normal(size=4000)
    cut = int(4000 * share)
    found = [stats.linregress(x[part], y[part]) for part in (np.s_[:cut], np.s_[cut:], np.s_[:])]
    both = combine(
        np.array([one.slope for one in found[:2]]), np.array([one.stderr for one in found[:2]])
    )
    assert both.beta == pytest.approx(found[2].slope, abs=0.15 * found[2].stderr)
    assert both.se == pytest.approx(found[2].stderr, rel=0.02)


def test_directions_are_written_as_metal_does():
    beta = np.array([[0.1, -0.2, np.nan, 0.0], [np.nan, np.nan, 1.0, -1.0]])
    assert directions(beta).tolist() == [b"+-?0", b"??+-"]


def test_the_median_of_chi_squared():
    assert stats.chi2.ppf(0.5, 1) == pytest.approx(MEDIAN_CHI2, rel=1e-12)
