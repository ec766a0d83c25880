"""Loci of a study sought in another cohort: outcome, power, the direction of an omnibus test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from scipy import stats

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts import replication as rep
from ecg_spark.genetics.outputs.reading import open_cohort
from tests.builders import cohorts as given

PLANTED = 40
PEOPLE = 3000
THRESHOLDS = {"vae": 5.0, "vae omnibus": 5.0, "traits": 5.0}


def test_the_direction_is_the_combination_with_the_largest_z():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 8))
    covariance = root @ root.T
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd)
    z = rng.normal(size=5)
    best = rep.along(rep.direction(z, correlation), z, correlation)
    assert best**2 == pytest.approx(z @ np.linalg.solve(correlation, z))  # the omnibus statistic
    for _ in range(20):
        assert rep.along(rng.normal(size=5), z, correlation) <= best
    # A combination chosen elsewhere is a standard normal deviate where there is no effect.
    noise = rng.multivariate_normal(np.zeros(5), correlation, 20_000)
    scores = rep.along(rep.direction(z, correlation), noise, correlation)
    assert stats.kstest(scores, "norm").pvalue > 0.01


def test_phenotypes_of_which_one_follows_from_the_others_have_a_direction():
    root = np.array([[1, 0], [0, 1], [0.6, 0.8]])
    weights = rep.direction(root @ [1.0, 2.0], root @ root.T)
    assert np.isfinite(weights).all()
    assert rep.along(weights, root @ [1.0, 2.0], root @ root.T) == pytest.approx(5**0.5)


@cases(st.floats(5.5, 60), st.floats(3, 5.4))
def test_an_effect_corrected_for_selection_is_smaller_and_explains_what_was_seen(z, passed):
    found = float(rep.shrunk(z, passed))
    assert 0 <= found <= z
    assert float(rep.shrunk(-z, passed)) == -found
    beyond = np.linspace(-80, 80, 400_001)
    density = stats.norm.pdf(beyond, found) * (np.abs(beyond) > passed)
    if found > 1e-6:
        assert (beyond * density).sum() / density.sum() == pytest.approx(z, rel=1e-3)


@pytest.fixture(scope="module")
def sought(spark, tmp_path_factory):
    """The loci of a cohort sought in another, in which the same is planted; and both tables."""
    folder = tmp_path_factory.mktemp("replication")
    rng = np.random.default_rng(5)
    effects = {(6 * k, k % 2): size for k, size in enumerate(rng.uniform(0.08, 0.25, PLANTED))}
    one = given.results(1, 600, 2, PEOPLE, effects)
    two = given.results(2, 600, 2, PEOPLE // 3, effects)
    gone = sorted(two["position"].unique())[0]
    two = two[two["position"] != gone]
    here = open_cohort(spark, str(given.write_output(folder / "one", one)), "cohort 1 (one)")
    other = given.swapped(given.on_other_strand(two, 3), 2)
    there = open_cohort(spark, str(given.write_ssf(folder / "two", other)), "cohort 2 (two)")
    loci = loci_of(one)
    summary = rep.replicate(spark, here, loci, THRESHOLDS, there, str(folder / "out"))
    return summary, pd.read_parquet(folder / "out/replication"), loci, one, two, effects


def loci_of(table):
    """Loci of the single latents, of the latents together, and one of a trait."""
    table = table.assign(
        contig="chr" + table["chromosome"].map(str),
        neg_log10_p=-np.log10(2 * stats.norm.sf(np.abs(table["beta"] / table["se"]))),
        rsid=None,
    )
    best = table.sort_values("neg_log10_p").drop_duplicates("position", keep="last")
    found = best[best["neg_log10_p"] > THRESHOLDS["vae"]]
    together = found.head(9).assign(
        phenotype="vae omnibus", method="vae omnibus", beta=np.nan, se=np.nan
    )
    trait = found.head(1).assign(phenotype="qt_ms", method="traits")
    columns = [*rep.REPLICATION.schema.names[:10], "n"]
    return pd.concat([found.assign(method="vae"), together, trait])[columns].astype(
        {"position": "int32", "rsid": object}
    )


def test_each_locus_has_the_result_that_the_other_cohort_has(sought):
    _, table, loci, one, two, _ = sought
    assert len(table) == len(loci)
    single = table[table["method"] == "vae"].set_index("position")
    there = two.set_index(["position", "phenotype"])
    for position, row in single.iterrows():
        if row["outcome"] in (rep.NO_VARIANT, rep.UNCLEAR_STRAND):
            continue
        own = there.loc[(position, row["phenotype"])]
        assert row["beta_there"] == pytest.approx(own["beta"], rel=1e-6)
        assert row["se_there"] == pytest.approx(own["se"], rel=1e-6)
        assert row["af_there"] == pytest.approx(own["af"], rel=1e-6)
        assert row["n_there"] == PEOPLE // 3
        assert row["same_sign"] == (np.sign(own["beta"]) == np.sign(row["beta"]))
    gone = sorted(one["position"].unique())[0]
    assert single.loc[gone, "outcome"] == rep.NO_VARIANT
    unclear = single["outcome"] == rep.UNCLEAR_STRAND
    assert unclear.any()
    pairs = single.loc[unclear, "ref"] + single.loc[unclear, "alt"]
    assert set(pairs) == {"TA"}
    assert table.set_index("method").loc["traits", "outcome"] == rep.NO_PHENOTYPE


def test_the_level_is_divided_by_the_loci_that_could_be_tested(sought):
    _, table, *_ = sought
    own = table[(table["method"] == "vae") & table["z_there"].notna()]
    critical = stats.norm.isf(0.05 / len(own) / 2)
    assert ((own["outcome"] == rep.REPLICATED) == (own["z_there"] > critical)).all()
    power = stats.norm.cdf(np.abs(own["beta"]) / own["se_there"] - critical)
    assert own["power"].to_numpy() == pytest.approx(power)
    assert (own["power_shrunk"] <= own["power"]).all()


def test_latents_together_are_tested_along_the_direction_found_here(sought):
    _, table, _, one, two, _ = sought
    own = table[(table["method"] == "vae omnibus") & table["z_there"].notna()]
    assert len(own) > 4
    names = ["vae_00", "vae_01"]
    for row in own.itertuples():
        scores = [
            side[side["position"] == row.position].set_index("phenotype").loc[names]
            for side in (one, two)
        ]
        here, there = (side["beta"].to_numpy() / side["se"].to_numpy() for side in scores)
        # The phenotypes are independent: their correlation at null variants is nearly none.
        assert row.z_there == pytest.approx(here @ there / np.sqrt(here @ here), abs=0.4)
    assert own["beta_there"].isna().all()
    assert own["power_shrunk"].isna().all()


def test_the_summary_counts_what_the_table_says(sought):
    summary, table, *_ = sought
    own = table[table["method"] == "vae"]
    told = summary["loci"]["vae"]
    assert told["loci"] == len(own)
    assert told["tested"] == own["z_there"].notna().sum()
    assert told["replicated"] == (own["outcome"] == rep.REPLICATED).sum()
    assert summary["loci"]["traits"]["tested"] == 0
    assert told["expected_shrunk"] <= told["expected"]


def test_the_share_that_replicates_is_what_the_power_promises():
    # Planted effects found in one cohort and sought in another, without a file.
    rng = np.random.default_rng(9)
    truth = rng.exponential(0.03, 40_000)
    here = truth + rng.normal(0, 0.01, truth.size)
    found = np.abs(here) / 0.01 > 5.45
    se_there = 0.012
    critical = 3.3
    there = np.sign(here[found]) * (truth[found] + rng.normal(0, se_there, found.sum())) / se_there
    share = (there > critical).mean()
    corrected = rep.shrunk(here[found] / 0.01, 5.45) * 0.01
    raw = stats.norm.cdf(np.abs(here[found]) / se_there - critical).mean()
    shrunk = stats.norm.cdf(np.abs(corrected) / se_there - critical).mean()
    assert shrunk < share < raw
    # Where the effect is known, the power is the share.
    known = stats.norm.cdf(truth[found] / se_there - critical).mean()
    assert share == pytest.approx(known, abs=0.01)


def test_a_study_without_a_locus_has_nothing_to_replicate(spark, tmp_path):
    folder = str(given.write_ssf(tmp_path / "one", given.results(1, 20, 1, 500)))
    cohort = open_cohort(spark, folder, "cohort 1 (x)")
    empty = pd.DataFrame(columns=rep.REPLICATION.schema.names)
    with pytest.raises(DataError, match="has no locus"):
        rep.replicate(spark, cohort, empty, THRESHOLDS, cohort, str(tmp_path))


def test_a_cohort_that_is_the_study_itself_is_refused(spark, tmp_path):
    table = given.results(1, 900, 1, 500)
    here = open_cohort(spark, str(given.write_ssf(tmp_path / "a", table)), "cohort 1 (a)")
    there = open_cohort(spark, str(given.write_output(tmp_path / "b", table)), "cohort 2 (b)")
    loci = loci_of(table.assign(beta=0.9).head(2))
    with pytest.raises(DataError, match="about 500 people in common"):
        rep.replicate(spark, here, loci, THRESHOLDS, there, str(tmp_path / "out"))
