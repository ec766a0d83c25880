"""What becomes of a column of the participant table: numbers, indicators, codes, refusals."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.phenotypes import usable_covariates
from ecg_spark.participants import read_participants, read_sex
from ecg_spark.study import Participants


def _read(tmp_path, table, text=None, **options):
    """Terms and notes of a table that is written as CSV, or of a text as it is."""
    path = tmp_path / "people.csv"
    if text is None:
        table.to_csv(path, index_label="participant_id")
    else:
        path.write_text(text)
    notes = []
    options = {"covariates": list(table.columns) if table is not None else ["x"], **options}
    return read_participants(Participants(path="x", **options), str(path), notes), notes


def _table(**columns):
    size = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"P{k:03d}" for k in range(size)])


@given(
    st.lists(st.sampled_from(["Leeds", "Bristol", "St. Mary's", "Köln/West", "Ost, 2", None]),
             min_size=4, max_size=40),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_indicators_span_the_space_of_dummies_and_the_reference_is_named(tmp_path_factory, values):
    table = _table(centre=values, age=list(range(len(values))))
    levels = table["centre"].value_counts()
    folder = tmp_path_factory.mktemp("people")
    if len(levels) < 2:
        return
    terms, notes = _read(folder, table)
    base = next(level for level in sorted(levels.index) if levels[level] == levels.max())
    assert f"a category of {len(levels)} levels; the reference is {base}" in "; ".join(notes)
    own = terms.filter(like="centre")
    assert own.shape[1] == len(levels) - 1
    assert not own.columns.str.contains(r"[\s,/']").any()
    known = table["centre"].notna().to_numpy()
    assert (own.isna().all(axis=1).to_numpy() == ~known).all()
    dummies = pd.get_dummies(table["centre"][known]).to_numpy(float)
    ours = np.column_stack([np.ones(known.sum()), own[known]])
    both = np.linalg.matrix_rank(np.column_stack([ours, dummies]))
    assert np.linalg.matrix_rank(ours) == both == len(levels)


def test_numbers_that_are_codes_become_indicators_where_they_are_declared(tmp_path):
    table = _table(code=["11010", "11011.0", "11011", "11018"] * 5)
    assert _read(tmp_path, table)[0].columns.tolist() == ["code"]
    terms, _ = _read(tmp_path, table, categories=["code"])
    assert terms.columns.tolist() == ["code_11010", "code_11018"]
    assert terms["code_11018"].sum() == 5


@pytest.mark.parametrize(
    ("yes", "no"), [("TRUE", "FALSE"), ("Yes", "no"), ("t", "f"), ("Y", "N"), ("True", "0")]
)
def test_yes_and_no_are_1_and_0(tmp_path, yes, no):
    terms, _ = _read(tmp_path, _table(smoker=[yes, no, None, yes]))
    assert terms["smoker"].tolist() == pytest.approx([1, 0, np.nan, 1], nan_ok=True)


def test_declared_codes_are_missing_in_every_column_or_in_their_own(tmp_path):
    table = _table(bmi=[25.5, -1, -9, 30, 28, "-3.0"], score=[-1, -3, 2, 0.5, 1, -2.5])
    terms, notes = _read(tmp_path, table, missing_codes={"bmi": [-1, -3, -9]})
    assert terms["bmi"].isna().tolist() == [False, True, True, False, False, True]
    assert terms["score"].tolist() == [-1, -3, 2, 0.5, 1, -2.5]
    assert "3 values of bmi are codes for a missing value (-1: 1, -3.0: 1, -9: 1)" in notes
    terms, _ = _read(tmp_path, table, missing_codes=[-1, -3, "none"])
    assert terms.isna().sum().tolist() == [2, 2]


def test_a_level_that_looks_like_a_missing_code_is_reported(tmp_path):
    table = _table(code=[11010, 11011, 11010, -9, -9, 11011, 11010])
    terms, notes = _read(tmp_path, table, categories=["code"])
    assert terms.columns.tolist() == ["code_-9", "code_11011"]
    assert any("code holds -9 2 times, and it was used as a level" in note for note in notes)


def test_what_is_declared_must_be_a_covariate():
    for wrong in ({"categories": ["centr"]}, {"missing_codes": {"bmj": [-9]}}):
        with pytest.raises(ValidationError, match="is declared and is no covariate"):
            Participants(path="x", covariates=["age:centre", "bmi^2"], **wrong)
    Participants(path="x", covariates=["age:centre", "bmi^2"], missing_codes={"bmi": [-9]})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([25.1, 30.2, -9, 28.3], "x holds -9 1 time,"),
        ([3, 2, 1, -1, -3, 1], "x holds -1 1 time,"),
        ([61.5, 70.2, 65.1, 999, 64, 66, 62, 63, 61, 65, 999] * 3, "x holds 999 6 times,"),
        ([-0.5, 0.3, 1.1, -1.2, 0.1, -9, 0.4, -0.2], "x holds -9 1 time,"),
        ([-2.5, 0.3, 1.1, -1, 0.5], None),  # a score
        ([-1, 0, 1, 1, 0, -1], None),  # a contrast
        ([-9.5, -9, 3, 4, 5, -8.2], None),
        ([61, 62, 63, 64], None),
    ],
)
def test_a_single_undeclared_missing_code_is_reported(tmp_path, caplog, values, told):
    with caplog.at_level(logging.WARNING, "ecg_spark"):
        terms, notes = _read(tmp_path, _table(x=values))
    assert terms["x"].tolist() == values
    for text in ("; ".join(notes), caplog.text):
        assert told in text if told else text == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("participant_id;x\nP1;61,5\nP2;70\nP3;1,25\n", [61.5, 70, 1.25]),
        ('participant_id,x\nP1,"61,5"\nP2,"0,250"\nP3,3\n', [61.5, 0.25, 3]),
        ("participant_id;x\nP1;61.5\nP2;1e2\nP3;.5\n", [61.5, 100, 0.5]),
        ("participant_id\tx\nP1\t-61,5\nP2\t.\nP3\tNA\n", [-61.5, np.nan, np.nan]),
    ],
)
def test_decimal_commas_are_read(tmp_path, text, expected):
    terms, notes = _read(tmp_path, None, text)
    assert terms["x"].tolist() == pytest.approx(expected, nan_ok=True)
    assert notes == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("participant_id;x\nP1;1,234\nP2;2,000\nP3;3\n", "x .* commas that may separate thousands"),
        ('participant_id,x\nP1,"1,234.5"\nP2,3\n', "x .* commas that may separate thousands"),
        ("participant_id;x\nP1;1,5\nP2;2.5\nP3;3\n", "x .* 1 values with a decimal comma"),
        ("participant_id;x;y\nP1;1,5;2.345\nP2;2;1.2\n", "decimal commas in x and .* points in y"),
        ("participant_id;x;y\nP1;;1\nP2;NA;2\n", "x .* has no values"),
        ("participant_id;x\n" + "".join(f"P{k};name {k}\n" for k in range(40)), "40 different"),
        ("participant_id;x;x_b\n" + "".join(f"P{k};{'ab'[k % 2]};{k}\n" for k in range(5)),
         "same name, x_b"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_certain_is_refused_by_name(tmp_path, text, says):
    covariates = [name for name in text.split("\n")[0].split(";")[1:] if name] or ["x"]
    with pytest.raises(DataError, match=says):
        _read(tmp_path, None, text, covariates=covariates)


def test_a_category_has_products_but_no_square(tmp_path):
    table = _table(age=[50.0, 60, 70, 40], sex=["M", "F", "F", "F"], x=[1, 2, 3, 5])
    terms, _ = _read(tmp_path, table, covariates=["sex", "age:sex", "x^2:sex"])
    assert terms.columns.tolist() == ["sex_M", "age:sex_M", "x^2:sex_M"]
    is_man = np.array([0.75, -0.25, -0.25, -0.25])
    np.testing.assert_allclose(terms["age:sex_M"], [-5 * 0.75, -5 * 0.25, -15 * 0.25, 15 * 0.25])
    np.testing.assert_allclose(terms["x^2:sex_M"], (table["x"] - 2.75) ** 2 * is_man)
    with pytest.raises(DataError, match=r"sex .* is a category and cannot be squared"):
        _read(tmp_path, table, covariates=["sex^2"])


def test_a_covariate_with_a_single_level_is_reported_and_left_out(tmp_path):
    table = _table(sex=["F"] * 4, code=["7"] * 4, age=[1, 2, 3, 5])
    terms, notes = _read(tmp_path, table, categories=["code"])
    assert terms.columns.tolist() == ["age"]
    assert "the covariate sex has a single level (F) and is left out" in notes
    assert "the covariate code has a single level (7) and is left out" in notes


def test_indicators_that_follow_from_others_are_left_out_and_told(tmp_path):
    centre = ["a", "b", "c", "a", "b", "c", "a"]
    table = _table(centre=centre, region=["n" if one == "a" else "s" for one in centre])
    terms, _ = _read(tmp_path, table)
    usable, notes = usable_covariates(terms)
    assert usable.columns.tolist() == ["centre_b", "centre_c"]
    assert notes == ["the covariate region_n follows from those before it and is left out"]


def test_a_study_may_ask_for_no_covariate(tmp_path):
    terms, notes = _read(tmp_path, _table(age=[1, 2, 3]), covariates=[])
    assert (terms.shape, notes) == ((3, 0), [])
    assert usable_covariates(terms)[0].shape == (3, 0)


def test_rows_that_repeat_a_participant_or_name_nobody_are_told(tmp_path):
    text = "participant_id,x\n7,1\n7.0,2\n,3\n8,4\n"
    terms, notes = _read(tmp_path, None, text)
    assert terms["x"].to_dict() == {"7": 1, "8": 4}
    assert [note[:6] for note in notes] == ["1 rows", "1 rows"]


@pytest.mark.parametrize(
    ("codes", "expected", "told"),
    [
        (["M", "F", "male", "Female", "U", "U", "7"], [1, 0, 1, 0, *[np.nan] * 3], "U: 2, 7: 1"),
        (["1", "0", "1.0", "0", None], [1, 0, 1, 0, np.nan], None),
        (["1", "2", "2", "0"], [1, 0, 0, np.nan], "0: 1"),  # 0 is unknown to PLINK
        (["1", "2", "-9", "1"], [1, 0, np.nan, 1], "-9: 1"),
        ([f"1951-03-{k:02d}" for k in range(1, 9)], [np.nan] * 8, "8 different ones"),
    ],
)
def test_unknown_codes_of_sex_are_reported_with_their_counts(tmp_path, codes, expected, told):
    path = tmp_path / "people.csv"
    _table(sex=codes).to_csv(path, index_label="participant_id")
    notes = []
    found = read_sex(Participants(path="x"), str(path), notes)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert bool(notes) == bool(told)
    assert all("not a known sex" in note and told in note for note in notes)


def test_a_sex_column_that_the_study_names_must_be_there(tmp_path):
    path = tmp_path / "people.csv"
    _table(age=[1, 2]).to_csv(path, index_label="participant_id")
    assert read_sex(Participants(path="x"), str(path)) is None
    with pytest.raises(DataError, match=r"no column gender; .*participants\.sex"):
        read_sex(Participants(path="x", sex="gender"), str(path))


def test_a_table_without_a_header_is_refused_without_its_first_person(tmp_path):
    for text in ("P001,60,0\nP002,61,1\n", "Secret7,low,a\nSecret8,high,b\nSecret9,low,b\n"):
        with pytest.raises(DataError, match="its first row does not look like a header") as caught:
            _read(tmp_path, None, text)
        assert not any(word in str(caught.value) for word in ("P001", "Secret7"))
