"""Beats for training, split by participant: kept on the device, or streamed if they do not fit."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecg_spark.ecg import BEAT_SAMPLES, INDEPENDENT_ROWS
from ecg_spark.errors import DataError
from ecg_spark.machine import free_memory
from models.data.petastorm_compat import Table
from models.data.reading import ALL, Signals, read_epoch, row_groups
from models.data.split import OWN, TEST, TRAINING, VALIDATION, Hashes, Split
from models.distributed import (
    Shard,
    all_reduce_max,
    all_reduce_sum,
    broadcast_from_rank0,
    processes_of_this_machine,
)

BYTES_PER_BEAT = 4 * len(INDEPENDENT_ROWS) * BEAT_SAMPLES
BATCHES_AHEAD = 8
"""Batches that are shuffled and copied to pinned memory in advance."""
SHUFFLE_BEATS = 16_384
"""The size of the buffer in which a streamed training set is shuffled."""


@dataclass(frozen=True)
class Resident:
    """Beats that are kept on the device and shuffled there.

    Attributes:
        beats: [n, 8, 600] in mV.
        seed: decides the order of each epoch.
        shard: which part of each batch this process takes.
    """

    beats: Tensor
    seed: int
    shard: Shard = ALL

    def __len__(self) -> int:
        return len(self.beats)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.beats) / batch_size)

    def epoch(self, number: int, batch_size: int) -> Iterator[Tensor]:
        """Yield all beats once, in an order that the seed and the epoch's number decide.

        Of several processes each gets its own part of every batch; if a batch has fewer beats than
        there are processes, that part may be empty.

        Args:
            number: the epoch, from 1.
            batch_size: beats in a batch of all processes together.
        """
        generator = torch.Generator().manual_seed(self.seed + number)
        order = torch.randperm(len(self.beats), generator=generator)
        for rows in order.to(self.beats.device).split(batch_size):
            yield self.beats[self.shard.own(rows)]

    def once(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all beats exactly once over all processes."""
        yield from map(self.shard.own, self.beats.split(batch_size))

    def sample(self, at_most: int) -> Signals:
        """Return up to `at_most` beats in main memory: the first, whose order means nothing."""
        return self.beats[:at_most].cpu().numpy()


@dataclass(frozen=True)
class Streamed:
    """Beats that are read again in every epoch, shuffled within a buffer of `SHUFFLE_BEATS`.

    Attributes:
        path: the table.
        split: who is held out.
        side: which side of the split these beats are on.
        n: how many beats all processes have together.
        most: how many the process with the most beats has.
        device: where batches are sent.
        shard: whose row groups this process reads.
        leave_out: beats with one of these flags are not used.
    """

    path: Table
    split: Split
    side: int
    n: int
    most: int
    device: torch.device
    shard: Shard = ALL
    leave_out: Sequence[str] = ()

    def __len__(self) -> int:
        return self.n

    def steps(self, batch_size: int) -> int:
        """Return the number of batches in an epoch, the same for every process."""
        return math.ceil(self.most / (batch_size // self.shard.world))

    def _read(self, seed: int) -> Generator[Signals]:
        def wanted(hashes: Hashes) -> NDArray[np.bool_]:
            return np.asarray(self.split.side(hashes) == self.side)

        for signals, _ in read_epoch(self.path, seed, self.shard, wanted, self.leave_out):
            if len(signals):
                yield signals

    def epoch(self, number: int, batch_size: int) -> Iterator[Tensor]:
        """Yield all beats once, in an order that the seed and the epoch's number decide.

        Of several processes each gets the beats of its row groups; one that has fewer than another
        starts again from the beginning.

        Args:
            number: the epoch, from 1.
            batch_size: beats in a batch of all processes together.
        """
        with ahead(self._steps(number, batch_size)) as batches:
            for batch in batches:
                yield batch.to(self.device, non_blocking=True)

    def _steps(self, number: int, batch_size: int) -> Generator[Tensor]:
        left, own = self.steps(batch_size), self.shard.part(batch_size)
        while left:
            for batch in self._pass(number, own):
                yield batch
                left -= 1
                if not left:
                    return

    def _pass(self, number: int, batch_size: int) -> Generator[Tensor]:
        """Yield the beats once, from random places of a full buffer that the next beats take."""
        random = np.random.default_rng([self.split.seed, number])
        size = max(SHUFFLE_BEATS, batch_size)
        held = np.empty((size, len(INDEPENDENT_ROWS), BEAT_SAMPLES), np.float32)
        filled, waiting = 0, held[:0]
        with closing(self._read(self.split.seed + number)) as groups:
            for group in groups:
                fits = min(size - filled, len(group))
                held[filled : filled + fits] = group[:fits]
                filled += fits
                waiting = np.concatenate([waiting, group[fits:]])
                while len(waiting) >= batch_size:
                    places = random.choice(size, batch_size, replace=False)
                    yield self._pinned(held[places])
                    held[places], waiting = waiting[:batch_size], waiting[batch_size:]
        left = np.concatenate([np.arange(filled), -1 - np.arange(len(waiting))])
        random.shuffle(left)
        for start in range(0, len(left), batch_size):
            places = left[start : start + batch_size]
            batch = held[np.maximum(places, 0)]
            batch[places < 0] = waiting[-1 - places[places < 0]]
            yield self._pinned(batch)

    def once(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all beats exactly once over all processes."""
        with closing(self._read(self.split.seed)) as groups:
            for group in groups:
                for start in range(0, len(group), batch_size):
                    batch = self._pinned(group[start : start + batch_size])
                    yield batch.to(self.device, non_blocking=True)

    def _pinned(self, beats: Signals) -> Tensor:
        """Return beats in pinned memory, from which a GPU copies while it computes."""
        batch = torch.from_numpy(beats)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def sample(self, at_most: int) -> Signals:
        """Return up to `at_most` beats in the main memory: the first of a shuffled epoch."""
        found: list[Signals] = []
        with closing(self._read(self.split.seed)) as groups:
            for group in groups:
                found.append(group)
                if sum(map(len, found)) >= at_most:
                    break
        return np.concatenate(found)[:at_most]


Beats = Resident | Streamed


@contextmanager
def ahead(values: Generator[Tensor]) -> Iterator[Iterator[Tensor]]:
    """Let a thread compute the next values of a generator while earlier ones are being used.

    An error of the generator is raised in place of the value.
    """
    drawn: Queue[Tensor | BaseException | None] = Queue(BATCHES_AHEAD)
    over = Event()

    def put(value: Tensor | BaseException | None) -> None:
        while not over.is_set():
            with suppress(Full):
                return drawn.put(value, timeout=0.1)

    def draw() -> None:
        try:
            with closing(values):
                for value in values:
                    put(value)
                    if over.is_set():
                        return
            put(None)
        except BaseException as error:  # raised in place of the value, in `given`
            put(error)

    def given() -> Iterator[Tensor]:
        while (value := drawn.get()) is not None:
            if isinstance(value, BaseException):
                raise value
            yield value

    thread = Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        over.set()
        thread.join()


def open_beats(
    path: Table,
    split: Split,
    device: torch.device,
    shard: Shard = ALL,
    room_bytes: int | None = None,
    leave_out: Sequence[str] = (),
) -> tuple[Beats, Beats, Beats]:
    """Return beats by participant: for training, for validation, and of the fold's own people.

    Each beat is read once and kept on the device if all of them take at most `room_bytes`;
    otherwise each process streams its row groups in every epoch. With one fold the last of the
    three is the second: the beats for validation.

    Args:
        path: one table, or several that are read as one. People are told apart by their hashes: if
            each table's are keyed by a secret of its own, a person in two tables counts as two
            people.
        split: who is held out; beats of people held out for the test are in none of the three.
        device: where the beats are kept or sent.
        shard: which part of them this process takes.
        room_bytes: None takes a third of the device's free memory, which on a CPU is shared by the
            processes of the machine.
        leave_out: beats with one of these flags are not used.

    Raises:
        DataError: a side of the split is empty, possibly for one process only.
    """
    if room_bytes is None:
        sharing = 1 if device.type == "cuda" else processes_of_this_machine(shard)
        room_bytes = _free_bytes(device) // 3 // sharing
    fits = broadcast_from_rank0(sum(row_groups(path)) * BYTES_PER_BEAT <= room_bytes)
    sides = (TRAINING, VALIDATION) if split.folds == 1 else (TRAINING, VALIDATION, OWN)
    kept: list[list[Tensor]] = [[] for _ in sides]
    own, tested = [0 for _ in sides], 0
    reading = ALL if fits else shard
    for signals, hashes in read_epoch(path, split.seed, reading, leave_out=leave_out):
        side_of_row = split.side(hashes)
        tested += int((side_of_row == TEST).sum())
        for side in sides:
            rows = side_of_row == side
            own[side] += int(rows.sum())
            if fits:
                kept[side].append(torch.from_numpy(signals[rows]).to(device))
    if min(own) == 0:
        names = ("for training", "for validation", "in the fold")
        counts = ", ".join(f"{n} {name}" for n, name in zip(own, names, strict=False))
        flagged = f" without a flag of beats.leave_out ({', '.join(leave_out)})"
        raise DataError(
            f"Of {sum(own)} beats{flagged if leave_out else ''}, {counts} are left: none may be "
            f"empty; add participants or change model.validation_share, model.folds or "
            f"beats.leave_out."
        )
    everywhere = tested if fits else int(all_reduce_sum(torch.tensor(tested, device=device)))
    if split.test_share and not everywhere:
        raise _nobody_to_test()
    opened: list[Beats]
    if fits:
        opened = [Resident(torch.cat(side), split.seed, shard) for side in kept]
    else:
        n = all_reduce_sum(torch.tensor(own, device=device)).tolist()
        most = [all_reduce_max(count, device) for count in own]
        opened = [
            Streamed(path, split, side, n[side], most[side], device, shard, leave_out)
            for side in sides
        ]
    return opened[TRAINING], opened[VALIDATION], opened[-1]


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()


def beats_of_the_test(
    path: Table, split: Split, at_most: int, leave_out: Sequence[str] = ()
) -> tuple[Signals, Hashes]:
    """Return beats of people who were held out of all training, and their participants' hashes.

    Args:
        path: the table.
        split: who is held out.
        at_most: how many beats are returned at most.
        leave_out: beats with one of these flags are not used.

    Returns:
        Beats [n, 8, 600] in mV and hashes [n].

    Raises:
        DataError: there is none.
    """

    def wanted(hashes: Hashes) -> NDArray[np.bool_]:
        return np.asarray(split.side(hashes) == TEST)

    signals: list[Signals] = []
    whose: list[Hashes] = []
    with closing(read_epoch(path, split.seed, ALL, wanted, leave_out)) as groups:
        for group, hashes in groups:
            signals.append(group)
            whose.append(hashes)
            if sum(map(len, whose)) >= at_most:
                break
    if not sum(map(len, whose)):
        raise _nobody_to_test()
    return np.concatenate(signals)[:at_most], np.concatenate(whose)[:at_most]


def _nobody_to_test() -> DataError:
    return DataError(
        "No beat is left to test the model on: add participants, or raise model.test_share."
    )
