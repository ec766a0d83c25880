"""What `import ecg_spark` offers of the jobs: the steps of a study, from Python and notebooks."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.display import Progress
from ecg_spark.results import Figures, Result, Results, Tables
from ecg_spark.store import Store
from ecg_spark.study import Study, load_study
from jobs.simulate import simulate
from jobs.step import as_known, run_steps, session_of, steps_named, steps_of


def simulate_study(folder: str | Path, participants: int, variants: int, seed: int = 1) -> Study:
    """Write a biobank with planted truth into a folder, as `ecg-spark simulate` does; its study.

    A folder that holds this very biobank already stays as it is. Works in the active Spark session
    or a new one. Raises `UsageError` for too few participants or variants and for a folder that
    holds anything else.
    """
    return load_study(simulate(Path(folder), participants, variants, seed)["study"])


def run(
    study: Study,
    steps: Sequence[str] | None = None,
    *,
    spark: SparkSession | None = None,
    force: bool = False,
) -> Results:
    """Run steps of a study, as the commands do, and return what each has published.

    `steps` are names of steps, or `gwas` for the five of the association study, by default all that
    the study has; they are run in the order of the line, whatever the order of the names. One that
    is published already for the same inputs and settings is skipped, unless `force` redoes it.
    `spark` is the session to work in, by default the active one or a new one of this machine. A
    notebook shows how far it is.

    Raises `UsageError`, `DataError` or `InfrastructureError` with one sentence that says what to
    do, `EcgSparkError` with the place where ecg-spark has a defect.
    """
    try:
        chosen = steps_named(steps_of(study) if steps is None else steps)
        store = Store(study.output_path)
        results: dict[str, Result] = {}
        with Progress(step.name for step in chosen) as progress:
            for summary in run_steps(chosen, study, force=force, session=spark):
                progress.done(summary)
                name, skipped = str(summary.pop("step")), summary.pop("skipped", None)
                folder = store.require(name).folder
                tables = Tables(folder, lambda: session_of(study, spark))
                figures = Figures(folder)
                results[name] = Result(name, summary, skipped is not None, folder, tables, figures)
        return Results(results)
    except Exception as error:
        raise as_known(error) from None


def sweep(study: Study) -> pd.DataFrame:
    """Train a grid of models, as `ecg-spark sweep` does, and return a row for each, best first.

    The columns are the settings that the grid tries, the figures of validation people, and the run
    of MLflow. Nothing is published. Raises what `run` raises.
    """
    from jobs.sweep import COLUMNS, train_grid  # PyTorch and MLflow take seconds to import

    try:
        _, trials = train_grid(study)
    except Exception as error:
        raise as_known(error) from None
    rows = [
        trial["values"]
        | {key: trial["metrics"].get(key) for key in COLUMNS}
        | {"run_id": trial["run_id"]}
        for trial in map(asdict, trials)
    ]
    return pd.DataFrame(rows)
