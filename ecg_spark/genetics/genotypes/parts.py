"""A genotype set in parts: tasks write them side by side and read them one by one.

A part holds some thousand neighbouring variants of one set, in three files:

- part-00000.bed, part-00000.bim: the calls, as plink2 reads them beside samples.fam
- part-00000.parquet: a row a variant with what is known of it, in the order of the .bed, in row
  groups that fit in memory; `dosages` where the calls do not say all (see `rows`)

set.json lists the parts, with the number of variants and the checksum of each.
"""

import json
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.genotypes.packed import Calls, Packed
from ecg_spark.genetics.genotypes.rows import Rows, are_calls, as_dosages, calls_of, in_order, pack

TASK_VARIANTS = 4_000
"""About how many variants make a part."""

BATCH_BYTES = 32 << 20
BATCH_VARIANTS = 512
"""Rows that are held at one time: so many variants, and dosages of so many bytes."""

SITES = pa.schema(
    [
        pa.field("contig", pa.string()),
        pa.field("position", pa.int32()),
        pa.field("ref", pa.string()),
        pa.field("alt", pa.string()),
        pa.field("rsid", pa.string()),
    ]
)
"""What names a variant; `rsid` may be missing."""

WRITTEN = "number int, variants int, checksum long, told string"
"""What a task tells of a part: see `Part`, and what it counted, as JSON."""

_TASKS = "number int, variants int, checksum long, chosen binary"
_MAGIC = b"\x6c\x1b\x01"
_BIM = ("contig", "rsid", "position", "alt", "ref")


@dataclass(frozen=True)
class Part:
    """A part: the number in its name, how many variants it holds, the CRC-32 of its calls."""

    number: int
    variants: int
    checksum: int

    def mask(self, bits: bytes) -> NDArray[np.bool_]:
        """Which of the variants a bit each chooses; those behind the last bit are not."""
        # Filled up here: of no bits NumPy would make as many as are asked for, out of nothing.
        known = np.unpackbits(np.frombuffer(bits, np.uint8))[: self.variants]
        return np.pad(known, (0, self.variants - len(known))).astype(bool)


@dataclass(frozen=True)
class Batch:
    """Some variants of a part: `sites` and what else is known of them, their `calls`, and, of those
    that are `dosed` (their places in the batch), the `dosages`."""

    sites: pa.Table
    calls: Rows
    dosed: NDArray[np.int64]
    dosages: Rows

    def rows(self) -> Rows:
        """The genotypes of all variants, in one kind."""
        if not len(self.dosed):
            return self.calls
        found = as_dosages(self.calls, self.dosages.shape[1])
        found[self.dosed] = self.dosages
        return found

    def slice(self, start: int, stop: int) -> "Batch":
        """The variants from one place up to another."""
        own = (start <= self.dosed) & (self.dosed < stop)
        return Batch(
            self.sites.slice(start, stop - start),
            self.calls[start:stop],
            self.dosed[own] - start,
            self.dosages[own],
        )

    def kinds(self) -> Iterator[tuple[NDArray[np.int64], Rows]]:
        """The places in the batch of the variants of each kind, and their rows."""
        called = np.setdiff1d(np.arange(len(self.calls)), self.dosed)
        if len(called):
            yield called, self.calls[called]
        if len(self.dosed):
            yield self.dosed, self.dosages


@dataclass(frozen=True)
class GenotypeSet:
    """A set in parts in a folder, its samples by their ids, and of each part the variants that are
    chosen, a bit each (`numpy.packbits`), None where all are."""

    folder: str
    samples: pd.Index
    parts: tuple[Part, ...]
    chosen: tuple[bytes, ...] | None = None

    @property
    def variants(self) -> int:
        """How many variants are chosen."""
        if self.chosen is None:
            return sum(part.variants for part in self.parts)
        return sum(int(own.sum()) for own in self.masks())

    def masks(self) -> list[NDArray[np.bool_]]:
        """Of each part, which variants are chosen."""
        if self.chosen is None:
            return [np.ones(part.variants, bool) for part in self.parts]
        return [part.mask(own) for own, part in zip(self.chosen, self.parts, strict=True)]

    def only(self, wanted: NDArray[np.bool_]) -> "GenotypeSet":
        """The set of those of the chosen variants that are wanted [variants], in their order."""
        masks, first = self.masks(), 0
        for own in masks:
            count = int(own.sum())
            own[own] = wanted[first : first + count]
            first += count
        return replace(self, chosen=tuple(np.packbits(own).tobytes() for own in masks))

    def map(
        self,
        spark: SparkSession,
        function: Callable[[int, Iterator[Batch]], Iterator[pa.RecordBatch]],
        schema: str,
        columns: list[str] | None = None,
    ) -> DataFrame:
        """What a function of a part's number and its batches yields, a task a part.

        `columns` of the sites that it needs, by default all. Raises `DataError` in the task where a
        part is not as it was written.
        """
        folder, n_samples = self.folder, len(self.samples)

        def read(part: Part, own: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
            return function(part.number, _read(folder, part, own, n_samples, columns))

        return self.each_part(spark, read, schema)

    def each_part(
        self,
        spark: SparkSession,
        function: Callable[[Part, NDArray[np.bool_]], Iterator[pa.RecordBatch]],
        schema: str | StructType,
    ) -> DataFrame:
        """What a function of a part and of which of its variants are chosen yields, a task a part
        of which some are."""
        tasks = [
            (part.number, part.variants, part.checksum, np.packbits(own).tobytes())
            for part, own in zip(self.parts, self.masks(), strict=True)
            if own.any()
        ]

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for row in batch.to_pylist():
                    bits = row.pop("chosen")
                    part = Part(**row)
                    yield from function(part, part.mask(bits))

        rows = spark.sparkContext.parallelize(tasks, max(1, len(tasks)))
        return spark.createDataFrame(rows, _TASKS).mapInArrow(read, schema)

    def sites(self, columns: list[str] | None = None) -> pd.DataFrame:
        """What is known of the chosen variants, part by part, without their genotypes."""
        wanted = columns or [name for name in self.schema().names if name != "dosages"]
        tables = [
            read_sites(self.folder, part, own, wanted)
            for part, own in zip(self.parts, self.masks(), strict=True)
        ]
        return pa.concat_tables(tables).to_pandas()

    def schema(self) -> pa.Schema:
        """The columns of the table of a part."""
        with fsspec.open(f"{_stem(self.folder, self.parts[0].number)}.parquet", "rb") as file:
            return pq.read_schema(file)


def write_parts(folder: str, samples: pd.Index, frame: DataFrame) -> tuple[GenotypeSet, list[Any]]:
    """The set whose parts the tasks of `frame` (see `WRITTEN`) write into a folder, and what they
    told, in the order of the parts."""
    rows = sorted(frame.collect(), key=lambda row: row["number"])
    parts = tuple(
        Part(row["number"], row["variants"], row["checksum"]) for row in rows if row["variants"]
    )
    found = GenotypeSet(folder, samples, parts)
    return found, [json.loads(row["told"]) for row in rows]


def save(found: GenotypeSet) -> None:
    """Write the list of the parts and of the samples."""
    files, base = fsspec.core.url_to_fs(found.folder)
    files.makedirs(base, exist_ok=True)
    with fsspec.open(f"{found.folder}/samples.fam", "wt", encoding="utf-8") as file:
        file.writelines(f"0\t{name}\t0\t0\t0\t-9\n" for name in found.samples)
    parts = [[part.number, part.variants, part.checksum] for part in found.parts]
    with fsspec.open(f"{found.folder}/set.json", "wt", encoding="utf-8") as file:
        json.dump({"samples": len(found.samples), "parts": parts}, file)


def open_set(folder: str) -> GenotypeSet:
    """A set that `save` listed."""
    with fsspec.open(f"{folder}/set.json", "rt", encoding="utf-8") as file:
        listed = json.load(file)
    with fsspec.open(f"{folder}/samples.fam", "rt", encoding="utf-8") as file:
        samples = pd.Index([line.split()[1] for line in file])
    if len(samples) != listed["samples"]:
        raise _altered()
    return GenotypeSet(folder, samples, tuple(Part(*one) for one in listed["parts"]))


def with_samples(
    spark: SparkSession, genotypes: GenotypeSet, samples: pd.Index, folder: str
) -> GenotypeSet:
    """The chosen variants in these samples, which must be of the set, written into a folder."""
    places = genotypes.samples.get_indexer(samples)

    def write(number: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        rows = (written(batch.sites, in_order(batch.rows(), places)) for batch in batches)
        return told(write_part(folder, rows))

    return write_parts(folder, samples, genotypes.map(spark, write, WRITTEN))[0]


def packed_view(genotypes: GenotypeSet) -> Packed:
    """The calls of the chosen variants of a set in the order of the genome."""
    sites = genotypes.sites()
    at = np.flatnonzero(np.concatenate([*genotypes.masks(), np.empty(0, bool)]))
    order = np.arange(len(sites))
    if sites["set"].max() > 0:  # each is in order by itself
        contig = sites["contig"].map({name: i for i, name in enumerate(CONTIGS)})
        order = np.lexsort((sites["alt"], sites["ref"], sites["position"], contig))
    parts = tuple((part.number, part.variants) for part in genotypes.parts)
    calls = Calls(genotypes.folder, len(genotypes.samples), parts, at[order].astype(np.int32))
    return Packed(calls, genotypes.samples, sites.iloc[order].reset_index(drop=True))


def batch_variants(samples: int) -> int:
    """How many variants are held at one time."""
    return max(1, min(BATCH_VARIANTS, BATCH_BYTES // (2 * max(samples, 1))))


def written(sites: pa.Table, rows: Rows) -> Batch:
    """Variants as they are written: dosages only where they are not calls."""
    if rows.dtype == np.uint8:
        return Batch(sites, rows, np.empty(0, np.int64), np.empty((0, 0), np.uint16))
    dosed = np.flatnonzero(~are_calls(rows))
    return Batch(sites, pack(calls_of(rows)), dosed, rows[dosed])


def write_part(folder: str, batches: Iterable[Batch], first: int = 0) -> Part:
    """Write the part of this task.

    The part's number is that of the task's partition, from `first` on; one without variants has no
    files. A file is under a name of its own until it is whole: a task may run twice.
    """
    context = TaskContext.get()
    number = first + (context.partitionId() if context else 0)
    files, base = fsspec.core.url_to_fs(folder)
    files.makedirs(base, exist_ok=True)
    stem = _stem(base, number)
    batches = (batch for batch in batches if len(batch.sites))
    start = next(batches, None)
    if start is None:
        return Part(number, 0, 0)
    variants, checksum = 0, zlib.crc32(_MAGIC)
    with (
        _whole(files, f"{stem}.bed") as bed,
        _whole(files, f"{stem}.bim") as bim,
        _whole(files, f"{stem}.parquet") as table,
    ):
        bed.write(_MAGIC)
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
    """The row of `WRITTEN` of a task."""
    row = {
        "number": part.number,
        "variants": part.variants,
        "checksum": part.checksum,
        "told": json.dumps(counted),
    }
    kinds = [("number", pa.int32()), ("variants", pa.int32()), ("checksum", pa.int64())]
    schema = pa.schema([*kinds, ("told", pa.string())])
    yield pa.RecordBatch.from_pylist([row], schema=schema)


def read_sites(folder: str, part: Part, chosen: NDArray[np.bool_], columns: list[str]) -> pa.Table:
    """What is known of the chosen variants of a part, without their genotypes.

    Raises `DataError` where the part is not as it was written.
    """
    try:
        with fsspec.open(f"{_stem(folder, part.number)}.parquet", "rb") as file:
            sites = pq.read_table(file, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        raise _altered() from None
    if len(sites) != part.variants:
        raise _altered()
    return sites.filter(pa.array(chosen))


def _read(
    folder: str,
    part: Part,
    chosen: NDArray[np.bool_],
    samples: int,
    columns: list[str] | None,
) -> Iterator[Batch]:
    """The chosen variants of a part, which must be as it was written, in batches."""
    stem, width = _stem(folder, part.number), -(-samples // 4)
    with fsspec.open(f"{stem}.parquet", "rb") as table, fsspec.open(f"{stem}.bed", "rb") as bed:
        try:
            file = pq.ParquetFile(table, page_checksum_verification=True)
            variants = file.metadata.num_rows
        except (OSError, pa.ArrowException):
            raise _altered() from None
        checksum = zlib.crc32(bed.read(len(_MAGIC)))
        if variants != part.variants:
            raise _altered()
        for group in range(file.num_row_groups):
            wanted = None if columns is None else [*columns, "dosages"]
            try:
                sites = file.read_row_group(group, columns=wanted)
            except (OSError, pa.ArrowException):
                raise _altered() from None
            content = bed.read(len(sites) * width)
            checksum = zlib.crc32(content, checksum)
            if len(content) < len(sites) * width:
                raise _altered()
            own, chosen = chosen[: len(sites)], chosen[len(sites) :]
            if not own.any():
                continue
            calls = np.frombuffer(content, np.uint8).reshape(len(sites), width)[own]
            sites = sites.filter(pa.array(own))
            values = sites.column("dosages").combine_chunks()
            dosed = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
            dosages = np.frombuffer(b"".join(values.drop_null().to_pylist()), "<u2")
            sites = sites.drop_columns(["dosages"])
            yield Batch(sites, calls, dosed, dosages.reshape(len(dosed), samples))
        if bed.read(1) or checksum != part.checksum:
            raise _altered()


def _with_dosages(batch: Batch) -> pa.Table:
    """The row of each variant in the table of a part."""
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


@contextmanager
def _whole(files: Any, path: str) -> Iterator[IO[bytes]]:
    unfinished = f"{path}.{secrets.token_hex(4)}"
    with files.open(unfinished, "wb") as file:
        yield file
    files.mv(unfinished, path)


def _stem(folder: str, number: int) -> str:
    return f"{folder}/part-{number:05d}"


def _altered() -> DataError:
    return DataError(
        "A part of the published genotypes is not as it was written (cut short, altered or "
        "gone): run the step genotypes again with --force."
    )
