"""Tests of rare variants against least squares, mixtures of chi-squares, R's SKAT and formulas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.sparse import csc_array

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.quality import quality_control
from ecg_spark.genetics.genotypes.reading import Imported
from ecg_spark.genetics.testing.cauchy import combined
from ecg_spark.genetics.testing.gene_kernel import (
    ULTRA_RARE,
    Carried,
    gene_of,
    leave_one_out,
    set_tests,
)
from ecg_spark.genetics.testing.gene_table import (
    check_gene_files,
    copy_gene_files,
    masks_of,
    matched_genes,
)
from ecg_spark.genetics.testing.kernel import basis_of_pattern, pattern
from ecg_spark.genetics.testing.mixture import neg_log10_p_of_mixture
from ecg_spark.genetics.testing.omnibus import together
from ecg_spark.genetics.testing.rare import associate_sets
from ecg_spark.study import Genotypes, Rare
from ecg_spark.tables import VARIANT
from tests.builders.genetics_data import least_squares, people
from tests.builders.genotype_parts import write_set

WIDE = st.floats(1e-3, 1e3)


def imhof(q, weights):
    """P(Σ w χ²₁ > q), by inverting the characteristic function (Imhof 1961, Biometrika 48:419)."""
    q, weights = q / weights.max(), weights / weights.max()

    def integrand(u):
        angle = np.arctan(weights * u).sum() / 2 - q * u / 2
        return np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25))

    value, error = integrate.quad(integrand, 0, np.inf, limit=2_000, epsabs=1e-10)
    assert error < 1e-7
    return 0.5 + value / np.pi


@given(st.floats(0.01, 400), st.integers(1, 60), WIDE)
def test_mixture_of_equal_weights_is_chi_squared(ratio, df, weight):
    q = np.array([ratio * weight])
    expected = -stats.chi2.logsf(ratio, df) / np.log(10)
    for found in (
        neg_log10_p_of_mixture(q, np.full(df, weight)),
        neg_log10_p_of_mixture(q, np.array([weight]), freedom=df),
    ):
        assert found == pytest.approx(max(expected, 0), rel=1e-9, abs=1e-9)


@given(st.lists(WIDE, min_size=2, max_size=5), st.floats(0.1, 200))
def test_mixture_of_pairs_is_the_sum_of_exponentials(scales, ratio):
    scales = np.unique(np.round(scales, 3))
    others = scales[:, None] - scales[None, :]
    if (np.abs(others + np.eye(len(scales)) * 1e9) < 0.05 * scales[:, None]).any():
        return  # the formula cancels out
    shares = [np.prod([a / (a - b) for b in scales if b != a]) for a in scales]
    q = ratio * scales.max()
    expected = float(np.sum(shares * np.exp(-q / (2 * scales))))
    found = neg_log10_p_of_mixture(np.array([q]), np.repeat(scales, 2))
    assert 10.0**-found == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.floats(1, 20), min_size=6, max_size=30), st.floats(0.05, 5))
def test_mixture_of_any_weights_is_imhofs(weights, ratio):
    weights = np.array(weights)
    q = ratio * weights.sum()
    found = 10.0 ** -neg_log10_p_of_mixture(np.array([q]), weights)
    assert found == pytest.approx(imhof(q, weights), abs=1e-6)


def test_far_tails_of_mixtures_do_not_underflow():
    assert neg_log10_p_of_mixture(np.array([1e5]), np.array([1.0, 0.1]))[0] > 20_000
    nearly = neg_log10_p_of_mixture(np.array([600.0]), np.array([1.0, 1.0, 1.0, 0.9999]))
    assert nearly == pytest.approx(-stats.chi2.logsf(600, 4) / np.log(10), abs=0.02)


@given(st.integers(1, 8), st.integers(20, 500), st.floats(0.01, 0.9))
def test_mixture_over_an_estimated_variance_is_f(m, df, share):
    f = (share / m) / ((1 - share) / (df - m))
    expected = -stats.f.logsf(f, m, df - m) / np.log(10)
    found = neg_log10_p_of_mixture(np.array([share * df]), np.ones(m), df=df)
    assert found == pytest.approx(max(expected, 0), rel=1e-8, abs=1e-9)


@given(st.lists(st.floats(1e-12, 0.98), min_size=1, max_size=8))
def test_cauchy_combination_is_that_of_the_formula(p):
    t = np.mean(np.tan((0.5 - np.array(p)) * np.pi))
    expected = -np.log10(stats.cauchy.sf(t))
    assert combined(-np.log10(np.array(p))) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_cauchy_combination_of_the_smallest_and_of_missing_p_values():
    assert combined(np.array([250.0, np.nan])) == pytest.approx(250)
    assert combined(np.array([250.0, 0.0])) == pytest.approx(250 - np.log10(2))
    assert np.isnan(combined(np.array([np.nan])))
    assert combined(np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[1.0], [0.0]])).tolist() == (
        pytest.approx([3, 1])
    )


def _gene(minor, y, covariates, missing=None, weights=None, related=1.0, groups=None):
    known = np.isfinite(y).all(axis=1)
    basis = basis_of_pattern(known, covariates)
    each = pattern(range(y.shape[1]), known, basis, np.nan_to_num(y), known)
    given_weights = np.full(minor.shape[1], np.nan) if weights is None else weights
    lacking = np.zeros_like(minor) if missing is None else missing.astype(float)
    carried = Carried(csc_array(np.where(lacking, 0, minor)), csc_array(lacking))
    how = {}
    if groups:
        correlation = np.corrcoef(each.left[known], rowvar=False)
        how = {"all": (np.arange(y.shape[1]), together(correlation, correlation, 0.5))}
    return gene_of(carried, given_weights, each, np.full(y.shape[1], related), how)


def _left(values, covariates):
    basis = np.linalg.qr(np.column_stack([np.ones(len(values)), covariates]))[0]
    return values - basis @ (basis.T @ values)


def test_sets_of_a_gene_agree_with_least_squares_and_the_mixture():
    rng = np.random.default_rng(3)
    n = 600
    minor = rng.binomial(2, [0.02] * 5 + [0.004] * 4, (n, 9)).astype(float)
    covariates = rng.normal(size=(n, 2))
    y = rng.normal(size=(n, 3)) + covariates[:, :1]
    y[:, 0] += 0.7 * minor[:, :5].sum(axis=1)
    missing = rng.random((n, 9)) < 0.03
    filled = np.where(missing, np.nan, minor)
    filled = np.where(missing, np.nanmean(filled, axis=0), minor)
    gene = _gene(minor, y, covariates, missing)
    found = set_tests(gene, np.ones(9, bool))
    alleles = filled.sum(axis=0)
    ultra = alleles <= ULTRA_RARE
    assert 1 < ultra.sum() < 9
    columns = np.column_stack([filled[:, ~ultra], filled[:, ultra].max(axis=1)])
    maf = columns.mean(axis=0) / 2
    root = stats.beta.pdf(maf, 1, 25)
    inner = _left(columns, covariates) * root
    shares = np.linalg.eigvalsh(inner.T @ inner)
    for k in range(3):
        beta, se, t, df = least_squares(y[:, k], filled.sum(axis=1), covariates)
        assert (found.beta[k], found.se[k]) == pytest.approx((beta, se), rel=1e-9)
        assert 10 ** -found.burden[k] == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-9)
        left = _left(y[:, k], covariates)
        q = np.sum((inner.T @ left) ** 2) / (left @ left / (n - 3))
        assert found.q[k] == pytest.approx(q / 2, rel=1e-9)
        if k:
            assert 10 ** -found.skat[k] == pytest.approx(imhof(q, shares), rel=0.02)
        single = [least_squares(y[:, k], x, covariates)[2] for x in columns.T]
        each = -np.log10(2 * stats.t.sf(np.abs(single), df))
        expected = combined(each, root**2 * maf * (1 - maf))
        assert found.acat_v[k] == pytest.approx(expected, rel=1e-7)
        three = combined(np.array([found.burden[k], found.skat[k], found.acat_v[k]]))
        assert found.acat_o[k] == pytest.approx(three)
    assert (found.variants, found.n) == (9, n)
    assert found.alleles == pytest.approx(alleles.sum())
    assert found.burden[0] > 6
    assert found.skat[0] > 4


def test_one_variant_is_its_own_test_in_every_way():
    rng = np.random.default_rng(5)
    n = 1_500
    minor = rng.binomial(2, 0.05, (n, 1)).astype(float)
    y, covariates = rng.normal(size=(n, 4)), rng.normal(size=(n, 1))
    found = set_tests(_gene(minor, y, covariates, groups=True), np.ones(1, bool))
    assert found.skat[:4] == pytest.approx(found.burden[:4], rel=1e-7)
    assert found.acat_v[:4] == pytest.approx(found.burden[:4], rel=1e-7)
    assert found.acat_v[4] == pytest.approx(found.burden[4], rel=1e-7)
    assert found.skat[4] == pytest.approx(found.burden[4], abs=0.03)  # the variance is estimated
    assert np.isnan(found.beta[4])


def test_relatives_make_every_gene_test_less_significant():
    rng = np.random.default_rng(6)
    minor = rng.binomial(2, 0.03, (500, 6)).astype(float)
    y = rng.normal(size=(500, 1)) + minor[:, :1]
    alone, wider = (
        set_tests(_gene(minor, y, np.zeros((500, 0)), related=factor), np.ones(6, bool))
        for factor in (1.0, 1.2)
    )
    assert wider.se == pytest.approx(1.2 * alone.se)
    assert wider.q == pytest.approx(alone.q / 1.44)
    for test in ("burden", "skat", "acat_v", "acat_o"):
        assert getattr(wider, test) < getattr(alone, test)


def test_a_gene_driven_by_one_variant_is_recognised():
    rng = np.random.default_rng(7)
    minor = rng.binomial(2, 0.02, (800, 8)).astype(float)
    y = rng.normal(size=(800, 1)) + 1.5 * minor[:, :1]
    every = np.ones(8, bool)
    gene = _gene(minor, y, np.zeros((800, 0)))
    assert set_tests(gene, every).acat_o[0] > 6
    without = set_tests(_gene(minor[:, 1:], y, np.zeros((800, 0))), every[1:]).acat_o[0]
    assert leave_one_out(gene, every, [0])[0] == pytest.approx(without)
    assert without < 2
    few = minor[:, :1] * (np.cumsum(minor[:, :1], axis=0) <= 6)
    assert leave_one_out(_gene(few, y, np.zeros((800, 0))), every[:1], [0]).tolist() == [0.0]


def test_too_few_alleles_are_not_tested():
    minor = np.zeros((300, 3))
    minor[:4, 0] = 1
    y = np.random.default_rng(1).normal(size=(300, 1))
    assert set_tests(_gene(minor, y, np.zeros((300, 0))), np.ones(3, bool)) is None


def test_common_alleles_among_those_who_are_counted_are_turned():
    rng = np.random.default_rng(2)
    minor = rng.binomial(2, 0.1, (300, 4)).astype(float)
    y = rng.normal(size=(300, 1))
    turned = minor.copy()
    turned[:, 2] = 2 - turned[:, 2]
    one, other = (
        set_tests(_gene(own, y, np.zeros((300, 0))), np.ones(4, bool)) for own in (minor, turned)
    )
    assert other.burden == pytest.approx(one.burden)
    assert (other.skat, other.acat_v) == (pytest.approx(one.skat), pytest.approx(one.acat_v))


def _table(folder, rows, extra=""):
    path = folder / "genes.tsv"
    header = "\t".join([*VARIANT, "gene"]) + extra
    path.write_text("\n".join([header, *("\t".join(map(str, row)) for row in rows)]))
    return path


def _members(spark, genotypes, rare, folder):
    rows = copy_gene_files(rare, "GRCh37", str(folder))
    return matched_genes(spark, genotypes, rare, str(folder), rows)


def _tested(spark, genotypes, rare, folder, phenotypes, covariates, groups=None):
    members, _ = _members(spark, genotypes, rare, folder)
    found = associate_sets(
        spark, genotypes, members, rare.max_maf, phenotypes, covariates, groups or {}
    )
    return found.toPandas().set_index(["gene", "phenotype"])


@pytest.fixture(scope="module")
def exome(tmp_path_factory):
    """400 people, 13 variants in parts of five: 12 rare ones, of which the third is called the
    other way round, and a common one; and the phenotypes, of which one has people without it."""
    folder = tmp_path_factory.mktemp("exome")
    rng = np.random.default_rng(3)
    n, ids = 400, [f"S{i}" for i in range(400)]
    calls = rng.binomial(2, np.r_[np.full(12, 0.012), 0.3][:, None], (13, n)).astype(np.int8)
    calls[2] = 2 - calls[2]
    genotypes = write_set(folder / "set", calls, ids, part_variants=5)
    covariates = pd.DataFrame(rng.normal(size=(n, 2)), ids, ["age", "sex"])
    minor = np.where(np.arange(13)[:, None] == 2, 2 - calls, calls).astype(float)
    values = rng.normal(size=(n, 3)) + covariates[["age"]].to_numpy()
    phenotypes = pd.DataFrame(values, ids, ["y", "u", "v"])
    phenotypes["y"] += 1.2 * minor[:6].sum(axis=0)
    phenotypes.loc[ids[::8], "y"] = np.nan
    return genotypes, minor, phenotypes, covariates


def test_genes_in_several_parts_are_tested_as_in_one_array(spark, exome, tmp_path):
    genotypes, minor, phenotypes, covariates = exome
    at = [1_000_000 + 10_000 * j for j in range(13)]
    genes = _table(tmp_path, [("1", at[j], "G", "A", "one" if j < 6 else "two") for j in range(13)])
    rare = Rare(genes=str(genes), max_maf=(0.05,))
    groups = {"both": ["u", "v"]}
    found = _tested(spark, genotypes, rare, tmp_path, phenotypes, covariates, groups)
    assert set(found.index) == {
        (gene, name) for gene in ("one", "two") for name in ("y", "u", "v", "both omnibus")
    }
    for gene, rows in (("one", slice(0, 6)), ("two", slice(6, 12))):
        for names in (["y"], ["u", "v"]):
            own = minor[rows].T
            direct = set_tests(
                _gene(own, phenotypes[names].to_numpy(), covariates.to_numpy()), np.ones(6, bool)
            )
            for k, name in enumerate(names):
                (one,) = found.loc[(gene, name), "sets"]
                assert (one["mask"], one["max_maf"], one["n_variants"]) == ("all", 0.05, 6)
                assert one["alleles"] == direct.alleles
                assert one["burden_beta"] == pytest.approx(direct.beta[k], rel=1e-9)
                assert one["skat_neg_log10_p"] == pytest.approx(direct.skat[k], rel=1e-9)
                assert one["acat_v_neg_log10_p"] == pytest.approx(direct.acat_v[k], rel=1e-9)
                assert found.loc[(gene, name), "n"] == direct.n
                three = np.array([direct.burden[k], direct.skat[k], direct.acat_v[k]])
                assert found.loc[(gene, name), "neg_log10_p"] == pytest.approx(combined(three))
    one = found.loc[("one", "y")]
    assert one["neg_log10_p"] > 4
    assert 0 < one["leave_one_out_neg_log10_p"] < one["neg_log10_p"]
    assert (one["contig"], one["start"], one["end"]) == ("1", at[0], at[5])
    assert found.loc[("two", "y"), "leave_one_out_neg_log10_p"] is None or pd.isna(
        found.loc[("two", "y"), "leave_one_out_neg_log10_p"]
    )


def test_regenies_files_are_read_as_they_are(spark, exome, tmp_path):
    genotypes, minor, phenotypes, covariates = exome
    kinds = ["lof", "missense", "synonymous"]
    lines = [f"rs{j + 1} ONE {kinds[j % 3]}" for j in range(6)]
    lines += [f"rs{j + 1}\tTWO\tdomain\tlof" for j in range(6, 12)]
    (tmp_path / "anno.txt").write_text("\n".join(lines[:6]) + "\nrs99 ONE lof\n")
    (tmp_path / "sets.txt").write_text("ONE 1 1000000 rs1,rs2,rs3,rs4,rs99\nTWO 1 1060000 rs7\n")
    (tmp_path / "masks.txt").write_text("M1 lof\nM2 lof,missense\nM3 nonsense\n")
    rare = Rare(
        genes=str(tmp_path / "anno.txt"),
        sets=str(tmp_path / "sets.txt"),
        masks=str(tmp_path / "masks.txt"),
        max_maf=(0.05, 0.011),
    )
    members, notes = _members(spark, genotypes, rare, tmp_path / "copied")
    assert notes == [
        "4 of the 7 rows of the gene table are variants of the genotype set: 4 by id",
        "no variant of the genotype set is in the mask M3",
    ]
    own = {row["position"]: sorted(row["masks"]) for row in members.collect()}
    assert own == {
        1_000_000: ["M1", "M2"], 1_010_000: ["M2"], 1_030_000: ["M1", "M2"],
    }  # fmt: skip
    found = associate_sets(
        spark, genotypes, members, rare.max_maf, phenotypes[["u"]], covariates, {}
    ).toPandas()
    sets = {(one["mask"], one["max_maf"]): one["n_variants"] for one in found["sets"][0]}
    frequency = minor[[0, 1, 3]].mean(axis=1) / 2
    for mask, members_of in (("M1", [0, 2]), ("M2", [0, 1, 2])):
        for cut in (0.05, 0.011):
            count = (frequency[members_of] <= cut).sum()
            if (mask, cut) in sets:
                assert sets[mask, cut] == count
    assert ("M2", 0.05) in sets or ("M2", 0.011) in sets


def test_skat_is_that_of_the_r_package(spark, shared_data, tmp_path):
    folder = shared_data / "genotypes/hail"
    calls = np.loadtxt(folder / "skat_genotype_matrix.csv", delimiter=",", dtype=np.int8).T
    y = np.loadtxt(folder / "skat_phenotypes.csv")
    minor = calls.T.astype(float)
    gene = _gene(minor, y[:, None], np.zeros((len(y), 0)), weights=np.ones(100))
    # R: SKAT(G, SKAT_Null_Model(y ~ 1, out_type = "C"), method = "davies", weights = 1), whose Q
    # and p-value are in the tests of Hail; it takes the variance for known.
    centred = minor - minor.mean(axis=0)
    left = y - y.mean()
    q = np.sum((centred.T @ left) ** 2) / (left @ left / (len(y) - 1))
    assert q / 2 == pytest.approx(125_247, abs=0.5)
    shares = np.linalg.eigvalsh(centred.T @ centred)
    found = neg_log10_p_of_mixture(np.array([q]), shares)
    assert 10.0**-found == pytest.approx(4.1e-57, rel=0.02)
    alleles = minor.sum(axis=0)
    if (alleles > ULTRA_RARE).all():
        assert set_tests(gene, np.ones(100, bool)).q[0] == pytest.approx(q / 2, rel=1e-9)


def test_a_gene_table_may_name_alleles_otherwise(spark, tmp_path):
    calls, _ = people(60, 6)
    genotypes = write_set(tmp_path / "set", calls, [f"S{i}" for i in range(60)], part_variants=4)
    at = 1_000_000 + 10_000 * np.arange(6)  # all of G to A
    rows = [
        ("1", at[0], "G", "A", "X", 1), ("1", at[1], "A", "G", "X", 2),
        ("chr1", at[2], "C", "T", "X", 3), ("1", at[3], "T", "C", "X", 4),
        ("1", at[4], "G", "T", "X", 5), ("1", 999_999_999, "G", "A", "X", 6),
        ("no contig", 5, "G", "A", "X", 7),
    ]  # fmt: skip
    rare = Rare(genes=str(_table(tmp_path, rows, "\tweight")))
    found, notes = _members(spark, genotypes, rare, tmp_path / "copied")
    table = found.toPandas().sort_values("position")
    assert table[VARIANT].to_numpy().tolist() == [["1", place, "G", "A"] for place in at[:4]]
    assert table["weight"].tolist() == [1, 2, 3, 4]
    assert notes == [
        "4 of the 7 rows of the gene table are variants of the genotype set: 1 as written, 1 with "
        "the alleles the other way round, 1 on the other strand, 1 on the other strand and the "
        "other way round"
    ]
    rare = Rare(genes=str(_table(tmp_path, rows[4:], "\tweight")))
    with pytest.raises(DataError, match=r"Not one of the 3 variants of gwas\.rare\.genes"):
        _members(spark, genotypes, rare, tmp_path / "others")


def test_ids_that_name_place_and_alleles_are_read(spark, tmp_path):
    calls, _ = people(60, 3)
    genotypes = write_set(tmp_path / "set", calls, [f"S{i}" for i in range(60)])
    (tmp_path / "anno.txt").write_text("1:1000000:G:A X lof\nchr1_1010000_A_G X lof\nrs3 X lof\n")
    rare = Rare(genes=str(tmp_path / "anno.txt"), masks={"lof": ("lof",)})
    found, notes = _members(spark, genotypes, rare, tmp_path / "copied")
    assert found.count() == 3
    assert "1 by id, 1 as written, 1 with the alleles the other way round" in notes[0]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"genes": "a,b\n1,2\n"}, "begins neither with the names of its columns"),
        ({"genes": "contig,position,gene\n1,2,X\n"}, "has no column ref, alt"),
        ({"genes": "rs1 X lof\nrs2 X\n"}, "rows of other than 3 columns"),
        ({"genes": "rs1 X lof\n", "masks": "M1\n"}, "must be the name of a mask"),
        ({"genes": "rs1 X lof\n", "masks": "M1 lof\nM1 lof\n"}, "must be the name of a mask, once"),
        ({"genes": "rs1 X lof\n", "sets": "X 1 5\n"}, "must be a gene, its chromosome"),
        (
            {"genes": "contig,position,ref,alt,gene\n1,2,A,G,X\n", "sets": "X 1 5 rs1\n"},
            "lists variants by id",
        ),
    ],
)
def test_gene_files_that_cannot_be_used_are_refused_in_a_sentence(tmp_path, files, says):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    rare = Rare(**{name: str(tmp_path / name) for name in files})
    with pytest.raises(DataError, match=says):
        check_gene_files(rare, "GRCh38")
    with pytest.raises(DataError, match="cannot be read"):
        masks_of(Rare(genes="x", masks=str(tmp_path / "nowhere")))


def test_masks_of_which_no_variant_is_one_are_refused(spark, exome, tmp_path):
    (tmp_path / "anno.txt").write_text("rs1 ONE lof\n")
    rare = Rare(genes=str(tmp_path / "anno.txt"), masks={"M": ("missense",)})
    with pytest.raises(DataError, match=r"compare gwas\.rare\.masks"):
        _members(spark, exome[0], rare, tmp_path / "copied")


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
