"""Streams compressed by gzip, bzip2 or xz, read with bounds on memory and size."""

import bz2
import io
import lzma
import zlib
from typing import BinaryIO, Protocol

from ecg_spark.ecg.recording import Reason, RecordingError

GZIP, BZIP2, XZ = b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0"
"""What the streams begin with."""

MAX_RATIO, FREE_BYTES = 200, 256 << 20
"""XML of ECGs is compressed twentyfold; a stream may unpack to `FREE_BYTES`, or to `MAX_RATIO`
times its own size, and no further."""

_XZ_MEMORY = 128 << 20
"""Memory that an xz stream may ask for: its strongest setting takes 65 MiB."""

_CHUNK = 1 << 16


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """A gzip member's decompressor with the methods that those of bzip2 and xz have."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._unpacker.eof

    @property
    def needs_input(self) -> bool:
        return not self._unpacker.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._unpacker.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._unpacker.decompress(self._unpacker.unconsumed_tail + data, max_length)


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a stream that `Unpacked` reads."""
    return head.startswith((GZIP, BZIP2, XZ))


def check_ratio(unpacked: int, packed: int) -> None:
    """Check that a stream does not unpack to more than any ECG does.

    Args:
        unpacked: the bytes so far.
        packed: the bytes that were read for them.

    Raises:
        RecordingError: `too_large` if it does.
    """
    if unpacked > FREE_BYTES + MAX_RATIO * packed:
        detail = f"it unpacks to more than {MAX_RATIO} times its size"
        raise RecordingError(Reason.TOO_LARGE, detail)


class Unpacked(io.BufferedReader):
    """The content of a compressed stream, as a file that can only be read forwards.

    A stream may have any number of members one after the other, some of them empty, as parallel
    packers and bgzip write, and zeros after the last. Reading raises `RecordingError`: `malformed`
    if it is damaged or ends early, `too_large` before it unpacks to too much.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(_Unpacking(file), _CHUNK)


class _Unpacking(io.RawIOBase):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting = b""
        self._unpacker: _Decompressor | None = None
        self._packed = self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        while True:
            if self._unpacker is None and not self._begin():
                return 0
            assert self._unpacker is not None
            if self._unpacker.needs_input and not self._waiting and not self._more():
                raise RecordingError(Reason.MALFORMED, "the compressed data end early")
            content = self._decompress(self._unpacker, len(buffer))
            if self._unpacker.eof:
                self._waiting = self._unpacker.unused_data
                self._unpacker = None
            if content:
                self._unpacked += len(content)
                check_ratio(self._unpacked, self._packed)
                buffer[: len(content)] = content
                return len(content)

    def _decompress(self, unpacker: _Decompressor, size: int) -> bytes:
        data, self._waiting = self._waiting, b""
        try:
            return unpacker.decompress(data, size)
        except (zlib.error, lzma.LZMAError, OSError) as error:  # OSError: what bz2 raises
            if "memory" in str(error).lower():
                detail = f"the xz data ask for more than {_XZ_MEMORY >> 20} MiB"
                raise RecordingError(Reason.TOO_LARGE, detail) from None
            raise RecordingError(Reason.MALFORMED, "the compressed data are damaged") from None

    def _more(self) -> bool:
        data = self._file.read(_CHUNK)
        self._packed += len(data)
        self._waiting += data
        return bool(data)

    def _begin(self) -> bool:
        """Find the next member; False at the end of the stream."""
        self._waiting = self._waiting.lstrip(b"\0")
        while len(self._waiting) < len(XZ) and self._more():
            self._waiting = self._waiting.lstrip(b"\0")
        if not self._waiting:
            return False
        if self._waiting.startswith(BZIP2):
            self._unpacker = bz2.BZ2Decompressor()
        elif self._waiting.startswith(XZ):
            self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
        else:
            self._unpacker = _Gunzip()
        return True
