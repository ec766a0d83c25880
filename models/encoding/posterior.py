"""The posterior of a beat's latents under the decoder: its mode, to a stated tolerance.

An encoder falls short of what its decoder could say, most of all on beats unlike those it was
trained on (Cremer et al., ICML 2018). Its guess is where the search begins: Gauss-Newton steps,
damped where a whole one would overshoot (Levenberg, 1944; Marquardt, 1963; the scaling is
Marquardt's), each beat for itself until it moves no further. The curvature there is the covariance
(Laplace's approximation).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.network.vae import VAE

TOLERANCE = 1e-3
"""A beat is done where its next step moves no latent by more; a latent's prior has SD 1."""
MOST_STEPS = 200
"""Steps, tried ones included, after which a beat is given up: its mode is then NaN."""
FIRST_DAMPING, MORE, LESS = 0.1, 4.0, 0.25
"""Damping, in shares of the curvature: at the first refusal, and how it changes after each step."""


@dataclass(frozen=True)
class Posterior:
    """Of n beats: the mode `mean` [n, latents], and `covariance` [n, latents, latents].

    Both are NaN for a beat with NaN, and for one whose mode was not found.
    """

    mean: Tensor
    covariance: Tensor


@torch.inference_mode()
def posterior(network: VAE, beats: Tensor) -> Posterior:
    """The posterior of the latents of beats [n, 8, 600] in mV.

    No step is taken that would not raise the posterior's density. Memory is that of the
    derivatives of all samples by all latents: give a few beats at a time.
    """
    z = network.encode(beats)[0]
    n, k = z.shape
    variance = (2 * network.noise).exp()
    height = _energy(beats, network.decode(z), z, variance)
    pull = torch.zeros(n, k, dtype=torch.float64, device=z.device)
    precision = torch.eye(k, dtype=torch.float64, device=z.device).repeat(n, 1, 1)
    damping = torch.zeros(n, dtype=torch.float64, device=z.device)
    moved = torch.ones(n, dtype=torch.bool, device=z.device)
    left = height.isfinite().nonzero().squeeze(1)
    for _ in range(MOST_STEPS):
        if not len(left):
            break
        at = left[moved[left]]
        if len(at):
            pull[at], precision[at] = _slope(network, beats[at], z[at], variance)
        scale = precision[left].diagonal(dim1=1, dim2=2) * damping[left].unsqueeze(1)
        steep = torch.linalg.solve(precision[left] + torch.diag_embed(scale), pull[left])
        tried = z[left] + steep.to(z.dtype)
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
    covariance = torch.cholesky_inverse(torch.linalg.cholesky_ex(precision)[0]).to(z.dtype)
    lost = ~height.isfinite()
    lost[left] = True
    z[lost], covariance[lost] = torch.nan, torch.nan
    return Posterior(z, covariance)


def _slope(network: VAE, beats: Tensor, z: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Half the negative gradient of the energy, [n, latents], and half its curvature, in float64.

    Curvatures are from 1 to 1e6: in single precision the flat directions would be lost.
    """
    rebuilt, slopes = network.linearised(z)
    slopes = slopes.flatten(1, 2)
    off = (beats - rebuilt).transpose(1, 2).flatten(1)
    pull = ((off.unsqueeze(1) @ slopes).squeeze(1) / variance - z).double()
    precision = (slopes.mT @ slopes / variance).double()
    return pull, precision + torch.eye(z.shape[1], device=z.device)


def _energy(beats: Tensor, rebuilt: Tensor, z: Tensor, variance: Tensor) -> Tensor:
    """Twice the negative log density of the posterior, [n], but for a constant."""
    off = ((beats - rebuilt) ** 2).sum(dim=2).double().sum(dim=1)
    return off / variance + (z.double() ** 2).sum(dim=1)
