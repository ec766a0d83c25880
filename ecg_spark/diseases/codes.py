"""Codes of diagnoses in one form: ICD-10 and ICD-9 without dots, phecodes with all their digits.

ICD-10's chapters stand for categories where a study brings no map. The three characters of their
limits are those of the WHO's ICD-10, version of 2019.
"""

import re
from bisect import bisect_right

from ecg_spark.errors import DataError
from ecg_spark.study.phewas import VOCABULARIES

ICD10, ICD9, PHECODE = VOCABULARIES

CHAPTERS = (
    ("A00", "infections"),
    ("C00", "neoplasms"),
    ("D50", "blood and immunity"),
    ("E00", "endocrine and metabolic"),
    ("F00", "mental"),
    ("G00", "nervous system"),
    ("H00", "eye"),
    ("H60", "ear"),
    ("I00", "circulatory"),
    ("J00", "respiratory"),
    ("K00", "digestive"),
    ("L00", "skin"),
    ("M00", "musculoskeletal"),
    ("N00", "genitourinary"),
    ("O00", "pregnancy"),
    ("P00", "perinatal"),
    ("Q00", "congenital"),
    ("R00", "symptoms and findings"),
    ("S00", "injuries and poisoning"),
    ("U00", "special purposes"),
    ("V01", "external causes"),
    ("Z00", "factors of health"),
)
"""Where each chapter of ICD-10 begins, and what it holds."""

OTHER = "other"
"""The category of a disease for which nothing says any."""

_STARTS = [start for start, _ in CHAPTERS]
_ICD10 = re.compile(r"[A-Z]\d[0-9A-Z]")
_PHECODE = re.compile(r"([A-Z]{2}_)?(\d{1,4})(?:\.(\d*))?")
_SPELLINGS = {
    "10": ICD10, "ICD10": ICD10, "ICD10CM": ICD10, "ICD10WHO": ICD10, "ICD10GM": ICD10,
    "9": ICD9, "ICD9": ICD9, "ICD9CM": ICD9,
    "PHECODE": PHECODE, "PHECODES": PHECODE, "PHECODEX": PHECODE,
}  # fmt: skip


def vocabulary_of(text: str) -> str | None:
    """icd10, icd9 or phecode by any of its spellings (10, ICD-10-CM); None where it is none."""
    return _SPELLINGS.get(re.sub(r"[^A-Z0-9]", "", text.upper().removesuffix(".0")))


def normal_code(text: str, vocabulary: str) -> str:
    """A code in capitals without dots and blanks, or a phecode by `normal_phecode`."""
    if vocabulary == PHECODE:
        return normal_phecode(text) or text.strip().upper()
    return re.sub(r"[.\s]", "", text.upper())


def normal_phecode(text: str) -> str | None:
    """A phecode with three digits before its point and no zeros at its end; None for no phecode.

    8.5 and 008.50 are 008.5. Those of phecodeX begin with two letters: CV_416.21.
    """
    found = _PHECODE.fullmatch(text.strip().upper())
    if found is None:
        return None
    decimals = (found[3] or "").rstrip("0")
    return f"{found[1] or ''}{found[2]:0>3}" + (f".{decimals}" if decimals else "")


def above(phecode: str) -> list[str]:
    """The phecodes that a phecode belongs to, the nearest first: 427.2 and 427 of 427.21."""
    whole, _, decimals = phecode.partition(".")
    return [f"{whole}.{decimals[:k]}" for k in range(len(decimals) - 1, 0, -1)] + (
        [whole] if decimals else []
    )


def icd_shorter(code: str) -> list[str]:
    """A code without dots and those above it, down to three characters, itself first.

    UK Biobank fills up codes of three characters by an X (I48X).
    """
    return [code[:k] for k in range(len(code), 2, -1)]


def icd10_disease(code: str) -> str | None:
    """The first three characters of an ICD-10 code without dots; None where it is none."""
    return code[:3] if _ICD10.match(code) else None


def chapter(disease: str) -> str:
    """The chapter of three characters of ICD-10."""
    place = bisect_right(_STARTS, disease) - 1
    return CHAPTERS[place][1] if place >= 0 else OTHER


def phecode_ranges(text: str) -> list[tuple[str | None, float, float]]:
    """What an exclusion range lists: letters of phecodeX or None, and the first and last number.

    As in `426-427.99, 430`. Raises `DataError` where it is no such list.
    """
    ranges = []
    for part in filter(None, (one.strip() for one in re.split(r"[,;]", text))):
        ends = [normal_phecode(one) for one in part.split("-", 1)]
        if None in ends:
            raise DataError(
                "A map of phewas.map has an exclusion range that is no list of phecodes such as "
                "'426-427.99': correct it."
            )
        (letters, first), (_, last) = split_phecode(str(ends[0])), split_phecode(str(ends[-1]))
        ranges.append((letters, first, last))
    return ranges


def split_phecode(phecode: str) -> tuple[str | None, float]:
    """The letters of a phecode in normal form, None without, and its number."""
    letters, _, number = phecode.rpartition("_")
    return letters or None, float(number)
