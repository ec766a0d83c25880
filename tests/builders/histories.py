"""What MLflow keeps of a training run, epoch by epoch."""

import json

import mlflow

from models.registry.publishing import HISTORY
from models.registry.tracking import tracked


def read_history(run_id: str, tracking_uri: str) -> list[dict[str, float]]:
    """The metrics of every epoch of a run."""
    with tracked(tracking_uri):
        return json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{HISTORY}"))
