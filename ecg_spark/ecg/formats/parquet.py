"""Parquet of samples: one column per lead, one row per sample."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from ecg_spark.ecg.formats.leads import lead_name
from ecg_spark.ecg.formats.samples import MAX_SAMPLES, Samples, recording_of, said_by
from ecg_spark.ecg.recording import LEADS, Reason, Recording, RecordingError

MAGIC = b"PAR1"
_MAX_COLUMNS = 1000
_OWN = ("pandas", "ARROW:schema")
"""Entries of the metadata that libraries write for themselves."""


def is_parquet(data: bytes) -> bool:
    """Return whether data begin as a Parquet file."""
    return data.startswith(MAGIC)


def read_parquet(data: bytes, samples: Samples) -> Recording:
    """Return the recording in a Parquet file; columns that are not leads are ignored.

    Rate and unit in the file's metadata count as stated by the file.

    Args:
        data: the content of the file.
        samples: what the study says about rate and unit.

    Raises:
        RecordingError: `missing_lead` if no column is a lead; otherwise the file is malformed, too
            large or not described.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        if len(schema) > _MAX_COLUMNS or n_rows > MAX_SAMPLES:
            raise RecordingError(Reason.TOO_LARGE, "more columns or rows than a recording has")
        names = [name for name in schema.names if lead_name(name)]
        if not names:
            raise RecordingError(Reason.MISSING_LEAD, "a Parquet table without a column of a lead")
        if len({lead_name(name) for name in names}) < len(names):
            raise RecordingError(Reason.MALFORMED, "a lead is stored twice")
        if not all(_is_number(schema.field(name).type) for name in names):
            raise RecordingError(Reason.MALFORMED, "a lead's column does not hold numbers")
        _check_sizes(file.metadata)
        said = said_by(
            {
                key.decode("utf-8", "replace"): text
                for key, text in (schema.metadata or {}).items()
                if key.decode("utf-8", "replace") not in _OWN
            }
        )
        table = file.read(columns=names, use_threads=False)
        columns = {name: table[name].to_numpy() for name in names}
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(
            Reason.MALFORMED, f"a damaged Parquet file ({type(error).__name__})"
        ) from None
    return recording_of(columns, said, samples, "parquet")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _check_sizes(metadata: pq.FileMetaData) -> None:
    """Refuse what would unpack to more than a recording of the longest kind has."""
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if not 0 <= unpacked <= 2 * MAX_SAMPLES * len(LEADS) * 8:
        raise RecordingError(Reason.TOO_LARGE, "more samples than a recording has")
