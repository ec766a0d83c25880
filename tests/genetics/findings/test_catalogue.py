"""What the loci are made from is bounded."""

from typing import cast

import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings import catalogue
from ecg_spark.genetics.findings.catalogue import Annotation, write_loci
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.null_model.cohort import Cohort
from ecg_spark.study import Genotypes, Gwas


def test_inflated_tests_are_refused_before_they_reach_the_driver(spark, tmp_path, monkeypatch):
    """By each method: of single phenotypes and of the omnibus test."""
    monkeypatch.setattr(catalogue, "MOST_HITS", 3)
    rows = pd.DataFrame(
        {"contig": "1", "position": range(1, 6), "ref": "A", "alt": "C", "rsid": "rs", "af": 0.1}
        | {"n": 100, "phenotype": "trait_qt", "beta": 1.0, "se": 0.1, "neg_log10_p": 9.0}
    )
    single = spark.createDataFrame(rows)
    together = spark.createDataFrame(
        rows.drop(columns=["phenotype", "beta", "se"]).assign(model="vae")
    )
    packed, cohort = cast(Packed, None), cast(Cohort, None)
    genotypes = Genotypes(path="set.bed")
    for thresholds in ({"traits": 8.0}, {"vae omnibus": 8.0}):
        tests = catalogue.Tests(single, together, {"traits": ["trait_qt"]}, thresholds)
        with pytest.raises(DataError, match=r"More than 3 tests of the method .* are inflated"):
            write_loci(
                spark, packed, tests, cohort, {}, Gwas(), genotypes, Annotation(None, None, None),
                single, str(tmp_path),
            )  # fmt: skip
    assert not list(tmp_path.iterdir())
