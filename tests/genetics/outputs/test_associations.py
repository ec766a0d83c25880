"""The tables of tests, which the tasks that test write themselves."""

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import to_arrow_schema

from ecg_spark.errors import DataError
from ecg_spark.genetics.outputs.associations import BY_VARIANT, refuse_repeated, write_tests
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER, OMNIBUS
from ecg_spark.genetics.testing.results import TESTS
from ecg_spark.tables import ASSOCIATIONS, check_table, read_table

FIELDS = ("phenotype", "beta", "se", "t", "neg_log10_p", "n", "af")
JOINT = ("model", "chi2", "df", "neg_log10_p", "n", "af")


def row_of(position, n, af, neg_log10_p=1.3):
    """A variant with a result for one of two phenotypes; nobody who has the other is genotyped."""
    none = dict.fromkeys(FIELDS) | {"phenotype": "qt_ms", "n": 40}
    found = dict(zip(FIELDS, ("vae_00", 0.1, 0.05, 2.0, neg_log10_p, n, af), strict=True))
    joint = dict(zip(JOINT, ("vae", 4.0, 1, neg_log10_p, n, af), strict=True))
    place = {"contig": "chr1", "position": position, "ref": "A", "alt": "G", "rsid": None}
    return place | {"results": [none, found], "omnibus": [joint], "failed": [None]}


@pytest.fixture(scope="module")
def batch_of(spark):
    schema = to_arrow_schema(spark.createDataFrame([], TESTS).schema)
    return lambda rows: pa.RecordBatch.from_pylist(rows, schema)


def test_the_tables_hold_what_has_a_result(spark, batch_of, tmp_path):
    batches = [
        batch_of([row_of(1, 300, 0.2), row_of(2, 300, 0.01)]),
        batch_of([row_of(3, 300, 0.2, None), row_of(4, 300, 0.97)]),
    ]
    (told,) = write_tests(str(tmp_path), 2, iter(batches))
    assert told.to_pylist() == [{"part": 0}]
    rows = spark.read.schema(TESTS).parquet(f"{tmp_path}/{BY_VARIANT}")
    assert [one["position"] for one in rows.collect()] == [1, 2, 3, 4]
    assert [one["phenotype"] for one in rows.first()["results"]] == ["qt_ms", "vae_00"]
    found = read_table(spark, ASSOCIATIONS, f"{tmp_path}/{ASSOCIATIONS.name}").toPandas()
    assert found["position"].tolist() == [1, 2, 4]
    assert found["phenotype"].tolist() == ["vae_00"] * 3
    assert (
        found[["beta", "se", "neg_log10_p", "n"]].to_numpy().tolist() == [[0.1, 0.05, 1.3, 300]] * 3
    )
    together = pd.read_parquet(tmp_path / OMNIBUS.name).set_index("position")
    assert 2 * 300 * 0.01 < 2 * 300 * 0.03 < FEWEST_TOGETHER < 2 * 300 * 0.2
    assert together["chi2"].isna().to_dict() == {1: False, 2: True, 4: True}
    assert (together["chi2"].isna() == together["neg_log10_p"].isna()).all()
    for table in (ASSOCIATIONS, OMNIBUS):
        assert check_table(spark, table, f"{tmp_path}/{table.name}") == 3


def test_a_task_that_runs_twice_leaves_one_file_and_one_that_fails_none(batch_of, tmp_path):
    for _ in range(2):
        list(write_tests(str(tmp_path), 0, [batch_of([row_of(1, 300, 0.2)])]))
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ["part-0-00000.parquet"] * 3

    def fails():
        yield batch_of([row_of(2, 300, 0.2)])
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        list(write_tests(str(tmp_path / "other"), 0, fails()))
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]
    assert not list(write_tests(str(tmp_path / "none"), 0, []))


def test_a_variant_that_was_tested_twice_is_refused(spark):
    rows = [row_of(1, 300, 0.2), row_of(1, 290, 0.2), row_of(2, 290, 0.2)]
    with pytest.raises(DataError, match="1 variants are among those tested twice"):
        refuse_repeated(spark.createDataFrame(rows, TESTS))
    refuse_repeated(spark.createDataFrame(rows[1:], TESTS))
