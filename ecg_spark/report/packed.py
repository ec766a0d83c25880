"""Arrays for the scripts of the page: little-endian numbers in base64, within JSON.

`unpack` in common.js reads them.
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_LARGEST = 32_767


def exact(values: ArrayLike) -> dict[str, Any]:
    """An array as float32."""
    array = np.asarray(values, "<f4")
    return {"shape": array.shape, "float32": _text(array)}


def rounded(values: ArrayLike) -> dict[str, Any]:
    """An array as int16, half the size of float32.

    Each row (all axes but the first) has its own step, so that no value is off by more than
    1/65,534 of the largest in its row.

    Example:
        >>> packed = rounded([[0.0, 0.5, 1.0]])
        >>> packed["shape"], [round(32_767 * one, 6) for one in packed["step"]]
        ((1, 3), [1.0])
    """
    array = np.asarray(values, float)
    largest = np.abs(array.reshape(len(array), -1)).max(axis=1, initial=0)
    step = np.where(largest > 0, largest, 1) / _LARGEST
    steps = np.rint(array / step.reshape(-1, *[1] * (array.ndim - 1))).astype("<i2")
    return {"shape": array.shape, "step": step.tolist(), "int16": _text(steps)}


def whole(values: ArrayLike) -> dict[str, Any]:
    """Integers as int16 if they are small enough, else as int32.

    Example:
        >>> whole([1, 2])["shape"], "int32" in whole([100_000])
        ((1, 2), True)
    """
    array = np.asarray(values, "<i4")
    if array.min(initial=0) >= -_LARGEST and array.max(initial=0) <= _LARGEST:
        return {"shape": (1, array.size), "step": [1], "int16": _text(array.astype("<i2"))}
    return {"shape": array.shape, "int32": _text(array)}


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
