"""Tar and zip archives of ECG files, read member by member in bounded memory and time.

Nothing is ever unpacked to a disk, so a member's name is only a label.
"""

import functools
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from ecg_spark.ecg.formats import MAX_FILE_BYTES, SIGNAL_SUFFIXES, unzipped
from ecg_spark.ecg.formats.unpacked import Unpacked, check_ratio, is_compressed
from ecg_spark.ecg.formats.wfdb_header import is_header_name, named_files
from ecg_spark.ecg.recording import Reason, RecordingError

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
SUFFIXES = (*_TAR, ".zip")
"""Endings of the names of archives, in lower case."""

_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError,
    LookupError, RuntimeError,
)  # fmt: skip
"""What the standard library raises for a damaged archive, or for one that uses features of later
versions of the format (`NotImplementedError`, a `RuntimeError`)."""

MAX_MEMBERS = 10_000_000
MAX_WAITING_BYTES = 64 << 20
"""Bytes of WFDB files that wait for the others of their record in the archive."""

Files = dict[str, bytes]
"""The files of one recording: path inside the archive to content, the one to read being first."""


def is_archive(name: str) -> bool:
    """Return whether a file is an archive, by its name."""
    return name.lower().endswith(SUFFIXES)


def recordings(file: BinaryIO, name: str) -> Iterator[Files | tuple[str, RecordingError]]:
    """Yield the files of each recording in an archive, or a member's name and why it was refused.

    A WFDB header and the files that it names come together.

    Args:
        file: the archive, seekable; it is read once from its start.
        name: its file name, by which zip is told from tar.

    Raises:
        RecordingError: the archive itself ends early, is damaged, or unpacks to too much. What was
            yielded before is sound.
    """
    window = _Window()
    for member, content in _members(file, name):
        if isinstance(content, RecordingError):
            yield member, content
            continue
        if member in window.files:  # a second member of the same name, as `tar --append` writes
            yield from window.rest()
        window.add(member, content)
        if window.size > MAX_WAITING_BYTES:
            yield from window.whole()
            yield from window.oldest(MAX_WAITING_BYTES // 2)
    yield from window.rest()


class _Window:
    """The members that wait for others of their recording.

    A file that a WFDB header names is its companion, whatever its suffix, if it lies within
    `MAX_WAITING_BYTES` of the header in the archive. Headers may share a signal file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.size = 0
        self._has_dropped = False

    def add(self, member: str, content: bytes) -> None:
        """Put a member in."""
        self.files[member] = content
        self.size += len(content)

    def rest(self) -> Iterator[Files | tuple[str, RecordingError]]:
        """Take out everything."""
        yield from self.whole()
        yield from self.oldest(0)

    def whole(self) -> Iterator[Files]:
        """Take out every record that is complete."""
        records = self._records()
        done = {member for member, (found, is_whole) in records.items() if is_whole}
        named = {other for member in records.keys() - done for other in records[member][0]}
        used = done | {other for member in done for other in records[member][0]}
        for member in sorted(done):
            yield self._group(member, records[member][0])
        for member in used - named:
            self._drop(member)

    def oldest(self, size: int) -> Iterator[Files | tuple[str, RecordingError]]:
        """Take out the oldest members, complete or not, until no more than `size` bytes wait."""
        records = self._records()
        owner = {other: member for member, (found, _) in records.items() for other in found}
        self._has_dropped |= size > 0
        for member in list(self.files):
            if size and self.size <= size:
                return
            header = owner.get(member, member)
            if member not in self.files or header not in self.files:
                continue
            found, is_whole = records.get(header, ([], True))
            if not is_whole and self._has_dropped:
                detail = (
                    "a file that the WFDB header names is missing, or more than "
                    f"{MAX_WAITING_BYTES >> 20} MiB away: put each record's files side by side"
                )
                yield header, RecordingError(Reason.MALFORMED, detail)
            else:
                yield self._group(header, found)
            for other in (header, *found):
                self._drop(other)

    def _records(self) -> dict[str, tuple[list[str], bool]]:
        """Return the headers with the members they name, and whether these are complete.

        Headers of a record's segments are not records of their own.
        """
        records: dict[str, tuple[list[str], bool]] = {}
        segments: set[str] = set()
        for member, content in self.files.items():
            if not is_header_name(member):
                continue
            try:
                names = named_files(unzipped(content), functools.partial(self._load, member))
                found = [self._member(member, name) for name in names]
            except RecordingError:  # an unreadable one has its customary files
                stem = PurePosixPath(member.removesuffix(".gz")).stem
                found = [self._member(member, f"{stem}{suffix}") for suffix in SIGNAL_SUFFIXES]
                found = [other for other in found if other is not None]
            there = [other for other in found if other is not None]
            records[member] = (there, None not in found)
            segments |= set(filter(is_header_name, there))
        return {member: record for member, record in records.items() if member not in segments}

    def _member(self, header: str, name: str) -> str | None:
        """Return the member that a header means by a name: in its own folder, packed or not."""
        path = f"{header.rpartition('/')[0]}/{name}" if "/" in header else name
        return next((other for other in (path, f"{path}.gz") if other in self.files), None)

    def _load(self, header: str, name: str) -> bytes | None:
        member = self._member(header, name)
        return None if member is None else unzipped(self.files[member])

    def _group(self, first: str, others: list[str]) -> Files:
        return {member: self.files[member] for member in (first, *others)}

    def _drop(self, member: str) -> None:
        self.size -= len(self.files.pop(member, b""))


def _members(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes | RecordingError]]:
    try:
        if name.lower().endswith(".zip"):
            yield from _zip_members(file)
        else:
            yield from _tar_members(file)
    except RecordingError:
        raise
    except _DAMAGED as error:
        kind = type(error).__name__
        raise RecordingError(Reason.MALFORMED, f"a damaged archive ({kind})") from None


def _tar_members(file: BinaryIO) -> Iterator[tuple[str, bytes | RecordingError]]:
    # The content says how a tar is compressed: names are often wrong.
    compressed = is_compressed(file.read(8))
    file.seek(0)
    stream: BinaryIO = Unpacked(file) if compressed else file
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
    """A member with a bound on its long name and attributes, which are read into memory."""

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
                detail = "a member that is encrypted or compressed in an unknown way"
                yield item.filename, RecordingError(Reason.UNKNOWN_FORMAT, detail)
                continue
            try:
                with archive.open(item) as opened:
                    content = opened.read(MAX_FILE_BYTES + 1)
            except RecordingError:
                raise
            except _DAMAGED:
                detail = "a damaged member of a zip archive"
                yield item.filename, RecordingError(Reason.MALFORMED, detail)
                continue
            unpacked += len(content)
            check_ratio(unpacked, size)
            if len(content) > MAX_FILE_BYTES:
                yield item.filename, _too_large()
            else:
                yield item.filename, content


def _is_hidden(member: str) -> bool:
    """Return whether a member was added by the system: `._x.xml` of macOS, `.DS_Store`."""
    return PurePosixPath(member).name.startswith(".") or member.startswith("__MACOSX/")


def _too_large() -> RecordingError:
    return RecordingError(Reason.TOO_LARGE, f"a member of more than {MAX_FILE_BYTES >> 20} MiB")
