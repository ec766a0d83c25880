"""The study file's section on the raw ECG files."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from ecg_spark.ecg.formats import samples as sample_files
from ecg_spark.ecg.formats.leads import MAX_RATE_HZ, MIN_RATE_HZ, lead_name
from ecg_spark.ecg.recording import LEADS
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

    path: Location = Field(
        description="a CSV, TSV or Parquet table, one row per file or recording",
        examples=["manifest.csv"],
    )
    uri: str = Field(
        "uri",
        description="column: the file, relative to ecg.path (to the manifest's folder without "
        "one), as in visit.zip/a.xml for a member of an archive; or the file's name",
    )
    member: str | None = Field(
        None,
        description="column, where files hold several recordings (ecg.samples.ids): the "
        "recording's id",
        examples=["exam_id"],
    )
    participant_id: str = Field("participant_id", description="column: the participant")
    acquired_at: str = Field(
        "acquired_at",
        description="column, if there is one: when it was recorded, used instead of the time in "
        "the file",
    )


class Samples(Section):
    """What files of bare samples (HDF5, CSV, Parquet) do not say of themselves."""

    sampling_rate_hz: Annotated[float, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)] | None = Field(
        None, description="samples per second", examples=[500]
    )
    unit: str | None = Field(
        None,
        description="nV, uV, mV or V; with a number in front, as in 4.88 uV, where one step is not "
        "one unit",
        examples=["mV"],
    )
    leads: tuple[str, ...] | None = Field(
        None,
        description="the order of the leads, where they are an axis of an HDF5 dataset",
        examples=[list(LEADS)],
    )
    dataset: str | None = Field(
        None,
        description="HDF5: the dataset of the samples, where several could be it",
        examples=["tracings"],
    )
    ids: str | None = Field(
        None,
        description="HDF5 of several recordings: the dataset of their ids",
        examples=["exam_id"],
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
        description="a folder, read with its sub-folders, a glob, a file or an archive (.tar, "
        ".tar.gz, .tgz, .zip); left out, the manifest says where the files are. GE CardioSoft and "
        "MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG, DICOM, EDF, WFDB, HDF5, CSV and Parquet "
        "are recognised by content, also in gzip",
        examples=["ecg"],
    )
    manifest: Manifest | None = Field(
        None, description="a table that says whose each recording is, where files do not"
    )
    id_pattern: Annotated[str, AfterValidator(_compiles)] | None = Field(
        None,
        description="in place of a manifest: a regular expression on the file name, whose group "
        "is the participant, as in UK Biobank",
        examples=[r"^(\d+)_20205_"],
    )
    samples: Samples = Field(
        Samples(), description="what HDF5, CSV and Parquet files do not say of themselves"
    )

    @model_validator(mode="after")
    def _says_where(self) -> "Ecg":
        if self.path is None and self.manifest is None:
            raise ValueError("needs a path, or a manifest that says where the files are")
        return self
