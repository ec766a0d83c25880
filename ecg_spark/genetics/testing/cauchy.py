"""Several p-values of the same null hypothesis as one, however they depend on each other."""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_LARGEST = 0.99
"""A p-value near 1 would weigh down all others: it counts as this (Fang, Chang & Park 2022)."""

_NEAR = 8.0
"""From this -log10 p on, tan((1/2 - p) π) is 1 / (p π) to sixteen digits."""

_FINEST = 300.0
"""The largest -log10 p that is told apart."""


def combined(neg_log10_p: Reals, weights: Reals | None = None) -> Reals:
    """-log10 p [...] of the Cauchy combination over the first axis of -log10 p [tests, ...].

    With the p-values pᵢ and weights wᵢ that sum to 1, T = Σ wᵢ tan((1/2 - pᵢ) π) is at the tail a
    standard Cauchy variable (Liu & Xie 2020, J Am Stat Assoc 115:393; ACAT: Liu et al. 2019, Am J
    Hum Genet 104:410). `weights` [tests, ...], equal by default. Tests that are NaN, and those of
    weight 0, do not count; NaN where none is left.
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
