"""MLflow: where runs are tracked, a server that must answer, runs that end in the right state."""

import logging
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT
from sqlalchemy.exc import SQLAlchemyError

from ecg_spark.errors import InfrastructureError
from ecg_spark.study import REGISTRY_ADDRESS, TRACKING_ADDRESS

log = logging.getLogger(__name__)

ERRORS = (MlflowException, requests.RequestException, SQLAlchemyError)
"""What MLflow raises if it does not answer or fails."""
PAUSE_SECONDS = 60.0
"""How long training continues before it tries a server again that did not answer."""
WAIT_SECONDS = 120.0
"""How long a training that is finished waits for a server that does not answer."""
_PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED")
"""Codes of MLflow's errors after which a retry may succeed; the first is that of no connection."""
PROBE_SECONDS = 5
"""How long a tracking server is given to answer at all."""

_BOUNDS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own default waits for minutes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RUN_CONTEXT": '{"mlflow.source.name": "ecg-spark"}',  # else the program's path
}
_SQLITE = "sqlite:///"
_OPENS_ON_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""What MLflow's web pages set if a user says that an experiment trains models."""
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables of MLflow's store, and their columns with paths of artifacts."""
_FORBIDDEN = re.compile(r"[/:.%\"']")
"""Characters that the name of a logged model must not have."""


@contextmanager
def tracked(tracking_uri: str, registry_uri: str | None = None) -> Iterator[None]:
    """Use MLflow at these addresses while the block runs.

    MLflow writes both into the environment, where the next study would find them; afterwards the
    environment is as before.

    Args:
        tracking_uri: where MLflow keeps runs.
        registry_uri: where it keeps models; None: where it keeps runs.

    Raises:
        InfrastructureError: MLflow does not answer, which is found within seconds, or fails while
            the block runs.
    """
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store", "mlflow.system_metrics"):
        logging.getLogger(name).setLevel(logging.WARNING)
    keys = {tracking_uri: "mlflow.tracking_uri"}
    if registry_uri is not None:
        keys.setdefault(registry_uri, "mlflow.registry_uri")
    for uri, key in keys.items():
        if uri.startswith(_SQLITE):
            _folder(uri).mkdir(parents=True, exist_ok=True)
            _follow_the_folder(uri)
        elif uri.startswith(("http://", "https://")):
            _probe(uri, key)
    before = {name: os.environ.get(name) for name in (TRACKING_ADDRESS, REGISTRY_ADDRESS)}
    try:
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(registry_uri or tracking_uri)
        yield
    except ERRORS as error:
        raise InfrastructureError(
            f"MLflow at {' and '.join(map(without_user, keys))} failed ({_first_line(error)}): "
            f"check {' and '.join(keys.values())} and the server, and run the step again."
        ) from error
    finally:
        for name, former in before.items():
            os.environ.pop(name, None)
            if former is not None:
                os.environ[name] = former


class EpochMetricLogger:
    """Sends the metrics of every epoch to a run as they come, and again later if MLflow was away.

    Args:
        run_id: the run; metrics that it has already are not sent.
        history: one entry per epoch; it grows.
    """

    def __init__(self, run_id: str, history: list[dict[str, float]]) -> None:
        self._run_id, self._history = run_id, history
        known = mlflow.MlflowClient().get_metric_history(run_id, "train/loss") if history else []
        self._sent = len({metric.step for metric in known})
        self._next_try = 0.0

    def send(self) -> None:
        """Send what is new, unless MLflow failed to answer within the last minute."""
        if time.monotonic() < self._next_try:
            return
        try:
            self.flush()
        except ERRORS as error:
            self._next_try = time.monotonic() + PAUSE_SECONDS
            log.warning(
                "MLflow is away (%s): the metrics are kept and sent later.", type(error).__name__
            )

    def finish(self) -> None:
        """Send everything that is left, waiting up to `WAIT_SECONDS` for a server that is away.

        Raises:
            MlflowException, RequestException, SQLAlchemyError: the server stays away, or waiting
                would not help.
        """
        end, told = time.monotonic() + WAIT_SECONDS, False
        while True:
            try:
                return self.flush()
            except ERRORS as error:
                passing = getattr(error, "error_code", _PASSING[0]) in _PASSING
                if not passing or time.monotonic() > end:
                    raise
            if not told:
                log.warning("Training is over, and MLflow is away: waiting for it.")
            told = True
            time.sleep(2)

    def flush(self) -> None:
        """Send what is new; errors of MLflow are raised."""
        for entry in self._history[self._sent :]:
            metrics = {name: value for name, value in entry.items() if name != "epoch"}
            mlflow.log_metrics(metrics, step=int(entry["epoch"]), run_id=self._run_id)
            self._sent += 1


def log_downstream_metrics(
    run_id: str, model_id: str, metrics: Mapping[str, float], tracking_uri: str
) -> None:
    """Add metrics that later steps found to a model and its run, so that models can be compared.

    If MLflow does not answer, a warning is logged and nothing else happens: the step's own output
    has the metrics as well.

    Args:
        run_id: the run of the training.
        model_id: MLflow's id of the model.
        metrics: by name.
        tracking_uri: where MLflow keeps runs.
    """
    try:
        with tracked(tracking_uri):
            mlflow.log_metrics(dict(metrics), run_id=run_id, model_id=model_id)
    except InfrastructureError as error:
        log.warning("%s The figures are in the step's own output.", error)


def experiment_id(name: str, tracking_uri: str) -> str:
    """Return the id of an experiment, which is created if it does not exist.

    With an SQLite store, the artifacts lie beside its file, not where the process happens to run.

    Args:
        name: the name of the experiment.
        tracking_uri: where MLflow keeps runs.
    """
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if tracking_uri.startswith(_SQLITE):
        location = _artifacts(tracking_uri)
    return str(mlflow.create_experiment(name, location, _OPENS_ON_TRAINING))


def run_name(study: str, latents: int) -> str:
    """Return the name of a run and its model: study, latents, date, without forbidden signs.

    Args:
        study: the name of the study.
        latents: how many latents the model has.
    """
    return f"{_FORBIDDEN.sub(' ', study)}, {latents} latents, {datetime.now(UTC):%Y-%m-%d %H %M}"


def tags_of(study: str, archive: str) -> dict[str, str]:
    """Return the tags of a run: study, archive, the version of ecg-spark, and its commit if known.

    Args:
        study: the name of the study.
        archive: what recordings the beats are of; empty for no tag.
    """
    tags = {"ecg_spark.study": study, "ecg_spark.version": version("ecg-spark")}
    tags |= {"ecg_spark.archive": archive} if archive else {}
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return tags
    if answer.returncode == 0 and re.fullmatch(r"[0-9a-f]{40,64}", answer.stdout.strip()):
        tags[MLFLOW_GIT_COMMIT] = answer.stdout.strip()
    return tags


def _folder(tracking_uri: str) -> Path:
    return Path(tracking_uri.removeprefix(_SQLITE)).resolve().parent


def _artifacts(tracking_uri: str) -> str:
    """Return where the artifacts of an SQLite store lie: beside the file."""
    return (_folder(tracking_uri) / "mlartifacts").as_uri()


def _follow_the_folder(tracking_uri: str) -> None:
    """Let an SQLite store that was moved or copied find its artifacts where they are now.

    MLflow keeps their full paths, in several tables. Raises `InfrastructureError` if the file
    cannot be written or is not MLflow's.
    """
    file, now = Path(tracking_uri.removeprefix(_SQLITE)), _artifacts(tracking_uri)
    if not file.is_file():
        return
    try:
        with closing(sqlite3.connect(file)) as store, store:
            known = store.execute("SELECT name FROM sqlite_master WHERE name = 'experiments'")
            if known.fetchone() is None:
                return
            found = store.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
            for (was,) in found:
                if was != now and str(was).endswith("/mlartifacts"):
                    for table, column in _PATHS:
                        store.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                            (now, len(was) + 1, was, len(was) + 1, f"{was}/"),
                        )
    except sqlite3.Error as error:
        raise InfrastructureError(
            f"The store of MLflow in {file.parent.name} cannot be used ({error}): it must be a "
            f"file that MLflow made and that can be written."
        ) from None


def _probe(uri: str, key: str) -> None:
    """Send one short request: MLflow's own retries take minutes to find that nobody answers."""
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS)
    except requests.RequestException as error:
        raise InfrastructureError(
            f"The MLflow server at {without_user(uri)} does not answer "
            f"({type(error).__name__}): start it or change {key} in the study file."
        ) from None


def without_user(tracking_uri: str) -> str:
    """Return a URI without user and password.

    Example:
        >>> without_user("https://me:secret@mlflow.org/x")
        'https://mlflow.org/x'
    """
    parts = urlsplit(tracking_uri)
    return tracking_uri.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
