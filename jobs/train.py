"""spark-submit jobs/train.py --study study.yaml: beats become a registered model in MLflow.

On several GPUs: torchrun --nproc-per-node 4 jobs/train.py --study study.yaml
"""

import os
import sys
from dataclasses import asdict
from typing import Any

from ecg_spark.store import Publication, Store
from ecg_spark.study import Study, load_study
from jobs.average import STEP as AVERAGE
from jobs.ingest import STEP as INGEST
from jobs.step import Context, Step, Summary, guarded, main, origin, parse
from models.distributed import choose_device
from models.registry.tracking import tracked
from models.training.job import Plan, assist
from models.training.train import train


def settings(study: Study) -> Any:
    """What decides the model, under which name it is kept, the seed, and what is left out.

    On what device it is trained, and at which addresses MLflow answers, is no reason to train anew.
    """
    return [
        study.model.model_dump(exclude={"device"}),
        study.mlflow.model_dump(exclude={"tracking_uri", "registry_uri"}),
        study.seed,
        study.beats.leave_out,
    ]


def work(context: Context) -> Summary:
    """Train on the published beats and register the model."""
    study = context.study
    plan = plan_of(study, context.store, context.inputs["average"], "train")
    return asdict(train(plan, study.mlflow.model_name, context.run.folder))


def plan_of(study: Study, store: Store, beats: Publication, name: str) -> Plan:
    """What the study trains on its beats; `name` is that of the folder of its checkpoints."""
    ingested = store.published(INGEST.name)
    formats = ingested.summary.get("formats", {}) if ingested else {}
    return Plan(
        beats.path("beats"),
        study.model,
        study.seed,
        beats.run,
        study.tracking_uri,
        study.mlflow.experiment,
        f"{store.root}/checkpoints/{name}",
        leave_out=study.beats.leave_out,
        study=study.name,
        archive=", ".join(f"{name} {number}" for name, number in formats.items()),
        registry_uri=study.registry_uri,
    )


def check(study: Study) -> None:
    """Raise `InfrastructureError` where the GPU asked for or the MLflow server is absent.

    Raises `UsageError` where the registry cannot take the model's name.
    """
    choose_device(study.model.device)
    with tracked(study.tracking_uri, study.registry_uri):
        pass


def join(step: Step, arguments: list[str] | None = None) -> int:
    """The entry of every process but the first of `torchrun ... jobs/train.py --study study.yaml`.

    It looks as the first does whether there is anything to do, and trains along.
    """
    options = parse(step.name, arguments)

    def act() -> None:
        study = load_study(options.study)
        store = Store(study.output_path)
        inputs, made_from = origin(step, study, store)
        current = store.published(step.name)
        if current is None or current.made_from != made_from or options.force:
            assist(plan_of(study, store, inputs["average"], "train"))

    return guarded(act)


STEP = Step("train", (AVERAGE,), settings, work, version=6, check=check)

if __name__ == "__main__":
    first = os.environ.get("RANK", "0") == "0"
    sys.exit(main(STEP) if first else join(STEP))
