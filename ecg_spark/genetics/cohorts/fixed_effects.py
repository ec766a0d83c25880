"""Fixed-effects meta-analysis by inverse variance, as in METAL (SCHEME STDERR).

With beta_i and its standard error s_i in cohort i, and w_i = 1 / s_i²,

    beta = Σ w_i beta_i / Σ w_i,    se = √(1 / Σ w_i),    z = beta / se

(Willer, Li & Abecasis 2010, Bioinformatics 26:2190, table 1). Heterogeneity is Cochran's Q = Σ w_i
(beta_i - beta)², chi-squared with one degree of freedom less than there are cohorts, and I² = 100
% · (Q - df) / Q, cut at 0 (Higgins & Thompson 2002, Stat Med 21:1539).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2, neg_log10_p_of_z

Reals = NDArray[np.float64]

MEDIAN_CHI2 = 0.4549364231195724
"""The median of chi-squared with one degree of freedom."""


@dataclass(frozen=True)
class Combined:
    """Effects over all cohorts, in the shape of the input without its last axis.

    NaN where no cohort has a result; `q`, `i2_percent` and `het_neg_log10_p` also where only one
    has.
    """

    beta: Reals
    se: Reals
    z: Reals
    neg_log10_p: Reals
    cohorts: NDArray[np.int64]
    q: Reals
    i2_percent: Reals
    het_neg_log10_p: Reals


def combine(beta: Reals, se: Reals) -> Combined:
    """Combine the effects of k cohorts.

    Args:
        beta: [..., k]; NaN where a cohort has no result.
        se: the standard errors, [..., k]; NaN where a cohort has none.

    Example:
        >>> found = combine(np.array([0.1, 0.3, np.nan]), np.array([0.1, 0.1, np.nan]))
        >>> found.beta.round(6).tolist(), found.se.round(6).tolist(), found.cohorts.tolist()
        (0.2, 0.070711, 2)
    """
    known = np.isfinite(beta) & np.isfinite(se)
    weight = np.where(known, 1 / np.square(np.where(known, se, 1.0)), 0.0)
    beta = np.where(known, beta, 0.0)
    cohorts = known.sum(axis=-1)
    total = np.where(cohorts > 0, weight.sum(axis=-1), np.nan)
    joint = (weight * beta).sum(axis=-1) / total
    z = joint * np.sqrt(total)
    q = (weight * np.square(beta - joint[..., None])).sum(axis=-1)
    told = heterogeneity(q, cohorts)
    return Combined(joint, 1 / np.sqrt(total), z, neg_log10_p_of_z(z), cohorts, *told)


def heterogeneity(q: Reals, cohorts: NDArray[np.int64], k: int = 1) -> tuple[Reals, Reals, Reals]:
    """Q of k effects, I² in per cent, and -log10 p of Q.

    Args:
        cohorts: how many cohorts take part; with fewer than two the results are NaN.
        k: how many effects each cohort contributes.
    """
    q, df = np.where(cohorts > 1, q, np.nan), k * np.maximum(cohorts - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        i2 = np.where(q > 0, np.maximum(0.0, 100 * (q - df) / q), q)  # q itself is 0 or NaN
    return q, i2, neg_log10_p_of_chi2(q, df)


def directions(beta: Reals) -> NDArray[np.bytes_]:
    """One sign per cohort as METAL writes them: +, -, 0, or ? where there is no result.

    Args:
        beta: [..., cohorts].

    Example:
        >>> directions(np.array([[0.1, -0.2, np.nan]])).tolist()
        [b'+-?']
    """
    signs = np.full(beta.shape, b"?", "S1")
    for sign, where in ((b"+", beta > 0), (b"-", beta < 0), (b"0", beta == 0)):
        signs[where] = sign
    return np.ascontiguousarray(signs).view(f"S{beta.shape[-1]}")[..., 0]
