"""A study that trains one model on the published beats of several archives, by the commands."""

import json
from pathlib import Path

import mlflow
import pytest
import yaml

from ecg_spark.display import number
from ecg_spark.errors import UsageError
from ecg_spark.store import Store
from ecg_spark.study import load_study
from jobs import archives as job
from jobs.archives import averages_of
from jobs.cli import main
from models.registry.carried import read_carried
from tests.builders.archives import heart_table, publish_archive, publish_beats
from tests.builders.study_file import write_study

MODEL = {"latents": 3, "channels": 8, "epochs": 2, "min_active_kl": 0.0, "test_share": 0.4}


def pool_of(folder, archives, **changes):
    """A study file that trains on these archives."""
    folder.mkdir(exist_ok=True)
    content = {"name": "pool", "output": str(folder / "out"), "model": MODEL}
    return write_study(folder, content | {"archives": [str(path) for path in archives], **changes})


def told(capsys):
    """The JSON lines of the steps, by step."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
    return {line.get("step"): line for line in lines}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    return [
        publish_archive(folder / name, name, heart_table(seed, 90, 2))
        for seed, name in ((1, "south"), (2, "north"))
    ]


@pytest.fixture(scope="module")
def pool(archives, mlflow_store, tmp_path_factory):
    """A study of both that has been run: its file and its store."""
    folder = tmp_path_factory.mktemp("pool")
    study = pool_of(folder, archives)
    assert main(["run", str(study)]) == 0
    return study, Store(str(folder / "out"))


def test_a_study_of_archives_is_a_training_and_a_report(pool):
    study, store = pool
    summary = store.require("train").summary
    assert list(summary["archives"]) == ["north", "south"]
    assert all(beats["beats_tested"] >= 20 for beats in summary["archives"].values())
    assert store.published("average") is None
    run = mlflow.MlflowClient(load_study(study).tracking_uri).get_run(summary["run_id"])
    assert run.data.tags["ecg_spark.archive"] == "north 180, south 180"
    text = Path(store.require("report").path("report.html")).read_text()
    for name in ("north", "south"):
        assert f"<tr><td>{name}</td>" in text
        assert f">{number(summary['metrics'][f'test/mae_uv/archive_{name}'])}<" in text
    assert "What each latent does to the beat" in text
    assert 'id="recordings"' not in text
    assert main(["encode", str(study)]) == 2
    assert main(["status", str(study)]) == 0


def test_two_processes_train_the_model_that_one_does(pool, archives, tmp_path, torchrun):
    study = pool_of(tmp_path / "pool", archives)
    answer = torchrun("-m", "jobs.train", "--study", study)
    assert answer.returncode == 0, answer.stderr[-2000:]
    (line,) = answer.stdout.splitlines()  # one of the processes speaks
    found, expected = json.loads(line), pool[1].require("train").summary
    assert found["archives"] == expected["archives"]
    own = {key: value for key, value in expected["metrics"].items() if "mae_uv" in key}
    assert {key: found["metrics"][key] for key in own} == pytest.approx(own, rel=1e-3)
    run = mlflow.MlflowClient(load_study(study).tracking_uri).get_run(found["run_id"])
    assert run.data.params["processes"] == "2"


def test_a_run_reads_the_archives_study_files_once(pool, archives, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(job, "load_study", lambda place: read.append(place) or load_study(place))
    for path in archives:
        path.touch()  # as if it had been changed since an earlier test read it
    study = pool_of(tmp_path / "pool", archives)
    assert main(["train", str(study)]) == 0
    assert sorted(read) == sorted(map(str, archives))


def test_the_order_of_archives_trains_nothing_again_and_new_beats_do(pool, archives, capsys):
    study, _ = pool
    content = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump(content | {"archives": content["archives"][::-1]}))
    capsys.readouterr()
    assert main(["train", str(study)]) == 0
    assert told(capsys)["train"]["skipped"]
    publish_beats(load_study(archives[0]), heart_table(1, 90, 2))
    assert main(["model", "export", str(study), "--to", str(study.parent / "early")]) == 2
    assert "run 'ecg-spark train' first" in capsys.readouterr().err
    assert main(["train", str(study)]) == 0
    assert "skipped" not in told(capsys)["train"]


def test_the_model_is_exported_without_latents_of_anybody(pool, tmp_path, capsys):
    study, _ = pool
    assert main(["train", str(study)]) == 0
    capsys.readouterr()
    assert main(["model", "export", str(study), "--to", str(tmp_path / "model.zip")]) == 0
    assert told(capsys)[None]["check_beats"] > 1
    home = read_carried(str(tmp_path / "model.zip")).home
    assert home.study == "pool"
    assert home.factors is None
    assert home.figures["test/mae_uv/archive_north"] > 0


def test_archives_that_cannot_be_used_are_refused_by_name(archives, tmp_path, capsys):
    (tmp_path / "never").mkdir()
    content = {"name": "never", "output": "out", "ecg": {"path": "ecg"}}
    never = write_study(tmp_path / "never", content)
    device = publish_archive(
        tmp_path / "device", "device", heart_table(3, 10), beats={"source": "vendor"}
    )
    older = publish_archive(tmp_path / "older", "older", heart_table(3, 10))
    pointer = older.parent / "out" / "published" / "average.json"
    content = json.loads(pointer.read_text())
    content["provenance"]["settings"] = "of another version of the beat"
    pointer.write_text(json.dumps(content))
    again = publish_archive(tmp_path / "again", "south", heart_table(4, 10))
    for other, why in (
        (never, r"The archive never: Nothing is published for the step 'average'"),
        (device, r"The archive device has .* beats\.source vendor, and the study's is computed"),
        (older, r"The archive older: The published output of 'average' was made with other"),
        (again, r"Two of the archives are called south"),
    ):
        study = load_study(pool_of(tmp_path / "pool", [*archives, other]))
        with pytest.raises(UsageError, match=why):
            averages_of(study)
    assert main(["run", str(pool_of(tmp_path / "pool", [archives[0], never]))]) == 2
    assert "The archive never" in capsys.readouterr().err
    assert not (tmp_path / "pool" / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ecg": {"path": "ecg"}}, "ecg: has no place beside archives"),
        ({"phenotypes": {"path": "p.csv"}}, "phenotypes: has no place beside archives"),
        ({"model": {"source": "model.zip"}}, r"model\.source: leaves nothing to train"),
        ({"gwas": {"engine": "blocks"}}, "gwas: needs genotypes"),
    ],
)
def test_what_has_no_place_beside_archives_is_refused(tmp_path, changes, problem):
    with pytest.raises(UsageError, match=problem):
        load_study(pool_of(tmp_path, ["a.yaml"], **changes))


def test_a_list_of_no_archives_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"archives: .* at least 1 item"):
        load_study(pool_of(tmp_path, []))
