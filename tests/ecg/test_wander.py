"""The size of the baseline wander is that of the recording, whatever its ends do."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Limits, Recording, average_beat, read_recording

T = np.arange(5000) / 500
GAINS = np.array([0.9, 1.2, 0.3, -1.05, 0.3, 0.75, -0.5, 0.4, 0.8, 1.4, 1.3, 1.0])


def recording_with(wander_mv: np.ndarray) -> Recording:
    """Beats at 67 a minute on a baseline, the same in every lead."""
    beats = np.zeros(T.size)
    for r in np.arange(0.3, 10.2, 0.9):
        for centre, width, size in ((-0.16, 0.022, 0.12), (0.0, 0.012, 1.0), (0.28, 0.045, 0.3)):
            beats += size * np.exp(-0.5 * ((T - r - centre) / width) ** 2)
    signal = GAINS[:, None] * beats + wander_mv
    return Recording(np.rint(signal * 1000).astype(np.int16), 1.0, 500.0, "test")


@settings(max_examples=40, deadline=None)
@given(
    hz=st.lists(st.floats(0.05, 0.4), min_size=1, max_size=3),
    phase=st.floats(0, 2 * np.pi),
    slope=st.floats(-1, 1),
    ratio=st.floats(0.4, 0.75) | st.floats(1.33, 3),
)
def test_wander_is_flagged_by_its_root_mean_square(hz, phase, slope, ratio):
    """Slow waves and a trend that end anywhere: they are not larger for ending far from zero."""
    wander = slope * (T - 5) / 5 + sum(
        np.sin(2 * np.pi * f * T + phase * k) for k, f in enumerate(hz, 1)
    )
    wander -= wander.mean()
    limit = Limits().wander_uv
    wander *= ratio * limit / 1000 / wander.std()
    flags = average_beat(recording_with(wander)).flags
    assert ("baseline_wander" in flags) == (ratio > 1)


def test_recordings_that_annotators_call_drifting_are_flagged_most(shared_data):
    """PTB-XL: its annotators wrote down in which leads the baseline drifts."""
    table = pd.read_csv(shared_data / "ptbxl" / "ptbxl_database.csv", index_col="ecg_id")
    files = sorted((shared_data / "ptbxl").glob("*_hr.hea"))[:90]
    flagged = pd.Series(
        {
            int(file.name[:5]): "baseline_wander" in average_beat(read_recording(file)).flags
            for file in files
        }
    )
    drifting = table.loc[flagged.index, "baseline_drift"].notna()
    assert flagged.mean() < 0.15
    assert flagged[~drifting].mean() < 0.05
    assert flagged[drifting].mean() > 5 * flagged[~drifting].mean()
