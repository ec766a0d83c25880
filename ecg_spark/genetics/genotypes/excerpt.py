"""The genotypes of the variants of one region, as they were tested.

Only the row groups that hold one of these variants are read from each part.
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
    """Some variants with the genotypes of some people.

    Attributes:
        sites: the columns `NAMES`, one row per variant.
        pieces: pairs of the places of variants in `sites` and their genotype rows (see `rows`).
            Calls and dosages are kept apart, in the bytes in which they were written.
    """

    sites: pd.DataFrame
    pieces: tuple[tuple[Whole, Rows], ...]


def read_excerpt(calls: Calls, samples: Whole) -> Excerpt:
    """Read all variants of `calls`, which lie in the parts of a set, for some people.

    Args:
        samples: the places of the people in the set, [n].

    Raises:
        DataError: if a part has been altered since it was written.
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
    """The variants at some places of a part, one row group at a time, each with its places in
    `places`.
    """
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
