"""Tables that users bring: text of any common delimiter, quoting and encoding, or Parquet.

Everything is read as text, so that ids stay as they were written. Blanks and quotes around a cell
are removed. Whatever is ambiguous, such as a row with more fields than the header, is refused: a
shifted column would be a wrong number that nobody notices. No message contains a path, or a cell
that might be a participant's id; a table is named by its purpose.
"""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ecg_spark.errors import DataError

Rows = list[list[str]]

DELIMITERS = ("\t", ";", ",", "|")
"""Tried in this order; on a tie the first wins. White space is tried last."""

MISSING = frozenset({"", "NA", "N/A", "#N/A", "n/a", "na", "<NA>", "NaN", "nan", "NULL", "null"})
"""Spellings of a missing value. '.' and 'None' are values, at least in a text column."""

BLANK = "".join(map(chr, (*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200E),
                          0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF)))  # fmt: skip
"""White space and characters without width: stripped around every cell and id."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED = ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ", lzma.decompress))
_LOOKED_AT = 200
_HEAD_BYTES = 1 << 18
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def read_text_table(path: str, what: str) -> pd.DataFrame:
    """Return a table with a header, every column as text, with None where a value is missing.

    The # that plink2 puts before the first column's name is removed.

    Args:
        path: the path or URI of a text file, packed or not, or of Parquet.
        what: how messages name the table, such as `participant table (participants.path)`.

    Raises:
        DataError: the table cannot be read or is empty, a row has more fields than the header, or a
            column's name occurs twice.
    """
    table = read_columns(path, what)
    if table is not None:
        return table
    rows, _ = read_rows(path, what)
    if not rows:
        raise _unreadable(what, "it is empty")
    names = header_names(rows[0])
    body = _as_wide_as(names, rows[1:], what)
    columns = {
        name: [None if cell in MISSING else cell for cell in column]
        for name, column in zip(names, zip(*body, strict=True) if body else [()] * len(names),
                                strict=True)
        if name
    }  # fmt: skip
    if len(columns) < sum(map(bool, names)):
        repeated = sum(map(bool, names)) - len(columns)
        raise DataError(
            f"The {what} has {repeated} column{'s' if repeated > 1 else ''} with the name of "
            f"another: rename them, so that it is clear which is meant."
        )
    return pd.DataFrame(columns, index=range(len(body)), dtype=object)


def header_names(cells: Iterable[str]) -> list[str]:
    """Return the names of columns, without blanks around them and without a # before the first."""
    return [name.lstrip("#").strip(BLANK) if not k else name for k, name in enumerate(cells)]


def required(frame: pd.DataFrame, what: str, columns: Iterable[str], key: str) -> None:
    """Check that a table has the columns that the study file names.

    Args:
        frame: the table.
        what: how messages name it.
        columns: the names that it must have.
        key: the setting in the study file that gives the names.

    Raises:
        DataError: a column is missing. The message lists the columns there are, unless the first
            row looks like data, which might be a participant's.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"The {what} has no column {', '.join(missing)}; {_present(frame)}: "
            f"set {key} in the study file."
        )


def _present(frame: pd.DataFrame) -> str:
    """The columns of a table, unless its first row may be a person's."""
    names = [str(name) for name in frame.columns]
    if any(is_number(name) for name in names) or any(
        not is_header(name, frame[name].dropna().head(_LOOKED_AT)) for name in frame.columns
    ):
        return "its first row does not look like a header"
    return f"it has {', '.join(names[:20])}"


def is_number(text: str) -> bool:
    """Return whether a cell is a number, with a decimal point or comma.

    Example:
        >>> [is_number(cell) for cell in ("1.5", "1,5", "-2e3", "1.5 mV")]
        [True, True, True, False]
    """
    return _NUMBER.fullmatch(text) is not None


def is_header(cell: str, below: Iterable[str]) -> bool:
    """Return whether a cell may be the name of its column rather than another value of it.

    If the values below contain digits, a name has none or another pattern of letters and digits:
    P001 above P002 is not a name.

    Example:
        >>> is_header("P001", ["P002", "P003"]), is_header("eid", ["1000017", "1000025"])
        (False, True)
    """
    if is_number(cell):
        return False
    shapes = [_shape(value) for value in below]
    with_digits = sum("9" in shape for shape in shapes)
    if with_digits < 0.9 * len(shapes) or not shapes:
        return _shape(cell) not in shapes or not any(sign.isdigit() for sign in cell)
    return "9" not in _shape(cell) or shapes.count(_shape(cell)) < 0.1 * len(shapes)


def _shape(text: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def read_columns(path: str, what: str) -> pd.DataFrame | None:
    """Return a Parquet table (a file, or a folder of files) as text; None if it is not Parquet.

    Raises:
        DataError: it does not exist, is not permitted or cannot be read; `what` names it.
    """
    try:
        files, base = fsspec.core.url_to_fs(path)
        if files.isdir(base):
            table = pq.read_table(base, filesystem=files)
        else:
            with files.open(base, "rb") as file:
                if file.read(4) != b"PAR1":
                    return None
                table = pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _failed(what, error) from None
    return pd.DataFrame(
        {name: text_of(table.column(name)) for name in table.column_names},
        index=range(len(table)),
        dtype=object,
    ).rename(columns=dict(zip(table.column_names, header_names(table.column_names), strict=True)))


def text_of(column: pa.ChunkedArray) -> list[str | None]:
    """Return a column of Parquet as text, with None where a value is missing."""
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        short = column.type.to_pandas_dtype()  # a 32-bit 0.1 is written 0.1, not 0.10000000149
        return [None if v is None or np.isnan(v) else str(short(v)) for v in values]
    cells = (None if v is None else str(v).strip(BLANK) for v in values)
    return [None if cell in MISSING else cell for cell in cells]


def read_rows(path: str, what: str) -> tuple[Rows, str]:
    """Return the non-empty rows of a text table with their cells stripped, and the delimiter.

    Args:
        path: the path or URI of a text file; gzip, bzip2 and xz are unpacked.
        what: how messages name the table.

    Returns:
        The rows, the header among them, and the delimiter: a space if white space separates cells,
        empty if there is only one column.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        files, base = fsspec.core.url_to_fs(path)
        content = files.cat_file(base)
        for magic, unpack in _PACKED:
            if content.startswith(magic):
                content = unpack(content)
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise _failed(what, error) from None
    text = _decoded(content, what)
    delimiter = _delimiter(text)
    try:
        rows = list(_split(text, delimiter))
        if '"' in text and any("\n" in cell for row in rows for cell in row):
            deque(_split(text, delimiter, strict=True), maxlen=0)  # raises if a quote is not closed
    except csv.Error:
        if delimiter != "\t":
            raise _unreadable(what, "a quote is not closed, or a cell too long") from None
        rows = list(_split(text, delimiter, csv.QUOTE_NONE))  # a quotation mark in free text
    return rows, delimiter


@dataclass(frozen=True)
class Head:
    """How a table is laid out: the names of its columns, and of text the `delimiter` (as
    `read_rows` gives it) and the `line` that holds the names; of Parquet the `pieces`, files and
    the number of a row group, and what the columns are called there."""

    names: list[str]
    delimiter: str = ""
    line: str = ""
    pieces: tuple[tuple[str, int], ...] = ()
    columns: tuple[str, ...] = ()


def read_head(path: str, what: str) -> Head:
    """Return the layout of a table that is too long to be read here: of text, from its first lines.

    Raises:
        DataError: it cannot be read or is empty, or two columns have the same name.
    """
    try:
        files, base = fsspec.core.url_to_fs(path)
        if files.isdir(base):
            found = [name for name in sorted(files.find(base)) if name.endswith(".parquet")]
            return _parquet_head(path, found, what)
        with files.open(base, "rb") as file:
            if file.read(4) == b"PAR1":
                return _parquet_head(path, [base], what)
        with files.open(base, "rb", compression="infer") as file:
            content = file.read(_HEAD_BYTES)
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise _failed(what, error) from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise _unreadable(what, "it is not UTF-8 text")
    whole = content[: content.rfind(b"\n") + 1] if content.count(b"\n") > 1 else content
    text = whole.decode("utf-8", errors="replace").removeprefix("\ufeff")
    delimiter = _delimiter(text)
    rows = list(islice(_split(text, delimiter), 1))
    if not rows:
        raise _unreadable(what, "it is empty")
    line = text.split("\n", 1)[0].rstrip("\r")
    return _unique(Head(header_names(rows[0]), delimiter, line), what)


def _parquet_head(path: str, found: list[str], what: str) -> Head:
    if not found:
        raise _unreadable(what, "the folder holds no Parquet")
    files, _ = fsspec.core.url_to_fs(path)
    pieces, columns = [], ()
    for name in found:
        with files.open(name, "rb") as file:
            part = pq.ParquetFile(file)
            columns = tuple(part.schema_arrow.names)
            pieces += [(files.unstrip_protocol(name), k) for k in range(part.num_row_groups)]
    return _unique(Head(header_names(columns), pieces=tuple(pieces), columns=columns), what)


def _unique(head: Head, what: str) -> Head:
    if len(set(head.names)) < len(head.names):
        raise DataError(f"The {what} has two columns of the same name: rename one of them.")
    return head


def read_piece(place: str, group: int, columns: list[str]) -> pd.DataFrame:
    """Return some columns of one row group of a Parquet file as text."""
    with fsspec.open(place, "rb") as file:
        table = pq.ParquetFile(file).read_row_group(group, columns=columns)
    return pd.DataFrame({name: text_of(table.column(name)) for name in columns}, dtype=object)


def rows_of(lines: Iterable[str], delimiter: str) -> Rows:
    """Return the cells of the lines of a text table, stripped, without lines that are empty.

    A cell that spans several lines has a line break in it.
    """
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    return list(_split((f"{line}\n" for line in lines), delimiter, quoting))


def _decoded(content: bytes, what: str) -> str:
    if content.startswith(b"PK\x03\x04"):
        raise _unreadable(what, "it is a spreadsheet or an archive: save it as CSV")
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), None)
    if encoding is None and (zeros := content[:4096].count(0)):
        # UTF-16 without a mark: every second byte of Latin letters is zero.
        odd = content[1:4096:2].count(0)
        encoding = "utf-16-le" if odd > zeros / 2 else "utf-16-be"
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if encoding is not None:
            raise _unreadable(what, "it is not text") from None
        text = content.decode("cp1252", errors="replace")  # Windows, in the West
    if "\0" in text:
        raise _unreadable(what, "it is not text")
    return text


def _delimiter(text: str) -> str:
    """The delimiter that splits most rows into as many fields as the header, and into most fields.

    White space also separates words within a cell, so it must do better than any other.
    """
    best, found = (0.0, 0), ""
    for delimiter in (*DELIMITERS, " "):
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        try:
            rows = list(islice(_split(text, delimiter, quoting), _LOOKED_AT))
        except csv.Error:
            continue
        width = max(map(len, rows), default=0) if delimiter == " " else len(rows[0]) if rows else 0
        even = sum(len(row) == len(rows[0]) for row in rows) / max(len(rows), 1)
        if width > 1 and (even, 0 if delimiter == " " else width) > best:
            best, found = (even, width), delimiter
    return found


def _split(
    text: str | Iterable[str],
    delimiter: str,
    quoting: int = csv.QUOTE_MINIMAL,
    strict: bool = False,
) -> Iterator[list[str]]:
    """Yield the rows of a text, or of its lines, that are not empty."""
    lines: Iterable[str] = io.StringIO(text, newline="") if isinstance(text, str) else text
    if delimiter == " ":
        lines = (line.replace("\t", " ").strip(BLANK) for line in lines)
    reader = csv.reader(
        lines,
        delimiter=delimiter or "\0",
        quoting=quoting,  # type: ignore[arg-type]  # one of csv's constants
        skipinitialspace=True,
        strict=strict,
    )
    for row in reader:
        # Most cells begin and end with a letter or digit and need no stripping.
        cells = [c if not c or "(" <= c[0] <= "~" >= c[-1] >= "(" else _unquoted(c) for c in row]
        if any(cells):
            yield cells


def _unquoted(cell: str) -> str:
    cell = cell.strip(BLANK)
    if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'":
        return cell[1:-1].strip(BLANK)
    return cell


def _as_wide_as(names: list[str], rows: Rows, what: str) -> Rows:
    """Return the rows with exactly as many cells as there are names.

    Cells missing at the end of a row are missing values; empty cells beyond the last column are
    ignored. R writes tables whose rows have one cell more than the header, the row's number in
    front; it is dropped.
    """
    width = len(names)
    rows = [row[:width] if len(row) > width and not any(row[width:]) else row for row in rows]
    if rows and all(len(row) == width + 1 for row in rows):
        numbers = [row[0] for row in rows]
        if numbers == [str(k + 1) for k in range(len(rows))]:
            rows = [row[1:] for row in rows]
    if longer := sum(len(row) > width for row in rows):
        raise DataError(
            f"{longer} rows of the {what} have more fields than its header: put quotes around "
            f"decimal commas and other text that contains the delimiter."
        )
    return [row if len(row) == width else row + [""] * (width - len(row)) for row in rows]


def _failed(what: str, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"The {what} does not exist: correct it in the study file.")
    if isinstance(error, PermissionError):
        return DataError(f"The {what} cannot be read: permission is denied; change it and rerun.")
    return _unreadable(what, type(error).__name__)


def _unreadable(what: str, why: str) -> DataError:
    return DataError(
        f"The {what} cannot be read as CSV, TSV or Parquet ({why}): correct the file or its name."
    )
