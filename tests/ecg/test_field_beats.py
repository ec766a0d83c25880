"""Every recording of the field folders of beats gives the values that their README states."""

import csv
import re

import numpy as np
import pytest

from ecg_spark.ecg import average_beat, measure_traits, read_recording

FOLDERS = ("bigeminy", "p-wave", "wide-and-paced")
TRAITS = {"heart rate": "heart_rate_bpm", "PR": "pr_ms", "QRS": "qrs_ms", "P": "p_ms"}
AROUND = re.compile(r"heart rate (\d+) (?:\(mean of all beats\) within|±) (\d+)")
RANGE = re.compile(r"\b(PR|QRS|P) (\d+)-(\d+) ms")


@pytest.fixture(scope="module")
def marks(field):
    """Times of the beats in s, by path and kind."""
    folder, _ = field
    times: dict[str, dict[str, list[float]]] = {}
    with (folder / "reference" / "beats.csv").open() as lines:
        for row in csv.DictReader(lines):
            times.setdefault(row["path"], {}).setdefault(row["kind"], []).append(
                float(row["time_s"])
            )
    return times


def bounds(told):
    """What the README states of the traits: lowest and highest value by name."""
    around = AROUND.search(told)
    stated = {}
    if around is not None:
        rate, within = float(around[1]), float(around[2])
        stated["heart_rate_bpm"] = rate - within, rate + within
    for name, low, high in RANGE.findall(told):
        stated[TRAITS[name]] = float(low), float(high)
    return stated


@pytest.mark.parametrize("name", FOLDERS)
def test_field_beats_have_the_values_that_are_stated(field, marks, name):
    folder, outcomes = field
    cases = {path: told for path, told in outcomes.items() if path.split("/")[0] == name}
    assert cases
    for path, told in cases.items():
        beat = average_beat(read_recording(folder / path))
        traits = measure_traits(beat)
        stated = bounds(told)
        assert stated or "ectopic_only" in told, path
        for trait, (low, high) in stated.items():
            assert traits[trait] is not None, (path, trait)
            assert low <= traits[trait] <= high, (path, trait)
        if "no P, no PR" in told:
            assert traits["pr_ms"] is None, path
            assert traits["p_ms"] is None, path
        assert ("paced" in beat.flags) == ("flag paced" in told), path
        assert ("ectopic_only" in beat.flags) == ("ectopic_only" in told), path
        if "sinus beat is averaged" in told:
            sinus, other = (np.array(marks[path][kind]) for kind in ("sinus", "ventricular"))
            at = beat.r_samples[:, None] / 500
            nearer = np.abs(at - sinus).min(axis=1) < np.abs(at - other).min(axis=1)
            assert nearer.mean() > 0.5, path
        if "R within 50 ms" in told:
            every = np.concatenate([np.array(times) for times in marks[path].values()])
            off = np.abs(beat.r_samples[:, None] / 500 - every).min(axis=1)
            assert off.max() <= 0.050, path
