"""Speed on one core from CardioSoft XML bytes to beat and traits, against a floor and NeuroKit2.

    OMP_NUM_THREADS=1 python tests/bench/bench_beats.py FILE.xml [--repeats 15]

The floor, measured in the same run: the XML parsed and its samples read, one band-pass of 12 leads,
one median of 11 beats; with our own filter, and with SciPy's. NeuroKit2 (where it is installed; its
path may be given by --neurokit, the site-packages of another environment) does the same products:
clean, peaks, the average of 12 leads, delineation of one lead. The rounds alternate, medians are
printed, in CPU ms, as a line of JSON. Without FILE the recording of a simulated biobank is used.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfiltfilt

from ecg_spark.ecg import (
    RecordingError,
    average_beat,
    detect_r_peaks,
    measure_traits,
    read_recording,
)
from ecg_spark.ecg.filtering import Spectrum
from ecg_spark.session import spark_session
from ecg_spark.simulate.biobank import simulate_biobank


def floor(data, band_pass):
    """Parse, one band-pass of 12 leads, one median of 11 beats."""
    root = ET.fromstring(data)
    waves = root.find("StripData").iterfind("WaveformData")
    rows = [np.fromstring(wave.text.strip(), dtype=np.int64, sep=",") for wave in waves]
    signals = band_pass(np.stack(rows).astype(np.float64))
    return np.median([signals[:, start : start + 600] for start in range(100, 4400, 400)], axis=0)


def by_transform(signals):
    """Our own band-pass, the fastest that we know."""
    return Spectrum.of(signals, 500.0).band(0.5, 130.0)


def by_scipy(signals):
    """The usual one: SciPy's Butterworth filter, run both ways."""
    sections = butter(2, (0.5, 130.0), "bandpass", fs=500.0, output="sos")
    return sosfiltfilt(sections, signals, axis=1)


def ours(data):
    """Our product: a beat and its traits."""
    return measure_traits(average_beat(read_recording(data)))


def sound(data):
    """Whether these are a CardioSoft file that gives a beat; some are made not to be."""
    try:
        return b"CardiologyXML" in data and bool(ours(data))
    except RecordingError:
        return False


def neurokit(nk, signals):
    """The same products by NeuroKit2, from signals that are read already."""
    clean = np.stack([nk.ecg_clean(lead, sampling_rate=500) for lead in signals])
    peaks = nk.ecg_peaks(clean[1], sampling_rate=500)[1]["ECG_R_Peaks"]
    inside = [peak for peak in peaks if 248 <= peak < clean.shape[1] - 352]
    beat = np.mean([clean[:, peak - 248 : peak + 352] for peak in inside], axis=0)
    return beat, nk.ecg_delineate(clean[1], peaks, sampling_rate=500, method="dwt")


def main():
    """Print the medians and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--neurokit")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.file is None:
        with tempfile.TemporaryDirectory() as scratch:
            spark = spark_session("bench beats", progress=False)
            simulate_biobank(
                spark, Path(scratch, "biobank"), participants=20, variants=1000, seed=1
            )
            spark.stop()
            files = sorted(Path(scratch).rglob("*.xml"))
            data = next(filter(sound, map(Path.read_bytes, files)))
    else:
        data = options.file.read_bytes()
    recording = read_recording(data)
    signals = recording.signal_mv
    beat = average_beat(recording)
    work = {
        "floor": lambda: floor(data, by_transform),
        "floor_scipy": lambda: floor(data, by_scipy),
        "ours": lambda: ours(data),
        "read": lambda: read_recording(data),
        "r_peaks": lambda: detect_r_peaks(signals, 500.0),
        "average": lambda: average_beat(recording),
        "traits": lambda: measure_traits(beat),
    }
    if options.neurokit:
        sys.path.append(options.neurokit)
    try:
        import neurokit2 as nk

        work["neurokit"] = lambda: neurokit(nk, signals)
    except ImportError:
        pass
    times = {name: [] for name in work}
    for turn in range(options.repeats + 1):
        for name, run in work.items():
            start = time.process_time()
            run()
            if turn:
                times[name].append(1000.0 * (time.process_time() - start))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    line = {f"{name}_ms": round(value, 2) for name, value in medians.items()}
    for name in ("floor", "floor_scipy"):
        line[f"ours_to_{name}"] = round(medians["ours"] / medians[name], 2)
    if "neurokit" in medians:
        line["neurokit_to_ours"] = round(medians["neurokit"] / medians["ours"], 1)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
