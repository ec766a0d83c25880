"""Ids of people and samples in one normal form, and lists of ids.

Every id passes through `normal_id` before it is compared with another: those of participants,
manifests, id maps, lists, recordings and genotype samples.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.text_tables import BLANK, MISSING, header_names, read_columns, read_rows

_WHOLE = re.compile(r"(\d+)\.0*")
_SCIENTIFIC = re.compile(r"(\d)(?:\.(\d*))?[eE](\+?)(\d{1,3})")

ID_COLUMNS = (
    "iid", "sample_id", "sample", "s", "id_2", "participant_id", "eid", "id", "subject_id",
    "subject", "person_id", "person", "patient_id", "patient", "participant", "individual_id",
    "individual", "n_eid", "f.eid", "xeid", "userid",
)  # fmt: skip
"""Names of columns that hold ids, the most certain first; FID is a family's id."""


def normal_id(text: str) -> str:
    """Return an id without blanks and quotes around it, and without the .0 of a column of floats.

    A whole number in scientific notation is written out, if it has all its digits. Leading zeros
    stay. Applying the function twice changes nothing more.

    Example:
        >>> [normal_id(text) for text in (" '1104729' ", "1104729.0", "1.104729e+06", "007")]
        ['1104729', '1104729', '1104729', '007']
    """
    text = text.strip(BLANK)
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip(BLANK)
    if found := _WHOLE.fullmatch(text):
        return found[1]
    digits = _scientific(text)
    return digits or text


def _scientific(text: str) -> str | None:
    """The whole number that scientific notation stands for; empty if it has lost digits."""
    found = _SCIENTIFIC.fullmatch(text)
    if found is None or not (found[2] or found[3]):  # 1E5 may be a well of a plate
        return None
    first, decimals, exponent = found[1], found[2] or "", int(found[4])
    if len(decimals) < exponent or decimals[exponent:].strip("0"):
        return ""
    return first + decimals[:exponent]


def id_column(values: pd.Series, what: str) -> pd.Series:
    """Return a column of ids in normal form; missing ones stay None.

    Args:
        values: texts, None where missing.
        what: how messages name the table.

    Raises:
        DataError: ids are rounded, like 1.10473e+06, so that their last digits are lost.
    """
    texts = values.dropna().astype(str)
    if rounded := sum(_scientific(text.strip(BLANK)) == "" for text in texts):
        raise DataError(
            f"{rounded} ids in the {what} are rounded like 1.10473e+06, so their last digits are "
            f"lost: write ids as whole numbers or text."
        )
    ids = texts.map(normal_id)
    return ids.reindex(values.index).where(values.notna(), None)


@dataclass(frozen=True)
class IdList:
    """A list of ids as it was read: the columns that may hold them, and which is to be used.

    Attributes:
        what: how messages name the list.
        columns: the ids in each column, the most likely column first.
        doubtful: words of the first row that may be a header or one more id.
    """

    what: str
    columns: tuple[frozenset[str], ...]
    doubtful: frozenset[str] = frozenset()

    def among(self, ids: Iterable[str]) -> tuple[set[str], str]:
        """Return which of `ids` are on the list, and a note on how many of its ids are genotyped.

        The first column that contains any of them is used.

        Args:
            ids: the ids of genotyped samples as their files write them.

        Raises:
            DataError: no column contains any of them. A list that was misread must not pass for a
                list of nobody.
        """
        known: dict[str, list[str]] = {}
        for one in ids:
            known.setdefault(normal_id(one), []).append(one)
        no_ids = self.doubtful - known.keys()
        for column in [column - no_ids for column in self.columns]:
            if found := column & known.keys():
                note = f"{len(found)} of the {len(column)} ids in the {self.what} are genotyped"
                return {one for name in found for one in known[name]}, note
        listed = len(self.columns[0] - no_ids)
        raise DataError(
            f"None of the {listed} ids in the {self.what} is among the {len(known)} genotyped "
            f"samples: it must hold their ids, one per line, as FID and IID, or in a column of a "
            f"table with a header."
        )


def read_id_list(path: str, what: str) -> IdList:
    """Read a list of ids as plink2 and REGENIE accept it, or any table with a header.

    Without a header, a line is an id; FID and IID separated by white space; or an id followed by
    anything else. With a header (`#IID`, `FID IID`, `eid`, ...), the column of that name is used.

    Args:
        path: the path or URI of a text table or of Parquet.
        what: how messages name the list.

    Raises:
        DataError: the list cannot be read or is empty, or its ids are rounded.
    """
    doubtful: frozenset[str] = frozenset()
    table = read_columns(path, what)
    if table is not None:
        names, body = list(table.columns), table.to_numpy(object).tolist()
        order = _by_name(names)
    else:
        body, delimiter = read_rows(path, what)
        names = header_names(body[0]) if body else []
        if any(_place(name) < len(ID_COLUMNS) or name.lower() == "fid" for name in names):
            order, body = _by_name(names), body[1:]
        else:
            order = _by_place(body, delimiter)
            doubtful = frozenset(map(normal_id, _names_without_digits(body)))
    columns = []
    for k in order:
        cells = pd.Series([row[k] if k < len(row) else None for row in body], dtype=object)
        ids = id_column(cells.where(~cells.isin(MISSING), None), what).dropna()
        columns.append(frozenset(ids) - {""})
    if not any(columns):
        raise DataError(f"The {what} is empty: fill it or take it out of the study file.")
    return IdList(what, tuple(column for column in columns if column), doubtful)


def _names_without_digits(rows: list[list[str]]) -> list[str]:
    """Words without digits in the first row, above columns whose values have digits."""
    first = rows[0] if rows else []
    below = [[row[k] for row in rows[1:201] if k < len(row)] for k in range(len(first))]
    return [
        name
        for name, cells in zip(first, below, strict=True)
        if sum(any(map(str.isdigit, cell)) for cell in cells) >= 0.9 * max(len(cells), 1)
        and not any(map(str.isdigit, name))
    ]


def _place(name: str) -> int:
    """The rank of a column's name in `ID_COLUMNS`; past the last if it is not there."""
    name = name.strip(BLANK).lower()
    return ID_COLUMNS.index(name) if name in ID_COLUMNS else len(ID_COLUMNS)


def _by_name(names: list[str]) -> list[int]:
    """Return the columns that may hold ids: those named so, else all but the family's id."""
    order = sorted(range(len(names)), key=lambda k: _place(names[k]))
    named = [k for k in order if _place(names[k]) < len(ID_COLUMNS)]
    return named or [k for k in order if names[k].lower() != "fid"]


def _by_place(rows: list[list[str]], delimiter: str) -> list[int]:
    """Return, for a list without a header, the columns that may hold ids, the most likely first.

    As in plink2, IID is the second column where white space separates columns and every row has two
    or more; otherwise the first column is the id.
    """
    if delimiter in (" ", "\t") and rows and min(map(len, rows)) > 1:
        return [1, 0]
    return [0, 1] if rows and min(map(len, rows)) > 1 else [0]
