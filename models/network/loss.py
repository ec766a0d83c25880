"""The loss of the VAE: the negative evidence lower bound with a weight on its KL term."""

import math

from torch import Tensor


def gaussian_nll(beats: Tensor, rebuilt: Tensor, log_sd: Tensor) -> Tensor:
    """Return the negative log likelihood in nats of each beat, [n], under Gaussian noise.

    Args:
        beats: [n, 8, 600] in mV.
        rebuilt: the reconstructed beats, [n, 8, 600] in mV.
        log_sd: the logarithm of the noise's SD in mV, which broadcasts against them; it is learned
            with the rest (Rybkin et al., ICML 2021).
    """
    squared = ((beats - rebuilt) / log_sd.exp()) ** 2
    return (0.5 * (squared + math.log(2 * math.pi)) + log_sd).flatten(1).sum(dim=1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence in nats of each latent's posterior from the standard normal.

    KL = (mean² + variance - 1 - log variance) / 2 (Kingma and Welling, ICLR 2014, appendix B).

    Args:
        mean: [n, latents].
        log_variance: [n, latents].

    Returns:
        [n, latents].

    Example:
        >>> import torch
        >>> kl_divergence(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2)).tolist()
        [[0.0, 2.0]]
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def draw(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return a draw from the posterior through which gradients pass.

    Args:
        mean: [n, latents].
        log_variance: [n, latents].
        noise: standard normal, [n, latents].
    """
    return mean + noise * (log_variance / 2).exp()
