"""The registered model: its requirements suffice, its pages say what it is and how good."""

import mlflow
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from ecg_spark.simulate.heart import beat_mv, sample_hearts
from models.registry import publishing, tracking
from tests.builders.encoders import untrained_encoder

METRICS = {"val/mae_uv": 7.5, "pca/mae_uv": 8.0}


@pytest.fixture(scope="module")
def beats():
    return beat_mv(sample_hearts(np.random.default_rng(1), 40)).astype(np.float32)


@pytest.fixture(scope="module")
def published(beats, tmp_path_factory, mlflow_store):
    """An encoder without training, registered in a run with the names and tags of any."""
    folder = tmp_path_factory.mktemp("published")
    uri = mlflow_store(folder / "store")
    encoder = untrained_encoder(beats, 3)
    (folder / "scratch").mkdir()
    with tracking.tracked(uri):
        where = tracking.experiment_id("test", uri)
        name, tags = tracking.run_name("a/study: 50 %", 3), tracking.tags_of("a/study: 50 %")
        with mlflow.start_run(experiment_id=where, run_name=name, tags=tags) as run:
            version, model_id = publishing.register(
                encoder, "ecg-vae", "the card", METRICS, 4, folder / "scratch"
            )
    return encoder, uri, run.info.run_id, version, model_id


def test_models_are_found_by_name_and_sorted_by_fit_and_by_discovery(published):
    _, uri, run_id, version, model_id = published
    tracking.log_back(run_id, model_id, {"gwas/loci_vae": 13.0}, uri)
    client = mlflow.MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.data.tags["ecg_spark.study"] == "a/study: 50 %"
    assert Version(run.data.tags["ecg_spark.version"])
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    (model,) = client.search_logged_models(
        [run.info.experiment_id], order_by=[{"field_name": "metrics.gwas/loci_vae"}]
    )
    assert model.name == run.info.run_name
    assert "study" in model.name
    assert ", 3 latents, 20" in model.name
    assert {metric.key: metric.value for metric in model.metrics} == METRICS | {
        "gwas/loci_vae": 13.0
    }
    assert client.get_model_version("ecg-vae", str(version)).description == "the card"


def test_requirements_are_versions_that_an_index_has():
    for line in publishing.requirements():
        (pin,) = Requirement(line).specifier
        assert Version(pin.version).local is None
