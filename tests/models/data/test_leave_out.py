"""Recordings with a flag that is left out are in no training, validation or judgement."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import FLAGS
from ecg_spark.errors import DataError
from models.data.loader import open_beats
from models.data.reading import read_epoch
from models.data.split import Split

CPU = torch.device("cpu")


def write_beats(folder, flags, seed=0):
    """A beats table with these flags a row; lead I's first sample names the row."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((len(flags), 7200)).astype(np.float32)
    signal[:, 0] = np.arange(len(flags))
    table = pa.table(
        {
            "participant_hash": rng.integers(-(2**63), 2**63 - 1, len(flags)),
            "signal": pa.FixedSizeListArray.from_arrays(signal.ravel(), 7200).cast(
                pa.list_(pa.float32())
            ),
            "flags": pa.array(flags, pa.list_(pa.string())),
        }
    )
    pq.write_table(table, folder / "part-0.parquet", row_group_size=13)


def rows_of(batches):
    found = [np.asarray(signals)[:, 0, 0] for signals in batches]
    return sorted(np.concatenate([np.empty(0), *found]).astype(int).tolist())


SOME_FLAGS = st.lists(st.sampled_from(FLAGS), unique=True, max_size=3)


@settings(max_examples=8, deadline=None)
@given(
    rows=st.lists(SOME_FLAGS, min_size=20, max_size=40),
    leave_out=SOME_FLAGS,
    folds=st.sampled_from([1, 2]),
)
def test_training_sees_the_rows_without_such_a_flag_and_no_other(
    tmp_path_factory, rows, leave_out, folds
):
    rows = [[]] * 40 + rows  # so that no side of the split is empty
    folder = tmp_path_factory.mktemp("beats")
    write_beats(folder, rows)
    expected = [k for k, flags in enumerate(rows) if not set(flags) & set(leave_out)]
    everything = rows_of(s for s, _ in read_epoch(str(folder), 1, leave_out=leave_out))
    assert everything == expected
    split = Split(5, 0.3, folds)
    for room in (10**9, 0):
        training, validation, own = open_beats(
            str(folder), split, CPU, room_bytes=room, leave_out=leave_out
        )
        sides = [training, validation] if folds == 1 else [training, validation, own]
        assert sum(len(side) for side in sides) == len(expected)
        seen = sorted(k for side in sides for k in rows_of(side.epoch(1, 16)))
        assert seen == expected
        assert seen == sorted(k for side in sides for k in rows_of(side.once(16)))
        assert set(rows_of([training.sample(1000)])) == set(rows_of(training.once(16)))


def test_a_table_of_which_nothing_is_left_is_refused_with_the_setting(tmp_path):
    write_beats(tmp_path, [["paced"]] * 30)
    with pytest.raises(DataError, match=r"Of 0 beats without a flag of beats.leave_out \(paced\)"):
        open_beats(str(tmp_path), Split(5, 0.3), CPU, leave_out=("paced",))
