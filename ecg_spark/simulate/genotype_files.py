"""Genotype matrices as PLINK 1 and BGEN 1.2 files, written in parts that are then joined.

PLINK: https://www.cog-genomics.org/plink/1.9/formats#bed (A1 = ALT). BGEN 1.2, layout 2, zlib,
eight bits, unphased: https://www.chg.ox.ac.uk/~gav/bgen_format/spec/v1.2.html (first allele = REF).
"""

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ecg_spark.simulate.genome import Sites

BED_MAGIC = b"\x6c\x1b\x01"
_BED_CODES = np.array([3, 2, 0, 1], dtype=np.uint8)  # ALT count 0, 1, 2, missing
_BGEN_PROBABILITIES = np.array([[255, 0], [0, 255], [0, 0], [0, 0]], dtype=np.uint8)
_BGEN_PLOIDY = np.array([2, 2, 2, 0x82], dtype=np.uint8)
_BGEN_FLAGS = 1 | 2 << 2  # zlib, layout 2, no sample names inside


def bed_rows(dosages: NDArray[np.int8]) -> bytes:
    """The rows of a .bed file for ALT counts [m, n], -1 where missing."""
    m, n = dosages.shape
    codes = np.zeros((m, -(-n // 4) * 4), dtype=np.uint8)
    codes[:, :n] = _BED_CODES[dosages]
    quads = codes.reshape(m, codes.shape[1] // 4, 4)
    packed = quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6
    return packed.tobytes()


def bim_rows(sites: Sites, variants: Iterable[int]) -> str:
    """The rows of a .bim file for some variants."""
    return "".join(
        f"{sites.contig_name(v)}\t{sites.name(v)}\t0\t{sites.position[v]}"
        f"\t{sites.alt[v]}\t{sites.ref[v]}\n"
        for v in variants
    )


def bgen_header(variants: int, participants: int) -> bytes:
    """The start of a .bgen file."""
    return struct.pack("<IIII4sI", 20, 20, variants, participants, b"bgen", _BGEN_FLAGS)


def bgen_rows(sites: Sites, variants: Iterable[int], dosages: NDArray[np.int8]) -> bytes:
    """The variant blocks of a .bgen file for ALT counts [m, n], -1 where missing."""
    n = dosages.shape[1]
    head = struct.pack("<IHBB", n, 2, 2, 2)
    rows = []
    for v, row in zip(variants, dosages, strict=True):
        body = head + _BGEN_PLOIDY[row].tobytes() + b"\x00\x08" + _BGEN_PROBABILITIES[row].tobytes()
        packed = zlib.compress(body, 1)
        ref, alt = str(sites.ref[v]), str(sites.alt[v])
        rows += [
            _text(sites.place(v)),
            _text(sites.name(v)),
            _text(sites.contig_name(v)),
            struct.pack("<IH", sites.position[v], 2),
            struct.pack("<I", len(ref)) + ref.encode(),
            struct.pack("<I", len(alt)) + alt.encode(),
            struct.pack("<II", len(packed) + 4, len(body)),
            packed,
        ]
    return b"".join(rows)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode()
