"""The file formats: one module each, one function each, bytes to Recording."""

import os
import stat
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ecg_spark.ecg.formats import (
    aecg,
    cardiosoft,
    csvfile,
    dicom,
    edf,
    hdf5,
    muse,
    parquet,
    scp,
    sierra,
    xmltree,
)
from ecg_spark.ecg.formats.samples import NOTHING_SAID, Samples
from ecg_spark.ecg.formats.wfdb import is_wfdb_header, read_wfdb
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

GZIP = b"\x1f\x8b\x08"
"""What a gzip file begins with."""

WFDB = "WFDB"
_BINARY = (
    ("SCP-ECG", scp.is_scp, scp.read_scp),
    ("DICOM", dicom.is_dicom, dicom.read_dicom),
    ("EDF", edf.is_edf, edf.read_edf),
)
_SAMPLES = (
    ("HDF5", hdf5.is_hdf5, hdf5.read_hdf5),
    ("Parquet", parquet.is_parquet, parquet.read_parquet),
    ("CSV", csvfile.is_csv, csvfile.read_csv),
)
_XML = {
    cardiosoft.ROOT: ("GE CardioSoft XML", cardiosoft.read_cardiosoft),
    muse.ROOT: ("GE MUSE XML", muse.read_muse),
    sierra.ROOT: ("Philips Sierra XML", sierra.read_sierra),
    aecg.ROOT: ("HL7 aECG", aecg.read_aecg),
}
FORMAT_NAMES = (
    *(name for name, _ in _XML.values()),
    *(name for name, *_ in _BINARY),
    WFDB,
    *(name for name, *_ in _SAMPLES),
)
"""The formats that are read, as people call them."""

MAX_FILE_BYTES = 64 << 20
"""A resting ECG file is under 1 MB; one with a full exercise test under 20 MB."""


def read_recording(
    source: bytes | str | Path,
    *,
    companions: Mapping[str, bytes] | None = None,
    samples: Samples = NOTHING_SAID,
) -> Recording:
    """Return the recording in `source`: a file's content, or the path of a file.

    The format is recognised by content: GE CardioSoft XML, GE MUSE XML, Philips Sierra XML, HL7
    aECG, SCP-ECG, DICOM, EDF, a WFDB header, or bare samples as HDF5, CSV or Parquet, of which
    `samples` says what they do not; any of them may be compressed by gzip. The files
    that a WFDB header names come from `companions` (file name without folders to content),
    and, where `source` is a path, from the header's own folder; no other file is ever opened.
    Raises `RecordingError` with the reason, `OSError` where the path itself cannot be opened.
    """
    given = companions or {}
    load: Callable[[str], bytes | None] = given.get
    if isinstance(source, str | Path):
        path = Path(source)
        data = _read_file(path)
        folder = path.parent

        def load(name: str) -> bytes | None:
            return given[name] if name in given else _read_beside(folder, name)
    else:
        data = source
    if len(data) > MAX_FILE_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB")
    data = unzipped(data)
    for name, recognises, read in _BINARY:
        if recognises(data):
            return _named(name, partial(read, data))
    root = xmltree.root_tag(data)
    if root in _XML:
        name, read = _XML[root]
        return _named(name, partial(read, data))
    if root is None and is_wfdb_header(data):
        return _named(WFDB, lambda: read_wfdb(data, lambda name: _unzipped(load, name)))
    if root is None:
        for name, recognises, read_samples in _SAMPLES:
            if recognises(data):
                return _named(name, partial(read_samples, data, samples))
    raise RecordingError(Reason.UNKNOWN_FORMAT, f"none of {', '.join(FORMAT_NAMES)}")


def _named(name: str, read: Callable[[], Recording]) -> Recording:
    """Return what `read` returns; its errors say what the file is before what is wrong in it."""
    try:
        return read()
    except RecordingError as error:
        raise RecordingError(error.reason, f"{name}: {error.detail}") from None


def unzipped(data: bytes) -> bytes:
    """Return the content of a gzip file, other data as they are.

    Raises `RecordingError`: too_large beyond `MAX_FILE_BYTES`, before it is unpacked, malformed.
    """
    if not data.startswith(GZIP):
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error:
        raise RecordingError(Reason.MALFORMED, "damaged gzip data") from None
    if len(content) > MAX_FILE_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB unpacked")
    if not unpacker.eof:
        raise RecordingError(Reason.MALFORMED, "gzip data end early")
    return content


def _unzipped(load: Callable[[str], bytes | None], name: str) -> bytes | None:
    """Return a companion, or what its gzip file `name.gz` holds."""
    content = load(name)
    if content is None:
        content = load(f"{name}.gz")
    return None if content is None else unzipped(content)


def _read_beside(folder: Path, name: str) -> bytes | None:
    """Return the content of `name` in `folder`, None where there is no such file."""
    path = folder / name
    if path.is_symlink() and path.resolve().parent != folder.resolve():
        raise RecordingError(Reason.UNSAFE, "a signal file is a link out of its folder")
    return _read_file(path) if path.is_file() else None


def _read_file(path: Path) -> bytes:
    """Return the content of a regular file of at most `MAX_FILE_BYTES`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RecordingError(Reason.UNKNOWN_FORMAT, "not a regular file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB")
    return data
