"""Which files make up a recording, which are no ECG, and whose recording nobody can tell."""

import pandas as pd
import pytest

from ecg_spark.ecg import LEADS
from ecg_spark.pipeline.ingest import ingest
from tests.builders.ecg_files import heart, twelve, wfdb_record


def record(folder, name, signal=None, files=("dat",), seed=0):
    """A record of 12 leads in the first of `files`; the others hold another channel."""
    samples = twelve(heart()) + seed
    header, content = wfdb_record(
        samples, list(LEADS), gains=["1000/mV"] * 12, file=signal or f"{name}.{files[0]}", name=name
    )
    text = header.decode().replace(f"{name} 12 ", f"{name} {12 + len(files) - 1} ")
    for suffix in files[1:]:
        text += f"\n{name}.{suffix} 16 1000/mV 16 0 0 0 0 vx"
        (folder / f"{name}.{suffix}").write_bytes(bytes(2 * samples.shape[1]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.hea").write_text(text)
    (folder / (signal or f"{name}.{files[0]}")).write_bytes(content["r.dat"])


@pytest.fixture
def run(spark, tmp_path):
    """Ingest a folder into a new place; returns the summary and a reader of the tables."""
    runs = iter(range(100))

    def run_(path, id_pattern, **more):
        out = tmp_path / f"run{next(runs)}"

        def table(name):
            return spark.read.parquet(table.path(name)).toPandas()

        table.path = lambda name: f"{out}/{name}"
        return ingest(spark, str(path), None, id_pattern, table.path, **more), table

    return run_


def counts(summary):
    return [summary[name] for name in ("n_in", "n_out", "n_quarantined", "n_not_ecg")]


def test_companions_are_what_the_header_names_and_the_rest_is_not_an_ecg(run, tmp_path):
    folder = tmp_path / "ecg"
    folder.mkdir()
    record(folder, "a", files=("dat", "xyz"), seed=1)  # as PTB Diagnostic
    record(folder, "b", signal="shared.bin", seed=2)
    (folder / "c.hea").write_text((folder / "b.hea").read_text().replace("b 12", "c 12"))
    (folder / "a.atr").write_bytes(bytes(range(1, 200)))
    (folder / "RECORDS").write_text("a\nb\nc\n")
    (folder / "notes.txt").write_text("HR 41\n")
    (folder / "index.html").write_text("<html><body>ECGs</body></html>")
    (folder / "lost.dat").write_bytes(bytes(1000))
    (folder / "half.xml").write_bytes(b"")
    summary, table = run(folder, id_pattern=r"^(.)")
    # c is b's samples under another participant: nobody's.
    assert counts(summary) == [9, 1, 4, 4]
    assert table("recordings")["participant_id"].tolist() == ["a"]
    assert summary["reasons"] == {"several_participants": 2, "unknown_format": 2}
    left = sorted(table("not_an_ecg")["path"].str.rpartition("/")[2])
    assert left == ["RECORDS", "a.atr", "index.html", "notes.txt"]
    again, _ = run(folder, id_pattern=r"^(.)", previous=table.path)
    # What was left out as a copy is only read again where something has changed.
    assert again == summary | {"n_read": 0}


def test_the_same_samples_under_two_participants_go_to_nobody(run, tmp_path):
    folder = tmp_path / "ecg"
    for name, seed in (("1a", 1), ("1b", 1), ("2a", 2)):
        record(folder, name, seed=seed)
    first, table = run(folder, id_pattern=r"^(\d)")
    assert counts(first) == [3, 2, 1, 0]
    assert first["reasons"] == {"duplicate": 1}
    record(folder, "3a", seed=1)  # the copy of one who was sure until now
    grown, after = run(folder, id_pattern=r"^(\d)", previous=table.path)
    fresh, expected = run(folder, id_pattern=r"^(\d)")
    assert counts(grown) == counts(fresh) == [4, 1, 3, 0]
    assert grown["reasons"] == fresh["reasons"] == {"several_participants": 3}
    for name, key in (("recordings", "ecg_id"), ("quarantine", "path")):
        pd.testing.assert_frame_equal(
            after(name).sort_values(key).reset_index(drop=True),
            expected(name).sort_values(key).reset_index(drop=True),
        )
    for suffix in ("hea", "dat"):
        (folder / f"3a.{suffix}").unlink()
    back, _ = run(folder, id_pattern=r"^(\d)", previous=after.path)
    assert counts(back) == counts(first)


@pytest.mark.parametrize(
    ("folder", "pattern", "expected"),
    [
        ("wfdb-companions/s0010_re", r"(.)", [1, 1, 0, 0]),
        ("not-an-ecg/folder", r"(.)", [7, 1, 0, 6]),
        ("two-participants", r"^p(\d)", [3, 1, 2, 0]),
    ],
)
def test_folders_of_the_field_are_counted_as_they_are(run, shared_data, folder, pattern, expected):
    if not (shared_data / "field").is_dir():
        pytest.skip("the files of the field are not there")
    summary, _ = run(shared_data / "field" / "ecg" / folder, id_pattern=pattern)
    assert counts(summary) == expected
