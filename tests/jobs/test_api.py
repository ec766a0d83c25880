"""ecg-spark from Python: the same steps as the commands', and what they have published."""

import json

import pytest
import yaml

import ecg_spark
from ecg_spark.errors import DataError, EcgSparkError, UsageError
from jobs.cli import main
from tests.builders.ecg_files import cardiosoft, heart_mv, text_rows
from tests.builders.study_file import MINIMAL

PEOPLE = 3


@pytest.fixture(scope="module")
def study_file(tmp_path_factory):
    """A study of three recordings and of a file that is none."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "ecg").mkdir()
    for person in range(PEOPLE):
        content = cardiosoft(text_rows((1 + person / 10) * heart_mv()))
        (folder / "ecg" / f"10{person}_1.xml").write_bytes(content)
    (folder / "ecg" / "200_1.xml").write_text("nothing")
    path = folder / "study.yaml"
    ecg = {"path": "ecg", "id_pattern": r"^(\d+)_"}
    path.write_text(yaml.safe_dump(MINIMAL | {"ecg": ecg}))
    return path


@pytest.fixture(scope="module")
def found(study_file, spark):
    study = ecg_spark.load_study(study_file)
    return ecg_spark.run(study, steps=["average", "ingest"], spark=spark)


def test_steps_are_run_in_the_order_of_the_line_and_return_what_they_published(found):
    assert list(found) == ["ingest", "average"]
    ingested, averaged = found["ingest"], found["average"]
    assert not ingested.skipped
    assert (ingested.summary["n_in"], ingested.summary["n_out"]) == (PEOPLE + 1, PEOPLE)
    assert set(averaged.tables) == {"beats", "traits", "quarantine", "flow"}
    assert averaged.tables["beats"].count() == PEOPLE
    people = ingested.tables["recordings"].select("participant_id").toPandas()["participant_id"]
    assert set(people) == {"100", "101", "102"}
    assert list(averaged.figures) == []


def test_results_and_a_result_are_tables_in_a_notebook(found):
    html = found._repr_html_()
    assert html.index("ingest") < html.index("n in: 4")
    assert "tables: beats, flow, quarantine, traits" in found["average"]._repr_html_()


def test_what_python_published_the_command_finds_and_the_other_way_round(found, study_file, capsys):
    assert main(["ingest", str(study_file)]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == "already published"
    assert main(["ingest", str(study_file), "--force"]) == 0
    study = ecg_spark.load_study(study_file)
    again = ecg_spark.run(study, steps=["ingest"])["ingest"]
    assert again.skipped
    assert again.folder != found["ingest"].folder


def test_a_step_that_does_not_exist_and_a_bare_name_are_refused(study_file):
    study = ecg_spark.load_study(study_file)
    with pytest.raises(UsageError, match="There is no step averege: known are ingest, average"):
        ecg_spark.run(study, steps=["averege"])
    with pytest.raises(UsageError, match=r"write \['ingest'\]"):
        ecg_spark.run(study, steps="ingest")


def test_an_error_is_that_of_the_command_and_a_defect_shows_no_text_of_others(study_file):
    study = ecg_spark.load_study(study_file)
    nowhere = study.ecg.model_copy(update={"path": "no"})
    with pytest.raises(DataError, match=r"ecg\.path"):
        ecg_spark.run(study.model_copy(update={"ecg": nowhere}), steps=["ingest"])
    with pytest.raises(EcgSparkError, match=r"AttributeError in jobs/.* is a defect") as caught:
        ecg_spark.run(study.model_copy(update={"ecg": "of Jane"}), steps=["ingest"])
    assert "Jane" not in str(caught.value)


def test_every_public_name_is_there_and_importing_the_package_is_cheap(other_python):
    for name in ecg_spark.__all__:
        assert callable(getattr(ecg_spark, name))
        assert name in dir(ecg_spark)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ecg_spark.nothing  # noqa: B018
    heavy = ("numpy", "pandas", "pyspark", "torch", "mlflow", "hail", "jobs", "models")
    code = f"import sys, ecg_spark; print([name for name in {heavy} if name in sys.modules])"
    assert other_python("-c", code).stdout.strip() == "[]"
