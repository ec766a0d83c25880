"""The variational autoencoder (Kingma and Welling, ICLR 2014): a convolutional encoder and decoder.

It sees the eight independent leads; the other four are their linear combinations.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecg_spark.ecg.recording import INDEPENDENT_LEADS
from models.pca import fit_components

SAMPLES = 600
N_LEADS = len(INDEPENDENT_LEADS)
SMALLEST_SCALE_MV = 0.02
"""Added to the scale of a sample, so that where beats do not differ noise is not blown up."""

SCORES = 80
"""Principal components that the encoder is shown beside its convolutions."""
SMALLEST_SCORE = 0.5
"""Added to a component's SD, so that components of mere noise stay small."""
WARP_KNOTS = 24
WARP_SAMPLES = 40.0
"""The unit of the warp's weights: a faster or a slower start of the time axis."""
CURVED_SHARE = 0.2
"""What the convolutional part of the decoder is multiplied by."""
START_OF_RESIDUAL = 0.1
"""The convolutions' last layers start this much smaller than usual: training starts at PCA."""


def twelve_leads(independent: Tensor) -> Tensor:
    """All twelve leads [n, 12, 600] in the order of LEADS from the eight independent [n, 8, 600].

    III = II - I, aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.
    """
    one, two = independent[:, 0], independent[:, 1]
    limb = torch.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2], dim=1)
    return torch.cat([limb, independent[:, 2:]], dim=1)


class Residual(nn.Module):
    """Two convolutions beside an identity; at the start it is the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 5, padding=2)
        self.second = nn.Conv1d(channels, channels, 5, padding=2)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, [n, channels, samples]."""
        h = self.first(nn.functional.gelu(x))
        return x + self.second(nn.functional.gelu(h))


class VAE(nn.Module):
    """Beats [n, 8, 600] in mV to the posterior of `latents` factors, and back.

    The network works on standardised beats: at every lead and sample the training mean is taken
    off and what is left divided by the training standard deviation, so that the P wave weighs as
    much to it as the QRS complex.

    A beat is decoded as amplitudes on a warped time axis. Durations and intervals (PR, QRS, QT)
    stretch the axis of all leads together, amplitudes and axes scale what lies on it; each is a
    linear function of the latents, beside a convolutional part that is kept small. That is what
    makes a latent follow a trait of the heart in a straight line, and a straight line is what a
    GWAS tests.
    """

    centre: Tensor
    scale: Tensor
    knots: Tensor

    def __init__(self, latents: int, channels: int) -> None:
        super().__init__()
        wide, steps, hidden = 2 * channels, SAMPLES // 24, 256
        self.register_buffer("centre", torch.zeros(N_LEADS, SAMPLES))
        self.register_buffer("scale", torch.ones(N_LEADS, SAMPLES))
        self.register_buffer("knots", _smooth_basis(WARP_KNOTS))
        self.noise = nn.Parameter(torch.tensor(-3.0))  # log SD of the likelihood, see log_noise
        self.warp = nn.Linear(latents, WARP_KNOTS, bias=False)
        nn.init.normal_(self.warp.weight, std=0.02)
        self.linear_in = nn.Linear(N_LEADS * SAMPLES, latents, bias=False)
        self.linear_out = nn.Linear(latents, N_LEADS * SAMPLES, bias=False)
        self.scores = nn.Linear(N_LEADS * SAMPLES, SCORES, bias=False)
        self.waves = nn.Sequential(
            nn.Conv1d(N_LEADS, channels, 16, stride=4, padding=6),  # 600 -> 150
            Residual(channels),
            nn.Conv1d(channels, wide, 4, stride=2, padding=1),  # -> 75
            Residual(wide),
            nn.Conv1d(wide, wide, 3, stride=3),  # -> 25
            Residual(wide),
            nn.GELU(),
            nn.Flatten(),
        )
        self.encoder = nn.Sequential(
            nn.Linear(wide * steps + SCORES, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, 2 * latents),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden),
            nn.GELU(),
            nn.Linear(hidden, wide * steps),
            nn.Unflatten(1, (wide, steps)),
            Residual(wide),
            nn.ConvTranspose1d(wide, wide, 3, stride=3),
            Residual(wide),
            nn.ConvTranspose1d(wide, channels, 4, stride=2, padding=1),
            Residual(channels),
            nn.GELU(),
            nn.ConvTranspose1d(channels, N_LEADS, 16, stride=4, padding=6),
        )

    @torch.no_grad()
    def start_from(self, beats: NDArray[np.float32]) -> None:
        """Start as the PCA of standardised training beats [n, 8, 600] in mV.

        The linear paths carry its scores, the convolutions and the warp next to nothing.
        """
        spread = beats.std(axis=0) + SMALLEST_SCALE_MV
        standard = (beats - beats.mean(axis=0)) / spread
        components = fit_components(standard, SCORES)
        axes, sd = torch.from_numpy(components.axes), torch.from_numpy(components.sd)[:, None]
        nn.init.zeros_(self.scores.weight)
        self.scores.weight[: len(axes)] = axes / (sd + SMALLEST_SCORE)
        axes, sd = axes[: self.linear_in.out_features], sd[: self.linear_in.out_features]
        self.centre.copy_(torch.from_numpy(beats.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(spread))
        for path in (self.linear_in, self.linear_out):
            nn.init.zeros_(path.weight)
        self.linear_in.weight[: len(axes)] = axes / sd
        self.linear_out.weight[:, : len(axes)] = (axes * sd).T
        for layers in (self.encoder, self.decoder):
            last = layers[-1]
            assert isinstance(last, nn.Linear | nn.ConvTranspose1d)
            last.weight.mul_(START_OF_RESIDUAL)
            if last.bias is not None:
                nn.init.zeros_(last.bias)

    def encode(self, beats: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, each [n, latents], of beats [n, 8, 600] in mV."""
        standard = (beats - self.centre) / self.scale
        flat = standard.flatten(1)
        seen = torch.cat([self.waves(standard), self.scores(flat)], dim=1)
        mean, log_variance = self.encoder(seen).chunk(2, dim=1)
        return mean + self.linear_in(flat), (log_variance - 3).clamp(-12, 4)

    def decode(self, z: Tensor) -> Tensor:
        """Beats [n, 8, 600] in mV of latents [n, latents]."""
        linear = self.linear_out(z).unflatten(1, (N_LEADS, SAMPLES))
        beats = self.centre + self.scale * (linear + CURVED_SHARE * self.decoder(z))
        return resample(beats, WARP_SAMPLES * self.warp(z) @ self.knots)

    @property
    def log_noise(self) -> Tensor:
        """Logarithm of the likelihood's SD in mV, [8, 600]: in proportion to `scale`.

        `noise` is its mean over leads and samples, and is learned.
        """
        relative = self.scale.log()
        return self.noise + relative - relative.mean()


def resample(beats: Tensor, shift: Tensor) -> Tensor:
    """Beats [n, 8, 600] read at t + shift(t), linearly; `shift` [n, 600] is in samples."""
    at = torch.arange(SAMPLES, device=beats.device) + shift
    at = at.clamp(0, SAMPLES - 1.01)
    left = at.nan_to_num().long()  # a diverged network gives NaN, not an index out of range
    part = (at - left).unsqueeze(1)
    left = left.unsqueeze(1).expand_as(beats)
    return beats.gather(2, left) * (1 - part) + beats.gather(2, left + 1) * part


def _smooth_basis(knots: int) -> Tensor:
    """Bells along the beat that sum to one at every sample, [knots, 600]."""
    centres = torch.linspace(40, SAMPLES - 40, knots).unsqueeze(1)
    width = (SAMPLES - 80) / (knots - 1)
    bells = torch.exp(-0.5 * ((torch.arange(SAMPLES) - centres) / width) ** 2)
    return bells / bells.sum(dim=0)
