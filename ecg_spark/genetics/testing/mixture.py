"""The tail probability of a weighted sum of chi-squared variables, the distribution of SKAT's
statistic.

    P(Σ λᵢ χ²ᵢ > q) = 1 / 2πi ∫ exp(K(s) - s q) / s ds,    K(s) = -½ Σ hᵢ log(1 - 2 λᵢ s)

along any line from below to above the real axis between 0 and the first branch point 1 / 2λ₁ (Rice
1980, Biometrika 67:219; hᵢ are the degrees of freedom); left of 0 the integral is smaller by 1.
Here the line is the parabola that leaves the saddle point of the integrand in the direction of
steepest descent (Kuonen 1999, Biometrika 86:929), on which nothing oscillates. The sum is accurate
to nine digits of p, however small p is; Davies' method stops at 1e-9, and the saddlepoint
approximation alone is off by some per cent.
"""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_STEP = 0.1
_REACH = 6.5
"""The nodes on the contour, in units of asinh(distance / width of the peak)."""

_HALVINGS = 60
_NEAREST = 0.5
"""The least distance of the contour from the pole at 0, in widths of the peak."""

_AT_A_TIME = 4_000_000
"""How many complex numbers are held in memory at a time."""


def neg_log10_p_of_mixture(
    q: Reals, weights: Reals, freedom: float = 1.0, df: float = np.inf
) -> Reals:
    """-log10 P(Σ λ χ² > q) for each q.

    Args:
        q: [k]; NaN where there is no statistic.
        weights: λ [m]; those that are not positive are ignored.
        freedom: the degrees of freedom of each χ².
        df: if finite, q was divided by a variance estimated from this many residual degrees of
            freedom, which include those of the sum, as in a linear model. With a single weight
            this is the F test with 1 and `df` - 1 degrees of freedom.

    Returns:
        [k]; NaN where q is NaN, or everywhere if no weight is positive.

    Example:
        >>> p = 10 ** -neg_log10_p_of_mixture(np.array([3.841459]), np.array([1.0]))
        >>> p.round(6).tolist()
        [0.05]
    """
    weights = np.asarray(weights, float)
    weights = weights[weights > weights.max(initial=0) * 1e-12]
    q = np.asarray(q, float)
    found = np.full(q.shape, np.nan)
    if not len(weights):
        return found
    scale = weights.max()
    step = max(1, int(_AT_A_TIME / (len(weights) + 1) / (_REACH / _STEP)))
    for start in range(0, len(q), step):
        own = np.isfinite(q[start : start + step])
        part = q[start : start + step][own] / scale
        found[start : start + step][own] = _tails(part, weights / scale, freedom, df)
    return found


def _tails(q: Reals, weights: Reals, freedom: float, df: float) -> Reals:
    """-log10 of the tails for finite q [k] and weights [m], of which the largest is 1."""
    k, m = len(q), len(weights)
    if np.isinf(df):
        a, h, beyond = np.tile(weights, (k, 1)), np.full(m, freedom), q
    else:
        # Σ λ z² > q Σ z² / df, with all df squares of z brought to one side.
        share = (q / df)[:, None]
        a = np.concatenate([weights - share, -share], axis=1)
        h, beyond = np.r_[np.full(m, freedom), df - m * freedom], np.zeros(k)
    top = a.max(axis=1)
    found = np.full(k, np.inf)  # stays where q is larger than the residuals allow
    found[q <= 0] = 0.0
    inside = (top > 1e-12) & (q > 0)
    if inside.any():
        found[inside] = _inverted(a[inside], h, beyond[inside], top[inside])
    return np.maximum(found, 0.0)


def _inverted(a: Reals, h: Reals, q: Reals, top: Reals) -> Reals:
    """-log10 P(Σ a χ²_h > q) [k], summed along the contour; a is [k, m], with `top` > 0 the
    largest of each row.
    """
    end = 1 / (2 * top)

    def derivatives(s: Reals) -> tuple[Reals, Reals, Reals]:
        ratio = 2 * a / (1 - 2 * a * s[:, None])
        return tuple(ratio**n @ h for n in (1, 2, 3))  # type: ignore[return-value]

    least = a.min(axis=1)
    with np.errstate(divide="ignore"):
        start = np.where(least < 0, 1 / (2 * least), -h.sum() / (2 * q))
    low, high = start * (1 - 1e-13), end * (1 - 1e-13)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        less = derivatives(middle)[0] / 2 < q
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    _, second, _ = derivatives(low)
    nearest = np.where(low > 0, end, np.where(least < 0, -start, np.inf))
    away = np.minimum(_NEAREST / np.sqrt(second / 2), nearest / 2)
    c = np.where(low < 0, np.minimum(low, -away), np.maximum(low, away))
    _, second, third = derivatives(c)
    width = 1 / np.sqrt(second / 2)
    bend = third / (6 * second / 2)
    u = np.arange(0, _REACH, _STEP)
    y = width[:, None] * np.sinh(u)
    s = c[:, None] + 1j * y + bend[:, None] * y**2
    slope = width[:, None] * np.cosh(u) * (1j + 2 * bend[:, None] * y)
    peak = -np.log1p(-2 * a * c[:, None]) @ h / 2 - c * q
    logs = np.log(1 - 2 * a[:, :, None] * s[:, None, :])
    exponent = -np.einsum("kmu,m->ku", logs, h) / 2 - s * q[:, None] - peak[:, None]
    values = (np.exp(exponent) * slope / s).imag
    total = _STEP * (values.sum(axis=1) - values[:, 0] / 2) / np.pi
    # Left of the pole, where the tail is large, the sum is smaller by the residue, which is 1.
    with np.errstate(invalid="ignore", divide="ignore"):
        log_p = np.where(c < 0, np.log1p(np.exp(peak) * total), peak + np.log(total))
    return np.asarray(-log_p / np.log(10))
