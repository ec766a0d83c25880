"""Where MLflow is, study by study."""

import os

import mlflow

from ecg_spark.study import Study
from models.registry.tracking import tracked
from tests.builders.study_file import MINIMAL


def test_the_next_study_of_a_process_does_not_inherit_the_address(mlflow_store, tmp_path):
    study = Study.model_validate(MINIMAL | {"output": str(tmp_path / "out")})
    own = study.tracking_uri
    with tracked(mlflow_store(tmp_path / "another")):
        assert mlflow.get_tracking_uri().endswith("another/mlflow.db")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert study.tracking_uri == own
