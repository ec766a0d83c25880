"""The tables of tests, made of rows that hold all tests of a variant."""

import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER, write_associations, write_omnibus
from ecg_spark.genetics.testing.results import TESTS

NO_RESULT = (None, None, None, None, 40, None)


def row_of(position, n, af):
    results = [("qt_ms", *NO_RESULT), ("vae_00", 0.1, 0.05, 2.0, 1.3, n, af)]
    return "chr1", position, "A", "G", None, results, [("vae", 4.0, 1, 1.3, n, af)], []


def test_a_phenotype_whose_people_have_no_genotype_has_no_row(spark, tmp_path):
    rows = spark.createDataFrame([row_of(1, 300, 0.2), row_of(2, 300, 0.01)], TESTS)
    found = write_associations(rows, str(tmp_path)).toPandas()
    assert found["phenotype"].tolist() == ["vae_00"] * 2
    assert pd.read_parquet(tmp_path / "associations")["beta"].tolist() == [0.1] * 2
    together = write_omnibus(rows, str(tmp_path)).toPandas().set_index("position")
    assert 2 * 300 * 0.01 < FEWEST_TOGETHER < 2 * 300 * 0.2
    assert together["chi2"].isna().to_dict() == {1: False, 2: True}


def test_a_variant_that_was_tested_twice_is_refused(spark, tmp_path):
    rows = spark.createDataFrame([row_of(1, 300, 0.2), row_of(1, 290, 0.2)], TESTS)
    with pytest.raises(DataError, match="1 variants are twice"):
        write_associations(rows, str(tmp_path))
