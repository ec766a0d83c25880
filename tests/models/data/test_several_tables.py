"""Several beats tables that are read as one: every row, mixed, the same people held out."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from ecg_spark.errors import DataError
from models.data.loader import Streamed, open_beats
from models.data.reading import count_sides, read_epoch, row_groups
from models.data.split import TEST, TRAINING, VALIDATION, Split
from models.distributed import Shard
from tests.builders.archives import write_table

CPU = torch.device("cpu")
SPLIT = Split(seed=5, share=0.3, test_share=0.2)
ROWS = 400


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table whose rows are numbered in lead I, and its rows dealt out to two tables."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(1)
    signal = np.zeros((ROWS, 7200), np.float32)
    signal[:, 0] = np.arange(ROWS)
    people = rng.integers(0, 2**63 - 1, 90)
    hashes = people[rng.integers(0, len(people), ROWS)]
    whole = pa.table(
        {
            "participant_hash": hashes,
            "signal": pa.array(list(signal), pa.list_(pa.float32())),
            "flags": pa.array([["noisy"] if k % 7 == 0 else [] for k in range(ROWS)]),
        }
    )
    first = rng.random(ROWS) < 0.4
    halves = tuple(
        write_table(whole.filter(pa.array(chosen)), folder / name, 20)
        for name, chosen in (("first", first), ("second", ~first))
    )
    return write_table(whole, folder / "whole", 20), halves, first


def rows_of(batches):
    return np.concatenate([np.asarray(signals)[:, 0, 0] for signals in batches]).astype(int)


def test_every_row_of_all_tables_comes_once_an_epoch(tables):
    whole, halves, _ = tables
    assert sum(row_groups(halves)) == sum(row_groups(whole)) == ROWS
    read = rows_of(signals for signals, _ in read_epoch(halves, 3))
    np.testing.assert_array_equal(np.sort(read), np.arange(ROWS))
    again = rows_of(signals for signals, _ in read_epoch(halves, 3))
    np.testing.assert_array_equal(read, again)


def test_tables_are_on_a_store_and_on_this_machine_together(tables, bucket):
    from s3fs import S3FileSystem

    _, (first, second), _ = tables
    S3FileSystem().put(second, f"{bucket}/beats", recursive=True)
    read = rows_of(signals for signals, _ in read_epoch((first, f"{bucket}/beats"), 3))
    np.testing.assert_array_equal(np.sort(read), np.arange(ROWS))


@pytest.mark.parametrize("world", [2, 3])
def test_shards_partition_the_rows_of_all_tables(tables, world):
    _, halves, _ = tables
    shards = [
        rows_of(signals for signals, _ in read_epoch(halves, 3, Shard(rank, world)))
        for rank in range(world)
    ]
    np.testing.assert_array_equal(np.sort(np.concatenate(shards)), np.arange(ROWS))


def test_a_row_that_is_missing_in_one_of_the_tables_is_an_error(tables, monkeypatch):
    _, halves, _ = tables
    groups = row_groups(halves)
    monkeypatch.setattr("models.data.reading.row_groups", lambda path, shard: [*groups, 1])
    with pytest.raises(DataError, match=f"first with .*second gave {ROWS} rows of {ROWS + 1}"):
        list(read_epoch(halves, 1))


@pytest.mark.parametrize("room_bytes", [10**9, 0])
def test_the_same_people_are_held_out_as_of_one_table_in_any_order(tables, room_bytes):
    whole, halves, _ = tables
    expected, *found = (
        open_beats(path, SPLIT, CPU, room_bytes=room_bytes)[:2]
        for path in (whole, halves, halves[::-1])
    )
    for sides in found:
        for side, oracle in zip(sides, expected, strict=True):
            assert isinstance(side, Streamed) == (room_bytes == 0)
            assert len(side) == len(oracle)
            assert side.steps(16) == oracle.steps(16)
            assert set(rows_of(side.epoch(1, 16))) == set(rows_of(oracle.once(16)))


@pytest.mark.parametrize("room_bytes", [10**9, 0])
def test_batches_mix_the_tables(tables, room_bytes):
    _, halves, first = tables
    training = open_beats(halves, SPLIT, CPU, room_bytes=room_bytes)[0]
    batches = [first[rows_of([batch])] for batch in training.epoch(1, 32)]
    assert all(0.05 < of_first.mean() < 0.95 for of_first in batches if len(of_first) == 32)


def test_sides_are_counted_without_the_beats(tables):
    _, halves, _ = tables
    counts = [count_sides(path, SPLIT, ("noisy",)) for path in halves]
    sides = open_beats(halves, SPLIT, CPU, leave_out=("noisy",))
    assert [len(side) for side in sides[:2]] == list(np.sum(counts, axis=0)[:2])
    assert np.sum(counts) == ROWS - len(range(0, ROWS, 7))
    everyone = sum(count_sides(path, SPLIT) for path in halves)
    assert everyone[[TRAINING, VALIDATION, TEST]].sum() == ROWS
