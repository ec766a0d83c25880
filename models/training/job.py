"""A training run in MLflow: one network, or one per fold, resumed if it was interrupted."""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException

from ecg_spark.progress import time_left
from models.data.loader import Beats, beats_of_the_test, open_beats
from models.data.reading import count_sides
from models.data.split import TEST, TRAINING
from models.distributed import Shard, broadcast_from_rank0, choose_device, processes
from models.encoding.encoder import Encoder
from models.encoding.evaluation import (
    MAX_SAMPLE_BEATS,
    TESTED,
    TESTED_PEER,
    Metrics,
    archive_error,
    compare,
)
from models.encoding.fold_encoder import FoldEncoder, Signals
from models.registry import publishing
from models.registry.carried import MIN_GROUP_SIZE
from models.registry.tracking import EpochMetricLogger, experiment_id, run_name, tags_of, tracked
from models.training.checkpoint import Checkpoints, State
from models.training.fitting import Trainer
from models.training.folds import align, finish
from models.training.plan import Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """A trained fold: its run, and beats of people that it was not trained on.

    Attributes:
        run_id: its run in MLflow.
        encoder: its network.
        history: the metrics of each epoch.
        validation: beats [n, 8, 600] in mV of the people by whom the epoch was chosen.
        own: beats [n, 8, 600] in mV of the fold's people, over whom its factors are matched to
            those of the first fold.
        n_training: how many beats it was trained on.
    """

    run_id: str
    encoder: FoldEncoder
    history: list[Metrics]
    validation: Signals
    own: Signals
    n_training: int


@dataclass(frozen=True)
class Outcome:
    """A trained model whose run is still open, with the metrics on its validation people.

    Attributes:
        run_id: the run of the model.
        fold_run_ids: the run of each fold.
        encoder: the model.
        history: the metrics of each epoch, averaged over the folds.
        metrics: those of `compare` on validation people, and of the match of the folds.
        judged: the networks, each with its validation beats.
        n_training: how many beats the first network was trained on.
    """

    run_id: str
    fold_run_ids: Sequence[str]
    encoder: Encoder
    history: list[Metrics]
    metrics: Metrics
    judged: Sequence[tuple[FoldEncoder, Signals]]
    n_training: int


@contextmanager
def training_run(plan: Plan) -> Iterator[Outcome]:
    """Train what is planned, and yield the outcome while its run in MLflow is still open.

    The run is nested in the active one, if there is one, and the folds' runs are nested in it; all
    have the same metrics. Its state is saved after epochs. If it is interrupted, the same plan
    resumes it in the same runs; the state is removed once all is done. A run that fails is
    marked as failed.

    Raises:
        DataError: the table is empty or damaged, or training diverges.
        InfrastructureError: MLflow does not answer, the GPU fails, or there is not enough memory.
    """
    device, folds = choose_device(plan.settings.device), plan.settings.folds
    kept = Checkpoints(plan.checkpoints)
    with tracked(plan.tracking_uri, plan.registry_uri), processes(device) as shard:
        whole_run_id = _continued(kept, plan.identity)
        where = experiment_id(plan.experiment, plan.tracking_uri)
        nested = mlflow.active_run() is not None
        with mlflow.start_run(
            whole_run_id,
            experiment_id=where,
            nested=nested,
            run_name=None if whole_run_id else _run_name(plan),
            log_system_metrics=True,
            tags=tags_of(plan.study, plan.archive) | plan.tags,
        ) as whole:
            if whole_run_id is None:
                _log_parameters(plan, device, shard)
            trained = []
            for fold in range(folds):
                before = broadcast_from_rank0(kept.load(fold))
                own = (
                    nullcontext(whole)
                    if folds == 1
                    else mlflow.start_run(
                        before and before.run_id,
                        experiment_id=where,
                        nested=True,
                        run_name=f"fold {fold}",
                        log_system_metrics=True,
                    )
                )
                with own as run:
                    ids = run.info.run_id, whole.info.run_id
                    trained.append(_fit_fold(plan, fold, ids, before, kept, device, shard))
            yield _combine_folds(plan, trained, whole.info.run_id)
    kept.remove()


def join_training(plan: Plan) -> None:
    """Train along with the first of several processes, which alone calls `training_run`."""
    device = choose_device(plan.settings.device)
    with processes(device) as shard:
        for fold in range(plan.settings.folds):
            before = broadcast_from_rank0(None)
            training, validation, _ = _beats(plan, fold, device, shard)
            fitting = Trainer(training, plan.settings, plan.seed, device, before, plan.start)
            for _ in fitting.epochs(validation):
                pass


def _beats(plan: Plan, fold: int, device: torch.device, shard: Shard) -> tuple[Beats, Beats, Beats]:
    """Return the beats that the network of a fold is trained, validated and judged on."""
    split = plan.split(fold)
    return open_beats(plan.beats_path, split, device, shard, leave_out=plan.leave_out)


def _fit_fold(
    plan: Plan,
    fold: int,
    ids: tuple[str, str],
    before: State | None,
    kept: Checkpoints,
    device: torch.device,
    shard: Shard,
) -> Fold:
    """Train the network of one fold; its epochs' metrics go to the run `ids[0]`."""
    settings = plan.settings
    training, validation, own = _beats(plan, fold, device, shard)
    fitting = Trainer(training, settings, plan.seed, device, before, plan.start)
    if settings.folds > 1 and before is None:
        _log_parameters(plan, device, shard)
    mlflow.MlflowClient().log_param(ids[0], "beats_training", len(training))
    curves = EpochMetricLogger(ids[0], fitting.history)
    kept.save(fitting.state(plan.identity, *ids, fold), now=True)
    of = f"fold {fold}, " if settings.folds > 1 else ""
    progress = Progress(settings.epochs, of, len(fitting.history))
    for metrics in fitting.epochs(validation):
        done = len(fitting.history)
        kept.save(fitting.state(plan.identity, *ids, fold), now=fitting.done)
        curves.send()
        progress.show(done, metrics)
    curves.finish()
    network = fitting.result()
    encoder = finish(network, training, settings, plan.provenance, device)
    seen, turning = (side.sample(MAX_SAMPLE_BEATS // settings.folds) for side in (validation, own))
    return Fold(ids[0], encoder, fitting.history, seen, turning, len(training))


def _combine_folds(plan: Plan, trained: list[Fold], run_id: str) -> Outcome:
    """Bring the folds' factors into one order, and log the figures of each."""
    epochs = plan.settings.epochs
    beats = np.concatenate([fold.own for fold in trained])
    encoder, match = align([fold.encoder for fold in trained], beats)
    judged = [(own, fold.validation) for own, fold in zip(encoder.folds, trained, strict=True)]
    history = mean_history([fold.history for fold in trained])
    if len(trained) > 1:
        for fold, pair, agreed in zip(trained, judged, match, strict=True):
            metrics = compare([pair]) | match_metrics(agreed)
            mlflow.log_metrics(main_figures(metrics), step=epochs, run_id=fold.run_id)
        EpochMetricLogger(run_id, history).finish()
    metrics = compare(judged) | match_metrics(match[1:] if len(match) > 1 else match)
    n_training = trained[0].n_training
    if len(trained) > 1:
        mlflow.MlflowClient().log_param(run_id, "beats_training", n_training)
    publishing.log_history(history)
    run_ids = [fold.run_id for fold in trained]
    return Outcome(run_id, run_ids, encoder, history, metrics, judged, n_training)


def judge(plan: Plan, outcome: Outcome) -> tuple[Metrics, list[tuple[FoldEncoder, Signals]]]:
    """Return the metrics to publish, and the networks with the beats that they are of.

    The metrics of each fold are logged to its run. The people are those on whom no choice depended:
    neither of an epoch, of settings nor of factors. Each is encoded by the network of their fold.
    Once these metrics have been seen, another model that is chosen by them has no such people any
    more.

    Args:
        plan: what was trained.
        outcome: the trained model.

    Raises:
        DataError: nobody is left to test on.
    """
    beats, hashes = beats_of_the_test(
        plan.beats_path, plan.split(0), MAX_SAMPLE_BEATS, plan.leave_out
    )
    folds = outcome.encoder.fold_of(hashes)
    epochs, client = plan.settings.epochs, mlflow.MlflowClient()
    judged = []
    for number, (own, run_id) in enumerate(
        zip(outcome.encoder.folds, outcome.fold_run_ids, strict=True)
    ):
        of_fold = beats[folds == number]
        client.log_param(run_id, "beats_tested", len(of_fold))
        if len(of_fold):
            judged.append((own, of_fold))
            if len(outcome.fold_run_ids) > 1:
                metrics = compare(judged[-1:], TESTED, TESTED_PEER)
                mlflow.log_metrics(main_figures(metrics), step=epochs, run_id=run_id)
    if len(outcome.fold_run_ids) > 1:
        client.log_param(outcome.run_id, "beats_tested", len(beats))
    return compare(judged, TESTED, TESTED_PEER), judged


def judge_archives(plan: Plan, outcome: Outcome) -> tuple[Metrics, dict[str, dict[str, int]]]:
    """Return the held-out metrics of each archive, and how many beats they are based on.

    Args:
        plan: what was trained.
        outcome: the trained model.

    Returns:
        `test/mae_uv/archive_NAME` and the same of the PCA, on people chosen as in `judge`, for
        archives with at least 20 people to test on; and the beats that a fold was trained on and
        that were tested, by archive. Both are empty if there are no archives.
    """
    split, metrics, counts = plan.split(0), Metrics(), {}
    for archive in plan.archives:
        sides = count_sides(archive.beats_path, split, plan.leave_out)
        counts[archive.name] = {"beats_training": int(sides[TRAINING]), "beats_tested": 0}
        if sides[TEST] < MIN_GROUP_SIZE:
            continue
        at_most = MAX_SAMPLE_BEATS // len(plan.archives)
        beats, hashes = beats_of_the_test(archive.beats_path, split, at_most, plan.leave_out)
        if len(np.unique(hashes)) < MIN_GROUP_SIZE:
            continue
        counts[archive.name]["beats_tested"] = len(beats)
        folds = outcome.encoder.fold_of(hashes)
        judged = [(own, beats[folds == k]) for k, own in enumerate(outcome.encoder.folds)]
        figures = compare([pair for pair in judged if len(pair[1])], TESTED, TESTED_PEER)
        for whose in (TESTED, TESTED_PEER):
            metrics[archive_error(archive.name, whose)] = figures[f"{whose}/mae_uv"]
    return metrics, counts


def main_figures(metrics: Metrics) -> Metrics:
    """Return metrics without those of single leads, which would crowd MLflow's pages."""
    return {name: value for name, value in metrics.items() if "/lead_" not in name}


def _run_name(plan: Plan) -> str:
    """Return the name of the run; a sweep names its combinations itself."""
    return plan.tags.get("mlflow.runName") or run_name(plan.study, plan.settings.latents)


def match_metrics(match: np.ndarray) -> Metrics:
    """Return how well folds' factors match the first's: mean and lowest absolute correlation."""
    return {"folds/mean_abs_r": float(match.mean()), "folds/lowest_abs_r": float(match.min())}


def mean_history(histories: Sequence[list[Metrics]]) -> list[Metrics]:
    """Return the mean of the folds' metrics in each epoch.

    A fold that has ended earlier counts with its last epoch.

    Example:
        >>> mean_history([[{"epoch": 1, "val/loss": 4.0}], [{"epoch": 1, "val/loss": 2.0}]])
        [{'epoch': 1, 'val/loss': 3.0}]
    """
    longest = max(map(len, histories))
    return [
        {
            name: float(np.mean([history[min(k, len(history) - 1)][name] for history in histories]))
            if name != "epoch"
            else k + 1
            for name in histories[0][0]
        }
        for k in range(longest)
    ]


class Progress:
    """Logs a line from time to time that says how training goes, and how long it may still take."""

    def __init__(self, epochs: int, of: str, done: int) -> None:
        self._epochs, self._of, self._said = epochs, of, 0.0
        self._before, self._began = done, time.monotonic()

    def show(self, epoch: int, metrics: Metrics) -> None:
        """Log what an epoch reached, if five seconds have passed or it is the last."""
        if time.monotonic() - self._said < 5 and epoch < self._epochs:
            return
        self._said = time.monotonic()
        left = time_left(
            epoch - self._before, self._epochs - self._before, time.monotonic() - self._began
        )
        log.info(
            "train: %sepoch %d of %d, guess %.1f µV, r %.4f, %d active latents, KL %.1f nats%s",
            *(self._of, epoch, self._epochs, metrics["guess/mae_uv"], metrics["guess/pearson_r"]),
            *(metrics["val/active_units"], metrics["val/kl"], left),
        )


def _log_parameters(plan: Plan, device: torch.device, shard: Shard) -> None:
    """Log to the active run what it is made from."""
    about: dict[str, Any] = plan.settings.model_dump(exclude={"source", "fine_tune"})
    about |= {"seed": plan.seed, "device": device.type, "processes": shard.world}
    about |= {"leave_out": ", ".join(plan.leave_out)}
    mlflow.log_params(about | {"table_version": plan.table_version})
    log_tables(plan)


def log_tables(plan: Plan) -> None:
    """Log the table of beats, or each archive's, as an input of the active run."""
    if isinstance(plan.beats, str):
        publishing.log_table(plan.beats, plan.table_version)
    for archive in plan.archives:
        name = f"beats of {archive.name}"
        publishing.log_table(archive.beats_path, archive.table_version, name)


def _continued(kept: Checkpoints, identity: str) -> str | None:
    """Return the run to resume; remove another training's state and mark its runs as killed."""
    client, state = mlflow.MlflowClient(), kept.load(0)
    if state is not None and _is_known(client, state.whole_run_id):
        if state.identity == identity:
            log.info("train: resumes after epoch %d", state.epoch)
            return state.whole_run_id
        client.set_terminated(state.whole_run_id, "KILLED")
        for fold in itertools.count():
            own = kept.load(fold)
            if own is None:
                break
            client.set_terminated(own.run_id, "KILLED")
    kept.remove()
    return None


def _is_known(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True
