"""Average on Spark: the pure functions' beats, whatever the partitions, and nothing lost."""

import hashlib
import json

import numpy as np
import pytest

from ecg_spark.ecg import LEADS, average_beat, measure_traits, read_recording, weight
from ecg_spark.pipeline.average import average, participant_hash
from ecg_spark.study import Beats
from ecg_spark.tables import BEATS, RECORDINGS, TRAIT_NAMES, read_table


@pytest.fixture(scope="module")
def recordings(spark, biobank_in):
    _, _, table = biobank_in
    return read_table(spark, RECORDINGS, table.path("recordings"))


@pytest.fixture(scope="module")
def averaged(spark, recordings, tmp_path_factory):
    out = tmp_path_factory.mktemp("averaged")
    summary = average(spark, recordings, lambda name: f"{out}/{name}")
    return summary, lambda name: spark.read.parquet(f"{out}/{name}").toPandas()


def test_recordings_in_are_beats_plus_quarantine(recordings, averaged):
    summary, table = averaged
    assert summary["n_in"] == recordings.count()
    assert summary["n_in"] == summary["n_out"] + summary["n_quarantined"]
    assert len(table("beats")) == len(table("traits")) == summary["n_out"]
    assert len(table("quarantine")) == summary["n_quarantined"]


def test_the_flow_counts_recordings_and_people(recordings, averaged):
    summary, table = averaged
    flow = table("flow").set_index(["unit", "reason"])["n"]
    assert flow["recordings", "came in"] == recordings.count()
    assert flow["recordings", "went on"] == len(table("beats"))
    for reason, n in summary["reasons"].items():
        assert flow["recordings", reason.replace("_", " ")] == n
    assert flow["people", "came in"] == recordings.select("participant_id").distinct().count()
    assert flow["people", "went on"] == table("beats")["participant_id"].nunique()


def test_traits_bear_the_flags_and_the_weight_of_their_beat(averaged):
    _, table = averaged
    beats, traits = (table(name).set_index("ecg_id").sort_index() for name in ("beats", "traits"))
    assert (beats["flags"].map(tuple) == traits["flags"].map(tuple)).all()
    assert (beats["weight"] == traits["weight"]).all()
    assert beats["weight"].tolist() == [weight(uv) for uv in beats["noise_uv"]]


def test_beat_in_the_table_equals_average_beat_of_the_recording(recordings, averaged):
    _, table = averaged
    paths = {row.ecg_id: row.path for row in recordings.select("ecg_id", "path").collect()}
    traits = table("traits").set_index("ecg_id")
    for row in table("beats").sample(8, random_state=1).itertuples():
        beat = average_beat(read_recording(paths[row.ecg_id].removeprefix("file:")))
        np.testing.assert_array_equal(row.signal.reshape(len(LEADS), -1), beat.signal_mv)
        expected = measure_traits(beat)
        for name in TRAIT_NAMES:
            found = traits.loc[row.ecg_id, name]
            assert (np.isnan(found) and expected[name] is None) or found == expected[name]


def test_partitions_and_order_change_nothing(spark, recordings, averaged, tmp_path):
    _, table = averaged
    shuffled = recordings.repartition(5).sort("path")
    average(spark, shuffled, lambda name: f"{tmp_path}/{name}")
    again = read_table(spark, BEATS, f"{tmp_path}/beats").toPandas().sort_values("ecg_id")
    before = table("beats").sort_values("ecg_id")
    assert again["ecg_id"].tolist() == before["ecg_id"].tolist()
    np.testing.assert_array_equal(np.stack(again["signal"]), np.stack(before["signal"]))


def test_the_devices_beat_and_the_limits_come_from_the_study(spark, recordings, tmp_path):
    settings = Beats(source="vendor_else_computed", quality={"noisy_uv": 0.001})
    few = recordings.where("source_format != 'wfdb'").limit(12)
    summary = average(spark, few, lambda name: f"{tmp_path}/{name}", settings)
    beats = read_table(spark, BEATS, f"{tmp_path}/beats").toPandas()
    carried = {row.ecg_id for row in few.where("vendor_median is not null").collect()}
    from_device = set(beats.loc[beats["source"] == "vendor", "ecg_id"])
    assert from_device == carried & set(beats["ecg_id"])
    assert summary["sources"].get("vendor", 0) == len(from_device)
    assert all("noisy" in flags for flags in beats["flags"])


def test_swapped_arm_electrodes_do_not_reach_the_beats(biobank, averaged):
    truth = json.loads((biobank / "truth.json").read_text())
    swapped = [item["uri"] for item in truth["corrupt"] if item["kind"] == "swapped_arms"]
    _, table = averaged
    quarantine = table("quarantine").query("reason == 'arm_electrodes_swapped'")
    assert quarantine["path"].str.rsplit("/").str[-1].tolist() == swapped


def test_a_participants_hash_tells_people_apart_and_not_who_they_are():
    hashes = {participant_hash(str(n), b"one study's") for n in range(1000)}
    assert len(hashes) == 1000
    assert all(0 <= value < 2**63 for value in hashes)
    # Whoever has not this study's secret cannot try ids out.
    assert not hashes & {participant_hash(str(n), b"another study's") for n in range(1000)}
    assert not hashes & {_unkeyed(str(n)) for n in range(1000)}


def _unkeyed(participant_id):
    return int.from_bytes(hashlib.sha256(participant_id.encode()).digest()[:8], "big") >> 1
