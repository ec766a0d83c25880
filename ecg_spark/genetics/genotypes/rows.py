"""The genotypes of variants as rows of an array: packed hard calls or, where they lose
information, dosages.

Packed calls are uint8 [variants, (samples + 3) / 4], two bits each, as in a .bed. Dosages are
uint16 [variants, samples], in units of 1/16384 of an allele, as plink2 stores them: the dosages of
an 8-bit BGEN are multiples of 1/255, which one byte could not tell apart.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.packed import BY_BYTE, MISSING

SCALE = 16_384
"""The integer that stands for one allele."""

NO_DOSAGE = 65_535
"""The integer that stands for a missing dosage."""

CALL_TOLERANCE = 0.1
"""A dosage this close to a whole number is taken as that hard call, as in plink2."""

PackedCalls = NDArray[np.uint8]
Dosages = NDArray[np.uint16]
Rows = NDArray[np.unsignedinteger[Any]]
"""Packed calls or dosages; the dtype tells which."""

_MISSING_BITS = 1
_BITS = np.array([3, 2, 0, _MISSING_BITS], np.uint8)
"""PLINK's two bits for 0, 1 and 2 alternate alleles and for a missing call."""

_OF_BYTE = np.where(BY_BYTE == MISSING, NO_DOSAGE, BY_BYTE * np.int64(SCALE)).astype(np.uint16)
NEAREST = int(SCALE * CALL_TOLERANCE)
"""The same in units of 1/16384, rounded down to an integer."""


def encode(values: NDArray[np.floating]) -> Dosages:
    """Dosages of the alternate allele as integers.

    Args:
        values: from 0 to 2; NaN where missing.

    Example:
        >>> encode(np.array([0.0, 1.5, np.nan])).tolist()
        [0, 24576, 65535]
    """
    with np.errstate(invalid="ignore"):
        found = np.rint(values * SCALE)
    return np.where(np.isnan(found), NO_DOSAGE, found).astype(np.uint16)


def decode(dosages: Dosages) -> NDArray[np.float64]:
    """Dosages of the alternate allele from their integers; NaN where missing."""
    return np.where(dosages == NO_DOSAGE, np.nan, dosages / SCALE)


def calls_of(dosages: Rows) -> NDArray[np.int8]:
    """The hard calls behind dosages; `MISSING` where no call is within `CALL_TOLERANCE`.

    Example:
        >>> calls_of(encode(np.array([0.05, 1.5, 1.95, np.nan]))).tolist()
        [0, 3, 2, 3]
    """
    nearest = (dosages.astype(np.int32) + SCALE // 2) // SCALE
    far = np.abs(dosages - nearest * SCALE) > NEAREST
    return np.where(far | (dosages == NO_DOSAGE), MISSING, nearest).astype(np.int8)


def are_calls(dosages: Rows) -> NDArray[np.bool_]:
    """For each variant, whether all of its dosages are whole numbers of alleles or missing.

    Example:
        >>> are_calls(encode(np.array([[0.0, 2.0], [0.0, 1.5]]))).tolist()
        [True, False]
    """
    return np.asarray(((dosages % SCALE == 0) | (dosages == NO_DOSAGE)).all(axis=1))


def pack(calls: NDArray[np.int8]) -> PackedCalls:
    """Pack calls [variants, samples] at two bits each; the last byte is filled with missing
    calls.

    Example:
        >>> calls = np.array([[0, 1, 2, 3, 0]], np.int8)
        >>> as_calls(pack(calls), 5).tolist()
        [[0, 1, 2, 3, 0]]
    """
    bits = np.full((len(calls), -(-calls.shape[1] // 4) * 4), _MISSING_BITS, np.uint8)
    bits[:, : calls.shape[1]] = _BITS[calls]
    return _in_bytes(bits)


def as_calls(rows: Rows, samples: int) -> NDArray[np.int8]:
    """Calls [variants, samples] from rows of either kind; dosages are turned into hard calls."""
    if rows.dtype == np.uint16:
        return calls_of(rows)
    return BY_BYTE[rows].reshape(len(rows), -1)[:, :samples]


def as_dosages(rows: Rows, samples: int) -> Dosages:
    """Dosages [variants, samples] from rows of either kind."""
    if rows.dtype == np.uint16:
        return rows.astype(np.uint16, copy=False)
    return _OF_BYTE[rows].reshape(len(rows), -1)[:, :samples]


def in_order(rows: Rows, samples: NDArray[np.integer[Any]]) -> Rows:
    """The same rows for other samples.

    Args:
        samples: the place of each wanted sample among the present ones; -1 for a missing genotype.

    Example:
        >>> rows = pack(np.array([[0, 1, 2]], np.int8))
        >>> as_calls(in_order(rows, np.array([2, -1])), 2).tolist()
        [[2, 3]]
    """
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
