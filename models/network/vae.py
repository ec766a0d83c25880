"""The variational autoencoder (Kingma and Welling, ICLR 2014): factors in, a beat out.

It sees the eight independent leads; the other four are their linear combinations.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecg_spark.ecg import BEAT_SAMPLES, INDEPENDENT_LEADS
from models.network.pca import fit_components

N_LEADS = len(INDEPENDENT_LEADS)
SCORES = 80
"""Principal components whose scores the encoder sees and whose axes span the amplitudes."""
SMALLEST_SCORE_MV = 0.05
"""Added to the SD of a score, so that components with noise alone are not magnified."""

SMALLEST_SD_MV = 1e-3
"""A component with less spread comes from too few beats; its score is not magnified either."""

HIDDEN = 256
WARP_KNOTS = 28
MAX_WARP = 30.0
"""The furthest that a sample may be moved along the beat, in samples of 2 ms."""
START_OF_RESIDUAL = 0.1
"""Factor on the initial weights of the last nonlinear layers: training starts close to PCA."""


class Residual(nn.Module):
    """Two convolutions added to an identity; before training it is the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 5, padding=2)
        self.second = nn.Conv1d(channels, channels, 5, padding=2)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return an output of the same shape as the input, [n, channels, samples]."""
        h = self.first(nn.functional.gelu(x))
        return x + self.second(nn.functional.gelu(h))


class VAE(nn.Module):
    """Beats [n, 8, 600] in mV to the posterior of `latents` factors, and back.

    The encoder is nonlinear: convolutions over the beat, beside its scores on principal components.
    The decoder is not: a beat is amplitudes on a warped time axis, both linear in the latents.
    Durations and intervals (PR, QRS, QT, the fall of T) stretch the axis of all leads together;
    voltages, axes and notches scale what lies on it. A latent then follows a trait of the heart in
    a straight line, and a straight line is what a GWAS tests.

    Transposed convolutions instead (tests/bench/bench_decoders.py, bench_hearts.py) reconstruct
    beats of the archive they were trained on better, from some 2,000 beats on, by a quarter at
    20,000; and those of another archive worse at every size, by a fifth. Of variants planted on
    4,000 real hearts they find as many, but fewer of them by single latents. Factors are to be
    compared between archives, so the decoder stays the stiffer one, whatever the number of beats.

    Args:
        latents: how many latents it has.
        channels: the width of the first convolution; later ones have twice as many.
    """

    centre: Tensor
    axes: Tensor
    sd: Tensor
    knots: Tensor

    def __init__(self, latents: int, channels: int) -> None:
        super().__init__()
        wide, steps = 2 * channels, BEAT_SAMPLES // 24
        self.register_buffer("centre", torch.zeros(N_LEADS, BEAT_SAMPLES))
        self.register_buffer("axes", torch.zeros(SCORES, N_LEADS * BEAT_SAMPLES))
        self.register_buffer("sd", torch.ones(SCORES))
        self.register_buffer("knots", _smooth_basis(WARP_KNOTS))
        self.noise = nn.Parameter(torch.tensor(-3.0))  # log SD of the likelihood, in mV
        self.linear = nn.Linear(SCORES, latents)
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
        self.curved = nn.Sequential(
            nn.Linear(wide * steps + SCORES, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, 2 * latents),
        )
        self.template = nn.Parameter(torch.zeros(N_LEADS, BEAT_SAMPLES))
        self.amplitude = nn.Linear(latents, SCORES, bias=False)
        self.warp = nn.Linear(latents, WARP_KNOTS)

    @torch.no_grad()
    def start_from(self, beats: NDArray[np.float32]) -> None:
        """Start as the PCA of training beats, [n, 8, 600] in mV.

        The linear paths carry its scores; the nonlinear part and the warp contribute next to
        nothing.
        """
        components = fit_components(beats, SCORES)
        k, latents = len(components.axes), self.linear.out_features
        self.centre.copy_(torch.from_numpy(components.mean).reshape(self.centre.shape))
        self.template.copy_(self.centre)
        self.axes.zero_()
        self.axes[:k] = torch.from_numpy(components.axes)
        self.sd[:k] = torch.from_numpy(components.sd).clamp(min=SMALLEST_SD_MV)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        nn.init.zeros_(self.amplitude.weight)
        shared = min(k, latents)
        self.amplitude.weight[:shared, :shared] = torch.diag(self.sd[:shared])
        last = self.curved[-1]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(START_OF_RESIDUAL)
        nn.init.zeros_(last.bias)
        last.bias[latents:] = -3.0
        self.warp.weight.mul_(START_OF_RESIDUAL)
        nn.init.zeros_(self.warp.bias)

    def encode(self, beats: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log variance, each [n, latents], of beats [n, 8, 600]."""
        around = beats - self.centre
        with torch.autocast(beats.device.type, enabled=False):  # of µV in mV: full precision
            scores = around.flatten(1) @ self.axes.T
            straight = self.linear(scores / self.sd)
        seen = torch.cat([self.waves(around), scores / (self.sd + SMALLEST_SCORE_MV)], dim=1)
        mean, log_variance = self.curved(seen).float().chunk(2, dim=1)
        return mean + straight, log_variance.clamp(-12, 4)

    def decode(self, z: Tensor) -> Tensor:
        """Return the beats [n, 8, 600] in mV of latents [n, latents]."""
        return resample(self._unwarped(z), MAX_WARP * self._warp_at_knots(z) @ self.knots)

    def linearised(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return beats, and the derivative of each sample with respect to each latent.

        Args:
            z: latents, [n, latents].

        Returns:
            Beats [n, 8, 600] in mV, and derivatives in mV [n, 600, 8, latents], in which the
            voltages of a sample lie together.
        """
        signal, bent = self._unwarped(z), self._warp_at_knots(z)
        left, part, inside = _sample_positions(MAX_WARP * bent @ self.knots)
        amplitudes = (self.amplitude.weight.T @ self.axes).unflatten(1, (N_LEADS, BEAT_SAMPLES))
        amplitudes = amplitudes.permute(2, 1, 0).contiguous()
        before, after = (
            amplitudes.index_select(0, places.flatten()).unflatten(0, left.shape)
            for places in (left, left + 1)
        )
        slopes = before.lerp_(after, part[..., None, None])
        bending = MAX_WARP / 3 * (1 - bent**2).unsqueeze(2) * self.warp.weight
        moved = (self.knots.T @ bending) * inside.unsqueeze(2)
        here, next_ = _at(signal, left), _at(signal, left + 1)
        slopes.addcmul_((next_ - here).transpose(1, 2).unsqueeze(3), moved.unsqueeze(2))
        return torch.lerp(here, next_, part.unsqueeze(1)), slopes

    def _unwarped(self, z: Tensor) -> Tensor:
        """Return the amplitudes [n, 8, 600] in mV before the time axis is warped."""
        change = (self.amplitude(z) @ self.axes).unflatten(1, (N_LEADS, BEAT_SAMPLES))
        return self.template + change

    def _warp_at_knots(self, z: Tensor) -> Tensor:
        """Return the warp at its knots, [n, knots], as a fraction of the largest."""
        return torch.tanh(self.warp(z) / 3)


def resample(beats: Tensor, shift: Tensor) -> Tensor:
    """Return beats read at the times t + shift(t), by linear interpolation.

    Args:
        beats: [n, 8, 600].
        shift: in samples, [n, 600].
    """
    left, part, _ = _sample_positions(shift)
    return torch.lerp(_at(beats, left), _at(beats, left + 1), part.unsqueeze(1))


def _sample_positions(shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sample before t + shift(t), the fraction after it, and whether that moves.

    Each is [n, 600]. Beyond the ends of the beat its first and last values are read, which do not
    move.
    """
    wanted = torch.arange(BEAT_SAMPLES, device=shift.device) + shift
    at = wanted.clamp(0, BEAT_SAMPLES - 1.01)
    left = at.nan_to_num().long()  # a diverged network gives NaN, not an index out of range
    return left, at - left, at == wanted


def _at(beats: Tensor, places: Tensor) -> Tensor:
    """Return each beat of [n, 8, 600] at its own sample positions [n, 600]."""
    return beats.gather(2, places.unsqueeze(1).expand_as(beats))


def _smooth_basis(knots: int) -> Tensor:
    """Return bell-shaped curves along the beat that sum to one at every sample, [knots, 600]."""
    centres = torch.linspace(60, BEAT_SAMPLES - 40, knots).unsqueeze(1)
    width = (BEAT_SAMPLES - 100) / (knots - 1)
    bells = torch.exp(-0.5 * ((torch.arange(BEAT_SAMPLES) - centres) / width) ** 2)
    return bells / bells.sum(dim=0).clamp(min=1e-3)
