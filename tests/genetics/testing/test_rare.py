"""Burden and SKAT against least squares, the mixture of chi-squares behind SKAT, and R's SKAT."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.quality import quality_control
from ecg_spark.genetics.genotypes.reading import Imported
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT
from tests.builders.genetics_data import least_squares, people
from tests.builders.genotype_parts import write_set


def _genes(rows):
    return pd.DataFrame(rows, columns=[*VARIANT, "gene", "weight"])


def _tested(spark, genotypes, genes, max_maf, phenotypes, covariates):
    from ecg_spark.genetics.testing.rare import gene_tests

    found = gene_tests(spark, genotypes, "GRCh37", genes, max_maf, phenotypes, covariates)
    return pd.DataFrame(found).set_index(["gene", "phenotype"])


def imhof(q, weights):
    """P(Σ w χ²₁ > q), by inverting the characteristic function (Imhof 1961, Biometrika 48:419)."""
    q, weights = q / weights.max(), weights / weights.max()

    def integrand(u):
        angle = np.arctan(weights * u).sum() / 2 - q * u / 2
        return np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25))

    value, error = integrate.quad(integrand, 0, np.inf, limit=2_000, epsabs=1e-10)
    assert error < 1e-7
    return 0.5 + value / np.pi


def test_the_oracle_of_skat_is_chi_squared_where_all_weights_are_one():
    assert imhof(9.0, np.ones(6)) == pytest.approx(stats.chi2.sf(9.0, 6), abs=1e-7)


def test_genes_agree_with_least_squares_and_the_mixture(spark, hail, tmp_path):
    rng = np.random.default_rng(3)
    n, ids = 400, [f"S{i}" for i in range(400)]
    calls = rng.binomial(2, np.r_[np.full(12, 0.012), 0.3][:, None], (13, n)).astype(np.int8)
    calls[2] = 2 - calls[2]  # the alternate allele is the common one
    genotypes = write_set(tmp_path, calls, ids, part_variants=5)
    genes = _genes(
        [("1", 1_000_000 + 10_000 * j, "G", "A", "one" if j < 6 else "two", np.nan)
         for j in range(13)]
    )  # fmt: skip
    covariates = pd.DataFrame(rng.normal(size=(n, 2)), ids, ["age", "sex"])
    minor = np.where(np.arange(13)[:, None] == 2, 2 - calls, calls).astype(float)
    phenotypes = pd.DataFrame({"y": rng.normal(size=n) + covariates["age"]}, ids)
    phenotypes["y"] += 0.8 * minor[:6].sum(axis=0)
    phenotypes.loc[ids[::8], "y"] = np.nan
    found = _tested(spark, genotypes, genes, 0.05, phenotypes, covariates)
    assert len(found) == 2
    for gene, rows in (("one", minor[:6]), ("two", minor[6:12])):
        known = phenotypes["y"].notna().to_numpy()
        y, c = phenotypes["y"].to_numpy()[known], covariates.to_numpy()[known]
        g = rows[:, known]
        one = found.loc[gene, "y"]
        assert (one["n"], one["n_variants"]) == (known.sum(), 6)
        beta, se, _, _ = least_squares(y, g.sum(axis=0), c)
        assert one["burden_beta"] == pytest.approx(beta, rel=1e-6)
        assert one["burden_se"] == pytest.approx(se, rel=1e-6)
        design = np.column_stack([np.ones(len(y)), c])
        basis = np.linalg.qr(design)[0]
        left = y - basis @ (basis.T @ y)
        variance = left @ left / (len(y) - 3)
        maf = g.mean(axis=1) / 2
        root = 25 * (1 - maf) ** 24  # of the weights
        inner = root[:, None] * (g - (g @ basis) @ basis.T)
        q = np.sum((inner @ left) ** 2) / variance / 2
        assert one["skat_q"] == pytest.approx(q, rel=1e-6)
        shares = np.linalg.eigvalsh(inner @ inner.T)
        assert 10 ** -one["skat_neg_log10_p"] == pytest.approx(imhof(2 * q, shares), abs=1e-7)
    assert found.loc[("one", "y"), "burden_neg_log10_p"] > 4


def test_skat_is_that_of_the_r_package(spark, hail, shared_data, tmp_path):
    folder = shared_data / "genotypes/hail"
    calls = np.loadtxt(folder / "skat_genotype_matrix.csv", delimiter=",", dtype=np.int8).T
    ids = [f"S{i}" for i in range(2_000)]
    genotypes = write_set(tmp_path, calls, ids)
    genes = _genes([("1", 1_000_000 + 10_000 * j, "G", "A", "all", 1.0) for j in range(100)])
    y = np.loadtxt(folder / "skat_phenotypes.csv")
    found = _tested(
        spark, genotypes, genes, 0.5, pd.DataFrame({"y": y}, ids), pd.DataFrame(index=ids)
    )
    one = found.loc["all", "y"]
    # R: SKAT(G, SKAT_Null_Model(y ~ 1, out_type = "C"), method = "davies", weights = 1), whose Q
    # and p-value are in the tests of Hail.
    assert one["skat_q"] == pytest.approx(125_247, abs=0.5)
    assert one["skat_neg_log10_p"] == pytest.approx(9)  # 4.1e-57, below the accuracy


def test_the_gene_table_is_read_by_consequence_and_refused_where_it_is_none(hail, tmp_path):
    from ecg_spark.genetics.testing.gene_table import read_genes

    path = tmp_path / "genes.tsv"
    rows = ["contig\tposition\tref\talt\tgene\tconsequence", "chr1\t5\tA\tG\tX\tlof",
            "1\t6\tA\tG\tX\tsynonymous", "2\t7\tA\tG\tY\tlof", "2\t7\tA\tG\tY\tlof"]  # fmt: skip
    path.write_text("\n".join(rows))
    everything = read_genes(str(path), "GRCh38", None)
    assert list(everything["contig"]) == ["chr1", "chr1", "chr2"]
    chosen = read_genes(str(path), "GRCh37", ("lof",))
    assert list(chosen["position"]) == [5, 7]
    assert chosen["weight"].isna().all()
    with pytest.raises(DataError, match="of the chosen consequences"):
        read_genes(str(path), "GRCh37", ("missense",))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="has no column contig"):
        read_genes(str(tmp_path / "other.csv"), "GRCh37", None)


def test_rare_variants_stay_beside_the_common_ones(spark, tmp_path):
    calls, _ = people(200, 20)
    calls[3] = 0
    calls[3, 5] = 1
    calls[4] = 0
    genotypes = write_set(tmp_path / "set", calls, [f"S{i}" for i in range(200)])
    settings = Genotypes(path="set.bed")
    checked = quality_control(spark, Imported(genotypes, {}), settings, str(tmp_path / "checked"))
    common = checked.genotypes.sites(["is_common"])["is_common"]
    assert len(common) == 19
    assert common.sum() == checked.left[-1].variants == 18


def test_a_gene_table_may_name_alleles_otherwise(spark, hail, tmp_path):
    from ecg_spark.genetics.testing.gene_table import matched_genes

    calls, _ = people(60, 6)
    genotypes = write_set(tmp_path, calls, [f"S{i}" for i in range(60)], part_variants=4)  # G to A
    at = 1_000_000 + 10_000 * np.arange(6)
    genes = _genes(
        [
            ["1", at[0], "G", "A", "X", 1.0],
            ["1", at[1], "A", "G", "X", 2.0],
            ["1", at[2], "C", "T", "X", 3.0],
            ["1", at[3], "T", "C", "X", 4.0],
            ["1", at[4], "G", "T", "X", 5.0],
            ["1", 999_999_999, "G", "A", "X", 6.0],
            ["no contig", 5, "G", "A", "X", 7.0],
        ]
    )
    found, note = matched_genes(spark, genotypes, genes)
    assert found[VARIANT].to_numpy().tolist() == [["1", place, "G", "A"] for place in at[:4]]
    assert found["weight"].tolist() == [1, 2, 3, 4]
    assert note == (
        "4 of the 7 rows of the gene table are variants of the genotype set: 1 as written, 1 with "
        "the alleles the other way round, 1 on the other strand, 1 on the other strand and the "
        "other way round"
    )
    with pytest.raises(DataError, match="Not one of the 3 variants of the gene table"):
        matched_genes(spark, genotypes, genes[4:])
