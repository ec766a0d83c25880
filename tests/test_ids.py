"""Ids in one form wherever they were written, and lists of them in every form that people bring."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.ids import id_column, normal_id, read_id_list

WHAT = "list genotypes.exclude"
BLANKS = st.text("  \t\u00a0\ufeff\u200b", max_size=3)


@given(st.integers(0, 2**53))
def test_an_id_of_a_float_column_is_the_whole_number(number):
    assert normal_id(str(number)) == str(number)
    if number < 10**16:
        assert normal_id(str(float(number))) == str(number)
        assert normal_id(f"{number}.000") == str(number)


@given(st.integers(10**6, 10**7 - 1), st.sampled_from(["e+06", "E+06", "e6", "e+6"]))
def test_scientific_notation_is_written_out_if_it_has_every_digit(number, exponent):
    digits = str(number)
    assert normal_id(f"{digits[0]}.{digits[1:]}{exponent}") == digits
    rounded = f"{digits[0]}.{digits[1:6]}{exponent}"
    with pytest.raises(DataError, match="1 ids in the table are rounded"):
        id_column(pd.Series(["1", None, rounded]), "table")


@given(st.text(max_size=12), BLANKS, BLANKS, st.sampled_from(["", '"', "'"]))
def test_normal_id_strips_blanks_and_quotes_and_is_idempotent(text, before, after, quote):
    once = normal_id(text)
    assert normal_id(once) == once
    assert normal_id(f"{before}{quote}{once}{quote}{after}") == once


@pytest.mark.parametrize("name", ["007", "1E5", "12E03", "P1.0", "1.5", "-4", "NA12878", "a b"])
def test_an_id_that_is_no_float_stays_as_written(name):
    assert normal_id(name) == name


def _text(rows, delimiter, quoting=csv.QUOTE_MINIMAL, end="\n"):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue()


FORMS = {
    "an id a line": lambda ids, end: _text([[i] for i in ids], " ", end=end),
    "FID and IID": lambda ids, end: _text([[i, i] for i in ids], " ", end=end),
    "a tab between": lambda ids, end: _text([[i, i] for i in ids], "\t", end=end),
    "FID 0": lambda ids, end: _text([["0", i] for i in ids], "\t", end=end),
    "FID a number": lambda ids, end: _text([[k, i] for k, i in enumerate(ids)], " ", end=end),
    "FID of another": lambda ids, end: _text(
        [[other, i] for other, i in zip([*ids[1:], "F"], ids, strict=True)], " ", end=end),
    "a .fam": lambda ids, end: _text([[i, i, 0, 0, 2, -9] for i in ids], " ", end=end),
    "#IID": lambda ids, end: _text([["#IID"], *([i] for i in ids)], "\t", end=end),
    "FID IID": lambda ids, end: _text([["FID", "IID"], *(["F", i] for i in ids)], " ", end=end),
    "#FID IID SEX": lambda ids, end: _text(
        [["#FID", "IID", "SEX"], *([0, i, 1] for i in ids)], "\t", end=end),
    "eid": lambda ids, end: _text([["eid"], *([i] for i in ids)], ",", csv.QUOTE_ALL, end),
    "a date behind": lambda ids, end: _text(
        [["eid", "date"], *([i, "2024-05-01"] for i in ids)], ",", end=end),
    "a number before": lambda ids, end: _text(
        [["", "participant_id"], *([k, i] for k, i in enumerate(ids))], ",", csv.QUOTE_ALL, end),
    "semicolons": lambda ids, end: _text(
        [["why", "sample_id"], *(["moved, abroad", i] for i in ids)], ";", end=end),
    "a reason": lambda ids, end: _text([[i, "withdrawn"] for i in ids], ",", end=end),
    "a name of its own": lambda ids, end: _text([["wer"], *([i] for i in ids)], ",", end=end),
    "floats": lambda ids, end: _text(
        [["eid"], *([f"{i}.0" if i.isdecimal() else i] for i in ids)], ",", end=end),
    "blanks": lambda ids, end: _text([["eid "], *([f" {i} "] for i in ids)], ",", end=end),
}  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")


@st.composite
def _ids(draw):
    form = draw(st.sampled_from(["P{:03d}", "{:07d}", "NA{:05d}", "S-{}-A", "{}_1"]))
    numbers = draw(st.lists(st.integers(1, 99_999), min_size=2, max_size=12, unique=True))
    return [form.format(number) for number in numbers]


@pytest.mark.parametrize("form", FORMS)
@given(
    ids=_ids(),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(ENCODINGS),
    has_last=st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_a_list_of_any_form_names_the_same_people(
    tmp_path_factory, form, ids, end, encoding, has_last
):
    text = FORMS[form](ids, end)
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_bytes((text if has_last else text.removesuffix(end)).encode(encoding))
    genotyped = [*ids[:-1], "X1", "X2"]
    found, note = read_id_list(str(path), WHAT).among(genotyped)
    assert found == set(ids[:-1])
    assert note == f"{len(ids) - 1} of the {len(ids)} ids in the {WHAT} are genotyped"
    with pytest.raises(DataError, match=f"None of the {len(ids)} ids in the {WHAT}") as caught:
        read_id_list(str(path), WHAT).among(["X1"])
    assert not any(one in str(caught.value) for one in ids)
    assert str(path) not in str(caught.value)


@pytest.mark.parametrize("values", [["7", "8"], [7, 8], [7.0, 8.0], [7, None, 8]])
def test_a_list_in_parquet_may_hold_numbers_and_be_indexed(tmp_path, values):
    pd.DataFrame({"eid": values, "x": 1}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"eid": values, "x": 1}).set_index("eid").to_parquet(tmp_path / "b.parquet")
    for name in ("a", "b"):
        found, note = read_id_list(str(tmp_path / f"{name}.parquet"), WHAT).among(["7", "9"])
        assert (found, note[:8]) == ({"7"}, "1 of the")


def test_the_first_id_of_a_list_without_a_header_is_one_of_them(tmp_path):
    """Even where its form is another's: what is genotyped is no header."""
    path = tmp_path / "list.txt"
    path.write_text("control\nP001\nP002\nP003\n")
    found, note = read_id_list(str(path), WHAT).among(["control", "P001", "P9"])
    assert found == {"control", "P001"}
    assert note.startswith("2 of the 4")


@pytest.mark.parametrize("text", ["", "\n \n", "eid\n", "#FID IID\n"])
def test_a_list_that_names_nobody_is_refused(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match="is empty: fill it"):
        read_id_list(str(tmp_path / "list.txt"), WHAT)
