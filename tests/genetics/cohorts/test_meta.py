"""Three cohorts combined in Spark against the formulas in NumPy; what is refused."""

import numpy as np
import pandas as pd
import pytest
import yaml

from ecg_spark.errors import DataError, UsageError
from ecg_spark.genetics.cohorts.fixed_effects import combine
from ecg_spark.genetics.cohorts.meta import meta_analyse
from ecg_spark.genetics.outputs.alleles import COMPLEMENT
from ecg_spark.genetics.outputs.reading import open_cohort
from tests.builders import cohorts as given

SITE = ["position", "phenotype"]
EFFECTS = {(3, 0): 0.35, (4, 0): 0.3, (250, 1): 0.4}
VARIANTS, PEOPLE = 300, (1500, 1000, 800)


@pytest.fixture(scope="module")
def tables():
    """Results of three cohorts in the same terms; some are missing, some variants in few."""
    found = [given.results(seed, VARIANTS, 2, n, EFFECTS) for seed, n in enumerate(PEOPLE)]
    found[0].loc[5::9, "beta"] = np.nan
    found[1] = found[1].drop(found[1].index[7::11])
    found[2] = found[2][found[2]["position"] < 11_000_000]
    return found


@pytest.fixture(scope="module")
def folders(tables, tmp_path_factory):
    """The same as they are given: in other orders of alleles and on other strands."""
    folder = tmp_path_factory.mktemp("cohorts")
    return [
        str(given.write_output(folder / "one", tables[0])),
        str(given.write_ssf(folder / "two", given.swapped(tables[1], 2))),
        str(given.write_ssf(folder / "three", given.on_other_strand(tables[2], 3))),
    ]


def opened(spark, folders):
    return [open_cohort(spark, one, f"cohort {k} (x)") for k, one in enumerate(folders, 1)]


def meta(spark, folders, out, **options):
    """The summary, and the associations in one order."""
    summary = meta_analyse(spark, opened(spark, folders), str(out), **options)
    table = pd.read_parquet(out / "associations")
    return summary, table.sort_values([*SITE, "ref"]).set_index(SITE)


@pytest.fixture(scope="module")
def combined(spark, folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("meta")
    return *meta(spark, folders, out), out


def expected(tables, factors=None):
    """The results that the formulas give, for the alleles that the tables have."""
    wide = [
        one[~_ambiguous_and_unclear(one, tables)].set_index(SITE)[["beta", "se", "n", "af"]]
        for one in tables
    ]
    both = pd.concat(wide, axis=1, keys=range(len(wide))).dropna(how="all")
    beta, se, n, af = (
        both.xs(name, axis=1, level=1).to_numpy(float) for name in ("beta", "se", "n", "af")
    )
    known = np.isfinite(beta)
    n, af = np.where(known, n, 0), np.where(known, af, 0)
    if factors is not None:
        se = se * [[factors[k][name] for k in range(len(wide))] for _, name in both.index]
    return both.index[known.any(axis=1)], combine(beta, se), beta, n, af, known.any(axis=1)


def _ambiguous_and_unclear(own, tables):
    """Which rows of a table are A/T with a frequency that tells no strand."""
    told = pd.concat(tables, keys=range(len(tables)), names=["k"]).dropna(subset="beta")
    cohorts = told.reset_index("k").groupby("position")["k"].nunique()
    af = own.dropna(subset="beta").groupby("position")["af"].first()
    unclear = (af.reindex(own["position"]).sub(0.5).abs() <= 0.1).to_numpy()
    shared = (cohorts.reindex(own["position"]) > 1).to_numpy()
    return ((own["ref"] == "T") & (own["alt"] == "A")).to_numpy() & unclear & shared


def test_every_result_is_what_the_formulas_give(tables, combined):
    _, found, _ = combined
    index, oracle, beta, n, af, some = expected(tables)
    assert len(found) == len(index)
    own = found.loc[index]
    assert not own.index.has_duplicates
    # Told for the allele and on the strand that most cohorts have, which need not be the tables'.
    alt = pd.concat(tables).drop_duplicates("position").set_index("position")["alt"]
    alt = alt.reindex(own.index.get_level_values(0)).to_numpy()
    ambiguous = (own["ref"] + own["alt"]).isin(["AT", "TA"]).to_numpy()
    other = np.array([COMPLEMENT.get(one, "") for one in own["alt"]])
    same = (own["alt"].to_numpy() == alt) | (~ambiguous & (other == alt))
    sign = np.where(same, 1, -1)
    assert same.mean() > 0.8
    # Where one of two cohorts names the other strand of A/T, nobody knows which.
    unsure = ambiguous & (own["cohorts"] == 2).to_numpy()
    agrees = np.sign(own["beta"]) == np.sign(oracle.beta[some])
    sign = np.where(unsure, np.where(agrees, 1, -1), sign)
    assert unsure.sum() < 0.2 * len(own)
    assert own["beta"].to_numpy() * sign == pytest.approx(oracle.beta[some], rel=1e-9)
    for name in ("se", "neg_log10_p", "q", "i2_percent", "het_neg_log10_p"):
        values = getattr(oracle, name)[some]
        assert own[name].to_numpy(float) == pytest.approx(values, rel=1e-6, abs=1e-7, nan_ok=True)
    assert own["cohorts"].tolist() == oracle.cohorts[some].tolist()
    assert own["n"].tolist() == n[some].sum(axis=1).tolist()
    frequency = (n * af)[some].sum(axis=1) / n[some].sum(axis=1)
    assert own["af"].where(sign > 0, 1 - own["af"]).to_numpy() == pytest.approx(frequency, rel=1e-6)
    signs = np.sign(beta[some] * sign[:, None])
    written = ["".join({1: "+", -1: "-"}.get(one, "?") for one in row) for row in signs]
    assert own["direction"].tolist() == written
    assert {1, 2, 3} == set(own["cohorts"])


def test_the_planted_effects_are_the_loci_and_neighbours_are_one(combined):
    summary, _, out = combined
    loci = pd.read_parquet(out / "loci").query("method == 'vae'").sort_values("position")
    assert summary["loci"]["vae"] == 3
    assert loci["position"].tolist() == [1_000_000 + 40_000 * one for one in (3, 4, 250)]
    assert loci["phenotypes"].map(list).tolist() == [["vae_00"], ["vae_00"], ["vae_01"]]
    assert (loci["neg_log10_p"] > summary["thresholds"]["vae"]).all()
    assert set(loci["cohorts"]) == {2, 3}


def test_latents_are_tested_together_by_their_correlation_in_each_cohort(tables, combined):
    summary, found, out = combined
    assert summary["not_together"] == {}
    omnibus = pd.read_parquet(out / "omnibus").set_index("position")
    assert (omnibus["neg_log10_p"] >= summary["thresholds"]["vae omnibus"]).sum() == 3
    assert summary["loci"]["vae omnibus"] == 3
    loci = pd.read_parquet(out / "loci").query("method == 'vae omnibus'")
    assert loci["beta"].isna().all()
    assert loci["direction"].isna().all()
    wide = [
        one[~_ambiguous_and_unclear(one, tables)]
        .assign(z=one["beta"] / one["se"])
        .pivot_table(["z", "se"], "position", "phenotype")
        for one in tables
    ]
    whole = [one.dropna() for one in wide]
    own = [
        position
        for position in omnibus.index
        if {position in one.index for one in whole} == {True}
        and (found.loc[position, "cohorts"] == 3).all()
    ]
    assert len(own) > 100
    beta, se = (
        np.stack(
            [(one["z"] * one["se"] if name == "z" else one["se"]).loc[own] for one in whole], 2
        )
        for name in ("z", "se")
    )
    correlations = []
    for one in wide:
        z = one["z"].where(one["z"].abs() < 4)
        both = z.dropna()
        r = (both.iloc[:, 0] * both.iloc[:, 1]).sum() / np.sqrt((both**2).sum().prod())
        correlations.append([[1, r], [r, 1]])
    for i, position in enumerate(own):
        inverses = [
            np.linalg.inv(np.diag(se[i, :, j]) @ correlations[j] @ np.diag(se[i, :, j]))
            for j in range(3)
        ]
        score = sum(a @ beta[i, :, j] for j, a in enumerate(inverses))
        chi2 = score @ np.linalg.solve(sum(inverses), score)
        assert omnibus.loc[position, "chi2"] == pytest.approx(chi2, rel=1e-6)
    assert set(omnibus["df"]) == {2}


def test_what_alignment_did_is_counted(combined):
    one, two, three = combined[0]["cohorts"]
    assert max(one["swapped"], one["other_strand"]) < 0.1 * VARIANTS  # of two that differ
    assert two["swapped"] > 0.25 * VARIANTS
    assert three["other_strand"] > 0
    assert three["by_frequency"] > 0
    assert min(each["unclear"] for each in (one, two, three)) > 0
    assert one["repeated"] == one["unknown_chromosome"] == 0


def test_another_order_of_the_cohorts_changes_signs_order_alone(spark, folders, combined, tmp_path):
    _, again = meta(spark, folders[::-1], tmp_path)
    found = combined[1].sort_values("ref", kind="stable").sort_index(kind="stable")
    again = again.sort_values("ref", kind="stable").sort_index(kind="stable")
    assert found["direction"].str[::-1].tolist() == again["direction"].tolist()
    names = [name for name in found.columns if name != "direction"]
    pd.testing.assert_frame_equal(found[names], again[names], rtol=1e-9, atol=1e-12)


def test_a_meta_analysis_is_a_cohort_of_the_same_model(spark, combined, tmp_path):
    out = combined[2]
    said = yaml.safe_load((out / "sumstats/vae_00.tsv.gz-meta.yaml").read_text())
    assert (said["genome_assembly"], said["encoder_sha256"]) == ("GRCh38", given.MODEL)
    cohort = open_cohort(spark, str(out / "sumstats"), "the whole")
    rows = [
        (row["position"], one["phenotype"], one["beta"], one["n"])
        for row in cohort.rows.collect()
        for one in row["results"]
    ]
    table = pd.DataFrame(rows, columns=[*SITE, "beta", "n"]).set_index(SITE).sort_index()
    own = combined[1].sort_index()
    assert table["beta"].to_numpy() == pytest.approx(own["beta"].to_numpy(), rel=1e-5)
    assert table["n"].tolist() == own["n"].tolist()


def test_genomic_control_multiplies_standard_errors(spark, tmp_path):
    tables = [given.results(seed, 400, 1, 1000) for seed in (1, 2)]
    tables[1]["beta"] *= 1.5  # lambda 2.25
    folders = [str(given.write_ssf(tmp_path / str(k), one)) for k, one in enumerate(tables)]
    summary, found = meta(spark, folders, tmp_path / "out", genomic_control=True)
    lambdas = [
        float(np.quantile((one["beta"] / one["se"]) ** 2, 0.5, method="inverted_cdf") / 0.45494)
        for one in tables
    ]
    told = [one["lambda"]["vae_00"] for one in summary["cohorts"]]
    assert told == pytest.approx(lambdas, abs=1e-3)
    assert told[1] > 1.7
    factors = [{"vae_00": max(1.0, one) ** 0.5} for one in told]
    index, oracle, *_, some = expected(tables, factors)
    assert found.loc[index]["se"].to_numpy() == pytest.approx(oracle.se[some], rel=1e-4)


def refused(spark, folders, tmp_path, says):
    with pytest.raises(DataError, match=says) as caught:
        meta(spark, folders, tmp_path / "out")
    assert str(caught.value).count(". ") == 0


def test_another_build_is_refused(spark, folders, tables, tmp_path):
    other = given.write_output(tmp_path / "other", tables[1], build="GRCh37")
    refused(spark, [folders[0], str(other)], tmp_path, r"GRCh38 and cohort 2 .* GRCh37: lift one")


@pytest.mark.parametrize(
    ("model", "says"), [("b" * 64, "from two models"), (None, "does not say which model")]
)
def test_latents_of_two_models_are_refused(spark, folders, tables, tmp_path, model, says):
    other = given.write_ssf(tmp_path / "other", tables[1], model=model)
    refused(spark, [folders[0], str(other)], tmp_path, says)


def test_frequencies_of_the_other_allele_are_refused_and_the_cohort_is_named(spark, tmp_path):
    tables = [given.results(seed, 500, 1, 1000) for seed in (1, 2, 3)]
    tables[1][["ref", "alt"]] = tables[1][["alt", "ref"]].to_numpy()
    folders = [str(given.write_ssf(tmp_path / str(k), one)) for k, one in enumerate(tables)]
    refused(spark, folders, tmp_path, r"the frequency in cohort 2 \(x\) differs by more than")


def test_positions_of_another_build_are_refused_though_the_sidecars_agree(spark, tmp_path):
    tables = [given.results(seed, 500, 1, 1000) for seed in (1, 2)]
    tables[1]["position"] += 1234
    folders = [str(given.write_ssf(tmp_path / str(k), one)) for k, one in enumerate(tables)]
    refused(spark, folders, tmp_path, "Hardly any variant of cohort 1 .* or cohort 2")


def test_people_in_two_cohorts_are_refused_with_their_number(spark, tmp_path):
    one, two = (given.results(seed, 2500, 3, 1000) for seed in (1, 2))
    shared = 0.3  # 300 of 1,000
    z = shared * one["beta"] / one["se"] + (1 - shared**2) ** 0.5 * two["beta"] / two["se"]
    two["beta"] = z * two["se"]
    folders = [str(given.write_ssf(tmp_path / str(k), each)) for k, each in enumerate((one, two))]
    refused(spark, folders, tmp_path, r"about (2[5-9]0|3[0-5]0) people in common")


def test_results_that_a_cohort_has_twice_are_left_out(spark, tmp_path):
    tables = [given.results(seed, 50, 1, 1000) for seed in (1, 2)]
    tables[1] = pd.concat([tables[1], given.swapped(tables[1].head(4))])
    folders = [str(given.write_ssf(tmp_path / str(k), one)) for k, one in enumerate(tables)]
    summary, found = meta(spark, folders, tmp_path / "out")
    assert summary["cohorts"][1]["repeated"] == 4
    assert (found.loc[tables[0]["position"].head(4), "direction"].str[1] == "?").all()


@pytest.mark.parametrize("number", [1, 51])
def test_too_few_and_too_many_cohorts_are_refused(spark, folders, tmp_path, number):
    cohorts = opened(spark, folders[:1]) * number
    with pytest.raises(UsageError, match="of 2 to 50 cohorts"):
        meta_analyse(spark, cohorts, str(tmp_path))


def test_files_that_lack_what_is_needed_are_refused(spark, tables, tmp_path):
    folder = given.write_ssf(tmp_path / "files", tables[1])
    sidecar = folder / "vae_00.tsv.gz-meta.yaml"
    content = sidecar.read_text()
    sidecar.unlink()
    with pytest.raises(DataError, match=r"vae_00.tsv.gz of x has no sidecar"):
        open_cohort(spark, str(folder), "x")
    sidecar.write_text("genome_assembly: GRCh37\n")
    with pytest.raises(DataError, match=r"several builds \(GRCh37, GRCh38\)"):
        open_cohort(spark, str(folder), "x")
    sidecar.write_text(content)
    (folder / "vae_01.tsv.gz").write_bytes(b"chromosome")
    with pytest.raises(DataError, match=r"vae_01.tsv.gz of x has no column chromosome"):
        open_cohort(spark, str(folder), "x")
    with pytest.raises(DataError, match="neither the output of a study"):
        open_cohort(spark, str(tmp_path / "nothing"), "x")
