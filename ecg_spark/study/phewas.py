"""The study file's section on diseases."""

import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from ecg_spark.study.section import Location, Section, listed

VOCABULARIES = ("icd10", "icd9", "phecode")


def _spelled_out(value: Any) -> Any:
    """A date, as YAML reads one, in words."""
    return value.isoformat() if isinstance(value, datetime.date) else value


class Phewas(Section):
    """A table of diagnoses (CSV, TSV or Parquet), one row per diagnosis, and what is made of it."""

    path: Location = Field(
        description="a CSV, TSV or Parquet table, one row per diagnosis",
        examples=["diagnoses.csv"],
    )
    id: str = Field("participant_id", description="column: the participant")
    code: str = Field("code", description="column: the diagnosis")
    date: str = Field(
        "date", description="column, if there is one: when it was made, before or after the ECG"
    )
    vocabulary: str = Field(
        "icd10", description="icd10, icd9 or phecode, or the column that says which for each row"
    )
    map: Annotated[tuple[Location, ...], BeforeValidator(listed)] = Field(
        (),
        description="tables of codes and their phecodes, and of phecodes' names, categories, "
        "sexes and exclusion ranges, as PheWAS and phecodeX publish them; []: a disease is the "
        "first three characters of an ICD-10 code",
    )
    until: Annotated[str, BeforeValidator(_spelled_out)] | None = Field(
        None,
        description="the day to which records reach, or a column of the participant table with "
        "each one's last day (of death, of moving away); null: the latest date of a diagnosis",
    )
    min_cases: Annotated[int, Field(ge=10)] = Field(
        50, description="a disease that fewer people have is not tested"
    )
    codes_per_case: Annotated[int, Field(ge=1)] = Field(
        1,
        description="days on which a diagnosis must have been made (rows, where there are no "
        "dates); people with fewer are neither cases nor controls",
    )

    @model_validator(mode="after")
    def _columns_differ(self) -> "Phewas":
        named = [self.id, self.code, self.date]
        if len(set(named)) < len(named):
            raise ValueError("names one column twice: id, code and date are columns of their own")
        return self
