"""Disks that are full: of the output folder, of the temporary folder, and of a worker."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from ecg_spark.store import Store
from tests.chaos.chaos_cluster import at_work
from tests.chaos.conftest import ROOT, in_process, sentence_of

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path):
    """A function that makes a small disk at a folder; only root may."""
    mounted = []

    def make(folder: Path, mib: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("only root may mount a small disk")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Fill a disk but for so many bytes; the file that does it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        while True:
            status = os.statvfs(folder)
            free = status.f_bavail * status.f_frsize + os.fstat(file.fileno()).st_blocks * 512
            with contextlib.suppress(OSError):  # somebody else has just written there
                os.posix_fallocate(file.fileno(), 0, max(free - left, 1))
                return filler


def require_one_sentence(code, said, lines):
    assert code == 4, lines[-20:]
    # Some steps reckon what they need, and say so before their work.
    assert "disk is full" in said or " MB of disk and the output folder has " in said
    assert not any("Traceback" in line or "\tat " in line for line in lines)
    assert len(lines) < 20, lines


@pytest.mark.parametrize(
    "step", ["ingest", "average", "train", "encode", "genotypes", "null_model", "associations"]
)
def test_full_output_folder_is_one_sentence_and_publishes_nothing(whole, step, tmp_path, disk):
    out = disk(tmp_path / "out", 600)
    study = whole.until(step, tmp_path, out)
    filler = fill(out, 16 << 10)
    require_one_sentence(*sentence_of(in_process(step, study)))
    store = Store(str(out))
    assert store.published(step) is None
    filler.unlink()
    code, said, _ = sentence_of(in_process(step, study))
    assert code == 0, said
    whole.assert_same(step, study)


# Genotypes and findings of a set that fits their memory write nothing there.
@pytest.mark.parametrize("step", ["average", "encode", "associations"])
def test_full_temporary_folder_is_one_sentence_and_publishes_nothing(whole, step, tmp_path, disk):
    temporary = disk(tmp_path / "temporary", 300)
    study = whole.until(step, tmp_path)
    filler = fill(temporary, MIB // 4)
    where = {"TMPDIR": str(temporary), "SPARK_LOCAL_DIRS": str(temporary)}
    require_one_sentence(*sentence_of(in_process(step, study, **where)))
    assert Store(str(tmp_path / "out")).published(step) is None
    filler.unlink()
    code, said, _ = sentence_of(in_process(step, study, **where))
    assert code == 0, said
    whole.assert_same(step, study)


@pytest.mark.parametrize("step", ["average", "encode"])
def test_full_disk_of_a_worker_is_one_sentence_and_publishes_nothing(
    whole, step, tmp_path, disk, cluster_module, monkeypatch, capfd
):
    study, events = whole.until(step, tmp_path), tmp_path / "events"
    events.mkdir()
    scratch = disk(tmp_path / "scratch", 1500)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with cluster_module.Cluster(events.as_uri(), "2g", "1500m") as cluster:
        with at_work(cluster, study, step) as (code, *_):
            filler = fill(scratch, 0)
        assert code == [4]
        said = capfd.readouterr().err.splitlines()
        sentences = [line for line in said if line.startswith("ecg-spark: The disk is full")]
        assert sentences, said[-20:]
        assert Store(str(tmp_path / "out")).published(step) is None
        filler.unlink()
        assert cluster.submit(ROOT / "jobs" / f"{step}.py", "--study", str(study)) == 0
    whole.assert_same(step, study)
