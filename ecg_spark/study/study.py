"""A whole study, and where everything of it lies."""

import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import Field, PrivateAttr, ValidationError, field_validator

from ecg_spark.display import folded, table
from ecg_spark.errors import UsageError
from ecg_spark.locations import is_local, resolve
from ecg_spark.study.beats import Beats
from ecg_spark.study.ecg import Ecg
from ecg_spark.study.genotypes import Genotypes
from ecg_spark.study.gwas import Gwas
from ecg_spark.study.model import Model
from ecg_spark.study.participants import Participants
from ecg_spark.study.phenotypes import Phenotypes
from ecg_spark.study.phewas import Phewas
from ecg_spark.study.problems import problem_of
from ecg_spark.study.section import AnySection, Location, Section
from ecg_spark.study.services import (
    REGISTERED,
    REGISTRY_ADDRESS,
    TRACKING_ADDRESS,
    Mlflow,
    Spark,
    require_name,
)

POPULATIONS, COMBINED = "populations", "meta"
"""Folders in the output of a study whose populations are run by themselves: of each, and of their
meta-analysis."""

_NAME = "[A-Za-z0-9][A-Za-z0-9._ -]*"


class Study(Section):
    """A study: from raw ECG files to latents, from genotypes and phenotypes to loci, or all of it.

    Without `ecg` it begins with `phenotypes`, without `genotypes` it ends with the latents. With
    `archives` it trains a model on the beats of other studies, and that is all.
    """

    name: Annotated[str, Field(pattern=f"^{_NAME}$")] = Field(
        description="stands in the report and in MLflow", examples=["my-study"]
    )
    output: Location = Field(
        description="receives every table, the MLflow store, report.html, and the secret by which "
        "participants are told apart and split (secret.key)",
        examples=["out"],
    )
    seed: Annotated[int, Field(ge=1)] = Field(
        1, description="of the data split, the training and a random pairing"
    )
    ecg: Ecg | None = Field(None, description="the raw ECG files, and whose they are")
    archives: Annotated[tuple[Location, ...], Field(min_length=1)] = Field(
        (),
        description="in place of ecg and all that follows but beats, model and sweep: the studies "
        "on whose published beats one model is trained",
        examples=[["mimic/study.yaml", "code15/study.yaml"]],
    )
    participants: Participants | None = Field(
        None, description="a CSV, TSV or Parquet table, one row per participant"
    )
    genotypes: Genotypes | None = Field(
        None, description="what is tested, in whom, and the quality control of both"
    )
    phenotypes: Phenotypes | None = Field(
        None,
        description="the study's own, such as embeddings or imaging traits: tested beside the "
        "latents, in those who have them, or alone where there is no ecg",
    )
    phewas: Phewas | None = Field(
        None,
        description="diseases: every latent, trait, score and lead variant is tested against each "
        "of them",
    )
    beats: Beats = Field(
        Beats(), description="which average beats are used, and what they are warned of"
    )
    model: Model = Field(Model(), description="the variational autoencoder and its training")
    sweep: dict[str, list[Any]] = Field(
        {},
        description="any settings of the model, each with values to try: 'ecg-spark sweep' trains "
        "every combination, to choose from",
        examples=[{"latents": [16, 20, 32], "kl_weight": [0.5, 1.0]}],
    )
    gwas: Gwas = Field(Gwas(), description="the association study: null model, tests and loci")
    mlflow: Mlflow = Field(Mlflow(), description="where training runs and models are kept")
    spark: Spark = Field(Spark(), description="the session in which steps work")
    truth: Location | None = Field(
        None,
        description="what was planted in a simulated biobank: the report compares it with what "
        "was found",
        examples=["truth.json"],
    )

    _folder: str = PrivateAttr(default_factory=os.getcwd)
    _whole_study: "Study | None" = PrivateAttr(None)

    @field_validator("seed", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a whole number")
        return value

    @field_validator("sweep")
    @classmethod
    def _may_be_tried(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in grid.items():
            if key not in Model.model_fields:
                raise ValueError(
                    f"{key} is not a setting of the model; known are "
                    f"{', '.join(Model.model_fields)}"
                )
            if not values:
                raise ValueError(f"{key} needs values to try")
            for value in values:
                try:
                    Model.model_validate({key: value})
                except ValidationError as error:
                    raise ValueError(
                        f"{key}: {problem_of(dict(error.errors()[0]), Model)}"
                    ) from None
        return grid

    def _repr_html_(self) -> str:
        said, everything = (
            dict(_flat(self.model_dump(exclude_unset=only_set))) for only_set in (True, False)
        )
        rest = {key: value for key, value in everything.items() if key not in said}
        others = table("", ("", ""), rest.items())
        return table(self.name, ("", ""), said.items()) + folded("settings by default", others)

    def locate(self, path: str) -> str:
        """Return a path of the study file as an absolute path; a URI as it is."""
        return resolve(self._folder, path)

    @property
    def whole(self) -> "Study | None":
        """The study of whose people this one analyses a population alone; None where it is whole.

        What is made before people are chosen is the whole study's.
        """
        return self._whole_study

    def of_population(self, name: str) -> "Study":
        """This study of one population alone, with a folder of its own in the output.

        Raises `UsageError` where the study names no reference of ancestry, chooses a population
        already, or the population's name is none that a folder may have.
        """
        if self.genotypes is None or self.genotypes.ancestry is None:
            raise UsageError(
                "The study does not tell whose ancestry is which: name a reference with "
                "genotypes.ancestry."
            )
        if self.genotypes.population is not None:
            raise UsageError(
                f"The study analyses {self.genotypes.population} alone: take "
                f"genotypes.ancestry.analyse out to run each population."
            )
        if not re.fullmatch(_NAME, name):
            raise UsageError(
                "A population of genotypes.ancestry.populations has a name that no folder may "
                "have: call populations by letters, digits, blanks, '.', '_' and '-'."
            )
        chosen = {"ancestry": self.genotypes.ancestry.model_copy(update={"analyse": name})}
        own = self.model_copy(
            update={
                "name": f"{self.name} {name}",
                "output": f"{self.output.rstrip('/')}/{POPULATIONS}/{name}",
                "genotypes": self.genotypes.model_copy(update=chosen),
            }
        )
        own._whole_study = self
        return own

    def inputs(self) -> Iterator[tuple[str, str]]:
        """Yield every location that the study reads, by its key, as `locate` returns it."""
        for key, path in _locations(self):
            if key != "output":
                yield key, self.locate(path)

    def absolute(self, section: AnySection, *keys: str) -> AnySection:
        """Return a section with absolute paths.

        Args:
            section: a section of the study.
            keys: its fields with paths; those that are not set stay so.
        """
        given = {key: getattr(section, key) for key in keys}
        return section.model_copy(
            update={key: self.locate(path) for key, path in given.items() if path}
        )

    @property
    def model_source(self) -> str | None:
        """The model that is used or trained further: MLflow's address, or as `locate` gives it."""
        source = self.model.source
        return source if source is None or source.startswith(REGISTERED) else self.locate(source)

    @property
    def output_path(self) -> str:
        """The output folder as an absolute path or a URI."""
        return self.locate(self.output)

    @property
    def tracking_uri(self) -> str:
        """The address where MLflow keeps runs: see `Mlflow.tracking_uri`.

        Raises:
            UsageError: nothing says it, and the output folder cannot hold a database.
        """
        uri = self.mlflow.tracking_uri or os.environ.get(TRACKING_ADDRESS)
        if uri:
            return uri
        if self._whole_study is not None:
            return self._whole_study.tracking_uri
        if not is_local(self.output_path):
            raise UsageError(
                "MLflow's own file cannot lie on an object store, where the output is: name a "
                "server in the study file (mlflow.tracking_uri) or in MLFLOW_TRACKING_URI."
            )
        return f"sqlite:///{self.output_path}/mlflow.db"

    @property
    def registry_uri(self) -> str | None:
        """The address where MLflow keeps registered models; None: where it keeps runs.

        Raises:
            UsageError: this registry does not accept the model's name.
        """
        uri = self.mlflow.registry_uri or os.environ.get(REGISTRY_ADDRESS)
        if uri:
            require_name(self.mlflow.model_name, uri)
        return uri or None


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of nested sections, each by its full key."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _locations(section: Section, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the locations in a section and those in it, with their keys."""
    for name, annotation in get_type_hints(type(section), include_extras=True).items():
        if name not in type(section).model_fields:  # the folder, and the whole of a population
            continue
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _locations(value, f"{above}{name}.")
        elif value and _is_location(annotation):
            for path in (value,) if isinstance(value, str) else value:
                yield f"{above}{name}", path


def _is_location(annotation: Any) -> bool:
    return annotation == Location or any(map(_is_location, get_args(annotation)))
