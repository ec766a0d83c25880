"""Planted genes against those found: a truth small enough to judge by hand."""

import json

import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.report.comparison import METHODS
from ecg_spark.report.planted_genes import PlantedGene, compare_genes, read_planted_genes

QRS = PlantedGene("G1", "qrs_duration", "interval", "one", 0.02)
NOTCH = PlantedGene("G2", "qrs_notch", "morphology", "both", 0.05)


def compare(*beyond):
    table = pd.DataFrame(beyond, columns=["gene", "phenotype"])
    return compare_genes([QRS, NOTCH], table, METHODS[:5])


def test_a_gene_is_found_by_the_methods_of_the_phenotypes_that_it_moves():
    found = compare(
        ("G1", "qrs_ms"), ("G1", "vae_03"), ("G1", "vae_04"), ("G2", "pca omnibus"),
    )  # fmt: skip
    assert [one.gene for one in found.planted] == ["G2", "G1"]  # what explains most first
    assert [one.found for one in found.planted] == [("pca omnibus",), ("vae", "traits")]
    assert found.rows[0] == ["vae", 1, 2, 0]
    assert found.found == 2
    assert found.found_by("vae", "vae omnibus") == 1
    assert set(found.false.values()) == {found.false_in_all} == {0}


def test_a_gene_beyond_the_threshold_that_was_not_planted_is_false_once():
    found = compare(("G3", "vae_00"), ("G3", "vae_01"), ("G3", "qt_ms"), ("G4", "vae omnibus"))
    assert found.false == {"vae": 1, "vae omnibus": 1, "pca": 0, "pca omnibus": 0, "traits": 1}
    assert found.false_in_all == 2
    assert found.summary() == {
        "planted_genes": 2,
        "found_genes": 0,
        "found_genes_by_method": dict.fromkeys(METHODS[:5], 0),
        "false_genes": 2,
        "false_genes_by_method": dict(found.false),
    }


def test_one_row_beyond_the_threshold_finds_one_gene():
    found = compare(("G1", "vae_00"))
    assert (found.found, found.found_by("vae")) == (1, 1)


def test_nothing_beyond_the_threshold_finds_nothing():
    found = compare()
    assert (found.found, found.false_in_all) == (0, 0)


def test_a_truth_without_genes_has_none_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"planted": []}))
    assert read_planted_genes(str(path)) == []
    path.write_text(json.dumps({"planted_genes": [{"gene": "G1"}]}))
    with pytest.raises(DataError, match="not one that 'ecg-spark simulate' writes"):
        read_planted_genes(str(path))
