"""The study file's section on the participants."""

from pydantic import Field, model_validator

from ecg_spark.study.section import Code, Location, Section


class Participants(Section):
    """The participant table (CSV, TSV or Parquet): one row a participant."""

    path: Location
    id: str = Field("participant_id", description="column: the participant")
    covariates: tuple[str, ...] = Field(
        ("age", "sex"),
        description="columns, their squares (age^2) and products (age:sex); a text becomes an "
        "indicator for each of its values but the most frequent",
    )
    categories: tuple[str, ...] = Field(
        (), description="covariates whose numbers are codes of a category, such as a centre's"
    )
    missing_codes: tuple[Code, ...] | dict[str, tuple[Code, ...]] = Field(
        (),
        description="values that stand for a missing one: of every covariate, or of each column "
        "its own",
    )
    sex: str = Field(
        "sex",
        description="column, if there is one, that the X chromosome is held against: "
        "1, M or male; 0, 2, F or female",
    )

    age: str = Field(
        "age",
        description="the covariate, if there is one, that is the age in years: whether it and sex "
        "change what lead variants do is told",
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
