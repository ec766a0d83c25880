"""Simulated recordings as the files that devices write: GE CardioSoft, GE MUSE and WFDB."""

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.recording import INDEPENDENT_LEADS, LEADS, derive_leads

NO_VALUE = -32768
"""The sample that says "no value" in MUSE and WFDB; CardioSoft's text has NaN there."""

Files = dict[str, bytes]
"""The files of one recording by suffix: `.xml`, or `.hea` and `.dat`."""

_INT16 = np.iinfo(np.int16)
_DECIMALS: list[str] = []


@dataclass(frozen=True)
class Visit:
    """One recording to be written, and what the device knows about it.

    Attributes:
        name: of its files, without suffix.
        signal_mv: the eight independent leads, [8, samples] in mV.
        sampling_rate_hz: the rate.
        participant_id: the participant.
        acquired_at: when it was recorded.
        age: in years.
        sex: 1 for male, 0 for female.
        measured: the device's own `heart_rate_bpm`, `pr_ms`, `p_ms`, `qrs_ms`, `qt_ms`, `qtc_ms`,
            `axis_deg` and so on, as whole numbers; a missing one becomes an empty field.
    """

    name: str
    signal_mv: NDArray[np.float64]
    sampling_rate_hz: int
    participant_id: str
    acquired_at: datetime
    age: int
    sex: int
    measured: dict[str, int]


@dataclass(frozen=True)
class FileFormat:
    """A file format.

    Attributes:
        name: as `Recording.source_format`.
        microvolts_per_unit: its unit.
        stores_derived: whether it stores twelve leads rather than the eight independent ones.
        write: takes the visit, the stored leads [k, samples] in whole units, and the unit to be
            stated in the file; returns the files.
    """

    name: str
    microvolts_per_unit: float
    stores_derived: bool
    write: Callable[[Visit, NDArray[np.int16], float], Files]

    def samples(self, signal_mv: NDArray[np.float64]) -> NDArray[np.int16]:
        """Return the stored leads of a signal [8, samples] in mV, derived from rounded ones."""
        units = np.rint(signal_mv * (1000 / self.microvolts_per_unit))
        units = np.clip(units, _INT16.min // 2, _INT16.max // 2)
        if self.stores_derived:
            units = np.floor(derive_leads(units))  # halves are rounded down, as GE does
        return units.astype(np.int16)


def _joined(samples: NDArray[np.int16]) -> str:
    """Comma-separated decimals, from a table of all of them: ten times as fast as formatting.

    The lowest value stands for a sample without one.
    """
    if not _DECIMALS:
        _DECIMALS.extend(["NaN", *map(str, range(_INT16.min + 1, _INT16.max + 1))])
    return ",".join(map(_DECIMALS.__getitem__, (samples.astype(np.int32) - _INT16.min).tolist()))


def _xml(name: str, value: object = "", **attributes: str) -> str:
    given = "".join(f' {key}="{text}"' for key, text in attributes.items())
    return f"<{name}{given}>{value}</{name}>"


def write_cardiosoft(visit: Visit, samples: NDArray[np.int16], microvolts_per_unit: float) -> Files:
    """Return GE CardioSoft XML as in UK Biobank's field 20205, without its FullDisclosure part.

    Args:
        visit: the recording.
        samples: twelve leads, [12, samples].
        microvolts_per_unit: the unit to be stated in the file.
    """
    when, measured = visit.acquired_at, visit.measured
    rows = [
        '<?xml version="1.0" encoding="ISO-8859-1" ?>',
        "<CardiologyXML>",
        "\t<ObservationType>RestECG</ObservationType>",
        "\t<ObservationDateTime>",
        *(
            f"\t\t{_xml(part, getattr(when, part.lower()))}"
            for part in ("Hour", "Minute", "Second", "Day", "Month", "Year")
        ),
        "\t</ObservationDateTime>",
        "\t<ClinicalInfo>",
        "\t\t<ReasonForStudy></ReasonForStudy>",
        "\t\t<DeviceInfo>",
        "\t\t\t<Desc>CardioSoft</Desc>",
        "\t\t\t<SoftwareVer>V6.73</SoftwareVer>",
        "\t\t\t<AnalysisVer>12SL V21</AnalysisVer>",
        "\t\t</DeviceInfo>",
        "\t</ClinicalInfo>",
        "\t<PatientInfo>",
        f"\t\t{_xml('PID', visit.participant_id)}",
        f"\t\t<Name><FamilyName>{visit.participant_id}</FamilyName>"
        "<GivenName>SIMULÉ</GivenName></Name>",
        f"\t\t{_xml('Age', visit.age, units='YEARS')}",
        f"\t\t{_xml('Gender', 'MALE' if visit.sex else 'FEMALE')}",
        '\t\t<Height units="CENTIMETERS"></Height>',
        "\t\t<PaceMaker>no</PaceMaker>",
        "\t</PatientInfo>",
        "\t<FilterSetting>",
        "\t\t<Filter50Hz>No</Filter50Hz>",
        '\t\t<LowPass units="Hz">150</LowPass>',
        '\t\t<HighPass units="Hz">0.01</HighPass>',
        "\t</FilterSetting>",
        "\t<RestingECGMeasurements>",
        *(
            f"\t\t{_xml(tag, measured.get(key, ''), units=unit)}"
            for tag, key, unit in _CARDIOSOFT_MEASUREMENTS
        ),
        "\t</RestingECGMeasurements>",
        "\t<StripData>",
        "\t\t<NumberOfLeads>12</NumberOfLeads>",
        f"\t\t{_xml('SampleRate', visit.sampling_rate_hz, units='Hz')}",
        f"\t\t{_xml('ChannelSampleCountTotal', samples.shape[1])}",
        f"\t\t{_xml('Resolution', f'{microvolts_per_unit:g}', units='uVperLsb')}",
        *(
            f'\t\t<WaveformData lead="{lead}">\t\t{_joined(row)}</WaveformData>'
            for lead, row in zip(LEADS, samples, strict=True)
        ),
        "\t</StripData>",
        "</CardiologyXML>",
        "",
    ]
    return {".xml": "\r\n".join(rows).encode("iso-8859-1")}


_CARDIOSOFT_MEASUREMENTS = (
    ("VentricularRate", "heart_rate_bpm", "BPM"),
    ("PQInterval", "pr_ms", "ms"),
    ("PDuration", "p_ms", "ms"),
    ("QRSDuration", "qrs_ms", "ms"),
    ("QTInterval", "qt_ms", "ms"),
    ("QTCInterval", "qtc_ms", "ms"),
    ("RRInterval", "rr_ms", "ms"),
    ("SokolovLVHIndex", "", "mV"),
    ("PAxis", "", "degrees"),
    ("RAxis", "axis_deg", "degrees"),
    ("TAxis", "", "degrees"),
    ("QTDispersion", "", "ms"),
)


def write_muse(visit: Visit, samples: NDArray[np.int16], microvolts_per_unit: float) -> Files:
    """Return GE MUSE XML: eight leads, base64 of little-endian int16, each with its CRC-32.

    Args:
        visit: the recording.
        samples: eight leads, [8, samples].
        microvolts_per_unit: the unit to be stated in the file.
    """
    when, measured = visit.acquired_at, visit.measured
    unit_name = "MICROVOLTS"
    if microvolts_per_unit >= 1000:
        unit_name, microvolts_per_unit = "MILLIVOLTS", microvolts_per_unit / 1000
    rows = [
        '<?xml version="1.0" encoding="ISO-8859-1"?>',
        '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">',
        "<RestingECG>",
        "   <MuseInfo><MuseVersion>9.0.7.17363</MuseVersion></MuseInfo>",
        "   <PatientDemographics>",
        f"      {_xml('PatientID', visit.participant_id)}",
        f"      {_xml('PatientAge', visit.age)}",
        "      <AgeUnits>YEARS</AgeUnits>",
        f"      {_xml('Gender', 'MALE' if visit.sex else 'FEMALE')}",
        "      <PatientLastName></PatientLastName>",
        "   </PatientDemographics>",
        "   <TestDemographics>",
        "      <DataType>RESTING</DataType>",
        f"      {_xml('AcquisitionDate', f'{when:%m-%d-%Y}')}",
        f"      {_xml('AcquisitionTime', f'{when:%H:%M:%S}')}",
        "      <AcquisitionDevice>MAC55</AcquisitionDevice>",
        "   </TestDemographics>",
        "   <RestingECGMeasurements>",
        *(
            f"      {_xml(tag, measured[key])}"
            for tag, key in _MUSE_MEASUREMENTS
            if key in measured
        ),
        f"      {_xml('ECGSampleBase', visit.sampling_rate_hz)}",
        "      <ECGSampleExponent>0</ECGSampleExponent>",
        "   </RestingECGMeasurements>",
        "   <Waveform>",
        "      <WaveformType>Rhythm</WaveformType>",
        "      <WaveformStartTime>0</WaveformStartTime>",
        f"      {_xml('NumberofLeads', len(samples))}",
        "      <SampleType>CONTINUOUS_SAMPLES</SampleType>",
        f"      {_xml('SampleBase', visit.sampling_rate_hz)}",
        "      <SampleExponent>0</SampleExponent>",
    ]
    for lead, row in zip(INDEPENDENT_LEADS, samples, strict=True):
        raw = row.astype("<i2").tobytes()
        rows += [
            "      <LeadData>",
            f"         {_xml('LeadByteCountTotal', len(raw))}",
            f"         {_xml('LeadSampleCountTotal', row.size)}",
            f"         {_xml('LeadAmplitudeUnitsPerBit', f'{microvolts_per_unit:g}')}",
            f"         {_xml('LeadAmplitudeUnits', unit_name)}",
            f"         {_xml('LeadID', lead)}",
            "         <LeadSampleSize>2</LeadSampleSize>",
            f"         {_xml('LeadDataCRC32', zlib.crc32(raw))}",
            f"         <WaveFormData>\n{base64.encodebytes(raw).decode()}</WaveFormData>",
            "      </LeadData>",
        ]
    rows += ["   </Waveform>", "</RestingECG>", ""]
    return {".xml": "\n".join(rows).encode("iso-8859-1")}


_MUSE_MEASUREMENTS = (
    ("VentricularRate", "heart_rate_bpm"),
    ("PRInterval", "pr_ms"),
    ("QRSDuration", "qrs_ms"),
    ("QTInterval", "qt_ms"),
    ("QTCorrected", "qtc_ms"),
    ("RAxis", "axis_deg"),
)


def write_wfdb(visit: Visit, samples: NDArray[np.int16], microvolts_per_unit: float) -> Files:
    """Return a WFDB header and its signals in format 16; the header names no participant.

    Args:
        visit: the recording.
        samples: twelve leads, [12, samples].
        microvolts_per_unit: the unit to be stated in the header.
    """
    when = visit.acquired_at
    header = [
        f"{visit.name} {len(samples)} {visit.sampling_rate_hz} {samples.shape[1]} "
        f"{when:%H:%M:%S} {when:%d/%m/%Y}"
    ]
    header += [
        f"{visit.name}.dat 16 {1000 / microvolts_per_unit:g}(0)/mV 16 0 {row[0]} "
        f"{int(row.astype(np.int64).sum()) & 0xFFFF} 0 {lead}"
        for lead, row in zip(LEADS, samples, strict=True)
    ]
    return {
        ".hea": ("\n".join(header) + "\n").encode("ascii"),
        ".dat": samples.T.astype("<i2").tobytes(),
    }


CARDIOSOFT = FileFormat("cardiosoft", 5.0, True, write_cardiosoft)
MUSE = FileFormat("muse", 4.88, False, write_muse)
WFDB = FileFormat("wfdb", 1.0, True, write_wfdb)
FORMATS = (CARDIOSOFT, MUSE, WFDB)
