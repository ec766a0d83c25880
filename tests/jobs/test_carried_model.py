"""A model that is trained in one study and used in another, by the commands."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ecg_spark.store import Store
from jobs.cli import main
from models.registry.carried import read_carried
from tests.builders.study_file import of_biobank, write_study

MODEL = {"latents": 3, "channels": 8, "epochs": 3, "min_active_kl": 0.0}
WITHOUT_A_NETWORK = """
import socket, sys
import numpy as np

def refused(*_, **__):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from models.registry.carried import read_carried

encoder = read_carried(sys.argv[1]).encoder
print(encoder.encode(encoder.decode(np.zeros((1, encoder.n_active)))).z.shape[1])
"""


def archive_of(biobank, folder, **changes):
    """The study file of the biobank's ECGs alone."""
    content = of_biobank(biobank, 2)
    for key in ("genotypes", "participants", "gwas", "phewas", "truth"):
        content.pop(key, None)
    folder.mkdir(exist_ok=True)
    return write_study(folder, content | {"output": str(folder / "out"), **changes})


@pytest.fixture(scope="module")
def home(spark, biobank, tmp_path_factory):
    """A study whose model is trained and exported: its folder."""
    folder = tmp_path_factory.mktemp("home")
    study = archive_of(biobank, folder, name="home", model=MODEL)
    assert main(["run", str(study)]) == 0
    assert main(["model", "export", str(study), "--to", str(folder / "model.zip")]) == 0
    return folder


@pytest.fixture(scope="module")
def away(home, biobank, tmp_path_factory):
    """A study of the same ECGs that takes the model: its file, and its store."""
    folder = tmp_path_factory.mktemp("away")
    source = {"source": str(home / "model.zip")}
    study = archive_of(biobank, folder, name="away", seed=5, model=source)
    assert main(["run", str(study)]) == 0
    return study, Store(str(folder / "out"))


def latents_of(store):
    frame = pd.read_parquet(store.require("encode").path("latents")).query("model == 'vae'")
    return frame.set_index("participant_id").sort_index()["z"]


def test_same_beats_get_the_same_latents_as_at_home(home, away):
    expected, found = latents_of(Store(str(home / "out"))), latents_of(away[1])
    assert list(found.index) == list(expected.index)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)


def test_model_is_judged_beside_a_pca_fitted_here_and_the_figures_at_home(home, away):
    there = Store(str(home / "out")).require("train").summary["metrics"]
    summary = away[1].require("train").summary
    metrics = summary["metrics"]
    assert metrics["home_test/mae_uv"] == pytest.approx(there["test/mae_uv"])
    assert metrics["test/mae_uv"] != there["test/mae_uv"], "other people are tested on"
    assert metrics["test_pca/mae_uv"] != metrics["test/mae_uv"]
    assert summary["source"]["study"] == "home"
    assert summary["n_latents"] == 3


def test_factors_are_compared_with_those_at_home(away):
    store = away[1]
    encode = store.require("encode").summary
    assert encode["notes"] == [], "they are the same people"
    assert encode["trait_r"] == store.require("train").summary["source"]["trait_r"]
    text = Path(store.require("report").path("report.html")).read_text()
    assert "of the study home, used unchanged" in text
    assert "PCA fitted in this study" in text


def test_second_run_takes_nothing_again_and_another_model_is_noticed(away, home, capsys):
    study, _ = away
    capsys.readouterr()
    assert main(["train", str(study)]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"]
    model = home / "model.zip"
    model.touch()
    assert main(["train", str(study)]) == 0
    assert "skipped" not in json.loads(capsys.readouterr().out)


def test_a_carried_model_is_read_once(away, home, monkeypatch):
    study, _ = away
    read = []
    monkeypatch.setattr(
        "jobs.train.read_carried", lambda *about: read.append(about) or read_carried(*about)
    )
    (home / "model.zip").touch()
    assert main(["train", str(study), "--force"]) == 0
    assert len(read) == 1


def test_carried_model_is_not_passed_on_as_one_s_own(away, tmp_path, capsys):
    study, _ = away
    assert main(["encode", str(study)]) == 0
    assert main(["model", "export", str(study), "--to", str(tmp_path / "again")]) == 2
    assert "itself carried here, from the study home" in capsys.readouterr().err


def test_registered_model_is_taken_by_its_alias_and_trained_on(home, biobank, tmp_path, capsys):
    content = yaml.safe_load((home / "study.yaml").read_text())
    source = {"source": "models:/ecg-vae@champion"}
    mlflow = {"tracking_uri": f"sqlite:///{home}/out/mlflow.db"}
    content |= {"output": str(tmp_path / "out"), "mlflow": mlflow, "model": source}
    for step in ("ingest", "average", "train"):
        assert main([step, str(write_study(tmp_path, content))]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[0] == "{"]
    taken = lines[-1]
    content["model"] = source | {"fine_tune": True, "epochs": 2}
    assert main(["train", str(write_study(tmp_path, content))]) == 0
    tuned = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert tuned["version"] == taken["version"] + 1
    assert "source" not in tuned
    from mlflow import MlflowClient

    run = MlflowClient(mlflow["tracking_uri"]).get_run(tuned["run_id"])
    assert run.data.tags["ecg_spark.ancestor"] == taken["source"]["digest"]


def test_exported_model_is_read_in_another_process_without_a_network(home, other_python):
    answer = other_python("-c", WITHOUT_A_NETWORK, home / "model.zip")
    assert answer.stdout.strip() == "3", answer.stderr


def test_damaged_model_is_refused_before_any_work(home, biobank, tmp_path, capsys):
    body = bytearray((home / "model.zip").read_bytes())
    body[len(body) // 2] ^= 0xFF
    (tmp_path / "model.zip").write_bytes(bytes(body))
    source = {"source": str(tmp_path / "model.zip")}
    study = archive_of(biobank, tmp_path / "s", model=source)
    assert main(["run", str(study)]) == 3
    assert "damaged or altered" in capsys.readouterr().err
    assert not (tmp_path / "s" / "out" / "runs").exists()
