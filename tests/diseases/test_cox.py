"""Cox's regression against statsmodels' PHReg."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg

from ecg_spark.diseases.cox import Risk, cox_estimate, cox_score_tests, fit_cox


def made_up(seed, n=600, ties=False, effect=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    g = rng.normal(size=(n, 3)) + 0.3 * x[:, [0]]
    until = rng.exponential(np.exp(-0.6 * x[:, 0] - effect * g[:, 0]) * 6)
    end = rng.uniform(0.5, 3, n)
    time, event = np.minimum(until, end), (until <= end).astype(float)
    if ties:
        time = np.ceil(time * 4) / 4
    return x, g, time, event


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.booleans())
def test_fits_and_estimates_agree_with_statsmodels_phreg(seed, ties):
    x, g, time, event = made_up(seed, ties=ties)
    risk = Risk(time, event)
    fit = fit_cox(risk, x[risk.order])
    reference = PHReg(time, x, status=event, ties="breslow").fit()
    np.testing.assert_allclose(fit.beta, reference.params, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), reference.bse, rtol=1e-4)
    both = np.column_stack([x, g[:, 0]])
    full = PHReg(time, both, status=event, ties="breslow").fit()
    found = cox_estimate(risk, x[risk.order], g[risk.order, 0], fit)
    assert found.beta == pytest.approx(full.params[-1], abs=1e-5)
    assert found.se == pytest.approx(full.bse[-1], rel=1e-4)
    assert stats.chi2.isf(10**-found.neg_log10_p, 1) == pytest.approx(
        2 * (full.llf - reference.llf), rel=1e-3, abs=1e-6
    )
    assert found.lower == pytest.approx(found.beta - 1.96 * found.se, abs=0.2 * found.se)
    assert found.upper == pytest.approx(found.beta + 1.96 * found.se, abs=0.2 * found.se)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.booleans())
def test_score_tests_are_those_of_phregs_score_and_information(seed, ties):
    x, g, time, event = made_up(seed, ties=ties)
    risk = Risk(time, event)
    null = fit_cox(risk, x[risk.order])
    u, v = cox_score_tests(risk, x[risk.order], g[risk.order], null)
    for k in range(g.shape[1]):
        model = PHReg(time, np.column_stack([x, g[:, k]]), status=event, ties="breslow")
        at = np.append(null.beta, 0)
        score, information = model.score(at), -model.hessian(at)
        assert u[k] == pytest.approx(score[-1], abs=1e-6)
        assert v[k] == pytest.approx(1 / np.linalg.inv(information)[-1, -1], rel=1e-6)


def test_profile_limits_are_where_the_likelihood_has_fallen_by_half_of_the_quantile():
    x, g, time, event = made_up(5, n=150)
    risk = Risk(time, event)
    x, g = x[risk.order], g[risk.order, 0]
    null = fit_cox(risk, x)
    best = fit_cox(risk, np.column_stack([x, g]))
    found = cox_estimate(risk, x, g, null)
    for limit in (found.lower, found.upper):
        fit = fit_cox(risk, np.column_stack([x, g]), best.beta, held=limit)
        assert 2 * (best.log_likelihood - fit.log_likelihood) == pytest.approx(3.841459, abs=1e-3)


def test_without_an_estimate_there_is_nan_and_no_number():
    x, _, time, event = made_up(7)
    nobody = ((event == 0) & (np.arange(len(time)) % 9 == 0)).astype(
        float
    )  # none of them falls ill
    risk = Risk(time, event)
    null = fit_cox(risk, x[risk.order])
    found = cox_estimate(risk, x[risk.order], nobody[risk.order], null)
    assert np.isnan([found.beta, found.se, found.neg_log10_p]).all()


def test_a_study_without_covariates_and_a_predictor_that_does_not_vary():
    _, g, time, event = made_up(8)
    g[:, 1] = 1.5
    risk = Risk(time, event)
    none = np.empty((len(time), 0))
    u, v = cox_score_tests(risk, none, g[risk.order], fit_cox(risk, none))
    assert np.isnan(v[1])
    assert np.isfinite(v[[0, 2]]).all()
    assert u[0] ** 2 / v[0] > 10
