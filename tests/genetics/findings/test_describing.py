"""The regions about loci and the genes, from the parts of a genotype set to tables."""

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.findings import regions as planning
from ecg_spark.genetics.findings.describing import Known, describe_regions
from ecg_spark.genetics.findings.gene_level import write_common_genes
from ecg_spark.genetics.findings.regions import regions_of
from ecg_spark.genetics.genotypes.excerpt import read_excerpt
from ecg_spark.genetics.genotypes.rows import as_dosages, decode
from ecg_spark.genetics.genotypes.view import packed_view
from ecg_spark.genetics.null_model.projection import residuals
from ecg_spark.genetics.testing.blocks import associate
from ecg_spark.genetics.testing.results import question
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT
from tests.builders.genotype_parts import sites_of, write_set

N, M, SHARED, OWN = 900, 160, 40, 110
ANY = Genotypes(path="x.bed", reference_genome="GRCh37", min_hwe_p=0)
SAMPLES = [f"S{i:03d}" for i in range(N)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Linked variants, half of them imputed, on two contigs; what one of them does to a latent and
    a trait, and another to the trait alone; a covariate that goes with both."""
    rng = np.random.default_rng(7)
    latent = np.empty((M, 2 * N))
    latent[0] = rng.normal(size=2 * N)
    for j in range(1, M):
        latent[j] = 0.9 * latent[j - 1] + np.sqrt(1 - 0.81) * rng.normal(size=2 * N)
    calls = (latent < rng.normal(0, 0.5, (M, 1))).reshape(M, N, 2).sum(axis=2).astype(float)
    values = calls.copy()
    values[1::2] = np.clip(values[1::2] + rng.normal(0, 0.15, (M // 2, N)), 0, 2)
    values[::3, :5] = np.nan
    contigs = ["1"] * 150 + ["2"] * 10
    sites = sites_of(contigs, 1_000_000 + 4_000 * np.arange(M)).assign(set=0)
    genotypes = write_set(tmp_path_factory.mktemp("set"), values, SAMPLES, sites)
    covariate = rng.normal(size=N)
    y = rng.normal(size=(N, 3)) + covariate[:, None]
    y[:, 0] += 0.5 * calls[SHARED]
    y[:, 2] += 0.45 * calls[SHARED] - 0.45 * calls[OWN]
    y[:60, 2] = np.nan
    phenotypes = pd.DataFrame(y, SAMPLES, ["vae_00", "vae_01", "qt_ms"])
    # Not in the order of the set, and not all of it.
    people = rng.permutation(SAMPLES)[:880]
    covariates = pd.DataFrame({"age": covariate}, SAMPLES)
    return genotypes, values, phenotypes.loc[people], covariates.loc[people]


@pytest.fixture(scope="module")
def asked(world):
    _, _, phenotypes, covariates = world
    return question(phenotypes, covariates, {"vae": ["vae_00", "vae_01"]}, None, None, None, None)


def _locus(place, method, phenotype):
    position = 1_000_000 + 4_000 * place
    return {
        "contig": "1", "position": position, "ref": "G", "alt": "A", "method": method,
        "phenotype": phenotype, "phenotypes": [phenotype], "start": position, "end": position,
    }  # fmt: skip


LOCI = (
    _locus(SHARED, "vae", "vae_00"),
    _locus(SHARED, "vae omnibus", "vae omnibus"),
    _locus(OWN, "traits", "qt_ms"),
)


def _known(world, asked):
    _, _, phenotypes, covariates = world
    modifiers = pd.DataFrame(
        {"is_male": 0.0, "age": 50 + covariates["age"], "unrelated": True}, phenotypes.index
    )
    groups = {"vae_00": "vae", "vae_01": "vae", "vae omnibus": "vae", "qt_ms": "traits"}
    at = 1_000_000 + 4_000 * SHARED
    genes = pd.DataFrame(
        [("1", at - 5, at + 5, "HERE", True), ("1", at - 9, at + 9, "RNA", False),
         ("1", 1, 9, "ELSEWHERE", True), ("2", at, at + 100_000, "THERE", True)],
        columns=["contig", "start", "end", "gene", "is_coding"],
    )  # fmt: skip
    does = pd.DataFrame(
        [("1", at, "T", "C", "HERE", "missense"), ("1", at, "A", "T", "HERE", "stop")],
        columns=[*VARIANT, "gene", "consequence"],
    )
    return Known(pd.Index(SAMPLES), {0: asked}, ANY, modifiers, groups, genes, does)


@pytest.fixture(scope="module")
def described(spark, world, asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    regions = regions_of(packed_view(world[0], "set"), LOCI)
    found = describe_regions(spark, regions, _known(world, asked), str(folder))
    return regions, found, folder


def test_an_excerpt_holds_the_dosages_of_the_set(world):
    genotypes, values, *_ = world
    packed = packed_view(genotypes, "set")
    people = np.array([5, 3, 700])
    chosen = np.array([0, 49, 50, 51, 60, 117, 155])
    excerpt = read_excerpt(packed.calls.only(chosen), people)
    held = np.empty((len(chosen), 3))
    for places, rows in excerpt.pieces:
        held[places] = decode(as_dosages(rows, 3))
    assert held == pytest.approx(values[np.ix_(chosen, people)], abs=1e-4, nan_ok=True)
    assert excerpt.sites["position"].tolist() == (1_000_000 + 4_000 * chosen).tolist()


def test_loci_of_which_the_regions_overlap_share_one(world, monkeypatch):
    packed = packed_view(world[0], "set")
    (one,) = regions_of(packed, LOCI)
    assert (one.start, one.end) == (910_000, 1_690_000)
    assert len(one.calls.at) == 150
    assert (one.is_whole, one.loci) == (True, (0, 1, 2))
    assert one.wanted == ("vae_00", "vae omnibus", "qt_ms")
    assert list(one.leads.values()) == [("vae_00", "vae omnibus"), ("qt_ms",)]
    assert regions_of(packed, []) == []
    # Of two that together would be too large each is its own, of one that is by itself not all.
    monkeypatch.setattr(planning, "MOST_VARIANTS", 120)
    apart = regions_of(packed, LOCI)
    assert [(own.is_whole, own.loci, len(own.calls.at)) for own in apart] == [
        (True, (0, 1), 103), (True, (2,), 102),
    ]  # fmt: skip
    monkeypatch.setattr(planning, "MOST_VARIANTS", 20)
    apart = regions_of(packed, LOCI)
    assert [(own.is_whole, len(own.calls.at)) for own in apart] == [(False, 20)] * 3
    assert [len(own.leads) for own in apart] == [1, 0, 1]


def test_sets_are_of_the_tests_and_lie_where_variants_act(spark, world, described):
    genotypes, _, phenotypes, covariates = world
    _, found, folder = described
    signals = pd.read_parquet(folder / "signals").set_index(["phenotype", "signal"])
    at = 1_000_000 + 4_000 * np.array([SHARED, OWN])
    assert sorted(signals.loc["qt_ms", "position"]) == at.tolist()
    assert signals.loc["vae_00", "position"].tolist() == [at[0]]
    assert signals.loc["vae omnibus", "position"].tolist() == [at[0]]
    assert len(found) == len(signals) == 4
    sets = pd.read_parquet(folder / "credible_sets")
    assert sets.groupby("phenotype").size().to_dict() == (
        signals.groupby("phenotype")["n_variants"].sum().to_dict()
    )
    sums = sets.groupby(["phenotype", "signal"])["probability"].sum()
    assert (sums >= 0.95).all()
    tests = associate(spark, genotypes, phenotypes, covariates, {}, thresholds=ANY)
    rows = (
        tests.selectExpr("position", "explode(results) as r").select("position", "r.*").toPandas()
    )
    both = sets[sets["phenotype"] != "vae omnibus"].merge(rows, on=["position", "phenotype"])
    assert len(both) == (sets["phenotype"] != "vae omnibus").sum()
    for key in ("beta", "se", "neg_log10_p", "af"):
        assert both[f"{key}_x"].to_numpy() == pytest.approx(both[f"{key}_y"].to_numpy(), rel=1e-6)


def test_a_cause_that_two_share_is_told_from_two_causes(described):
    pairs = pd.read_parquet(described[2] / "colocalisation")
    signals = pd.read_parquet(described[2] / "signals").set_index(["phenotype", "signal"])
    assert len(pairs) == 4
    assert pairs[[f"h{k}" for k in range(5)]].sum(axis=1).to_numpy() == pytest.approx(1)
    for one in pairs.itertuples():
        places = [
            signals.loc[(getattr(one, f"phenotype_{k}"), getattr(one, f"signal_{k}")), "position"]
            for k in (1, 2)
        ]
        if places[0] == places[1]:
            assert one.h4 > 0.9
            assert one.position == places[0]
        else:
            assert one.h3 > 0.9


def test_genes_and_consequences_are_those_at_the_variants(described):
    sets = pd.read_parquet(described[2] / "credible_sets")
    here = sets["position"] == 1_000_000 + 4_000 * SHARED
    assert {tuple(own) for own in sets.loc[here, "genes"]} == {("HERE",)}
    # As the other strand names its alleles.
    assert {tuple(own) for own in sets.loc[here, "consequences"]} == {("HERE missense",)}
    assert sets.loc[~here, "genes"].map(len).max() == 0
    signals = pd.read_parquet(described[2] / "signals")
    assert [tuple(own) for own in signals["genes"]].count(("HERE",)) == 3


def test_linkage_and_interactions_are_published_for_lead_variants(world, described):
    _, values, _, covariates = world
    linked = pd.read_parquet(described[2] / "ld")
    lead = linked[linked["lead"] == 1_000_000 + 4_000 * SHARED].sort_values("position")
    assert lead["position"].between(910_000, 1_410_000).all()
    assert len(lead) == 103
    people = [int(name[1:]) for name in covariates.index]
    x = values[:103, people]
    x = np.where(np.isnan(x), np.nanmean(x, axis=1)[:, None], x)
    left = residuals(x.T, covariates.to_numpy())
    r = np.corrcoef(left, rowvar=False)[SHARED]
    assert lead["r2"].to_numpy() == pytest.approx(r**2, rel=1e-4, abs=1e-6)
    changed = pd.read_parquet(described[2] / "interactions")
    assert changed[["phenotype", "position"]].to_numpy().tolist() == [
        ["vae_00", 1_160_000], ["qt_ms", 1_440_000],
    ]  # fmt: skip
    assert (changed["n_women"] == changed["n"]).all()
    assert changed["sex_beta"].isna().all()
    assert changed["age_neg_log10_p"].between(0, 5).all()


def test_a_region_that_is_too_large_has_linkage_and_no_sets(
    spark, world, asked, tmp_path, monkeypatch
):
    monkeypatch.setattr(planning, "MOST_VARIANTS", 20)
    regions = regions_of(packed_view(world[0], "set"), LOCI)
    found = describe_regions(spark, regions, _known(world, asked), str(tmp_path))
    assert found.empty
    assert pd.read_parquet(tmp_path / "credible_sets").empty
    assert len(pd.read_parquet(tmp_path / "ld")) == 40
    empty = describe_regions(spark, [], _known(world, asked), str(tmp_path / "none"))
    assert empty.columns.tolist() == found.columns.tolist()
    assert spark.read.schema("position int").parquet(str(tmp_path / "none/signals")).count() == 0


def test_genes_by_their_common_variants(spark, world, asked, tmp_path):
    genotypes, _, phenotypes, covariates = world
    packed, known = packed_view(genotypes, "set"), _known(world, asked)
    count = write_common_genes(spark, packed, known.genes, known.questions, ANY, str(tmp_path))
    table = pd.read_parquet(tmp_path / "common_genes").set_index(["gene", "phenotype"])
    assert count == 1
    assert len(table) == 3
    assert set(table["n_variants"]) == {5}
    tests = associate(spark, genotypes, phenotypes, covariates, {}, thresholds=ANY)
    rows = (
        tests.selectExpr("position", "explode(results) as r").select("position", "r.*").toPandas()
    )
    at = 1_000_000 + 4_000 * SHARED
    near = rows[rows["position"].between(at - 10_005, at + 10_005)]
    for name, own in near.groupby("phenotype"):
        df = own["n"].iloc[0] - 3
        score = (df + 1) * own["t"] ** 2 / (df + own["t"] ** 2)
        assert table.loc[("HERE", name), "chi2"] == pytest.approx(score.sum(), rel=1e-6)
    strong, weak = (table.loc[("HERE", name), "neg_log10_p"] for name in ("vae_00", "vae_01"))
    assert strong > 8 > 3 > weak
    assert write_common_genes(spark, packed, None, known.questions, ANY, str(tmp_path / "x")) == 0
