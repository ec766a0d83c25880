"""The study file's section on the participants."""

from pydantic import Field, model_validator

from ecg_spark.study.section import Code, Location, Section


class Participants(Section):
    """The participant table (CSV, TSV or Parquet): one row a participant."""

    path: Location = Field(
        description="with any common delimiter; 1104729.0 is read as the id 1104729",
        examples=["participants.csv"],
    )
    id: str = Field("participant_id", description="column: the participant")
    covariates: tuple[str, ...] = Field(
        ("age", "sex"),
        description="columns, squares (age^2) and products (age:sex); a column of text becomes an "
        "indicator of each of its values but the most frequent",
    )
    categories: tuple[str, ...] = Field(
        (), description="covariates whose numbers are codes: [centre, batch]"
    )
    missing_codes: tuple[Code, ...] | dict[str, tuple[Code, ...]] = Field(
        (),
        description="values that stand for a missing one, of every covariate: [-9], or of some "
        "columns: {bmi: [-1, -3]}",
    )
    sex: str = Field(
        "sex",
        description="column, if there is one, with which the sex seen on the X chromosome is "
        "compared: 1, M or male; 0, 2, F or female",
    )
    age: str = Field(
        "age",
        description="the covariate, if there is one, that is the age in years: lead variants are "
        "tested for interactions with it and with sex",
    )

    @model_validator(mode="after")
    def _declares_its_covariates(self) -> "Participants":
        terms = [part for term in self.covariates for part in (term, *term.split(":"))]
        known = {name for term in terms for name in (term, term.removesuffix("^2"))}
        codes = self.missing_codes
        named = [*self.categories, *(codes if isinstance(codes, dict) else ())]
        if strange := [name for name in named if name not in known]:
            raise ValueError(f"{', '.join(strange)} is declared and is no covariate")
        return self
