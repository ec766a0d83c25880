"""Arrays for the page's scripts: little-endian numbers in base64, within JSON.

`unpack` of common.js reads them.
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
    """An array as int16, each of its rows (all but the first axis) in steps of its own: half the
    size of float32, and no value is off by more than 1/65,534 of the largest in its row."""
    array = np.asarray(values, float)
    largest = np.abs(array.reshape(len(array), -1)).max(axis=1, initial=0)
    step = np.where(largest > 0, largest, 1) / _LARGEST
    steps = np.rint(array / step.reshape(-1, *[1] * (array.ndim - 1))).astype("<i2")
    return {"shape": array.shape, "step": step.tolist(), "int16": _text(steps)}


def whole(values: ArrayLike) -> dict[str, Any]:
    """Whole numbers, as int16 in steps of one where they are small enough, else as int32."""
    array = np.asarray(values, "<i4")
    if array.min(initial=0) >= -_LARGEST and array.max(initial=0) <= _LARGEST:
        return {"shape": (1, array.size), "step": [1], "int16": _text(array.astype("<i2"))}
    return {"shape": array.shape, "int32": _text(array)}


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
