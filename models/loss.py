"""The loss of the VAE: the negative evidence lower bound with a weight on its KL term."""

import math

import torch
from torch import Tensor

R_INDEX = 248
"""The sample of a beat at which R is."""


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


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from the posterior that passes gradients on (the reparameterisation)."""
    return mean + torch.randn_like(mean) * (log_variance / 2).exp()


def splice(beats: Tensor) -> Tensor:
    """Beats [n, 8, 600] whose P waves and whose ST-T are, for half of them, another's.

    They are joined where the heart is electrically silent or nearly so: before the QRS onset (some
    64 ms before R) and at the J point (64 ms after it), in mild slopes. The network then sees far
    more combinations of P, QRS and T than there are people, and learns them as separate things.
    """
    n, t = len(beats), torch.arange(beats.shape[-1], device=beats.device)
    p_part = torch.sigmoid((R_INDEX - 32 - t) / 2.0)
    t_part = torch.sigmoid((t - R_INDEX - 32) / 3.0)
    own = torch.arange(n, device=beats.device)

    def other() -> Tensor:
        chosen = torch.rand(n, device=beats.device) < 0.5
        return beats[torch.where(chosen, torch.randperm(n, device=beats.device), own)]

    return other() * p_part + beats * (1 - p_part - t_part) + other() * t_part
