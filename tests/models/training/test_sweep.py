"""A grid of models: each a run with the metrics of any training, none of them published."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import ecg_spark
from ecg_spark.simulate.heart import beat_mv, sample_hearts
from ecg_spark.store import Store
from ecg_spark.study import load_study
from jobs.average import STEP as AVERAGE
from jobs.cli import main
from jobs.ingest import STEP as INGEST
from jobs.step import origin
from jobs.sweep import main as sweep_job
from models.training.sweep import combinations
from tests.builders.study_file import MINIMAL

N = 60
GRID = {"latents": [2, 3], "kl_weight": [0.5]}


def study_file(folder, grid):
    path = folder / "study.yaml"
    model = {"channels": 4, "epochs": 1, "batch_size": 16}
    content = MINIMAL | {"model": model, "sweep": grid}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory, mlflow_store):
    """A study whose beats are published: its folder."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "ecg").mkdir()
    (folder / "ecg" / "1.xml").touch()
    study = load_study(study_file(folder, GRID))
    mlflow_store(folder / "out")
    store, rng = Store(study.output_path), np.random.default_rng(1)
    signal = (beat_mv(sample_hearts(rng, N)) + rng.normal(0, 0.005, (N, 12, 600))).astype("f4")
    beats = {
        "participant_hash": rng.integers(0, 2**62, N),
        "signal": pa.array(list(signal.reshape(N, -1)), pa.list_(pa.float32())),
        "flags": pa.array([[]] * N, pa.list_(pa.string())),
    }
    for step in (INGEST, AVERAGE):
        with store.run(step.name, origin(step, study, store)[1]) as run:
            Path(run.path("beats")).mkdir()
            pq.write_table(pa.table(beats), f"{run.folder}/beats/part.parquet")
            run.publish({})
    return folder


def swept(capsys):
    """What a sweep printed: the table's rows, and the JSON line, which is last."""
    *table, line = capsys.readouterr().out.splitlines()
    return [row.split() for row in table], json.loads(line)


def test_a_grid_is_every_combination():
    grid = {"latents": [2, 3], "kl_weight": [0.5, 1.0]}
    found = [tuple(values.items()) for values in combinations(grid)]
    assert len(set(found)) == 4
    assert (("latents", 3), ("kl_weight", 0.5)) in found


def test_a_sweep_trains_each_combination_once_and_registers_none(published, capsys):
    path = study_file(published, GRID)
    assert main(["sweep", str(path)]) == 0
    (head, *rows), line = swept(capsys)
    assert head[:2] == ["latents", "kl_weight"]
    assert {tuple(row[:2]) for row in rows} == {("2", "0.5"), ("3", "0.5")}
    errors = [float(row[2]) for row in rows]
    assert errors == sorted(errors)
    assert (line["combinations"], line["trained"], line["failed"]) == (2, 2, 0)
    assert line["best"] == {"latents": int(rows[0][0]), "kl_weight": float(rows[0][1])}
    assert not (published / "out" / "checkpoints" / "sweep").exists() or not any(
        (published / "out" / "checkpoints" / "sweep").iterdir()
    )

    client = mlflow.MlflowClient(f"sqlite:///{published}/out/mlflow.db")
    experiment = client.get_experiment_by_name("ecg-spark").experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{line['run_id']}'")
    assert {run.info.run_id for run in nested} == {row[-1] for row in rows}
    keys = [{key for key in run.data.metrics if key[:7] != "system/"} for run in nested]
    assert keys[0] == keys[1]
    for run in nested:
        assert run.info.status == "FINISHED"
        assert int(run.data.params["latents"]) in GRID["latents"]
        shown = next(row for row in rows if row[-1] == run.info.run_id)
        assert float(shown[2]) == pytest.approx(run.data.metrics["val/mae_uv"], abs=0.006)
    assert client.search_registered_models() == []
    assert Store(str(published / "out")).published("train") is None

    # Again, with one value more: only what is new is trained, under the same parent.
    assert main(["sweep", str(study_file(published, GRID | {"latents": [2, 3, 4]}))]) == 0
    (_, *rows), again = swept(capsys)
    assert (len(rows), again["trained"], again["run_id"]) == (3, 1, line["run_id"])


def test_a_sweep_from_python_is_a_row_for_each_combination_best_first(published):
    study = load_study(study_file(published, GRID))
    trials = ecg_spark.sweep(study)
    assert sorted(trials["latents"]) == GRID["latents"]
    assert trials["val/mae_uv"].is_monotonic_increasing
    client = mlflow.MlflowClient(study.tracking_uri)
    for run_id, error in zip(trials["run_id"], trials["val/mae_uv"], strict=True):
        assert client.get_run(run_id).data.metrics["val/mae_uv"] == error


def test_two_processes_sweep_together(published, tmp_path, torchrun):
    """Under torchrun one trains along with the other, past a combination that diverges."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    path = study_file(tmp_path, {"latents": [2, 3, 5], "learning_rate": [1e12, 1e-3]})
    answer = torchrun("-m", "jobs.sweep", "--study", path)
    assert answer.returncode == 0, answer.stderr[-2000:]
    line = json.loads(answer.stdout.splitlines()[-1])
    assert (line["combinations"], line["trained"], line["failed"]) == (6, 6, 3)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/out/mlflow.db")
    assert client.get_run(line["best_run_id"]).data.params["processes"] == "2"


def test_diverging_combination_is_reported_and_the_others_are_trained(published, capsys):
    grid = {"learning_rate": [1e12, 1e-3], "latents": [2]}
    assert sweep_job(["--study", str(study_file(published, grid))]) == 0
    (_, *rows), line = swept(capsys)
    assert (line["failed"], line["best"]["learning_rate"]) == (1, 1e-3)
    assert rows[-1][2] == "failed"
    only = {"learning_rate": [1e12], "latents": [2]}
    assert main(["sweep", str(study_file(published, only))]) == 3
    assert "Every combination" in capsys.readouterr().err


def test_a_sweep_without_a_grid_or_beats_says_what_is_missing(published, tmp_path, capsys):
    assert main(["sweep", str(study_file(published, {}))]) == 2
    assert "has no grid" in capsys.readouterr().err
    assert main(["sweep", str(study_file(tmp_path, GRID))]) == 2
    assert "run 'ecg-spark average' first" in capsys.readouterr().err
    assert main(["sweep", str(study_file(tmp_path, {"latent": [2], "epochs": [0]}))]) == 2
    assert "latent is not a setting of the model" in capsys.readouterr().err
