"""From trained networks to an encoder: the factors of each, and folds matched to one another.

The factors of a network are decided by its own decoder (models/encoding/factors.py). Networks
trained on other people find nearly the same space, with somewhat different axes in it. The
orthogonal map that brings a fold's factors closest to those of the first fold (Schönemann,
Psychometrika 1966; 31:1) keeps them uncorrelated and takes their order, sign and meaning from the
first. For two networks, each trained on another 1,000 people, the mean absolute correlation is 0.95
by this map and 0.93 by the best pairing on simulated hearts, and 0.975 and 0.84 on recordings of a
network trained on real ECGs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecg_spark.ecg import derive_leads
from ecg_spark.study import Model
from models.data.loader import Beats
from models.encoding.encoder import Encoder
from models.encoding.evaluation import MAX_SAMPLE_BEATS
from models.encoding.factors import Factors, fit_factors, mean_kl
from models.encoding.fold_encoder import FORM, Array, Encoding, FoldEncoder, Signals, pack
from models.encoding.posterior import posteriors
from models.network.pca import fit_components
from models.network.vae import VAE


def finish(
    network: VAE,
    training: Beats,
    settings: Model,
    provenance: Mapping[str, Any],
    device: torch.device,
) -> FoldEncoder:
    """Return the encoder of a trained network: its active factors, and PCA with as many components.

    Args:
        network: the trained network.
        training: the beats that it was trained on.
        settings: the section `model` of the study file.
        provenance: what else its configuration is to say: the seed, and which beats.
        device: where the factors are found and the encoder will work.

    Raises:
        DataError: no latent is active.
    """
    beats = training.sample(MAX_SAMPLE_BEATS)
    parts = list(posteriors(network.to(device), torch.from_numpy(beats)))
    network.cpu()
    mean, covariance = (
        torch.cat([getattr(part, name) for part in parts]).numpy()
        for name in ("mean", "covariance")
    )
    found = np.isfinite(mean).all(axis=1)
    beats, mean, covariance = beats[found], mean[found], covariance[found]

    factors, kl = fit_factors(mean, covariance, settings.min_active_kl, partial(effects, network))
    components = fit_components(beats, len(kl))
    config = {
        "latents": settings.latents,
        "channels": settings.channels,
        "n_active": len(kl),
        "kl": [round(float(value), 4) for value in kl],
        "test_share": settings.test_share,
        "form": FORM,
        **provenance,
    }
    return pack(network, factors, components, config, device.type)


@torch.inference_mode()
def effects(network: VAE, factors: Factors) -> NDArray[np.float32]:
    """Return the change of a beat as each factor goes from -1/2 to 1/2 SD, [k, 8 * 600] in mV.

    Args:
        network: the trained network, on the CPU.
        factors: the map from its latents to factors.
    """
    around = np.eye(len(factors.rotation), dtype=np.float32) * 0.5
    up, down = (network.decode(torch.from_numpy(factors.to_latents(z))) for z in (around, -around))
    return np.asarray((up - down).flatten(1).numpy())


def align(folds: Sequence[FoldEncoder], beats: Signals) -> tuple[Encoder, Array]:
    """Return the folds' encoders with the factors of the first, and how well those of each match.

    As many factors are kept as the fold with the fewest active ones has.

    Args:
        folds: one encoder per fold.
        beats: [n, 8, 600] in mV, of all people except those of the test.

    Returns:
        The encoder, and the match [folds, k]: the absolute correlation between a fold's factor and
        the first fold's over those beats, which is 1 for the first.
    """
    if len(folds) == 1:
        match = np.ones((1, folds[0].n_active))
        return Encoder(folds, match[0]), match
    signal = derive_leads(beats)
    encodings = [fold.encode(signal) for fold in folds]
    found = np.all([np.isfinite(own.z).all(axis=1) for own in encodings], axis=0)
    signal = signal[found]
    encoded = [
        (Encoding(own.z[found], own.z_sd[found]), fold.encode_pca(signal).z)
        for own, fold in zip(encodings, folds, strict=True)
    ]
    kept = min(fold.n_active for fold in folds)
    first, first_pca = encoded[0][0].z[:, :kept], encoded[0][1][:, :kept]
    rotated, match = [], np.ones((len(folds), kept))
    for number, (fold, (own, own_pca)) in enumerate(zip(folds, encoded, strict=True)):
        if number:
            rotation, peer_rotation = closest(own.z, first), closest(own_pca, first_pca)
        else:
            rotation = peer_rotation = np.eye(fold.n_active, kept)
        z, z_sd = own.z @ rotation, np.sqrt(own.z_sd**2 @ rotation**2)
        match[number] = matched(z, first)
        rotated.append(fold.rotated(rotation, peer_rotation, mean_kl(z, z_sd)))
    return Encoder(rotated, match[1:].mean(axis=0)), match


def closest(z: Array, target: Array) -> Array:
    """Return the map [a, m] with orthonormal columns that brings z [n, a] closest to a target.

    Args:
        z: [n, a].
        target: [n, m]. Both are centred first.

    Example:
        >>> z = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> (closest(z, z[:, ::-1]).round(6) + 0.0).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    z, target = z - z.mean(axis=0), target - target.mean(axis=0)
    left, _, right = np.linalg.svd(z.T @ target, full_matrices=False)
    return np.asarray(left @ right)


def matched(z: Array, target: Array) -> Array:
    """Return the absolute correlation of each column with the same column of a target, [m].

    Args:
        z: [n, m].
        target: [n, m].

    Example:
        >>> z = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 4.0]])
        >>> matched(z, -z).round(6).tolist()
        [1.0, 1.0]
    """
    z, target = z - z.mean(axis=0), target - target.mean(axis=0)
    lengths = np.linalg.norm(z, axis=0) * np.linalg.norm(target, axis=0)
    return np.asarray(np.abs((z * target).sum(axis=0) / lengths))
