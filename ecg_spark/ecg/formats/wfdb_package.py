"""The WFDB records that the package wfdb decodes, from bytes, in a folder of their own."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from ecg_spark.ecg.formats.leads import StoredLead, add_lead, lead_name
from ecg_spark.ecg.recording import Reason, RecordingError

FORMATS = frozenset({8, 24, 32, 310, 311, 508, 516, 524})
"""The storage formats of the package beside those decoded by `formats.wfdb`."""

RECORD = "record"
"""The name under which `read` is given the header."""

MICROVOLTS = {"v": 1e6, "mv": 1e3, "uv": 1.0, "µv": 1.0, "nv": 1e-3}
"""The units of voltage that WFDB headers name, in lower case."""


def read(files: dict[str, bytes], steps: dict[str, float]) -> dict[str, StoredLead]:
    """Return the leads of the record `RECORD` in `files` (plain names, checked headers).

    `steps` gives the unit of each lead by its canonical name, the finest of its segments, in µV.
    Raises `RecordingError`: not_finite where samples are missing, malformed for whatever the
    package does not read.
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
        volts = MICROVOLTS.get((unit or "").lower())
        if volts is None or canonical not in steps:
            raise RecordingError(Reason.MALFORMED, "a lead's unit is not a voltage")
        if not np.isfinite(signal).all():
            raise RecordingError(Reason.NOT_FINITE, "a sample is marked as missing")
        step = steps[canonical]
        samples = np.rint(signal * (volts / step))
        if np.abs(samples).max(initial=0) > 1 << 32:
            raise RecordingError(Reason.MALFORMED, "a sample exceeds 32 bits")
        add_lead(leads, canonical, StoredLead(samples.astype(np.int64), step))
    return leads
