"""The upper tail of a weighted sum of independent chi-squared variables of one degree of freedom.

Such is a sum of squares of correlated z-scores: the weights are the eigenvalues of their
correlations. The tail is that of the saddlepoint approximation of Lugannani and Rice (1980, Adv
Appl Probab 12:475) in the form of Kuonen (1999, Biometrika 86:929), whose relative error stays
small however small the tail is.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr

from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2

Reals = NDArray[np.float64]

_NEGLIGIBLE = 1e-10
"""Of the largest weight."""

_NEAR_THE_MEAN = 0.05
"""|w| below which the approximation divides zero by zero: moments are matched there."""


def neg_log10_p_of_sum(q: float, weights: Reals) -> float:
    """-log10 of the probability that Σ weights χ²₁ is at least `q`; 0 where no weight is positive.

    The exact tail of chi-squared where there is one weight, or all are the same.
    """
    weights = np.asarray(weights, float)
    weights = weights[weights > _NEGLIGIBLE * weights.max(initial=0)]
    if not len(weights) or q <= 0:
        return 0.0
    largest = float(weights.max())
    weights, q = weights / largest, q / largest
    if weights.min() > 1 - 1e-9:
        return float(neg_log10_p_of_chi2(q, len(weights)))
    mean = float(weights.sum())

    def slope(t: float) -> float:
        return float((weights / (1 - 2 * weights * t)).sum()) - q

    # K' grows from 0 at -∞ to ∞ at 1/2, and is the mean at 0.
    low, high = (0.0, 0.5 * (1 - 1e-15)) if q > mean else (-len(weights) / (2 * q), 0.0)
    t = brentq(slope, low, high, xtol=1e-15, rtol=1e-14) if q != mean else 0.0
    shrunk = 1 - 2 * weights * t
    w = math.copysign(math.sqrt(max(2 * t * q + float(np.log(shrunk).sum()), 0)), t)
    if abs(w) < _NEAR_THE_MEAN:
        return _by_moments(q, weights)
    v = t * math.sqrt(2 * float(((weights / shrunk) ** 2).sum()))
    return float(-log_ndtr(-(w + math.log(v / w) / w)) / math.log(10))


def _by_moments(q: float, weights: Reals) -> float:
    """The tail of the chi-squared, scaled and shifted, that has the same first three moments."""
    first, second, third = (float((weights**k).sum()) for k in (1, 2, 3))
    df = second**3 / third**2
    x = (q - first) * math.sqrt(df / second) + df
    return float(neg_log10_p_of_chi2(max(x, 0.0), df))
