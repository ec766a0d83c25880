"""spark-submit jobs/train.py --study study.yaml: beats become a registered model in MLflow."""

import sys
from dataclasses import asdict
from typing import Any

from ecg_spark.study import Study
from jobs.average import STEP as AVERAGE
from jobs.step import Context, Step, Summary, main
from models.tracking import tracked
from models.train import choose_device, train


def settings(study: Study) -> Any:
    """The model's settings, where it is tracked, and the seed."""
    return [study.model.model_dump(), study.mlflow.model_dump(), study.seed]


def work(context: Context) -> Summary:
    """Train on the published beats and register the model."""
    study, beats = context.study, context.inputs["average"]
    result = train(
        beats.path("beats"),
        study.model,
        seed=study.seed,
        tracking_uri=study.tracking_uri,
        experiment=study.mlflow.experiment,
        model_name=study.mlflow.model_name,
        table_version=beats.run,
        folder=context.run.folder,
        checkpoint=f"{context.store.root}/checkpoints/train.pt",
    )
    return asdict(result)


def check(study: Study) -> None:
    """Raise `InfrastructureError` where the GPU asked for or the MLflow server is absent."""
    choose_device(study.model.device)
    with tracked(study.tracking_uri):
        pass


STEP = Step("train", (AVERAGE,), settings, work, version=2, check=check)

if __name__ == "__main__":
    sys.exit(main(STEP))
