"""The table of diagnoses in the forms in which people have it."""

import datetime

import pandas as pd
import pytest

from ecg_spark.diseases.diagnoses import Told, read_diagnoses, require_columns, write_occurrences
from ecg_spark.diseases.phecode_map import read_maps
from ecg_spark.errors import DataError
from ecg_spark.study import Phewas

ROWS = [("1001", "I48.9", "2011-05-04"), ("1001", "I489", "2012-01-01"), ("1002", "C61", ""),
        ("1003", "XYZ", "2010-01-01"), ("9999", "I48.9", "2011-01-01")]  # fmt: skip
PEOPLE = ["1001", "1002", "1003"]


def days(text):
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


@pytest.fixture
def read(spark, tmp_path):
    """A function that reads a table and returns what was published, the dates and what was told."""

    def read(content, name="diagnoses.csv", people=PEOPLE, maps=(), **settings):
        path = tmp_path / name
        if isinstance(content, str):
            path.write_bytes(content.encode())
        elif isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        section = Phewas(path=str(path), **settings)
        told = Told()
        rows = read_diagnoses(spark, section, str(path))
        known = spark.createDataFrame([(one,) for one in people], "participant_id string")
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        dates = write_occurrences(rows, known, read_maps(list(maps)), told, str(folder))
        table = pd.read_parquet(folder / "occurrences").sort_values(["participant_id", "disease"])
        return table.to_dict("records"), dates, told

    return read


def text(rows, delimiter=",", header="participant_id,code,date"):
    return "\n".join([header.replace(",", delimiter), *(delimiter.join(row) for row in rows)])


def test_occurrences_are_of_people_in_the_study_with_first_day_and_days(read):
    found, dates, told = read(text(ROWS))
    assert found == [
        {"participant_id": "1001", "disease": "I48", "first": days("2011-05-04"), "times": 2},
        {"participant_id": "1002", "disease": "C61", "first": None, "times": 1},
    ] or pd.isna(found[1]["first"])
    assert found[0]["first"] == days("2011-05-04")
    assert found[0]["times"] == 2
    assert len(found) == 2
    assert dates.known
    assert dates.latest == datetime.date(2012, 1, 1)
    assert told.counts["codes_unknown"] == told.counts["diagnoses_unknown"] == 1
    assert told.counts["participants_in_study"] == 3
    assert any("1 of 4 codes, in 1 diagnoses, are no ICD-10" in note for note in told.notes)
    assert any("1 rows of the table of diagnoses have no date" in note for note in told.notes)


@pytest.mark.parametrize(
    ("content", "name", "settings"),
    [
        (text(ROWS, "\t").replace("\n", "\r\n"), "d.tsv", {}),
        ("﻿" + text([(f'"{a}.0"', f'"{b}"', f'"{c}"') for a, b, c in ROWS]), "d.csv", {}),
        (
            text([(c.replace("-", "/"), b.lower(), a) for a, b, c in ROWS], header="epi,diag,eid"),
            "d.csv", {"id": "eid", "code": "diag", "date": "epi"},
        ),
        (
            pd.DataFrame({
                "participant_id": [float(row[0]) for row in ROWS], "code": [row[1] for row in ROWS],
                "date": pd.to_datetime([row[2] for row in ROWS]),
            }),
            "d.parquet", {},
        ),
        (text([(*row, "10") for row in ROWS], header="participant_id,code,date,icd_version"),
         "d.csv", {"vocabulary": "icd_version"}),
    ],
)  # fmt: skip
def test_tables_of_many_forms_say_the_same(read, content, name, settings):
    found, _, told = read(content, name, **settings)
    assert [(row["participant_id"], row["disease"], row["times"]) for row in found] == [
        ("1001", "I48", 2), ("1002", "C61", 1),
    ]  # fmt: skip
    assert found[0]["first"] == days("2011-05-04")
    assert told.counts["diagnoses"] == 5


def test_the_day_comes_first_where_one_date_says_so(read):
    rows = [("1001", "I48", "04/05/2011"), ("1001", "I48", "31/12/2012")]
    found, _, _ = read(text(rows))
    assert found[0]["first"] == days("2011-05-04")
    american, _, _ = read(text([("1001", "I48", "05/04/2011"), ("1001", "I48", "12/31/2012")]))
    assert american == found


def test_dates_that_stand_for_unknown_ones_are_ignored(read):
    found, dates, _ = read(
        text(
            [
                ("1001", "I48", "1902-02-02"),
                ("1002", "I48", "2011-02-31"),
                ("1003", "I48", "2037-07-07"),
                ("1003", "C61", "2010-01-01"),
            ]
        )
    )
    first = {(row["participant_id"], row["disease"]): row["first"] for row in found}
    assert sum(pd.isna(one) for one in first.values()) == 3
    assert dates.latest == datetime.date(2010, 1, 1)


def test_a_table_without_dates_counts_rows(read):
    found, dates, _ = read("participant_id,code\n1001,I48\n1001,I48.9\n1002,I48\n")
    assert not dates.known
    assert dates.latest is None
    assert [row["times"] for row in found] == [2, 1]


def test_nothing_of_a_persons_row_is_lost_to_a_quoted_delimiter(read):
    found, _, _ = read('participant_id,text,code\n1001,"flutter, atrial",I48\n')
    assert found[0]["disease"] == "I48"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("participant_id,code\n77,I48\n78,I48\n", "None of the 2 participants in the table of"),
        ("participant_id,code\n1001,XYZ\n", "All 1 codes in the table of diagnoses"),
        ("participant_id,code\n1001,flutter, atrial,I48\n1001,I48\n", "have more fields"),
        ("participant_id,code,date\n1001,I48,04/05/2011\n", "do not show whether the day or"),
        ("participant_id,code,date\n1001,I48,31/05/2011\n1001,I48,05/31/2011\n",
         "1 dates with the day first and 1 with the month first"),
        ("participant_id,code,date\n1001,I48,last year\n", "None of the 1 dates"),
        ("eid,code\n1001,I48\n", "no column participant_id"),
        ("participant_id,participant_id,code\n1,1,I48\n", "two columns of the same name"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_relied_on_is_refused_in_a_sentence(read, content, says):
    with pytest.raises(DataError, match=says) as caught:
        read(content)
    assert "1001" not in str(caught.value)


def test_columns_are_looked_for_before_anything_is_read(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("participant_id,code\n1,I48\n")
    with pytest.raises(DataError, match="no column when"):
        require_columns(Phewas(path=str(path), date="when"), str(path))
    with pytest.raises(DataError, match="no column icd_version"):
        require_columns(Phewas(path=str(path), vocabulary="icd_version"), str(path))
    with pytest.raises(DataError, match="does not exist"):
        require_columns(Phewas(path="none.csv"), str(tmp_path / "none.csv"))
