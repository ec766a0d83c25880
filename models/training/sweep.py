"""A grid of settings: each combination is a run nested in one parent, to choose a model from."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import mlflow

from ecg_spark.errors import DataError
from ecg_spark.study import Model
from models.distributed import broadcast_from_rank0, choose_device, processes
from models.encoding.evaluation import Metrics
from models.registry.tracking import experiment_id, tracked
from models.training.job import join_training, main_figures, training_run
from models.training.plan import Plan
from models.training.train import log_pictures

log = logging.getLogger(__name__)

SWEEP, COMBINATION = "ecg_spark.sweep", "ecg_spark.combination"
"""Tags by which the parent run and the finished combinations are found again."""
SORTED_BY = "val/mae_uv"


@dataclass(frozen=True)
class Trial:
    """One combination of settings.

    Attributes:
        values: the settings.
        run_id: its run; None if it failed.
        metrics: those of its run; empty if it failed.
        trained_now: False if it had been trained before.
    """

    values: dict[str, Any]
    run_id: str | None
    metrics: Metrics
    trained_now: bool


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the grid's values, as settings of the model.

    Example:
        >>> combinations({"latents": [10, 20], "kl_weight": [1.0]})
        [{'latents': 10, 'kl_weight': 1.0}, {'latents': 20, 'kl_weight': 1.0}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def sweep(plan: Plan, grid: Mapping[str, Sequence[Any]]) -> tuple[str, list[Trial]]:
    """Train every combination of a grid of settings.

    They are compared on validation people; people of the test are not used. Each combination has
    the metrics of any other training. One that has finished on the same table is not trained again,
    one that was interrupted is resumed, and one that diverges is marked as failed, after which the
    next is trained. Nothing is registered. All sweeps on a table share one parent run.

    Args:
        plan: the training, whose settings the grid replaces.
        grid: the values of each setting.

    Returns:
        The parent run's id, and the trials, the best first.

    Raises:
        DataError: every combination fails.
        InfrastructureError: MLflow does not answer, the GPU fails, or there is not enough memory.
    """
    trials = []
    device = choose_device(plan.settings.device)
    with tracked(plan.tracking_uri, plan.registry_uri), processes(device):
        where = experiment_id(plan.experiment, plan.tracking_uri)
        parent = _found(where, SWEEP, plan.table_version, "")
        with mlflow.start_run(
            parent, experiment_id=where, run_name="sweep", tags={SWEEP: plan.table_version}
        ) as whole:
            for number, values in enumerate(every := combinations(grid)):
                said = ", ".join(f"{key} {value}" for key, value in values.items())
                log.info("sweep: %d of %d, %s", number + 1, len(every), said)
                trials.append(_trial(_planned(plan, values), values, said, where))
            if not any(trial.metrics for trial in trials):
                raise DataError(
                    "Every combination of the sweep failed: the lines above say why; lower "
                    "sweep.learning_rate, or look for extreme beats in the beats table."
                )
    order = sorted(trials, key=lambda trial: trial.metrics.get(SORTED_BY, float("inf")))
    return whole.info.run_id, order


def join_sweep(plan: Plan, grid: Mapping[str, Sequence[Any]]) -> None:
    """Train along with the first of several processes, which alone calls `sweep`.

    Args:
        plan: as in `sweep`.
        grid: as in `sweep`.
    """
    with processes(choose_device(plan.settings.device)):
        for values in combinations(grid):
            if broadcast_from_rank0(None):  # the first process finds that it is to be trained
                with suppress(DataError):  # and says where it diverges
                    join_training(_planned(plan, values))


def _planned(plan: Plan, values: dict[str, Any]) -> Plan:
    """Return the training of one combination."""
    own = replace(plan, settings=Model.model_validate(plan.settings.model_dump() | values))
    tags = {COMBINATION: own.identity}
    return replace(own, tags=tags, checkpoints=f"{plan.checkpoints}/{own.identity}")


def _trial(own: Plan, values: dict[str, Any], said: str, where: str) -> Trial:
    """Train one combination, unless that has been done."""
    done = "and attributes.status = 'FINISHED'"
    finished = _found(where, COMBINATION, own.identity, done)
    broadcast_from_rank0(finished is None)  # for the processes in join_sweep
    if finished is not None:
        return Trial(values, finished, _metrics(finished), trained_now=False)
    try:
        with training_run(replace(own, tags=own.tags | {"mlflow.runName": said})) as made:
            figures = main_figures(made.metrics)
            mlflow.log_metrics(figures, step=own.settings.epochs, run_id=made.run_id)
            log_pictures(made.encoder, made.judged)
    except DataError as error:
        log.warning("sweep: %s failed. %s", said, error)
        return Trial(values, None, {}, trained_now=True)
    return Trial(values, made.run_id, _metrics(made.run_id), trained_now=True)


def _found(where: str, tag: str, value: str, condition: str) -> str | None:
    """Return the newest run with a tag of this value."""
    runs = mlflow.MlflowClient().search_runs(
        [where], f"tags.`{tag}` = '{value}' {condition}", max_results=1
    )
    return str(runs[0].info.run_id) if runs else None


def _metrics(run_id: str) -> Metrics:
    return dict(mlflow.MlflowClient().get_run(run_id).data.metrics)
