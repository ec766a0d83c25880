"""The study file: the only configuration of ecg-spark, validated, with every default visible.

A relative path in it is relative to the folder of the study file. A wrong file is refused with
every problem at once, each with its key and what would be right.
"""

import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
)

from ecg_spark.display import folded, table
from ecg_spark.ecg import FLAGS, Limits, Source
from ecg_spark.errors import UsageError
from ecg_spark.locations import is_local, resolve
from ecg_spark.reach import content_of
from ecg_spark.study_ecg import Ecg
from ecg_spark.study_ecg import Manifest as Manifest
from ecg_spark.study_genetics import Genotypes as Genotypes
from ecg_spark.study_genetics import Gwas as Gwas
from ecg_spark.study_genetics import Participants as Participants
from ecg_spark.study_genetics import Rare as Rare
from ecg_spark.study_section import Location, Section

AnySection = TypeVar("AnySection", bound=Section)

TRACKING_ADDRESS = "MLFLOW_TRACKING_URI"
"""What the environment calls the address of MLflow."""
REGISTRY_ADDRESS = "MLFLOW_REGISTRY_URI"
"""What it calls that of MLflow's registered models, where they are elsewhere."""

_UNITY_CATALOG = re.compile(r"databricks-uc\b")
_THREE_PARTS = re.compile(r"[^\s./:]+(\.[^\s./:]+){2}")


class Quality(Section):
    """Thresholds above which (or below which) a recording gets a warning."""

    irregular_rr: Annotated[float, Field(gt=0)] = Field(
        Limits.irregular_rr, description="median change of RR, as a part of the median RR"
    )
    noisy_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.noisy_uv, description="standard error of the average beat"
    )
    muscle_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.muscle_uv, description="standard deviation of a single beat about the average"
    )
    mains_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.mains_uv, description="root mean square of the mains, largest lead"
    )
    wander_uv: Annotated[float, Field(gt=0)] = Field(
        Limits.wander_uv, description="root mean square of the baseline wander, largest lead"
    )
    saturated_share: Annotated[float, Field(gt=0, le=1)] = Field(
        Limits.saturated_share, description="part of a lead's samples that is clipped"
    )
    flat_uv: Annotated[float, Field(ge=0)] = Field(
        Limits.flat_uv, description="peak-to-peak of a lead of the average beat"
    )
    few_beats: Annotated[int, Field(ge=0)] = Field(
        Limits.few_beats, description="an average of fewer beats is flagged"
    )
    inverted_p_uv: Annotated[float, Field(lt=0)] = Field(
        Limits.inverted_p_uv, description="mean of P in lead I: swapped arm electrodes"
    )
    opposite_qrs: Annotated[float, Field(ge=-1, le=0)] = Field(
        Limits.opposite_qrs, description="correlation of QRS in I and V6: swapped arm electrodes"
    )


def _are_flags(names: tuple[str, ...]) -> tuple[str, ...]:
    """The flags in one order, so that another order in the study file is no other setting."""
    unknown = [name for name in names if name not in FLAGS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not a flag; known are {', '.join(FLAGS)}")
    return tuple(flag for flag in FLAGS if flag in names)


class Beats(Section):
    """Whose average beat is used, when a recording gets a warning, and what the warning does."""

    source: Source = Field(
        "computed", description="our average, the device's median, or that where there is one"
    )
    quality: Quality = Quality()
    leave_out: Annotated[tuple[str, ...], AfterValidator(_are_flags)] = Field(
        ("ectopic_only", "few_beats", "flat_lead", "paced", "noisy", "saturated"),
        description="recordings with one of these flags are not used for training, latents and "
        "traits",
    )


class Model(Section):
    """The variational autoencoder and its training."""

    latents: Annotated[int, Field(ge=1, le=256)] = 20
    channels: Annotated[int, Field(ge=4, le=1024)] = 16
    kl_weight: Annotated[float, Field(gt=0)] = 1.0
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = Field(
        20, description="epochs without a lower validation loss that end training; null: none"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        64, description="beats of a training step, over all processes together"
    )
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    validation_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15,
        description="participants by whom the best epoch is chosen, and settings in a sweep; with "
        "several folds, in each",
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="participants whom nothing is chosen by: the published figures are of them"
    )
    folds: Annotated[int, Field(ge=1, le=20)] = Field(
        1,
        description="networks, each trained on the participants of all other folds: with two or "
        "more everybody is encoded by one that was not trained on them",
    )
    min_active_kl: Annotated[float, Field(ge=0)] = Field(
        0.05, description="nats: a latent with less mean KL carries nothing and is left out"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where train and encode work; auto: on a GPU where there is one"
    )

    @property
    def training_share(self) -> float:
        """The share of the participants that each network is trained on."""
        others = 1 - 1 / self.folds if self.folds > 1 else 1.0
        return (1 - self.test_share) * others * (1 - self.validation_share)


class Mlflow(Section):
    """Where runs and models are tracked."""

    tracking_uri: str | None = Field(
        None,
        description="null: that of the environment (MLFLOW_TRACKING_URI), else an SQLite file in "
        "the output folder",
    )
    registry_uri: str | None = Field(
        None,
        description="of registered models; null: that of the environment (MLFLOW_REGISTRY_URI), "
        "else where runs are tracked",
    )
    experiment: str = "ecg-spark"
    model_name: str = "ecg-vae"


class Spark(Section):
    """Memory of a local session; under spark-submit the cluster's own settings hold."""

    driver_memory: Annotated[str, Field(pattern=r"^\d+[gm]$")] = "4g"


class Study(Section):
    """A whole study, from raw ECG files to loci."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$")]
    output: Location = Field(description="the folder that receives every table and the report")
    seed: Annotated[int, Field(ge=1)] = 1
    ecg: Ecg
    participants: Participants
    genotypes: Genotypes
    beats: Beats = Beats()
    model: Model = Model()
    sweep: dict[str, list[Any]] = Field(
        {}, description="settings of the model, each with values to try: ecg-spark sweep"
    )
    gwas: Gwas = Gwas()
    mlflow: Mlflow = Mlflow()
    spark: Spark = Spark()
    truth: Location | None = Field(
        None, description="truth.json of a simulated biobank: the report compares with it"
    )

    _folder: str = PrivateAttr(default_factory=os.getcwd)

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
                    raise ValueError(f"{key}: {_problem(dict(error.errors()[0]))}") from None
        return grid

    def _repr_html_(self) -> str:
        said, everything = (
            dict(_flat(self.model_dump(exclude_unset=only_set))) for only_set in (True, False)
        )
        rest = {key: value for key, value in everything.items() if key not in said}
        others = table("", ("", ""), rest.items())
        return table(self.name, ("", ""), said.items()) + folded("settings by default", others)

    def locate(self, path: str) -> str:
        """A path of the study file as an absolute path, or as a URI, which it may be already."""
        return resolve(self._folder, path)

    def inputs(self) -> Iterator[tuple[str, str]]:
        """Every location that the study reads, by its key, as `locate` gives it."""
        for key, path in _locations(self):
            if key != "output":
                yield key, self.locate(path)

    def absolute(self, section: AnySection, *keys: str) -> AnySection:
        """A section with the paths under `keys`, where given, as absolute paths."""
        given = {key: getattr(section, key) for key in keys}
        return section.model_copy(
            update={key: self.locate(path) for key, path in given.items() if path}
        )

    @property
    def output_path(self) -> str:
        """The absolute output folder or its URI."""
        return self.locate(self.output)

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs: see `Mlflow.tracking_uri`.

        Raises `UsageError` where nothing says it and the output folder cannot hold a database.
        """
        uri = self.mlflow.tracking_uri or os.environ.get(TRACKING_ADDRESS)
        if uri:
            return uri
        if not is_local(self.output_path):
            raise UsageError(
                "MLflow's own file cannot lie on an object store, where the output is: name a "
                "server in the study file (mlflow.tracking_uri) or in MLFLOW_TRACKING_URI."
            )
        return f"sqlite:///{self.output_path}/mlflow.db"

    @property
    def registry_uri(self) -> str | None:
        """Where MLflow keeps registered models: see `Mlflow.registry_uri`; None: where it tracks.

        Raises `UsageError` where the model's name is none that this registry takes.
        """
        uri = self.mlflow.registry_uri or os.environ.get(REGISTRY_ADDRESS)
        name = self.mlflow.model_name
        if uri and _UNITY_CATALOG.match(uri) and not _THREE_PARTS.fullmatch(name):
            raise UsageError(
                f"The model's name {name} has not the three parts by which Unity Catalog "
                f"({uri}) keeps models: write catalog.schema.name under mlflow.model_name."
            )
        return uri or None


def load_study(path: str | Path) -> Study:
    """Read and validate a study file, a path or URI.

    Raises `UsageError` that lists every problem of the file, a line each, and
    `InfrastructureError` where the store on which it lies cannot be reached.
    """
    place, text = _text(path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"The study file {path} is not YAML{where}: {getattr(error, 'problem', error)}."
        ) from None
    if not isinstance(content, dict):
        raise UsageError(
            f"The study file {path} holds no keys; 'ecg-spark init' writes one to start from."
        )
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        lines = [f"  {_key(item['loc'])}: {_problem(dict(item))}" for item in error.errors()]
        raise UsageError(
            f"The study file {path} has {len(lines)} "
            f"problem{'s' if len(lines) > 1 else ''}:\n" + "\n".join(lines)
        ) from None
    study._folder = place.rpartition("/")[0] or "/"
    return study


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of nested sections, each by its whole key."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(path: str | Path) -> tuple[str, str]:
    """Where a study file lies, and what it says."""
    try:
        place = resolve(os.getcwd(), str(path))
        return place, content_of(place).decode()
    except FileNotFoundError:
        reason = "there is no such file"
    except PermissionError:
        reason = "there is no permission"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    raise UsageError(
        f"The study file {path} cannot be read: {reason}; 'ecg-spark init' writes a new one."
    )


def _locations(section: Section, above: str = "") -> Iterator[tuple[str, str]]:
    """The locations in a section and those in it, with their keys."""
    for name, annotation in get_type_hints(type(section), include_extras=True).items():
        value = getattr(section, name, None)
        if isinstance(value, Section):
            yield from _locations(value, f"{above}{name}.")
        elif value and _is_location(annotation):
            for path in (value,) if isinstance(value, str) else value:
                yield f"{above}{name}", path


def _is_location(annotation: Any) -> bool:
    return annotation == Location or any(map(_is_location, get_args(annotation)))


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _problem(item: dict[str, Any]) -> str:
    match item["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            section: Any = Study
            for part in item["loc"][:-1]:
                section = _section(section.model_fields[part].annotation)
            return f"is not a key; known here are {', '.join(section.model_fields)}"
        case _:
            message = item["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            return f"{message.replace('input should', 'should')} (found {item['input']!r})"


def _section(annotation: Any) -> Any:
    """The section class in an annotation such as `Manifest | None`."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    raise TypeError(f"no section in {annotation}")


def study_template() -> str:
    """The commented study file that `ecg-spark init` writes."""
    return files("ecg_spark").joinpath("study_template.yaml").read_text(encoding="utf-8")
