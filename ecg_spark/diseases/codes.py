"""Diagnosis codes in normal form: ICD-10 and ICD-9 without dots, phecodes with all their digits.

The chapters of ICD-10 serve as categories if a study brings no map. Their limits, three characters
each, are those of the WHO's ICD-10, version of 2019.
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
"""The first code of each chapter of ICD-10, and its name here."""

OTHER = "other"
"""The category of a disease if none is known."""

_STARTS = [start for start, _ in CHAPTERS]
_ICD10 = re.compile(r"[A-Z]\d[0-9A-Z]")
_PHECODE = re.compile(r"([A-Z]{2}_)?(\d{1,4})(?:\.(\d*))?")
_SPELLINGS = {
    "10": ICD10, "ICD10": ICD10, "ICD10CM": ICD10, "ICD10WHO": ICD10, "ICD10GM": ICD10,
    "9": ICD9, "ICD9": ICD9, "ICD9CM": ICD9,
    "PHECODE": PHECODE, "PHECODES": PHECODE, "PHECODEX": PHECODE,
}  # fmt: skip


def vocabulary_of(text: str) -> str | None:
    """icd10, icd9 or phecode from any of its spellings; None for anything else.

    Example:
        >>> vocabulary_of("ICD-10-CM"), vocabulary_of("9"), vocabulary_of("SNOMED")
        ('icd10', 'icd9', None)
    """
    return _SPELLINGS.get(re.sub(r"[^A-Z0-9]", "", text.upper().removesuffix(".0")))


def normal_code(text: str, vocabulary: str) -> str:
    """A code in capitals without dots and blanks; a phecode as `normal_phecode` gives it.

    Example:
        >>> normal_code("i48.9", "icd10"), normal_code("8.50", "phecode")
        ('I489', '008.5')
    """
    if vocabulary == PHECODE:
        return normal_phecode(text) or text.strip().upper()
    return re.sub(r"[.\s]", "", text.upper())


def normal_phecode(text: str) -> str | None:
    """A phecode with three digits before its point and no trailing zeros; None if it is not a
    phecode.

    Phecodes of phecodeX begin with two letters, as in CV_416.21.

    Example:
        >>> normal_phecode("8.5"), normal_phecode("cv_416.210"), normal_phecode("I48")
        ('008.5', 'CV_416.21', None)
    """
    found = _PHECODE.fullmatch(text.strip().upper())
    if found is None:
        return None
    decimals = (found[3] or "").rstrip("0")
    return f"{found[1] or ''}{found[2]:0>3}" + (f".{decimals}" if decimals else "")


def above(phecode: str) -> list[str]:
    """The phecodes above a phecode in the hierarchy, the nearest first.

    Example:
        >>> above("427.21"), above("427")
        (['427.2', '427'], [])
    """
    whole, _, decimals = phecode.partition(".")
    return [f"{whole}.{decimals[:k]}" for k in range(len(decimals) - 1, 0, -1)] + (
        [whole] if decimals else []
    )


def icd_shorter(code: str) -> list[str]:
    """A code without dots and the codes above it, down to three characters, itself first.

    UK Biobank pads codes of three characters with an X (I48X).

    Example:
        >>> icd_shorter("I489")
        ['I489', 'I48']
    """
    return [code[:k] for k in range(len(code), 2, -1)]


def icd10_disease(code: str) -> str | None:
    """The first three characters of an ICD-10 code without dots; None if it is not ICD-10.

    Example:
        >>> icd10_disease("I489"), icd10_disease("427")
        ('I48', None)
    """
    return code[:3] if _ICD10.match(code) else None


def chapter(disease: str) -> str:
    """The ICD-10 chapter of a disease given by three characters.

    Example:
        >>> chapter("I48"), chapter("H61")
        ('circulatory', 'ear')
    """
    place = bisect_right(_STARTS, disease) - 1
    return CHAPTERS[place][1] if place >= 0 else OTHER


def phecode_ranges(text: str) -> list[tuple[str | None, float, float]]:
    """Parse an exclusion range such as `426-427.99, 430`.

    Returns:
        For each part the letters of phecodeX (or None), and its first and last number.

    Raises:
        DataError: if it is not a list of phecodes.

    Example:
        >>> phecode_ranges("426-427.99, 430")
        [(None, 426.0, 427.99), (None, 430.0, 430.0)]
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
    """The letters of a phecode in normal form (None if it has none), and its number.

    Example:
        >>> split_phecode("CV_416.21"), split_phecode("427.2")
        (('CV', 416.21), (None, 427.2))
    """
    letters, _, number = phecode.rpartition("_")
    return letters or None, float(number)
