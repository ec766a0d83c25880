"""Beats for training: the table through Petastorm, split by participant, every row counted.

The columns read are `signal` (7,200 floats: 12 leads x 600 samples in C order, mV) and
`participant_hash`. Only the eight independent leads are kept: a beat is float32 [8, 600] in mV.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecg_spark.ecg import BEAT_SAMPLES, INDEPENDENT_LEADS, LEADS
from ecg_spark.errors import DataError
from models.petastorm_compat import batch_reader, parquet_files, table_files

INDEPENDENT = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
BYTES_PER_BEAT = 4 * len(INDEPENDENT) * BEAT_SAMPLES
SHUFFLE_BEATS = 16_384
"""Beats that are held and mixed at a time where the training set is streamed."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Signals = NDArray[np.float32]
Hashes = NDArray[np.int64]


def count_rows(path: str) -> int:
    """Rows of a table by its Parquet footers. Raises `DataError` where there is no file or row."""
    files = table_files(path)
    rows = 0
    for name in parquet_files(files):
        with files.open(name) as file:
            rows += pq.read_metadata(file).num_rows
    if not rows:
        raise DataError(f"The beats table {path} holds no row: run the average step again.")
    return rows


def read_epoch(path: str, seed: int, *, shuffle: bool = True) -> Iterator[tuple[Signals, Hashes]]:
    """Every beat of the table once: signals [n, 8, 600] in mV and participant hashes [n].

    One Petastorm reader an epoch, one row group at a time; equal seeds (1 or more) give an equal
    order. Raises `DataError` where the rows read are not those that the footers announce, or a
    signal is not 12 x 600 finite values.
    """
    expected, rows = count_rows(path), 0
    reader = batch_reader(
        path,
        ("signal", "participant_hash"),
        seed=seed,
        shuffle_row_groups=shuffle,
        shuffle_rows=shuffle,
        workers_count=1,  # with more, the order of an epoch is a race
        num_epochs=1,
    )
    with reader:
        for batch in reader:
            signal = np.asarray(batch.signal, np.float32)
            if signal.shape[1] != len(LEADS) * BEAT_SAMPLES or not np.isfinite(signal).all():
                raise DataError(
                    f"The beats table {path} holds a signal that is not {len(LEADS)} x "
                    f"{BEAT_SAMPLES} finite values: run the average step again."
                )
            rows += len(signal)
            signal = signal.reshape(-1, len(LEADS), BEAT_SAMPLES)[:, INDEPENDENT]
            yield np.ascontiguousarray(signal), np.asarray(batch.participant_hash, np.int64)
    if rows != expected:
        raise DataError(
            f"An epoch over the beats table {path} gave {rows} rows of {expected}: "
            f"it changed while it was read, or its files are damaged."
        )


def is_held_out(hashes: Hashes, seed: int, share: float) -> NDArray[np.bool_]:
    """Which rows are of held-out participants: all rows of a person, or none.

    The hash and the seed are mixed by splitmix64 (Steele et al., OOPSLA 2014) into a number that
    is uniform in [0, 1); those below `share` are held out.
    """
    with np.errstate(over="ignore"):
        x = hashes.astype(np.int64).view(np.uint64) + np.uint64(seed) * np.uint64(
            0x9E3779B97F4A7C15
        )
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53 < share


@dataclass(frozen=True)
class Resident:
    """Beats that are kept on the device, [n, 8, 600], and shuffled there."""

    beats: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.beats)

    def epoch(self, number: int, batch_size: int) -> Iterator[Tensor]:
        """All beats once, in an order that the seed and the epoch's number decide."""
        generator = torch.Generator().manual_seed(self.seed + number)
        order = torch.randperm(len(self.beats), generator=generator).to(self.beats.device)
        for rows in order.split(batch_size):
            yield self.beats[rows]

    def sample(self, at_most: int) -> Signals:
        """Up to so many beats in memory: the first, which are in no order of their own."""
        return self.beats[:at_most].cpu().numpy()


@dataclass(frozen=True)
class Streamed:
    """Beats that are read anew every epoch, mixed within a buffer of `SHUFFLE_BEATS`."""

    path: str
    seed: int
    share: float
    held_out: bool
    n: int
    device: torch.device

    def __len__(self) -> int:
        return self.n

    def _read(self, seed: int) -> Iterator[Signals]:
        for signals, hashes in read_epoch(self.path, seed):
            kept = signals[is_held_out(hashes, self.seed, self.share) == self.held_out]
            if len(kept):
                yield kept

    def epoch(self, number: int, batch_size: int) -> Iterator[Tensor]:
        """All beats once, in an order that the seed and the epoch's number decide."""
        random = np.random.default_rng([self.seed, number])
        held: list[Signals] = []
        with closing(self._read(self.seed + number)) as groups:
            for group in groups:
                held.append(group)
                if sum(map(len, held)) >= SHUFFLE_BEATS:
                    mixed = random.permutation(np.concatenate(held))
                    whole = len(mixed) // 2 // batch_size * batch_size  # the rest mixes on
                    yield from self._batches(mixed[:whole], batch_size)
                    held = [mixed[whole:]]
        yield from self._batches(random.permutation(np.concatenate(held)), batch_size)

    def _batches(self, beats: Signals, batch_size: int) -> Iterator[Tensor]:
        for start in range(0, len(beats), batch_size):
            yield torch.from_numpy(beats[start : start + batch_size]).to(self.device)

    def sample(self, at_most: int) -> Signals:
        """Up to so many beats in memory: the first of a shuffled epoch."""
        found: list[Signals] = []
        with closing(self._read(self.seed)) as groups:
            for group in groups:
                found.append(group)
                if sum(map(len, found)) >= at_most:
                    break
        return np.concatenate(found)[:at_most]


Beats = Resident | Streamed


def open_beats(
    path: str, seed: int, share: float, device: torch.device, room_bytes: int | None = None
) -> tuple[Beats, Beats]:
    """Training and held-out beats of a table, split by participant.

    They are read once and kept on the device where they take at most `room_bytes`, by default a
    third of its free memory; else they are streamed every epoch. Raises `DataError` where either
    side of the split is empty.
    """
    if room_bytes is None:
        room_bytes = _free_bytes(device) // 3
    fits = count_rows(path) * BYTES_PER_BEAT <= room_bytes
    kept: tuple[list[Signals], list[Signals]] = ([], [])
    counts = [0, 0]
    for signals, hashes in read_epoch(path, seed):
        held_out = is_held_out(hashes, seed, share)
        for side, rows in enumerate((~held_out, held_out)):
            counts[side] += int(rows.sum())
            if fits:
                kept[side].append(signals[rows])
    if min(counts) == 0:
        raise DataError(
            f"Of {sum(counts)} beats, {counts[0]} are left for training and {counts[1]} held out: "
            f"both are needed; add participants or change model.validation_share."
        )
    if fits:
        training, validation = (
            Resident(torch.from_numpy(np.concatenate(side)).to(device), seed) for side in kept
        )
        return training, validation
    training, validation = (
        Streamed(path, seed, share, held_out, counts[held_out], device)
        for held_out in (False, True)
    )
    return training, validation


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
