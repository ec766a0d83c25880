"""Where MLflow is, study by study."""

import os

import mlflow
import pytest

from ecg_spark.errors import InfrastructureError
from ecg_spark.study import Study
from models.registry.tracking import tracked
from tests.builders.study_file import MINIMAL

ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def test_the_next_study_of_a_process_does_not_inherit_the_addresses(mlflow_store, tmp_path):
    study = Study.model_validate(MINIMAL | {"output": str(tmp_path / "out")})
    own = study.tracking_uri
    with tracked(mlflow_store(tmp_path / "another"), mlflow_store(tmp_path / "models")):
        assert mlflow.get_tracking_uri().endswith("another/mlflow.db")
        assert mlflow.get_registry_uri().endswith("models/mlflow.db")
    assert not [name for name in ADDRESSES if name in os.environ]
    assert study.tracking_uri == own
    assert study.registry_uri is None


def test_the_environment_is_restored_afterwards(mlflow_store, tmp_path, monkeypatch):
    for name in ADDRESSES:
        monkeypatch.setenv(name, f"http://{name.lower()}")
    with tracked(mlflow_store(tmp_path)):
        assert mlflow.get_registry_uri() == mlflow.get_tracking_uri()
    assert [os.environ[name] for name in ADDRESSES] == [
        f"http://{one.lower()}" for one in ADDRESSES
    ]


def test_a_registry_that_is_away_is_named_by_its_key(mlflow_store, tmp_path):
    with (
        pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:9 .* change mlflow\.registry_uri"),
        tracked(mlflow_store(tmp_path), "http://127.0.0.1:9"),
    ):
        pass
