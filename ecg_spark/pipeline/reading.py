"""What an executor does with a part of the sources: bytes in, rows of recordings out."""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import ArrayType, BooleanType, StringType, StructField, StructType

from ecg_spark.ecg import Reason, Recording, RecordingError, read_recording
from ecg_spark.ecg.formats import MAX_FILE_BYTES, archives, hdf5, unzipped
from ecg_spark.ecg.formats.samples import NOTHING_SAID, Samples
from ecg_spark.ecg.formats.wfdb_header import Load, is_header_name, named_files
from ecg_spark.ids import normal_id
from ecg_spark.pipeline.plan import plan_rows
from ecg_spark.pipeline.sources import INSIDE, Owner, owner_key, several_suffixes
from ecg_spark.tables import RECORDINGS

BATCH_BYTES = 16 << 20
"""Rows of one Arrow batch: some hundred recordings, whatever the size of the part."""

READ = StructType(
    [
        *[StructField(field.name, field.dataType, True) for field in RECORDINGS.schema],
        StructField("accepted", BooleanType(), False),
    ]
)
"""A recording, or (not accepted) a rejected one, with its reason in `source_format` and the detail
in `device`: accepted rows then have the schema of the table of recordings."""

NAMED = StructType(
    [
        StructField("header", StringType(), False),
        StructField("names", ArrayType(StringType(), False), False),
    ]
)
"""A WFDB header, and the files that it names beside it."""

Row = dict[str, Any]


def reader(
    plan: str, id_pattern: str | None, has_manifest: bool, samples: Samples = NOTHING_SAID
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function for `mapInArrow` that reads parts of a plan.

    Args:
        plan: the path or URI of the plan.
        id_pattern: a regular expression whose first group is the participant id in a file's name.
        has_manifest: whether participants come from a manifest; then nothing else is used.
        samples: what the study says about files of bare samples.

    Returns:
        A function from numbers of parts to rows of `READ`.
    """

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for part in batch.column(0).to_pylist():
                rows = (
                    _assign_participant(row, owners, id_pattern, has_manifest)
                    for item in plan_rows(plan, part)
                    for owners in [_by_key(item["owners"])]
                    for row in _unnamed(
                        read_source(
                            item["path"], item["files"], samples, item["slice"], item["slices"]
                        )
                    )
                )
                yield from _batched(rows)

    return read


def _unnamed(rows: Iterable[Any]) -> Iterator[Any]:
    """The rows; if the file system fails, an error that does not name the file.

    Names of ECG files contain ids, and Spark logs what a task raises.
    """
    try:
        yield from rows
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OSError(error.errno or errno.EIO, f"{why} below ecg.path") from None


def _batched(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(READ)
    waiting: list[Row] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += 1000 + len(row["signal"] or b"")
        if size > BATCH_BYTES:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)
            waiting, size = [], 0
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=schema)


def read_source(
    path: str,
    files: list[str],
    samples: Samples = NOTHING_SAID,
    part: int = 0,
    parts: int = 1,
) -> Generator[Row, None, None]:
    """Yield the rows of one source: one, or as many as a file holds recordings.

    Nothing that is in a file can make it raise.

    Args:
        path: the file, the WFDB header or the archive.
        files: `path` and the files that by custom belong to it.
        samples: what the study says about files of bare samples.
        part: which part is read of a file of several recordings that is not an archive, from 0.
        parts: into how many parts it is divided.

    Raises:
        OSError: the file system fails.
    """
    if archives.is_archive(path):
        yield from _read_archive(path, samples)
        return
    if path.lower().endswith(several_suffixes(samples)):
        yield from _read_slice(path, samples, part, parts)
        return
    folder = _Folder(path)
    try:
        content = folder.content(path)
        if content is None:  # it existed when the sources were listed
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if is_header_name(path):
            for name in _named(unzipped(content), folder.load, files[1:]):
                folder.load(name)
    except RecordingError as error:
        yield _refused(path, error, b"".join(folder.contents.values()))
        return
    yield _row(path, folder.contents, samples)


def _named(header: bytes, load: Load, customary: list[str]) -> list[str]:
    """Return the names that a header gives; if it cannot be read, the files it has by custom."""
    try:
        return named_files(header, load)
    except RecordingError:
        return [PurePosixPath(name).name for name in customary]


class _Folder:
    """The files of one record, read from the header's own folder only, up to `MAX_FILE_BYTES`.

    More than that raises `RecordingError` (too_large).
    """

    def __init__(self, header: str) -> None:
        self._parent = header.rpartition("/")[0]
        self._room = MAX_FILE_BYTES
        self.contents: dict[str, bytes] = {}

    def content(self, path: str) -> bytes | None:
        """Return a file's content; None if there is no such file."""
        if path not in self.contents:
            fs, base = fsspec.core.url_to_fs(path)
            try:
                with fs.open(base, "rb") as file:
                    content: bytes = file.read(self._room + 1)
            except (FileNotFoundError, IsADirectoryError):
                return None
            if len(content) > self._room:
                raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB")
            self._room -= len(content)
            self.contents[path] = content
        return self.contents[path]

    def load(self, name: str) -> bytes | None:
        """Return the content of a file by its checked, plain name, packed by gzip or not."""
        for given in (name, f"{name}.gz"):
            content = self.content(f"{self._parent}/{given}" if self._parent else given)
            if content is not None:
                return unzipped(content)
        return None


def names_reader(plan: str) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function for `mapInArrow` that reads the names in WFDB headers.

    Args:
        plan: the path or URI of a plan of headers, each with the files that it has by custom.

    Returns:
        A function from numbers of parts to rows of `NAMED`: one for each header that names other
        files than these.
    """

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                {"header": item["path"], "names": names}
                for part in batch.column(0).to_pylist()
                for item in plan_rows(plan, part)
                for names in _unnamed(_unusual_names(item["path"], item["files"]))
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=to_arrow_schema(NAMED))

    return read


def _unusual_names(header: str, customary: list[str]) -> Iterator[list[str]]:
    """Yield the names that a header gives; nothing if they are customary or it gives none."""
    folder = _Folder(header)
    try:
        content = folder.content(header)
        names = [] if content is None else named_files(unzipped(content), folder.load)
    except RecordingError:  # it will be refused when it is read with its customary files
        return
    usual = {PurePosixPath(name.removesuffix(".gz")).name for name in customary}
    if content is not None and set(names) != usual:
        yield names


def _read_archive(path: str, samples: Samples) -> Iterator[Row]:
    fs, base = fsspec.core.url_to_fs(path)
    count = 0
    with fs.open(base, "rb") as file:
        try:
            for item in archives.recordings(file, path):
                count += 1
                if isinstance(item, dict):
                    contents = {f"{path}{INSIDE}{name}": data for name, data in item.items()}
                    yield _row(next(iter(contents)), contents, samples)
                else:
                    name, error = item
                    yield _refused(f"{path}{INSIDE}{name}", error, name.encode("utf-8", "replace"))
        except RecordingError as error:
            yield _refused(path, error, path.encode())
            return
    if not count:
        empty = RecordingError(Reason.UNKNOWN_FORMAT, "an archive without any file")
        yield _refused(path, empty, path.encode())


def _read_slice(path: str, samples: Samples, part: int, parts: int) -> Iterator[Row]:
    """Read the recordings of one part of an HDF5 file; the first also reports a damaged file."""
    fs, base = fsspec.core.url_to_fs(path)
    with fs.open(base, "rb") as opened:
        file = _Watched(opened)
        try:
            tracings = hdf5.Tracings(file, samples)
        except RecordingError as error:
            file.check()
            if part == 0:
                yield _refused(path, error, path.encode())
            return
        with contextlib.closing(tracings):
            count = len(tracings.ids)
            first, last = (step * count // parts for step in (part, part + 1))
            for name, item in tracings.recordings(first, last):
                file.check()
                inside = f"{path}{INSIDE}{name}"
                if isinstance(item, RecordingError):
                    yield _refused(inside, item, inside.encode("utf-8", "replace"))
                else:
                    yield _accepted(inside, item)


class _Watched(io.RawIOBase):
    """A file that remembers read errors, which h5py would report as a damaged file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._failure: OSError | None = None

    def check(self) -> None:
        """Raise what went wrong in the file system, if anything did."""
        if self._failure is not None:
            raise self._failure

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        try:
            content = self._file.read(len(buffer))
        except OSError as error:
            self._failure = error
            raise
        buffer[: len(content)] = content
        return len(content)


def _row(path: str, contents: dict[str, bytes], samples: Samples) -> Row:
    """Read the recording in a group of files; `path` is the one that describes it."""
    companions = {PurePosixPath(name).name: content for name, content in contents.items()}
    try:
        recording = read_recording(
            contents[path], companions=companions, samples=samples, name=path
        )
    except RecordingError as error:
        return _refused(path, error, b"".join(contents.values()))
    except Exception as error:  # a defect of a reader costs one file and not the job
        failed = RecordingError(Reason.MALFORMED, f"the reader failed with {type(error).__name__}")
        return _refused(path, failed, b"".join(contents.values()))
    return _accepted(path, recording)


def _accepted(path: str, recording: Recording) -> Row:
    signal = recording.samples.astype("<i2").tobytes()
    median = recording.vendor_median
    # The hash of what was recorded, not of the file: a copy under another name, or with another
    # header, is the same recording.
    scale = f"{recording.microvolts_per_unit:.9g} {recording.sampling_rate_hz:.9g}".encode()
    return {
        "ecg_id": hashlib.sha256(scale + signal).hexdigest(),
        "participant_id": recording.participant_id,
        "path": path,
        "acquired_at": recording.acquired_at,
        "source_format": recording.source_format,
        "device": recording.device,
        "sampling_rate_hz": recording.sampling_rate_hz,
        "microvolts_per_unit": recording.microvolts_per_unit,
        "signal": signal,
        "vendor": recording.vendor,
        "vendor_median": None if median is None else median.astype("<i2").tobytes(),
        "vendor_median_rate_hz": recording.vendor_median_rate_hz,
        "notes": [note.value for note in recording.notes],
        "accepted": True,
    }


def _refused(path: str, error: RecordingError, content: bytes) -> Row:
    return dict.fromkeys(READ.names) | {
        "ecg_id": hashlib.sha256(content).hexdigest(),
        "path": path,
        "source_format": error.reason.value,
        "device": error.detail,
        "accepted": False,
    }


def _by_key(owners: str) -> dict[str, Owner]:
    return {row["key"]: row for row in json.loads(owners)}


def _assign_participant(
    row: Row, owners: dict[str, Owner], id_pattern: str | None, has_manifest: bool
) -> Row:
    """Return the row with its participant; rejected if nothing says to whom it belongs."""
    if not row["accepted"]:
        return row
    archive, _, member = row["path"].partition(INSIDE)
    if has_manifest:
        key = owner_key(member)
        owner = owners.get(member) or owners.get(key) or owners.get(key.rpartition("/")[2])
        if not member:
            owner = next(iter(owners.values()), None)
        row["participant_id"] = owner and owner["participant_id"]
        if owner and owner["acquired_at"]:
            row["acquired_at"] = datetime.fromisoformat(owner["acquired_at"])
    elif id_pattern is not None:
        found = re.search(id_pattern, PurePosixPath(member or archive).name)
        row["participant_id"] = (found[1] or None) if found else None
    row["participant_id"] = normal_id(row["participant_id"] or "") or None
    if row["participant_id"] is None:
        error = RecordingError(
            Reason.NO_PARTICIPANT, "neither the file, its name nor the manifest says whose it is"
        )
        return _refused(row["path"], error, b"") | {"ecg_id": row["ecg_id"]}
    return row
