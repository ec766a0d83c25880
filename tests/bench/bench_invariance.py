"""What must not matter to the average beat, on real recordings of PTB-XL.

    python tests/bench/bench_invariance.py [PTBXL] [--every 4]

PTBXL (../shared/data/ptbxl) holds its records. Prints a line of JSON for each part:

- added: RMSE in µV between the beats of a recording with and without 0.1 mV of mains, 0.5 mV of
  wander at 0.3 Hz, 50 µV of white noise;
- shift: r between the beats of a recording and of the same without its first 0.2 s;
- arms: how many recordings are told to have swapped arm electrodes, as they are and after the
  electrodes were swapped.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecg_spark.ecg import Reason, RecordingError, average_beat, read_recording

PTBXL = Path(__file__).parents[3] / "shared" / "data" / "ptbxl"


def beat_of(recording, samples):
    """The beat of the recording with other samples, or the reason why there is none."""
    try:
        return average_beat(replace(recording, samples=samples))
    except RecordingError as error:
        return error.reason


def swapped(samples):
    """What the device stores when the electrodes of the arms change places."""
    one, two, three, right, left, foot = samples[:6]
    return np.concatenate([np.stack([-one, three, two, left, right, foot]), samples[6:]])


def spread(values):
    """Median, 90th percentile and largest."""
    rounded = [round(float(np.quantile(values, q)), 2) for q in (0.5, 0.9, 1.0)]
    return dict(zip(("median", "p90", "max"), rounded, strict=True))


def main():
    """Print every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PTBXL)
    parser.add_argument("--every", type=int, default=4)
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"skipped: there are no recordings at {options.folder}")
        return
    rng, t = np.random.default_rng(1), np.arange(5000) / 500
    added = {
        "mains_50": 100 * np.sin(2 * np.pi * 50.03 * t + 1),
        "mains_60": 100 * np.sin(2 * np.pi * 60.0 * t + 1),
        "wander": 500 * np.sin(2 * np.pi * 0.3 * t + 2),
        "noise": rng.normal(0, 50, (12, 5000)),
    }
    changes = {name: [] for name in added}
    alike, kept, told = [], [], {"n": 0, "as_it_is": 0, "swapped": 0, "swapped_with_p": [0, 0]}
    for number, header in enumerate(sorted(options.folder.glob("*_hr.hea"))):
        recording = read_recording(header)
        beat = beat_of(recording, recording.samples)
        turned = beat_of(recording, swapped(recording.samples))
        told["n"] += 1
        told["as_it_is"] += beat == Reason.ARM_ELECTRODES_SWAPPED
        told["swapped"] += turned == Reason.ARM_ELECTRODES_SWAPPED
        if isinstance(beat, Reason):
            continue
        if beat.fiducials.p_onset is not None:
            told["swapped_with_p"][0] += turned == Reason.ARM_ELECTRODES_SWAPPED
            told["swapped_with_p"][1] += 1
        if number % options.every:
            continue
        for name, microvolts in added.items():
            other = np.rint(microvolts / recording.microvolts_per_unit) + recording.samples
            disturbed = beat_of(recording, other.astype(np.int16))
            difference = disturbed.signal_mv - beat.signal_mv
            changes[name].append(1000 * np.sqrt(np.mean(difference**2)))
        later = beat_of(recording, recording.samples[:, 100:])
        alike.append(np.corrcoef(beat.signal_mv.ravel(), later.signal_mv.ravel())[0, 1])
        kept.append(beat.n_beats == later.n_beats)
    alike, kept = np.array(alike), np.array(kept)
    for name, values in changes.items():
        print(json.dumps({"part": "added", "what": name, "rmse_uv": spread(values)}))
    shift = {"median": np.median(alike), "p10": np.quantile(alike, 0.1), "min": alike.min()}
    shift["median_where_no_beat_is_lost"] = np.median(alike[kept])
    shift["share_above_0.9999"] = np.mean(alike >= 0.9999)
    print(json.dumps({"part": "shift", "r": {k: round(float(v), 5) for k, v in shift.items()}}))
    print(json.dumps({"part": "arms"} | told))


if __name__ == "__main__":
    main()
