"""CSV of samples: a line of lead names, then one line per sample."""

import codecs
import io
import re

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ecg_spark.ecg.formats.leads import lead_name
from ecg_spark.ecg.formats.samples import MAX_SAMPLES, Said, Samples, recording_of
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

_HEAD_BYTES = 1 << 16
_SEPARATORS = (",", ";", "\t", "|", " ")
_MIN_LEADS = 3
"""A table of another kind may have a column `I` or `D1`, but not three leads."""

_MIN_COLUMNS = 8
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|nan", re.IGNORECASE)
_SPACES, _OUTER_SPACE = re.compile(rb"[ \t]+"), re.compile(rb"^ | (?=\r?$)", re.MULTILINE)
_SAYS_SEPARATOR = re.compile(r"\"?sep=.{0,3}", re.IGNORECASE)
"""How Excel declares a file's delimiter in its first line."""

_MISSING = ["", "NaN", "nan", "NAN", "-nan", "NA", "N/A", "n/a", "<NA>", "#N/A", "null", "NULL"]
_MISSING += ["None", "-", "?"]


def is_csv(data: bytes) -> bool:
    """Return whether data are a table of leads: the first line names them, or is all numbers."""
    lines = _lines(data)
    return bool(lines) and (_separator(lines[0]) is not None or _is_numbers(lines))


def read_csv(data: bytes, samples: Samples) -> Recording:
    """Return the recording in a CSV file with one named column per lead and one line per sample.

    The delimiter is a comma, semicolon, tab, bar or, if eight leads are named, spaces. Lines before
    the names that are blank, begin with # or say `sep=;` are skipped, and so are columns that are
    not leads.

    Args:
        data: the content of the file.
        samples: what the study says about rate and unit.

    Raises:
        RecordingError: `missing_lead` if no lead is named; otherwise the file is malformed or not
            described.
    """
    data = _narrow(data)
    lines = _lines(data)
    separator = _separator(lines[0]) if lines else None
    if separator is None:
        raise RecordingError(Reason.MISSING_LEAD, "a CSV whose first line names no lead")
    names = _cells(lines[0], separator)
    leads = {str(index): name for index, name in enumerate(names) if lead_name(name)}
    if separator == " ":
        data = _OUTER_SPACE.sub(b"", _SPACES.sub(b" ", data))
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            csv.ReadOptions(
                skip_rows=_line_of_names(data) + 1,
                column_names=[str(index) for index in range(len(names))],
                encoding="latin-1",
                use_threads=False,
            ),
            csv.ParseOptions(delimiter=separator),
            csv.ConvertOptions(
                column_types=dict.fromkeys(leads, pa.float64()),
                include_columns=list(leads),
                null_values=_MISSING,
                decimal_point="," if _has_decimal_commas(data, separator) else ".",
            ),
        )
    except (pa.ArrowException, ValueError):
        raise RecordingError(
            Reason.MALFORMED,
            "a line of the CSV has another number of columns, or a value is not a number",
        ) from None
    if table.num_rows > MAX_SAMPLES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_SAMPLES} lines")
    columns = {}
    for index, name in leads.items():
        if name in columns:
            raise RecordingError(Reason.MALFORMED, f"lead {lead_name(name)} is stored twice")
        columns[name] = np.asarray(table[index].to_numpy(), dtype=np.float64)
    return recording_of(columns, Said(), samples, "csv")


def _narrow(data: bytes) -> bytes:
    """Return a table without its byte-order mark, in an encoding that extends ASCII."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
        data = data.decode("utf-16", "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def _head(data: bytes) -> list[str]:
    head = _narrow(data[:_HEAD_BYTES])
    if b"\0" in head:
        return []
    try:
        return head.decode().splitlines()
    except UnicodeDecodeError:
        return head.decode("latin-1").splitlines()


def _line_of_names(data: bytes) -> int:
    """Return the number of blank and comment lines at the beginning."""
    for at, line in enumerate(_head(data)):
        if line.strip() and line[0] != "#" and not _SAYS_SEPARATOR.fullmatch(line):
            return at
    return 0


def _lines(data: bytes) -> list[str]:
    """Return the line of names and the following lines that are inspected."""
    return _head(data)[_line_of_names(data) :][:4]


def _has_decimal_commas(data: bytes, separator: str) -> bool:
    """Return whether a whole cell is a number with a decimal comma."""
    if separator == ",":
        return False
    sign = re.escape(separator.encode())
    return (
        re.search(rb"(?:^|[\s\"]|%b)[+-]?\d*,\d+(?:[\s\"eE]|%b|$)" % (sign, sign), data) is not None
    )


def _cells(line: str, separator: str) -> list[str]:
    cells = line.split() if separator == " " else line.split(separator)
    return [cell.strip().strip("\"'") for cell in cells]


def _separator(line: str) -> str | None:
    """Return the delimiter, None if the columns name fewer than `_MIN_LEADS` leads."""
    counts = {
        separator: len({lead_name(cell) for cell in _cells(line, separator)} - {None})
        for separator in _SEPARATORS
    }
    best = max(_SEPARATORS, key=lambda separator: counts[separator])
    return best if counts[best] >= (_MIN_COLUMNS if best == " " else _MIN_LEADS) else None


def _is_numbers(lines: list[str]) -> bool:
    """Return whether the first lines are numbers in as many columns as an ECG has leads."""
    for separator in _SEPARATORS:
        rows = [_cells(line, separator) for line in lines]
        if len(rows) > 1 and len(rows[0]) >= _MIN_COLUMNS:
            return all(_NUMBER.fullmatch(cell) for row in rows for cell in row)
    return False
