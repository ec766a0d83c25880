"""The ECG file formats: one module for each, with one function from bytes to a Recording."""

import io
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

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
    unpacked,
    xmltree,
)
from ecg_spark.ecg.formats.samples import NOTHING_SAID, Samples
from ecg_spark.ecg.formats.wfdb import read_wfdb
from ecg_spark.ecg.formats.wfdb_header import is_header
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

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

SIGNAL_SUFFIXES = (".dat", ".mat")
"""What WFDB's signal files are called by custom; the header may name any other."""

_SUFFIXES = (".xml", ".scp", ".dcm", ".edf", ".bdf", ".ecg")
_PACKED_SUFFIXES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".xz", ".bz2", ".zst", ".z", ".lz4")
_PACKED = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh")

MAX_FILE_BYTES = 64 << 20
"""A resting ECG file is under 1 MB; one with a full exercise test under 20 MB."""


def read_recording(
    source: bytes | str | Path,
    *,
    companions: Mapping[str, bytes] | None = None,
    samples: Samples = NOTHING_SAID,
    name: str | None = None,
) -> Recording:
    """Return the recording in a file.

    The format is recognised by content: GE CardioSoft XML, GE MUSE XML, Philips Sierra XML, HL7
    aECG, SCP-ECG, DICOM, EDF, a WFDB header, or bare samples in HDF5, CSV or Parquet. Any of them
    may be compressed by gzip.

    Args:
        source: the path of a file, or its content.
        companions: the files that a WFDB header names, by name without folder. If `source` is a
            path, those that are not given are read from the header's own folder; no other file is
            ever opened.
        samples: what the study says about files of bare samples, which may not state it themselves.
        name: the file's name, if `source` is its content; by default that of the path.

    Raises:
        RecordingError: the file cannot be used; its `reason` says why. It is `not_an_ecg` if
            neither the content nor the name suggests an ECG.
        OSError: the path cannot be opened.
    """
    given = companions or {}
    load: Callable[[str], bytes | None] = given.get
    if isinstance(source, str | Path):
        path = Path(source)
        name = name or path.name
        data = _read_file(path)
        folder = path.parent

        def load(file: str) -> bytes | None:
            return given[file] if file in given else _read_beside(folder, file)
    else:
        data = source
    if len(data) > MAX_FILE_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB")
    data = unzipped(data)
    for kind, recognises, read in _BINARY:
        if recognises(data):
            return _named(kind, partial(read, data))
    root = xmltree.root_tag(data)
    if root in _XML:
        kind, read = _XML[root]
        return _named(kind, partial(read, data))
    if root is None and is_header(data):
        return _named(WFDB, lambda: read_wfdb(data, lambda file: _unzipped(load, file)))
    if root is None:
        for kind, recognises, read_samples in _SAMPLES:
            if recognises(data):
                return _named(kind, partial(read_samples, data, samples))
    raise _unrecognised(data, name or "")


def promises_ecg(name: str) -> bool:
    """Return whether a file's name suggests an ECG; the files that WFDB headers name need not.

    Example:
        >>> [promises_ecg(name) for name in ("a.XML", "a.hea.gz", "a.dat")]
        [True, True, False]
    """
    suffix = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    return suffix in (".hea", *_SUFFIXES)


def _unrecognised(data: bytes, name: str) -> RecordingError:
    """Return why data of no known format are rejected, so that no ECG is lost silently."""
    suffix = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    if suffix == ".hea":
        return RecordingError(Reason.UNKNOWN_FORMAT, "not a WFDB header, as its name says")
    if suffix in SIGNAL_SUFFIXES:
        detail = "WFDB samples without the header that describes them, or another format"
        return RecordingError(Reason.UNKNOWN_FORMAT, detail)
    if suffix in _SUFFIXES:
        detail = f"none of {', '.join(FORMAT_NAMES)}, although its name suggests one of them"
        return RecordingError(Reason.UNKNOWN_FORMAT, detail)
    if suffix in _PACKED_SUFFIXES or data.startswith(_PACKED) or data[257:262] == b"ustar":
        detail = "an archive inside another file, or a kind of archive that is not read"
        return RecordingError(Reason.UNKNOWN_FORMAT, detail)
    return RecordingError(Reason.NOT_AN_ECG, f"none of {', '.join(FORMAT_NAMES)}")


def _named(name: str, read: Callable[[], Recording]) -> Recording:
    """Return what `read` returns; its errors begin with the name of the format."""
    try:
        return read()
    except RecordingError as error:
        raise RecordingError(error.reason, f"{name}: {error.detail}") from None


def unzipped(data: bytes) -> bytes:
    """Return the content of a gzip file of any number of members; other data as they are.

    Raises:
        RecordingError: `too_large` if it would unpack to more than `MAX_FILE_BYTES`, before it is
            unpacked; `malformed` if it is damaged.
    """
    if not data.startswith(unpacked.GZIP):
        return data
    content = unpacked.Unpacked(io.BytesIO(data)).read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB unpacked")
    return content


def _unzipped(load: Callable[[str], bytes | None], name: str) -> bytes | None:
    """Return a companion, or what its gzip file `name.gz` holds."""
    content = load(name)
    if content is None:
        content = load(f"{name}.gz")
    return None if content is None else unzipped(content)


def _read_beside(folder: Path, name: str) -> bytes | None:
    """Return the content of `name` in `folder`; None if there is no such file."""
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
