"""Factors: the active latents of a trained VAE, turned, scaled, ordered and signed by rule."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.errors import DataError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """An affine map of the VAE's latents to factors: z = turn (mean - offset).

    `turn` is [k, latents], `back` [latents, k] its inverse on the active latents, `offset`
    [latents] the mean of the training beats' posterior means. Inactive latents stay at the offset.
    """

    turn: Array
    back: Array
    offset: Array

    def of_posterior(self, mean: Array, log_variance: Array) -> tuple[Array, Array]:
        """Mean and SD of the factors, each [n, k], of a posterior with diagonal covariance."""
        z = (mean - self.offset) @ self.turn.T
        return z, np.sqrt(np.exp(log_variance) @ (self.turn**2).T)

    def to_latents(self, z: Array) -> Array:
        """The VAE's latents [n, latents] of factors [n, k]."""
        return (self.offset + z @ self.back.T).astype(np.float32)


def fit_factors(
    mean: Array, log_variance: Array, min_active_kl: float, signed: Callable[[Factors], Array]
) -> tuple[Factors, Array]:
    """Factors of training posteriors [n, latents] and the mean KL in nats of each, [k], falling.

    Latents whose mean KL is below `min_active_kl` are left out. The others are decorrelated over
    the training beats by the symmetric whitening of their means, which of all decorrelations moves
    each the least (Kessy et al., Am Stat 2018; 72:309), and ordered by KL. `signed` returns the
    sign, 1 or -1, by which each is to be multiplied.

    Raises `DataError` where no latent is active.
    """
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(axis=0)
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
    turn = np.zeros((len(active), mean.shape[1]))
    turn[:, active] = axes / np.sqrt(variance) @ axes.T
    back = np.zeros(turn.T.shape)
    back[active] = axes * np.sqrt(variance) @ axes.T
    order = np.argsort(-factor_kl(Factors(turn, back, offset), mean, log_variance), kind="stable")
    turn, back = turn[order], back[:, order]
    sign = signed(Factors(turn, back, offset))
    factors = Factors(
        (turn * sign[:, None]).astype(np.float32),
        (back * sign).astype(np.float32),
        offset.astype(np.float32),
    )
    return factors, factor_kl(factors, mean, log_variance)


def factor_kl(factors: Factors, mean: Array, log_variance: Array) -> Array:
    """Mean KL in nats of each factor's posterior from the standard normal, [k]."""
    z, z_sd = factors.of_posterior(mean, log_variance)
    return (0.5 * (z**2 + z_sd**2 - 1) - np.log(z_sd)).mean(axis=0)
