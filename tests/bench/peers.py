"""Designs of other groups at this project's beats: [n, 8, 600] in mV to k latents and back.

They follow the published descriptions; weights and code are this project's own.
"""

import math

import torch
from torch import nn

from models.network.loss import draw, gaussian_nll, kl_divergence


def sample(mean, log_variance):
    """A draw from the posterior."""
    return draw(mean, log_variance, torch.randn_like(mean))


class DilatedBlock(nn.Module):
    """Two causal dilated convolutions of kernel 3 beside an identity (Franceschi et al., 2019)."""

    def __init__(self, channels, dilation):
        super().__init__()
        self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        self.first = nn.Conv1d(channels, channels, 3, dilation=dilation)
        self.second = nn.Conv1d(channels, channels, 3, dilation=dilation)

    def forward(self, x):
        h = nn.functional.leaky_relu(self.first(self.pad(x)))
        return x + nn.functional.leaky_relu(self.second(self.pad(h)))


class FactorEcg(nn.Module):
    """FactorECG-like (van de Leur et al., Eur Heart J Digit Health 2022; 3:390).

    Causal dilated convolutions, 128 channels, depth 7, in encoder and decoder; the decoder gives
    mean and SD of every sample; Gaussian likelihood, KL weighted by 32.
    """

    name, kl_weight = "factorecg", 32.0

    def __init__(self, latents, channels=128, depth=7):
        super().__init__()
        blocks = [[DilatedBlock(channels, 2**i) for i in range(depth)] for _ in range(2)]
        self.encoder = nn.Sequential(
            nn.Conv1d(8, channels, 1), *blocks[0], nn.AdaptiveMaxPool1d(1), nn.Flatten(),
            nn.Linear(channels, 2 * latents),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latents, channels * 75), nn.Unflatten(1, (channels, 75)),
            nn.Upsample(scale_factor=8), *blocks[1], nn.Conv1d(channels, 16, 1),
        )  # fmt: skip

    def encode(self, beats):
        mean, log_variance = self.encoder(beats).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)

    def decode(self, z):
        return self.decoder(z)[:, :8]

    def loss(self, beats):
        mean, log_variance = self.encode(beats)
        rebuilt, log_sd = self.decoder(sample(mean, log_variance)).chunk(2, dim=1)
        nll = gaussian_nll(beats, rebuilt, log_sd.clamp(-5, 1)).mean()
        return nll, kl_divergence(mean, log_variance).sum(dim=1).mean()


class MRegle(nn.Module):
    """M-REGLE-like (Google genomics-research): 3 convolutions of 32 filters, kernel 7, each way.

    Mean squared error as a Gaussian likelihood of learned scale, KL weighted by 1.
    """

    name, kl_weight = "mregle", 1.0

    def __init__(self, latents, filters=32):
        super().__init__()
        down = [nn.Conv1d(8, filters, 7, padding=3), nn.ELU(), nn.MaxPool1d(2)]
        up = []
        for _ in range(2):
            down += [nn.Conv1d(filters, filters, 7, padding=3), nn.ELU(), nn.MaxPool1d(2)]
            up += [nn.Upsample(scale_factor=2), nn.Conv1d(filters, filters, 7, padding=3), nn.ELU()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(filters * 75, 2 * latents))
        self.decoder = nn.Sequential(
            nn.Linear(latents, filters * 75), nn.ELU(), nn.Unflatten(1, (filters, 75)), *up,
            nn.Upsample(scale_factor=2), nn.Conv1d(filters, 8, 7, padding=3),
        )  # fmt: skip
        self.log_sd = nn.Parameter(torch.tensor(math.log(0.05)))

    def encode(self, beats):
        mean, log_variance = self.encoder(beats).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)

    def decode(self, z):
        return self.decoder(z)

    def loss(self, beats):
        mean, log_variance = self.encode(beats)
        rebuilt = self.decode(sample(mean, log_variance))
        nll = gaussian_nll(beats, rebuilt, self.log_sd).mean()
        return nll, kl_divergence(mean, log_variance).sum(dim=1).mean()


def fit(network, beats, updates, batch_size, seed, rate=1e-3):
    """Train a peer by Adam, one-cycle rate and the KL weight rising over the first 30 %."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=max(updates, 20), pct_start=0.1
    )
    order = torch.empty(0, dtype=torch.long)
    for step in range(updates):
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(beats), generator=generator)])
        rows, order = order[:batch_size], order[batch_size:]
        nll, kl = network.loss(beats[rows.to(beats.device)])
        weight = network.kl_weight * min(step / updates / 0.3, 1.0)
        optimiser.zero_grad()
        ((nll + weight * kl) / beats[0].numel()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()
