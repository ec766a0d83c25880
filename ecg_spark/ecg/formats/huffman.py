"""The Huffman coding of SCP-ECG (section 2)."""

import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.recording import Reason, RecordingError

_MAX_PREFIX = 16
_MAX_TABLES, _MAX_CODES = 32, 1024
_DEFAULT = 19999


@dataclass(frozen=True)
class HuffmanCode:
    """A code: some bits that identify it, and bits of a signed number that follow them.

    It stands for `value` plus that number; if `switches`, it means that table `value` is used from
    here on.

    Attributes:
        prefix_bits: how many bits identify the code.
        extra_bits: how many bits the number has.
        switches: whether the code switches to another table.
        value: see above.
        prefix: the bits that identify the code, the first being the highest.
    """

    prefix_bits: int
    extra_bits: int
    switches: bool
    value: int
    prefix: int


@dataclass(frozen=True)
class HuffmanTable:
    """The codes of one table."""

    codes: tuple[HuffmanCode, ...]

    @cached_property
    def by_bits(self) -> list[int]:
        """The index of the code that the next 16 bits begin with; -1 if they begin with none."""
        found = np.full(1 << _MAX_PREFIX, -1)
        for index, code in enumerate(self.codes):
            rest = _MAX_PREFIX - code.prefix_bits
            found[code.prefix << rest : (code.prefix + 1) << rest] = index
        return list(found.tolist())


def _default() -> HuffmanTable:
    codes = [HuffmanCode(1, 0, False, 0, 0)]
    for size in range(1, 9):
        ones = (1 << size) - 1
        codes += [
            HuffmanCode(size + 2, 0, False, value, ones << 2 | sign)
            for sign, value in enumerate((size, -size))
        ]
    codes += [HuffmanCode(10, 8, False, 0, 0b1111111110), HuffmanCode(10, 16, False, 0, 0x3FF)]
    return HuffmanTable(tuple(codes))


DEFAULT_TABLE = _default()
"""The table of the standard (C.3.7.6): 0, ±1 to ±8, and numbers of 8 and of 16 bits."""


def read_tables(body: bytes) -> list[HuffmanTable]:
    """Return the Huffman tables of section 2, or the standard's own where the section refers to it.

    Raises:
        RecordingError: `malformed`.
        struct.error: the section ends early.
    """
    (count,) = struct.unpack_from("<H", body)
    if count == _DEFAULT:
        return [DEFAULT_TABLE]
    if not 1 <= count <= _MAX_TABLES:
        raise RecordingError(Reason.MALFORMED, f"{count} Huffman tables")
    tables = []
    at = 2
    for _ in range(count):
        (size,) = struct.unpack_from("<H", body, at)
        if size > _MAX_CODES:
            raise RecordingError(Reason.MALFORMED, f"a Huffman table of {size} codes")
        fields = [struct.unpack_from("<BBBhI", body, at + 2 + 9 * i) for i in range(size)]
        at += 2 + 9 * size
        tables.append(HuffmanTable(tuple(_code(*field) for field in fields)))
    return tables


def _code(prefix: int, total: int, mode: int, value: int, stored: int) -> HuffmanCode:
    if not 1 <= prefix <= _MAX_PREFIX or not prefix <= total <= prefix + 16:
        raise RecordingError(Reason.MALFORMED, "a Huffman code of an implausible length")
    # The first bit of the code is the lowest of the stored number.
    bits = int(f"{stored & ((1 << prefix) - 1):0{prefix}b}"[::-1], 2)
    return HuffmanCode(prefix, total - prefix, mode == 0, value, bits)


def decode(coded: bytes, count: int, tables: list[HuffmanTable]) -> NDArray[np.int64]:
    """Return the first numbers of a bit stream, in which the high bit of a byte comes first.

    Args:
        coded: the stream.
        count: how many numbers it should hold.
        tables: the tables, of which the first is used at the start.

    Raises:
        RecordingError: `malformed` if the stream holds fewer numbers, or bits that are not a code.
    """
    padded = coded + bytes(8)
    end = 8 * len(coded)
    table = tables[0]
    lookup, codes = table.by_bits, table.codes
    values: list[int] = []
    at = 0
    while len(values) < count:
        byte = at >> 3
        window = int.from_bytes(padded[byte : byte + 5], "big") << (at & 7) & 0xFFFFFFFFFF
        index = lookup[window >> 24]
        if index < 0 or at >= end:
            raise RecordingError(Reason.MALFORMED, "the Huffman code ends early or is wrong")
        code = codes[index]
        at += code.prefix_bits
        if code.switches:
            if not 1 <= code.value <= len(tables):
                raise RecordingError(Reason.MALFORMED, "a switch to a missing Huffman table")
            table = tables[code.value - 1]
            lookup, codes = table.by_bits, table.codes
        elif code.extra_bits:
            extra = code.extra_bits
            number = window >> (40 - code.prefix_bits - extra) & ((1 << extra) - 1)
            if number >> (extra - 1):
                number -= 1 << extra
            values.append(code.value + number)
            at += extra
        else:
            values.append(code.value)
    if at > end:
        raise RecordingError(Reason.MALFORMED, "the Huffman code ends early")
    return np.array(values, dtype=np.int64)
