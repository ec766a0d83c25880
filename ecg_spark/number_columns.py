"""Columns of a user's table as numbers: decimal marks, and codes for missing values.

Only codes that the study declares are treated as missing. A value that looks like such a code but
is not declared is reported, because plink2 and others read it as a number.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.study.section import Code

log = logging.getLogger(__name__)

Codes = Sequence[Code] | Mapping[str, Sequence[Code]]
"""Codes for missing values: for every column, or per column."""

_WHOLE = re.compile(r"[+-]?\d+([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_USUAL_CODES = (-1, -2, -3, -7, -8, -9, -77, -88, -99, -777, -888, -999, -9999, 999, 9999)
_FAR = 5.0


@dataclass(frozen=True)
class NumberReader:
    """Reads the columns of one table as numbers, and collects notes about them.

    Attributes:
        what: how messages name the table.
        kind: what its columns are, such as `covariate`, for messages.
        section: the section of the study file that names the columns.
        notes: what a reader of the report should know.
        marks: the decimal mark of each column that has one.
    """

    what: str
    kind: str
    section: str
    notes: list[str] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)

    def known(self, values: pd.Series, codes: Codes) -> pd.Series:
        """Return a column with None in place of declared codes and dots; note how many there were.

        Args:
            values: texts, None where missing.
            codes: codes for missing values, of all columns or by column. A number matches however
                it is written: -9 also stands for -9.0.
        """
        name = str(values.name)
        own = codes.get(name, ()) if isinstance(codes, Mapping) else codes
        texts = {str(code).strip() for code in own}
        wanted = {float(text) for text in texts if _WHOLE.fullmatch(text) or _POINT.fullmatch(text)}
        hit = values.isin(
            [
                value
                for value in values.dropna().unique()
                if value in texts or number(value) in wanted
            ]
        )
        if hit.any():
            counts = values[hit].value_counts().sort_index()
            listed = ", ".join(f"{code}: {count}" for code, count in counts.items())
            self.notes.append(
                f"{int(hit.sum())} values of {name} are codes for a missing value ({listed})"
            )
        return values.where(~hit & (values != "."), None)  # SAS and PLINK write a dot if missing

    def numbers(self, values: pd.Series) -> pd.Series | None:
        """Return a column as floats, NaN where it has no number; None if most of it is other text.

        Args:
            values: texts, None where missing.

        Raises:
            DataError: the column mixes decimal points and commas, or has commas that may separate
                thousands.
        """
        name = str(values.name)
        texts = values.dropna().unique()
        with_comma = [text for text in texts if "," in text]
        by_comma = [text for text in with_comma if _COMMA.fullmatch(text)]
        parted = [text for text in with_comma if _THOUSANDS.fullmatch(text)]
        by_point = {text: float(text) for text in texts if "." in text and _POINT.fullmatch(text)}
        if parted and len(parted) >= len(by_comma):
            raise DataError(
                f"The {self.kind} {name} in the {self.what} has commas that may separate thousands "
                f"or be decimal ({len(parted)} values): write its numbers with a decimal point and "
                f"without thousands."
            )
        if by_comma and by_point:
            raise DataError(
                f"The {self.kind} {name} in the {self.what} has {len(by_comma)} values with a "
                f"decimal comma and {len(by_point)} with a decimal point: write all with one of "
                f"them."
            )
        if by_comma or by_point:
            self.marks[name] = "," if by_comma else "."
        others = {text: number(text) for text in texts if text not in by_point}
        found = values.map(by_point | others).astype(float)
        strange = int(found.isna().sum() - values.isna().sum())
        if 2 * strange > values.notna().sum():
            return None
        if strange:
            self.tell(f"{strange} values of {name} are not numbers and count as missing")
        self._tell_usual_codes(found)
        return found

    def refuse_mixed_marks(self) -> None:
        """Check that all columns read so far have the same decimal mark.

        Raises:
            DataError: one column has decimal commas and another decimal points.
        """
        if len(set(self.marks.values())) > 1:
            comma = next(name for name, mark in self.marks.items() if mark == ",")
            point = next(name for name, mark in self.marks.items() if mark == ".")
            raise DataError(
                f"The {self.what} has decimal commas in {comma} and decimal points in {point}: "
                f"write all numbers with one of them."
            )

    def tell_if_usual_code(self, name: str, level: str, count: int) -> None:
        """Note a level of a category that is a common code for a missing value.

        Args:
            name: the category's column.
            level: the level as the table writes it.
            count: in how many rows it occurs.
        """
        if level.startswith("-") and number(level) in _USUAL_CODES:
            self.tell(self._usual_code(name, level, count, "a level of its own"))

    def tell(self, note: str) -> None:
        """Add a note for the report, and log it."""
        log.warning("%s: %s", self.section, note)
        self.notes.append(note)

    def _tell_usual_codes(self, numbers: pd.Series) -> None:
        """Note numbers that are common codes for a missing value and do not fit the other values.

        A negative code does not fit if nothing else is negative; any code does not fit if it lies
        outside all other values and more than five of their standard deviations from their mean.
        """
        known = numbers.dropna()
        counts = {code: count for code in _USUAL_CODES if (count := int((known == code).sum()))}
        rest = known[~known.isin(list(counts))]
        if rest.empty or set(known.unique()) <= {-1.0, 0.0, 1.0}:
            return
        spread, mean = float(rest.std(ddof=0)), float(rest.mean())
        told = {
            code: count
            for code, count in counts.items()
            if (code < 0 <= rest.min())
            or (not rest.min() <= code <= rest.max() and abs(code - mean) > _FAR * spread)
        }
        for code, count in told.items():
            use = "a number that does not fit the other values"
            self.tell(self._usual_code(str(numbers.name), str(code), count, use))

    def _usual_code(self, name: str, code: str, count: int, use: str) -> str:
        return (
            f"the {self.kind} {name} holds {code} {count} time{'s' if count > 1 else ''}, and it "
            f"was used as {use}: if it stands for a missing value, declare it in "
            f"{self.section}.missing_codes"
        )


def number(text: str) -> float | None:
    """Return a text as a number, with a decimal point or comma; None if it is not a number.

    Example:
        >>> number("1.5"), number("1,5"), number("1,500.0")
        (1.5, 1.5, None)
    """
    if _WHOLE.fullmatch(text) or _POINT.fullmatch(text):
        return float(text)
    return float(text.replace(",", ".")) if _COMMA.fullmatch(text) else None
