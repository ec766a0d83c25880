"""How well a model reconstructs held-out beats, beside PCA with as many components."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from ecg_spark.ecg import BEAT_RATE_HZ, LEADS, R_INDEX, derive_leads
from ecg_spark.errors import DataError
from ecg_spark.study import Model
from models.data.loader import Beats
from models.distributed import all_reduce_sum
from models.encoding.fold_encoder import Array, Encoding, Signals, independent_leads
from models.network.loss import draw, gaussian_nll, kl_divergence
from models.network.vae import VAE

Metrics = dict[str, float]

MAX_SAMPLE_BEATS = 20_000
"""The most beats from which components, factors, metrics and figures are computed."""

EVALUATED = 512
"""How many beats are evaluated at a time, by all processes together."""

VALIDATED, PEER = "val", "pca"
"""What the names of metrics on validation people begin with: of the model, and of the PCA."""
TESTED, TESTED_PEER = "test", "test_pca"
"""The same for the published metrics, on people on whom no choice depended."""

SEGMENTS_MS = {"p": (-280, -60), "qrs": (-60, 60), "st_t": (60, 460)}
"""Parts of a beat in ms from R, for people at rest."""


@torch.inference_mode()
def evaluate(network: VAE, held_out: Beats, settings: Model) -> Metrics:
    """Return the metrics of an epoch on held-out beats, from the encoder's guess at the latents.

    `val/loss` is the training's own loss, the negative ELBO with a weighted KL term, at the final
    weight and with the same draws of the noise in every epoch, so that epochs can be compared.
    `guess/mae_uv` and `guess/pearson_r` are of beats reconstructed from the guess; those of the
    trained model (`compare`) are of the posterior's mode and better.

    Args:
        network: the network.
        held_out: beats for validation; of several processes each evaluates its own part.
        settings: KL weight and threshold of active latents.
    """
    device = network.noise.device
    random, shape = torch.Generator(device).manual_seed(1), (EVALUATED, settings.latents)
    sums = torch.zeros(4 + settings.latents, device=device)
    for beats in held_out.once(EVALUATED):
        mean, log_variance = network.encode(beats)
        rebuilt = network.decode(mean)
        noise = held_out.shard.own(torch.randn(shape, generator=random, device=device))
        drawn = network.decode(draw(mean, log_variance, noise[: len(beats)]))
        nll = gaussian_nll(beats, drawn, network.noise)
        error, r = agreement(beats, rebuilt)
        four = torch.stack([torch.ones_like(nll), nll, error, r], dim=1)
        sums += torch.cat([four, kl_divergence(mean, log_variance)], dim=1).sum(dim=0)
    sums = all_reduce_sum(sums).cpu()
    nll, error, r, *kl = (sums[1:] / sums[0]).tolist()
    return {
        "val/loss": nll + settings.kl_weight * sum(kl),
        "val/kl": sum(kl),
        "guess/mae_uv": error,
        "guess/pearson_r": r,
        "val/active_units": float(sum(value >= settings.min_active_kl for value in kl)),
    }


def agreement(beats: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean absolute error in µV and Pearson r averaged over leads, each [n], of beats.

    Args:
        beats: [n, leads, 600] in mV.
        rebuilt: the same beats reconstructed.
    """
    error = (beats - rebuilt).abs().flatten(1).mean(dim=1) * 1000
    a, b = (x - x.mean(dim=-1, keepdim=True) for x in (beats, rebuilt))
    r = (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-9)
    return error, r.mean(dim=1)


class Coder(Protocol):
    """A model that encodes and reconstructs beats [n, 12, 600], and the PCA beside it."""

    def encode(self, signal: Signals) -> Encoding:
        """Return the latents of beats."""

    def decode(self, z: Array) -> Signals:
        """Return the beats of latents."""

    def encode_pca(self, signal: Signals) -> Encoding:
        """Return the scores of beats on the PCA."""

    def decode_pca(self, z: Array) -> Signals:
        """Return the beats of scores on the PCA."""


def compare(
    judged: Sequence[tuple[Coder, Signals]], model: str = VALIDATED, peer: str = PEER
) -> Metrics:
    """Return the metrics of a model and of a PCA on beats that each network has not seen.

    Args:
        judged: each network with its beats, [n, 8, 600] in mV.
        model: what the names of the model's metrics begin with.
        peer: what the names of the PCA's metrics begin with.

    Returns:
        For both: `mae_uv`, the mean absolute error in µV over all leads, also by lead and by part
        of the beat, and `pearson_r`. For the model: `max_abs_r` and `mean_abs_r` of the
        correlations between two active latents, about the means of each network's people, 0 if
        there is only one; `max_abs_r_by_chance`, the median of the largest if all were 0, because
        with few people it is far from 0 by chance alone; `no_factors`, the share of beats for which
        no factors were found, which the other metrics leave out.

    Raises:
        DataError: factors were found for none of the beats.
    """
    signal, z, rebuilt = rebuild(judged)
    beats = independent_leads(signal)
    every = sum(len(own) for _, own in judged)
    metrics: Metrics = {
        f"{model}/active_units": float(z.shape[1]),
        f"{model}/no_factors": 1 - len(beats) / every,
    }
    for name, twelve in zip((model, peer), rebuilt.values(), strict=True):
        independent = torch.from_numpy(independent_leads(twelve))
        error, r = agreement(torch.from_numpy(beats), independent)
        metrics |= {f"{name}/mae_uv": float(error.mean()), f"{name}/pearson_r": float(r.mean())}
        off_uv = np.abs(signal - twelve).mean(axis=0) * 1000
        for lead, row in zip(LEADS, off_uv, strict=True):
            metrics[f"{name}/mae_uv/lead_{lead}"] = float(row.mean())
        for part, (start, end) in SEGMENTS_MS.items():
            inside = slice(*(R_INDEX + int(ms * BEAT_RATE_HZ) // 1000 for ms in (start, end)))
            metrics[f"{name}/mae_uv/part_{part}"] = float(off_uv[:, inside].mean())
    between = np.zeros(1)
    if z.shape[1] > 1 and len(z) > 2:
        correlations = np.asarray(np.corrcoef(z, rowvar=False))
        between = np.abs(correlations[np.triu_indices(z.shape[1], 1)])
    return metrics | {
        f"{model}/max_abs_r": float(between.max()),
        f"{model}/mean_abs_r": float(between.mean()),
        f"{model}/max_abs_r_by_chance": largest_by_chance(z.shape[1], len(z)),
    }


def archive_error(archive: str, whose: str) -> str:
    """Return the name of the metric: the mean absolute error on the people of one archive.

    Args:
        archive: its name.
        whose: what the name begins with, as in `compare`.
    """
    return f"{whose}/mae_uv/archive_{archive}"


def largest_by_chance(k: int, n: int) -> float:
    """Return the median of the largest absolute correlation among independent columns.

    A correlation of independent normal columns has SD 1 / sqrt(n - 1); k (k - 1) / 2 of them are
    all below x with probability one half.

    Args:
        k: how many columns there are.
        n: how many rows.

    Example:
        >>> round(largest_by_chance(20, 1000), 3), largest_by_chance(1, 1000)
        (0.092, 0.0)
    """
    pairs = k * (k - 1) // 2
    if not pairs or n < 3:
        return 0.0
    return min(float(norm.ppf((1 + 0.5 ** (1 / pairs)) / 2) / np.sqrt(n - 1)), 1.0)


def rebuild(
    judged: Sequence[tuple[Coder, Signals]],
) -> tuple[Signals, Array, dict[str, Signals]]:
    """Return beats, their latents, and the beats reconstructed by the model and by the PCA.

    Beats for which no factors were found are left out.

    Args:
        judged: each network with its beats, [n, 8, 600] in mV.

    Returns:
        Beats [n, 12, 600] in mV; latents [n, k], centred for each network; and the beats
        reconstructed by `model` and `peer`.

    Raises:
        DataError: factors were found for none of the beats.
    """
    latents: list[Array] = []
    measured: list[Signals] = []
    rebuilt: dict[str, list[Signals]] = {"model": [], "peer": []}
    for encoder, beats in judged:
        signal = derive_leads(beats)
        z = encoder.encode(signal).z
        found = np.isfinite(z).all(axis=1)
        z, signal = z[found], signal[found]
        if len(z):
            latents.append(z - z.mean(axis=0))
            measured.append(signal)
            rebuilt["model"].append(encoder.decode(z))
            rebuilt["peer"].append(encoder.decode_pca(encoder.encode_pca(signal).z))
    if not latents:
        raise DataError(
            "The model finds factors for no held-out beat: lower model.learning_rate, or look for "
            "extreme beats in the beats table."
        )
    together = {name: np.concatenate(parts) for name, parts in rebuilt.items()}
    return np.concatenate(measured), np.concatenate(latents), together
