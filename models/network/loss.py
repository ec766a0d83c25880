"""The loss of the VAE: the negative evidence lower bound with a weight on its KL term."""

import math

from torch import Tensor


def gaussian_nll(beats: Tensor, rebuilt: Tensor, log_sd: Tensor) -> Tensor:
    """Negative log likelihood in nats of each beat, [n], under independent Gaussian noise.

    `beats` and `rebuilt` are [n, 8, 600] in mV; `log_sd`, which broadcasts against them, is the
    logarithm of the noise's standard deviation in mV, learned with the rest (Rybkin et al., ICML
    2021).
    """
    squared = ((beats - rebuilt) / log_sd.exp()) ** 2
    return (0.5 * (squared + math.log(2 * math.pi)) + log_sd).flatten(1).sum(dim=1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence in nats of each latent's posterior from the standard normal, [n, latents].

    KL = (mean² + variance - 1 - log variance) / 2.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def draw(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """A draw from the posterior that passes gradients on, made of standard normal noise."""
    return mean + noise * (log_variance / 2).exp()
