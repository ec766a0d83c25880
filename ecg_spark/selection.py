"""Which recordings are used for training, encoding and traits, and how a person's are averaged.

The tables `beats` and `traits` hold every recording that has a beat, so that `beats.leave_out` can
change without averaging again. All code that reads them for training, encoding, traits or the
report asks here which rows are used: those that have none of the flags. The rule is written twice,
for Spark and for Arrow, and nowhere else.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def left_out_for(leave_out: Sequence[str]) -> Column:
    """Return a column: the flag for which a row is left out, the first of `leave_out` that it has.

    The column is null for rows that are used.
    """
    carried = [F.when(F.array_contains("flags", flag), F.lit(flag)) for flag in leave_out]
    return F.coalesce(*carried, F.lit(None).cast("string"))


def used_rows(rows: DataFrame, leave_out: Sequence[str]) -> DataFrame:
    """Return the rows of a table with a column `flags` that have none of the given flags.

    Args:
        rows: the table `beats` or `traits`.
        leave_out: the flags that exclude a recording.
    """
    return rows.where(left_out_for(leave_out).isNull())


def is_used(flags: pa.Array | pa.ChunkedArray, leave_out: Sequence[str]) -> NDArray[np.bool_]:
    """Return for each row whether it has none of the flags that exclude a recording.

    Args:
        flags: a list of strings per row, [n].
        leave_out: the flags that exclude a recording.

    Example:
        >>> is_used(pa.array([[], ["noisy"], ["few_beats"]]), ["noisy", "paced"]).tolist()
        [True, False, True]
    """
    if isinstance(flags, pa.ChunkedArray):
        flags = flags.combine_chunks()
    carried = pc.is_in(flags.flatten(), value_set=pa.array(list(leave_out), pa.string()))
    rows = np.repeat(np.arange(len(flags)), np.diff(flags.offsets.to_numpy()))
    used = np.ones(len(flags), bool)
    used[rows[carried.to_numpy(zero_copy_only=False)]] = False
    return used


def weighted_mean(value: Column) -> Column:
    """Return an aggregate: the mean of a value, weighted by the column `weight`, ignoring nulls."""
    weight = F.when(value.isNotNull(), F.col("weight"))
    return F.sum(weight * value) / F.sum(weight)


def weighted_direction(degrees: Column) -> Column:
    """Return an aggregate: the circular mean in degrees, -180 to 180, weighted by `weight`.

    Two axes of 170 and -170 degrees are 20 degrees apart; their mean is 180, not 0.
    """
    x, y = (weighted_mean(part(F.radians(degrees))) for part in (F.cos, F.sin))
    return F.degrees(F.atan2(y, x))
