"""Mendelian randomisation against published figures, statsmodels and planted effects."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.mendelian.estimators import (
    EGGER,
    IVW_FIXED,
    IVW_RANDOM,
    MEDIAN,
    Effects,
    egger,
    estimates,
    inverse_variance,
    leave_one_out,
)

# LDL cholesterol and coronary heart disease: 28 variants of Waterworth et al. (2010, Arterioscler
# Thromb Vasc Biol 30:2264), the example of R's MendelianRandomization (Yavorska and Burgess 2017,
# Int J Epidemiol 46:1734).
LDL = Effects(
    np.array([
        0.026, -0.044, -0.038, -0.023, -0.017, -0.031, -0.018, 0.046, 0.059, 0.004, 0.011, -0.005,
        0.004, 0.022, -0.005, -0.002, -0.002, 0.004, 0.011, 0.009, -0.011, -0.003, -0.012, 0.0003,
        -0.015, -0.008, 0.009, -0.036,
    ]),
    np.array([
        0.004, 0.004, 0.004, 0.003, 0.003, 0.006, 0.004, 0.007, 0.004, 0.003, 0.004, 0.005, 0.005,
        0.005, 0.004, 0.004, 0.003, 0.004, 0.004, 0.003, 0.004, 0.003, 0.004, 0.003, 0.003, 0.004,
        0.003, 0.007,
    ]),
    np.array([
        0.0677, -0.1625, -0.1054, -0.0619, -0.0834, -0.1278, -0.0408, 0.0770, 0.1570, -0.0305,
        0.0100, 0.1823, -0.0408, 0.1989, 0.0100, 0.0488, 0.0100, -0.0408, -0.0305, -0.0408, -0.0202,
        -0.0619, 0.0296, 0.0677, -0.0726, -0.0726, 0.0000, 0.0198,
    ]),
    np.array([
        0.0286, 0.0300, 0.0310, 0.0243, 0.0222, 0.0667, 0.0373, 0.0543, 0.0306, 0.0236, 0.0277,
        0.0403, 0.0344, 0.0335, 0.0378, 0.0292, 0.0253, 0.0319, 0.0316, 0.0241, 0.0285, 0.0217,
        0.0298, 0.0239, 0.0220, 0.0246, 0.0255, 0.0647,
    ]),
)  # fmt: skip


def test_ldl_and_heart_disease_have_the_published_figures():
    found = {one.method: one for one in estimates(LDL)}
    ivw, egger, median = found[IVW_RANDOM], found[EGGER], found[MEDIAN]
    rounded = [round(one, 3) for one in (ivw.estimate, ivw.se, ivw.low, ivw.high)]
    assert rounded == [2.834, 0.530, 1.796, 3.873]
    assert (round(ivw.q, 4), ivw.q_df) == (99.5304, 27)
    assert round(np.sqrt(ivw.q / ivw.q_df), 3) == 1.920
    assert round(LDL.mean_f, 1) == 28.0
    rounded = [round(one, 3) for one in (egger.estimate, egger.se, egger.low, egger.high)]
    assert rounded == [3.253, 0.770, 1.743, 4.762]
    rounded = [round(one, 3) for one in (egger.intercept, egger.intercept_se)]
    assert rounded == [-0.011, 0.015]
    assert 10**-egger.intercept_neg_log10_p == pytest.approx(0.451, abs=5e-4)
    assert round(median.estimate, 3) == 2.683
    assert median.se == pytest.approx(0.419, rel=0.03)  # of another generator's draws


def _drawn(seed: int, variants: int) -> Effects:
    rng = np.random.default_rng(seed)
    exposure = rng.normal(0, 0.1, variants) + 0.05 * rng.choice([-1, 1], variants)
    outcome = 0.4 * exposure + rng.normal(0, 0.02, variants)
    return Effects(
        exposure, rng.uniform(0.005, 0.02, variants), outcome, rng.uniform(0.005, 0.03, variants)
    )


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), variants=st.integers(3, 60))
def test_the_lines_are_those_of_statsmodels(seed, variants):
    effects = _drawn(seed, variants)
    found = {one.method: one for one in estimates(effects)}
    sign = np.sign(effects.exposure)
    x, y, w = sign * effects.exposure, sign * effects.outcome, effects.outcome_se**-2
    line = sm.WLS(y, x, weights=w).fit()
    for method, spread in ((IVW_FIXED, 1), (IVW_RANDOM, max(1, np.sqrt(line.scale)))):
        own = found[method]
        assert own.estimate == pytest.approx(line.params[0])
        assert own.se == pytest.approx(line.bse[0] / np.sqrt(line.scale) * spread)
        assert own.q == pytest.approx(line.scale * line.df_resid)
    line = sm.WLS(y, sm.add_constant(x), weights=w).fit()
    own, spread = found[EGGER], max(1, np.sqrt(line.scale)) / np.sqrt(line.scale)
    assert [own.intercept, own.estimate] == pytest.approx(list(line.params))
    assert [own.intercept_se, own.se] == pytest.approx(list(line.bse * spread))


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), variants=st.integers(4, 30))
def test_which_allele_is_told_of_and_the_order_of_variants_change_nothing(seed, variants):
    effects, rng = _drawn(seed, variants), np.random.default_rng(seed)
    order, sign = rng.permutation(variants), rng.choice([-1, 1], variants)
    other = Effects(
        (sign * effects.exposure)[order], effects.exposure_se[order],
        (sign * effects.outcome)[order], effects.outcome_se[order],
    )  # fmt: skip
    for one, two in zip(estimates(effects), estimates(other), strict=True):
        assert two.estimate == pytest.approx(one.estimate)
        assert two.se == pytest.approx(one.se)
    whole = leave_one_out(effects)
    assert [one.estimate for one in leave_one_out(other)] == pytest.approx(
        [whole[k].estimate for k in order]
    )


def test_half_of_the_variants_may_be_invalid_for_the_median_and_all_for_egger():
    rng = np.random.default_rng(3)
    k = 60
    exposure, se = rng.uniform(0.05, 0.3, k), np.full(k, 0.004)
    outcome = 0.5 * exposure + rng.normal(0, se)
    to_the_side = np.where(np.arange(k) % 5 < 2, 0.1, 0.0)
    found = {one.method: one for one in estimates(Effects(exposure, se, outcome + to_the_side, se))}
    assert found[IVW_RANDOM].estimate > 0.65
    assert found[MEDIAN].estimate == pytest.approx(0.5, abs=0.05)
    assert found[EGGER].estimate == pytest.approx(0.5, abs=0.15)
    assert found[EGGER].intercept == pytest.approx(0.04, abs=0.02)
    assert found[IVW_RANDOM].q_neg_log10_p > 20


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    covered: dict[str, list[bool]] = {}
    rng = np.random.default_rng(7)
    k = 25
    for draw in range(300):
        true = rng.uniform(0.05, 0.3, k) * rng.choice([-1, 1], k)
        se = np.full(k, 0.004), rng.uniform(0.02, 0.04, k)
        effects = Effects(rng.normal(true, se[0]), se[0], rng.normal(0.3 * true, se[1]), se[1])
        lines = [inverse_variance(effects, IVW_FIXED), inverse_variance(effects, IVW_RANDOM)]
        found = [*lines, egger(effects)] if draw % 6 else estimates(effects)
        for one in found:
            covered.setdefault(one.method, []).append(one.low < 0.3 < one.high)
    assert len(covered[MEDIAN]) == 50
    for method, times in covered.items():
        assert np.mean(times) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(times)), method
