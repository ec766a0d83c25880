"""Genotypes of variants as rows of an array: packed calls, or dosages where calls do not suffice.

Packed calls are uint8 [variants, (samples + 3) / 4], two bits each, as in a .bed. Dosages are
uint16 [variants, samples], in 16,384ths of an allele as plink2 holds them: the dosages of a BGEN of
eight bits are 255ths, which one byte could not tell apart.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.packed import BY_BYTE, MISSING

SCALE = 16_384
"""The number that stands for one allele."""

NO_DOSAGE = 65_535
"""The number that stands for a missing dosage."""

CALL_TOLERANCE = 0.1
"""A dosage this close to a whole number counts as a call, as in plink2."""

PackedCalls = NDArray[np.uint8]
Dosages = NDArray[np.uint16]
Rows = NDArray[np.unsignedinteger[Any]]
"""Of either kind, which the type of its numbers tells."""

_MISSING_BITS = 1
_BITS = np.array([3, 2, 0, _MISSING_BITS], np.uint8)
"""PLINK's two bits of no, one and two alternate alleles and of a missing call."""

_OF_BYTE = np.where(BY_BYTE == MISSING, NO_DOSAGE, BY_BYTE * np.int64(SCALE)).astype(np.uint16)
NEAREST = int(SCALE * CALL_TOLERANCE)
"""The same in 16,384ths, which are whole."""


def encode(values: NDArray[np.floating]) -> Dosages:
    """Dosages of the alternate allele, 0 to 2 and NaN where missing, as whole numbers."""
    with np.errstate(invalid="ignore"):
        found = np.rint(values * SCALE)
    return np.where(np.isnan(found), NO_DOSAGE, found).astype(np.uint16)


def decode(dosages: Dosages) -> NDArray[np.float64]:
    """Dosages of the alternate allele, NaN where missing."""
    return np.where(dosages == NO_DOSAGE, np.nan, dosages / SCALE)


def calls_of(dosages: Rows) -> NDArray[np.int8]:
    """The hard calls behind dosages, `MISSING` where a dosage is far from all three."""
    nearest = (dosages.astype(np.int32) + SCALE // 2) // SCALE
    far = np.abs(dosages - nearest * SCALE) > NEAREST
    return np.where(far | (dosages == NO_DOSAGE), MISSING, nearest).astype(np.int8)


def are_calls(dosages: Rows) -> NDArray[np.bool_]:
    """Of each variant, whether none of its dosages lies between two calls."""
    return np.asarray(((dosages % SCALE == 0) | (dosages == NO_DOSAGE)).all(axis=1))


def pack(calls: NDArray[np.int8]) -> PackedCalls:
    """Calls [variants, samples] in two bits each, the last byte filled with missing ones."""
    bits = np.full((len(calls), -(-calls.shape[1] // 4) * 4), _MISSING_BITS, np.uint8)
    bits[:, : calls.shape[1]] = _BITS[calls]
    return _in_bytes(bits)


def as_calls(rows: Rows, samples: int) -> NDArray[np.int8]:
    """Rows of either kind as calls [variants, samples], of dosages the hard ones."""
    if rows.dtype == np.uint16:
        return calls_of(rows)
    return BY_BYTE[rows].reshape(len(rows), -1)[:, :samples]


def as_dosages(rows: Rows, samples: int) -> Dosages:
    """Rows of either kind as dosages [variants, samples]."""
    if rows.dtype == np.uint16:
        return rows.astype(np.uint16, copy=False)
    return _OF_BYTE[rows].reshape(len(rows), -1)[:, :samples]


def in_order(rows: Rows, samples: NDArray[np.integer[Any]]) -> Rows:
    """The rows of other samples, by their places in these; missing where a place is -1."""
    at = np.maximum(samples, 0)
    if rows.dtype == np.uint16:
        return np.where(samples < 0, np.uint16(NO_DOSAGE), rows[:, at])
    bits = np.full((len(rows), -(-len(samples) // 4) * 4), _MISSING_BITS, np.uint8)
    shifts = (2 * (at & 3)).astype(np.uint8)
    own = (rows[:, at >> 2] >> shifts) & 3
    bits[:, : len(samples)] = np.where(samples < 0, _MISSING_BITS, own)
    return _in_bytes(bits)


def _in_bytes(bits: NDArray[np.uint8]) -> PackedCalls:
    four = bits.reshape(len(bits), -1, 4)
    return np.asarray(
        four[:, :, 0] | four[:, :, 1] << 2 | four[:, :, 2] << 4 | four[:, :, 3] << 6, np.uint8
    )
