"""Phenotypes tested together: against statsmodels, and among relatives against simulation."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api
from scipy.stats import chi2
from statsmodels.multivariate.manova import MANOVA

from ecg_spark.genetics.null_model.phenotypes import LEAST_VARIANCE, covariance_by_relatives
from ecg_spark.genetics.testing.omnibus import omnibus, together

SAMPLES = pd.Index([f"S{i}" for i in range(600)])
SIBLINGS = pd.DataFrame({"s1": SAMPLES[::2], "s2": SAMPLES[1::2], "kinship": 0.25})


def weights_of(left, relatives):
    alone, related = (covariance_by_relatives(left, SAMPLES[: len(left)], one)
                      for one in (None, relatives))  # fmt: skip
    return together(alone, related, LEAST_VARIANCE)


def test_without_relatives_it_is_the_test_of_all_regressions_at_once():
    rng = np.random.default_rng(1)
    x = rng.binomial(2, 0.3, 80).astype(float)
    y = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4)) + 0.5 * x[:, None]
    design = statsmodels.api.add_constant(x)
    t = [statsmodels.api.OLS(y[:, k], design).fit().tvalues[1] for k in range(4)]
    left = y - y.mean(axis=0)
    _, found = omnibus(np.array([t]), weights_of(left, None), 78)
    test = MANOVA(y, design).mv_test([("x", np.array([[0, 1]]))])
    assert 10 ** -found[0] == pytest.approx(
        float(test.results["x"]["stat"].loc["Wilks' lambda", "Pr > F"]), rel=1e-6
    )


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
