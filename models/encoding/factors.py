"""Factors: the active latents of a trained VAE, rotated, scaled, ordered and signed by rule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_spark.errors import DataError

MOST_ROTATIONS = 1_000

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Factors:
    """An affine map from the VAE's latents to factors: z = rotation (mean - offset).

    Attributes:
        rotation: [k, latents].
        inverse: [latents, k], its inverse on the active latents; inactive latents stay at the
            offset.
        offset: [latents], the mean of the training beats' posterior means.
    """

    rotation: Array
    inverse: Array
    offset: Array

    def of_posterior(self, mean: Array, covariance: Array) -> tuple[Array, Array]:
        """Return mean and SD of the factors, each [n, k], of a posterior of the latents.

        Args:
            mean: the means of the latents, [n, latents].
            covariance: their covariances, [n, latents, latents].
        """
        variance = ((self.rotation @ covariance) * self.rotation).sum(axis=2)
        return (mean - self.offset) @ self.rotation.T, np.sqrt(variance)

    def to_latents(self, z: Array) -> Array:
        """Return the VAE's latents [n, latents] of factors [n, k]."""
        return (self.offset + z @ self.inverse.T).astype(np.float32)


def fit_factors(
    mean: Array, covariance: Array, min_active_kl: float, effect: Callable[[Factors], Array]
) -> tuple[Factors, Array]:
    """Return the factors of a trained network, and the mean KL in nats of each, in falling order.

    The active latents are decorrelated over the training beats by the symmetric whitening of their
    means, which of all decorrelations changes each of them the least (Kessy et al., Am Stat 2018;
    72:309); rotated so that each factor acts on as little of the beat as possible (varimax); and
    ordered by KL. The sign of a factor makes the sum of cubes of its effect positive, so that its
    largest deflection points up.

    Args:
        mean: posterior means of training beats, [n, latents].
        covariance: their covariances, [n, latents, latents].
        min_active_kl: latents whose mean KL is below it are left out.
        effect: returns what one SD more of each factor does to the mean beat, [k, samples].

    Raises:
        DataError: no latent is active.
    """
    kl = mean_kl(mean, np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)))
    active = np.flatnonzero(kl >= min_active_kl)
    if not len(active):
        raise DataError(
            f"No latent carries anything: the KL of each is below {min_active_kl} nats; "
            f"lower model.kl_weight or train for more epochs."
        )
    offset = mean.mean(axis=0)
    variance, axes = np.linalg.eigh(
        np.atleast_2d(np.cov(mean[:, active].astype(float), rowvar=False))
    )
    rotation = np.zeros((len(active), mean.shape[1]))
    rotation[:, active] = axes / np.sqrt(variance) @ axes.T
    inverse = np.zeros(rotation.T.shape)
    inverse[active] = axes * np.sqrt(variance) @ axes.T
    loadings = effect(Factors(rotation, inverse, offset)).T.astype(float)
    varimax_rotation = varimax(loadings)
    varimax_rotation *= np.where(((loadings @ varimax_rotation) ** 3).sum(axis=0) < 0, -1, 1)
    rotation, inverse = varimax_rotation.T @ rotation, inverse @ varimax_rotation
    order = np.argsort(
        -factor_kl(Factors(rotation, inverse, offset), mean, covariance), kind="stable"
    )
    factors = Factors(
        rotation[order].astype(np.float32),
        inverse[:, order].astype(np.float32),
        offset.astype(np.float32),
    )
    return factors, factor_kl(factors, mean, covariance)


def varimax(loadings: Array) -> Array:
    """Return the rotation [k, k] that makes the squared loadings vary most within each column.

    Kaiser's criterion (Psychometrika 1958; 23:187) without his scaling of the rows, by the
    iteration over singular value decompositions of Jennrich (Psychometrika 2001; 66:289).

    Args:
        loadings: [m, k].

    Example:
        >>> mixed = np.diag([2.0, 1.0]) @ np.array([[0.8, -0.6], [0.6, 0.8]])
        >>> np.abs(mixed @ varimax(mixed)).round(3).tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """
    rotation, before = np.eye(loadings.shape[1]), 0.0
    for _ in range(MOST_ROTATIONS):
        rotated = loadings @ rotation
        gradient = rotated**3 - rotated * (rotated**2).mean(axis=0)
        left, height, right = np.linalg.svd(loadings.T @ gradient)
        rotation = left @ right
        if height.sum() <= before * (1 + 1e-9):
            break
        before = height.sum()
    return rotation


def factor_kl(factors: Factors, mean: Array, covariance: Array) -> Array:
    """Return the mean KL in nats of each factor's posterior from the standard normal, [k].

    Args:
        factors: the map to factors.
        mean: posterior means of beats, [n, latents].
        covariance: their covariances, [n, latents, latents].
    """
    return mean_kl(*factors.of_posterior(mean, covariance))


def mean_kl(z: Array, z_sd: Array) -> NDArray[np.float64]:
    """Return the mean KL in nats of posteriors from the standard normal, [k].

    Args:
        z: posterior means, [n, k].
        z_sd: posterior SDs, [n, k].

    Example:
        >>> mean_kl(np.array([[0.0, 2.0]]), np.array([[1.0, 1.0]])).tolist()
        [0.0, 2.0]
    """
    kl = 0.5 * (z**2 + z_sd**2 - 1) - np.log(z_sd)
    return np.asarray(kl.mean(axis=0), np.float64)
