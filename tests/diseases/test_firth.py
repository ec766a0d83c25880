"""Firth's regression against figures that R's logistf publishes, and against maximum likelihood."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecg_spark.diseases.firth import firth, null_firth

# Heinze and Schemper (2002): neovascularisation, pulsatility index and endometrium height of 79
# women, and whether the cancer's grade is high. NV tells the grade perfectly where it is 1.
ENDOMETRIAL = """
0,13,1.64,0 0,16,2.26,0 0,8,3.14,0 0,34,2.68,0 0,20,1.28,0 0,5,2.31,0 0,17,1.8,0 0,10,1.68,0
0,26,1.56,0 0,17,2.31,0 0,8,2.01,0 0,7,1.89,0 0,20,3.15,0 0,10,1.23,0 0,18,1.27,0 0,16,1.76,0
0,18,2,0 0,8,2.64,1 0,29,0.88,1 0,12,1.27,1 0,20,1.37,1 1,38,0.97,1 1,22,1.14,1 1,7,0.88,1
1,25,0.91,1 1,15,0.58,1 0,7,0.97,1 0,28,1.5,0 0,11,1.33,0 0,19,2.37,0 0,10,1.82,0 0,10,3.13,0
0,18,1.31,0 0,14,1.92,0 0,21,1.64,0 0,11,2.01,0 0,17,1.88,0 0,25,1.93,0 0,16,2.11,0 0,19,1.29,0
0,15,1.72,0 0,33,0.75,0 0,24,1.92,0 0,48,1.84,1 0,12,1.11,1 0,19,1.61,1 0,2,1.18,1 1,22,1.44,1
1,40,1.18,1 1,5,0.93,1 1,0,1.17,1 0,21,1.19,1 0,15,1.06,1 0,29,2.02,0 0,15,2.29,0 0,12,2.33,0
0,3,2.9,0 0,20,1.7,0 0,23,1.41,0 0,12,2.25,0 0,22,1.54,0 0,42,1.97,0 0,15,1.75,0 0,13,2.16,0
0,14,2.57,0 0,19,1.37,0 0,12,3.61,0 0,13,2.04,0 0,10,2.17,0 0,12,1.69,1 1,49,0.27,1 0,6,1.84,1
0,5,1.3,1 0,17,0.96,1 1,11,1.01,1 1,21,0.98,1 0,5,0.35,1 1,19,1.02,1 0,33,0.85,1
"""

# logistf's sex2 (Cantu et al. 1997): case, then age oc vic vicl vis dia, and how many women.
SEX2 = """
1 000010:1 001000:14 001010:3 001100:10 001110:12 001111:1 010000:44 010001:3 011000:15 011001:1
1 011010:2 011100:7 011110:3 101000:2 101010:1 101011:1 101100:1 101111:1 110000:5 111000:3
0 000010:1 001000:2 001010:1 001100:8 001110:18 010000:42 010010:1 011000:1 011100:5 011110:6
0 101100:2 101110:4 110000:14 110010:1 111000:1 111110:2
"""


def endometrial():
    rows = np.array([row.split(",") for row in ENDOMETRIAL.split()], float)
    assert rows.shape == (79, 4)
    return rows[:, :3], rows[:, 3]


def sex2():
    x, y = [], []
    for line in SEX2.strip().splitlines():
        case, *groups = line.split()
        for group in groups:
            pattern, count = group.split(":")
            x += [[float(digit) for digit in pattern]] * int(count)
            y += [float(case)] * int(count)
    assert len(y) == 239
    return np.array(x), np.array(y)


def each_in_turn(x, y):
    """Every column of x as the predictor, the others as covariates."""
    with_intercept = np.column_stack([np.ones(len(x)), x])
    return [
        firth(np.delete(with_intercept, k, axis=1), with_intercept[:, [k]], y)
        for k in range(with_intercept.shape[1])
    ]


@pytest.mark.parametrize(
    ("data", "beta", "limits"),
    [
        (
            endometrial,
            [3.77455951, 2.92927330, -0.03475175, -2.60416387],
            [(1.0825371, 7.20928050), (0.6097244, 7.85463171), (-0.1244587, 0.04045547),
             (-4.3651832, -1.23272106)],
        ),
        (
            sex2,
            [0.12025405, -1.10598131, -0.06881673, 2.26887464, -2.11140817, -0.78831694,
             3.09601166],
            [(-0.8185591, 1.07315122), (-1.9737884, -0.30742514), (-0.9414363, 0.78920202),
             (1.2730216, 3.43543273), (-3.2608611, -1.11773495), (-1.6080879, 0.01518468),
             (0.7745682, 8.03029352)],
        ),
    ],
)  # fmt: skip
def test_coefficients_and_profile_intervals_are_logistfs(data, beta, limits):
    found = each_in_turn(*data())
    np.testing.assert_allclose([one.beta[0] for one in found], beta, atol=2e-5)
    np.testing.assert_allclose([(one.lower[0], one.upper[0]) for one in found], limits, atol=1e-4)


def test_p_values_and_standard_errors_are_logistfs():
    found = each_in_turn(*sex2())
    p = [0.766584, 0.00611139, 0.876, 1.67219e-06, 1.23618e-05, 0.0534899, 0.00484687]
    chi2 = [stats.chi2.isf(10 ** -one.neg_log10_p[0], 1) for one in found]
    # The chi-squared of logistf's own summary: with the restricted fit's predictor in the penalty.
    np.testing.assert_allclose(
        chi2[1:], [7.50773092, 0.02467044, 22.93139022, 19.10407252, 3.69740975, 7.89693139],
        rtol=1e-3,
    )  # fmt: skip
    assert found[6].neg_log10_p[0] == pytest.approx(-np.log10(p[6]), rel=0.01)
    np.testing.assert_allclose(found[1].se, 0.42366, atol=1e-4)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5))
def test_many_cases_make_it_maximum_likelihood(seed, covariates, predictors):
    rng = np.random.default_rng(seed)
    n = 4000
    x = np.column_stack([np.ones(n), rng.normal(size=(n, covariates - 1))])
    g = rng.normal(size=(n, predictors))
    y = (rng.random(n) < 1 / (1 + np.exp(-(0.2 + 0.3 * g[:, 0])))).astype(float)
    found = firth(x, g, y, intervals=False)
    for k in range(predictors):
        fit = sm.Logit(y, np.column_stack([x, g[:, k]])).fit(disp=0)
        null = sm.Logit(y, x).fit(disp=0)
        assert found.beta[k] == pytest.approx(fit.params[-1], abs=2e-3)
        assert found.se[k] == pytest.approx(fit.bse[-1], rel=3e-3)
        chi2 = stats.chi2.isf(10 ** -found.neg_log10_p[k], 1)
        assert chi2 == pytest.approx(2 * (fit.llf - null.llf), rel=0.01, abs=0.02)


def test_predictors_side_by_side_are_what_they_are_alone_and_in_blocks(monkeypatch):
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(500), rng.normal(size=(500, 3))])
    g = rng.normal(size=(500, 4))
    y = (rng.random(500) < 0.05).astype(float)
    together = firth(x, g, y)
    alone = [firth(x, g[:, [k]], y) for k in range(4)]
    monkeypatch.setattr("ecg_spark.diseases.firth._BLOCK", 77)
    monkeypatch.setattr("ecg_spark.diseases.firth._HELD_BYTES", 0)
    in_blocks = firth(x, g, y)
    for key, values in vars(together).items():
        np.testing.assert_allclose(values, [getattr(one, key)[0] for one in alone], atol=1e-4)
        np.testing.assert_allclose(values, getattr(in_blocks, key), atol=1e-6)


def test_cases_that_a_covariate_tells_perfectly_leave_the_null_model_finite():
    x = np.column_stack([np.ones(200), np.arange(200) >= 150])
    y = (np.arange(200) >= 150).astype(float)
    coefficients, probability = null_firth(x, y)
    assert np.isfinite(coefficients).all()
    assert 0 < probability.min() < 0.02 < 0.98 < probability.max() < 1


def test_a_predictor_that_tells_cases_perfectly_has_an_estimate_and_a_test():
    rng = np.random.default_rng(1)
    x = np.ones((300, 1))
    y = (np.arange(300) < 12).astype(float)
    g = np.column_stack([y, rng.normal(size=300)])
    found = firth(x, g, y)
    assert np.isfinite(found.beta).all()
    assert found.neg_log10_p[0] > 15
    assert found.lower[0] > 0
