"""Training, from the beats table to a registered model."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from ecg_spark.errors import InfrastructureError
from ecg_spark.store import fingerprint, write_whole
from ecg_spark.study import Model
from models import registry
from models.card import model_card
from models.checkpoint import Checkpoint, State
from models.encoder import Encoder, pack
from models.evaluation import AT_MOST, Metrics, compare
from models.factors import Factors, fit_factors
from models.figures import reconstruction_figure, traversal_figure
from models.fitting import Fitting
from models.loader import Beats, open_beats
from models.pca import fit_components
from models.processes import local_rank, processes, shared
from models.tracking import Curves, experiment_id, tracked
from models.vae import VAE, twelve_leads

log = logging.getLogger(__name__)

FEWEST_IN_PICTURE = 20
"""A picture of a measured beat is a mean of at least so many."""
TRAVERSED = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


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
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank())


def train(
    beats_path: str,
    settings: Model,
    *,
    seed: int,
    tracking_uri: str,
    experiment: str,
    model_name: str,
    table_version: str,
    folder: str,
    checkpoint: str,
) -> TrainResult:
    """Train the VAE on a beats table, log the run and register the model.

    `history.json`, a list with an entry an epoch, is written into `folder` (a path or URI) and
    logged. The registered version gets the alias `candidate`, and `champion` where there is none.

    The state after an epoch is kept at `checkpoint` (a path or URI). Called again with the same
    settings and table, training goes on from it, in the same run of MLflow, as if it had not
    stopped; done, it is removed. While MLflow is away the metrics are kept and sent later.

    Raises `InfrastructureError` where MLflow does not answer or the GPU asked for or its memory is
    absent, and `DataError` where the table is empty or damaged or training diverges; the run then
    is marked as failed.
    """
    device = choose_device(settings.device)
    kept = Checkpoint(checkpoint)
    identity = fingerprint(settings.model_dump(), seed, table_version)
    with tracked(tracking_uri), processes(device) as shard:
        before = shared(_continued(kept, identity))
        where = experiment_id(experiment, tracking_uri)
        with mlflow.start_run(
            before and before.run_id, experiment_id=where, log_system_metrics=True
        ) as run:
            share = settings.validation_share
            training, held_out = open_beats(beats_path, seed, share, device, shard)
            if before is None:
                mlflow.log_params(
                    settings.model_dump()
                    | {"seed": seed, "device": device.type, "table_version": table_version}
                    | {"beats_training": len(training), "beats_held_out": len(held_out)}
                    | {"processes": shard.world}
                )
                registry.log_table(beats_path, table_version)
            fitting = Fitting(training, settings, seed, device, before)
            curves = Curves(run.info.run_id, fitting.history)
            kept.save(fitting.state(identity, run.info.run_id), now=True)
            progress = Progress(settings.epochs)
            for metrics in fitting.epochs(held_out):
                done = len(fitting.history)
                kept.save(fitting.state(identity, run.info.run_id), now=done == settings.epochs)
                curves.send()
                progress.show(done, metrics)
            encoder = finish(fitting.result(), training, settings, seed, table_version)
            metrics = compare(encoder, held_out)
            curves.flush()
            mlflow.log_metrics(metrics, step=settings.epochs)
            registry.log_history(fitting.history)
            log_pictures(encoder, held_out)
            card = model_card(encoder, metrics, len(training), len(held_out))
            with TemporaryDirectory() as scratch:
                version = registry.register(encoder, model_name, card, Path(scratch))
    write_whole(f"{folder}/history.json", json.dumps(fitting.history, indent=1).encode())
    kept.remove()
    uri = f"models:/{model_name}/{version}"
    log.info("train: registered %s with %d active latents", uri, encoder.n_active)
    return TrainResult(run.info.run_id, uri, version, encoder.n_active, metrics)


def assist(beats_path: str, settings: Model, *, seed: int) -> None:
    """Train along with the first of several processes, which alone calls `train`."""
    device = choose_device(settings.device)
    with processes(device) as shard:
        before = shared(None)
        share = settings.validation_share
        training, held_out = open_beats(beats_path, seed, share, device, shard)
        for _ in Fitting(training, settings, seed, device, before).epochs(held_out):
            pass


class Progress:
    """A line now and then that says how training goes."""

    def __init__(self, epochs: int) -> None:
        self._epochs, self._said = epochs, 0.0

    def show(self, epoch: int, metrics: Metrics) -> None:
        """Say what an epoch reached, of the last and where five seconds have passed."""
        if time.monotonic() - self._said < 5 and epoch < self._epochs:
            return
        self._said = time.monotonic()
        log.info(
            "train: epoch %d of %d, held out %.1f µV, r %.4f, %d active latents, KL %.1f nats",
            *(epoch, self._epochs, metrics["val/mae_uv"], metrics["val/pearson_r"]),
            *(metrics["val/active_units"], metrics["val/kl"]),
        )


def _continued(kept: Checkpoint, identity: str) -> State | None:
    """The state to go on from. Another training's is dropped, and its run marked as killed."""
    state = kept.load()
    if state is None:
        return None
    client = mlflow.MlflowClient()
    try:
        client.get_run(state.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if state.identity == identity:
        log.info("train: goes on after epoch %d", state.epoch)
        return state
    client.set_terminated(state.run_id, "KILLED")
    kept.remove()
    return None


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
