"""A carried model, judged on a study's beats instead of training one, and registered there."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow

from ecg_spark.store import atomic_write
from ecg_spark.study import REGISTERED
from models.data.loader import beats_of_the_test, open_beats
from models.data.split import Split
from models.distributed import choose_device
from models.encoding.encoder import Encoder
from models.encoding.evaluation import MAX_SAMPLE_BEATS, TESTED, TESTED_PEER, Metrics, compare
from models.encoding.fold_encoder import Array, Encoding, Signals, decode_by, encode_by
from models.network.pca import Components, fit_components
from models.registry import publishing
from models.registry.card import travelled_card
from models.registry.carried import Carried
from models.registry.tracking import experiment_id, run_name, tags_of, tracked
from models.training.job import log_tables, main_figures
from models.training.plan import Plan
from models.training.train import TrainResult, log_pictures

log = logging.getLogger(__name__)

MAX_ERROR_RATIO = 1.5
"""Ratio of the reconstruction error here to that at home above which the model does not fit."""
AT_HOME = "home"
"""What the names of the metrics from the model's own study begin with."""


def judge_carried(
    plan: Plan, carried: Carried, model_name: str, folder: str
) -> tuple[TrainResult, dict[str, Any]]:
    """Judge a carried model on a study's beats, log the run and register the model unchanged.

    The metrics `test/...` are of the same share of people as a training would keep for its test.
    `test_pca/...` are of a PCA with as many components that is fitted here, on the people that a
    training would use. `home_test/...` are the model's own, from where it was trained.

    Args:
        plan: the study's beats, settings and MLflow.
        carried: the model.
        model_name: the name under which it is registered.
        folder: the path or URI where `history.json` is written; it is empty, as nothing was
            trained.

    Returns:
        The result, as from `train`, and what else the step reports: where the model is from, and
        notes.

    Raises:
        DataError: there are no beats to judge it on.
        InfrastructureError: MLflow does not answer.
    """
    encoder, home = carried.encoder, carried.home
    settings, device = plan.settings, choose_device(plan.settings.device)
    split = Split(plan.seed, settings.validation_share, test_share=settings.test_share)
    training, _, _ = open_beats(plan.beats_path, split, device, leave_out=plan.leave_out)
    beats, _ = beats_of_the_test(plan.beats_path, split, MAX_SAMPLE_BEATS, plan.leave_out)
    peer = fit_components(training.sample(MAX_SAMPLE_BEATS), encoder.n_active)
    judged = [(WithPeer(encoder, peer), beats)]
    metrics = compare(judged, TESTED, TESTED_PEER)
    notes = notes_of(metrics, home.figures)
    for note in notes:
        log.warning("train: %s", note)
    source = {"ecg_spark.source": home.digest, "ecg_spark.source_study": home.study}
    with (
        tracked(plan.tracking_uri, plan.registry_uri),
        mlflow.start_run(
            experiment_id=experiment_id(plan.experiment, plan.tracking_uri),
            run_name=run_name(plan.study, encoder.n_active),
            tags=tags_of(plan.study, plan.archive) | plan.tags | source,
        ) as run,
    ):
        log_tables(plan)
        mlflow.log_params({"seed": plan.seed, "beats_tested": len(beats)})
        log_pictures(encoder, judged)
        card = travelled_card(encoder, metrics, home, len(beats), notes)
        mlflow.set_tag("mlflow.note.content", card)
        mlflow.log_dict(metrics, publishing.FIGURES)
        at_home = {f"{AT_HOME}_{name}": value for name, value in home.figures.items()}
        metrics = main_figures(metrics | at_home)
        with TemporaryDirectory() as scratch:
            version, model_id = publishing.register(
                encoder, model_name, card, metrics, 0, Path(scratch)
            )
    atomic_write(f"{folder}/history.json", json.dumps([]).encode())
    uri = f"{REGISTERED}{model_name}/{version}"
    log.info("train: judged and registered %s with %d latents", uri, encoder.n_active)
    result = TrainResult(
        *(run.info.run_id, model_id, uri, version, len(encoder.folds), encoder.n_active, metrics)
    )
    return result, {"source": asdict(home), "notes": notes}


def notes_of(metrics: Metrics, home: Metrics) -> list[str]:
    """Return what must be said about a model's reconstruction here and where it was trained.

    Args:
        metrics: the model's here, as `compare` returns them.
        home: its metrics where it was trained.
    """
    here, there = metrics[f"{TESTED}/mae_uv"], home[f"{TESTED}/mae_uv"]
    pca = metrics[f"{TESTED_PEER}/mae_uv"]
    notes = []
    if here > MAX_ERROR_RATIO * there:
        notes.append(
            f"the carried model reconstructs beats with an error of {here:.1f} µV here and "
            f"{there:.1f} µV where it was trained, more than {MAX_ERROR_RATIO} times as much: "
            f"check whether the ECGs are of another kind, or set model.fine_tune"
        )
    if here > pca:
        notes.append(
            f"a PCA fitted here reconstructs beats with an error of {pca:.1f} µV, the carried "
            f"model with {here:.1f} µV"
        )
    return notes


class WithPeer:
    """A model beside a PCA that was fitted in another study than the model."""

    def __init__(self, encoder: Encoder, components: Components) -> None:
        self._encoder, self._components = encoder, components

    def encode(self, signal: Signals) -> Encoding:
        """Return the model's latents of beats, float32 [n, 12, 600] in mV."""
        return self._encoder.encode(signal)

    def decode(self, z: Array) -> Signals:
        """Return the model's beats [n, 12, 600] in mV of latents [n, k]."""
        return self._encoder.decode(z)

    def encode_pca(self, signal: Signals) -> Encoding:
        """Return the scores of beats on the components, in standard deviations."""
        return encode_by(self._components, signal)

    def decode_pca(self, z: Array) -> Signals:
        """Return the beats [n, 12, 600] in mV of scores [n, k] on the components."""
        return decode_by(self._components, z)
