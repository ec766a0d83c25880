"""Predictions in REGENIE's files: written, read, and taken from its own."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.loco import (
    ROWS,
    Loco,
    kept_variance,
    row_of,
    take_loco,
    write_list,
    write_loco,
)
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.null_model.ridge import residual_phenotypes
from ecg_spark.study import Gwas

N = 7
IDS = [f"A_{i}" if i % 2 else f"S{i}" for i in range(N)]  # an underscore belongs to the id
RNG = np.random.default_rng(1)
COVARIATES = pd.DataFrame({"age": np.arange(N) % 3}, IDS)


def predictions(shift=0.0):
    return {row: (shift + RNG.normal(size=N)).astype(np.float32) for row in ROWS}


@pytest.fixture
def run(tmp_path):
    """Two phenotypes' predictions as a run keeps them, and the phenotypes."""
    phenotypes = pd.DataFrame({"a": RNG.normal(size=N), "b": 3 * RNG.normal(size=N)}, IDS)
    values = {"a": predictions(), "b": predictions()}
    for name, own in values.items():
        write_loco(str(tmp_path / f"{name}.loco"), IDS, own)
    write_list(str(tmp_path / "predictions.list"), {name: f"{name}.loco" for name in values})
    return str(tmp_path / "predictions.list"), phenotypes, values


def spread(values):
    design = np.column_stack([np.ones(N), COVARIATES])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return np.sqrt((left**2).sum() / (N - 2))


def test_what_a_run_keeps_is_taken_back_in_any_order_of_people(run):
    path, phenotypes, values = run
    order = phenotypes.index[::-1]
    loco = take_loco(path, phenotypes.loc[order], COVARIATES.loc[order])
    for contig, row in (("1", "1"), ("chr22", "22"), ("X", "23"), ("chrM", "23")):
        found = loco.without(contig)
        assert list(found.index) == list(order)
        for name in ("a", "b"):
            expected = values[name][row].astype(float) * spread(phenotypes[name])
            assert found[name].loc[IDS].to_numpy() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=50)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_single_floats_are_kept_as_they_are(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("loco") / "one.loco"
    lines = write_loco(str(path), list(range(len(drawn))), {"1": np.array(drawn, np.float32)})
    start, stop = lines["1"]
    content = path.read_bytes()
    assert stop == len(content)
    words = content[start:stop].split()
    assert words[0] == b"1"
    assert np.array_equal(np.array(words[1:], np.float32), np.array(drawn, np.float32))


def test_a_contig_without_a_line_of_its_own_has_the_last():
    assert [row_of(one) for one in ("7", "chr7", "X", "Y", "chrM", "other")] == ["7"] * 2 + [
        "23"
    ] * 4


def test_predictions_that_do_not_fit_are_refused(run, tmp_path):
    path, phenotypes, _ = run

    def refused(match, table=phenotypes):
        with pytest.raises(DataError, match=match) as caught:
            take_loco(path, table, COVARIATES.reindex(table.index).fillna(1.0))
        assert "S0" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)

    refused("no file for 1 of 3 phenotypes, c among", phenotypes.assign(c=1.0))
    more = pd.concat([phenotypes, phenotypes.iloc[:2].rename(index=lambda s: f"new{s}")])
    refused("2 of the 9 people analysed are in no file", more)
    content = (tmp_path / "b.loco").read_text()
    header, *rows = content.splitlines()
    lacking = [" ".join([*row.split()[:2], "NA", *row.split()[3:]]) for row in rows]
    (tmp_path / "b.loco").write_text("\n".join([header, *lacking]) + "\n")
    refused("1 people have a phenotype and no prediction")
    known = phenotypes.copy()
    known.loc[IDS[1], "b"] = np.nan
    assert take_loco(path, known, COVARIATES).without("1")["b"].isna().sum() == 1
    (tmp_path / "b.loco").write_text(content.replace("0_S0 ", "0_S9 "))
    refused("have different people")
    (tmp_path / "b.loco").write_text("\n".join([header, *rows[:5]]) + "\n")
    refused("FID_IID and a line for each")
    (tmp_path / "b.loco").unlink()
    refused("does not exist")
    for name in ("a", "b"):
        (tmp_path / f"{name}.loco").write_text(content.replace("0_S2 ", "5_S0 "))
    refused("more than once")
    (tmp_path / "predictions.list").write_text("a a.loco.gz\nb b.loco.gz\n")
    refused("compressed")
    (tmp_path / "predictions.list").write_text("a\n")
    refused("a phenotype and a file on every line")


def test_the_predictions_that_regenie_published_are_taken(shared_data, tmp_path):
    folder = shared_data / "genotypes/regenie-published"
    tables = [
        pd.read_csv(folder / name, sep=" ", dtype={"IID": str}).set_index("IID").drop(columns="FID")
        for name in ("phenotype.txt", "covariates.txt")
    ]
    (tmp_path / "list").write_text("".join(f"Y{k} {folder}/fit_lin_out_{k}.loco\n" for k in (1, 2)))
    loco = take_loco(str(tmp_path / "list"), *tables)
    assert not loco.without("1").any(axis=None)
    found = loco.without("X")
    phenotypes = tables[0]
    # In the units of the phenotype they predict, as its log tells, 1.8 and 1.4 % of what is left.
    design = np.column_stack([np.ones(500), tables[1].loc[found.index]])
    for name, share in (("Y1", 0.018), ("Y2", 0.0136)):
        left = phenotypes.loc[found.index, name].to_numpy(float)
        left = left - design @ np.linalg.lstsq(design, left, rcond=None)[0]
        assert np.corrcoef(left, found[name])[0, 1] ** 2 == pytest.approx(share, abs=1e-3)
        assert 1 - ((left - found[name]) ** 2).sum() / (left**2).sum() > 0.01


def test_predictions_without_their_null_model_are_refused():
    with pytest.raises(ValueError, match="set null_model to whole_genome"):
        Gwas(predictions="fit_pred.list")
    assert Gwas(predictions="fit_pred.list", null_model="whole_genome").predictions


def test_what_predictions_leave_of_a_phenotype_is_known(spark, tmp_path):
    rng = np.random.default_rng(9)
    ids = [f"S{i}" for i in range(80)]
    covariates = pd.DataFrame({"age": rng.normal(size=80)}, ids)
    phenotypes = pd.DataFrame(rng.normal(size=(80, 2)), ids, ["a", "b"])
    phenotypes.loc[ids[:9], "b"] = np.nan
    basis = basis_of(covariates.to_numpy())
    left, known, scale = residual_phenotypes(phenotypes.to_numpy(), basis)
    lines = []
    for k, share in enumerate((0.5, 0.0)):
        predicted = {row: np.where(known[:, k], share, 3) * left[:, k] for row in ROWS}
        lines.append(write_loco(f"{tmp_path}/{k}.loco", ids, predicted))
    files = tuple(f"{tmp_path}/{k}.loco" for k in (0, 1))
    loco = Loco(
        files, tuple(lines), np.arange(80), phenotypes.index, ("a", "b"), tuple(scale), ("1",), {}
    )
    assert kept_variance(spark, loco, phenotypes, covariates) == pytest.approx(
        {"a": 0.25, "b": 1.0}, rel=1e-5
    )
