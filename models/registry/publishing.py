"""What a training run stores in MLflow, and how it is read back."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib.abc import Traversable
from importlib.metadata import version
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import ecg_spark
import models
from ecg_spark.ecg import BEAT_SAMPLES, LEADS
from ecg_spark.locations import usual
from ecg_spark.study import REGISTERED
from models.encoding.encoder import FOLDER, Encoder, read_encoder
from models.registry.carried import Carried, Home
from models.registry.tracking import tracked

HISTORY, FIGURES = "history.json", "figures.json"
NEEDED = ("torch", "numpy", "scipy", "safetensors", "mlflow", "pydicom", "h5py")
"""The packages that the registered model imports; it requires the versions that trained it."""

_NO_STEP = 10**9
"""MLflow gives a model every metric that its run logs later at the model's own step: this is one
that the measurements of the machine, which count from 0, do not reach."""

BEATS = Schema([TensorSpec(np.dtype(np.float32), (-1, len(LEADS), BEAT_SAMPLES))])
"""The input of a model: average beats in mV."""


def log_table(path: str, table_version: str, name: str = "beats") -> None:
    """Log a table of beats and its version as an input of the active run.

    Args:
        path: the path or URI of the table.
        table_version: the run that published it, or several.
        name: the name of the input.
    """
    digest = table_version
    if len(digest) > 36:  # MLflow's limit
        digest = hashlib.sha256(table_version.encode()).hexdigest()[:32]
    with warnings.catch_warnings(action="ignore"):  # MLflow registers its local source twice
        source = resolve_dataset_source(usual(path))
    table = MetaDataset(  # type: ignore[abstract]  # it is not
        source, name=name, digest=digest, schema=BEATS
    )
    mlflow.log_input(table, context="training")


def log_history(history: list[dict[str, float]]) -> None:
    """Log the metrics of every epoch as one JSON artifact of the active run."""
    mlflow.log_text(json.dumps(history, indent=1), HISTORY)


def requirements() -> list[str]:
    """Return the packages that are needed to load the registered model, as pip takes them.

    The name of a build of PyTorch (2.13.0+cpu) is left off, because an index does not have it: the
    model runs with any build.
    """
    return [f"{package}=={version(package).split('+')[0]}" for package in NEEDED]


def register(
    encoder: Encoder,
    name: str,
    card: str,
    metrics: Mapping[str, float],
    step: int,
    scratch: Path,
) -> tuple[int, str]:
    """Log the model as a pyfunc of the active run, and register it.

    It carries the code that it needs, and its weights as safetensors. The version gets the alias
    `candidate`, and `champion` if no other version has it.

    Args:
        encoder: the model.
        name: the name of the registered model.
        card: the description of the version.
        metrics: logged to the model, so that models can be sorted by them.
        step: the step at which MLflow records them.
        scratch: an empty local folder.

    Returns:
        The number of the version, and MLflow's model id.
    """
    folder = scratch / FOLDER
    folder.mkdir()
    encoder.save(folder)
    example = encoder.decode(np.zeros((1, encoder.n_active)))  # the mean beat: nobody's own
    signature = ModelSignature(
        BEATS,
        Schema([TensorSpec(np.dtype(np.float64), (-1, encoder.n_active))]),
    )
    sources = scratch / "sources"
    for package in (models, ecg_spark):
        _copy(package_files(package), sources / package.__name__)
    run = mlflow.active_run()
    info = mlflow.pyfunc.log_model(
        name=run.info.run_name if run else "model",
        python_model=str(sources / "models" / "registry" / "pyfunc_model.py"),
        artifacts={"model": str(folder)},
        code_paths=[str(folder) for folder in sources.iterdir()],
        signature=signature,
        input_example=example,
        pip_requirements=requirements(),
        registered_model_name=name,
        step=_NO_STEP,
    )
    mlflow.log_metrics(dict(metrics), step=step, model_id=info.model_id)
    client = mlflow.MlflowClient()
    client.update_model_version(name, info.registered_model_version, card)
    aliases: dict[str, Any] = client.get_registered_model(name).aliases
    for alias in ("candidate", "champion"):
        if alias == "candidate" or alias not in aliases:
            client.set_registered_model_alias(name, alias, info.registered_model_version)
    return int(info.registered_model_version), str(info.model_id)


def load_encoder(
    model_uri: str, tracking_uri: str, device: str = "cpu", *, registry_uri: str | None = None
) -> Encoder:
    """Return the Encoder of a registered model.

    Args:
        model_uri: such as 'models:/ecg-vae@champion'.
        tracking_uri: where MLflow keeps runs.
        device: where it will work: `cpu`, `cuda` or `auto`.
        registry_uri: where MLflow keeps models; None: where it keeps runs.

    Raises:
        InfrastructureError: MLflow does not answer or does not know the model.
        DataError: the model's files are damaged.
    """
    with tracked(tracking_uri, registry_uri):
        folder = mlflow.artifacts.download_artifacts(artifact_uri=model_uri)
    return read_encoder(Path(folder) / "artifacts" / FOLDER, device)


def resolved(model_uri: str, tracking_uri: str, registry_uri: str | None = None) -> str:
    """Return the address of the version that an alias refers to now, such as 'models:/ecg-vae/3'.

    Args:
        model_uri: such as 'models:/ecg-vae@champion'.
        tracking_uri: where MLflow keeps runs.
        registry_uri: where MLflow keeps models; None: where it keeps runs.

    Raises:
        InfrastructureError: MLflow does not answer or does not know the model.
    """
    with tracked(tracking_uri, registry_uri):
        name, number = _name_and_version(model_uri)
        return f"{REGISTERED}{name}/{number}"


def of_registry(
    model_uri: str, tracking_uri: str, device: str = "cpu", *, registry_uri: str | None = None
) -> Carried:
    """Return a registered model as one that is carried to other people, with its held-out metrics.

    Args:
        model_uri: such as 'models:/ecg-vae@champion'.
        tracking_uri: where MLflow keeps runs.
        device: where it will work: `cpu`, `cuda` or `auto`.
        registry_uri: where MLflow keeps models; None: where it keeps runs.

    Raises:
        InfrastructureError: MLflow does not answer or does not know the model.
        DataError: the model's files are damaged.
    """
    read = load_encoder(model_uri, tracking_uri, device, registry_uri=registry_uri)
    encoder = Encoder(read.folds, read.match, carried=True)
    with tracked(tracking_uri, registry_uri):
        client = mlflow.MlflowClient()
        name, number = _name_and_version(model_uri)
        run = client.get_run(client.get_model_version(name, number).run_id)
        figures = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{FIGURES}")
    study = run.data.tags.get("ecg_spark.study", name)
    return Carried(encoder, Home(study, encoder.digest, figures))


def card_of(model_uri: str, tracking_uri: str, registry_uri: str | None = None) -> str:
    """Return the model card of a registered version.

    Args:
        model_uri: such as 'models:/ecg-vae@champion'.
        tracking_uri: where MLflow keeps runs.
        registry_uri: where MLflow keeps models; None: where it keeps runs.

    Raises:
        InfrastructureError: MLflow does not answer or does not know the model.
    """
    with tracked(tracking_uri, registry_uri):
        name, number = _name_and_version(model_uri)
        return str(mlflow.MlflowClient().get_model_version(name, number).description or "")


def _name_and_version(model_uri: str) -> tuple[str, str]:
    """Return name and version of a registered model; MLflow is asked what an alias refers to."""
    name, sign, alias = model_uri.removeprefix(REGISTERED).partition("@")
    if sign:
        return name, str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    name, _, number = name.rpartition("/")
    return name, number


def _copy(source: Traversable, target: Path) -> None:
    """Copy a package's files, which may lie in a zip, as those of spark-submit's --py-files do."""
    if source.is_dir():
        target.mkdir(parents=True)
        for item in source.iterdir():
            if item.name != "__pycache__":
                _copy(item, target / item.name)
    else:
        target.write_bytes(source.read_bytes())
