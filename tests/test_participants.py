"""The participant table and the manifest: what is accepted, and what a wrong one says."""

import pytest

from ecg_spark.errors import DataError
from ecg_spark.participants import read_manifest, read_participants
from ecg_spark.study import Manifest, Participants


def written(tmp_path, text, name="people.csv"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_covariates_are_numbers_by_participant_and_ids_stay_as_written(tmp_path):
    path = written(tmp_path, "participant_id,age,sex\n007,50,0\n8.0,,1\n9,old,1\n")
    frame = read_participants(Participants(path="x"), path)
    assert list(frame.index) == ["007", "8", "9"]
    assert frame["age"].isna().tolist() == [False, True, True]
    assert frame["sex"].tolist() == [0, 1, 1]


def test_a_repeated_participant_keeps_the_first_row(tmp_path):
    path = written(tmp_path, "participant_id\tage\tsex\n1\t50\t0\n1\t51\t0\n", "people.tsv")
    assert read_participants(Participants(path="x"), path)["age"].tolist() == [50]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("eid,age,sex\n1,2,0\n", r"no column participant_id; it has eid, age, sex: set part"),
        ("participant_id,age\n1,2\n", r"no column sex; .*participants.covariates"),
        ("participant_id,age,sex\n1,2,\n", r"covariate sex .* has no values"),
        ("", r"cannot be read as CSV"),
    ],
)
def test_a_wrong_table_is_one_clear_sentence(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        read_participants(Participants(path="x"), written(tmp_path, text))


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_participants(Participants(path="x"), str(tmp_path / "none.csv"))


def test_a_manifest_may_name_its_columns_otherwise(tmp_path):
    path = written(tmp_path, "file,who,when\na/1.xml,p1,x\n2.xml,p2,y\n3.xml,,z\n")
    frame = read_manifest(Manifest(path="x", uri="file", participant_id="who"), path)
    assert frame.values.tolist() == [["a/1.xml", "p1"], ["2.xml", "p2"]]


def test_a_manifest_that_names_a_file_twice_is_refused(tmp_path):
    path = written(tmp_path, "uri,participant_id\n1.xml,a\n1.xml,b\n")
    with pytest.raises(DataError, match="names 1 files more than once"):
        read_manifest(Manifest(path="x"), path)


def test_squares_and_products_are_covariates_too(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("participant_id,age,sex\na,40,0\nb,50,1\nc,60,1\nd,70,\n")
    settings = Participants(path=str(path), covariates=("age", "age^2", "age:sex"))
    found = read_participants(settings, str(path))
    assert list(found.columns) == ["age", "age^2", "age:sex"]
    assert found["age^2"].tolist() == [225.0, 25.0, 25.0, 225.0]
    assert found["age:sex"].tolist()[:3] == pytest.approx([10.0, -5 / 3, 5 / 3])
    assert found["age:sex"].isna().tolist() == [False, False, False, True]
    with pytest.raises(DataError, match="no column bmi"):
        read_participants(Participants(path=str(path), covariates=("age:bmi",)), str(path))
