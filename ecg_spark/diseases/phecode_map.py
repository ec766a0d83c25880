"""Maps from codes to phecodes, and descriptions of phecodes, as PheWAS and phecodeX publish them.

A table with a column of codes (`ICD10`, `icd9`, `code`, `ICD`) maps each to a phecode; one without
describes phecodes. Column names are compared without blanks, dots, underscores and capitals:

    PheWAS 1.2   Phecode_map_v1_2_icd10_beta.csv (ICD10, ICD10 String, PHECODE, Phenotype,
                 Excl. Phecodes, …), phecode_icd9_rolled.csv, phecode_definitions1.2.csv (phecode,
                 phenotype, phecode_exclude_range, sex, …, category)
    PheWAS, R    phecode_map (vocabulary_id, code, phecode), pheinfo, sex_restriction
    phecodeX     phecodeX_R_map.csv (ICD, vocabulary_id or flag, phecode), phecodeX_R_labels.csv
                 (phenotype, description, …, group), phecodeX_info.csv, phecodeX_R_sex.csv
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import pandas as pd

from ecg_spark.diseases.codes import (
    ICD9,
    ICD10,
    OTHER,
    PHECODE,
    above,
    chapter,
    icd10_disease,
    icd_shorter,
    normal_code,
    normal_phecode,
    phecode_ranges,
    split_phecode,
    vocabulary_of,
)
from ecg_spark.errors import DataError
from ecg_spark.text_tables import read_text_table

MAP = "map of phecodes (phewas.map)"
BOTH, MEN, WOMEN = "both", "men", "women"

_CODES = {"icd10": ICD10, "icd10cm": ICD10, "icd9": ICD9, "icd9cm": ICD9}
_ANY_CODE = ("icd", "code", "icdcode", "conceptcode")
_VOCABULARY = ("vocabularyid", "flag", "vocabulary", "icdversion")
_PHECODE_COLUMN = ("phecode", "phecodex")
_NAME = ("phenotype", "phecodestring", "phecodestr", "description", "phecodedescription")
_CATEGORY = ("category", "group", "phecodecategory")
_SEX = ("sex", "gender")
_EXCLUDED = ("phecodeexcluderange", "exclphecodes", "excluderange", "exclusionrange")
_SEXES = {
    **dict.fromkeys(("m", "male", "men", "1"), MEN),
    **dict.fromkeys(("f", "female", "women", "2"), WOMEN),
    **dict.fromkeys(("", "both", "b", "all"), BOTH),
}


@dataclass(frozen=True)
class Disease:
    """What is known of a disease.

    Attributes:
        code: the phecode, or three characters of ICD-10.
        sex: both, men or women.
        excluded: the exclusion range of its controls, as the map writes it.
    """

    code: str
    name: str
    category: str
    sex: str = BOTH
    excluded: str = ""


@dataclass
class Diseases:
    """Which diseases the codes of each vocabulary stand for, and what is known of the diseases.

    Attributes:
        phecodes: phecodes by vocabulary and code; empty if there is no map.
        known: descriptions of diseases.
        notes: for the report.
        without_map: if true, the first three characters of ICD-10 are the disease.
    """

    phecodes: Mapping[str, Mapping[str, tuple[str, ...]]]
    known: Mapping[str, Disease]
    notes: list[str] = field(default_factory=list)
    without_map: bool = False

    def of(self, code: str, vocabulary: str) -> tuple[str, ...]:
        """The diseases of a code in normal form, with those above them; none for an unknown code.

        A code that the map does not have is looked up by its first characters, down to three.
        """
        if vocabulary == PHECODE:
            found: Iterable[str] = [code] if normal_phecode(code) else []
            if self.known and not self.without_map:
                found = [one for one in found if one in self.known]
        elif self.without_map:
            own = icd10_disease(code) if vocabulary == ICD10 else None
            return (own,) if own else ()
        else:
            table = self.phecodes.get(vocabulary, {})
            found = next((table[one] for one in icd_shorter(code) if one in table), ())
        held = {one: None for name in found for one in (name, *self._known_above(name))}
        return tuple(held)

    def _known_above(self, phecode: str) -> list[str]:
        return [one for one in above(phecode) if one in self.known]

    def describe(self, disease: str) -> Disease:
        """What is known of a disease, perhaps no more than its code."""
        if disease in self.known:
            return self.known[disease]
        category = chapter(disease) if self.without_map and icd10_disease(disease) else OTHER
        return Disease(disease, "", category)

    def excludes(self, disease: str, others: Iterable[str]) -> list[str]:
        """Those of `others` whose people cannot be controls of a disease."""
        ranges = phecode_ranges(self.describe(disease).excluded)
        if not ranges:
            return []
        found = []
        for other in others:
            letters, number = _split(other)
            if other != disease and any(
                letters == own and first <= number <= last for own, first, last in ranges
            ):
                found.append(other)
        return found


@cache
def _split(phecode: str) -> tuple[str | None, float]:
    return split_phecode(phecode)


def read_maps(paths: Sequence[str]) -> Diseases:
    """Read and combine the maps; without any, the first three characters of ICD-10 are the
    diseases.

    If a phecode has several names the first counts, and if a code has several phecodes all count;
    the notes say how many do.

    Raises:
        DataError: if a table cannot be read, has no column of phecodes, has an invalid phecode,
            sex or exclusion range, or gives a phecode to different sexes.
    """
    if not paths:
        return Diseases({}, {}, without_map=True)
    codes: dict[str, dict[str, dict[str, None]]] = {}
    said: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        _read(read_text_table(path, MAP), codes, said)
    notes = _notes(codes, said)
    for phecode, facts in said.items():
        if len(set(facts.get("sex", []))) > 1:
            raise DataError(
                f"The {MAP} gives {phecode} to both sexes and to one of them: correct one row."
            )
    known = {
        phecode: Disease(
            phecode,
            next(iter(facts.get("name", [])), ""),
            next(iter(facts.get("category", [])), OTHER),
            next(iter(facts.get("sex", [])), BOTH),
            next(iter(facts.get("excluded", [])), ""),
        )
        for phecode, facts in said.items()
    }
    for disease in known.values():
        phecode_ranges(disease.excluded)
    tables = {
        vocabulary: {code: tuple(own) for code, own in table.items()}
        for vocabulary, table in codes.items()
    }
    return Diseases(tables, known, notes)


@dataclass(frozen=True)
class _Table:
    """A table whose columns are found by any of the names that they may have."""

    content: pd.DataFrame
    columns: Mapping[str, str]

    def column(self, *names: str) -> pd.Series | None:
        """The first of some columns that exists, by its name without blanks, dots and
        capitals.
        """
        found = next((self.columns[name] for name in names if name in self.columns), None)
        return None if found is None else self.content[found]


def _read(
    content: pd.DataFrame,
    codes: dict[str, dict[str, dict[str, None]]],
    said: dict[str, dict[str, list[str]]],
) -> None:
    """Add the contents of a table to `codes` and to the facts `said` about phecodes."""
    plain = {re.sub(r"[^a-z0-9]", "", str(name).lower()): name for name in content.columns}
    table = _Table(content, plain)
    spelled, names = table.column(*_PHECODE_COLUMN), table.column(*_NAME)
    if spelled is None and {"phenotype", "description"} <= plain.keys():
        spelled, names = table.column("phenotype"), table.column("description")
    if spelled is None:
        raise DataError(
            f"The {MAP} has no column phecode; it has {', '.join(map(str, content.columns))}: give "
            f"it as PheWAS or phecodeX publish it."
        )
    phecodes = [None if text is None else normal_phecode(text) for text in spelled]
    if wrong := sum(text is not None for text in spelled) - sum(
        one is not None for one in phecodes
    ):
        raise DataError(f"The {MAP} has {wrong} entries that are not phecodes: correct them.")
    facts: dict[str, Iterable[str | None] | None] = {
        "name": names,
        "category": table.column(*_CATEGORY),
        "sex": _sexes(table),
        "excluded": table.column(*_EXCLUDED),
    }
    for one in phecodes:
        if one is not None:
            said.setdefault(one, {})
    for key, values in facts.items():
        for phecode, value in zip(phecodes, () if values is None else values, strict=False):
            if phecode is not None and value:
                own = said[phecode].setdefault(key, [])
                if value not in own:
                    own.append(value)
    for code, vocabulary, phecode in _coded(table, phecodes):
        held = codes.setdefault(vocabulary, {}).setdefault(normal_code(code, vocabulary), {})
        held[phecode] = None


def _coded(table: _Table, phecodes: Sequence[str | None]) -> Iterator[tuple[str, str, str]]:
    """Each code of a table with its vocabulary and phecode; nothing if the table has no codes."""
    named = next((name for name in _CODES if name in table.columns), None)
    codes = table.column(named) if named else table.column(*_ANY_CODE)
    if codes is None:
        return
    vocabularies: Iterable[str | None] = itertools.repeat(_CODES[named] if named else None)
    if named is None:
        spelled = table.column(*_VOCABULARY)
        if spelled is None:
            raise DataError(
                f"The {MAP} has codes but no column that names their vocabulary: name "
                f"the column of codes ICD10 or ICD9, or add vocabulary_id."
            )
        vocabularies = (vocabulary_of(text or "") for text in spelled)
    for code, vocabulary, phecode in zip(codes, vocabularies, phecodes, strict=False):
        if code is not None and phecode is not None and vocabulary is not None:
            yield code, vocabulary, phecode


def _sexes(table: _Table) -> list[str] | None:
    """Whose disease each row is, from a column of sexes or from male_only and female_only."""
    spelled = table.column(*_SEX)
    if spelled is not None:
        words = [_SEXES.get((text or "").lower(), "") for text in spelled]
        if wrong := words.count(""):
            raise DataError(
                f"The {MAP} has {wrong} sexes other than Male, Female and Both: correct them."
            )
        return words
    men, women = table.column("maleonly"), table.column("femaleonly")
    if men is None or women is None:
        return None
    true = {"true", "t", "1", "yes"}
    return [
        MEN if (a or "").lower() in true else WOMEN if (b or "").lower() in true else BOTH
        for a, b in zip(men, women, strict=True)
    ]


def _notes(
    codes: Mapping[str, Mapping[str, Mapping[str, None]]],
    said: Mapping[str, Mapping[str, Sequence[str]]],
) -> list[str]:
    notes = []
    if several := sum(len(facts.get("name", ())) > 1 for facts in said.values()):
        notes.append(f"the map has more than one name for {several} phecodes: the first counts")
    if several := sum(len(facts.get("excluded", ())) > 1 for facts in said.values()):
        notes.append(
            f"the map has more than one exclusion range for {several} phecodes: the first counts"
        )
    if several := sum(len(own) > 1 for table in codes.values() for own in table.values()):
        notes.append(f"the map gives several phecodes to {several} codes: all of them count")
    return notes
