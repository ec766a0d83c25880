"""Genomic inflation: how far the test statistics of a phenotype exceed what chance gives."""

from collections.abc import Mapping, Sequence

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.stats import chi2

from ecg_spark.tables import TOGETHER

RANKS = 10_000
"""The accuracy of the approximate median. Each task sends a digest of this size for every
phenotype; with ten times as many, merging those of 94 million tests took minutes."""


def inflation(associations: DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Two measures of inflation of each phenotype, in one pass over its tests.

    Returns:
        By phenotype, lambda, the median chi-squared over its expectation (genomic control); and by
        phenotype, the mean chi-squared, (beta / se)². Both are 1 in the absence of associations.
        The rank of the median is exact to one in `RANKS` tests, which is 0.0005 of lambda.
    """
    square = F.when(F.col("se") > 0, F.pow(F.col("beta") / F.col("se"), 2))
    rows = (
        associations.groupBy("phenotype")
        .agg(
            F.percentile_approx("neg_log10_p", 0.5, RANKS).alias("median"),
            F.avg(square).alias("mean"),
        )
        .orderBy("phenotype")
        .collect()
    )
    lambdas = {
        row["phenotype"]: lambda_of(row["median"]) for row in rows if row["median"] is not None
    }
    return lambdas, {row["phenotype"]: row["mean"] for row in rows if row["mean"] is not None}


def joint_inflation(omnibus: DataFrame) -> tuple[dict[str, float], dict[str, int]]:
    """Lambda of each omnibus test, on its own degrees of freedom.

    Converted to chi-squared with one degree of freedom, the same excess would look larger the more
    phenotypes there are: 3 % of 32 would appear as 16 %.

    Returns:
        Lambda by method, and the degrees of freedom by method.
    """
    rows = (
        omnibus.groupBy("model")
        .agg(
            F.percentile_approx("neg_log10_p", 0.5, RANKS).alias("median"),
            F.first("df").alias("df"),
        )
        .orderBy("model")
        .collect()
    )
    known = [row for row in rows if row["median"] is not None]
    lambdas = {f"{row['model']}{TOGETHER}": lambda_of(row["median"], row["df"]) for row in known}
    return lambdas, {f"{row['model']}{TOGETHER}": row["df"] for row in known}


def lambda_of(median: float, df: int = 1) -> float:
    """Lambda from the median of -log10 p: the chi-squared value of that p-value over the median of
    chi-squared.

    Example:
        >>> round(lambda_of(-np.log10(0.5)), 6), round(lambda_of(-np.log10(0.4)), 3)
        (1.0, 1.557)
    """
    return float(chi2.isf(10**-median, df) / chi2.ppf(0.5, df))


def group_means(
    values: Mapping[str, float], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The mean of a value over the phenotypes of each group that have it.

    Example:
        >>> group_means({"qt": 1.0, "pr": 1.1}, {"traits": ["qt", "pr", "qrs"], "vae": []})
        {'traits': 1.05}
    """
    known = {key: [values[name] for name in groups[key] if name in values] for key in groups}
    return {key: round(float(np.mean(own)), 4) for key, own in known.items() if own}
