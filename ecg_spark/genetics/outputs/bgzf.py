"""Block-compressed gzip files (BGZF) with a tabix index, of which a region can be read by itself.

BGZF: section 4.1 of https://samtools.github.io/hts-specs/SAMv1.pdf. Tabix:
https://samtools.github.io/hts-specs/tabix.pdf. Many machines can write the pieces of a file in
parallel, each with its part of the index; joining the pieces only copies bytes.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends a file."""

Places = NDArray[np.int64]

_BLOCK = 65_280
"""Bytes of text in a block: whatever the content, the compressed block fits into 64 KiB."""

_LEVEL = 2
"""The compression level: these lines become a fifth larger than at level 6, in a third of the time.
"""

_WINDOW_BITS = 14  # 16 kb, the smallest bins of the index
_FIRST_BIN = 4681


class Piece:
    """Consecutive lines of a file, compressed as they are added.

    Each line is a record of one base; lines are sorted by contig and position.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._blocks: list[bytes] = []
        self._starts = [0]  # where each block begins, and where the last one ends
        self._length = 0
        self._index: list[Places] = []

    def add(self, lines: bytes, ends: Places, contigs: Places, positions: Places) -> None:
        """Add whole lines.

        Args:
            ends: where each line ends within `lines`.
            contigs: the number of each line's contig.
            positions: the position of each line, in bp from 1.
        """
        if not len(ends):
            return
        bounds = np.concatenate([[0], ends]) + self._length
        windows = contigs << 32 | (positions - 1) >> _WINDOW_BITS
        first = np.flatnonzero(np.diff(windows, prepend=-1))
        last = np.flatnonzero(np.diff(windows, append=-1)) + 1
        self._index.append(np.stack([windows[first], bounds[first], bounds[last]]))
        self._length += len(lines)
        self._text += lines
        self._pack(len(self._text) // _BLOCK * _BLOCK)

    def finish(self) -> tuple[bytes, Places]:
        """The compressed lines, and the index: where each window begins and ends in them, as
        virtual offsets, [contig and window, begin, end].
        """
        self._pack(len(self._text))
        if not self._index:
            return b"", np.empty((3, 0), np.int64)
        windows, begin, end = np.concatenate(self._index, axis=1)
        return b"".join(self._blocks), _merged(
            np.stack([windows, self._virtual(begin), self._virtual(end)])
        )

    def _pack(self, count: int) -> None:
        for start in range(0, count, _BLOCK):
            self._blocks.append(_block(bytes(self._text[start : min(start + _BLOCK, count)])))
            self._starts.append(self._starts[-1] + len(self._blocks[-1]))
        del self._text[:count]

    def _virtual(self, places: Places) -> Places:
        """The virtual offsets of places in the text; the end of the last block counts as the
        start of the next.
        """
        block, within = np.divmod(places, _BLOCK)
        at_end = places == self._length
        block[at_end], within[at_end] = len(self._blocks), 0
        return np.asarray(np.array(self._starts)[block] << 16 | within)


def join(
    files: Any, pieces: Iterable[tuple[bytes, Places]], header: bytes, target: str
) -> tuple[str, Places]:
    """Write a header and the pieces of a file.

    Args:
        files: the fsspec file system of the target.
        pieces: as `Piece.finish` returns them; each is read just before it is written.
        header: the uncompressed header.

    Returns:
        The MD5 of the file, and the index of the whole file.
    """
    digest = hashlib.md5(usedforsecurity=False)
    nothing = np.empty((3, 0), np.int64)
    place, found = 0, []
    with files.open(target, "wb") as out:
        for content, index in chain([(_block(header), nothing)], pieces, [(END, nothing)]):
            found.append(index + np.array([[0], [place << 16], [place << 16]]))
            out.write(content)
            digest.update(content)
            place += len(content)
    return digest.hexdigest(), _merged(np.concatenate(found, axis=1))


def tabix(windows: Places, names: Sequence[str], skipped_lines: int) -> bytes:
    """The content of a .tbi file for contigs in column 1 and positions in column 2.

    Args:
        windows: the index that `join` returned.
        names: the names of the contigs, by their numbers.
        skipped_lines: how many header lines the file has.
    """
    contigs = windows[0] >> 32
    present = list(dict.fromkeys(contigs.tolist()))
    text = b"".join(names[number].encode() + b"\0" for number in present)
    head = (len(present), 0, 1, 2, 2, ord("#"), skipped_lines, len(text))
    out = [b"TBI\1", struct.pack("<8i", *head), text]
    for number in present:
        own = windows[:, contigs == number]
        place, begin, end = own[0] & 0xFFFFFFFF, own[1], own[2]
        bins = np.empty(len(place), "<u4,<i4,<u8,<u8")
        bins["f0"], bins["f1"], bins["f2"], bins["f3"] = _FIRST_BIN + place, 1, begin, end
        # A window without lines points to where the window before it begins.
        linear = np.zeros(place[-1] + 1, "<u8")
        linear[place] = begin
        out += [struct.pack("<i", len(bins)), bins.tobytes()]
        out += [struct.pack("<i", len(linear)), np.maximum.accumulate(linear).tobytes()]
    content = b"".join(out)
    parts = [content[i : i + _BLOCK] for i in range(0, len(content), _BLOCK)]
    return b"".join(map(_block, parts)) + END


def _merged(index: Places) -> Places:
    """An index in which a window that two pieces share occurs once."""
    first = np.flatnonzero(np.diff(index[0], prepend=-1))
    last = np.flatnonzero(np.diff(index[0], append=-1))
    return np.stack([index[0, first], index[1, first], index[2, last]])


def _block(content: bytes) -> bytes:
    """Compress at most 64 KiB of content into one block."""
    compressor = zlib.compressobj(_LEVEL, wbits=-15)
    packed = compressor.compress(content) + compressor.flush()
    head = END[:16] + struct.pack("<H", len(packed) + 25)
    return head + packed + struct.pack("<II", zlib.crc32(content), len(content))
