"""spark-submit jobs/train.py --study study.yaml: train the variational autoencoder on the
beats, tracked and registered in MLflow.

On several GPUs: torchrun --nproc-per-node 4 jobs/train.py --study study.yaml
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ecg_spark.store import Publication, Store, file_stamp, fingerprint
from ecg_spark.study import REGISTERED, Study, load_study
from jobs.archives import averages_of, runs_of, version_of
from jobs.average import STEP as AVERAGE
from jobs.ingest import STEP as INGEST
from jobs.step import Context, Step, Summary, guarded, main, origin, parse
from models.distributed import choose_device
from models.registry.carried import Carried, read_carried, require_same_beats
from models.registry.publishing import of_registry, resolved
from models.registry.tracking import tracked
from models.training.job import join_training
from models.training.judging import judge_carried
from models.training.plan import Archive, Plan
from models.training.train import train

OF_THE_JUDGEMENT = {"validation_share", "test_share"}


def settings(study: Study) -> Any:
    """What decides the model: its settings, its name in the registry, the seed, and what is left
    out.

    The device and the addresses of MLflow are not among these: a change of them is no reason to
    train again.
    """
    source = study.model.source
    own = set() if source else {"source", "fine_tune"}
    if source and not study.model.fine_tune:
        model = study.model.model_dump(include={"source", *OF_THE_JUDGEMENT})
    else:
        model = study.model.model_dump(exclude={"device"} | own)
    return [
        model,
        study.mlflow.model_dump(exclude={"tracking_uri", "registry_uri"}),
        study.seed,
        study.beats.leave_out,
    ]


def files(study: Study) -> Any:
    """The stamp of the carried model, or the version of a registered one; and the runs of the
    archives.
    """
    stamp = _stamp(study)
    return [stamp, runs_of(study)] if study.archives else stamp


def _stamp(study: Study) -> Any:
    """What identifies the model that the study uses or starts from; None if it trains its own."""
    source = study.model_source
    if source is None or not source.startswith(REGISTERED):
        return source and file_stamp(source)
    return resolved(source, study.tracking_uri, study.registry_uri)


def work(context: Context) -> Summary:
    """Train on the published beats, or evaluate the carried model on them, and register the
    model.
    """
    study, name = context.study, context.study.mlflow.model_name
    plan = plan_of(study, context.store, context.inputs, "train")
    carried = None if study.model.fine_tune else carried_model(study)
    if carried is None:
        return asdict(train(plan, name, context.run.folder))
    result, told = judge_carried(plan, carried, name, context.run.folder)
    return asdict(result) | told


def carried_model(study: Study) -> Carried | None:
    """The model that the study uses or starts from; None if it trains its own.

    Raises:
        DataError: if it cannot be used on the study's beats.
    """
    if study.model_source is None:
        return None
    where = study.model_source, study.tracking_uri, study.registry_uri
    carried = _read(*where, study.model.device, fingerprint(_stamp(study)))
    require_same_beats(carried.encoder, study.beats.source)
    return carried


@lru_cache(maxsize=1)
def _read(
    source: str, tracking_uri: str, registry_uri: str | None, device: str, stamp: str
) -> Carried:
    """Read a carried model; cached, since it is checked before any work and used by the work.

    `stamp` changes with the model.
    """
    if source.startswith(REGISTERED):
        return of_registry(source, tracking_uri, device, registry_uri=registry_uri)
    return read_carried(source, device)


def plan_of(study: Study, store: Store, inputs: Mapping[str, Publication], name: str) -> Plan:
    """What the study trains on its beats.

    Args:
        inputs: what the step `average` published.
        name: the name of the folder for checkpoints.

    Raises:
        UsageError: if the beats of an archive cannot be used.
        DataError: if a carried model cannot be used.
    """
    beats, version, contents = _beats(study, store, inputs)
    carried = carried_model(study) if study.model.fine_tune else None
    tags, settings = {}, study.model
    if carried is not None:
        tags = {"ecg_spark.ancestor": carried.home.digest}
        shape = {key: carried.encoder.config[key] for key in ("latents", "channels")}
        settings = settings.model_copy(update=shape)
    return Plan(
        beats,
        settings,
        study.seed,
        version,
        study.tracking_uri,
        study.mlflow.experiment,
        f"{store.root}/checkpoints/{name}",
        leave_out=study.beats.leave_out,
        study=study.name,
        archive=", ".join(f"{name} {number}" for name, number in contents.items()),
        registry_uri=study.registry_uri,
        tags=tags,
        beat_source=study.beats.source,
        start=None if carried is None else carried.encoder.folds[0],
    )


def _beats(
    study: Study, store: Store, inputs: Mapping[str, Publication]
) -> tuple[str | tuple[Archive, ...], str, Mapping[str, int]]:
    """The beats to train on, their version, and the number of recordings by format or by
    archive.
    """
    if not study.archives:
        ingested, average = store.published(INGEST.name), inputs["average"]
        formats = ingested.summary.get("formats", {}) if ingested else {}
        return average.path("beats"), average.run, formats
    averages = averages_of(study)
    archives = tuple(Archive(name, one.path("beats"), one.run) for name, one in averages.items())
    return (
        archives,
        version_of(averages),
        {name: one.summary["n_out"] for name, one in averages.items()},
    )


def check(study: Study) -> None:
    """Check the archives, the GPU, MLflow and the carried model before the step runs.

    Raises:
        InfrastructureError: if the GPU that was asked for or the MLflow server is not available.
        UsageError: if the registry cannot take the model's name, or the beats of an archive cannot
            be used.
        DataError: if a carried model cannot be used.
    """
    averages_of(study)
    choose_device(study.model.device)
    with tracked(study.tracking_uri, study.registry_uri):
        pass
    carried_model(study)


def join(step: Step, arguments: list[str] | None = None) -> int:
    """The entry point of every process but the first of `torchrun ... jobs/train.py --study
    study.yaml`.

    It decides as the first process does whether there is anything to do, and takes part in the
    training.
    """
    options = parse(step.name, arguments)

    def act() -> None:
        study = load_study(options.study)
        store = Store(study.output_path)
        inputs, provenance = origin(step, study, store)
        current = store.published(step.name)
        if current is None or current.provenance != provenance or options.force:
            join_training(plan_of(study, store, inputs, "train"))

    return guarded(act)


STEP = Step("train", (AVERAGE,), settings, work, files, version=7, check=check)

if __name__ == "__main__":
    first = os.environ.get("RANK", "0") == "0"
    sys.exit(main(STEP) if first else join(STEP))
