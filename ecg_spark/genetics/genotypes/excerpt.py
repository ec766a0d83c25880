"""The genotypes of some neighbouring variants, as they were tested: what a region is computed from.

Of each part only the row groups that hold one of the variants are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.packed import NAMES, Calls
from ecg_spark.genetics.genotypes.parts import MAGIC, Batch, altered, batch_of, part_stem
from ecg_spark.genetics.genotypes.rows import Rows, in_order

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Excerpt:
    """Variants, and the genotypes that some people have of them.

    `sites`: `NAMES` [variants]; `pieces`: places among the variants, and their rows (see `rows`),
    as few bytes as they were written in.
    """

    sites: pd.DataFrame
    pieces: tuple[tuple[Whole, Rows], ...]


def read_excerpt(calls: Calls, samples: Whole) -> Excerpt:
    """All variants of `calls`, which lie in the parts of a set, in the people at some places of it.

    Raises `DataError` where a part is not as it was written.
    """
    part, places = calls.located(np.arange(len(calls.at) if calls.at is not None else 0))
    pieces: list[tuple[Whole, Rows]] = []
    sites: list[pa.Table] = []
    order: list[Whole] = []
    for number in np.unique(part).tolist():
        own = np.flatnonzero(part == number)
        stem = part_stem(calls.path, calls.parts[number][0])
        for among, batch in _batches(stem, places[own], calls.n_samples):
            here = own[among]
            order.append(here)
            sites.append(batch.sites)
            pieces += [(here[k], in_order(rows, samples)) for k, rows in batch.kinds()]
    named = pa.concat_tables(sites).to_pandas()
    back = np.argsort(np.concatenate(order))
    return Excerpt(named.iloc[back].reset_index(drop=True), tuple(pieces))


def _batches(stem: str, places: Whole, n_samples: int) -> Iterator[tuple[Whole, Batch]]:
    """The variants at some places of a part, a row group at a time: which of them, and they."""
    width = -(-n_samples // 4)
    with fsspec.open(f"{stem}.parquet", "rb") as table, fsspec.open(f"{stem}.bed", "rb") as bed:
        try:
            file = pq.ParquetFile(table, page_checksum_verification=True)
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        except (OSError, pa.ArrowException):
            raise altered() from None
        ends = np.cumsum([0, *sizes])
        for group in np.unique(np.searchsorted(ends, places, side="right") - 1).tolist():
            among = np.flatnonzero((places >= ends[group]) & (places < ends[group + 1]))
            within = places[among] - ends[group]
            try:
                rows = file.read_row_group(group, columns=[*NAMES, "dosages"])
            except (OSError, pa.ArrowException):
                raise altered() from None
            bed.seek(len(MAGIC) + int(ends[group]) * width)
            content = bed.read(sizes[group] * width)
            if len(content) < sizes[group] * width:
                raise altered()
            packed = np.frombuffer(content, np.uint8).reshape(-1, width)[within]
            chosen = rows.take(pa.array(within)).select([*NAMES, "dosages"])
            yield among, batch_of(chosen, packed, n_samples)
