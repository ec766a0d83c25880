"""Every table of the pipeline: its schema, its key and the checks that it must pass.

Tables are Parquet. A job writes them with `write_table`, or with `write_rows` if the rows are few
and in the driver's memory. Both check the table and report every discrepancy at once. Tables are
published through `ecg_spark.store`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from ecg_spark.errors import DataError
from ecg_spark.locations import make_folder


@dataclass(frozen=True)
class Table:
    """The declaration of one table.

    Attributes:
        name: its name in messages and in the folder of a run.
        key: the columns whose values together identify a row; no two rows share them.
        schema: names and types of all columns; a column that is not nullable holds no null.
    """

    name: str
    key: tuple[str, ...]
    schema: StructType


def schema(**columns: DataType | tuple[DataType, None]) -> StructType:
    """Return a schema from `name=type`.

    Args:
        columns: the type of each column, or `(type, None)` if values may be missing in it.

    Example:
        >>> schema(n=WHOLE, beta=(REAL, None)).simpleString()
        'struct<n:int,beta:double>'
    """
    return StructType(
        [
            StructField(name, kind[0], True)
            if isinstance(kind, tuple)
            else StructField(name, kind, False)
            for name, kind in columns.items()
        ]
    )


TEXT, REAL, WHOLE = StringType(), DoubleType(), IntegerType()

RECORDING_GROUP_BYTES = 32 << 20
"""An executor holds a row group of recordings in memory until it is complete."""

RECORDINGS = Table(
    "recordings",
    ("ecg_id",),
    schema(
        ecg_id=TEXT,  # SHA-256 of the file's content
        participant_id=TEXT,
        path=TEXT,
        acquired_at=(TimestampType(), None),
        source_format=TEXT,
        device=(TEXT, None),
        sampling_rate_hz=REAL,
        microvolts_per_unit=REAL,
        signal=BinaryType(),  # int16, little-endian, [12, n] in C order
        vendor=MapType(TEXT, REAL, False),
        vendor_median=(BinaryType(), None),  # the device's median beat, as `signal`, [12, m]
        vendor_median_rate_hz=(REAL, None),
        notes=ArrayType(TEXT, False),  # faults of the file that cost no sample
    ),
)

SOURCES = Table(
    "sources",
    ("path",),
    schema(path=TEXT, stamp=TEXT),  # stamp: changes with the files' content and owner
)
"""What ingest has read (files, WFDB records, archives), so that a later run only reads new ones."""

NOT_AN_ECG = Table("not_an_ecg", ("path",), schema(path=TEXT))
"""Files that nothing marks as an ECG: they are counted and not quarantined."""

QUARANTINE = Table(
    "quarantine",
    ("ecg_id", "path"),
    schema(ecg_id=TEXT, path=TEXT, step=TEXT, reason=TEXT, detail=TEXT),
)

BEATS = Table(
    "beats",
    ("ecg_id",),
    schema(
        ecg_id=TEXT,
        participant_id=TEXT,
        participant_hash=LongType(),  # keyed by the study's secret
        acquired_at=(TimestampType(), None),
        signal=ArrayType(FloatType(), False),  # mV, [12, 600] at 500 Hz in C order
        n_beats=WHOLE,
        n_detected=WHOLE,
        noise_uv=REAL,
        source=TEXT,  # "computed", or "vendor": the device's own median beat
        quality=REAL,  # 0 to 1, see ecg.quality.assess
        weight=REAL,  # in the mean over a person's recordings, see ecg.quality.weight
        flags=ArrayType(TEXT, False),  # `ecg_spark.selection` says which are not used
    ),
)

TRAIT_NAMES = ("heart_rate_bpm", "pr_ms", "p_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg")
"""The conventional traits that are tested as phenotypes; missing if they cannot be measured."""

OTHER_TRAIT_NAMES = (
    "rr_ms",
    "qtcf_ms",
    "p_axis_deg",
    "t_axis_deg",
    "sokolov_lyon_mv",
    "cornell_mv",
)
"""Traits for comparison with other studies: measured, not tested."""

OWN = "own"
"""The group of the phenotypes that a study brings."""

PEER = "pca"
"""The group of a model's peer, as many principal components of the beat: held beside the latents,
of no interest by itself."""

LATENT = ("vae", PEER)
"""The groups of a model's latents, and of its peer's."""

TOGETHER = " omnibus"
"""The end of the name of a group's omnibus test, which tests its phenotypes together."""


def group_of(phenotype: str) -> str:
    """Return the group of a phenotype.

    Returns:
        `vae` or `pca` for latents (vae_00, pca_07, ...), `traits` for conventional traits, and
        `own` for everything else.

    Example:
        >>> [group_of(name) for name in ("vae_03", "pca_11", "qrs_ms", "lvef")]
        ['vae', 'pca', 'traits', 'own']
    """
    match = re.fullmatch(rf"({'|'.join(LATENT)})_\d+", phenotype)
    return match[1] if match else "traits" if phenotype in TRAIT_NAMES else OWN


def is_latent(phenotype: str) -> bool:
    """Return whether a phenotype is one of a model's latents."""
    return group_of(phenotype) in LATENT


LEAD_TRAIT_NAMES = ("r_mv", "s_mv", "t_mv", "st_mv")
"""Amplitudes, twelve in the order of the leads."""

TRAITS = Table(
    "traits",
    ("ecg_id",),
    schema(
        ecg_id=TEXT,
        participant_id=TEXT,
        weight=REAL,  # weight and flags are those of the beat
        flags=ArrayType(TEXT, False),
        **dict.fromkeys(TRAIT_NAMES + OTHER_TRAIT_NAMES, (REAL, None)),
        **dict.fromkeys(LEAD_TRAIT_NAMES, (ArrayType(REAL, False), None)),
        vendor=MapType(TEXT, REAL, False),  # the device's own values, by the same names
    ),
)

LATENTS = Table(
    "latents",
    ("participant_id", "model"),
    schema(
        participant_id=TEXT,
        model=TEXT,  # "vae", or "pca": the PCA with as many components
        fold=WHOLE,  # the fold whose network encoded them: it was not trained on them
        z=ArrayType(REAL, False),
        z_sd=(ArrayType(REAL, False), None),  # null if too few people have several ECGs
        n_ecgs=WHOLE,
    ),
)

FLOW = Table(
    "flow",
    ("step", "unit", "reason"),
    schema(
        place=WHOLE,  # the order of a step's rows for a reader, from 0
        step=TEXT,  # ingest, average, encode, genotypes, cohort, associations
        unit=TEXT,  # what is counted: see flow.UNITS
        reason=TEXT,  # why the step left n of them out; or flow.CAME_IN, flow.WENT_ON
        n=LongType(),
    ),
)
"""What became of recordings, people, samples and variants in one step: see `ecg_spark.flow`."""

VARIANT = ["contig", "position", "ref", "alt"]
"""The columns that identify a variant."""

VARIANT_COLUMNS: dict[str, DataType | tuple[DataType, None]] = {
    "contig": TEXT,
    "position": WHOLE,
    "ref": TEXT,
    "alt": TEXT,  # the effect allele
    "rsid": (TEXT, None),
}

ASSOCIATIONS = Table(
    "associations",
    (*VARIANT, "phenotype"),
    schema(
        **VARIANT_COLUMNS,
        phenotype=TEXT,
        beta=(REAL, None),
        se=(REAL, None),
        neg_log10_p=(REAL, None),
        n=WHOLE,
        af=REAL,
    ),
)


def write_table(
    frame: DataFrame, table: Table, folder: str, options: dict[str, str] | None = None
) -> int:
    """Write a DataFrame as `table` into a new folder and return the number of rows.

    Args:
        frame: the rows; the order of its columns does not matter.
        table: the declaration that they must meet.
        folder: the path or URI of a folder that does not exist yet.
        options: options of Spark's Parquet writer.

    Raises:
        DataError: a column is missing, unexpected or of another type, a required value is null, or
            a key is repeated; the message names every such discrepancy.
    """
    problems = _schema_problems(frame.schema, table.schema)
    if problems:
        raise DataError(f"The table {table.name} is not as declared: {'; '.join(problems)}.")
    writer = frame.select(table.schema.names).write.mode("errorifexists")
    writer.options(**options or {}).parquet(folder)
    return check_table(frame.sparkSession, table, folder)


def write_rows(records: Sequence[Mapping[str, Any]], table: Table, folder: str) -> int:
    """Write records in the driver's memory as `table` into a new folder and return their number.

    Args:
        records: one mapping per row, with a value for every column. NumPy scalars become Python's;
            NaN is a missing value.
        table: the declaration that they must meet.
        folder: the path or URI of a folder that does not exist yet.

    Raises:
        DataError: a required value is missing, or a key is repeated.
        FileExistsError: the folder exists.
    """
    columns = {name: [_plain(one[name]) for one in records] for name in table.schema.names}
    return write_columns(columns, table, folder)


def write_columns(columns: Mapping[str, Sequence[Any]], table: Table, folder: str) -> int:
    """Write columns in the driver's memory as `table` into a new folder; return the number of rows.

    It starts no Spark job, because one file holds everything.

    Args:
        columns: the values of each column, None where a value is missing.
        table: the declaration that they must meet.
        folder: the path or URI of a folder that does not exist yet.

    Raises:
        DataError: a required value is missing, or a key is repeated.
        FileExistsError: the folder exists.
    """
    fields = to_arrow_schema(table.schema)
    arrays = [pa.array(columns[field.name], field.type) for field in fields]
    found = pa.Table.from_arrays(arrays, schema=fields)
    lacking = {field.name: found[field.name].null_count for field in fields if not field.nullable}
    keys = found.group_by(list(table.key)).aggregate([])
    _refuse(table, lacking, found.num_rows - keys.num_rows)
    fs, base = fsspec.core.url_to_fs(folder)
    if fs.exists(base):
        raise FileExistsError(f"The table {table.name} exists already.")
    make_folder(folder)
    with fs.open(f"{base}/part-0.parquet", "wb") as file:
        pq.write_table(found, file)
    return int(found.num_rows)


def make_empty(folder: str) -> None:
    """Make the folder of a table without rows.

    It gets a file, because an object store has no folders without files and Spark must find it.
    """
    make_folder(folder)
    fs, base = fsspec.core.url_to_fs(folder)
    fs.pipe_file(f"{base}/_empty", b"")


def table_of(records: Sequence[Mapping[str, Any]], table: Table) -> pa.Table:
    """Return records as Arrow rows of `table`, for a task that writes its own part of a table.

    Args:
        records: one mapping per row, with a value for every column. NumPy scalars become Python's;
            NaN is a missing value.
        table: the declaration that gives the columns their types.
    """
    columns = {name: [_plain(one[name]) for one in records] for name in table.schema.names}
    return pa.Table.from_pydict(columns, schema=to_arrow_schema(table.schema))


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own, NaN as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def check_table(
    spark: SparkSession, table: Table, folder: str, *, without: tuple[str, ...] = ()
) -> int:
    """Check a table that has been written already and return the number of rows.

    Args:
        spark: the session that reads it.
        table: the declaration that it must meet.
        folder: the path or URI of its folder.
        without: wide columns that are not read again to look for missing values.

    Raises:
        DataError: a required value is null, or a key is repeated.
    """
    written = spark.read.schema(table.schema).parquet(folder)
    required = [
        field.name for field in table.schema if not field.nullable and field.name not in without
    ]
    counts = written.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_distinct(F.struct(*table.key)).alias("keys"),
        *[F.count(F.when(F.col(name).isNull(), 1)).alias(f"null_{name}") for name in required],
    ).first()
    assert counts is not None
    lacking = {name: counts[f"null_{name}"] for name in required}
    _refuse(table, lacking, counts["rows"] - counts["keys"])
    return int(counts["rows"])


def _refuse(table: Table, lacking: Mapping[str, int], repeated: int) -> None:
    """Raise `DataError` if rows lack a required value or repeat a key."""
    problems = [f"{count} rows lack {name}" for name, count in lacking.items() if count]
    if repeated:
        problems.append(f"{repeated} rows repeat a key ({', '.join(table.key)})")
    if problems:
        raise DataError(f"The table {table.name} is not as declared: {'; '.join(problems)}.")


def read_table(spark: SparkSession, table: Table, folder: str) -> DataFrame:
    """Return a published table with its declared schema."""
    return spark.read.schema(table.schema).parquet(folder)


def _schema_problems(found: StructType, declared: StructType) -> list[str]:
    problems = []
    types = {field.name: field.dataType.simpleString() for field in found}
    for field in declared:
        wanted = field.dataType.simpleString()
        if field.name not in types:
            problems.append(f"column {field.name} ({wanted}) is missing")
        elif types[field.name] != wanted:
            problems.append(f"column {field.name} is {types[field.name]} instead of {wanted}")
    problems += [f"column {name} is unexpected" for name in types if name not in declared.names]
    return problems
