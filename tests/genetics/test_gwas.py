"""The two steps of the genetics room, from files to loci and exchange files."""

import gzip
import hashlib
import json
import os

import numpy as np
import pandas as pd
import pytest
import yaml

from ecg_spark.errors import DataError
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER
from ecg_spark.genetics.people.matching import read_id_map
from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.study import Genotypes, Gwas, Rare
from tests.builders.association_study import run_gwas
from tests.builders.genetics_data import people, write_plink

N, M = 300, 4_400
SAMPLES = [f"P{7 * i % N:03d}" for i in range(N)]  # not in the order of their ids
CAUSAL, HIDDEN = 900, 3_000


@pytest.fixture(scope="module")
def biobank(tmp_path_factory):
    """Two populations on four chromosomes, one pair of twins, a planted variant for a latent and
    one that moves five latents a little."""
    calls, population = people(N, M, seed=8, populations=2, fst=0.05)
    rng = np.random.default_rng(9)
    calls[[CAUSAL, HIDDEN]] = rng.binomial(2, 0.5, (2, N))
    calls[:, 299] = calls[:, 297]
    contigs = [str(1 + j // 1_100) for j in range(M)]
    positions = 500_000 + 20_000 * (np.arange(M) % 1_100)
    samples = SAMPLES
    path = write_plink(
        tmp_path_factory.mktemp("biobank") / "set", calls, samples, contigs, positions
    )
    values = rng.normal(size=(N, 8)) + population[:, None]
    values[:, 0] += 0.9 * calls[CAUSAL]
    values[:, :5] += 0.35 * calls[HIDDEN][:, None]
    table = pd.DataFrame(values, samples, [f"vae_{i:02d}" for i in range(8)])
    table["pca_00"] = rng.normal(size=N)
    table["pca_01"] = 3.0
    table["pr_ms"] = rng.normal(160, 20, N)
    table.loc[samples[::10], "pr_ms"] = np.nan
    groups = {
        "vae": [f"vae_{i:02d}" for i in range(8)],
        "pca": ["pca_00", "pca_01"],
        "traits": ["pr_ms"],
    }
    covariates = pd.DataFrame(
        {"age": rng.normal(60, 8, N), "sex": rng.integers(0, 2, N) * 1.0}, samples
    )
    settings = Genotypes(path=path, reference_genome="GRCh37", components=2)
    return settings, table, groups, covariates


@pytest.fixture(scope="module")
def prepared(spark, hail, biobank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("genotypes")
    settings = biobank[0]
    return folder, prepare_genotypes(spark, settings, settings.path, str(folder), 1)


@pytest.fixture(scope="module")
def studied(spark, biobank, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gwas")
    settings, table, groups, covariates = biobank
    # Participants come in another order than samples, and some of them have no genotypes.
    shuffled = pd.concat(
        [table.sample(frac=1, random_state=1), table.iloc[:3].set_axis(list("xyz"))]
    )
    position = 500_000 + 20_000 * (CAUSAL % 1_100)
    (folder / "genes.gtf").write_text(
        f'chr1\tx\tgene\t{position + 1_000}\t{position + 9_000}\t.\t+\t.\tgene_id "NEAR";\n'
    )
    (folder / "known.tsv").write_text(f"Chr_id\tChr_pos\n1\t{position - 9_000}\n")
    places = [position, position + 20_000, position + 40_000]
    rows = [f"1,{place},{alleles},NEAR,1" for place in places for alleles in ("A,G", "A,C")]
    (folder / "variants.csv").write_text("\n".join(["contig,position,ref,alt,gene,weight", *rows]))
    gwas = Gwas(
        genes=str(folder / "genes.gtf"),
        published=str(folder / "known.tsv"),
        rare=Rare(genes=str(folder / "variants.csv"), max_maf=(0.5,)),
    )
    summary = run_gwas(
        spark, str(prepared[0]), shuffled, groups, covariates, settings, gwas, str(folder), 1
    )
    return folder, summary


def test_prepared_genotypes_tell_who_is_related_and_from_where(prepared):
    folder, summary = prepared
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["samples"], summary["unrelated"], summary["related_pairs"]) == (N, N - 1, 1)
    assert summary["filters"][0] == {"filter": "as imported", "samples": N, "variants": M}
    assert summary["variants"] == summary["filters"][-1]["variants"]
    assert sorted(p.name for p in folder.glob("[!.]*")) == [
        "flow", "relatives", "scores", "variants",
    ]  # fmt: skip
    scores = pd.read_parquet(folder / "scores").set_index("s")
    assert scores.index[~scores["unrelated"]][0] in (SAMPLES[297], SAMPLES[299])
    pairs = pd.read_parquet(folder / "relatives")
    assert set(pairs[["s1", "s2"]].iloc[0]) == {SAMPLES[297], SAMPLES[299]}
    assert pairs["kinship"].tolist() == pytest.approx([0.5], abs=0.01)
    components = np.array(scores.loc[SAMPLES, "pc"].tolist())
    assert abs(np.corrcoef(components[:, 0], np.arange(N) % 2)[0, 1]) > 0.95


def test_planted_variants_are_found_each_by_its_method(studied):
    folder, summary = studied
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["participants"], summary["matched"], summary["analysed"]) == (303, 300, 299)
    assert summary["covariates"] == ["age", "sex", "pc_1", "pc_2"]
    assert any("pca_01 is constant" in note for note in summary["notes"])
    assert summary["phenotypes"] == {"vae": 8, "pca": 1, "traits": 1}
    assert summary["tests_of_a_variant"] == 12
    assert set(summary["thresholds"]) == {"vae", "vae omnibus", "pca", "pca omnibus", "traits"}
    # The omnibus test of the one component is its own test.
    threshold = -np.log10(5e-8 / 11)
    assert list(summary["thresholds"].values()) == pytest.approx([threshold] * 5, abs=0.05)
    assert 0.95 < summary["mean_lambda"]["vae omnibus"] < 1.05
    assert summary["degrees_of_freedom"] == {"vae omnibus": 8, "pca omnibus": 1}
    assert 0.9 < summary["mean_lambda"]["vae"] < 1.12
    tests = pd.read_parquet(folder / "associations/associations").query("phenotype == 'pr_ms'")
    expected = ((tests["beta"] / tests["se"]) ** 2).mean()
    assert summary["mean_chi2"]["traits"] == pytest.approx(expected, abs=1e-4)
    assert 0.9 < summary["mean_chi2"]["traits"] < 1.1
    loci = pd.read_parquet(folder / "findings/loci")
    single, joint = (loci[loci["method"] == name] for name in ("vae", "vae omnibus"))
    causal = ("1", 500_000 + 20_000 * (CAUSAL % 1_100), "vae_00")
    hidden = ("3", 500_000 + 20_000 * (HIDDEN % 1_100), "vae omnibus")
    rows = ["contig", "position", "phenotype"]
    assert list(single[rows].itertuples(index=False, name=None)) == [causal]
    assert hidden in set(joint[rows].itertuples(index=False, name=None))
    assert joint["beta"].isna().all()
    assert set(loci["method"]) == {"vae", "vae omnibus"}
    assert summary["loci"]["traits"] == 0


def test_a_gene_is_tested_by_its_variants_however_their_alleles_are_called(studied):
    folder, summary = studied
    genes = pd.read_parquet(folder / "rare/genes").set_index("phenotype")
    assert summary["genes"] == 1
    assert set(genes["gene"]) == {"NEAR"}
    sets = pd.read_parquet(folder / "rare/gene_sets").set_index("phenotype")
    assert (sets["n_variants"] == 3).all()
    assert genes["neg_log10_p"].idxmax() == sets["skat_neg_log10_p"].idxmax() == "vae_00"
    assert genes.loc["vae_00", "neg_log10_p"] > summary["gene_threshold"]
    assert "vae omnibus" in genes.index
    assert any(
        note.startswith("3 of the 6 rows of the gene table") and note.endswith("other way round")
        for note in summary["notes"]
    )


def test_tables_hold_every_test(studied):
    folder, summary = studied
    associations = pd.read_parquet(folder / "associations/associations")
    omnibus = pd.read_parquet(folder / "associations/omnibus")
    assert len(associations) == 10 * summary["variants"]
    assert len(omnibus) == 2 * summary["variants"]
    assert set(omnibus["model"]) == {"vae", "pca"}
    n = associations.groupby("phenotype")["n"].first()
    assert (n["vae_00"], n["pr_ms"]) == (299, 269)
    alone = associations[associations["phenotype"] == "pca_00"].set_index(["contig", "position"])
    joint = omnibus[omnibus["model"] == "pca"].set_index(["contig", "position"])
    joint = joint.loc[alone.index]
    common = 2 * alone["n"] * np.minimum(alone["af"], 1 - alone["af"]) >= FEWEST_TOGETHER
    assert 0 < common.sum() < len(common)
    assert joint.loc[~common, "neg_log10_p"].isna().all()
    # An omnibus test of one phenotype is the test of that phenotype.
    assert joint.loc[common, "neg_log10_p"].to_numpy() == pytest.approx(
        alone.loc[common, "neg_log10_p"].to_numpy(), rel=1e-9
    )


def test_a_locus_tells_its_signals_its_gene_and_what_is_published(studied):
    folder, _ = studied
    loci = pd.read_parquet(folder / "findings/loci").set_index("method")
    lead = loci.loc["vae"]
    assert (lead["n_signals"], lead["nearest_gene"], lead["gene_distance_bp"]) == (1, "NEAR", 1_000)
    assert lead["published"]
    assert not loci.loc[["vae omnibus"], "published"].all()
    assert (lead["set_variants"], round(lead["set_pip"], 3)) == (1, 1)
    assert loci.loc["vae omnibus", ["n_signals", "set_variants"]].to_numpy().tolist() == (
        [[1, 1]] * len(loci.loc[["vae omnibus"]])
    )
    table = pd.read_parquet(folder / "findings/signals")
    signals = table[table["phenotype"] == "vae_00"]
    assert signals[["signal", "position", "n_variants"]].to_numpy().tolist() == [
        [1, lead["position"], 1]
    ]
    joint = table[table["phenotype"] == "vae omnibus"]
    assert joint["beta"].isna().all()
    alone = loci.loc[["vae omnibus"]].set_index("position")["neg_log10_p"]
    assert joint["neg_log10_p"].to_numpy() == pytest.approx(alone.loc[joint["position"]].to_numpy())
    sets = pd.read_parquet(folder / "findings/credible_sets")
    assert len(sets) == table["n_variants"].sum()
    single = pd.read_parquet(folder / "associations/associations").query(
        "phenotype == 'vae_00' and contig == '1' and position == @lead.position"
    )
    # The effect of one signal is that of the test itself.
    assert signals["beta"].to_numpy() == pytest.approx(single["beta"].to_numpy(), rel=1e-5)
    assert signals["neg_log10_p"].to_numpy() == pytest.approx(
        single["neg_log10_p"].to_numpy(), rel=1e-5
    )


def test_heritability_and_genetic_correlation_are_published(studied):
    folder, summary = studied
    table = pd.read_parquet(folder / "findings/heritability").set_index("phenotype")
    assert len(table) == 10
    assert table.loc["pr_ms", "n"] == 269
    assert (table["variants"] == summary["ld_score_variants"]).all()
    associations = pd.read_parquet(folder / "associations/associations").query(
        "phenotype == 'vae_01'"
    )
    associations = associations[associations["af"].between(0.01, 0.99)]
    chi2 = (associations["beta"] / associations["se"]) ** 2
    assert table.loc["vae_01", "mean_chi2"] == pytest.approx(chi2.mean(), rel=1e-9)
    pairs = pd.read_parquet(folder / "findings/genetic_correlation")
    assert len(pairs) == 9 * 8 // 2
    assert not {"pca_00"} & (set(pairs["phenotype_1"]) | set(pairs["phenotype_2"]))


def test_summary_statistics_are_sorted_and_have_their_metadata(studied):
    folder, summary = studied
    path = folder / "associations/sumstats/vae_00.tsv.gz"
    table = pd.read_csv(path, sep="\t", na_values="#NA")
    assert list(table.columns[:8]) == [
        "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta",
        "standard_error", "effect_allele_frequency", "neg_log_10_p_value",
    ]  # fmt: skip
    assert len(table) == summary["variants"]
    places = list(zip(table["chromosome"], table["base_pair_location"], strict=True))
    assert places == sorted(places)
    found = pd.read_parquet(folder / "associations/associations").query("phenotype == 'vae_00'")
    both = table.merge(found.assign(chromosome=found["contig"].astype(int)),
                       left_on=["chromosome", "base_pair_location"],
                       right_on=["chromosome", "position"])  # fmt: skip
    assert both["beta_x"].to_numpy() == pytest.approx(both["beta_y"].to_numpy(), rel=1e-6)
    assert (both["effect_allele"] == both["alt"]).all()
    sidecar = yaml.safe_load((folder / "associations/sumstats/vae_00.tsv.gz-meta.yaml").read_text())
    assert sidecar["data_file_md5sum"] == hashlib.md5(path.read_bytes()).hexdigest()
    assert sidecar["genome_assembly"] == "GRCh37"
    assert sidecar["samples"][0]["sample_size"] == 299
    assert sidecar["analysis_software"].endswith("linear_regression_rows")
    assert not list((folder / "associations/sumstats").glob(".*"))


def test_regenie_reads_what_it_needs_and_its_own_format_is_written(studied, prepared):
    folder, summary = studied
    for name, count in (("phenotypes", 10), ("covariates", 4)):
        table = pd.read_csv(folder / f"cohort/regenie/{name}.txt", sep=" ", dtype={"IID": str})
        assert list(table.columns[:2]) == ["FID", "IID"]
        assert table.shape == (299, 2 + count)
        fam = pd.read_csv(prepared[0] / "variants/samples.fam", sep=r"\s+", header=None, dtype=str)
        assert set(table["IID"]) <= set(fam[1])
        assert set(table["FID"].astype(str)) == set(fam[0])
    assert (
        pd.read_csv(folder / "cohort/regenie/phenotypes.txt", sep=" ")["pr_ms"].isna().sum() == 30
    )
    theirs = pd.read_csv(folder / "associations/sumstats/regenie/vae_00.regenie.gz", sep=" ")
    assert " ".join(theirs.columns) == (
        "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ INFO N TEST BETA SE CHISQ LOG10P EXTRA"
    )
    ours = pd.read_csv(folder / "associations/sumstats/vae_00.tsv.gz", sep="\t")
    assert len(theirs) == len(ours) == summary["variants"]
    assert theirs["ALLELE1"].tolist() == ours["effect_allele"].tolist()
    assert theirs["LOG10P"].to_numpy() == pytest.approx(ours["neg_log_10_p_value"], rel=1e-6)
    assert theirs["CHISQ"].to_numpy() == pytest.approx((ours["beta"] / ours["standard_error"]) ** 2,
                                                       rel=1e-5)  # fmt: skip


def test_pairing_at_random_has_no_association_and_says_so(spark, biobank, prepared, tmp_path):
    settings, table, groups, covariates = biobank
    random = settings.model_copy(update={"pairing": "random"})
    strangers = table.rename(index=lambda name: f"E{name}")
    people_of_them = covariates.rename(index=lambda name: f"E{name}")
    summary = run_gwas(
        spark, str(prepared[0]), strangers, {"vae": groups["vae"]}, people_of_them, random,
        Gwas(engine="blocks"), str(tmp_path), 5,
    )  # fmt: skip
    assert summary["analysed"] == 299
    assert summary["loci"] == {"vae": 0, "vae omnibus": 0}
    assert len(pd.read_parquet(tmp_path / "findings/loci")) == 0
    sidecar = yaml.safe_load(
        (tmp_path / "associations/sumstats/vae_00.tsv.gz-meta.yaml").read_text()
    )
    assert "paired at random" in sidecar["author_notes"]
    with gzip.open(tmp_path / "associations/sumstats/vae_00.tsv.gz", "rt") as file:
        assert file.readline().startswith("chromosome\t")


def test_whole_genome_regression_keeps_relatives_and_finds_the_planted_variant(
    spark, biobank, prepared, tmp_path
):
    settings, table, groups, covariates = biobank
    (tmp_path / "ids.csv").write_text(
        "sample_id,participant_id\n" + "".join(f"{s},E{s}\n" for s in SAMPLES[1:])
    )
    settings = settings.model_copy(update={"id_map": str(tmp_path / "ids.csv")})
    table, covariates = (frame.rename(index=lambda s: f"E{s}") for frame in (table, covariates))
    summary = run_gwas(
        spark, str(prepared[0]), table, {"vae": groups["vae"]}, covariates, settings,
        Gwas(null_model="whole_genome"), str(tmp_path), 5,
    )  # fmt: skip
    assert summary["analysed"] == N - 1  # one sample is not in the map
    assert set(summary["predicted_by_genome"]) == set(groups["vae"])
    loci = pd.read_parquet(tmp_path / "findings/loci").query("method == 'vae'")
    position = 500_000 + 20_000 * (CAUSAL % 1_100)
    assert ("1", position) in set(zip(loci["contig"], loci["position"], strict=True))
    assert 0.9 < summary["mean_lambda"]["vae"] < 1.12
    kept = sorted(path.name for path in (tmp_path / "null_model/whole_genome").iterdir())
    assert kept == [*(f"phenotype-{k}.loco" for k in range(len(groups["vae"]))), "predictions.list"]


def test_an_id_map_is_read_or_refused(tmp_path):
    path = tmp_path / "ids.tsv"
    path.write_text("sample_id\tparticipant_id\n0012\tP1\n7\tP2\n")
    assert read_id_map(str(path)) == {"0012": "P1", "7": "P2"}
    path.write_text("sample_id\tparticipant_id\n7\tP1\n7\tP2\n")
    with pytest.raises(DataError, match="names 1 samples more than once"):
        read_id_map(str(path))
    path.write_text("sample\tparticipant_id\n7\tP1\n")
    with pytest.raises(DataError, match="no column sample_id"):
        read_id_map(str(path))


def test_ids_that_match_no_sample_are_refused(spark, biobank, prepared, tmp_path):
    settings, table, groups, covariates = biobank
    strangers = table.rename(index=lambda name: f"secret{name}")
    with pytest.raises(DataError, match="None of the 300 participants") as caught:
        run_gwas(
            spark, str(prepared[0]), strangers, groups, covariates, settings, Gwas(),
            str(tmp_path), 1,
        )  # fmt: skip
    assert "secret" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_importing_the_steps_and_what_their_tasks_need_does_not_import_hail(other_python):
    modules = (
        "ecg_spark.genetics.gwas, ecg_spark.genetics.prepare, ecg_spark.genetics.testing.regressed"
    )
    code = f"import sys, {modules}; print('hail' in sys.modules)"
    assert other_python("-c", code).stdout.strip() == "False"
