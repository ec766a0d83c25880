"""Mendelian randomisation of a study's factors on diseases of other people."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.mendelian.estimators import Effects, estimates
from ecg_spark.genetics.null_model.cohort import save_cohort
from ecg_spark.genetics.outputs.tables import OMNIBUS
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_z
from ecg_spark.report.mendelian import mendelian
from ecg_spark.report.sections import ReportInputs
from ecg_spark.store import Publication
from ecg_spark.study import Study
from ecg_spark.tables import ASSOCIATIONS, write_rows
from jobs import mr
from tests.builders.cohorts import on_other_strand, results, swapped, write_output, write_ssf
from tests.builders.genetics_data import cohort_of
from tests.builders.genotype_parts import sites_of, write_set
from tests.builders.study_file import MINIMAL

M, PEOPLE, CAUSAL = 240, 30_000, 0.4
LEADS = np.arange(0, M, 15)
"""600 kb apart, and so loci of their own."""
FEW = LEADS[:2]
NAMES = ["vae_00", "vae_01", "vae_02"]


@pytest.fixture(scope="module")
def study(spark, tmp_path_factory):
    """A factor with 16 loci, one with two and one with none; a disease in other people, on which
    the first acts by 0.4 and the second not, its alleles named otherwise in places."""
    folder = tmp_path_factory.mktemp("mr")
    rng = np.random.default_rng(3)
    effects = {
        (int(j), 0): float(one) for j, one in zip(LEADS, rng.uniform(0.08, 0.2, 16), strict=True)
    }
    effects |= {(int(j) + 5, 1): 0.15 for j in FEW}
    own = results(1, M, 3, PEOPLE, effects)
    on_disease = {(j, 0): CAUSAL * one for (j, k), one in effects.items() if k == 0}
    disease = results(2, M, 1, PEOPLE, on_disease)
    disease = swapped(on_other_strand(disease, 2), 3).assign(phenotype="fibrillation")
    disease = disease[disease["position"] != 1_000_000 + 40_000 * LEADS[4]]
    write_output(folder / "out", own)
    write_ssf(folder / "diseases", disease)
    contigs = "chr" + own["chromosome"].astype(str)
    rows = own.assign(contig=contigs, neg_log10_p=neg_log10_p_of_z(own["beta"] / own["se"]))
    rows["rsid"] = rows["rsid"].where(rows["rsid"].notna(), None)
    write_rows(rows[ASSOCIATIONS.schema.names].to_dict("records"), ASSOCIATIONS,
               f"{folder}/tests/associations")  # fmt: skip
    write_rows([], OMNIBUS, f"{folder}/tests/omnibus")
    first = rows[rows["phenotype"] == "vae_00"].reset_index(drop=True)
    ids = [f"S{k:02d}" for k in range(50)]
    calls = rng.binomial(2, first["af"].to_numpy(), (50, M)).T
    sites = sites_of(first["contig"]).assign(
        position=first["position"], ref=first["ref"], alt=first["alt"], is_candidate=True
    )
    write_set(folder / "genotypes" / VARIANTS, calls, ids, sites, part_variants=100)
    terms = pd.DataFrame({"age": rng.normal(size=50)}, ids)
    tested = pd.DataFrame(rng.normal(size=(50, 3)), ids, NAMES)
    cohort = cohort_of(pd.Series(ids, ids), tested, terms, pd.Series(True, ids), {"vae": NAMES})
    save_cohort(cohort, str(folder / "cohort"))
    return folder, own, disease


def _study(folder, outcomes):
    """A study file's content whose output is what was published."""
    content = MINIMAL | {"output": f"{folder}/out", "gwas": {"mr": {"outcomes": str(outcomes)}}}
    return Study.model_validate(content)


def _run(spark, folder, outcomes, out):
    """What the step does with what the steps before it have published."""
    inputs = {"genotypes": "genotypes", "cohort": "cohort", "associations": "tests"}
    context = SimpleNamespace(
        spark=spark,
        study=_study(folder, outcomes),
        inputs={step: SimpleNamespace(folder=f"{folder}/{own}") for step, own in inputs.items()},
        run=SimpleNamespace(folder=str(out)),
    )
    return mr.work(context)


def test_a_planted_effect_is_found_and_what_cannot_be_used_is_told(study, spark, tmp_path):
    folder, own, _ = study
    told = _run(spark, folder, folder / "diseases", tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out/mr_estimates")
    variants = pd.read_parquet(tmp_path / "out/mr_variants")
    assert set(table["exposure"]) == {"vae_00"}
    assert ((table["estimate"] - CAUSAL).abs() < 3 * table["se"]).all()
    assert (table["neg_log10_p"] > 6).sum() >= 3
    assert table["mean_f"].iloc[0] > 30
    first = variants[variants["exposure"] == "vae_00"]
    assert len(first) == len(LEADS)
    missing = first[first["use"] == "the variant is not there"]
    assert missing["position"].tolist() == [1_000_000 + 40_000 * LEADS[4]]
    unclear = first[first["use"] == "strand unclear there"]
    pairs = unclear["ref"] + unclear["alt"]
    assert pairs.isin(["TA", "AT", "CG", "GC"]).all()
    used = first[first["use"] == "used"]
    assert len(used) == table["variants"].iloc[0] == len(first) - len(missing) - len(unclear)
    assert told["pairs"] == 1
    assert told["variants"]["used"] >= len(used)
    assert told["notes"] == [
        "vae_01 on fibrillation: 2 of 2 lead variants can be used, and at least 3 are needed",
        "1 of 3 factors and traits have no locus at p < 5e-08: vae_02",
    ]
    # Alleles are those of the loci: the study's own effects are told as it has published them.
    by_place = own[own["phenotype"] == "vae_00"].set_index("position")
    assert used["exposure_beta"].to_numpy() == pytest.approx(
        by_place.loc[used["position"], "beta"].to_numpy()
    )
    columns = ("exposure_beta", "exposure_se", "outcome_beta", "outcome_se")
    again = estimates(Effects(*(used[name].to_numpy(float) for name in columns)))
    for one in again:
        row = table[table["method"] == one.method].iloc[0]
        assert (row["estimate"], row["se"]) == pytest.approx((one.estimate, one.se))
    assert used["estimate_without"].between(0.3, 0.5).all()
    published = Publication("mr", "out", {}, "", told, f"{tmp_path}/out")
    section = mendelian(ReportInputs(_study(folder, folder), {"mr": published}))
    assert [row[1] for row in section["mr_rows"]] == [
        "inverse variance, random", "Egger", "weighted median",
    ]  # fmt: skip
    assert section["mr_rows"][0][0] == "vae_00 on fibrillation"
    assert section["mr_threshold"] == pytest.approx(-np.log10(0.05))
    assert all(figure.axes for figure in section["figures"].values())


def test_outcomes_on_another_build_are_refused(study, spark, tmp_path):
    folder, _, disease = study
    write_ssf(tmp_path / "diseases", disease, build="GRCh37")
    with pytest.raises(DataError, match="lies on GRCh37 and the study on GRCh38: lift its files"):
        mr.check(_study(folder, tmp_path / "diseases"))
    with pytest.raises(DataError, match="neither the output of a study"):
        mr.check(_study(folder, tmp_path))
    with pytest.raises(DataError, match=r"GRCh38 and gwas\.mr\.outcomes on GRCh37"):
        _run(spark, folder, tmp_path / "diseases", tmp_path / "out")


def test_an_outcome_without_a_variant_of_the_study_is_told_and_no_error(study, spark, tmp_path):
    folder, _, disease = study
    write_ssf(tmp_path / "diseases", disease.assign(position=disease["position"] + 7))
    told = _run(spark, folder, tmp_path / "diseases", tmp_path / "out")
    assert told["pairs"] == 0
    assert told["notes"][0] == (
        "vae_00 on fibrillation: 0 of 16 lead variants can be used, and at least 3 are needed"
    )
    assert told["variants"] == {"the variant is not there": 18}
