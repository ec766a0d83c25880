"""spark-submit jobs/sweep.py --study study.yaml: train a grid of models to choose from; none is
published.

On several GPUs: torchrun --nproc-per-node 4 jobs/sweep.py --study study.yaml
"""

import argparse
import os
import sys
from collections.abc import Sequence

from ecg_spark.errors import UsageError
from ecg_spark.reach import require_reachable
from ecg_spark.store import Store
from ecg_spark.study import Study, load_study
from jobs.step import Summary, guarded, origin, print_line, require_steps
from jobs.train import STEP as TRAIN
from jobs.train import check, plan_of
from models.training.plan import Plan
from models.training.sweep import SORTED_BY, Trial, join_sweep, sweep

COLUMNS = {
    SORTED_BY: ("µV", "{:.2f}"),
    "pca/mae_uv": ("PCA µV", "{:.2f}"),
    "val/pearson_r": ("r", "{:.4f}"),
    "val/active_units": ("active", "{:.0f}"),
    "val/mean_abs_r": ("mean |r|", "{:.3f}"),
    "val/max_abs_r": ("max |r|", "{:.3f}"),
}
"""What the table shows of each combination; all other metrics are in MLflow."""


def planned(study: Study) -> Plan:
    """What is to be trained.

    Raises:
        UsageError: if the study has no ECGs, no grid or no published beats.
    """
    require_steps([TRAIN.name], study)
    if not study.sweep:
        raise UsageError(
            "The study file has no grid: name settings of the model with values to try, as in "
            "'sweep: {latents: [16, 20, 32], kl_weight: [0.5, 1.0]}'."
        )
    store = Store(study.output_path)
    inputs, _ = origin(TRAIN, study, store)
    return plan_of(study, store, inputs, "sweep")


def train_grid(study: Study) -> tuple[str, list[Trial]]:
    """Train every combination of the study's grid.

    Returns:
        The parent run in MLflow, and the trials, best first.

    Raises:
        EcgSparkError: as `planned` and `jobs.train.check` do.
    """
    require_reachable([], study.output_path)
    plan = planned(study)
    check(study)
    with Store(study.output_path).lock("sweep"):
        return sweep(plan, study.sweep)


def run_sweep(study: Study) -> Summary:
    """Train the study's grid, print the table of the trials, and return the summary."""
    run_id, trials = train_grid(study)
    print(table(list(study.sweep), trials), flush=True)
    return {
        "step": "sweep",
        "run_id": run_id,
        "combinations": len(trials),
        "trained": sum(trial.trained_now for trial in trials),
        "failed": sum(not trial.metrics for trial in trials),
        "best": trials[0].values,
        "best_run_id": trials[0].run_id,
        "metrics": {key: round(trials[0].metrics[key], 4) for key in COLUMNS},
    }


def join(study: Study) -> None:
    """Take part in a sweep under torchrun, in every process but the first."""
    join_sweep(planned(study), study.sweep)


def table(names: Sequence[str], trials: Sequence[Trial]) -> str:
    """The trials as a text table, best first."""
    rows = [[*names, *(title for title, _ in COLUMNS.values()), "run"]]
    for trial in trials:
        shown = [
            form.format(trial.metrics[key]) if trial.metrics else "failed"
            for key, (_, form) in COLUMNS.items()
        ]
        rows.append([*(str(trial.values[name]) for name in names), *shown, trial.run_id or ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def main(arguments: list[str] | None = None) -> int:
    """The entry point of `jobs/sweep.py --study study.yaml`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="jobs/sweep.py", description="Train the study's grid.")
    parser.add_argument("--study", required=True, help="the study file")
    options = parser.parse_args(arguments)
    if os.environ.get("RANK", "0") != "0":
        return guarded(lambda: join(load_study(options.study)))
    return guarded(lambda: print_line(run_sweep(load_study(options.study))))


if __name__ == "__main__":
    sys.exit(main())
