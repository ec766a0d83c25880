"""Accuracy on hand-annotated records and against GE's 12SL, beside XQRS and NeuroKit2.

    python tests/bench/bench_accuracy.py [DATA] [--peers] [--neurokit SITE_PACKAGES]

DATA (../shared/data) holds mitdb/, ludb/, cardiosoft/, muse/. Prints a line of JSON for each part:

- mitdb: R peaks of whole records, both channels (peers: first channel), one-to-one within 150 and
  50 ms, all records, the odd and the even ones, and how far the matched peaks are from the marks in
  ms (mean, standard deviation); ventricular flutter is left out, as is usual.
- mitdb_windows: the records in windows of 10 s, their two channels mixed into eight leads. Of those
  with at least 3 sinus beats, by share of ectopic beats: in how many the averaged beats are sinus
  beats, and the heart rate within 5/min of the annotated mean; how many of those with fewer than 3
  are flagged `ectopic_only`, and how many of the others wrongly.
- ludb: fiducials of the average beat carried to every averaged beat against the marks in lead II:
  mean and standard deviation of the error in ms, the part missed, and P waves invented; and
  `t_offset_of_leads`, against the median of the marks in all leads, since ours is the end of T in
  all of them.
- ge: r and RMSE by lead of more than 0.2 mV against the device's median beat, intervals.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import wfdb

from ecg_spark.ecg import (
    LEADS,
    R_INDEX,
    Recording,
    RecordingError,
    average_beat,
    derive_leads,
    detect_r_peaks,
    measure_traits,
    read_recording,
)
from ecg_spark.ecg.windows import cut

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
BEATS = set("NLRBAaJSVrFejnE/fQ?")
SINUS = set("NLRB")  # conducted as usual in the person, bundle branch block included
TWO_TO_EIGHT = np.array(
    [[1.0, 0.6, -0.2, 0.1, 0.5, 0.8, 0.7, 0.9], [0.0, 0.3, 1.0, 0.9, 0.6, 0.3, 0.1, -0.1]]
)
"""How two channels are mixed into the eight independent leads."""


def matched(marked, found, tolerance):
    """The pairs (i, j) of marks and peaks within `tolerance` samples, one to one, nearest first."""
    pairs, i, j = [], 0, 0
    while i < len(marked) and j < len(found):
        distance = abs(found[j] - marked[i])
        if distance > tolerance:
            i, j = (i, j + 1) if found[j] < marked[i] else (i + 1, j)
        elif j + 1 < len(found) and abs(found[j + 1] - marked[i]) < distance:
            j += 1
        elif i + 1 < len(marked) and abs(found[j] - marked[i + 1]) < distance:
            i += 1
        else:
            pairs.append((i, j))
            i, j = i + 1, j + 1
    return pairs


def mitdb_record(path):
    """Signal [2, n] in mV, beat marks, their kinds, and the stretches of ventricular flutter."""
    record, marks = wfdb.rdrecord(path), wfdb.rdann(path, "atr")
    marked, kinds = zip(
        *[(s, kind) for s, kind in zip(marks.sample, marks.symbol, strict=True) if kind in BEATS],
        strict=True,
    )
    starts = [s for s, kind in zip(marks.sample, marks.symbol, strict=True) if kind == "["]
    ends = [s for s, kind in zip(marks.sample, marks.symbol, strict=True) if kind == "]"]
    flutter = list(zip(starts, ends, strict=True))
    return record.p_signal.T, np.array(marked), np.array(kinds), flutter


def count(marked, found, flutter, tolerance):
    """Hits, misses and inventions of one record, and the hits' distances in samples."""
    for start, end in flutter:
        marked = marked[(marked < start - 54) | (marked > end + 54)]
        found = found[(found < start - 54) | (found > end + 54)]
    pairs = matched(marked, found, tolerance)
    far = [found[j] - marked[i] for i, j in pairs]
    return np.array([len(pairs), len(marked) - len(pairs), len(found) - len(pairs)]), far


def mitdb(folder, detectors):
    """A line for each detector."""
    paths = [str(header.with_suffix("")) for header in sorted(folder.glob("*.hea"))]
    for name, detect in detectors.items():
        counts, far, seconds = {150: [], 50: []}, [], 0.0
        for path in paths:
            signal, marked, _, flutter = mitdb_record(path)
            start = time.process_time()
            found = np.asarray(detect(signal), dtype=np.int64)
            seconds += time.process_time() - start
            for tolerance, rows in counts.items():
                row, distances = count(marked, found, flutter, int(tolerance * 0.36))
                rows.append(row)
                far += distances if tolerance == 150 else []
        line = {"part": "mitdb", "detector": name, "cpu_s": round(seconds, 1)}
        for tolerance, rows in counts.items():
            for label, part in (("all", rows), ("odd", rows[::2]), ("even", rows[1::2])):
                hits, missed, invented = np.sum(part, axis=0)
                line[f"{label}_{tolerance}ms"] = [
                    round(100 * hits / (hits + missed), 3),
                    round(100 * hits / (hits + invented), 3),
                ]
        line["off_ms"] = [round(float(value) / 0.36, 1) for value in (np.mean(far), np.std(far))]
        print(json.dumps(line), flush=True)


def twelve_leads(signal):
    """A recording at 360 Hz of two channels [2, n] in mV, mixed into eight leads."""
    samples = derive_leads(TWO_TO_EIGHT.T @ signal)
    return Recording(np.rint(1000 * samples).astype(np.int16), 1.0, 360.0, "mitdb")


def window(signal, marked, kinds):
    """What the average of one window gives: the share of sinus beats in it, rate, flags, or None.

    `marked` are the samples of its beats, `kinds` their symbols.
    """
    try:
        beat = average_beat(twelve_leads(signal))
    except RecordingError:
        return None
    nearest = np.abs(marked / 360.0 - beat.r_samples[:, None] / 500.0).argmin(axis=1)
    sinus = np.mean([kinds[i] in SINUS for i in nearest])
    return sinus, 60_000 / beat.rr_ms, beat.flags


def share_of_ectopy(kinds):
    """The row of the table that a window belongs to."""
    share = np.mean([kind not in SINUS for kind in kinds])
    return "none" if share == 0 else "<40%" if share < 0.4 else "40-50%" if share <= 0.5 else ">50%"


def mitdb_windows(paths, part):
    """One line."""
    rows = {name: np.zeros(4, int) for name in ("none", "<40%", "40-50%", ">50%")}
    said = np.zeros((2, 2), int)
    for path in paths:
        signal, marked, kinds, flutter = mitdb_record(str(path.with_suffix("")))
        for start in range(0, signal.shape[1] - 3599, 3600):
            inside = (marked >= start) & (marked < start + 3600)
            if inside.sum() < 3 or any(a < start + 3600 and b > start for a, b in flutter):
                continue
            at, own = marked[inside] - start, kinds[inside]
            found = window(signal[:, start : start + 3600], at, own)
            few = sum(kind in SINUS for kind in own) < 3
            if found is not None:
                said[int(few)] += ["ectopic_only" in found[2], 1]
            if not few:
                rate = 60 * 360 * (len(at) - 1) / (at[-1] - at[0])
                right = found is not None and (found[0] > 0.5, abs(found[1] - rate) < 5)
                row = [1, found is None, *(right or (False, False))]
                rows[share_of_ectopy(own)] += np.array(row, dtype=int)
    rows["all"] = np.sum(list(rows.values()), axis=0)
    line = {"part": "mitdb_windows", "records": part}
    for name, row in rows.items():
        line[name] = dict(zip(("n", "refused", "sinus", "rate"), row.tolist(), strict=True))
    line["ectopic_only"] = {"few_sinus": said[1].tolist(), "others": said[0].tolist()}
    print(json.dumps(line), flush=True)


def marks_of(path, lead="ii"):
    """[(kind, onset or None, peak, offset or None)] in a lead."""
    marks = wfdb.rdann(str(path), lead)
    sample, symbol = [None, *marks.sample, None], ["", *marks.symbol, ""]
    return [
        (
            symbol[i],
            sample[i - 1] if symbol[i - 1] == "(" else None,
            sample[i],
            sample[i + 1] if symbol[i + 1] == ")" else None,
        )
        for i in range(1, len(symbol) - 1)
        if symbol[i] in "pNt"
    ]


def ludb_errors(folder, numbers):
    """Errors in ms by fiducial, waves missed and marked, P waves invented and beats without P."""
    names = ("p_onset", "p_offset", "qrs_onset", "qrs_offset", "t_offset", "t_offset_of_leads")
    errors = {name: [] for name in names}
    missed = {name: [0, 0] for name in errors}
    invented = [0, 0]
    for number in numbers:
        recording = read_recording(folder / f"{number}.hea")
        try:
            beat = average_beat(recording)
        except RecordingError:
            continue
        at = beat.fiducials
        marks = marks_of(folder / str(number))
        t_ends = [
            mark[3]
            for lead in LEADS
            for mark in marks_of(folder / str(number), lead.lower())
            if mark[0] == "t" and mark[3] is not None
        ]
        qrs = [mark for mark in marks if mark[0] == "N"]
        peaks = beat.r_samples
        for k, mark in enumerate(qrs):
            own = np.abs(peaks - mark[2])
            if own.min() > 50:
                continue
            base = peaks[own.argmin()] - R_INDEX
            before = qrs[k - 1][2] if k else -(10**9)
            after = qrs[k + 1][2] if k + 1 < len(qrs) else 10**9
            ps = [m for m in marks if m[0] == "p" and max(before, mark[2] - 250) < m[2] < mark[2]]
            ts = [m for m in marks if m[0] == "t" and mark[2] < m[2] < after]
            pairs = {"qrs_onset": mark[1], "qrs_offset": mark[3]}
            if ps:
                pairs |= {"p_onset": ps[-1][1], "p_offset": ps[-1][3]}
            elif k:
                invented[0] += at.p_onset is not None
                invented[1] += 1
            if ts:
                pairs["t_offset"] = ts[0][3]
                near = [end for end in t_ends if abs(end - ts[0][2]) < 100]
                pairs["t_offset_of_leads"] = np.median(near) if len(near) >= 6 else None
            for name, reference in pairs.items():
                if reference is None:
                    continue
                missed[name][1] += 1
                ours = getattr(at, name.removesuffix("_of_leads"))
                if ours is None:
                    missed[name][0] += 1
                else:
                    errors[name].append((base + ours - reference) * 2.0)
    return errors, missed, invented


def ludb(folder, part, numbers):
    """One line."""
    errors, missed, invented = ludb_errors(folder, numbers)
    line = {"part": "ludb", "records": part, "p_invented": invented}
    for name, values in errors.items():
        line[name] = {
            "n": len(values),
            "mean_ms": round(float(np.mean(values)), 1),
            "sd_ms": round(float(np.std(values)), 1),
            "missed": missed[name][0],
        }
    print(json.dumps(line), flush=True)


def against_vendor(recording):
    """r and RMSE in µV by lead with more than 0.2 mV against the device's median beat.

    GE centres its window elsewhere in the QRS complex, so the lag is free within 40 ms; its level
    is left as it is.
    """
    ours = average_beat(recording).signal_mv.astype(float)[:, 40:560]
    theirs = recording.vendor_median * (recording.microvolts_per_unit / 1000.0)
    best = None
    for lag in np.arange(-20, 20.1, 0.25):
        other = cut(theirs, np.array([40 + lag]), 0, 520)[0]
        r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, other, strict=True)])
        if best is None or r.mean() > best[0].mean():
            best = (r, 1000 * np.sqrt(np.mean((ours - other) ** 2, axis=1)))
    large = np.ptp(theirs, axis=1) > 0.2
    names = [lead for lead, use in zip(LEADS, large, strict=True) if use]
    return names, best[0][large], best[1][large]


def ge(files):
    """A line for each file."""
    for file in files:
        recording = read_recording(file)
        names, r, rmse = against_vendor(recording)
        traits, vendor = measure_traits(average_beat(recording)), recording.vendor
        compared = ("heart_rate_bpm", "pr_ms", "p_ms", "qrs_ms", "qt_ms", "axis_deg")
        line = {
            "part": "ge",
            "file": file.name,
            "worst_lead": names[int(r.argmin())],
            "min_r": round(float(r.min()), 4),
            "mean_r": round(float(r.mean()), 4),
            "max_rmse_uv": round(float(rmse.max()), 1),
            "ours_minus_ge": {
                name: None if traits[name] is None else round(traits[name] - vendor[name], 1)
                for name in compared
                if name in vendor
            },
        }
        print(json.dumps(line), flush=True)


def main():
    """Print every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=SHARED_DATA)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--neurokit")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: there are no recordings at {options.data}")
        return
    detectors = {"ecg-spark": lambda signal: detect_r_peaks(signal, 360.0)}
    if options.peers:
        from wfdb.processing import xqrs_detect

        detectors["xqrs"] = lambda signal: xqrs_detect(signal[0], 360, verbose=False)
    if options.neurokit:
        sys.path.append(options.neurokit)
        import neurokit2 as nk

        detectors["neurokit2"] = lambda signal: nk.ecg_peaks(
            nk.ecg_clean(signal[0], sampling_rate=360), sampling_rate=360
        )[1]["ECG_R_Peaks"]
    mitdb(options.data / "mitdb", detectors)
    headers = sorted((options.data / "mitdb").glob("*.hea"))
    for part, paths in (("odd", headers[::2]), ("even", headers[1::2])):
        mitdb_windows(paths, part)
    for part, numbers in (
        ("odd", range(1, 101, 2)),
        ("even", range(2, 101, 2)),
        ("all", range(1, 101)),
    ):
        ludb(options.data / "ludb", part, numbers)
    ge([*(options.data / "cardiosoft").glob("*.xml"), *(options.data / "muse").glob("*.xml")])


if __name__ == "__main__":
    main()
