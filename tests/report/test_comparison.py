"""Planted against found: a truth small enough to judge by hand."""

import json

import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.report import comparison
from ecg_spark.report.comparison import (
    METHODS,
    Comparison,
    Planted,
    planted_together,
    read_planted,
)

QRS = Planted("chr1", 10_000_000, "qrs_duration", "interval", 0.06)
NOTCH = Planted("chr1", 50_000_000, "qrs_notch", "morphology", 0.08)
SMALL = Planted("chr2", 10_000_000, "t_axis", "morphology", 0.01)


def loci(*rows: tuple[str, str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["method", "contig", "start", "end"])


def compare(planted: list[Planted], table: pd.DataFrame) -> Comparison:
    """By the methods of a study of ECGs that brings no phenotypes of its own."""
    return comparison.compare(planted, table, METHODS[:5])


def test_found_within_500_kb_of_the_region_on_the_same_contig():
    found = compare(
        [QRS],
        loci(
            ("vae", "chr1", 10_500_000, 10_600_000),
            ("pca", "chr1", 10_500_001, 10_600_000),
            ("traits", "chr2", 10_000_000, 10_000_000),
        ),
    )
    assert found.planted[0].found == ("vae",)


def test_a_region_that_spans_the_variant_finds_it():
    found = compare([QRS], loci(("vae omnibus", "chr1", 9_000_000, 11_000_000)))
    assert found.planted[0].found == ("vae omnibus",)


def test_contigs_with_and_without_chr_are_the_same():
    found = compare([QRS], loci(("traits", "1", 10_000_000, 10_000_000)))
    assert found.planted[0].found == ("traits",)


def test_a_locus_is_false_beyond_1_mb_of_every_planted_variant():
    found = compare(
        [QRS, SMALL],
        loci(
            ("vae", "chr1", 11_000_000, 11_000_000),  # near enough not to be false, not to be found
            ("vae", "chr1", 80_000_000, 80_000_000),
            ("vae", "chr2", 10_000_000, 10_000_000),  # a small planted variant: found, not false
            ("pca", "chr3", 10_000_000, 10_000_000),
        ),
    )
    assert found.planted[0].found == ()
    assert found.planted[1].found == ("vae",)
    assert found.false_loci["vae"] == 1
    assert found.false_loci["pca"] == 1
    assert found.false_loci["traits"] == 0


def test_neighbouring_false_loci_are_one_per_method_and_over_both_tests_of_a_model():
    found = compare(
        [QRS],
        loci(
            ("vae", "chr5", 10_000_000, 10_400_000),
            ("vae", "chr5", 11_300_000, 11_300_000),
            ("vae", "chr5", 30_000_000, 30_000_000),
            ("vae omnibus", "chr5", 10_200_000, 10_200_000),
            ("vae omnibus", "chr6", 10_200_000, 10_200_000),
        ),
    )
    assert found.false_loci["vae"] == 2
    assert found.false_loci["vae omnibus"] == 2
    assert found.false_loci["vae or omnibus"] == 3


def test_the_summary_counts_large_variants_and_what_the_traits_miss():
    found = compare(
        [QRS, NOTCH, SMALL],
        loci(
            ("vae", "chr1", 50_000_000, 50_000_000),
            ("vae omnibus", "chr1", 50_000_000, 50_000_000),
            ("vae omnibus", "chr1", 10_000_000, 10_000_000),
            ("vae omnibus", "chr2", 10_000_000, 10_000_000),
            ("pca", "chr1", 10_000_000, 10_000_000),
            ("traits", "chr1", 10_000_000, 10_000_000),
        ),
    )
    summary = found.summary()
    assert summary["planted"] == 3
    assert summary["planted_large"] == 2
    assert summary["found_large_vae"] == 2
    assert summary["found_large_vae_share"] == 1.0
    assert summary["found_large_pca"] == 1
    assert summary["found_large_pca_share"] == 0.5
    assert summary["found_large_by_method"] == {
        "vae": 1,
        "vae omnibus": 2,
        "pca": 1,
        "pca omnibus": 0,
        "traits": 1,
    }
    assert summary["found_by_method"]["vae omnibus"] == 3
    assert summary["missed_by_traits_found_by_vae"] == 2  # the notch and the small one
    assert summary["missed_by_traits_found_by_pca"] == 0
    assert [item.parameter for item in found.planted] == ["qrs_notch", "qrs_duration", "t_axis"]


def test_no_locus_at_all_finds_nothing():
    found = compare([QRS], loci())
    assert found.summary()["found_large_vae_share"] == 0
    assert found.summary()["false_loci"]["vae or omnibus"] == 0


def test_a_variant_at_exactly_five_percent_is_large():
    assert Planted("chr1", 1, "x", "interval", 0.05).is_large
    assert not Planted("chr1", 1, "x", "interval", 0.0499).is_large


def test_the_truth_file_is_read(tmp_path):
    path = tmp_path / "truth.json"
    one = {"contig": "chr1", "position": 5, "parameter": "pr_interval", "class": "interval"}
    path.write_text(json.dumps({"planted": [one | {"variance_explained": 0.07}]}))
    assert read_planted(str(path)) == [Planted("chr1", 5, "pr_interval", "interval", 0.07)]


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"planted": [{"contig": "chr1"}]}'])
def test_truth_file_that_is_not_one_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"is not one that 'ecg-spark simulate' writes"):
        read_planted(str(path))
    with pytest.raises(DataError, match="does not exist"):
        read_planted(str(tmp_path / "absent.json"))


def test_what_is_planted_in_several_cohorts_explains_the_mean_over_them():
    other = Planted("1", 10_000_000, "qrs_duration", "interval", 0.02)
    together = {one.parameter: one for one in planted_together([[QRS, SMALL], [other], []])}
    assert together["qrs_duration"].variance_explained == pytest.approx(0.08 / 3)
    assert together["t_axis"].variance_explained == pytest.approx(0.01 / 3)
    assert len(together) == 2
    assert planted_together([]) == []
