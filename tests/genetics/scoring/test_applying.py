"""Scores by files of the PGS Catalog's format: alleles matched, what is missing told or refused."""

import gzip

import numpy as np
import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.scoring.applying import apply_files
from ecg_spark.genetics.scoring.catalog_file import open_scoring_file
from ecg_spark.study import Genotypes
from tests.builders.genotype_parts import sites_of, write_set

N, M = 40, 240
PAIRS = [("A", "G"), ("C", "T"), ("G", "T"), ("T", "A"), ("C", "G"), ("AT", "A")]
OTHER = {"A": "T", "C": "G", "G": "C", "T": "A"}
SETTINGS = Genotypes(path="x", pairing="id")


@pytest.fixture(scope="module")
def genotypes(tmp_path_factory):
    """Dosages and calls, some missing, of variants with alleles of every kind: the folder, the
    sites and the dosages."""
    folder = tmp_path_factory.mktemp("genotypes")
    rng = np.random.default_rng(5)
    frequency = rng.uniform(0.05, 0.95, M)
    dosages = rng.binomial(2, frequency, (N, M)).T.astype(float)
    dosages[1::2] = np.clip(dosages[1::2] + rng.uniform(-0.3, 0.3, (M // 2, N)), 0, 2)
    dosages[rng.random(dosages.shape) < 0.02] = np.nan
    dosages = np.rint(dosages * 16_384) / 16_384
    own = [PAIRS[k] for k in rng.integers(0, len(PAIRS), M)]
    contigs = [f"chr{1 + j // 20}" if j < 220 else "chrX" for j in range(M)]
    sites = sites_of(contigs).assign(
        ref=[one[0] for one in own], alt=[one[1] for one in own],
        af=np.nanmean(dosages, axis=1) / 2,
    )  # fmt: skip
    ids = [f"S{k:02d}" for k in range(N)]
    write_set(folder / VARIANTS, dosages, ids, sites, part_variants=50)
    return str(folder), sites, dosages


def rows_of(sites, seed=0):
    """A row of a file for each variant, as the set has its alleles."""
    return pd.DataFrame(
        {
            "rsID": sites["rsid"],
            "chr_name": sites["contig"].str.removeprefix("chr"),
            "chr_position": sites["position"],
            "effect_allele": sites["alt"],
            "other_allele": sites["ref"],
            "effect_weight": np.random.default_rng(seed).normal(size=len(sites)),
            "allelefrequency_effect": sites["af"],
        }
    )


def write_file(path, rows, header="#genome_build=GRCh38\n#pgs_id=PGS000001\n#weight_type=beta\n"):
    """A scoring file, gzipped."""
    first = "###PGS CATALOG SCORING FILE\n#format_version=2.0\n"
    text = (first + header if header else "") + rows.to_csv(sep="\t", index=False)
    path.write_bytes(gzip.compress(text.encode()))
    return str(path)


def swapped(rows, some):
    """The same weights told of the other allele in some rows: what everybody has of it is less."""
    rows = rows.copy()
    rows.loc[some, ["effect_allele", "other_allele"]] = rows.loc[
        some, ["other_allele", "effect_allele"]
    ].to_numpy()
    rows.loc[some, "allelefrequency_effect"] = 1 - rows.loc[some, "allelefrequency_effect"]
    return rows


def on_other_strand(rows, some):
    """The same by the other strand's names, in those of some rows whose alleles are single."""
    rows = rows.copy()
    single = some & (rows["effect_allele"].str.len() == 1) & (rows["other_allele"].str.len() == 1)
    for column in ("effect_allele", "other_allele"):
        rows.loc[single, column] = rows.loc[single, column].map(OTHER)
    return rows


def _scores(folder, name="PGS000001"):
    table = pd.read_parquet(f"{folder}/applied_scores").sort_values("s")
    return np.array([dict(one)[name] for one in table["scores"]])


HARMONISED = "#genome_build=hg19\n#HmPOS_build=GRCh38\n#pgs_id=PGS000002\n"


def _harmonised(rows):
    return rows.rename(columns={"chr_name": "hm_chr", "chr_position": "hm_pos"}).assign(
        chr_name=1, chr_position=5
    )


def test_sums_are_the_same_whatever_a_file_calls_the_alleles(spark, genotypes, tmp_path):
    folder, sites, dosages = genotypes
    rng = np.random.default_rng(1)
    rows = rows_of(sites)
    on_x = (sites["contig"] == "chrX").to_numpy()
    turned, strand = rng.random((2, M)) < 0.5
    first = write_file(tmp_path / "one.txt.gz", rows)
    # The second says the same of other alleles, on other strands, in another order, and its places
    # on the study's build are beside those on another.
    told = on_other_strand(swapped(rows, turned), strand).sample(frac=1, random_state=2)
    second = write_file(tmp_path / "two.txt.gz", _harmonised(told), HARMONISED)
    out = str(tmp_path / "out")
    summary = apply_files(spark, folder, SETTINGS, [first, second], out, None)
    files = pd.read_parquet(f"{out}/applied_files").set_index("score")
    pairs = sites["ref"] + sites["alt"]
    palindromic = pairs.isin(["TA", "CG"]).to_numpy()
    unclear = palindromic & (np.abs(sites["af"] - 0.5) <= 0.1).to_numpy() & ~on_x
    used = ~on_x & ~unclear
    for name in ("PGS000001", "PGS000002"):
        one = files.loc[name]
        assert (one["variants"], one["used"], one["unclear_strand"], one["not_autosomal"]) == (
            M, used.sum(), unclear.sum(), on_x.sum(),
        )  # fmt: skip
        share = np.abs(rows["effect_weight"][used]).sum() / np.abs(rows["effect_weight"]).sum()
        assert one["weight_used"] == pytest.approx(share)
    known = np.where(np.isnan(dosages), 2 * sites["af"].to_numpy()[:, None], dosages)
    weights = rows["effect_weight"].to_numpy()[used]
    assert _scores(out) == pytest.approx(known[used].T @ weights)
    # Of a palindrome, a swap and the other strand are one and the same, of which the frequency
    # tells; elsewhere a swapped row counts the other allele.
    other = np.where(turned[used, None], 2 - known[used], known[used])
    assert _scores(out, "PGS000002") == pytest.approx(other.T @ weights)
    assert summary["scores"]["PGS000002"]["used"] == used.sum()
    assert len(summary["notes"]) == 2


def test_missing_variants_are_counted(spark, genotypes, tmp_path):
    folder, sites, dosages = genotypes
    rows = rows_of(sites)[sites["contig"] != "chrX"].drop(columns="allelefrequency_effect")
    rows = rows[~(rows["other_allele"] + rows["effect_allele"]).isin(["TA", "CG"])]
    n = len(rows)
    elsewhere = rows.head(9).assign(chr_position=rows["chr_position"] + 1)
    text = rows.tail(4).assign(chr_position=7, effect_weight="")
    path = write_file(tmp_path / "f.txt.gz", pd.concat([rows, elsewhere, text]))
    told = apply_files(spark, folder, SETTINGS, [path], f"{tmp_path}/out", None)
    assert told["notes"] == [
        f"PGS000001: {n} of {n + 13} variants are used; 9 not in the checked set, 4 without a "
        f"weight, place or allele"
    ]
    known = np.where(np.isnan(dosages), 2 * sites["af"].to_numpy()[:, None], dosages)
    expected = known[rows.index].T @ rows["effect_weight"].to_numpy()
    assert _scores(tmp_path / "out") == pytest.approx(expected)
    table = pd.read_parquet(tmp_path / "out/applied_scores")
    assert (table["participant_id"] == table["s"]).all()


def _repeated(rows):
    # The same variant by its other strand's names and with its alleles the other way round.
    again = on_other_strand(swapped(rows, np.ones(M, bool)), np.ones(M, bool))
    return pd.concat([rows, again.head(3)])


@pytest.mark.parametrize(
    ("change", "header", "reason"),
    [
        (None, "", "has no header that says on which build"),
        (None, "#genome_build=GRCh37\n", "lies on GRCh37 and the genotypes on GRCh38"),
        (None, "#genome_build=NR\n", "lies on a build that it does not name"),
        (lambda rows: rows.drop(columns="effect_weight"), None, "has no column effect_weight"),
        (lambda rows: rows.drop(columns="other_allele"), None, "has no column other_allele"),
        (lambda rows: rows.drop(columns="chr_position"), None, "ids alone tell no place"),
        (lambda rows: rows.assign(is_dominant="True"), None, "not additive weights"),
        (_repeated, None, "names 3 variants more than once"),
        (lambda rows: rows.assign(effect_allele="C", other_allele="A"), None, "Only [0-9]+ of the"),
        (lambda rows: rows[rows["chr_name"] == "X"], None, "Only 0 of the"),
        (
            lambda rows: rows.assign(allelefrequency_effect=1 - rows["allelefrequency_effect"]),
            None,
            "has other frequencies than the genotypes",
        ),
    ],
)
def test_a_file_that_would_give_other_scores_is_refused(
    spark, genotypes, tmp_path, change, header, reason
):
    folder, sites, _ = genotypes
    rows = rows_of(sites)
    if "frequencies" in reason:
        rows = rows[~(rows["other_allele"] + rows["effect_allele"]).isin(["TA", "CG"])]
    header = "#genome_build=GRCh38\n#pgs_id=PGS000001\n" if header is None else header
    path = write_file(tmp_path / "f.txt.gz", change(rows) if change else rows, header)
    with pytest.raises(DataError, match=reason) as error:
        apply_files(spark, folder, SETTINGS, [path], f"{tmp_path}/out", None)
    assert str(error.value).startswith(("File 1 of the weights", "Only"))
    assert str(tmp_path) not in str(error.value)


def test_a_file_that_is_not_a_scoring_file_is_refused(tmp_path, genotypes, spark):
    with pytest.raises(DataError, match="does not exist"):
        open_scoring_file(f"{tmp_path}/none.txt.gz", 1)
    (tmp_path / "bytes.txt.gz").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as text"):
        open_scoring_file(f"{tmp_path}/bytes.txt.gz", 2)
    folder, sites, _ = genotypes
    path = write_file(tmp_path / "f.txt.gz", rows_of(sites))
    with pytest.raises(DataError, match="Two of the files of weights are of a score"):
        apply_files(spark, folder, SETTINGS, [path, path], f"{tmp_path}/out", None)
