"""Lambda and mean chi-squared against NumPy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecg_spark.genetics.testing.inflation import inflation


def test_lambda_of_many_tests_is_that_of_their_exact_median(spark):
    """Spread over partitions, of a null and an inflated phenotype; no test without a result."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((100_000, 2)) * [1.0, 1.2]
    p = 2 * stats.norm.sf(np.abs(z))
    frame = pd.DataFrame(
        {
            "phenotype": np.repeat(["null", "inflated"], len(z)),
            "beta": z.T.ravel(),
            "se": 1.0,
            "neg_log10_p": -np.log10(p).T.ravel(),
        }
    )
    frame.loc[:10, ["beta", "se", "neg_log10_p"]] = None
    table = spark.createDataFrame(frame.astype(object).where(frame.notna(), None)).repartition(7)
    lambdas, means = inflation(table)
    expected = np.median(z[11:, 0] ** 2), np.median(z[:, 1] ** 2)
    exact = [value / stats.chi2.ppf(0.5, 1) for value in expected]
    assert [lambdas["null"], lambdas["inflated"]] == pytest.approx(exact, rel=1e-3)
    assert means["inflated"] == pytest.approx((z[:, 1] ** 2).mean(), rel=1e-9)
