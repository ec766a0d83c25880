"""People as they come: lists, ids, covariates and sexes of field files, and plink2's values."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.phenotypes import rank_inverse_normal, usable_covariates
from ecg_spark.genetics.people.matching import check_sex_coding, read_id_map
from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.ids import normal_id, read_id_list
from ecg_spark.participants import read_participants, read_sex
from ecg_spark.study import Genotypes, Gwas, Participants
from tests.builders.association_study import run_gwas
from tests.builders.genetics_data import least_squares, people, read_plink, write_plink

PLINK2 = shutil.which("plink2")


@pytest.fixture(scope="module")
def field(shared_data):
    return shared_data / "field" / "genotypes"


def _regressed(field, genotypes, phenotype, terms, owners=None, without=()):
    """N, and of each variant its frequency, beta and -log10 p, by least squares on all terms."""
    calls, sites, samples = read_plink(field / genotypes)
    values = pd.read_csv(field / phenotype, dtype=str).set_index("participant_id")["y"]
    names = [normal_id(one) for one in samples]
    names = [one if owners is None else owners.get(one) for one in names]
    known = [k for k, one in enumerate(names) if one in terms.index and names[k] not in without]
    usable, notes = usable_covariates(terms.loc[[names[k] for k in known]])
    chosen = [k for k in known if names[k] in usable.index]
    y = rank_inverse_normal(values.loc[usable.index].astype(float).to_numpy())
    rows = {}
    for rsid, x in zip(sites["rsid"], calls[:, chosen], strict=True):
        beta, _, t, df = least_squares(y, x, usable.to_numpy())
        p = -(np.log(2) + stats.t.logsf(abs(t), df)) / np.log(10)
        rows[rsid] = {"af": np.nanmean(x) / 2, "beta": beta, "neg_log10_p": p}
    return len(chosen), pd.DataFrame(rows).T, notes


def _is_as_plink2(field, folder, n, found):
    expected = pd.read_csv(field / "expected.tsv", sep="\t").query("folder == @folder")
    assert len(expected) >= 3
    assert set(expected["n"]) == {n}
    found = found.loc[expected["id"]]
    np.testing.assert_allclose(found["af"], expected["af"], atol=1e-4)
    np.testing.assert_allclose(found["beta"], expected["beta"], atol=1e-3)
    np.testing.assert_allclose(found["neg_log10_p"], expected["neg_log10_p"], atol=0.01)


def _terms(field, table, *covariates, notes=None, **options):
    settings = Participants(path="x", covariates=covariates or ("age", "sex"), **options)
    return read_participants(settings, str(field / table), notes)


@pytest.mark.parametrize(
    ("table", "folder", "covariates", "options"),
    [
        ("categories", "text", ("age", "sex", "centre", "array"), {}),
        ("categories", "declared", ("age", "sex", "code"), {"categories": ["code"]}),
        ("categories", "bool", ("age", "sex", "smoker"), {}),
        ("categories", "own-pc", ("age", "sex", "pc_1"), {}),
        ("codes", "codes", ("age", "sex", "bmi"), {"missing_codes": {"bmi": [-9, -1, -3]}}),
        ("codes", "codes", ("age", "sex", "bmi"), {"missing_codes": [-9, -1, -3]}),
        ("semicolons", "semicolons", ("age", "sex"), {}),
        ("decimal_comma", "semicolons", ("age", "sex"), {}),
    ],
)
def test_covariates_give_what_plink2_gives(field, table, folder, covariates, options):
    notes = []
    name = f"10-covariates/{table}.csv"
    terms = _terms(field, name, *covariates, notes=notes, **options)
    n, found, more = _regressed(field, "base/autosomes", "base/phenotype.csv", terms)
    _is_as_plink2(field, f"10-covariates/{folder}", n, found)
    if table == "codes":
        assert any("4 values of bmi are codes for a missing value" in note for note in notes)
        assert "4 of 200 samples lack a covariate and are left out" in more
    if folder == "text":
        assert any("centre is a category of 3 levels; the reference is" in note for note in notes)


def test_a_single_minus_9_is_noted(field):
    notes = []
    _terms(field, "10-covariates/lone_minus9.csv", "age", "sex", "bmi", notes=notes)
    assert any("bmi holds -9 1 time," in note for note in notes)


@pytest.mark.parametrize("table", ["float.csv", "float.parquet", "spaces.csv", "quoted.csv"])
def test_ids_of_any_column_are_the_same_people(field, table):
    n, found, _ = _regressed(
        field, "09-ids/set", "09-ids/phenotype.csv", _terms(field, f"09-ids/{table}")
    )
    _is_as_plink2(field, "09-ids", n, found)


def test_an_id_map_with_marks_and_blanks_is_read(field):
    owners = read_id_map(str(field / "09-id-map/bom_spaces.csv"))
    terms = _terms(field, "base/participants.csv")
    n, found, _ = _regressed(field, "09-id-map/set", "base/phenotype.csv", terms, owners)
    _is_as_plink2(field, "09-id-map", n, found)


def test_every_list_leaves_out_the_same_people(field):
    samples = read_plink(field / "base/autosomes")[2]
    lists = sorted((field / "08-lists").glob("*"))
    assert len(lists) > 10
    left_out = set()
    for path in lists:
        listed = read_id_list(str(path), "list genotypes.exclude")
        if path.name == "none.txt":
            with pytest.raises(DataError, match=r"None of the 3 ids in the list"):
                listed.among(samples)
            continue
        found, note = listed.among(samples)
        assert note == "10 of the 12 ids in the list genotypes.exclude are genotyped", path.name
        left_out.add(frozenset(found))
    (one,) = left_out
    terms = _terms(field, "base/participants.csv")
    n, found, _ = _regressed(field, "base/autosomes", "base/phenotype.csv", terms, without=one)
    _is_as_plink2(field, "08-lists", n, found)


@pytest.mark.skipif(PLINK2 is None, reason="plink2 is not installed")
def test_categories_with_a_rare_level_give_plink2_s_own_values(tmp_path):
    """plink2 makes the indicators itself, of the texts as they stand."""
    rng = np.random.default_rng(4)
    n = 180
    samples = [f"P{k:03d}" for k in range(n)]
    calls, _ = people(n, 12, seed=2)
    write_plink(tmp_path / "set", calls, samples)
    table = pd.DataFrame(
        {
            "age": rng.normal(60, 8, n).round(1),
            "centre": rng.choice(["Leeds", "Bristol", "Oxford"], n),
            "code": rng.choice([11010, 11011, 11018, 11020], n, p=[0.4, 0.3, 0.28, 0.02]),
        },
        pd.Index(samples, name="participant_id"),
    )
    table.loc[["P007", "P008"], "centre"] = "Wick"  # nobody else is from there
    table.loc["P009", "centre"] = None
    table.to_csv(tmp_path / "people.csv", sep=";")
    terms = _terms(tmp_path, "people.csv", *table.columns, categories=["code"])
    y = pd.Series(rng.normal(size=n), table.index, name="y").to_frame()
    y.to_csv(tmp_path / "phenotype.csv")
    theirs = table.assign(code="c" + table["code"].astype(str), FID=0, IID=table.index)
    theirs["centre"] = theirs["centre"].fillna("NONE")
    theirs["y"] = np.nan
    known = terms.notna().all(axis=1)
    theirs.loc[known, "y"] = rank_inverse_normal(y.loc[known, "y"].to_numpy())
    theirs = theirs[["FID", "IID", "y", *table.columns]]
    theirs.to_csv(tmp_path / "all.txt", sep=" ", index=False, na_rep="NA")
    command = [PLINK2, "--bfile", "set", "--glm", "hide-covar", "--covar", "all.txt",
               "--covar-name", *table.columns, "--pheno", "all.txt", "--pheno-name", "y",
               "--covar-variance-standardize", "age", "--out", "theirs",
               "--threads", "1", "--memory", "700"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    oracle = pd.read_csv(tmp_path / "theirs.y.glm.linear", sep="\t").set_index("ID")
    count, found, _ = _regressed(tmp_path, "set", "phenotype.csv", terms)
    assert set(oracle["OBS_CT"]) == {count} == {n - 1}
    sign = np.where(oracle["A1"] == "A", 1, -1)  # read_plink counts the first allele
    np.testing.assert_allclose(found.loc[oracle.index, "beta"], sign * oracle["BETA"], atol=1e-4)
    p = -np.log10(oracle["P"])
    np.testing.assert_allclose(found.loc[oracle.index, "neg_log10_p"], p, atol=1e-3)


MEN, WOMEN, UNKNOWN = 1.0, 0.0, np.nan


@pytest.mark.parametrize(
    ("reported", "says"),
    [
        ([WOMEN, MEN], "of 40 of 40 people: it is coded the other way round"),
        ([WOMEN, UNKNOWN], "of 20 of 20 people: it is coded the other way round"),
        ([MEN, MEN], None),  # half of them are
        ([MEN, WOMEN], None),
        ([UNKNOWN, UNKNOWN], None),
        ([MEN, MEN, MEN, WOMEN], "of 30 of 40 people, of one sex alone"),
    ],
)
def test_a_coding_that_most_people_contradict_is_refused(reported, says):
    is_male = pd.Series((reported * 20)[:40])
    x_f = pd.Series([0.97, -0.1] * 20)
    if len(reported) == 4:
        x_f[:] = 0.01  # nobody's X is a man's
    if says is None:
        check_sex_coding(x_f, is_male)
        return
    with pytest.raises(DataError, match=says):
        check_sex_coding(x_f, is_male)
    check_sex_coding(x_f[:8], is_male[:8])  # so few people say nothing


@pytest.fixture(scope="module")
def prepared(spark, field, tmp_path_factory):
    """The field's base set, imported and checked, without the listed people."""
    path = str(field / "base/set.bed")
    settings = Genotypes(path=path, reference_genome="GRCh37", components=2, min_maf=0,
                         exclude=str(field / "08-lists/two_columns.csv"))  # fmt: skip
    folder = str(tmp_path_factory.mktemp("people") / "genotypes")
    return settings, folder, prepare_genotypes(spark, settings, path, folder, 1)


def _tested(spark, field, prepared, tmp_path, table, *covariates, id_map=None):
    settings, folder, _ = prepared
    participants = Participants(path="x", covariates=covariates or ("age", "sex"))
    notes = []
    terms = read_participants(participants, str(table), notes)
    is_male = read_sex(participants, str(table), notes)
    y = pd.read_csv(field / "base/phenotype.csv").set_index("participant_id")[["y"]]
    return run_gwas(
        spark, folder, y, {"traits": ["y"]}, terms, settings.model_copy(update={"id_map": id_map}),
        Gwas(engine="blocks"), str(tmp_path / "gwas"), 1, is_male, notes,
    )  # fmt: skip


def test_excluded_people_stay_out_and_the_count_says_so(prepared):
    filters = {row["filter"]: row["samples"] for row in prepared[2]["filters"]}
    (name,) = [name for name in filters if name.startswith("not in the list")]
    assert "10 of the 12 ids" in name
    assert filters[name] == 190


def test_unknown_sexes_are_noted_and_the_study_s_own_component_stays(
    spark, field, prepared, tmp_path
):
    own = pd.read_csv(field / "10-covariates/categories.csv", dtype=str)
    table = pd.read_csv(field / "11-sex/codes.csv", dtype=str).assign(pc_1=own["pc_1"])
    table.to_csv(tmp_path / "people.csv", index=False)
    covariates = ("age", "is_man", "pc_1")
    summary = _tested(spark, field, prepared, tmp_path, tmp_path / "people.csv", *covariates)
    assert any("not a known sex (U: 5, 7: 2)" in note for note in summary["notes"])
    assert summary["analysed"] == 190
    assert summary["covariates"] == ["age", "is_man", "pc_1", "genotype_pc_1", "genotype_pc_2"]


def test_a_sex_coded_the_other_way_round_is_refused_before_any_test(
    spark, field, prepared, tmp_path
):
    with pytest.raises(DataError, match=r"contradicts the sex of \d+ of \d+ people: it is coded"):
        _tested(spark, field, prepared, tmp_path, field / "11-sex/inverted.csv")
    assert not (tmp_path / "gwas").exists()


def test_two_samples_of_a_person_are_told_as_what_they_are(spark, field, prepared, tmp_path):
    samples = read_plink(field / "base/set")[2]
    rows = [f"{sample},{'P001' if k == 4 else sample}\n" for k, sample in enumerate(samples)]
    (tmp_path / "ids.csv").write_text("sample_id,participant_id\n" + "".join(rows))
    with pytest.raises(DataError, match="1 person has 2 genotyped samples by the id map"):
        _tested(
            spark, field, prepared, tmp_path, field / "base/participants.csv",
            id_map=str(tmp_path / "ids.csv"),
        )  # fmt: skip
