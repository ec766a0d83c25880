"""The study file's section on phenotypes that the study brings."""

from typing import Annotated

from pydantic import Field, model_validator

from ecg_spark.study.section import Code, Location, Section


class Phenotypes(Section):
    """A table of the study's own phenotypes (CSV, TSV or Parquet): one row a participant."""

    path: Location = Field(
        description="a CSV, TSV or Parquet table, one row per participant",
        examples=["phenotypes.csv"],
    )
    id: str = Field("participant_id", description="column: the participant")
    columns: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="columns of numbers, by name, or with a * for any ending",
        examples=[["lv_mass", "z_*"]],
    )
    missing_codes: tuple[Code, ...] | dict[str, tuple[Code, ...]] = Field(
        (),
        description="values that stand for a missing one, as those of participants",
    )

    @model_validator(mode="after")
    def _id_is_none_of_them(self) -> "Phenotypes":
        if self.id in self.columns:
            raise ValueError("has its id among its columns: take it out there")
        return self
