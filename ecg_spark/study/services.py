"""The study file's sections on what the steps work with: MLflow and Spark."""

import re
from typing import Annotated

from pydantic import Field

from ecg_spark.errors import UsageError
from ecg_spark.study.section import Section

TRACKING_ADDRESS = "MLFLOW_TRACKING_URI"
"""What the environment calls the address of MLflow."""
REGISTRY_ADDRESS = "MLFLOW_REGISTRY_URI"
"""What it calls that of MLflow's registered models, where they are elsewhere."""

REGISTERED = "models:/"
"""What the address of a registered model begins with."""

_UNITY_CATALOG = re.compile(r"databricks-uc\b")
_THREE_PARTS = re.compile(r"[^\s./:]+(\.[^\s./:]+){2}")


class Mlflow(Section):
    """Where runs and models are tracked."""

    tracking_uri: str | None = Field(
        None,
        description="the server; null: MLFLOW_TRACKING_URI of the environment, else an SQLite "
        "file in the output folder",
    )
    registry_uri: str | None = Field(
        None,
        description="of registered models, where they are elsewhere; null: MLFLOW_REGISTRY_URI "
        "of the environment, else where runs are tracked",
    )
    experiment: str = Field("ecg-spark", description="the experiment that holds the runs")
    model_name: str = Field(
        "ecg-vae",
        description="the registered model; in Unity Catalog (databricks-uc) catalog.schema.name",
    )


class Spark(Section):
    """Memory of a local session; under spark-submit the cluster's own settings hold."""

    driver_memory: Annotated[str, Field(pattern=r"^\d+[gm]$")] = Field(
        "4g",
        description="of a local session; under spark-submit the cluster's settings hold",
    )


def require_name(model_name: str, registry_uri: str) -> None:
    """Check that a registry of MLflow accepts a model of this name.

    Args:
        model_name: the name of the registered model.
        registry_uri: where MLflow keeps models.

    Raises:
        UsageError: Unity Catalog needs a name of three parts, which this is not.
    """
    if _UNITY_CATALOG.match(registry_uri) and not _THREE_PARTS.fullmatch(model_name):
        raise UsageError(
            f"The model's name {model_name} has not the three parts by which Unity Catalog "
            f"({registry_uri}) keeps models: write catalog.schema.name under mlflow.model_name."
        )
