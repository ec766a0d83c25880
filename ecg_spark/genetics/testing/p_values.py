"""P-values of t, F, z and chi-squared as -log10 p, computed in log space so that none
underflows to 0.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln, gammaincc, gammaln, log_ndtr

Reals = NDArray[np.float64]

WITHIN = 1.959964
"""The half-width of a 95 % confidence interval, in standard errors."""

_TINY = 1e-290
"""Tails below this are near underflow; their logarithm is computed from a series."""

_TERMS = 100_000


def neg_log10_p_of_t(t: ArrayLike, df: ArrayLike) -> Reals:
    """-log10 of the two-sided p-value of Student's t with `df` degrees of freedom; NaN stays NaN.

    t² has the F distribution with 1 and `df` degrees of freedom.

    Example:
        >>> neg_log10_p_of_t([0.0, 40.0], 30_000).round(1).tolist()
        [0.0, 340.2]
    """
    return neg_log10_p_of_f(np.square(np.asarray(t, float)), 1, df)


def neg_log10_p_of_f(f: ArrayLike, df1: ArrayLike, df2: ArrayLike) -> Reals:
    """-log10 of the upper tail of F with `df1` and `df2` degrees of freedom; NaN stays NaN.

    The tail is the regularised incomplete beta function I_x(df2 / 2, df1 / 2) at x = df2 / (df2 +
    df1 f) (Abramowitz and Stegun 26.6.2). Where it underflows, it is summed as the series I_x(a,
    b) = xᵃ (1 - x)ᵇ / (a B(a, b)) Σ (a + b)ₖ / (a + 1)ₖ xᵏ (NIST 8.17.8).
    """
    f, df1, df2 = np.broadcast_arrays(*(np.asarray(one, float) for one in (f, df1, df2)))
    ratio = np.asarray(df1 * f / df2)
    a, b, x = df2 / 2, df1 / 2, np.asarray(1 / (1 + ratio))
    tail = np.asarray(betainc(a, b, x))
    with np.errstate(divide="ignore"):
        found = np.asarray(-np.log10(tail))
    small = tail < _TINY
    if small.any():
        found[small] = _by_series(a[small], b[small], ratio[small])
    return np.maximum(found, 0.0)


def neg_log10_p_of_z(z: ArrayLike) -> Reals:
    """-log10 of the two-sided p-value of a standard normal variable; NaN stays NaN.

    Example:
        >>> neg_log10_p_of_z([1.959964, -50.0]).round(3).tolist()
        [1.301, 544.665]
    """
    tail = np.asarray(log_ndtr(-np.abs(np.asarray(z, float))))
    return np.maximum(-(tail + math.log(2)) / math.log(10), 0.0)


def neg_log10_p_of_chi2(x: ArrayLike, df: ArrayLike) -> Reals:
    """-log10 of the upper tail of chi-squared with `df` degrees of freedom; NaN stays NaN.

    The tail is the regularised incomplete gamma function Q(df / 2, x / 2) (Abramowitz and Stegun
    26.4.19). Where it underflows, it is summed as the asymptotic series Γ(a, y) = y^(a - 1) e^-y Σ
    (a - 1)…(a - k) / yᵏ (NIST 8.11.2), which holds if `df` is far below `x`.
    """
    x, df = np.broadcast_arrays(np.asarray(x, float), np.asarray(df, float))
    a, y = df / 2, x / 2
    tail = np.asarray(gammaincc(a, y))
    with np.errstate(divide="ignore"):
        found = np.asarray(-np.log10(tail))
    small = tail < _TINY
    if small.any():
        a, y = a[small], y[small]
        total, term = np.ones_like(y), np.ones_like(y)
        for k in range(1, 40):
            term = term * (a - k) / y
            total += term
        log_p = (a - 1) * np.log(y) - y - gammaln(a) + np.log(total)
        found[small] = -log_p / math.log(10)
    return np.maximum(found, 0.0)


def _by_series(a: Reals, b: Reals, ratio: Reals) -> Reals:
    """-log10 I_x(a, b) for x = 1 / (1 + ratio)."""
    x = 1 / (1 + ratio)
    total = np.ones_like(x)
    term = np.ones_like(x)
    for k in range(_TERMS):
        term *= (a + b + k) / (a + 1 + k) * x
        total += term
        if (term <= 1e-17 * total).all():
            break
    # x may round to 0 and 1 - x to 1, so both logarithms are taken from the ratio.
    log_x, log_rest = -np.log1p(ratio), -np.log1p(1 / ratio)
    log_p = a * log_x + b * log_rest - np.log(a) - betaln(a, b) + np.log(total)
    return np.asarray(-log_p / math.log(10))
