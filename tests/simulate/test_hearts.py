"""A simulated biobank whose hearts are recordings: whose each is, and what becomes of it."""

import csv
import functools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecg_spark.ecg import INDEPENDENT_ROWS, average_beat, read_recording
from ecg_spark.errors import UsageError
from ecg_spark.simulate import simulate_biobank
from ecg_spark.simulate.recorded import CHANGES, changed
from ecg_spark.simulate.visits import VISITS

PEOPLE, VARIANTS, SEED = 24, 400, 3
SIZE = {"participants": PEOPLE, "variants": VARIANTS, "seed": SEED}


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def hearts(spark, tmp_path_factory):
    """Recordings of 40 people as files of three devices, their manifest beside them."""
    source = tmp_path_factory.mktemp("source")
    simulate_biobank(spark, source / "all", participants=40, variants=200, seed=9)
    folder = source / "all" / "ecg"
    (folder / "manifest.csv").write_text((source / "all" / "manifest.csv").read_text())
    return folder


@pytest.fixture(scope="module")
def biobank(spark, hearts, tmp_path_factory):
    out = tmp_path_factory.mktemp("recorded") / "biobank"
    return out, simulate_biobank(spark, out, hearts=hearts, **SIZE)


def changes_of(out, participant):
    planted = pq.read_table(out / "truth_parameters.parquet").to_pandas()
    own = planted[planted.participant_id == participant].iloc[0]
    return {one.name: float(own[one.name]) for one in CHANGES}


def test_a_persons_recordings_become_that_persons_visits(biobank, hearts):
    out, _ = biobank
    own, theirs = {}, {}
    for row in rows(out / "manifest.csv"):
        own.setdefault(row["participant_id"], []).append(row["uri"])
    for row in rows(hearts / "manifest.csv"):
        theirs.setdefault(row["participant_id"], []).append(row["uri"])
    assert len(own) == PEOPLE
    assert all(len(files) <= VISITS for files in own.values())
    assert {len(files) for files in own.values()} > {1}, "some people have several"
    # Each recording is the changed one of a person of the folder, and of one person only.
    taken = set()
    for participant, files in own.items():
        change = changes_of(out, participant)
        first = [read_recording(out / "ecg" / uri).signal_mv for uri in files]
        found = [
            person
            for person, sources in theirs.items()
            if len(sources) >= len(first) and is_changed(first[0], hearts, sources, change)
        ]
        assert len(found) == 1
        taken.add(found[0])
    assert len(taken) == PEOPLE


@functools.cache
def signal_and_beat(path):
    """The signal of a recording and its average beat, if it has one."""
    try:
        recording = read_recording(path)
        return recording.signal_mv[INDEPENDENT_ROWS], average_beat(recording)
    except ValueError:
        return None


def is_changed(signal, folder, sources, change):
    """Whether a signal is that of one of some recordings, changed."""
    for source in filter(None, (signal_and_beat(folder / uri) for uri in sources)):
        expected = changed(*source, change)
        if np.abs(signal[INDEPENDENT_ROWS] - expected).max() < 0.008:  # files round to 5 uV
            return True
    return False


def test_the_truth_names_what_was_planted_and_claims_nothing_of_the_hearts(biobank):
    out, summary = biobank
    truth = json.loads((out / "truth.json").read_text())
    assert summary["planted"] == len(truth["planted"])
    assert {one["parameter"] for one in truth["planted"]} <= {one.name for one in CHANGES}
    assert [one["name"] for one in truth["parameters"]] == [one.name for one in CHANGES]
    assert all(one["variance_explained_measured"] is None for one in truth["planted"])
    assert "atrial_fibrillation" not in truth["counts"]
    assert sum(truth["counts"]["corrupt"].values()) == 0
    dosage = {one["parameter"]: one["beta"] for one in truth["planted"]}
    assert all(np.isfinite(list(dosage.values())))


def test_the_same_hearts_again_change_nothing_and_other_hearts_are_refused(
    spark, biobank, hearts, tmp_path
):
    out, summary = biobank
    before = (out / "truth.json").read_bytes()
    assert simulate_biobank(spark, out, hearts=hearts, **SIZE) == summary
    assert (out / "truth.json").read_bytes() == before
    with pytest.raises(UsageError, match="something else"):
        simulate_biobank(spark, out, **SIZE)


def test_too_few_hearts_are_refused_with_their_number(spark, hearts, tmp_path):
    with pytest.raises(UsageError, match=r"of \d+ people, and 500 participants"):
        simulate_biobank(
            spark, tmp_path / "out", participants=500, variants=200, seed=1, hearts=hearts
        )


@pytest.mark.parametrize(
    "content",
    [
        "file,who\na.xml,1\n",
        "uri,participant_id\n../a.xml,1\n",
        "uri,participant_id\n/etc/passwd,1\n",
        "uri,participant_id\na.xml,\n",
    ],
)
def test_a_wrong_manifest_is_refused_by_its_line(spark, tmp_path, content):
    (tmp_path / "hearts").mkdir()
    (tmp_path / "hearts" / "manifest.csv").write_text(content)
    with pytest.raises(UsageError, match=r"manifest\.csv"):
        simulate_biobank(
            *(spark, tmp_path / "out"),
            participants=1, variants=200, seed=1, hearts=tmp_path / "hearts",
        )  # fmt: skip


def test_without_a_manifest_files_say_whose_they_are(spark, hearts, tmp_path):
    folder = tmp_path / "hearts"
    folder.mkdir()
    owners = {row["uri"]: row["participant_id"] for row in rows(hearts / "manifest.csv")}
    xml = [uri for uri in owners if uri.endswith(".xml")]
    for uri in xml:
        (folder / uri).write_bytes((hearts / uri).read_bytes())
    people = len({owners[uri] for uri in xml})
    with pytest.raises(UsageError, match=r"recordings of (\d+) people") as error:
        simulate_biobank(
            spark, tmp_path / "out", participants=500, variants=200, seed=1, hearts=folder
        )
    usable = int(str(error.value).split(" people")[0].split()[-1])
    assert people - 7 <= usable <= people, "as many people as are named, but for damaged files"
