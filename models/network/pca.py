"""Principal components of beats: the linear model that the VAE is compared with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Components:
    """A fitted PCA.

    Attributes:
        mean: the mean beat in mV, [d].
        axes: orthonormal, [k, d].
        sd: the SD of the scores in mV, [k].
        noise_sd: the SD in mV per dimension of what the components leave.
        rotation: [k, m] with orthonormal columns; rotates standardised scores to those of another
            fit.
    """

    mean: Array
    axes: Array
    sd: Array
    noise_sd: float
    rotation: Array

    def scores(self, beats: Array) -> Array:
        """Return the scores in SD, [n, m], of beats [n, ...] that flatten to d values."""
        around: Array = beats.reshape(len(beats), -1) - self.mean
        return np.asarray(around @ self.axes.T / self.sd @ self.rotation, np.float32)

    @property
    def score_sd(self) -> Array:
        """The posterior SD of scores, [m], under probabilistic PCA (Tipping and Bishop, 1999)."""
        return np.asarray(np.sqrt((self.noise_sd / self.sd) ** 2 @ self.rotation**2), np.float32)

    def rebuild(self, scores: Array) -> Array:
        """Return the beats [n, d] in mV that scores [n, m] describe."""
        around: Array = scores @ self.rotation.T * self.sd
        return self.mean + np.asarray(around @ self.axes, np.float32)


def fit_components(beats: Array, k: int) -> Components:
    """Return the first principal components of beats, by a truncated SVD.

    The sign of an axis makes the sum of its cubes positive: its largest deflection points up.

    Args:
        beats: [n, ...] in mV.
        k: how many components; if there are at most k beats or samples, as many as there can be.
    """
    flat = beats.reshape(len(beats), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    flat -= mean
    k = min(k, min(flat.shape) - 1)
    start = np.random.default_rng(0).standard_normal(min(flat.shape))
    _, singular, axes = svds(flat, k=k, v0=start)
    order = np.argsort(-singular)
    singular, axes = singular[order], axes[order]
    axes *= np.sign((axes**3).sum(axis=1, keepdims=True))
    left = max((flat**2).sum() - (singular**2).sum(), 0.0)
    return Components(
        mean.astype(np.float32),
        axes.astype(np.float32),
        (singular / np.sqrt(len(flat))).astype(np.float32),
        float(np.sqrt(left / flat.size)),
        np.eye(k, dtype=np.float32),
    )
