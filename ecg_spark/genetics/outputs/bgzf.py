"""Blocked gzip files with a tabix index: a gzip file of which a region can be read alone.

BGZF: section 4.1 of https://samtools.github.io/hts-specs/SAMv1.pdf. Tabix:
https://samtools.github.io/hts-specs/tabix.pdf. Hail's codec writes the blocks, on many machines;
this joins them and says where what lies.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends a file."""

CODEC = "is.hail.io.compress.BGzipCodec"

_WINDOW_BITS = 14  # 16 kb, the smallest bins of the index
_FIRST_BIN = 4681


class Index:
    """Where the lines of one-base records lie, added in the order of the file."""

    def __init__(self) -> None:
        self.contigs: dict[bytes, dict[int, list[int]]] = {}
        self._begun, self._start = b"", 0  # a line that goes on in the next block

    def add_block(self, text: bytes, place: int, size: int) -> None:
        """The lines of a block of `size` bytes at `place`: contig, tab, position, tab, the rest."""
        lines = text.split(b"\n")
        at = 0
        for number, line in enumerate(lines[:-1]):
            own = place << 16 | at
            at += len(line) + 1
            # The last line of a block ends where the next block begins.
            whole = number == len(lines) - 2 and at == len(text)
            end = (place + size) << 16 if whole else place << 16 | at
            if self._begun:
                line, own, self._begun = self._begun + line, self._start, b""
            contig, position, _ = line.split(b"\t", 2)
            self.add(contig, int(position), own, end)
        if lines[-1]:
            if not self._begun:
                self._start = place << 16 | at
            self._begun += lines[-1]

    def add(self, contig: bytes, position: int, start: int, end: int) -> None:
        """A record at `position` (from 1) between two virtual offsets."""
        windows = self.contigs.setdefault(contig, {})
        window = (position - 1) >> _WINDOW_BITS
        if window in windows:
            windows[window][1] = end
        else:
            windows[window] = [start, end]

    def encode(self, skipped_lines: int) -> bytes:
        """The content of the .tbi file: contigs in column 1, positions in column 2."""
        names = b"".join(name + b"\0" for name in self.contigs)
        out = [b"TBI\1"]
        out.append(struct.pack("<8i", len(self.contigs), 0, 1, 2, 2, ord("#"), skipped_lines,
                               len(names)))  # fmt: skip
        out.append(names)
        for windows in self.contigs.values():
            out.append(struct.pack("<i", len(windows)))
            for window, (start, end) in windows.items():
                out.append(struct.pack("<IiQQ", _FIRST_BIN + window, 1, start, end))
            last, first = max(windows), min(windows)
            offsets = [0] * first
            for window in range(first, last + 1):
                offsets.append(windows[window][0] if window in windows else offsets[-1])
            out.append(struct.pack(f"<i{len(offsets)}Q", len(offsets), *offsets))
        return pack(b"".join(out))


def pack(content: bytes) -> bytes:
    """Content as a whole BGZF file."""
    parts = [content[i : i + 60_000] for i in range(0, len(content), 60_000)]
    return b"".join(_block(part) for part in parts) + END


def join(
    files: Any, parts: Sequence[str], header: bytes, target: str, index: Index | None = None
) -> str:
    """Write header and parts, BGZF files of whole lines, as one file; its MD5.

    `files`: the fsspec file system of all. The lines of the parts are added to `index`, if given.
    """
    digest = hashlib.md5(usedforsecurity=False)
    place = 0
    with files.open(target, "wb") as out:

        def write(block: bytes) -> None:
            nonlocal place
            out.write(block)
            digest.update(block)
            place += len(block)

        write(_block(header))
        for name in parts:
            with files.open(name, "rb") as part:
                for block, text in _blocks(part):
                    if index is not None:
                        index.add_block(text, place, len(block))
                    write(block)
        write(END)
    return digest.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The blocks of a file as they are and decompressed, empty ones left out."""
    while head := file.read(18):
        size = struct.unpack("<H", head[16:18])[0] + 1
        block = head + file.read(size - 18)
        if text := zlib.decompress(block, wbits=31):
            yield block, text


def _block(content: bytes) -> bytes:
    """At most 64 KiB of content as one block."""
    compressor = zlib.compressobj(wbits=-15)
    packed = compressor.compress(content) + compressor.flush()
    head = END[:16] + struct.pack("<H", len(packed) + 25)
    return head + packed + struct.pack("<II", zlib.crc32(content), len(content))
