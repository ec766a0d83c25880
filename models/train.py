"""Training, from the beats table to a registered model.

How the factors come to be independent and to follow the heart's traits in straight lines, each
part chosen by measurement (tests/bench/bench_vae.py compares with PCA):

- The decoder is linear amplitudes on a linearly warped time axis (models/vae.py). With convolutions
  in it the latents rebuild beats as well, but find fewer variants: the traits lie on curves.
- The network starts as a PCA, so that the factors start uncorrelated.
- The weight of the KL term rises from zero, or many latents would never become active.
- Weights are averaged over the last steps (EMA), and what correlation is left between the active
  latents is taken off by the whitening that moves them least (models/factors.py).
- Of all uncorrelated factors those are taken that act on as little of the beat as can be (varimax,
  same place): one is a part of the heart's work more often, and its variants are found singly.
"""

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import fsspec
import mlflow
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ecg_spark.errors import DataError, InfrastructureError
from ecg_spark.study import Model
from models import registry
from models.encoder import Encoder, independent_leads, pack
from models.factors import Factors, fit_factors
from models.figures import reconstruction_figure, traversal_figure
from models.loader import Beats, open_beats
from models.loss import gaussian_nll, kl_divergence, sample
from models.pca import fit_components
from models.tracking import experiment_id, tracked
from models.vae import VAE, twelve_leads

log = logging.getLogger(__name__)

WARMED_UP = 0.3
"""The share of the steps over which the KL weight rises."""
MAX_GRADIENT = 0.02
"""Norm to which the gradient of the loss (nats a sample of the beat) is clipped."""
EMA_DECAY = 0.99
AT_MOST = 20_000
"""Beats of a larger set that the components, the factors and the pictures are made from."""
FEWEST_IN_PICTURE = 20
"""A picture of a measured beat is a mean of at least so many."""
TRAVERSED = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)

Metrics = dict[str, float]


@dataclass(frozen=True)
class TrainResult:
    """What a training run gives: where it is tracked, the registered version, held-out figures.

    `metrics` are those of the model as registered, on held-out participants: mean absolute error
    in µV and mean Pearson r over beats and leads, beside the same of PCA with as many components.
    """

    run_id: str
    model_uri: str
    version: int
    n_latents: int
    metrics: Metrics


def choose_device(wanted: str) -> torch.device:
    """The device to train on. Raises `InfrastructureError` where CUDA is wanted and absent."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InfrastructureError(
            "model.device is 'cuda', but PyTorch finds no usable NVIDIA GPU on this machine: "
            "set it to 'auto' or 'cpu', or install a GPU build of PyTorch."
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def train(
    beats_path: str,
    settings: Model,
    *,
    seed: int,
    tracking_uri: str,
    experiment: str,
    model_name: str,
    table_version: str,
    folder: Path | str,
) -> TrainResult:
    """Train the VAE on a beats table, log the run and register the model.

    `history.json`, a list with an entry an epoch, is written into `folder` (a path or URI) and
    logged. The registered version gets the alias `candidate`, and `champion` where there is none.

    Raises `InfrastructureError` where MLflow does not answer or the GPU asked for is absent, and
    `DataError` where the table is empty or damaged or training diverges; the run then is marked
    as failed.
    """
    device = choose_device(settings.device)
    with tracked(tracking_uri):
        experiment = experiment_id(experiment, tracking_uri)
        with mlflow.start_run(experiment_id=experiment, log_system_metrics=True) as run:
            torch.manual_seed(seed)
            training, held_out = open_beats(beats_path, seed, settings.validation_share, device)
            mlflow.log_params(
                settings.model_dump()
                | {"seed": seed, "device": device.type, "table_version": table_version}
                | {"beats_training": len(training), "beats_held_out": len(held_out)}
            )
            registry.log_table(beats_path, table_version)
            network, history = fit(training, held_out, settings, seed, device)
            encoder = finish(network, training, settings, seed, table_version)
            metrics = compare(encoder, held_out)
            mlflow.log_metrics(metrics, step=settings.epochs)
            registry.log_history(history)
            log_pictures(encoder, held_out)
            with TemporaryDirectory() as scratch:
                version = registry.register(encoder, model_name, Path(scratch))
    files, root = fsspec.core.url_to_fs(str(folder))
    files.makedirs(root, exist_ok=True)
    files.pipe_file(f"{root}/history.json", json.dumps(history, indent=1).encode())
    uri = f"models:/{model_name}/{version}"
    log.info("train: registered %s with %d active latents", uri, encoder.n_active)
    return TrainResult(run.info.run_id, uri, version, encoder.n_active, metrics)


def fit(
    training: Beats, held_out: Beats, settings: Model, seed: int, device: torch.device
) -> tuple[VAE, list[Metrics]]:
    """The trained network on the CPU, and the metrics of every epoch (also sent to MLflow)."""
    network = VAE(settings.latents, settings.channels)
    network.start_from(training.sample(AT_MOST))
    network = network.to(device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    steps = settings.epochs * math.ceil(len(training) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps, pct_start=0.1
    )
    history: list[Metrics] = []
    step, said = 0, 0.0
    for epoch in range(1, settings.epochs + 1):
        sums = torch.zeros(2, device=device)
        for beats in training.epoch(epoch, settings.batch_size):
            weight = kl_weight(settings, step / steps)
            mean, log_variance = network.encode(beats)
            rebuilt = network.decode(sample(mean, log_variance))
            nll = gaussian_nll(beats, rebuilt, network.noise).mean()
            kl = kl_divergence(mean, log_variance).sum(dim=1).mean()
            optimiser.zero_grad()
            ((nll + weight * kl) / beats[0].numel()).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            sums += torch.stack([nll, kl]).detach() * len(beats)
            step += 1
        nll, kl = (sums / len(training)).tolist()
        if not math.isfinite(nll + kl):
            raise DataError(
                f"Training diverged in epoch {epoch} (the loss is not finite): "
                f"lower model.learning_rate, or look for extreme beats in the beats table."
            )
        metrics = {"train/loss": nll + settings.kl_weight * kl, "train/kl": kl}
        metrics |= evaluate(average.module, held_out, settings)
        mlflow.log_metrics(metrics, step=epoch)
        history.append({"epoch": epoch, **metrics})
        if time.monotonic() - said > 5 or epoch == settings.epochs:
            said = time.monotonic()
            log.info(
                "train: epoch %d of %d, held out %.1f µV, r %.4f, %d active latents, KL %.1f nats",
                *(epoch, settings.epochs, metrics["val/mae_uv"], metrics["val/pearson_r"]),
                *(metrics["val/active_units"], metrics["val/kl"]),
            )
    return average.module.cpu().eval(), history


def kl_weight(settings: Model, progress: float) -> float:
    """The weight of the KL term when a share `progress` of the steps is done."""
    return settings.kl_weight * min(progress / WARMED_UP, 1.0)


@torch.inference_mode()
def evaluate(network: VAE, held_out: Beats, settings: Model) -> Metrics:
    """Figures on held-out beats, rebuilt from their posterior means.

    The loss has the final KL weight in every epoch, so that epochs can be compared.
    """
    sums, kl, n = torch.zeros(3, device=network.noise.device), 0.0, 0
    for beats in held_out.epoch(0, 512):
        mean, log_variance = network.encode(beats)
        rebuilt = network.decode(mean)
        nll = gaussian_nll(beats, rebuilt, network.noise).sum()
        error, r = agreement(beats, rebuilt)
        sums += torch.stack([nll, error.sum(), r.sum()])
        kl = kl + kl_divergence(mean, log_variance).sum(dim=0)
        n += len(beats)
    nll, error, r = (sums / n).tolist()
    kl = kl / n
    return {
        "val/loss": nll + settings.kl_weight * float(kl.sum()),
        "val/kl": float(kl.sum()),
        "val/mae_uv": error,
        "val/pearson_r": r,
        "val/active_units": float((kl >= settings.min_active_kl).sum()),
    }


def agreement(beats: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error in µV, and Pearson r averaged over leads, of each beat: [n] and [n]."""
    error = (beats - rebuilt).abs().flatten(1).mean(dim=1) * 1000
    a, b = (x - x.mean(dim=-1, keepdim=True) for x in (beats, rebuilt))
    r = (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-9)
    return error, r.mean(dim=1)


def finish(
    network: VAE, training: Beats, settings: Model, seed: int, table_version: str
) -> Encoder:
    """The encoder of a trained network: its active factors, and PCA with as many components."""
    beats = training.sample(AT_MOST)
    with torch.inference_mode():
        parts = [network.encode(rows) for rows in torch.from_numpy(beats).split(512)]
    mean, log_variance = (torch.cat(part).numpy() for part in zip(*parts, strict=True))

    def effect(factors: Factors) -> NDArray[np.float32]:
        around = np.eye(len(factors.turn), dtype=np.float32) * 0.5
        with torch.inference_mode():
            up, down = (
                network.decode(torch.from_numpy(factors.to_latents(z))) for z in (around, -around)
            )
        return (up - down).flatten(1).numpy()

    factors, kl = fit_factors(mean, log_variance, settings.min_active_kl, effect)
    components = fit_components(beats, len(kl))
    config = {
        "latents": settings.latents,
        "channels": settings.channels,
        "n_active": len(kl),
        "kl": [round(float(value), 4) for value in kl],
        "seed": seed,
        "validation_share": settings.validation_share,
        "table_version": table_version,
    }
    return pack(network, factors, components, config)


def compare(encoder: Encoder, held_out: Beats) -> Metrics:
    """Figures of the registered model and of its PCA peer on the same held-out beats.

    `val/max_abs_r` and `val/mean_abs_r` are of the correlations between two active latents.
    """
    beats = torch.from_numpy(held_out.sample(AT_MOST))
    signal = twelve_leads(beats).numpy()
    z = encoder.encode(signal).z
    rebuilt = {"val": encoder.decode(z), "pca": encoder.decode_pca(encoder.encode_pca(signal).z)}
    metrics: Metrics = {"val/active_units": float(encoder.n_active)}
    for name, beats_12 in rebuilt.items():
        error, r = agreement(beats, torch.from_numpy(independent_leads(beats_12)))
        metrics |= {f"{name}/mae_uv": float(error.mean()), f"{name}/pearson_r": float(r.mean())}
    if encoder.n_active > 1 and len(z) > 2:
        r = np.abs(np.corrcoef(z, rowvar=False)[np.triu_indices(encoder.n_active, 1)])
        metrics |= {"val/max_abs_r": float(r.max()), "val/mean_abs_r": float(r.mean())}
    return metrics


def log_pictures(encoder: Encoder, held_out: Beats) -> None:
    """Send MLflow a traversal of each active latent, and held-out beats rebuilt.

    Of held-out beats only means are shown: of the thirds rebuilt best, middling and worst.
    """
    for latent in range(encoder.n_active):
        beats = encoder.traverse(latent, np.array(TRAVERSED))
        figure = traversal_figure(f"Latent {latent:02d}", TRAVERSED, beats)
        mlflow.log_figure(figure, f"traversals/latent_{latent:02d}.png")
    signal = twelve_leads(torch.from_numpy(held_out.sample(2_000))).numpy()
    vae = encoder.decode(encoder.encode(signal).z)
    pca = encoder.decode_pca(encoder.encode_pca(signal).z)
    names = ("best", "middling", "worst") if len(signal) >= 3 * FEWEST_IN_PICTURE else ("all",)
    by_error = np.argsort(np.abs(signal - vae).mean(axis=(1, 2)))
    for name, rows in zip(names, np.array_split(by_error, len(names)), strict=True):
        if len(rows) >= FEWEST_IN_PICTURE:
            title = f"Held-out beats, those rebuilt {name}" if len(names) > 1 else "Held-out beats"
            means = (beats[rows].mean(axis=0) for beats in (signal, vae, pca))
            figure = reconstruction_figure(f"{title}, mean of {len(rows)}", *means)
            mlflow.log_figure(figure, f"reconstructions/{name}.png")
