"""The study file's section on the raw ECG files."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from ecg_spark.ecg.formats import samples as sample_files
from ecg_spark.ecg.formats.leads import MAX_RATE_HZ, MIN_RATE_HZ, lead_name
from ecg_spark.study.section import Location, Section


def _compiles(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError("needs exactly one group in parentheses: the participant id")
    return pattern


class Manifest(Section):
    """A table (CSV, TSV or Parquet) that names the participant of each ECG file, or where it is."""

    path: Location
    uri: str = Field("uri", description="column: the file, relative to ecg.path, or its name")
    member: str | None = Field(
        None, description="column: the recording's id in a file of several (ecg.samples.ids)"
    )
    participant_id: str = Field("participant_id", description="column: the participant")
    acquired_at: str = Field(
        "acquired_at", description="column, if there is one: when; it wins over the file's own"
    )


class Samples(Section):
    """What files of bare samples (HDF5, CSV, Parquet) do not say of themselves."""

    sampling_rate_hz: Annotated[float, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)] | None = None
    unit: str | None = Field(
        None, description="nV, uV, mV or V, with a number in front where a step is of another size"
    )
    leads: tuple[str, ...] | None = Field(
        None, description="their order, where they are an axis of an HDF5 dataset"
    )
    dataset: str | None = Field(
        None, description="HDF5: the dataset of the samples, where several could be it"
    )
    ids: str | None = Field(
        None, description="HDF5: the dataset of the recordings' ids, where a file holds several"
    )

    @field_validator("unit")
    @classmethod
    def _is_voltage(cls, unit: str | None) -> str | None:
        if unit is not None and sample_files.microvolts_of(unit) is None:
            raise ValueError("is no voltage such as mV, uV or '4.88 uV'")
        return unit

    @field_validator("leads")
    @classmethod
    def _are_leads(cls, leads: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = [lead_name(lead) for lead in leads or ()]
        if leads is not None and (None in names or len(set(names)) < max(len(names), 1)):
            raise ValueError("must name each lead once, such as [I, II, V1, V2, ...]")
        return leads

    def settings(self) -> sample_files.Samples:
        """The section as the readers of the files take it."""
        return sample_files.Samples(**self.model_dump())


class Ecg(Section):
    """Where the raw ECG files are and whose they are."""

    path: Location | None = Field(
        None,
        description="a folder, read with its sub-folders, a glob, a file or an archive; "
        "left out, the manifest's uri column says where the files are",
    )
    manifest: Manifest | None = None
    id_pattern: Annotated[str, AfterValidator(_compiles)] | None = Field(
        None, description="regular expression on the file name; its group is the participant id"
    )
    samples: Samples = Samples()

    @model_validator(mode="after")
    def _says_where(self) -> "Ecg":
        if self.path is None and self.manifest is None:
            raise ValueError("needs a path, or a manifest that says where the files are")
        return self
