"""The posterior of a beat's latents under the decoder: its mode, to a stated tolerance.

An encoder falls short of what its decoder could tell, most of all for beats unlike those it was
trained on (Cremer et al., ICML 2018). Its guess is where the search begins: Gauss-Newton steps,
damped if a full step would overshoot (Levenberg, 1944; Marquardt, 1963; the scaling is
Marquardt's), for each beat until it moves no further. The curvature there gives the covariance
(Laplace's approximation).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.network.vae import VAE

TOLERANCE = 2e-5
"""A beat is done if its next step moves no latent by more; a latent's prior has SD 1."""
MOST_STEPS = 1_000
"""Steps, refused ones included, after which a beat is given up: its mode is then NaN."""
FIRST_DAMPING, MORE, LESS = 0.1, 4.0, 0.25
"""Damping as a fraction of the curvature: at the first refused step, and the factors by which it
grows after a refused step and shrinks after an accepted one."""


@dataclass(frozen=True)
class Posterior:
    """The posterior of the latents of n beats; NaN for a beat whose mode was not found.

    Attributes:
        mean: the mode, [n, latents].
        covariance: [n, latents, latents].
    """

    mean: Tensor
    covariance: Tensor


BATCH, GPU_BATCH = 64, 1024
"""Beats that are encoded at a time. The derivatives of 64 beats with respect to 20 latents take
49 MB. Fewer than a thousand beats do not keep the cores of a GPU busy."""


def posteriors(network: VAE, beats: Tensor) -> Iterator[Posterior]:
    """Yield the posteriors of any number of beats, a batch at a time, on the CPU.

    They are computed on the network's device.

    Args:
        network: the trained network.
        beats: [n, 8, 600] in mV.
    """
    device = network.noise.device
    for rows in beats.split(GPU_BATCH if device.type == "cuda" else BATCH):
        own = posterior(network, rows.to(device))
        yield Posterior(own.mean.cpu(), own.covariance.cpu())


@torch.inference_mode()
def posterior(network: VAE, beats: Tensor) -> Posterior:
    """Return the posterior of the latents of a few beats (see `posteriors` for many).

    No step is taken that would not raise the posterior's density. The search is in double
    precision: in single precision, rounding decides where a flat direction ends, and depends on
    which other beats are encoded at the same time. It needs the memory of the derivatives of all
    samples with respect to all latents.

    Args:
        network: the trained network.
        beats: [n, 8, 600] in mV, on the network's device.
    """
    z = network.encode(beats)[0].double()
    with torch.inference_mode(False):  # what is copied in inference mode cannot be converted
        network = copy.deepcopy(network).double()
    beats = beats.double()
    n, k = z.shape
    variance = (2 * network.noise).exp()
    height = _energy(beats, network.decode(z), z, variance)
    negative_gradient = torch.zeros_like(z)
    precision = torch.eye(k, dtype=z.dtype, device=z.device).repeat(n, 1, 1)
    damping = torch.zeros_like(height)
    moved = torch.ones(n, dtype=torch.bool, device=z.device)
    left = height.isfinite().nonzero().squeeze(1)
    for _ in range(MOST_STEPS):
        if not len(left):
            break
        at = left[moved[left]]
        if len(at):
            negative_gradient[at], precision[at] = _slope(network, beats[at], z[at], variance)
        scale = precision[left].diagonal(dim1=1, dim2=2) * damping[left].unsqueeze(1)
        steep = torch.linalg.solve(
            precision[left] + torch.diag_embed(scale), negative_gradient[left]
        )
        tried = z[left] + steep
        found = _energy(beats[left], network.decode(tried), tried, variance)
        better = found < height[left]
        z[left] = torch.where(better.unsqueeze(1), tried, z[left])
        height[left] = torch.where(better, found, height[left])
        moved[left] = better
        before = damping[left]
        damping[left] = torch.where(
            better, before * LESS * (before > FIRST_DAMPING), (before * MORE).clamp(FIRST_DAMPING)
        )
        left = left[steep.abs().amax(dim=1) > TOLERANCE]
    covariance = torch.cholesky_inverse(torch.linalg.cholesky_ex(precision)[0])
    lost = ~height.isfinite()
    lost[left] = True
    z[lost], covariance[lost] = torch.nan, torch.nan
    return Posterior(z.float(), covariance.float())


def _slope(network: VAE, beats: Tensor, z: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return half the negative gradient of the energy, [n, latents], and half its curvature."""
    rebuilt, slopes = network.linearised(z)
    slopes = slopes.flatten(1, 2)
    off = (beats - rebuilt).transpose(1, 2).flatten(1)
    negative_gradient = (off.unsqueeze(1) @ slopes).squeeze(1) / variance - z
    precision = slopes.mT @ slopes / variance
    return negative_gradient, precision + torch.eye(z.shape[1], dtype=z.dtype, device=z.device)


def _energy(beats: Tensor, rebuilt: Tensor, z: Tensor, variance: Tensor) -> Tensor:
    """Return twice the negative log density of the posterior, [n], up to a constant."""
    return ((beats - rebuilt) ** 2).flatten(1).sum(dim=1) / variance + (z**2).sum(dim=1)
