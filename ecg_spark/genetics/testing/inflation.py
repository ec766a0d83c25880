"""How far the tests of a phenotype lie above what chance gives."""

from collections.abc import Mapping, Sequence

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.stats import chi2

from ecg_spark.tables import TOGETHER

RANKS = 10_000
"""Of a digest that every task sends for every phenotype: with ten times as many, those of 94
million tests took minutes to merge."""


def inflation(associations: DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Two figures of each phenotype, in one pass over its tests: lambda, the median chi-squared
    over its expectation (genomic control), and the mean chi-squared, (beta / se)².

    Both are 1 where there is nothing to find. The median's rank is right to one in `RANKS` tests,
    which is 0.0005 of lambda.
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
    """Lambda of the omnibus test of each model on its own degrees of freedom, and these.

    Turned into chi-squared of one degree of freedom, the same excess would seem larger the more
    phenotypes there are: 3 % of 32 as 16 %.
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
    """Lambda from the median of -log10 p: the chi-squared of `df` degrees of freedom there, over
    its expectation."""
    return float(chi2.isf(10**-median, df) / chi2.ppf(0.5, df))


def group_means(
    values: Mapping[str, float], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The mean over the phenotypes of each group that have the figure."""
    known = {key: [values[name] for name in groups[key] if name in values] for key in groups}
    return {key: round(float(np.mean(own)), 4) for key, own in known.items() if own}
