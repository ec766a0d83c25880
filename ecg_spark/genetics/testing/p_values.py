"""p-values of t and F as -log10, in log space: none underflows to zero."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln

Reals = NDArray[np.float64]

_TINY = 1e-290
"""Below this an incomplete beta function is summed as a series, of which the logarithm is taken."""

_TERMS = 100_000


def neg_log10_p_of_t(t: ArrayLike, df: ArrayLike) -> Reals:
    """-log10 of the two-sided p-value of Student's t with `df` degrees of freedom; NaN stays.

    t² is F with 1 and `df` degrees of freedom.
    """
    return neg_log10_p_of_f(np.square(np.asarray(t, float)), 1, df)


def neg_log10_p_of_f(f: ArrayLike, df1: ArrayLike, df2: ArrayLike) -> Reals:
    """-log10 of the upper tail of F with `df1` and `df2` degrees of freedom; NaN stays.

    The tail is the regularised incomplete beta function I_x(df2 / 2, df1 / 2) at
    x = df2 / (df2 + df1 f) (Abramowitz and Stegun 26.6.2), below the smallest number by its series
    I_x(a, b) = xᵃ (1 - x)ᵇ / (a B(a, b)) Σ (a + b)ₖ / (a + 1)ₖ xᵏ (NIST 8.17.8).
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
    # x may be too small to be told from 0, 1 - x from 1: both by what they are made of.
    log_x, log_rest = -np.log1p(ratio), -np.log1p(1 / ratio)
    log_p = a * log_x + b * log_rest - np.log(a) - betaln(a, b) + np.log(total)
    return np.asarray(-log_p / math.log(10))
