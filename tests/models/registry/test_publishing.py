"""The registered model: its requirements suffice, its pages say what it is and how good."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from ecg_spark.errors import InfrastructureError
from ecg_spark.simulate.heart import beat_mv, sample_hearts
from models.registry import publishing, tracking
from tests.builders.encoders import untrained_encoder

ROOT = Path(__file__).parents[3]
PREDICT = """
import importlib.util, sys

import mlflow
import numpy as np

_, uri, beats, answer = sys.argv
assert all(importlib.util.find_spec(name) is None for name in ("ecg_spark", "models", "pyspark"))
mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model("models:/ecg-vae@champion")
np.save(answer, loaded.predict(np.load(beats)))
"""
PREDICT_IN_SPARK = """
import sys

import mlflow
import numpy as np
from pyspark.sql import SparkSession

_, uri, beats, answer = sys.argv
mlflow.set_tracking_uri(uri)
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
udf = mlflow.pyfunc.spark_udf(
    spark, "models:/ecg-vae@champion", result_type="array<double>", env_manager="local"
)
rows = [(k, beat.ravel().tolist()) for k, beat in enumerate(np.load(beats))]
table = spark.createDataFrame(rows, "k int, signal array<float>").repartition(2)
found = table.select("k", udf("signal").alias("z")).collect()
np.save(answer, np.array([row.z for row in sorted(found, key=lambda row: row.k)]))
"""
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
        name = tracking.run_name("a/study: 50 %", 3)
        tags = tracking.tags_of("a/study: 50 %", "muse 40")
        with mlflow.start_run(experiment_id=where, run_name=name, tags=tags) as run:
            version, model_id = publishing.register(
                encoder, "ecg-vae", "the card", METRICS, 4, folder / "scratch"
            )
            mlflow.log_metric("system/of_the_machine", 1.0, step=0)
    return encoder, uri, run.info.run_id, version, model_id


def test_models_are_found_by_name_and_sorted_by_fit_and_by_discovery(published):
    _, uri, run_id, version, model_id = published
    tracking.log_downstream_metrics(run_id, model_id, {"gwas/loci_vae": 13.0}, uri)
    client = mlflow.MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.data.tags["ecg_spark.study"] == "a/study: 50 %"
    assert run.data.tags["ecg_spark.archive"] == "muse 40"
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


def test_a_moved_store_finds_its_models(published, beats, tmp_path):
    """Moved with its folder, as an output folder is; and a copy does not lean on the original."""
    encoder, uri, run_id, *_ = published
    original = Path(uri.removeprefix("sqlite:///")).parent
    first, second = tmp_path / "first", tmp_path / "second folder"
    shutil.copytree(original, first)
    first.rename(second)
    moved = f"sqlite:///{second}/mlflow.db"
    expected = encoder.encode(beats[:5]).z
    found = publishing.load_encoder("models:/ecg-vae@champion", moved)
    np.testing.assert_array_equal(found.encode(beats[:5]).z, expected)
    loaded = mlflow.pyfunc.load_model("models:/ecg-vae@champion")
    np.testing.assert_allclose(loaded.predict(beats[:5]), expected, atol=1e-5)
    client = mlflow.MlflowClient(moved)
    places = [client.get_run(run_id).info.artifact_uri]
    places += [one.artifact_location for one in client.search_logged_models(["1"])]
    assert all(place.startswith(second.as_uri()) for place in places)
    assert original.is_dir(), "and the original still stands on its own"
    again = publishing.load_encoder("models:/ecg-vae@champion", uri)
    np.testing.assert_array_equal(again.encode(beats[:5]).z, expected)


def test_runs_and_models_may_be_kept_apart(published, beats, mlflow_store, tmp_path):
    """Runs in one store, the model in another under a name of three parts, as in Unity Catalog."""
    encoder = published[0]
    runs, models = mlflow_store(tmp_path / "runs"), mlflow_store(tmp_path / "models")
    name = "main.ecg.ecg-vae"
    with tracking.tracked(runs, models):
        where = tracking.experiment_id("test", runs)
        with mlflow.start_run(experiment_id=where, run_name="apart") as run:
            version, model_id = publishing.register(encoder, name, "the card", METRICS, 4, tmp_path)
    tracking.log_downstream_metrics(run.info.run_id, model_id, {"gwas/loci_vae": 13.0}, runs)
    assert not mlflow.MlflowClient(runs, runs).search_registered_models()
    assert not mlflow.MlflowClient(models, models).search_runs([where])
    client = mlflow.MlflowClient(runs, models)
    assert set(client.get_registered_model(name).aliases) == {"candidate", "champion"}
    assert client.get_model_version(name, str(version)).run_id == run.info.run_id
    (logged,) = client.search_logged_models([where])
    assert {one.key for one in logged.metrics} == {*METRICS, "gwas/loci_vae"}
    found = publishing.load_encoder(f"models:/{name}@champion", runs, registry_uri=models)
    np.testing.assert_array_equal(found.encode(beats[:5]).z, encoder.encode(beats[:5]).z)
    signature = mlflow.models.get_model_info(f"models:/{name}/1").signature
    assert signature.inputs.inputs[0].shape == (-1, 12, 600), "which Unity Catalog requires"
    assert signature.outputs.inputs[0].shape == (-1, encoder.n_active)


def test_a_store_that_is_no_database_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 9)
    with (
        pytest.raises(InfrastructureError, match="store of MLflow"),
        tracking.tracked(f"sqlite:///{tmp_path}/mlflow.db"),
    ):
        pass


@pytest.fixture(scope="session")
def model_python(other_python, tmp_path_factory):
    """The Python of an environment with what a registered model requires and nothing else."""
    wanted = tmp_path_factory.mktemp("model") / "requirements.txt"

    def made(requirements):
        wanted.write_text(requirements)
        setup = [ROOT / "infra" / "setup.sh", "model", wanted]
        subprocess.run(setup, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
        return ROOT / ".venv-model" / "bin" / "python"

    return made


def test_the_model_gives_the_same_latents_in_an_environment_of_its_own_requirements(
    published, beats, model_python, tmp_path
):
    """Through pyfunc, and by Spark's workers: where ecg-spark is not installed."""
    encoder, uri, *_ = published
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)  # MLflow keeps the last one that was set in this process
    folder = Path(mlflow.artifacts.download_artifacts("models:/ecg-vae@champion"))
    python = model_python((folder / "requirements.txt").read_text())
    np.save(tmp_path / "beats.npy", beats[:12])
    expected = encoder.encode(beats[:12]).z
    elsewhere = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for name, code, program, own in (
        ("pyfunc", PREDICT, python, {}),
        ("spark", PREDICT_IN_SPARK, sys.executable, {"PYSPARK_PYTHON": str(python)}),
    ):
        answer = tmp_path / f"{name}.npy"
        subprocess.run(
            [program, "-c", code, uri, tmp_path / "beats.npy", answer],
            cwd=tmp_path,
            env=elsewhere | own,
            check=True,
        )
        np.testing.assert_allclose(np.load(answer), expected, atol=1e-5)
