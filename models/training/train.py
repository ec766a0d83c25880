"""Training, from the table of beats to a registered model."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from ecg_spark.ecg_paper import Curve, draw_beats
from ecg_spark.store import atomic_write
from ecg_spark.study import REGISTERED
from models.encoding.encoder import Encoder
from models.encoding.evaluation import Coder, Metrics, rebuild
from models.encoding.fold_encoder import Signals
from models.registry import publishing
from models.registry.card import model_card
from models.training.job import judge, judge_archives, main_figures, training_run
from models.training.plan import Plan

log = logging.getLogger(__name__)

FEWEST_IN_PICTURE = 20
"""A measured beat is shown only as a mean of at least so many."""
SHOWN = 2_000
TRAVERSED = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_REBUILT = (("measured", "0.7", 3.5), ("PCA", "#E69F00", 1.1), ("VAE", "#0072B2", 1.1))


@dataclass(frozen=True)
class TrainResult:
    """The registered model that a training results in.

    Attributes:
        run_id: its run in MLflow.
        model_id: MLflow's id of the model.
        model_uri: the address of the version, such as 'models:/ecg-vae/3'.
        version: the number of the version.
        folds: how many networks it has.
        n_latents: how many active latents.
        metrics: those of the model as registered, beside PCA with as many components: `test/` and
            `test_pca/` on people on whom no choice depended, `val/` and `pca/` on those by whom the
            epoch was chosen.
        archives: if there are several, the beats of each, as `judge_archives` counts them.
    """

    run_id: str
    model_id: str
    model_uri: str
    version: int
    folds: int
    n_latents: int
    metrics: Metrics
    archives: dict[str, dict[str, int]] = field(default_factory=dict)


def train(plan: Plan, model_name: str, folder: str) -> TrainResult:
    """Train the VAE on a table of beats, log the run and register the model.

    If it was interrupted, calling it again with the same plan gives the model that it would have
    given otherwise. While MLflow is away the metrics are kept and sent later. The registered
    version gets the alias `candidate`, and `champion` if no other version has it.

    Args:
        plan: what is trained on what.
        model_name: the name under which the model is registered.
        folder: the path or URI where `history.json` is written, a list with one entry per epoch.

    Raises:
        DataError: the table is empty or damaged, or training diverges; the run is marked as failed.
        InfrastructureError: MLflow does not answer, or the GPU that the study asks for or its
            memory is missing.
    """
    with training_run(plan) as outcome:
        tested, judged = judge(plan, outcome)
        by_archive, archives = judge_archives(plan, outcome)
        metrics = outcome.metrics | tested | by_archive
        log_pictures(outcome.encoder, judged)
        sizes = outcome.n_training, sum(len(beats) for _, beats in judged)
        card = model_card(outcome.encoder, metrics, *sizes, plan.leave_out, archives)
        mlflow.set_tag("mlflow.note.content", card)
        mlflow.log_dict(metrics, publishing.FIGURES)
        metrics = main_figures(metrics)
        with TemporaryDirectory() as scratch:
            version, model_id = publishing.register(
                *(outcome.encoder, model_name, card, metrics, plan.settings.epochs, Path(scratch))
            )
        atomic_write(f"{folder}/history.json", json.dumps(outcome.history, indent=1).encode())
    uri, encoder = f"{REGISTERED}{model_name}/{version}", outcome.encoder
    log.info("train: registered %s with %d active latents", uri, encoder.n_active)
    about = len(encoder.folds), encoder.n_active, metrics, archives
    return TrainResult(outcome.run_id, model_id, uri, version, *about)


def log_pictures(encoder: Encoder, judged: Sequence[tuple[Coder, Signals]]) -> None:
    """Log figures to MLflow: a traversal of each active latent, and held-out beats reconstructed.

    Of held-out beats only means are shown: of the thirds that are reconstructed best, middling and
    worst.

    Args:
        encoder: the model.
        judged: each network with its beats, [n, 8, 600] in mV.
    """
    shades = np.linspace(0, 1, len(TRAVERSED))
    for latent in range(encoder.n_active):
        beats = encoder.traverse(latent, np.array(TRAVERSED))
        curves = [
            Curve(f"{step:+g} SD" if step else "mean", beat, to_hex(colormaps["coolwarm"](shade)))
            for step, beat, shade in zip(TRAVERSED, beats, shades, strict=True)
        ]
        figure = draw_beats(curves, f"Latent {latent:02d}")
        mlflow.log_figure(figure, f"traversals/latent_{latent:02d}.png")
    some = [(own, beats[: SHOWN // len(judged)]) for own, beats in judged]
    signal, _, rebuilt = rebuild(some)
    names = ("best", "middling", "worst") if len(signal) >= 3 * FEWEST_IN_PICTURE else ("all",)
    by_error = np.argsort(np.abs(signal - rebuilt["model"]).mean(axis=(1, 2)))
    for name, rows in zip(names, np.array_split(by_error, len(names)), strict=True):
        if len(rows) >= FEWEST_IN_PICTURE:
            title = f"Held-out beats, those rebuilt {name}" if len(names) > 1 else "Held-out beats"
            sources = (signal, rebuilt["peer"], rebuilt["model"])
            curves = [
                Curve(label, beats[rows].mean(axis=0), colour, line_width=width)
                for (label, colour, width), beats in zip(_REBUILT, sources, strict=True)
            ]
            figure = draw_beats(curves, f"{title}, mean of {len(rows)}")
            mlflow.log_figure(figure, f"reconstructions/{name}.png")
