"""Ingest: real files in, recordings and quarantine out, nothing lost."""

import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest

from ecg_spark.ecg import read_recording
from ecg_spark.errors import DataError
from ecg_spark.participants import read_manifest
from ecg_spark.pipeline.ingest import listing_digest
from ecg_spark.study import Manifest, Study
from jobs.ingest import STEP
from jobs.step import run_step
from tests.builders.ingesting import ingesting

HEADER = "r{n} 12 500 5000 12:30:00 01/02/2020\n" + "".join(
    f"r{{n}}.dat 16 1000/mV 16 0 0 0 0 {lead}\n"
    for lead in ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
)


def wfdb_record(folder, n, seed):
    """A WFDB record of 10 s whose limb leads obey Einthoven."""
    rng = np.random.default_rng(seed)
    t = np.arange(5000) / 500
    beat = np.exp(-0.5 * (((t % 0.8) - 0.4) / 0.01) ** 2)
    eight = 1000 * beat * rng.uniform(0.5, 1.5, (8, 1)) + rng.normal(0, 5, (8, 5000))
    one, two = eight[0], eight[1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    samples = np.vstack([*limb, eight[2:]]).round().astype("<i2")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"r{n}.hea").write_text(HEADER.format(n=n))
    (folder / f"r{n}.dat").write_bytes(samples.T.tobytes())


@pytest.fixture
def run(spark, tmp_path):
    return ingesting(spark, tmp_path)


def test_the_simulated_biobank_comes_in_whole(biobank, biobank_in):
    truth = json.loads((biobank / "truth.json").read_text())
    manifest, summary, table = biobank_in
    assert summary["n_in"] == summary["n_out"] + summary["n_quarantined"]
    recordings, quarantine = table("recordings"), table("quarantine")
    assert len(recordings) == summary["n_out"]
    expected = {
        item["uri"].rsplit(".", 1)[0]: item["reason"]
        for item in truth["corrupt"]
        if item["reason"] != "arm_electrodes_swapped"  # seen when the beat is averaged
    }
    stems = quarantine["path"].str.replace(r"^.*/|\.[^.]*$", "", regex=True)
    found = dict(zip(stems, quarantine["reason"], strict=True))
    for name, reason in expected.items():
        assert reason == "duplicate" or found[name] == reason
    assert sorted(found.values()) == sorted(expected.values())
    copies = quarantine[quarantine["reason"] == "duplicate"].merge(
        recordings, on="ecg_id", suffixes=("", "_kept")
    )
    assert len(copies) == list(expected.values()).count("duplicate")
    assert (copies["path_kept"] < copies["path"]).all()  # of equal ones the first by path stays
    assert set(summary["formats"]) == {"cardiosoft", "muse", "wfdb"}
    owner = dict(zip(manifest["uri"].str.replace(r"\.\w+$", "", regex=True),
                     manifest["participant_id"], strict=True))  # fmt: skip
    stem = recordings["path"].str.replace(r"^.*/|\.[^.]*$", "", regex=True)
    assert (recordings["participant_id"] == stem.map(owner)).all()


def test_each_recording_is_what_the_reader_reads(biobank_in):
    _, _, table = biobank_in
    for row in table("recordings").sample(12, random_state=1).itertuples():
        recording = read_recording(row.path.removeprefix("file:"))
        assert row.signal == recording.samples.astype("<i2").tobytes()
        assert row.microvolts_per_unit == recording.microvolts_per_unit
        assert row.vendor == recording.vendor or dict(row.vendor) == recording.vendor


def test_partitions_and_reruns_change_nothing(run, biobank, biobank_in, monkeypatch):
    manifest, first, table = biobank_in
    before = table("recordings").sort_values("ecg_id").reset_index(drop=True)
    monkeypatch.setattr("ecg_spark.pipeline.ingest.PART_BYTES", 1 << 19)
    second, table = run(biobank / "ecg", manifest)
    after = table("recordings").sort_values("ecg_id").reset_index(drop=True)
    assert first == second
    pd.testing.assert_frame_equal(before, after)


def test_a_copy_under_another_name_is_a_duplicate(run, tmp_path):
    folder = tmp_path / "ecg"
    wfdb_record(folder, 1, seed=1)
    wfdb_record(folder / "again", 2, seed=1)
    wfdb_record(folder, 3, seed=3)
    summary, table = run(folder, id_pattern=r"^(r)\d")
    assert (summary["n_in"], summary["n_out"]) == (3, 2)
    assert table("quarantine")["reason"].tolist() == ["duplicate"]
    # again/r2 comes before r1: of equal recordings the first by path stays.
    assert sorted(table("recordings")["path"].str[-6:]) == ["r2.hea", "r3.hea"]


def test_recording_without_participant_is_quarantined(run, tmp_path):
    folder = tmp_path / "ecg"
    wfdb_record(folder, 1, seed=1)
    wfdb_record(folder, 2, seed=2)
    manifest = pd.DataFrame({"uri": ["elsewhere/r1.dat"], "participant_id": ["a"]})
    summary, table = run(folder, manifest)
    assert summary["reasons"] == {"no_participant": 1}
    assert table("recordings")["participant_id"].tolist() == ["a"]


def test_a_relative_path_wins_over_a_name(run, tmp_path):
    folder = tmp_path / "ecg"
    wfdb_record(folder / "x", 1, seed=1)
    wfdb_record(folder / "y", 1, seed=2)
    manifest = pd.DataFrame({"uri": ["x/r1.hea", "y/r1"], "participant_id": ["a", "b"]})
    _, table = run(folder, manifest)
    rows = table("recordings")
    assert dict(zip(rows["path"].str.split("/").str[-2], rows["participant_id"], strict=True)) == {
        "x": "a",
        "y": "b",
    }


def test_an_ambiguous_manifest_is_refused(run, tmp_path):
    folder = tmp_path / "ecg"
    wfdb_record(folder / "x", 1, seed=1)
    wfdb_record(folder / "y", 1, seed=2)
    manifest = pd.DataFrame({"uri": ["r1"], "participant_id": ["a"]})
    with pytest.raises(DataError, match="give paths relative to"):
        run(folder, manifest)


def test_a_manifest_of_other_files_is_refused(run, tmp_path):
    wfdb_record(tmp_path / "ecg", 1, seed=1)
    manifest = pd.DataFrame({"uri": ["nothing.xml"], "participant_id": ["a"]})
    with pytest.raises(DataError, match="is named in the manifest"):
        run(tmp_path / "ecg", manifest)


def test_a_folder_without_any_ecg_is_one_sentence(run, tmp_path):
    folder = tmp_path / "ecg"
    folder.mkdir()
    (folder / "notes.txt").write_text("no ecg")
    (folder / "half.xml").write_text("<CardiologyXML>")
    with pytest.raises(DataError, match=r"None of the 2 files .*malformed 1, not an ECG 1"):
        run(folder)


def test_the_listing_digest_changes_with_the_files(tmp_path):
    wfdb_record(tmp_path / "ecg", 1, seed=1)
    before = listing_digest(str(tmp_path / "ecg"))
    assert listing_digest(str(tmp_path / "ecg")) == before
    assert listing_digest(str(tmp_path / "ecg" / "*.hea")) != before
    shutil.copy(tmp_path / "ecg" / "r1.hea", tmp_path / "ecg" / "r2.hea")
    assert listing_digest(str(tmp_path / "ecg")) != before


def test_incremental_ingest_of_a_grown_folder_equals_a_full_ingest(run, tmp_path):
    """New, changed, removed files; a copy with an earlier path; a copy whose first is gone."""
    folder = tmp_path / "ecg"
    for n, seed in ((1, 1), (2, 2), (3, 3), (5, 3), (6, 6)):
        wfdb_record(folder, n, seed)
    (folder / "half.xml").write_text("<CardiologyXML>")
    first, table = run(folder, id_pattern=r"^(r)\d")
    assert (first["n_in"], first["n_out"], first["n_read"]) == (6, 4, 6)
    assert first["reasons"] == {"duplicate": 1, "malformed": 1}

    same, _ = run(folder, id_pattern=r"^(r)\d", previous=table.path)
    assert same == first | {"n_read": 0}

    wfdb_record(folder, 2, seed=22)
    wfdb_record(folder, 4, seed=4)
    wfdb_record(folder, 0, seed=1)
    for name in ("r3.hea", "r3.dat"):
        (folder / name).unlink()
    grown, after = run(folder, id_pattern=r"^(r)\d", previous=table.path)
    # r0, r2 and r4, and r5: the first of its copies is gone.
    assert grown["n_read"] == 4
    fresh, expected = run(folder, id_pattern=r"^(r)\d")
    assert grown | {"n_read": fresh["n_read"]} == fresh
    for name, key in (("recordings", "ecg_id"), ("quarantine", "path"), ("sources", "path")):
        pd.testing.assert_frame_equal(
            after(name).sort_values(key).reset_index(drop=True),
            expected(name).sort_values(key).reset_index(drop=True),
        )
    left = sorted(after("recordings")["path"].str[-6:])
    assert left == ["r0.hea", "r2.hea", "r4.hea", "r5.hea", "r6.hea"]
    # What the earlier run published is as it was.
    assert len(table("recordings")) == first["n_out"]


def test_members_of_archives(run, tmp_path, shared_data):
    """A tar, a tar.gz and a zip; WFDB files far apart, hostile names, a bomb, a cut archive."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for n in (1, 2, 3):
        wfdb_record(plain, n, seed=n)
    packed.mkdir()
    names = ["r1.hea", "r2.hea", "r1.dat", "r3.dat", "r3.hea"]  # r2.dat is missing
    with tarfile.open(packed / "a.tar", "w") as archive:
        for name in names:
            archive.add(plain / name, f"../../{name}")
        link = tarfile.TarInfo("r9.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with tarfile.open(packed / "b.tar.gz", "w:gz") as archive:
        archive.add(shared_data / "scp" / "Example.scp", "visit/1/Example.scp")
        archive.add(shared_data / "muse" / "example1.xml", "visit/2/example1.xml")
    with zipfile.ZipFile(packed / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(shared_data / "dicom" / "waveform_ecg.dcm", "x.dcm")
        archive.writestr("notes.txt", "no ecg")
        archive.writestr("bomb.xml", bytes(100 << 20))
    (packed / "d.zip").write_bytes((packed / "c.zip").read_bytes()[:-50])
    manifest = pd.DataFrame(
        {
            "uri": ["a.tar/../../r1.hea", "a.tar!/../../r3", "b.tar.gz/visit/1/Example.scp",
                    "b.tar.gz/visit/2/example1.xml", "c.zip/x.dcm"],
            "participant_id": list("abcde"),
        }
    )  # fmt: skip
    summary, table = run(packed, manifest)
    rows = table("recordings").set_index("participant_id")
    assert sorted(rows.index) == list("abcde")
    for n, who in ((1, "a"), (3, "b")):
        expected = read_recording(plain / f"r{n}.hea").samples.astype("<i2").tobytes()
        assert rows.loc[who, "signal"] == expected
    assert rows.loc["c", "path"].endswith("/b.tar.gz!/visit/1/Example.scp")
    median = read_recording(shared_data / "muse" / "example1.xml").vendor_median
    assert rows.loc["d", "vendor_median"] == median.astype("<i2").tobytes()
    assert rows.loc["d", "vendor_median_rate_hz"] == 500
    assert summary["reasons"] == {"malformed": 2, "too_large": 1}
    assert summary["n_not_ecg"] == 1
    assert summary["n_in"] == 9


def test_archive_bomb_is_quarantined(run, tmp_path):
    folder = tmp_path / "ecg"
    wfdb_record(folder, 1, seed=1)
    with tarfile.open(folder / "bomb.tar.gz", "w:gz") as archive:
        for n in range(8):
            item = tarfile.TarInfo(f"{n}.xml")
            item.size = 60 << 20
            archive.addfile(item, io.BytesIO(bytes(item.size)))
    summary, _ = run(folder, id_pattern=r"(\d)")
    assert summary["n_out"] == 1
    assert summary["reasons"]["too_large"] == 1
    assert summary["n_quarantined"] < 8


def test_a_manifest_says_where_the_files_are_and_when(run, tmp_path):
    for n in (1, 2, 3):
        wfdb_record(tmp_path / "x" / "deep", n, seed=n)
    (tmp_path / "manifest.csv").write_text(
        "file,eid,acquired_at\nx/deep/r1.hea,a,2011-01-02T03:04:05\n"
        f"{tmp_path}/x/deep/r3,b,\n"
    )  # fmt: skip
    manifest = read_manifest(
        Manifest(path="x", uri="file", participant_id="eid"), str(tmp_path / "manifest.csv")
    )
    summary, table = run(None, manifest, folder=str(tmp_path))
    assert summary["n_in"] == summary["n_out"] == 2
    times = table("recordings").set_index("participant_id")["acquired_at"]
    assert str(times["a"]) == "2011-01-02 03:04:05"
    assert str(times["b"]) == "2020-02-01 12:30:00"


def test_segments_are_part_of_their_record(run, tmp_path):
    folder = tmp_path / "ecg"
    wfdb_record(folder, 1, seed=1)
    wfdb_record(folder, 2, seed=2)
    for n in (1, 2):
        for suffix in (".hea", ".dat"):
            file = folder / f"r{n}{suffix}"
            target = folder / f"s_000{n}{suffix}"
            if suffix == ".hea":
                target.write_text(file.read_text().replace(f"r{n}", f"s_000{n}"))
                file.unlink()
            else:
                file.rename(target)
    (folder / "s.hea").write_text("s/2 12 500 10000\ns_0001 5000\ns_0002 5000\n")
    summary, table = run(folder, id_pattern=r"^(s)\.")
    assert summary["n_in"] == summary["n_out"] == 1
    assert len(table("recordings")["signal"][0]) == 12 * 10_000 * 2


def test_ingest_reuses_published_recordings_unless_forced(spark, tmp_path):
    wfdb_record(tmp_path / "ecg", 1, seed=1)
    content = {
        "name": "s",
        "output": str(tmp_path / "out"),
        "ecg": {"path": str(tmp_path / "ecg"), "id_pattern": r"^r(\d)"},
        "participants": {"path": "p.csv"},
        "genotypes": {"path": "g.bed"},
    }
    study = Study.model_validate(content)
    assert run_step(STEP, study)["n_read"] == 1
    assert "skipped" in run_step(STEP, study)
    wfdb_record(tmp_path / "ecg", 2, seed=2)
    grown = run_step(STEP, study)
    assert (grown["n_read"], grown["n_out"]) == (1, 2)
    assert run_step(STEP, study, force=True)["n_read"] == 2
