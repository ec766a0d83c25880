"""Which variants are tested in whom: conditions met in the field, held against plink2 and NumPy."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.phenotypes import rank_inverse_normal
from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.participants import read_participants, read_sex
from ecg_spark.study import Genotypes, Gwas, Participants
from tests.builders.association_study import run_gwas
from tests.builders.genetics_data import least_squares, people
from tests.builders.genotype_parts import write_set

CALLS = {"min_maf": 0.0, "min_info": 0.0, "min_hwe_p": 0.0, "components": 0}
"""Settings under which the smallest sets are tested as they are."""


def _study(
    spark, folder, participants, phenotype, covariates=("age", "sex"), null_model="none",
    **genotypes,
):  # fmt: skip
    """The two genetic steps on a set: summaries, associations, flow."""
    settings = Genotypes(**{"reference_genome": "GRCh37"} | CALLS | genotypes)
    prepared = prepare_genotypes(spark, settings, settings.path, str(folder / "genotypes"), 1)
    columns = Participants(path=str(participants), covariates=covariates)
    y = pd.read_csv(phenotype, dtype={"participant_id": str}).set_index("participant_id")[["y"]]
    summary = run_gwas(
        spark,
        str(folder / "genotypes"),
        y.rename(columns={"y": "pr_ms"}),
        {"vae": [], "pca": [], "traits": ["pr_ms"]},
        read_participants(columns, str(participants)),
        settings,
        Gwas(null_model=null_model, engine="blocks"),
        str(folder / "gwas"),
        1,
        read_sex(columns, str(participants)),
    )
    tests = pd.read_parquet(folder / "gwas/associations/associations")
    places = ("genotypes", "gwas/cohort", "gwas/associations")
    parts = [pd.read_parquet(folder / place / "flow") for place in places]
    analysed = pd.read_parquet(folder / "gwas/cohort/analysed")
    return SimpleNamespace(
        prepared=prepared, summary=summary, tests=tests.set_index("rsid"), flow=pd.concat(parts),
        analysed=analysed, folder=folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def field(shared_data):
    folder = shared_data / "field/genotypes"
    if not folder.is_dir():
        pytest.skip("the conditions met in the field are not beside this checkout")
    return folder


@pytest.fixture(scope="module")
def expected(field):
    columns = ["path", "n", "contig", "position", "rsid", "effect", "other", "af", "beta", "logp"]
    table = pd.read_csv(field / "expected.tsv", sep="\t")
    return table.set_axis([*columns, *table.columns[len(columns) :]], axis=1)


def _assert_as_expected(study, expected, path, tolerance=0.001):
    rows = expected[expected["path"] == path]
    assert len(rows)
    for row in rows.itertuples():
        found = study.tests.loc[row.rsid]
        assert found["n"] == row.n
        assert found["af"] == pytest.approx(row.af, abs=1e-3)
        assert found["beta"] == pytest.approx(row.beta, abs=tolerance)
        assert found["neg_log10_p"] == pytest.approx(row.logp, abs=10 * tolerance)


def _left_out(study, unit):
    rows = study.flow[~study.flow["reason"].isin(["came in", "went on"])]
    return rows[rows["unit"] == unit].groupby("reason")["n"].sum().to_dict()


def _assert_flow_adds_up(study):
    for _, rows in study.flow.groupby(["step", "unit"]):
        by = rows.set_index("reason")["n"]
        assert by["came in"] == by.drop("came in").sum()
    ends = study.flow.set_index(["step", "unit", "reason"])["n"]
    for step, unit in (("cohort", "samples"), ("associations", "variants")):
        assert ends["genotypes", unit, "went on"] == ends[step, unit, "came in"]
    assert ends["cohort", "samples", "went on"] == study.summary["analysed"] == len(study.analysed)
    assert ends["cohort", "people", "went on"] == study.summary["analysed"]
    assert (
        ends["associations", "variants", "went on"] == study.summary["variants"] == len(study.tests)
    )


def test_everybody_who_is_left_out_is_told_with_the_reason(spark, field, expected, tmp_path):
    own = field / "12-flow"
    study = _study(
        spark, tmp_path, own / "participants.csv", own / "phenotype.csv", ("age", "sex", "bmi"),
        path=str(own / "set.bed"), exclude=str(own / "withdrawn.txt"), min_sample_call_rate=0.95,
    )  # fmt: skip
    _assert_as_expected(study, expected, "12-flow")
    _assert_flow_adds_up(study)
    assert study.summary["analysed"] == 173
    assert _left_out(study, "samples") == {
        "in the list genotypes.exclude": 6,
        "sample call rate < 0.95": 3,
        "no participant with a phenotype": 4,
        "not in the participant table": 7,
        "reported sex contradicts the X chromosome": 2,
        "a covariate is missing": 5,
    }
    assert study.summary["left_out"]["samples"] == _left_out(study, "samples")
    (sidecar,) = (tmp_path / "gwas/associations/sumstats").glob("*-meta.yaml")
    assert "6 left out: in the list genotypes.exclude" in " ".join(sidecar.read_text().split())
    ids = set(study.analysed["participant_id"])
    assert not any(name in json.dumps(study.summary) + sidecar.read_text() for name in ids)


def test_thresholds_are_of_the_people_analysed(spark, field, expected, tmp_path):
    own = field / "07-analysed"
    study = _study(
        spark, tmp_path, own / "participants.csv", field / "base/phenotype.csv",
        path=str(own / "set.bed"), min_mac=20,
    )  # fmt: skip
    _assert_as_expected(study, expected, "07-analysed")
    _assert_flow_adds_up(study)
    assert not {"rs1004", "rs1006", "rs1008"} & set(study.tests.index)
    assert _left_out(study, "variants") == {  # rs1006, rs1008 and rs1004
        "does not vary in the people analysed": 1,
        "minor allele count < 20 in the people analysed": 1,
        "too rare in all genotyped for any choice of people": 1,
    }
    assert study.tests["se"].max() < 1


def test_lists_and_regions_choose_what_is_tested(spark, field, expected, tmp_path):
    study = _study(
        spark, tmp_path, field / "base/participants.csv", field / "base/phenotype.csv",
        path=str(field / "base/autosomes.bed"), keep_variants=str(field / "07-choice/keep.txt"),
        exclude_variants=str(field / "07-choice/exclude.txt"),
    )  # fmt: skip
    chosen = [5, 6, *range(10, 20)]
    assert sorted(study.tests.index) == sorted(f"rs{1000 + i}" for i in chosen)
    _assert_flow_adds_up(study)
    assert any("15 of the 15 names" in note for note in study.summary["notes"])
    rows = expected[expected["path"] == "base/set.bed"].set_index("rsid").loc[study.tests.index]
    np.testing.assert_allclose(study.tests["beta"], rows["beta"], atol=0.001)
    np.testing.assert_allclose(study.tests["neg_log10_p"], rows["logp"], atol=0.01)


def test_y_is_not_missing_in_women(spark, field, expected, tmp_path):
    study = _study(
        spark, tmp_path, field / "base/participants.csv", field / "base/phenotype.csv",
        path=str(field / "05-y-in-women/set.bed"),
    )  # fmt: skip
    _assert_as_expected(study, expected, "05-y-in-women")
    _assert_flow_adds_up(study)
    assert _left_out(study, "variants")["on chromosome Y"] == 10


def test_components_and_relatives_come_from_the_set_of_the_model(spark, field, expected, tmp_path):
    own = field / "06-model-set"
    study = _study(
        spark, tmp_path, field / "base/participants.csv", field / "base/phenotype.csv",
        path=str(own / "imputed.bgen"), model=str(own / "array.bed"),
    )  # fmt: skip
    _assert_as_expected(study, expected, "06-model-set", 0.005)
    _assert_flow_adds_up(study)
    assert study.prepared["structure_variants"] > 20


def test_x_is_tested_in_those_who_have_it(spark, field, expected, tmp_path):
    own = field / "06-x-fewer-samples"
    study = _study(
        spark, tmp_path, field / "base/participants.csv", field / "base/phenotype.csv",
        path=str(own / "autosomes.bgen"), separate=(str(own / "x.bgen"),),
    )  # fmt: skip
    _assert_as_expected(study, expected, "06-x-fewer-samples")
    _assert_flow_adds_up(study)
    autosomal = study.tests[study.tests["contig"] != "X"]
    assert set(autosomal["n"]) == {200}
    rows = expected[expected["path"] == "base/set.bed"].set_index("rsid").loc[autosomal.index]
    np.testing.assert_allclose(autosomal["beta"], rows["beta"], atol=0.001)
    assert any("193 of the 200 samples" in note for note in study.prepared["notes"])


def test_whole_genome_regression_stands_on_the_model_and_tests_each_set_in_its_own_people(
    spark, field, expected, tmp_path
):
    x, model = field / "06-x-fewer-samples", field / "06-model-set/array.bed"
    study = _study(
        spark, tmp_path, field / "base/participants.csv", field / "base/phenotype.csv",
        null_model="whole_genome", path=str(x / "autosomes.bgen"), separate=(str(x / "x.bgen"),),
        model=str(model),
    )  # fmt: skip
    _assert_flow_adds_up(study)
    assert set(study.summary["predicted_by_genome"]) == {"pr_ms"}
    rows = expected[expected["path"] == "06-x-fewer-samples"].set_index("rsid")
    found = study.tests.loc[rows.index]
    assert (found["n"] == rows["n"]).all()
    assert {193, 200} == set(study.tests["n"])
    # What other chromosomes predict of a phenotype is nearly nothing beside these effects.
    np.testing.assert_allclose(found["af"], rows["af"], atol=1e-3)
    np.testing.assert_allclose(found["beta"], rows["beta"], atol=0.1)


SITES = pd.DataFrame(
    {
        "contig": ["1", "1", "2", "X", "X"],
        "position": [1_000, 2_000, 2_000, 1_000_000, 5_000_000],
        "ref": ["A", "A", "G", "AT", "C"],
        "alt": ["G", "C", "A", "A", "T"],
        "rsid": ["rs1", "rs2", "2:2000_G_A", ".", "rs5"],
    }
)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Five variants as a set of one sample."""
    table = SITES.assign(rsid=SITES["rsid"].where(SITES["rsid"] != ".", None))
    return write_set(tmp_path_factory.mktemp("sites"), np.ones((5, 1)), ["S"], table, 2)


def _positions(genotypes):
    return genotypes.sites(["position"])["position"].tolist()


LISTS = {
    "ids.txt": ("rs1\nrs5\nrs9\n", [0, 4], "2 of the 3"),
    "one-line.txt": ("rs1 rs5", [0, 4], "2 of the 2"),
    "windows.csv": ("\ufeffSNP,P\r\n\"rs2\",0.5\r\n\"rs5\",0.1\r\n", [1, 4], "2 of the 2"),
    "places.txt": ("chr1:1000:A:G\n1_2000_C_A\n23:1000000:AT:A\nX:5000000:C:G\n", [0, 1, 3],
                   "3 of the 4"),
    "sites.pvar": ("##x\n#CHROM\tPOS\tID\tREF\tALT\n1\t2000\trs2\tA\tC\n", [1], "1 of the 1"),
    "sites.bim": ("1\trs1\t0\t1000\tG\tA\nX\trs5\t0\t5000000\tT\tC\n", [0, 4], "2 of the 2"),
    "named.txt": ("2:2000_G_A\n", [2], "1 of the 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_variants_of_any_form_names_the_same(spark, sites, tmp_path, name):
    from ecg_spark.genetics.genotypes.choice import EXCLUDED, NOT_KEPT, choose

    text, named, told = LISTS[name]
    (tmp_path / name).write_bytes(text.encode())
    for key, reason in (("keep_variants", NOT_KEPT), ("exclude_variants", EXCLUDED)):
        settings = Genotypes(path="a.bed", reference_genome="GRCh37", **{key: str(tmp_path / name)})
        chosen, counts, (note,) = choose(spark, sites, settings)
        left = named if key == "keep_variants" else [i for i in range(5) if i not in named]
        assert _positions(chosen) == SITES["position"].iloc[left].tolist()
        assert counts == {reason: 5 - len(left)}
        assert note.startswith(told)


@pytest.mark.parametrize(
    ("text", "message"),
    [("rs77\nrs78\n", "None of the 2 names"), ("", "is empty"), (None, "cannot be read")],
)
def test_a_list_that_names_nothing_is_refused(spark, sites, tmp_path, text, message):
    from ecg_spark.genetics.genotypes.choice import choose

    path = tmp_path / "list.txt"
    if text is not None:
        path.write_text(text)
    settings = Genotypes(path="a.bed", reference_genome="GRCh37", exclude_variants=str(path))
    with pytest.raises(DataError, match=message):
        choose(spark, sites, settings)


def test_regions_include_both_ends(spark, sites):
    from ecg_spark.genetics.genotypes.choice import ELSEWHERE, choose

    regions = ["chr1:2,000-3000", "2:2000", "x:5000000-"]
    settings = Genotypes(path="a.bed", reference_genome="GRCh37", regions=regions)
    chosen, counts, _ = choose(spark, sites, settings)
    assert _positions(chosen) == [2_000, 2_000, 5_000_000]
    assert counts == {ELSEWHERE: 2}
    with pytest.raises(DataError, match="chooses no variant"):
        choose(spark, sites, settings.model_copy(update={"regions": ("22",)}))


@pytest.mark.parametrize(
    "region", ["1:30-20", "27", "PAR1", "1:a-b", "1:250000000", "1:0", "", "1-2"]
)
def test_an_invalid_region_is_refused(region):
    from ecg_spark.genetics.genotypes.choice import intervals

    with pytest.raises(DataError, match=r"genotypes\.regions"):
        intervals([region], "GRCh37")


def test_a_variant_that_varies_only_as_a_covariate_does_has_no_test(spark, hail, tmp_path):
    from ecg_spark.genetics.testing.hail import associate

    calls, _ = people(80, 6, seed=3)
    names = [f"S{i}" for i in range(80)]
    rng = np.random.default_rng(1)
    terms = pd.DataFrame({"centre": (np.arange(80) % 2) * 1.0, "age": rng.normal(size=80)}, names)
    calls[2] = 2 * terms["centre"]
    calls[4], calls[4, 7] = 0, 1
    y = pd.DataFrame({"pr_ms": rank_inverse_normal(rng.normal(size=80))}, names)
    genotypes = write_set(tmp_path, calls, names)
    rows = associate(spark, genotypes, "GRCh37", y, terms, {}).orderBy("position").collect()
    found = [row.results[0] for row in rows]
    assert [found[2][key] for key in ("beta", "se", "neg_log10_p")] == [None] * 3
    for j in (0, 4):
        beta, se, _, _ = least_squares(y["pr_ms"].to_numpy(), calls[j].astype(float), terms)
        assert (found[j].beta, found[j].se) == pytest.approx((beta, se), rel=1e-6)
