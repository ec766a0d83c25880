"""WFDB records that the package wfdb decodes, from bytes, in a temporary folder for each."""

import tempfile
import unicodedata
import warnings
from pathlib import Path

import numpy as np

from ecg_spark.ecg.formats.leads import StoredLead, add_lead, lead_name
from ecg_spark.ecg.recording import Reason, RecordingError

FORMATS = frozenset({8, 24, 32, 310, 311, 508, 516, 524})
"""The storage formats of the package beside those decoded by `formats.wfdb`."""

RECORD = "record"
"""The name under which `read` is given the header."""

MISSING = {24: -(1 << 23), 32: -(1 << 31), 310: -512, 311: -512}
MISSING |= {508: -(1 << 7), 516: -(1 << 15), 524: -(1 << 23)}
"""What stands for a missing sample in the formats that have such a value."""

_MICROVOLTS = {"v": 1e6, "mv": 1e3, "uv": 1.0, "\u03bcv": 1.0, "nv": 1e-3}
_MICROVOLTS |= {"volt": 1e6, "millivolt": 1e3, "microvolt": 1.0, "nanovolt": 1e-3}


def microvolts(unit: str) -> float | None:
    """Return a unit of voltage in µV, with either micro sign; None if it is not a voltage."""
    return _MICROVOLTS.get(unicodedata.normalize("NFKC", unit).lower().removesuffix("s"))


def read(files: dict[str, bytes], steps: dict[str, float]) -> dict[str, StoredLead]:
    """Return the leads of the record `RECORD`.

    Args:
        files: the content of its files by plain name; headers must have been checked.
        steps: for each lead in `LEADS`, the finest unit in any of its segments, in µV.

    Raises:
        RecordingError: `malformed` for anything that the package does not read.
    """
    import wfdb  # it takes a second, so only the records that need it pay

    with tempfile.TemporaryDirectory(prefix="ecg-spark-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                record = wfdb.rdrecord(str(Path(folder) / RECORD), return_res=64)
        except Exception as error:  # the package lets through whatever a damaged file provokes
            raise RecordingError(
                Reason.MALFORMED, f"the package wfdb cannot read it ({type(error).__name__})"
            ) from None
    leads: dict[str, StoredLead] = {}
    if record.p_signal is None:
        return leads
    for name, unit, signal in zip(record.sig_name, record.units, record.p_signal.T, strict=True):
        canonical = lead_name(name or "")
        if canonical is None:
            continue
        volts = microvolts(unit or "")
        if volts is None or canonical not in steps:
            raise RecordingError(Reason.MALFORMED, "a lead's unit is not a voltage")
        step = steps[canonical]
        missing = ~np.isfinite(signal)
        samples = np.rint(np.where(missing, 0.0, signal) * (volts / step))
        if np.abs(samples).max(initial=0) > 1 << 32:
            raise RecordingError(Reason.MALFORMED, "a sample exceeds 32 bits")
        add_lead(leads, canonical, StoredLead(samples.astype(np.int64), step, missing))
    return leads
