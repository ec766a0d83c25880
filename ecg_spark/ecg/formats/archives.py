"""Tar and zip archives of ECG files, read member by member in bounded memory and time.

Nothing is ever unpacked to a disk, so a member's name is only a label.
"""

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from ecg_spark.ecg.formats import MAX_FILE_BYTES
from ecg_spark.ecg.formats.wfdb import COMPANION_SUFFIXES, companion_names
from ecg_spark.ecg.recording import Reason, RecordingError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
"""What an archive's name ends with, in lower case."""

MAX_RATIO, FREE_BYTES = 200, 256 << 20
"""XML of ECGs shrinks twenty times; an archive may unpack to `FREE_BYTES` and to `MAX_RATIO` times
its own size, no further."""

_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
MAX_MEMBERS = 10_000_000
MAX_WAITING_BYTES = 64 << 20
"""WFDB's files that wait for others of their record, until the archive brings these."""

Files = dict[str, bytes]
"""The files of one recording: path inside the archive to content, the one to read being first."""


def is_archive(name: str) -> bool:
    """Say whether a file is an archive, by its name."""
    return name.lower().endswith(SUFFIXES)


def recordings(file: BinaryIO, name: str) -> Iterator[Files | tuple[str, RecordingError]]:
    """Yield the files of each recording in an archive, or a member's name and why it is refused.

    `file` is read from its start, once; a zip archive must be seekable. WFDB's header and signal
    files come together. Raises `RecordingError` where the archive itself ends early, is damaged,
    or unpacks to too much; what was yielded before is sound.
    """
    waiting: dict[str, Files] = {}
    waiting_bytes = 0
    for member, content in _members(file, name):
        if isinstance(content, RecordingError):
            yield member, content
            continue
        if not member.lower().removesuffix(".gz").endswith(COMPANION_SUFFIXES):
            yield {member: content}
            continue
        stem = _stem(member)
        group = waiting.setdefault(stem, {})
        group[member] = content
        waiting_bytes += len(content)
        if _is_whole(group):
            waiting_bytes -= sum(map(len, group.values()))
            yield _header_first(waiting.pop(stem))
        while waiting_bytes > MAX_WAITING_BYTES:
            oldest = waiting.pop(next(iter(waiting)))
            waiting_bytes -= sum(map(len, oldest.values()))
            yield _header_first(oldest)
    yield from map(_header_first, waiting.values())


def _stem(member: str) -> str:
    return re.sub(r"(\.[^./]*)?(\.gz)?$", "", member)


def _is_whole(group: Files) -> bool:
    """Say whether a header and all signal files that it names are there."""
    names = {PurePosixPath(member).name.lower().removesuffix(".gz") for member in group}
    for member, content in group.items():
        if member.lower().endswith(".hea"):
            try:
                needed = companion_names(content)
            except RecordingError:
                return True
            return {name.lower() for name in needed} <= names
    return False


def _header_first(group: Files) -> Files:
    return dict(sorted(group.items(), key=lambda item: (".hea" not in item[0].lower(), item[0])))


def _members(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes | RecordingError]]:
    try:
        if name.lower().endswith(".zip"):
            yield from _zip_members(file)
        else:
            yield from _tar_members(file, zipped=name.lower().endswith("gz"))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        if isinstance(error, RecordingError):
            raise
        kind = type(error).__name__
        raise RecordingError(Reason.MALFORMED, f"a damaged archive ({kind})") from None


def _tar_members(file: BinaryIO, zipped: bool) -> Iterator[tuple[str, bytes | RecordingError]]:
    stream: BinaryIO = io.BufferedReader(_Gunzipped(file), 1 << 16) if zipped else file
    count = 0
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
        for item in archive:
            count += 1
            # It remembers every member's name; an archive may hold a million.
            archive.members.clear()  # type: ignore[attr-defined]
            if count > MAX_MEMBERS:
                raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_MEMBERS} members")
            if not item.isreg() or _is_hidden(item.name):
                continue
            if item.size > MAX_FILE_BYTES:
                yield item.name, _too_large()
                continue
            opened = archive.extractfile(item)
            content = b"" if opened is None else opened.read(MAX_FILE_BYTES + 1)
            if len(content) != item.size:
                raise RecordingError(Reason.MALFORMED, "the archive ends early")
            yield item.name, content


class _Member(tarfile.TarInfo):
    """A member whose long name or attributes, which are read at once, are not without bound."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        info = super().frombuf(buf, encoding, errors)
        if info.type in _EXTENSIONS and info.size > 1 << 16:
            raise tarfile.HeaderError("a name or attribute is too long")
        return info


def _zip_members(file: BinaryIO) -> Iterator[tuple[str, bytes | RecordingError]]:
    size = file.seek(0, io.SEEK_END)
    unpacked = 0
    with zipfile.ZipFile(file) as archive:
        for item in sorted(archive.infolist(), key=lambda item: item.filename):
            if item.is_dir() or _is_hidden(item.filename):
                continue
            if item.flag_bits & 1 or item.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                detail = "an encrypted or strangely compressed member"
                yield item.filename, RecordingError(Reason.UNKNOWN_FORMAT, detail)
                continue
            try:
                with archive.open(item) as opened:
                    content = opened.read(MAX_FILE_BYTES + 1)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
                detail = "a damaged member of a zip archive"
                yield item.filename, RecordingError(Reason.MALFORMED, detail)
                continue
            unpacked += len(content)
            _check_ratio(unpacked, size)
            if len(content) > MAX_FILE_BYTES:
                yield item.filename, _too_large()
            else:
                yield item.filename, content


def _is_hidden(member: str) -> bool:
    """Say whether a member is no file of the user's: `._x.xml` of macOS, `.DS_Store`."""
    return PurePosixPath(member).name.startswith(".") or member.startswith("__MACOSX/")


def _too_large() -> RecordingError:
    return RecordingError(Reason.TOO_LARGE, f"a member of more than {MAX_FILE_BYTES >> 20} MiB")


def _check_ratio(unpacked: int, packed: int) -> None:
    if unpacked > FREE_BYTES + MAX_RATIO * packed:
        raise RecordingError(
            Reason.TOO_LARGE, f"the archive unpacks to more than {MAX_RATIO} times its size"
        )


class _Gunzipped(io.RawIOBase):
    """The content of a gzip stream as a file that can only be read on, and not without bound."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(wbits=31)
        self._packed = self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        while True:
            if self._unpacker.eof:  # a further member of the stream, as parallel packers write
                rest = self._unpacker.unused_data or self._file.read(1 << 16)
                if not rest.strip(b"\0"):
                    return 0
                self._unpacker = zlib.decompressobj(wbits=31)
                self._packed += len(rest)
            else:
                rest = self._unpacker.unconsumed_tail
                if not rest:
                    rest = self._file.read(1 << 16)
                    self._packed += len(rest)
                    if not rest:
                        raise EOFError
            content = self._unpacker.decompress(rest, len(buffer))
            if content:
                self._unpacked += len(content)
                _check_ratio(self._unpacked, self._packed)
                buffer[: len(content)] = content
                return len(content)
