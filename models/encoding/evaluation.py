"""How well a model rebuilds held-out beats, beside PCA with as many components."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from ecg_spark.ecg import BEAT_RATE_HZ, LEADS, R_INDEX
from ecg_spark.study import Model
from models.data.loader import Beats
from models.distributed import total
from models.encoding.fold_encoder import Array, FoldEncoder, Signals, independent_leads
from models.network.loss import gaussian_nll, kl_divergence
from models.network.vae import VAE, twelve_leads

Metrics = dict[str, float]

AT_MOST = 20_000
"""Beats of a larger set that the components, the factors, figures and pictures are made from."""

SEGMENTS_MS = {"p": (-280, -60), "qrs": (-60, 60), "st_t": (60, 460)}
"""Parts of a beat in ms from R, for people at rest."""


@torch.inference_mode()
def evaluate(network: VAE, held_out: Beats, settings: Model) -> Metrics:
    """Figures on held-out beats, rebuilt from the means that the encoder guesses.

    The trained model's own (`compare`) are of the posterior's mode and better. The loss has the
    final KL weight in every epoch, so that epochs can be compared. Of several processes each takes
    its part of the beats.
    """
    sums = torch.zeros(4 + settings.latents, device=network.noise.device)
    for beats in held_out.once(512):
        mean, log_variance = network.encode(beats)
        rebuilt = network.decode(mean)
        nll = gaussian_nll(beats, rebuilt, network.noise)
        error, r = agreement(beats, rebuilt)
        four = torch.stack([torch.ones_like(nll), nll, error, r], dim=1)
        sums += torch.cat([four, kl_divergence(mean, log_variance)], dim=1).sum(dim=0)
    sums = total(sums).cpu()
    nll, error, r, *kl = (sums[1:] / sums[0]).tolist()
    return {
        "val/loss": nll + settings.kl_weight * sum(kl),
        "val/kl": sum(kl),
        "val/mae_uv": error,
        "val/pearson_r": r,
        "val/active_units": float(sum(value >= settings.min_active_kl for value in kl)),
    }


def agreement(beats: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error in µV, and Pearson r averaged over leads, of each beat: [n] and [n]."""
    error = (beats - rebuilt).abs().flatten(1).mean(dim=1) * 1000
    a, b = (x - x.mean(dim=-1, keepdim=True) for x in (beats, rebuilt))
    r = (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-9)
    return error, r.mean(dim=1)


def compare(judged: Sequence[tuple[FoldEncoder, Signals]]) -> Metrics:
    """Figures of a model and of its PCA peer on beats [n, 8, 600] that each network has not seen.

    `val/` is the model, `pca/` the peer: mean absolute error in µV over all leads, by lead and by
    part of the beat, and Pearson r. `val/max_abs_r` and `val/mean_abs_r` are of the correlations
    between two active latents, about the means of each network's people; 0 where there is one.
    With few people the largest of many correlations is far from 0 by chance alone:
    `val/max_abs_r_by_chance` is its median where all are 0.
    """
    beats = np.concatenate([own for _, own in judged])
    signal = twelve_leads(torch.from_numpy(beats)).numpy()
    z, rebuilt = rebuild(judged)
    metrics: Metrics = {"val/active_units": float(z.shape[1])}
    for name, twelve in rebuilt.items():
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
        "val/max_abs_r": float(between.max()),
        "val/mean_abs_r": float(between.mean()),
        "val/max_abs_r_by_chance": largest_by_chance(z.shape[1], len(z)),
    }


def largest_by_chance(k: int, n: int) -> float:
    """The median of the largest absolute correlation among k independent columns of n rows.

    A correlation of independent normal columns has SD 1 / sqrt(n - 1); k (k - 1) / 2 of them are
    all below x with probability one half.
    """
    pairs = k * (k - 1) // 2
    if not pairs or n < 3:
        return 0.0
    return min(float(norm.ppf((1 + 0.5 ** (1 / pairs)) / 2) / np.sqrt(n - 1)), 1.0)


def rebuild(judged: Sequence[tuple[FoldEncoder, Signals]]) -> tuple[Array, dict[str, Signals]]:
    """Latents of all beats, centred by network, and the beats rebuilt, [n, 12, 600] in mV."""
    latents: list[Array] = []
    rebuilt: dict[str, list[Signals]] = {"val": [], "pca": []}
    for encoder, beats in judged:
        signal = twelve_leads(torch.from_numpy(beats)).numpy()
        z = encoder.encode(signal).z
        latents.append(z - z.mean(axis=0))
        rebuilt["val"].append(encoder.decode(z))
        rebuilt["pca"].append(encoder.decode_pca(encoder.encode_pca(signal).z))
    together = {name: np.concatenate(parts) for name, parts in rebuilt.items()}
    return np.concatenate(latents), together
