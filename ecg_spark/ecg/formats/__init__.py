"""The file formats: one module each, one function each, bytes to Recording."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from ecg_spark.ecg.formats import cardiosoft, muse, xmltree
from ecg_spark.ecg.formats.wfdb import is_wfdb_header, read_wfdb
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

MAX_FILE_BYTES = 64 << 20
"""A resting ECG file is under 1 MB; one with a full exercise test under 20 MB."""


def read_recording(
    source: bytes | str | Path, *, companions: Mapping[str, bytes] | None = None
) -> Recording:
    """Return the recording in `source`: a file's content, or the path of a file.

    The format is recognised by content: GE CardioSoft XML, GE MUSE XML, or a WFDB header. The
    signal files of a WFDB header come from `companions` (file name without folders to content),
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
    root = xmltree.root_tag(data)
    if root == cardiosoft.ROOT:
        return cardiosoft.read_cardiosoft(data)
    if root == muse.ROOT:
        return muse.read_muse(data)
    if root is None and is_wfdb_header(data):
        return read_wfdb(data, load)
    raise RecordingError(
        Reason.UNKNOWN_FORMAT, "neither CardioSoft XML, MUSE XML nor a WFDB header"
    )


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
