"""Phenotypes tested together: against statsmodels, and among relatives against simulation."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from statsmodels.multivariate.manova import MANOVA

from ecg_spark.genetics.null_model.phenotypes import LEAST_VARIANCE, covariance_by_relatives
from ecg_spark.genetics.null_model.projection import residuals
from ecg_spark.genetics.testing.omnibus import omnibus, together
from tests.builders.exact import tail_of_f

SAMPLES = pd.Index([f"S{i}" for i in range(600)])
SIBLINGS = pd.DataFrame({"s1": SAMPLES[::2], "s2": SAMPLES[1::2], "kinship": 0.25})


def weights_of(left, relatives):
    alone, related = (covariance_by_relatives(left, SAMPLES[: len(left)], one)
                      for one in (None, relatives))  # fmt: skip
    return together(alone, related, LEAST_VARIANCE)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(25, 400), st.integers(2, 6), st.integers(0, 5),
    st.sampled_from([0.0, 0.3, 1.0, 3.0, 20.0]),
)  # fmt: skip
def test_without_relatives_it_is_the_test_of_all_regressions_at_once(seed, n, k, c, effect):
    """Wilks' lambda, which is exact for one variant: down to p of 1e-300 and with few people."""
    rng = np.random.default_rng(seed)
    x, covariates = rng.binomial(2, 0.3, n).astype(float), rng.normal(size=(n, c))
    y = (rng.normal(size=(n, k)) + covariates.sum(axis=1, keepdims=True)) @ rng.normal(size=(k, k))
    y += effect * x[:, None]
    design = np.column_stack([np.ones(n), covariates, x])
    left = residuals(y, covariates)
    t = [statsmodels.api.OLS(y[:, j], design).fit().tvalues[-1] for j in range(k)]
    _, found = omnibus(np.array([t]), weights_of(left, None), n - c - 2)
    test = MANOVA(y, design).mv_test([("x", np.eye(c + 2)[[-1]])])
    row = test.results["x"]["stat"].loc["Wilks' lambda"]
    assert (row["Num DF"], row["Den DF"]) == (k, n - c - 1 - k)
    expected = tail_of_f(row["F Value"], k, n - c - 1 - k)
    assert found[0] == pytest.approx(expected, rel=1e-8, abs=1e-10)
    if row["Pr > F"] > 1e-290:
        assert 10 ** -found[0] == pytest.approx(row["Pr > F"], rel=1e-6)


def test_what_other_chromosomes_predict_costs_no_degree_of_freedom():
    """Predictions of folds by ridge regression are taken off: the tests of what they leave, by few
    people, are as often small as they say."""
    rng = np.random.default_rng(4)
    n, k, others, variants, p = 90, 8, 200, 4_000, 1e-2
    passed, squares, sets = 0, 0, 20
    for _ in range(sets):
        other = rng.binomial(2, 0.4, (n, others)) - 0.8
        y = other @ rng.normal(0, 0.08, (others, k)) + rng.normal(size=(n, k))
        predicted = np.empty_like(y)
        for fold in range(5):
            own = np.arange(n) % 5 == fold
            fit = np.linalg.solve(other[~own].T @ other[~own] + 100 * np.eye(others),
                                  other[~own].T @ (y[~own] - y[~own].mean(axis=0)))  # fmt: skip
            predicted[own] = other[own] @ fit
        left = residuals(y - predicted, np.zeros((n, 0)))
        x = rng.binomial(2, 0.4, (variants, n)).astype(float)
        x -= x.mean(axis=1, keepdims=True)
        r = x @ left / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(left, axis=0)
        square, log_p = omnibus(r * np.sqrt((n - 2) / (1 - r**2)), weights_of(left, None), n - 2)
        passed += (log_p > -np.log10(p)).sum()
        squares += (square > chi2.isf(p, k)).sum()
    expected = sets * variants * p
    assert passed == pytest.approx(expected, abs=4 * np.sqrt(expected))
    # The sum of squares is by no means chi-squared with so few people.
    assert squares < 0.8 * expected


@pytest.mark.parametrize("relatives", [None, SIBLINGS])
def test_the_omnibus_test_of_one_phenotype_is_its_own_test(relatives):
    rng = np.random.default_rng(2)
    left = rng.normal(size=(600, 1)) + np.repeat(rng.normal(size=(300, 1)), 2, axis=0)
    left -= left.mean(axis=0)
    t = rng.normal(size=(5, 1)) * 2
    square, _ = omnibus(t, weights_of(left, relatives), 598)
    wider = covariance_by_relatives(left, SAMPLES, relatives)[0, 0]
    assert square == pytest.approx(599 * (t[:, 0] ** 2 / (598 + t[:, 0] ** 2)) / wider)


def test_the_omnibus_test_is_calibrated_among_siblings():
    rng = np.random.default_rng(3)
    n, k, variants, p = 600, 3, 20_000, 1e-2
    family = np.repeat(rng.normal(size=(n // 2, 1)), 2, axis=0) * rng.choice([-1, 1], k)
    y = 3 * family + rng.normal(size=(n, k))  # alike in a family in one direction alone
    left = y - y.mean(axis=0)
    alleles = rng.random((2, 2, variants, n // 2)) < 0.4  # of two parents
    x = np.stack([sum(np.where(rng.random((variants, n // 2)) < 0.5, *one) for one in alleles)
                  for _ in range(2)], axis=2).reshape(variants, n).astype(float)  # fmt: skip
    x -= x.mean(axis=1, keepdims=True)
    r = x @ left / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(left, axis=0)
    t = r * np.sqrt((n - 2) / (1 - r**2))
    found = {}
    for name, relatives in (("related", SIBLINGS), ("alone", None)):
        square, _ = omnibus(t, weights_of(left, relatives), n - 2)
        found[name] = (square > chi2.isf(p, k)).mean() / p
    # Each phenotype divided by its own factor is not enough.
    wider = np.sqrt(np.diag(covariance_by_relatives(left, SAMPLES, SIBLINGS)))
    square, _ = omnibus(t / wider, weights_of(left, None), n - 2)
    found["one by one"] = (square > chi2.isf(p, k)).mean() / p
    error = 4 / np.sqrt(variants * p)
    assert found["related"] == pytest.approx(1, abs=error)
    assert found["alone"] > 1 + error
    assert abs(found["one by one"] - 1) > error
