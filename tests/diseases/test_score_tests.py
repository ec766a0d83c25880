"""The null model and the score tests of all predictors, against statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.diseases.logistic import fit_logistic, score_tests


def made_up(seed, n=800, covariates=3, predictors=4):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, covariates))])
    g = rng.normal(size=(n, predictors)) + 0.4 * x[:, [1]]
    y = (rng.random(n) < 1 / (1 + np.exp(2 - 0.7 * x[:, 1] - 0.3 * g[:, 0]))).astype(float)
    return x, g, y


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(0, 5))
def test_null_model_and_score_tests_are_statsmodels(seed, covariates):
    x, g, y = made_up(seed, covariates=max(covariates, 1))
    fit = fit_logistic(x, y)
    reference = sm.GLM(y, x, family=sm.families.Binomial()).fit(tol=1e-12)
    assert fit.converged
    np.testing.assert_allclose(fit.beta, reference.params, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), reference.bse, rtol=1e-5)
    assert fit.log_likelihood == pytest.approx(reference.llf, abs=1e-7)
    u, v = score_tests(x, g, y, fit.probability)
    for k in range(g.shape[1]):
        statistic = reference.score_test(exog_extra=g[:, [k]])[0]
        assert u[k] ** 2 / v[k] == pytest.approx(float(np.squeeze(statistic)), rel=1e-4)


def test_what_cannot_be_tested_is_nan_and_not_zero():
    x, g, y = made_up(1)
    g[:, 0], g[:, 1] = 2.0, 3 * x[:, 1] - 1
    _, v = score_tests(x, g, y, fit_logistic(x, y).probability)
    assert np.isnan(v[:2]).all()
    assert np.isfinite(v[2:]).all()


def test_perfect_separation_by_a_covariate_is_noted():
    x, _, _ = made_up(2)
    y = (x[:, 1] > 1.2).astype(float)
    assert not fit_logistic(x, y).converged


def test_ridge_shrinks_all_but_the_intercept():
    x, _, y = made_up(4)
    plain, shrunk = fit_logistic(x, y), fit_logistic(x, y, ridge=1e4)
    assert np.abs(shrunk.beta[1:]).max() < 0.05 * np.abs(plain.beta[1:]).max()
    assert shrunk.probability.mean() == pytest.approx(y.mean(), abs=1e-6)
