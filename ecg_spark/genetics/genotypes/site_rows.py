"""The variants of a genotype set as rows of a Spark table, and selections made from such rows.

Millions of variants are looked up in the tasks; only one bit per variant comes to the driver.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from ecg_spark.genetics.genotypes.parts import GenotypeSet, Part, read_sites

_PLACE = (pa.field("part", pa.int32()), pa.field("row", pa.int32()))


def site_rows(spark: SparkSession, genotypes: GenotypeSet, columns: list[str]) -> DataFrame:
    """The chosen variants of a set as Spark rows, without their genotypes.

    Returns:
        The number of the variant's `part`, its `row` in that part, and the given columns of the
        sites.

    Raises:
        DataError: in the task, if a part has been altered since it was written.
    """
    folder, known = genotypes.folder, genotypes.schema()
    schema = pa.schema([*_PLACE, *(known.field(name) for name in columns)])

    def read(part: Part, chosen: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
        rows = np.flatnonzero(chosen).astype(np.int32)
        sites = read_sites(folder, part, chosen, columns)
        place = [pa.array(np.full_like(rows, part.number)), pa.array(rows)]
        yield from pa.table([*place, *sites.columns], schema=schema).to_batches()

    return genotypes.each_part(spark, read, from_arrow_schema(schema))


def named(genotypes: GenotypeSet, rows: DataFrame) -> NDArray[np.bool_]:
    """Which of the chosen variants the given rows name, [variants].

    Args:
        rows: a table with the columns `part` and `row` of `site_rows`.
    """
    bits = rows.select("part", "row").groupBy("part").applyInPandas(_bits, "part int, bits binary")
    found = {row["part"]: row["bits"] for row in bits.collect()}
    masks = [
        part.mask(found.get(part.number, b""))[chosen]
        for part, chosen in zip(genotypes.parts, genotypes.masks(), strict=True)
    ]
    return np.concatenate(masks)


def _bits(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one part as a bit mask."""
    here = np.zeros(rows["row"].max() + 1, bool)
    here[rows["row"]] = True
    return pd.DataFrame({"part": rows["part"].iloc[:1], "bits": [np.packbits(here).tobytes()]})
