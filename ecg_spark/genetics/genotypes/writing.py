"""Genotype sets written in parts, by tasks in parallel (see `parts`)."""

import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.parts import MAGIC, Batch, GenotypeSet, Part, part_stem
from ecg_spark.genetics.genotypes.rows import Rows, are_calls, calls_of, in_order, pack
from ecg_spark.locations import make_folder
from ecg_spark.session import partition_number
from ecg_spark.store import atomic_file

WRITTEN = "number int, variants int, checksum long, told string"
"""What a task reports of its part: the fields of `Part`, and what it counted, as JSON."""

_BIM = ("contig", "rsid", "position", "alt", "ref")


def write_parts(folder: str, samples: pd.Index, frame: DataFrame) -> tuple[GenotypeSet, list[Any]]:
    """Run the tasks that write the parts of a set.

    Args:
        folder: where the tasks write.
        frame: yields one row of `WRITTEN` per part.

    Returns:
        The set, and what each task reported under `told`, both in the order of the parts.
    """
    rows = sorted(frame.collect(), key=lambda row: row["number"])
    parts = tuple(
        Part(row["number"], row["variants"], row["checksum"]) for row in rows if row["variants"]
    )
    found = GenotypeSet(folder, samples, parts)
    return found, [json.loads(row["told"]) for row in rows]


def save(found: GenotypeSet) -> None:
    """Write the list of the parts (set.json) and of the samples (samples.fam) into the set's
    folder.
    """
    make_folder(found.folder)
    with fsspec.open(f"{found.folder}/samples.fam", "wt", encoding="utf-8") as file:
        file.writelines(f"0\t{name}\t0\t0\t0\t-9\n" for name in found.samples)
    parts = [[part.number, part.variants, part.checksum] for part in found.parts]
    with fsspec.open(f"{found.folder}/set.json", "wt", encoding="utf-8") as file:
        json.dump({"samples": len(found.samples), "parts": parts}, file)


def with_samples(
    spark: SparkSession, genotypes: GenotypeSet, samples: pd.Index, folder: str
) -> GenotypeSet:
    """Write the chosen variants of a set for some of its samples into a folder.

    Args:
        samples: ids, all of which must be in the set.
    """
    places = genotypes.samples.get_indexer(samples)

    def write(number: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        rows = (written(batch.sites, in_order(batch.rows(), places)) for batch in batches)
        return told(write_part(folder, rows))

    return write_parts(folder, samples, genotypes.map(spark, write, WRITTEN))[0]


def written(sites: pa.Table, rows: Rows) -> Batch:
    """A batch as it is to be stored: dosages are kept only for variants that are not all hard
    calls.
    """
    if rows.dtype == np.uint8:
        return Batch(sites, rows, np.empty(0, np.int64), np.empty((0, 0), np.uint16))
    dosed = np.flatnonzero(~are_calls(rows))
    return Batch(sites, pack(calls_of(rows)), dosed, rows[dosed])


def write_part(folder: str, batches: Iterable[Batch], first: int = 0) -> Part:
    """Write the part of this task.

    The part's number is `first` plus the number of the task's Spark partition. A part without
    variants has no files. A file has a temporary name until it is complete: a task may run twice.
    """
    number = first + partition_number()
    stem = part_stem(folder, number)
    batches = (batch for batch in batches if len(batch.sites))
    start = next(batches, None)
    if start is None:
        return Part(number, 0, 0)
    variants, checksum = 0, zlib.crc32(MAGIC)
    with (
        atomic_file(f"{stem}.bed") as bed,
        atomic_file(f"{stem}.bim") as bim,
        atomic_file(f"{stem}.parquet") as table,
    ):
        bed.write(MAGIC)
        schema = _with_dosages(start).schema
        with pq.ParquetWriter(
            table, schema, compression="zstd", write_page_checksum=True
        ) as writer:
            for batch in chain([start], batches):
                content = np.ascontiguousarray(batch.calls).tobytes()
                bed.write(content)
                checksum = zlib.crc32(content, checksum)
                bim.write(_bim(batch.sites))
                writer.write_table(_with_dosages(batch), row_group_size=len(batch.sites))
                variants += len(batch.sites)
    return Part(number, variants, checksum)


def told(part: Part, counted: Any = None) -> Iterator[pa.RecordBatch]:
    """The row of `WRITTEN` that a task yields for its part.

    Args:
        counted: what the task counted; anything that JSON can hold.
    """
    row = {
        "number": part.number,
        "variants": part.variants,
        "checksum": part.checksum,
        "told": json.dumps(counted),
    }
    kinds = [("number", pa.int32()), ("variants", pa.int32()), ("checksum", pa.int64())]
    schema = pa.schema([*kinds, ("told", pa.string())])
    yield pa.RecordBatch.from_pylist([row], schema=schema)


def _with_dosages(batch: Batch) -> pa.Table:
    """The rows of a batch in the table of a part, with the column `dosages` (null for hard
    calls).
    """
    found: list[bytes | None] = [None] * len(batch.sites)
    for place, row in zip(batch.dosed.tolist(), batch.dosages, strict=True):
        found[place] = row.astype("<u2").tobytes()
    return batch.sites.append_column("dosages", pa.array(found, pa.large_binary()))


def _bim(sites: pa.Table) -> bytes:
    columns = [sites.column(name).to_pylist() for name in _BIM]
    lines = (
        f"{contig}\t{'_'.join(rsid.split()) if rsid else '.'}\t0\t{position}\t{alt}\t{ref}\n"
        for contig, rsid, position, alt, ref in zip(*columns, strict=True)
    )
    return "".join(lines).encode()
