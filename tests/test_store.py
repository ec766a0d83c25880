"""Publications: all or nothing, whatever happens to the run."""

import os
import subprocess
import sys
import threading
import time

import fsspec
import pytest

from ecg_spark import locks
from ecg_spark.errors import InfrastructureError, UsageError
from ecg_spark.locations import make_folder
from ecg_spark.store import Store, file_stamp, fingerprint, remove_folder


def write(path, text):
    with fsspec.open(path, "w") as file:
        file.write(text)


def publish(store, step, text, provenance=None):
    with store.run(step, provenance or {}) as run:
        write(run.path("table"), text)
        return run.publish({"rows": 1})


def content(store, step):
    with fsspec.open(store.require(step).path("table"), "r") as file:
        return file.read()


def runs_of(store, step):
    files, base = fsspec.core.url_to_fs(f"{store.root}/runs/{step}")
    return [name.rpartition("/")[2] for name in files.ls(base, detail=False)]


def test_a_reader_sees_the_old_output_until_the_new_one_is_published(anywhere):
    store = Store(anywhere)
    publish(store, "ingest", "old")
    with store.run("ingest", {"seed": 2}) as run:
        write(run.path("table"), "new")
        assert content(store, "ingest") == "old"
        run.publish({})
    assert content(store, "ingest") == "new"
    assert store.require("ingest").provenance == {"seed": 2}


def test_a_failed_run_leaves_the_old_output_and_nothing_else(anywhere):
    store = Store(anywhere)
    publish(store, "ingest", "old")

    def fail():
        with store.run("ingest", {"seed": 2}) as run:
            write(run.path("table"), "half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert content(store, "ingest") == "old"
    assert len(runs_of(store, "ingest")) == 1


def test_what_a_killed_run_left_is_removed_by_the_next(anywhere):
    store = Store(anywhere)
    killed = f"{store.root}/runs/ingest/20200101T000000-abcdef"
    make_folder(killed)
    write(f"{killed}/part", "half")
    assert store.published("ingest") is None
    publish(store, "ingest", "whole")
    assert runs_of(store, "ingest") == [store.require("ingest").run]
    assert content(store, "ingest") == "whole"


def test_previous_run_is_kept_until_the_second_publication_after_it(anywhere):
    store = Store(anywhere)
    first = publish(store, "ingest", "1")
    publish(store, "ingest", "2")
    with fsspec.open(first.path("table"), "r") as file:
        assert file.read() == "1"
    publish(store, "ingest", "3")
    assert len(runs_of(store, "ingest")) == 2


def test_a_step_that_never_ran_is_named(tmp_path):
    with pytest.raises(UsageError, match="ecg-spark ingest"):
        Store(str(tmp_path)).require("ingest")


def test_a_damaged_pointer_is_an_error_not_an_absence(tmp_path):
    store = Store(str(tmp_path))
    publish(store, "ingest", "1")
    (tmp_path / "published" / "ingest.json").write_text("{")
    with pytest.raises(InfrastructureError, match="damaged"):
        store.published("ingest")


def test_a_pointer_without_its_folder_is_no_publication(tmp_path):
    store = Store(str(tmp_path))
    (tmp_path / "published").mkdir()
    assert store.published("ingest") is None
    (tmp_path / "published" / "ingest.json").write_text(
        '{"step": "ingest", "run": "gone", "provenance": {}, "published_at": "", "summary": {}}'
    )
    assert store.published("ingest") is None


@pytest.mark.parametrize("name", ["out", "rd[1]", "a*?"])
def test_publications_are_found_by_the_beginning_of_their_names_in_any_folder(tmp_path, name):
    store = Store(str(tmp_path / name))
    for step in ("replicate-b", "replicate-a", "report"):
        publish(store, step, step)
    assert [one.step for one in store.published_as("replicate-")] == ["replicate-a", "replicate-b"]


def test_fingerprint_depends_only_on_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_changed_input_changes_its_stamp(anywhere):
    """Also one of the same size, and one in a folder."""
    file, other = f"{anywhere}/people.csv", f"{anywhere}/parts/b.parquet"
    make_folder(f"{anywhere}/parts")
    stamps = [file_stamp(file)]
    write(other, "1")
    folder = file_stamp(f"{anywhere}/parts")
    for text in ("a", "ab", "cd"):
        time.sleep(0.01)  # local files are told apart by their time
        write(file, text)
        stamps.append(file_stamp(file))
        assert file_stamp(file) == stamps[-1]
    assert all(stamps.count(stamp) == 1 for stamp in stamps)
    assert stamps[0][1] is None
    write(other, "2")
    assert file_stamp(f"{anywhere}/parts") != folder


HOLDER = """
import sys, time
from ecg_spark.store import Store
with Store(sys.argv[1]).run("train", {}):
    print("at work", flush=True)
    time.sleep(300)
"""


def test_the_process_at_work_on_a_step_is_named_and_a_killed_one_holds_no_lock(tmp_path):
    store = Store(str(tmp_path))
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        try:
            assert holder.stdout.readline().strip() == "at work"
            (theirs,) = (tmp_path / "runs" / "train").iterdir()
            with pytest.raises(InfrastructureError, match=rf"'train'.* process {holder.pid} on "):
                publish(store, "train", "new")
            assert theirs.is_dir()
            publish(store, "ingest", "other steps go on")
        finally:
            holder.kill()
    publish(store, "train", "new")
    assert content(store, "train") == "new"


def test_on_a_store_a_second_writer_is_refused_while_the_first_is_at_work(bucket):
    first, second = Store(bucket), Store(bucket)
    with first.run("train", {}) as run:
        write(run.path("table"), "first")
        with pytest.raises(InfrastructureError, match=rf"'train'.* process {os.getpid()} on "):
            publish(second, "train", "second")
        publish(second, "ingest", "other steps go on")
        run.publish({})
    assert content(second, "train") == "first"
    publish(second, "train", "second")
    assert content(first, "train") == "second"


def test_on_a_store_the_lease_of_a_killed_writer_expires(bucket, monkeypatch):
    store = Store(bucket)
    command = [sys.executable, "-c", HOLDER, bucket]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout.readline().strip() == "at work"
        holder.kill()
    with pytest.raises(InfrastructureError, match="lock of a killed process expires after 5 min"):
        publish(store, "train", "new")
    monkeypatch.setattr(locks, "FORGOTTEN_SECONDS", 0.5)
    monkeypatch.setattr(locks, "SETTLED_SECONDS", 0.1)
    time.sleep(0.6)
    publish(store, "train", "new")
    assert content(store, "train") == "new"
    assert runs_of(store, "train") == [store.require("train").run]


def test_on_a_store_a_writer_that_lost_its_lease_cannot_publish(bucket, monkeypatch):
    monkeypatch.setattr(locks, "FORGOTTEN_SECONDS", 0.0)
    monkeypatch.setattr(locks, "SETTLED_SECONDS", 0.1)
    still, other = Store(bucket), Store(bucket)

    def stand_still():
        with still.run("train", {}) as run:
            write(run.path("table"), "half")
            publish(other, "train", "other")
            run.publish({})

    with pytest.raises(InfrastructureError, match="'train' is being run in this output folder"):
        stand_still()
    assert content(still, "train") == "other"
    assert runs_of(still, "train") == [still.require("train").run]


def test_on_a_store_a_lease_is_renewed_while_its_owner_is_at_work(bucket, monkeypatch):
    monkeypatch.setattr(locks, "RENEWED_SECONDS", 0.05)
    monkeypatch.setattr(locks, "FORGOTTEN_SECONDS", 0.5)
    store = Store(bucket)
    with store.run("train", {}) as run:
        time.sleep(1)
        with pytest.raises(InfrastructureError, match="is being run"):
            publish(Store(bucket), "train", "second")
        run.publish({})
    assert store.published("train") is not None


def test_on_a_store_a_partly_removed_run_does_not_count_as_published(bucket):
    store = Store(bucket)
    run = publish(store, "train", "whole")
    files, base = fsspec.core.url_to_fs(run.folder)
    files.rm_file(f"{base}/_run")
    assert files.exists(f"{base}/table")
    assert store.published("train") is None


def test_on_a_store_readers_see_whole_outputs_while_two_writers_publish(bucket):
    """Each output is five files of one text: a mixture would be of two writers."""
    names, turns, failures = [str(k) for k in range(5)], 4, []

    def writer(who):
        store, left = Store(bucket), turns
        while left:
            try:
                with store.run("train", {}) as run:
                    for name in names:
                        write(run.path(name), f"{who}{left}")
                    run.publish({"files": len(names)})
                left -= 1
            except InfrastructureError:  # the other one is at work
                time.sleep(0.01)

    def watched(who):
        try:
            writer(who)
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=watched, args=(who,)) for who in "ab"]
    store, seen = Store(bucket), set()
    for one in writers:
        one.start()
    while any(one.is_alive() for one in writers):
        if (found := store.published("train")) is None:
            continue
        try:
            texts = {fsspec.open(found.path(name), "r").open().read() for name in names}
        except FileNotFoundError:  # two publications later: to be read anew
            continue
        assert len(texts) == 1
        seen |= texts
    assert not failures
    assert {text[0] for text in seen} <= {"a", "b"}
    assert seen
    assert store.require("train").summary == {"files": 5}


def test_on_a_store_all_processes_have_the_same_secret(bucket):
    found = []
    several = [
        threading.Thread(target=lambda: found.append(Store(bucket).secret())) for _ in range(4)
    ]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert len(set(found)) == 1
    assert len(found) == 4


def test_a_folder_with_sparks_marks_of_folders_is_removed(bucket):
    """Hadoop makes empty objects whose names end in a slash."""
    files, base = fsspec.core.url_to_fs(f"{bucket}/runs/train/a")
    for name in ("/", "/part.parquet", "/empty/"):
        files.call_s3("put_object", Bucket=base.split("/")[0], Key=f"runs/train/a{name}", Body=b"")
    remove_folder(f"{bucket}/runs/train/a")
    remove_folder(f"{bucket}/runs/train/a")
    assert not files.find(f"{base}")
