"""Reads the table of beats through Petastorm, every row counted.

The columns that are read are `signal` (7,200 floats: 12 leads x 600 samples in C order, in mV),
`participant_hash` and, if recordings with some flags are left out, `flags`. Only the eight
independent leads are kept: a beat is float32 [8, 600] in mV.
"""

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecg_spark.ecg import BEAT_SAMPLES, INDEPENDENT_ROWS, LEADS
from ecg_spark.errors import DataError
from ecg_spark.selection import is_used
from models.data.petastorm_compat import Table, TableFiles, batch_reader
from models.data.split import Hashes, Split
from models.distributed import Shard

ALL = Shard()
"""One process that reads everything."""

READERS, READ_AHEAD = 2, 8
"""Readers of an epoch, and how many row groups (of 8 MiB) each decodes in advance."""

Signals = NDArray[np.float32]
Wanted = Callable[[Hashes], NDArray[np.bool_]]


def row_groups(path: Table, shard: Shard = ALL) -> list[int]:
    """Return the number of rows of each row group of a table, by the Parquet footers.

    Args:
        path: the table.
        shard: whose row groups are counted.

    Raises:
        DataError: there is no file or no row, or a process would have no row group.
    """
    files = TableFiles(path)
    groups: list[int] = []
    for name in files.names():
        with pq.ParquetFile(files.source(name)) as file:
            footer = file.metadata
        groups += [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    if not sum(groups):
        raise DataError(f"The beats table {_shown(path)} holds no row: run the average step again.")
    if len(groups) < shard.world:
        raise DataError(
            f"The beats table {_shown(path)} has {len(groups)} row groups, fewer than the "
            f"{shard.world} training processes: start fewer."
        )
    return groups[shard.rank :: shard.world]


def read_epoch(
    path: Table,
    seed: int,
    shard: Shard = ALL,
    wanted: Wanted | None = None,
    leave_out: Sequence[str] = (),
) -> Generator[tuple[Signals, Hashes]]:
    """Yield every beat of a table once, one row group at a time, in an order that the seed decides.

    Both the row groups and the rows within each are shuffled; equal seeds give an equal order.
    Several tables are read as one, with their row groups mixed.

    Args:
        path: the table.
        seed: 1 or more.
        shard: whose row groups are read.
        wanted: returns for participant hashes [n] which rows are used; None uses all.
        leave_out: rows with one of these flags are not used.

    Yields:
        Signals [n, 8, 600] in mV and participant hashes [n].

    Raises:
        DataError: the number of rows differs from what the footers say, or a signal does not
            consist of 12 x 600 finite values.
    """
    groups, rows, random = row_groups(path, shard), 0, np.random.default_rng(seed)
    columns = ("signal", "participant_hash", *(["flags"] if leave_out else []))
    with _in_turn(path, columns, seed, shard, min(READERS, len(groups))) as batches:
        for batch in batches:
            signal, hashes = np.asarray(batch.signal, np.float32), batch.participant_hash
            # A sum is finite if all its terms are, and takes a tenth of the time of testing each.
            if signal.shape[1] != len(LEADS) * BEAT_SAMPLES or not np.isfinite(signal.sum()):
                raise DataError(
                    f"The beats table {_shown(path)} holds a signal that is not {len(LEADS)} x "
                    f"{BEAT_SAMPLES} finite values: run the average step again."
                )
            rows += len(signal)
            order = random.permutation(len(signal))
            if leave_out:
                order = order[is_used(batch.flags, leave_out)[order]]
            if wanted is not None:
                order = order[wanted(hashes[order])]
            signal = signal.reshape(-1, len(LEADS), BEAT_SAMPLES)
            yield signal[order[:, None], INDEPENDENT_ROWS], hashes[order]
    if rows != sum(groups):
        raise DataError(
            f"An epoch over the beats table {_shown(path)} gave {rows} rows of {sum(groups)}: "
            f"it changed while it was read, or its files are damaged."
        )


def _shown(path: Table) -> str:
    """Return a table, or several, as messages name them."""
    return path if isinstance(path, str) else " with ".join(path)


@contextmanager
def _in_turn(
    path: Table, columns: Sequence[str], seed: int, shard: Shard, readers: int
) -> Iterator[Iterator[Any]]:
    """Read a shard's row groups with several Petastorm readers, one row group from each in turn.

    A single reader with several workers would return them in the order in which they happen to be
    ready.
    """
    with ExitStack() as stack:
        opened = [
            stack.enter_context(
                batch_reader(
                    path,
                    columns,
                    seed=seed,
                    shuffle_row_groups=True,
                    shuffle_rows=False,  # `read_epoch` does it, in the copy that picks the leads
                    workers_count=1,
                    results_queue_size=READ_AHEAD,
                    num_epochs=1,
                    cur_shard=shard.rank + shard.world * number,
                    shard_count=shard.world * readers,
                )
            )
            for number in range(readers)
        ]
        turns = itertools.zip_longest(*opened)
        yield (batch for turn in turns for batch in turn if batch is not None)


def count_sides(path: str, split: Split, leave_out: Sequence[str] = ()) -> NDArray[np.int64]:
    """Return how many beats of a table are on each side of a split, without reading the beats.

    Args:
        path: the table.
        split: who is held out.
        leave_out: beats with one of these flags are not counted.

    Returns:
        [4], by the numbers TRAINING, VALIDATION, OWN and TEST.
    """
    found = np.zeros(4, np.int64)
    columns = ("participant_hash", *(["flags"] if leave_out else []))
    with _in_turn(path, columns, split.seed, ALL, readers=1) as batches:
        for batch in batches:
            side = split.side(batch.participant_hash)
            if leave_out:
                side = side[is_used(batch.flags, leave_out)]
            found += np.bincount(side, minlength=len(found))
    return found
