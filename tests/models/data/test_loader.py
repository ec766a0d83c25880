"""The Petastorm loader against pyarrow: every row of every epoch, repeatable, split by person."""

import json
import shutil
from pathlib import Path
from threading import active_count

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from s3fs import S3FileSystem

from ecg_spark.ecg.recording import INDEPENDENT_LEADS, LEADS
from ecg_spark.errors import DataError
from ecg_spark.study import Model
from models.data.loader import Streamed, ahead, beats_of_the_test, open_beats
from models.data.petastorm_compat import OPEN_FILES
from models.data.reading import READERS, read_epoch, row_groups
from models.data.split import OWN, TRAINING, VALIDATION, Split, fold_of, of_the_test
from models.distributed import Shard
from models.training.checkpoint import Checkpoints
from models.training.fitting import Trainer

CPU = torch.device("cpu")
SPLIT = Split(seed=5, share=0.3)
INDEPENDENT = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


def beats_table(people, rows, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(-(2**63), 2**63 - 1, people)
    signal = rng.standard_normal((rows, 7200)).astype(np.float32)
    signal[:, 0] = np.arange(rows)  # lead I's first sample names the row
    return pa.table(
        {
            "ecg_id": [f"{k:064x}" for k in range(rows)],
            "participant_hash": ids[rng.integers(0, people, rows)],
            "signal": pa.FixedSizeListArray.from_arrays(signal.ravel(), 7200).cast(
                pa.list_(pa.float32())
            ),
            "flags": pa.array([["noisy"]] * rows),
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A published folder as Spark leaves it: several files and row groups, other files beside."""
    folder = tmp_path_factory.mktemp("a table #1?")  # characters that mean something in a URL
    beats = beats_table(people=70, rows=230)
    pq.write_table(beats.slice(0, 150), folder / "part-0.parquet", row_group_size=40)
    pq.write_table(beats.slice(150), folder / "part-1.parquet", row_group_size=33)
    (folder / "_SUCCESS").touch()
    (folder / ".part-1.parquet.crc").write_bytes(b"crc")
    return folder


def rows_of(batches):
    return np.concatenate([np.asarray(signals)[:, 0, 0] for signals in batches]).astype(int)


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_an_epoch_is_every_row_as_pyarrow_reads_it(table, seed):
    signals, hashes = (
        np.concatenate(part) for part in zip(*read_epoch(str(table), seed), strict=True)
    )
    oracle = ds.dataset([str(file) for file in sorted(table.glob("*.parquet"))]).to_table()
    expected = np.array(oracle["signal"].to_pylist(), np.float32).reshape(-1, 12, 600)
    order = np.argsort(signals[:, 0, 0])
    np.testing.assert_array_equal(signals[order], expected[:, INDEPENDENT])
    np.testing.assert_array_equal(hashes[order], oracle["participant_hash"].to_numpy())


def test_a_table_on_a_store_is_read_as_one_on_this_machine(table, bucket):
    files = S3FileSystem()
    for path in table.iterdir():
        files.put_file(str(path), f"{bucket}/beats/{path.name}")
    here, there = (list(read_epoch(place, seed=3)) for place in (str(table), f"{bucket}/beats"))
    assert len(here) == len(there)
    for (signals, people), (signals_there, people_there) in zip(here, there, strict=True):
        np.testing.assert_array_equal(signals, signals_there)
        np.testing.assert_array_equal(people, people_there)


def test_the_order_follows_from_the_seed(table):
    first, again, other = (rows_of(s for s, _ in read_epoch(str(table), k)) for k in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (np.diff(first[:33]) != 1).any()  # rows are shuffled within a row group


def test_epoch_with_a_missing_row_is_an_error(table, monkeypatch):
    monkeypatch.setattr(
        "models.data.reading.row_groups", lambda path, shard: [*row_groups(path), 1]
    )
    with pytest.raises(DataError, match="230 rows of 231"):
        list(read_epoch(str(table), 1))


@pytest.mark.parametrize("world", [2, 3])
def test_shards_partition_the_rows(table, world):
    shards = [
        rows_of(signals for signals, _ in read_epoch(str(table), 3, Shard(rank, world)))
        for rank in range(world)
    ]
    np.testing.assert_array_equal(np.sort(np.concatenate(shards)), np.arange(230))
    assert len({len(rows) for rows in shards}) > 1  # 4 row groups of 40 or less, 3 of 33 or less


def test_more_processes_than_row_groups_are_refused(table):
    with pytest.raises(DataError, match="7 row groups, fewer than the 8 training processes"):
        list(read_epoch(str(table), 1, Shard(0, 8)))


def test_every_process_takes_as_many_batches_from_memory(table):
    """Together they have the batches of a process that is alone, also a last one of a beat."""
    alone = open_beats(str(table), SPLIT, CPU)[0]
    parts = [open_beats(str(table), SPLIT, CPU, Shard(rank, 3))[0] for rank in range(3)]
    for size in (16, len(alone) - 1):
        for read in (lambda beats, n=size: beats.epoch(1, n), lambda beats, n=size: beats.once(n)):
            batches = list(zip(*(read(part) for part in parts), strict=True))
            assert len(batches) == alone.steps(size)
            for whole, own in zip(read(alone), batches, strict=True):
                assert sorted(rows_of(own)) == sorted(rows_of([whole]))


def test_every_process_takes_as_many_batches_from_a_stream(table):
    """The process with fewer beats in its row groups begins again."""
    own = []
    for rank in range(3):
        groups = read_epoch(str(table), 1, Shard(rank, 3))
        own.append(sum(int((SPLIT.side(hashes) == TRAINING).sum()) for _, hashes in groups))
    assert -(-min(own) // 4) < -(-max(own) // 4)
    steps = -(-max(own) // 4)
    for rank, n in enumerate(own):
        shard = Shard(rank, 3)
        part = Streamed(str(table), SPLIT, TRAINING, sum(own), max(own), CPU, shard)
        assert len(list(part.epoch(1, 12))) == part.steps(12) == steps
        assert len(set(rows_of(part.epoch(1, 12)))) == n
        assert len(rows_of(part.once(16))) == n


TOGETHER = """
import json
import sys
from pathlib import Path

import torch
from ecg_spark.study import Model
from models.training.checkpoint import Checkpoints
from models.training.fitting import Trainer
from models.data.loader import open_beats
from models.distributed import all_reduce_sum, broadcast_from_rank0, processes
from models.data.split import Split

settings = Model(latents=3, channels=4, epochs=2, batch_size=16)
cpu = torch.device("cpu")
room, folder, *tables = sys.argv[1:]
path = tables[0] if len(tables) == 1 else tuple(tables)
with processes(cpu) as shard:
    training, held_out, _ = open_beats(path, Split(5, 0.3), cpu, shard, int(room))
    trainer = Trainer(training, settings, 5, cpu, None)
    losses = []
    for metrics in trainer.epochs(held_out):
        losses.append(metrics["val/loss"])
        if shard.rank == 0 and len(losses) == 1:
            Checkpoints(folder).save(trainer.state("", "", "", 0), now=True)
    weights = torch.cat([value.flatten() for value in trainer.result().state_dict().values()])
    mean = all_reduce_sum(weights.clone()) / shard.world
    assert shard.world == 2
    assert torch.equal(mean, weights), "the processes' weights differ"
    alone = Checkpoints(folder + "/alone").load(0) if shard.rank == 0 else None
    resumed = Trainer(training, settings, 5, cpu, broadcast_from_rank0(alone))
    losses += [metrics["val/loss"] for metrics in resumed.epochs(held_out)]
    Path(folder, f"{shard.rank}.json").write_text(json.dumps(losses))
"""


@pytest.mark.parametrize(
    ("room_bytes", "tables"), [(10**9, ["."]), (0, ["."]), (0, ["part-0", "part-1"])]
)
def test_two_processes_train_as_one_does_and_resume_its_training(
    table, tmp_path, torchrun, room_bytes, tables
):
    """From memory to rounding; from a stream the batches are others, as the row groups are.

    Several tables, here files of one, are those of several archives.
    """
    places = [str(table)]
    if len(tables) > 1:
        places = [str(tmp_path / name) for name in tables]
        for place in map(Path, places):
            place.mkdir()
            shutil.copy(table / f"{place.name}.parquet", place)
    path = places[0] if len(places) == 1 else tuple(places)
    sides = open_beats(path, Split(5, 0.3), CPU, room_bytes=room_bytes)

    def train(before):
        one = Trainer(
            sides[0], Model(latents=3, channels=4, epochs=2, batch_size=16), 5, CPU, before
        )
        for metrics in one.epochs(sides[1]):
            if len(one.history) == 1:
                Checkpoints(f"{tmp_path}/alone").save(one.state("", "", "", 0), now=True)
            yield metrics["val/loss"]

    alone = list(train(None))
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    answer = torchrun(script, room_bytes, tmp_path, *places)
    assert answer.returncode == 0, answer.stderr[-2000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1]
    expected = [*alone, alone[1]]  # the last of two processes that went on for one
    assert found[0] == pytest.approx(expected, rel=0.05 if room_bytes == 0 else 1e-4)
    before = Checkpoints(str(tmp_path)).load(0)  # of two
    assert before is not None
    assert list(train(before)) == pytest.approx(alone[1:], rel=0.05 if room_bytes == 0 else 1e-4)


def test_few_files_of_a_reader_are_open_at_a_time(tmp_path):
    """Whatever the number of files; every row comes, and the reader's end closes the rest."""
    for number in range(150):
        part = beats_table(people=2, rows=2, seed=number)
        pq.write_table(part, tmp_path / f"part-{number:03}.parquet", row_group_size=1)
    here, rows, most = str(tmp_path), 0, 0
    for signals, _ in read_epoch(here, 1):
        found = [file.path for file in psutil.Process().open_files() if file.path.startswith(here)]
        rows, most = rows + len(signals), max(most, len(found))
    assert rows == 300
    assert 0 < most < 4 * READERS * OPEN_FILES


def test_a_batch_that_processes_cannot_share_is_refused(table):
    training, _, _ = open_beats(str(table), SPLIT, CPU, Shard(0, 3))
    with pytest.raises(DataError, match="cannot be divided among the 3 training processes"):
        Trainer(training, Model(latents=3, batch_size=2), 5, CPU, None)


def test_an_error_while_reading_ahead_is_raised_in_place_of_the_batch(table):
    def values():
        yield torch.zeros(1)
        raise DataError("the table changed")

    with ahead(values()) as batches:
        assert len(next(batches)) == 1
        with pytest.raises(DataError, match="the table changed"):
            next(batches)
    stream = open_beats(str(table), SPLIT, CPU, room_bytes=0)[0]
    before = active_count()
    epoch = stream.epoch(1, 4)
    next(epoch)
    epoch.close()  # readers and threads end with an epoch that is left early
    assert active_count() <= before


def test_a_signal_of_another_length_is_refused(tmp_path):
    short = pa.table({"participant_hash": [1, 2], "signal": pa.array([[0.0] * 600] * 2)})
    pq.write_table(short, tmp_path / "part.parquet")
    with pytest.raises(DataError, match="12 x 600"):
        list(read_epoch(str(tmp_path), 1))


@pytest.mark.parametrize("values", [[[0.0] * 7200, [0.0] * 7199], [[0.0] * 7200, [np.nan] * 7200]])
def test_ragged_and_missing_values_are_refused(tmp_path, values):
    bad = pa.table({"participant_hash": [1, 2], "signal": pa.array(values, pa.list_(pa.float32()))})
    pq.write_table(bad, tmp_path / "part.parquet")
    with pytest.raises(DataError, match=r"different lengths|finite values"):
        list(read_epoch(str(tmp_path), 1))


def test_an_empty_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="no row"):
        row_groups(str(tmp_path))


def test_all_beats_of_a_participant_are_on_one_side_of_the_split(table):
    training, held_out, _ = open_beats(str(table), SPLIT, CPU)
    people = np.asarray(ds.dataset(table / "part-0.parquet").to_table()["participant_hash"])
    people = np.r_[people, ds.dataset(table / "part-1.parquet").to_table()["participant_hash"]]
    inside, outside = (rows_of(side.epoch(1, 64)) for side in (training, held_out))
    assert sorted([*inside, *outside]) == list(range(230))
    assert not set(people[inside]) & set(people[outside])
    assert 0.1 < len(outside) / 230 < 0.5


@settings(max_examples=50, deadline=None)
@given(
    hashes=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    seed=st.integers(1, 2**31),
    share=st.floats(0, 1),
)
def test_the_split_depends_on_person_and_seed_alone(hashes, seed, share):
    hashes = np.array(hashes, np.int64)
    split = Split(seed, share).side(hashes)
    np.testing.assert_array_equal(Split(seed, share).side(hashes[::-1]), split[::-1])
    assert (split <= Split(seed, min(1.0, share + 0.1)).side(hashes)).all()


def test_the_split_has_the_share_asked_for():
    hashes = np.arange(100_000)  # consecutive numbers are the worst case for a hash
    for seed in (1, 2, 3):
        assert Split(seed, 0.15).side(hashes).mean() == pytest.approx(0.15, abs=0.005)
    both = Split(1, 0.15).side(hashes) & Split(2, 0.15).side(hashes)
    assert both.mean() == pytest.approx(0.15**2, abs=0.005)


def test_every_person_is_left_out_of_one_fold():
    hashes = np.arange(50_000)
    sides = np.array([Split(3, 0.15, 5, fold).side(hashes) for fold in range(5)])
    np.testing.assert_array_equal((sides == OWN).sum(axis=0), 1)
    np.testing.assert_array_equal(np.argmax(sides == OWN, axis=0), fold_of(hashes, 3, 5))
    assert (sides == OWN).mean(axis=1) == pytest.approx([0.2] * 5, abs=0.01)
    assert (sides == VALIDATION).mean(axis=1) == pytest.approx([0.8 * 0.15] * 5, abs=0.01)
    assert (fold_of(hashes, 3, 5) != fold_of(hashes, 4, 5)).mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("folds", [1, 3])
def test_nobody_of_the_test_is_on_another_side(table, folds):
    """Whatever the fold and the other shares; the test's people are the same in all of them."""
    whole = [pq.read_table(file) for file in sorted(table.glob("*.parquet"))]
    people = np.concatenate([part["participant_hash"].to_numpy() for part in whole])
    expected = set(people[of_the_test(people, 5, 0.2)])
    assert expected
    for fold in range(folds):
        split = Split(5, 0.3, folds, fold, 0.2)
        signals, hashes = beats_of_the_test(str(table), split, 1000)
        assert set(hashes) == expected
        assert set(people[rows_of([signals])]) == expected
        sides = open_beats(str(table), split, CPU)[: 2 if folds == 1 else 3]
        seen = np.concatenate([rows_of(side.once(50)) for side in sides])
        assert not set(people[seen]) & expected
        assert len(set(seen)) + len(hashes) == len(people)
    assert len(beats_of_the_test(str(table), split, 3)[0]) == 3


def test_a_table_without_people_to_test_on_is_refused_before_training(table):
    for work in (open_beats, lambda path, split, _: beats_of_the_test(path, split, 9)):
        with pytest.raises(DataError, match=r"raise model\.test_share"):
            work(str(table), Split(5, 0.3, test_share=1e-9), CPU)


def test_streaming_and_memory_give_the_same_beats(table, monkeypatch):
    monkeypatch.setattr("models.data.loader.SHUFFLE_BEATS", 50)  # several fills of the buffer
    resident = open_beats(str(table), SPLIT, CPU)
    streamed = open_beats(str(table), SPLIT, CPU, room_bytes=0)
    for kept, read in zip(resident, streamed, strict=True):
        assert isinstance(read, Streamed)
        assert len(kept) == len(read)
        for epoch in (1, 2):
            rows = rows_of(read.epoch(epoch, 16))
            np.testing.assert_array_equal(np.sort(rows), np.sort(rows_of(kept.epoch(epoch, 16))))
            np.testing.assert_array_equal(rows, rows_of(read.epoch(epoch, 16)))
        assert (rows_of(read.epoch(1, 16)) != rows_of(read.epoch(2, 16))).any()
    assert len(streamed[0].sample(20)) == 20


def test_a_split_with_an_empty_side_is_refused(table):
    with pytest.raises(DataError, match="none may be empty"):
        open_beats(str(table), Split(5, 1e-9), CPU)
