"""The genotypes of some neighbouring variants, as they were tested: what a region is computed from.

Of each part only the row groups that hold one of the variants are read, once. The genotypes of a
region fill a task's memory where people are many (4 GB of 4,000 variants and 500,000 people), so
that they wait in a file of the task for what is asked of them: some variants, or some people.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import IO

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.packed import NAMES, Calls
from ecg_spark.genetics.genotypes.parts import MAGIC, Batch, altered, batch_of, part_stem
from ecg_spark.genetics.genotypes.rows import Rows, in_order
from ecg_spark.session import scratch_folder

Whole = NDArray[np.int64]
Pieces = Iterator[tuple[Whole, Rows]]
"""Places among the variants of an excerpt, and their rows (see `rows`), a piece at a time."""


@dataclass(frozen=True)
class _Piece:
    """Where in the file the rows of some variants are: from a byte on, so many and so wide."""

    places: Whole
    at: int
    width: int
    kind: np.dtype[np.unsignedinteger]


@dataclass(frozen=True)
class Excerpt:
    """Variants, and the genotypes that some people have of them.

    `sites`: `NAMES` [variants]. The genotypes are in a file without a name, in as few bytes as they
    were written in, which goes when the excerpt does.
    """

    sites: pd.DataFrame
    _file: IO[bytes]
    _pieces: tuple[_Piece, ...]

    def rows(self) -> Pieces:
        """The genotypes of all people."""
        for one in self._pieces:
            yield one.places, self._read(one, 0, len(one.places), 0, one.width)

    def people(self, start: int, stop: int) -> Pieces:
        """The genotypes of the people from `start`, a multiple of four, up to `stop`."""
        for one in self._pieces:
            first, last = (start, stop) if one.kind == np.uint16 else (start // 4, -(-stop // 4))
            yield one.places, self._read(one, 0, len(one.places), first, last)

    def variant(self, place: int) -> Rows:
        """The genotypes [1, people] of the variant at a place."""
        for one in self._pieces:
            for row in np.flatnonzero(one.places == place).tolist():
                return self._read(one, row, row + 1, 0, one.width)
        raise IndexError(place)

    def _read(self, piece: _Piece, top: int, bottom: int, first: int, last: int) -> Rows:
        found = np.empty((bottom - top, last - first), piece.kind)
        each = found.reshape(1, -1) if last - first == piece.width else found
        for number, row in enumerate(each):
            place = (top + number) * piece.width + first
            got = os.preadv(self._file.fileno(), [row], piece.at + place * found.itemsize)
            if got < row.nbytes:
                raise OSError("the file of an excerpt is shorter than what was written")
        return found


def excerpt_of(sites: pd.DataFrame, pieces: Iterable[tuple[Whole, Rows]]) -> Excerpt:
    """Variants with their genotypes, which are written as they come."""
    file = TemporaryFile(dir=scratch_folder())  # noqa: SIM115  # the excerpt's
    found: list[_Piece] = []
    at = 0
    for places, rows in pieces:
        found.append(_Piece(places, at, rows.shape[1], rows.dtype))
        at += file.write(np.ascontiguousarray(rows).data)
    file.flush()
    return Excerpt(sites, file, tuple(found))


def read_excerpt(calls: Calls, samples: Whole) -> Excerpt:
    """Read all variants of `calls`, which lie in the parts of a set, for some people.

    Args:
        samples: the places of the people in the set, [n].

    Raises:
        DataError: if a part has been altered since it was written.
    """
    sites: list[pa.Table] = []
    order: list[Whole] = []

    def pieces() -> Pieces:
        part, places = calls.located(np.arange(len(calls.at) if calls.at is not None else 0))
        for number in np.unique(part).tolist():
            own = np.flatnonzero(part == number)
            stem = part_stem(calls.path, calls.parts[number][0])
            for among, batch in _batches(stem, places[own], calls.n_samples):
                here = own[among]
                order.append(here)
                sites.append(batch.sites)
                for k, rows in batch.kinds():
                    yield here[k], in_order(rows, samples)

    excerpt = excerpt_of(pd.DataFrame(), pieces())
    named = pa.concat_tables(sites).to_pandas()
    back = np.argsort(np.concatenate(order))
    return replace(excerpt, sites=named.iloc[back].reset_index(drop=True))


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
