"""What a study says of itself: what is published, what would be done again and why."""

import json
import shutil

import pytest
import yaml

import ecg_spark
from ecg_spark.store import Store
from jobs.cli import main
from jobs.status import clean, size_words, status_of
from tests.builders.ecg_files import cardiosoft, heart_mv, text_rows
from tests.builders.study_file import MINIMAL


@pytest.fixture
def study_file(tmp_path):
    """A study of three recordings."""
    (tmp_path / "ecg").mkdir()
    for person in range(3):
        content = cardiosoft(text_rows((1 + person / 10) * heart_mv()))
        (tmp_path / "ecg" / f"10{person}_1.xml").write_bytes(content)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"ecg": {"path": "ecg", "id_pattern": r"^(\d+)_"}}))
    return path


@pytest.fixture
def study(study_file, spark):
    """It, ingested and averaged."""
    study = ecg_spark.load_study(study_file)
    ecg_spark.run(study, steps=["ingest", "average"], spark=spark)
    return study


def why(study):
    return {one.step: one.why for one in status_of(study)}


def test_what_is_published_is_said_with_its_size_version_and_source(study, study_file, capsys):
    found = {one.step: one for one in status_of(study)}
    assert (found["ingest"].why, found["average"].why) == ("", "")
    assert found["train"].why == "not published"
    assert found["ingest"].published.version
    assert found["ingest"].bytes > 1000
    assert found["train"].bytes == 0
    assert main(["status", str(study_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found) + 1
    assert "3 in" in lines[1]
    assert lines[1].endswith("skips it")
    assert "10" + "0_1" not in "".join(lines), "no file is named"


def test_settings_files_and_earlier_steps_are_told_apart(study, study_file):
    content = yaml.safe_load(study_file.read_text())
    changed = content | {"beats": {"quality": {"noisy_uv": 77}}}
    study_file.write_text(yaml.safe_dump(changed))
    other = why(ecg_spark.load_study(study_file))
    assert other["ingest"] == ""
    assert "settings" in other["average"]
    study_file.write_text(yaml.safe_dump(content))
    shutil.copy(study_file.parent / "ecg" / "100_1.xml", study_file.parent / "ecg" / "300_1.xml")
    grown = why(study)
    assert "files" in grown["ingest"]
    assert grown["average"] == "ingest is to be run"
    ecg_spark.run(study, steps=["ingest"])
    assert why(study)["average"] == "ingest has been run again"


def test_what_status_says_a_run_does(study, spark):
    before = why(study)
    results = ecg_spark.run(study, steps=["ingest", "average"], spark=spark)
    assert {name: one.skipped for name, one in results.items()} == {
        name: not before[name] for name in results
    }


def test_clean_removes_what_stopped_runs_left_and_nothing_else(study, tmp_path):
    runs = tmp_path / MINIMAL["output"] / "runs"
    for name in ("20200101T000000-aaaaaa", "20200101T000001-bbbbbb"):
        (runs / "average" / name).mkdir()
        (runs / "average" / name / "part").write_bytes(bytes(5000))
    kept = {one.published.folder for one in status_of(study) if one.published}
    assert clean(study.output_path) == {
        "step": "clean",
        "removed_runs": {"average": 2},
        "freed": "10 kB",
    }
    assert {str(path) for path in runs.glob("*/*")} == kept
    assert clean(study.output_path)["removed_runs"] == {}


def test_clean_knows_what_is_no_step_of_a_study(tmp_path, capsys):
    """Replications, populations and what combines them; and the folder of a meta-analysis."""
    runs = [
        tmp_path / name / "20200101T000000-aaaaaa"
        for name in (
            "runs/replicate-0a1b2c3d", "runs/meta", "meta/runs/meta",
            "populations/EUR/runs/associations", "populations/AFR/runs/associations",
        )
    ]  # fmt: skip
    for run in runs:
        run.mkdir(parents=True)
        (run / "part").write_bytes(bytes(1000))
    kept = Store(str(tmp_path / "meta"))
    with kept.run("score", {}) as run:
        run.publish({})
    other = tmp_path / "plots"
    other.mkdir()
    assert main(["clean", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    removed = {"replicate-0a1b2c3d": 1, "meta": 2, "associations": 2}
    assert told == {"step": "clean", "removed_runs": removed, "freed": "5.0 kB"}
    assert not any(run.exists() for run in runs)
    assert kept.published("score")
    assert other.exists()


def test_who_is_at_work_is_said_and_their_runs_stay(study, tmp_path):
    store = Store(study.output_path)
    left = tmp_path / MINIMAL["output"] / "runs" / "average" / "20200101T000000-aaaaaa"
    left.mkdir()
    with store.lock("average"):
        at_work = {one.step: one.at_work for one in status_of(study)}
        assert "process" in at_work["average"]
        assert at_work["ingest"] == ""
        assert clean(study.output_path)["removed_runs"] == {}
        assert left.exists()


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (25e6, "25 MB"), (3e15, "3000.0 TB")],
)
def test_sizes_are_said_for_a_reader(size, said):
    assert size_words(size) == said
