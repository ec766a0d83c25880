"""The variational autoencoder (Kingma and Welling, ICLR 2014): a convolutional encoder and decoder.

It sees the eight independent leads; the other four are their linear combinations.
"""

import torch
from torch import Tensor, nn

from ecg_spark.ecg.recording import INDEPENDENT_LEADS
from models.pca import Components

SAMPLES = 600
N_LEADS = len(INDEPENDENT_LEADS)
SMALLEST_SCALE_MV = 0.02
"""Added to the scale of a sample, so that where beats do not differ noise is not blown up."""

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
    much to it as the QRS complex. `noise` is the logarithm of the likelihood's standard deviation
    in mV, one for all leads and samples.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, latents: int, channels: int) -> None:
        super().__init__()
        wide, steps, hidden = 2 * channels, SAMPLES // 24, 256
        self.register_buffer("centre", torch.zeros(N_LEADS, SAMPLES))
        self.register_buffer("scale", torch.ones(N_LEADS, SAMPLES))
        self.noise = nn.Parameter(torch.tensor(-3.0))
        self.linear_in = nn.Linear(N_LEADS * SAMPLES, latents, bias=False)
        self.linear_out = nn.Linear(latents, N_LEADS * SAMPLES, bias=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(N_LEADS, channels, 16, stride=4, padding=6),  # 600 -> 150
            Residual(channels),
            nn.Conv1d(channels, wide, 4, stride=2, padding=1),  # -> 75
            Residual(wide),
            nn.Conv1d(wide, wide, 3, stride=3),  # -> 25
            Residual(wide),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(wide * steps, hidden),
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
    def start_from(self, components: Components, spread: Tensor) -> None:
        """Start as a PCA: the linear paths carry its scores, the convolutions next to nothing.

        `spread` [8, 600] is the standard deviation of the training beats in mV.
        """
        shape = self.centre.shape
        self.centre.copy_(torch.from_numpy(components.mean).reshape(shape))
        self.scale.copy_(spread + SMALLEST_SCALE_MV)
        axes = torch.from_numpy(components.axes).to(self.scale.device)
        sd = torch.from_numpy(components.sd).to(self.scale.device)[:, None]
        scale, k = self.scale.flatten(), len(axes)
        for path in (self.linear_in, self.linear_out):
            nn.init.zeros_(path.weight)
        self.linear_in.weight[:k] = axes * scale / sd
        self.linear_out.weight[:, :k] = (axes * sd / scale).T
        for last in (self.encoder[-1], self.decoder[-1]):
            last.weight.mul_(START_OF_RESIDUAL)
            nn.init.zeros_(last.bias)

    def encode(self, beats: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, each [n, latents], of beats [n, 8, 600] in mV."""
        standard = (beats - self.centre) / self.scale
        mean, log_variance = self.encoder(standard).chunk(2, dim=1)
        return mean + self.linear_in(standard.flatten(1)), (log_variance - 3).clamp(-12, 4)

    def decode(self, z: Tensor) -> Tensor:
        """Beats [n, 8, 600] in mV of latents [n, latents]."""
        linear = self.linear_out(z).unflatten(1, (N_LEADS, SAMPLES))
        return self.centre + self.scale * (linear + self.decoder(z))
