"""The plan of an ingest: which sources each task reads, in a file that all tasks can open."""

import json
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ecg_spark.locations import make_folder
from ecg_spark.pipeline.sources import Source

_PLAN = pa.schema(
    [
        ("path", pa.string()),
        ("files", pa.list_(pa.string())),
        ("owners", pa.large_string()),
        ("slice", pa.int32()),
        ("slices", pa.int32()),
    ]
)


def write_plan(sources: list[Source], parts: list[int], path: str) -> None:
    """Write the sources to be read into a Parquet file, one row group per part.

    Args:
        sources: all sources, in the order of the parts.
        parts: how many sources each part has.
        path: the path or URI of the file.
    """
    fs, base = fsspec.core.url_to_fs(path)
    make_folder(path.rpartition("/")[0])
    at = 0
    with fs.open(base, "wb") as file, pq.ParquetWriter(file, _PLAN, compression="zstd") as writer:
        for count in parts:
            chosen = sources[at : at + count]
            at += count
            columns = [
                [source.path for source in chosen],
                [source.files for source in chosen],
                [json.dumps(source.owners) for source in chosen],
                [source.slice for source in chosen],
                [source.slices for source in chosen],
            ]
            table = pa.table(
                [pa.array(column, kind.type) for column, kind in zip(columns, _PLAN, strict=True)],
                schema=_PLAN,
            )
            writer.write_table(table, row_group_size=max(count, 1))


def plan_rows(path: str, part: int) -> list[dict[str, Any]]:
    """Return the sources of one part of the plan, which one task reads.

    Args:
        path: the path or URI of the plan.
        part: the number of the part, from 0.

    Returns:
        One mapping per source, with its `path`, `files`, `owners` (JSON), `slice` and `slices`.
    """
    with fsspec.open(path, "rb") as file:
        rows: list[dict[str, Any]] = pq.ParquetFile(file).read_row_group(part).to_pylist()
    return rows
