"""The Cauchy combination of p-values, valid however the tests depend on each other."""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_LARGEST = 0.99
"""Larger p-values are set to this: one near 1 would outweigh all others (Fang et al. 2022)."""

_NEAR = 8.0
"""Above this -log10 p, tan((1/2 - p) π) equals 1 / (p π) to sixteen digits."""

_FINEST = 300.0
"""Larger -log10 p are set to this, near the limit of double precision."""


def combined(neg_log10_p: Reals, weights: Reals | None = None) -> Reals:
    """Combine the p-values of several tests of the same null hypothesis.

    With p-values pᵢ and weights wᵢ that sum to 1, T = Σ wᵢ tan((1/2 - pᵢ) π) has the tail of a
    standard Cauchy variable (Liu & Xie 2020, J Am Stat Assoc 115:393; ACAT: Liu et al. 2019, Am J
    Hum Genet 104:410).

    Args:
        neg_log10_p: -log10 p [tests, ...]; NaN where a test has no result.
        weights: [tests, ...], which need not sum to 1; None for equal weights.

    Returns:
        -log10 p [...]; NaN where no test has a result and a positive weight.

    Example:
        >>> float(combined(np.array([8.0, 0.3, 0.1])).round(2))
        7.52
    """
    log_p = np.minimum(np.asarray(neg_log10_p, float), _FINEST)
    w = np.ones_like(log_p) if weights is None else np.broadcast_to(weights, log_p.shape)
    w = np.where(np.isfinite(log_p), w, 0.0)
    total = w.sum(axis=0)
    p = np.minimum(10 ** -np.where(np.isfinite(log_p), log_p, 0.0), _LARGEST)
    near = p < 10**-_NEAR
    terms = np.where(near, 1 / (np.pi * p), np.tan((0.5 - np.where(near, 0.5, p)) * np.pi))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (w * terms).sum(axis=0) / total
        tail = np.where(t > 10**_NEAR, 1 / (np.pi * t), np.arctan2(1.0, t) / np.pi)
        found = -np.log10(tail)
    return np.asarray(np.where(total > 0, np.maximum(found, 0.0), np.nan))
