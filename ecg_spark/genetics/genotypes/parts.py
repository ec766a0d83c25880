"""A genotype set in parts: tasks write them in parallel, and each part can be read by itself.

A part holds some thousand neighbouring variants of one set, in three files:

- part-00000.bed, part-00000.bim: the hard calls, readable by plink2 together with samples.fam
- part-00000.parquet: one row per variant with what is known of it, in the order of the .bed, in
  row groups that fit in memory; `dosages` where hard calls would lose information (see `rows`)

set.json lists the parts, with the number of variants and the checksum of each.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.files import side_by_side
from ecg_spark.genetics.genotypes.rows import Rows, as_dosages

TASK_VARIANTS = 4_000
"""About how many variants a part has."""

BATCH_BYTES = 32 << 20
BATCH_VARIANTS = 512
"""The most that a batch holds: this many variants, and dosages of this many bytes."""

SITES = pa.schema(
    [
        pa.field("contig", pa.string()),
        pa.field("position", pa.int32()),
        pa.field("ref", pa.string()),
        pa.field("alt", pa.string()),
        pa.field("rsid", pa.string()),
    ]
)
"""The columns that name a variant; `rsid` may be missing."""

_TASKS = "number int, variants int, checksum long, chosen binary"
MAGIC = b"\x6c\x1b\x01"
"""The first bytes of a .bed."""


@dataclass(frozen=True)
class Part:
    """A part of a genotype set.

    Attributes:
        number: the number in the names of its files.
        variants: how many variants it holds.
        checksum: the CRC-32 of its .bed.
    """

    number: int
    variants: int
    checksum: int

    def mask(self, bits: bytes) -> NDArray[np.bool_]:
        """Unpack a bit mask (`numpy.packbits`) of the part's variants; variants after its end
        are False.
        """
        # Padded here, because `np.unpackbits(..., count=)` invents bits for an empty input.
        known = np.unpackbits(np.frombuffer(bits, np.uint8))[: self.variants]
        return np.pad(known, (0, self.variants - len(known))).astype(bool)


@dataclass(frozen=True)
class Batch:
    """Some consecutive variants of a part.

    Attributes:
        sites: what is known of each variant, one row per variant.
        calls: packed hard calls of all of the variants (see `rows`).
        dosed: the places in the batch of the variants that have dosages.
        dosages: the dosages of these, [dosed, samples].
    """

    sites: pa.Table
    calls: Rows
    dosed: NDArray[np.int64]
    dosages: Rows

    def rows(self) -> Rows:
        """The genotypes of all variants as one array: dosages if any variant has them, else
        packed calls.
        """
        if not len(self.dosed):
            return self.calls
        found = as_dosages(self.calls, self.dosages.shape[1])
        found[self.dosed] = self.dosages
        return found

    def slice(self, start: int, stop: int) -> "Batch":
        """The variants from place `start` up to, but not including, `stop`."""
        own = (start <= self.dosed) & (self.dosed < stop)
        return Batch(
            self.sites.slice(start, stop - start),
            self.calls[start:stop],
            self.dosed[own] - start,
            self.dosages[own],
        )

    def kinds(self) -> Iterator[tuple[NDArray[np.int64], Rows]]:
        """The variants with calls only, then those with dosages: their places in the batch,
        and their rows.
        """
        called = np.setdiff1d(np.arange(len(self.calls)), self.dosed)
        if len(called):
            yield called, self.calls[called]
        if len(self.dosed):
            yield self.dosed, self.dosages


@dataclass(frozen=True)
class GenotypeSet:
    """A genotype set in parts, or a selection of its variants.

    Attributes:
        folder: where the parts lie.
        samples: the sample ids, in the order of the genotypes.
        chosen: for each part a bit mask of its chosen variants (`numpy.packbits`); None if all
            are.
    """

    folder: str
    samples: pd.Index
    parts: tuple[Part, ...]
    chosen: tuple[bytes, ...] | None = None

    @property
    def variants(self) -> int:
        """The number of chosen variants."""
        if self.chosen is None:
            return sum(part.variants for part in self.parts)
        return sum(int(own.sum()) for own in self.masks())

    def masks(self) -> list[NDArray[np.bool_]]:
        """For each part, which of its variants are chosen."""
        if self.chosen is None:
            return [np.ones(part.variants, bool) for part in self.parts]
        return [part.mask(own) for own, part in zip(self.chosen, self.parts, strict=True)]

    def only(self, wanted: NDArray[np.bool_]) -> "GenotypeSet":
        """Narrow the selection.

        Args:
            wanted: for each variant chosen so far, whether to keep it, [variants].
        """
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
        schema: str | StructType,
        columns: list[str] | None = None,
    ) -> DataFrame:
        """Apply a function to the genotypes of each part, one task per part.

        Args:
            function: takes the number of a part and its batches, and yields Arrow batches.
            schema: the columns of what it yields.
            columns: which columns of the sites the function needs; None for all.

        Raises:
            DataError: in the task, if a part has been altered since it was written.
        """
        folder, n_samples = self.folder, len(self.samples)

        def read(part: Part, own: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
            return function(part.number, read_part(folder, part, own, n_samples, columns))

        return self.each_part(spark, read, schema)

    def each_part(
        self,
        spark: SparkSession,
        function: Callable[[Part, NDArray[np.bool_]], Iterator[pa.RecordBatch]],
        schema: str | StructType,
    ) -> DataFrame:
        """Apply a function to each part that has a chosen variant, one task per part.

        Args:
            function: takes a part and the mask of its chosen variants, and yields Arrow batches.
            schema: the columns of what it yields.
        """
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

    def total(
        self,
        spark: SparkSession,
        function: Callable[[Iterator[Batch]], NDArray[np.float64]],
        columns: list[str],
    ) -> NDArray[np.float64]:
        """Add up, over all parts, an array of numbers that a function computes from the batches of
        one part.

        The arrays are added in the tasks (`treeReduce`), so the driver only ever holds a few of
        them.

        Args:
            function: must return an array of the same length for every part.
            columns: which columns of the sites the function needs.
        """

        def count(_: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
            content = function(batches).tobytes()
            yield pa.record_batch([pa.array([content], pa.binary())], ["counts"])

        rows = self.map(spark, count, "counts binary", columns).rdd
        return np.asarray(rows.map(lambda row: np.frombuffer(row["counts"])).treeReduce(np.add))

    def where(self, flag: str) -> "GenotypeSet":
        """The chosen variants for which the boolean column `flag` of the sites is true."""
        return self.only(self.sites([flag])[flag].to_numpy())

    def sites(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The table of the chosen variants, part by part, without their genotypes.

        Args:
            columns: None for all.
        """
        wanted = columns or [name for name in self.schema().names if name != "dosages"]
        tables = side_by_side(
            lambda one: read_sites(self.folder, *one, wanted),
            zip(self.parts, self.masks(), strict=True),
        )
        return pa.concat_tables(tables).to_pandas()

    def schema(self) -> pa.Schema:
        """The Arrow schema of the table of a part."""
        with fsspec.open(f"{part_stem(self.folder, self.parts[0].number)}.parquet", "rb") as file:
            return pq.read_schema(file)


def open_set(folder: str) -> GenotypeSet:
    """Open a set that `writing.save` has listed.

    Raises:
        DataError: if the list of samples does not have the length it was saved with.
    """
    with fsspec.open(f"{folder}/set.json", "rt", encoding="utf-8") as file:
        listed = json.load(file)
    with fsspec.open(f"{folder}/samples.fam", "rt", encoding="utf-8") as file:
        samples = pd.Index([line.split()[1] for line in file])
    if len(samples) != listed["samples"]:
        raise altered()
    return GenotypeSet(folder, samples, tuple(Part(*one) for one in listed["parts"]))


def batch_variants(samples: int) -> int:
    """How many variants of a set with this many samples are held in memory at a time."""
    return max(1, min(BATCH_VARIANTS, BATCH_BYTES // (2 * max(samples, 1))))


def read_sites(folder: str, part: Part, chosen: NDArray[np.bool_], columns: list[str]) -> pa.Table:
    """Read the table of the chosen variants of a part, without their genotypes.

    Args:
        chosen: a mask of the part's variants.

    Raises:
        DataError: if the part has been altered since it was written.
    """
    try:
        with fsspec.open(f"{part_stem(folder, part.number)}.parquet", "rb") as file:
            sites = pq.read_table(file, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        raise altered() from None
    if len(sites) != part.variants:
        raise altered()
    return sites.filter(pa.array(chosen))


def read_part(
    folder: str,
    part: Part,
    chosen: NDArray[np.bool_],
    samples: int,
    columns: list[str] | None,
) -> Iterator[Batch]:
    """Read the chosen variants of a part with their genotypes, one row group at a time.

    Args:
        chosen: a mask of the part's variants.
        columns: which columns of the sites to read; None for all.

    Raises:
        DataError: if the part has been altered since it was written. The checksum is only known
            once all batches have been read.
    """
    stem, width = part_stem(folder, part.number), -(-samples // 4)
    with fsspec.open(f"{stem}.parquet", "rb") as table, fsspec.open(f"{stem}.bed", "rb") as bed:
        try:
            file = pq.ParquetFile(table, page_checksum_verification=True)
            variants = file.metadata.num_rows
        except (OSError, pa.ArrowException):
            raise altered() from None
        checksum = zlib.crc32(bed.read(len(MAGIC)))
        if variants != part.variants:
            raise altered()
        for group in range(file.num_row_groups):
            wanted = None if columns is None else [*columns, "dosages"]
            try:
                sites = file.read_row_group(group, columns=wanted)
            except (OSError, pa.ArrowException):
                raise altered() from None
            content = bed.read(len(sites) * width)
            checksum = zlib.crc32(content, checksum)
            if len(content) < len(sites) * width:
                raise altered()
            own, chosen = chosen[: len(sites)], chosen[len(sites) :]
            if not own.any():
                continue
            calls = np.frombuffer(content, np.uint8).reshape(len(sites), width)[own]
            sites = sites.filter(pa.array(own))
            yield batch_of(sites, calls, samples)
        if bed.read(1) or checksum != part.checksum:
            raise altered()


def batch_of(sites: pa.Table, calls: Rows, samples: int) -> Batch:
    """Assemble a batch from rows of a part's table, with their column `dosages`, and their
    packed calls.
    """
    values = sites.column("dosages").combine_chunks()
    dosed = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    dosages = np.frombuffer(b"".join(values.drop_null().to_pylist()), "<u2")
    return Batch(
        sites.drop_columns(["dosages"]), calls, dosed, dosages.reshape(len(dosed), samples)
    )


def part_stem(folder: str, number: int) -> str:
    """The path of a part's files without their extensions."""
    return f"{folder}/part-{number:05d}"


def altered() -> DataError:
    """The error to raise for a part that has been altered since it was written."""
    return DataError(
        "A part of the published genotypes is not as it was written (cut short, altered or "
        "gone): run the step genotypes again with --force."
    )
