"""Colocalisation: figures of R's coloc, enumeration, and published statistics."""

import gzip

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.colocalisation import (
    P1,
    P2,
    P12,
    log_bf_of_published,
    posteriors,
)
from ecg_spark.genetics.findings.published import cut_to_regions, open_published, published_in
from ecg_spark.genetics.findings.regions import Region
from ecg_spark.genetics.genotypes.packed import Calls


def test_posteriors_are_those_of_coloc():
    """combine.abf(l1, l2, 1e-4, 1e-4, 5e-6) of coloc 6.0.1 on the same numbers."""
    rng = np.random.default_rng(12)
    first, second = rng.normal(0, 2, (2, 200))
    first[50] += 22
    second[50] += 18
    third = np.roll(second, 7)
    assert posteriors(first, second) == pytest.approx(
        [2.69041872e-12, 4.50961057e-07, 1.19322819e-08, 5.94135710e-08, 9.99999478e-01], rel=1e-6
    )
    assert posteriors(first, third) == pytest.approx(
        [1.34485433e-09, 2.25421019e-04, 5.96456637e-06, 9.99765248e-01, 3.36529456e-06], rel=1e-6
    )


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-3, 40), st.floats(-3, 40)), min_size=1, max_size=8))
def test_posteriors_are_those_of_every_configuration(log_bfs):
    first, second = np.array(log_bfs).T
    p = len(first)
    weights = np.zeros(5)
    weights[0] = 1
    for i in range(p):
        weights[1] += P1 * np.exp(first[i])
        weights[2] += P2 * np.exp(second[i])
        weights[4] += P12 * np.exp(first[i] + second[i])
        for j in set(range(p)) - {i}:
            weights[3] += P1 * P2 * np.exp(first[i] + second[j])
    assert posteriors(first, second) == pytest.approx(weights / weights.sum(), rel=1e-5, abs=1e-9)


def test_evidence_of_published_statistics_is_that_of_coloc():
    """process.dataset of coloc 6.0.1, type quant, without sdY, on the same numbers."""
    rng = np.random.default_rng(3)
    af = rng.uniform(0.05, 0.95, 6)
    n = np.full(6, 5_000.0)
    se = 1.7 / np.sqrt(2 * n * af * (1 - af)) * np.exp(rng.normal(0, 0.05, 6))
    beta = se * rng.normal(0, 3, 6)
    assert log_bf_of_published(beta, se, af, n) == pytest.approx(
        [-1.3874928896, 0.0476556251, 2.9962732131, -1.1864121921, -0.6413644818, -1.7888708493],
        rel=1e-6,
    )


def _write(folder, name, rows, build="GRCh37"):
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / f"{name}.tsv.gz", "wt") as file:
        rows.to_csv(file, sep="\t", index=False, na_rep="#NA")
    told = {"genome_assembly": build, "samples": [{"sample_size": 4_000}]}
    (folder / f"{name}.tsv.gz-meta.yaml").write_text(yaml.safe_dump(told))


def test_published_variants_have_the_names_of_the_study(spark, tmp_path):
    """Whichever allele is the effect allele, and whichever strand is named; none is made up."""
    m = 30
    own = pd.DataFrame(
        {"contig": "1", "position": 1_000 * np.arange(1, m + 1), "ref": "A", "alt": "G"}
    )
    own.loc[9, ["ref", "alt"]] = ["AT", "A"]
    af = np.linspace(0.1, 0.9, m)
    rows = pd.DataFrame(
        {
            "chromosome": "1", "base_pair_location": own["position"], "effect_allele": own["alt"],
            "other_allele": own["ref"], "beta": np.linspace(-1, 1, m), "standard_error": 0.02,
            "effect_allele_frequency": af,
        }
    )  # fmt: skip
    rows.loc[1, ["effect_allele", "other_allele"]] = ["A", "G"]
    rows.loc[2, ["effect_allele", "other_allele"]] = ["C", "T"]
    rows.loc[3, ["effect_allele", "other_allele"]] = ["G", "C"]  # another variant
    rows.loc[4, "effect_allele_frequency"] = np.nan
    rows.loc[5, "beta"] = np.nan
    _write(tmp_path / "given", "QT", rows)
    cohorts = open_published(spark, [str(tmp_path / "given")], "GRCh37")
    places = [("1", 1, 25_500), ("2", 1, 9_000)]
    regions = [
        Region(k, 0, *place, Calls("", 0), True, (), {}, ()) for k, place in enumerate(places)
    ]
    folder = str(tmp_path / "cut")
    cut_to_regions(spark, cohorts, spark.createDataFrame(own), regions, folder)
    assert published_in(folder, 1, own, af) == {}
    ((trait, (alpha, log_bf, places)),) = published_in(folder, 0, own, af).items()
    assert trait == "QT (published)"
    order = np.argsort(places)
    assert places[order].tolist() == [k for k in range(25) if k not in (3, 5)]
    used = [k for k in range(25) if k != 5]
    expected = log_bf_of_published(
        rows["beta"].to_numpy()[used], np.full(24, 0.02), af[used], np.full(24, 4_000)
    )
    assert log_bf[order] == pytest.approx(np.delete(expected, 3))
    # What is known of variants that the study lacks counts in the probabilities.
    assert alpha[order] == pytest.approx(
        np.delete(np.exp(expected - np.logaddexp.reduce(expected)), 3)
    )


def test_statistics_on_another_build_or_without_alleles_are_refused(spark, tmp_path):
    rows = pd.DataFrame(
        {"chromosome": "1", "base_pair_location": [5], "effect_allele": "A", "other_allele": "C",
         "beta": 0.1, "standard_error": 0.1}
    )  # fmt: skip
    _write(tmp_path / "a", "QT", rows)
    with pytest.raises(DataError, match=r"folder 1 lie on GRCh37, the study on GRCh38"):
        open_published(spark, [str(tmp_path / "a")], "GRCh38")
    _write(tmp_path / "b", "QT", rows.drop(columns="other_allele"))
    with pytest.raises(DataError, match="no column other_allele"):
        open_published(spark, [str(tmp_path / "b")], "GRCh37")
