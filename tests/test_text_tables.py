"""Tables however they are written: the same columns come out, or one sentence says why not."""

import csv
import gzip
import io

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.text_tables import read_text_table

WHAT = "participant table (participants.path)"
CELL = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=8).map(
    lambda text: text.strip().strip("\"'").strip()
)


@st.composite
def _tables(draw):
    width = draw(st.integers(2, 5))
    names = draw(st.lists(st.from_regex(r"[a-z][a-z_0-9.]{0,8}", fullmatch=True), min_size=width,
                          max_size=width, unique=True))  # fmt: skip
    return names, draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1))


def _same(frame, names, rows):
    kept = [row for row in rows if any(row)]
    missing = ("", "NA", "na", "nan", "NaN", "null", "NULL", "N/A", "n/a", "#N/A", "<NA>")
    expected = [[None if cell in missing else cell for cell in row] for row in kept]
    assert list(frame.columns) == names
    assert frame.to_numpy(object).tolist() == expected


@given(
    table=_tables(),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
    packed=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_table_comes_back_whatever_its_delimiter_quotes_and_encoding(
    tmp_path_factory, table, delimiter, quoting, end, encoding, packed
):
    names, rows = table
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([names, *rows])
    content = text.getvalue().encode(encoding)
    path = tmp_path_factory.mktemp("table") / "people.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    _same(read_text_table(str(path), WHAT), names, rows)


def test_a_table_on_a_store_is_read_as_text_or_parquet(bucket):
    frame = pd.DataFrame({"eid": ["1", "2"], "age": ["50", "61"]})
    with fsspec.open(f"{bucket}/people.csv", "wb") as file:
        file.write(frame.to_csv(index=False).encode())
    for part in (0, 1):
        with fsspec.open(f"{bucket}/people/part-{part}.parquet", "wb") as file:
            frame[part : part + 1].to_parquet(file)
    for place in ("people.csv", "people"):
        _same(read_text_table(f"{bucket}/{place}", "table"), ["eid", "age"], frame.to_numpy())
    with pytest.raises(DataError, match="table does not exist"):
        read_text_table(f"{bucket}/none.csv", "table")


def test_white_space_separates_cells_if_nothing_else_does(tmp_path):
    (tmp_path / "t").write_text('FID  IID\tage\n"F 1"  P1 60 \n F2\tP2   61\n')
    frame = read_text_table(str(tmp_path / "t"), WHAT)
    assert frame.to_dict("list") == {"FID": ["F 1", "F2"], "IID": ["P1", "P2"], "age": ["60", "61"]}


def test_parquet_keeps_whole_numbers_whole_and_short_floats_short(tmp_path):
    table = pd.DataFrame(
        {
            "eid": pd.array([2**60 + 1, None, 3], "Int64"),
            "bmi": np.array([0.1, np.nan, 25.5], np.float32),
            "centre": pd.Categorical(["Leeds", None, " Oxford "]),
            "smoker": [True, False, True],
        }
    ).set_index("eid")
    table.to_parquet(tmp_path / "people")
    frame = read_text_table(str(tmp_path / "people"), WHAT)
    assert frame["eid"].tolist() == [str(2**60 + 1), None, "3"]
    assert frame["bmi"].tolist() == ["0.1", None, "25.5"]
    assert frame["centre"].tolist() == ["Leeds", None, "Oxford"]
    assert frame["smoker"].tolist() == ["True", "False", "True"]


def test_row_numbers_written_by_r_are_dropped(tmp_path):
    (tmp_path / "t").write_text('"eid" "age"\n"1" 1001 60\n"2" 1002 61\n')
    frame = read_text_table(str(tmp_path / "t"), WHAT)
    assert frame.to_dict("list") == {"eid": ["1001", "1002"], "age": ["60", "61"]}


def test_empty_cells_beyond_the_header_are_ignored_and_absent_cells_are_missing(tmp_path):
    (tmp_path / "t").write_text("eid,age,bmi\n1,60,,\n2\n\n,,\n3,61,25,,\n")
    frame = read_text_table(str(tmp_path / "t"), WHAT)
    assert frame["eid"].tolist() == ["1", "2", "3"]
    assert frame["age"].tolist() == ["60", None, "61"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"eid,age,bmi\nsecret1,60,1,19,4\nsecret2,52,9,0\n", "2 rows of the .* have more fields"),
        (b"eid,age\nsecret1,60,5\nsecret2,61,5\n", "2 rows of the .* have more fields"),
        (b"eid,age,age\nsecret,1,2\n", "1 column with the name of another"),
        (b'eid,age\nsecret,"60\nsecret2,61\nsecret3,62\n', "a quote is not closed"),
        (b"PK\x03\x04secret", "a spreadsheet or an archive: save it as CSV"),
        (b"eid,age\n\xff\x00\x01\x00secret,1\n", "cannot be read as CSV"),
        (b"", "it is empty"),
    ],
)
def test_a_table_that_cannot_be_certain_is_refused(tmp_path, content, says):
    (tmp_path / "secret.csv").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_text_table(str(tmp_path / "secret.csv"), WHAT)
    assert "secret" not in str(caught.value)
    assert WHAT in str(caught.value)


def test_letters_of_the_west_are_read_as_windows_writes_them(tmp_path):
    (tmp_path / "t").write_bytes("eid;stadt\n1;Köln\n".encode("cp1252"))
    assert read_text_table(str(tmp_path / "t"), WHAT)["stadt"].tolist() == ["Köln"]
