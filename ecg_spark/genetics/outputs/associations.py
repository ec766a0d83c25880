"""The tables of tests, written as Parquet files directly by the tasks that compute the tests.

Passing the tests through Spark's rows took longer than computing them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from ecg_spark.errors import DataError
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER, OMNIBUS
from ecg_spark.session import partition_number
from ecg_spark.store import atomic_file
from ecg_spark.tables import ASSOCIATIONS, VARIANT, VARIANT_COLUMNS, Table

BY_VARIANT = "by_variant"
"""The folder of the tests, one row per variant (see `results.TESTS`)."""

WRITTEN = "part int"


def write_tests(
    folder: str, of_set: int, tests: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Write this task's part of three tables.

    by_variant gets the rows as they are; associations one row per phenotype, and omnibus one row
    per model, of each variant that has a result for some phenotype. There is no row if nobody with
    the phenotype has a known genotype. An omnibus test needs at least `FEWEST_TOGETHER` minor
    alleles among the people: the sum of squares over many latents is chi-squared distributed with
    many carriers, but not if a few unusual heartbeats decide it.

    The name of a file has the numbers of the genotype set and of the task's partition, so a task
    that runs twice writes the same file again.

    Args:
        folder: the folder of the tables.
        of_set: the number of the genotype set.
        tests: rows of `results.TESTS`.

    Returns:
        One row of `WRITTEN`; none if there were no tests.
    """
    number = partition_number()
    is_empty = True
    with part_files(folder, f"part-{of_set}-{number:05d}.parquet") as write:
        for batch in tests:
            write(_tables(batch))
            is_empty = False
    if not is_empty:
        yield pa.record_batch([pa.array([number], pa.int32())], ["part"])


@contextmanager
def part_files(folder: str, name: str) -> Iterator[Callable[[Mapping[str, pa.Table]], None]]:
    """A function that appends rows to tables, given by name.

    Each table is one file called `name` in a folder of its own. The files appear under that name
    once everything has been written.
    """
    with ExitStack() as files:
        writers: dict[str, pq.ParquetWriter] = {}

        def write(tables: Mapping[str, pa.Table]) -> None:
            for table_name, table in tables.items():
                if table_name not in writers:
                    file = files.enter_context(atomic_file(f"{folder}/{table_name}/{name}"))
                    writer = pq.ParquetWriter(file, table.schema, compression="zstd")
                    writers[table_name] = files.enter_context(writer)
                writers[table_name].write_table(table)

        yield write


def refuse_repeated(tests: DataFrame) -> None:
    """Refuse a variant that was tested twice.

    Raises:
        DataError: with the number of such variants.
    """
    repeated = F.count(F.lit(1)) - F.count_distinct(F.struct(*VARIANT))
    if repeated := tests.agg(repeated).collect()[0][0]:
        raise DataError(
            f"{repeated} variants are among those tested twice: give each in one of "
            f"genotypes.path and genotypes.separate."
        )


def _tables(batch: pa.RecordBatch) -> dict[str, pa.Table]:
    """The rows of some variants in each table."""
    results, of_result = elements(batch, "results")
    tested = np.zeros(len(batch), bool)
    tested[of_result[are_known(results["neg_log10_p"])]] = True
    joint, of_joint = elements(batch, "omnibus")
    af = joint["af"]
    minor = pc.multiply(pc.multiply(2.0, joint["n"]), pc.min_element_wise(af, pc.subtract(1.0, af)))
    enough = pc.greater_equal(minor, float(FEWEST_TOGETHER))
    for name in ("chi2", "neg_log10_p"):
        joint[name] = pc.if_else(enough, joint[name], None)
    return {
        BY_VARIANT: pa.Table.from_batches([batch]),
        ASSOCIATIONS.name: _long(batch, results, of_result, tested, ASSOCIATIONS),
        OMNIBUS.name: _long(batch, joint, of_joint, tested, OMNIBUS),
    }


def elements(batch: pa.RecordBatch, column: str) -> tuple[dict[str, pa.Array], NDArray[np.int64]]:
    """The structs in a list column, as one array per field, and the row that each struct comes
    from.
    """
    lists = batch.column(column)
    structs = lists.flatten()
    names = [structs.type.field(i).name for i in range(structs.type.num_fields)]
    fields = {name: pc.struct_field(structs, name) for name in names}
    return fields, pc.list_parent_indices(lists).to_numpy().astype(np.int64)


def are_known(values: pa.Array) -> NDArray[np.bool_]:
    """Which values are not null.

    Example:
        >>> are_known(pa.array([1.5, None])).tolist()
        [True, False]
    """
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), bool)


def _long(
    batch: pa.RecordBatch,
    fields: dict[str, pa.Array],
    of_variant: NDArray[np.int64],
    tested: NDArray[np.bool_],
    table: Table,
) -> pa.Table:
    """One row of a table for each struct that belongs to a tested variant."""
    own = np.flatnonzero(are_known(fields["af"]) & tested[of_variant])
    sites = {name: batch.column(name).take(pa.array(of_variant[own])) for name in VARIANT_COLUMNS}
    found = sites | {name: values.take(pa.array(own)) for name, values in fields.items()}
    schema = to_arrow_schema(table.schema)
    return pa.Table.from_arrays([found[name] for name in schema.names], schema=schema)
