"""Publications: all or nothing, whatever happens to the run."""

import os
import subprocess
import sys

import pytest

from ecg_spark.errors import InfrastructureError, UsageError
from ecg_spark.store import Store, file_stamp, fingerprint


def publish(store, step, text, made_from=None):
    with store.run(step, made_from or {}) as run:
        path = run.path("table")
        with open(path, "w") as file:
            file.write(text)
        return run.publish({"rows": 1})


def content(store, step):
    with open(store.require(step).path("table")) as file:
        return file.read()


def test_a_reader_sees_the_old_output_until_the_new_one_is_published(tmp_path):
    store = Store(str(tmp_path))
    publish(store, "ingest", "old")
    with store.run("ingest", {"seed": 2}) as run:
        with open(run.path("table"), "w") as file:
            file.write("new")
        assert content(store, "ingest") == "old"
        run.publish({})
    assert content(store, "ingest") == "new"
    assert store.require("ingest").made_from == {"seed": 2}


def test_a_failed_run_leaves_the_old_output_and_nothing_else(tmp_path):
    store = Store(str(tmp_path))
    publish(store, "ingest", "old")

    def fail():
        with store.run("ingest", {"seed": 2}) as run:
            with open(run.path("table"), "w") as file:
                file.write("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert content(store, "ingest") == "old"
    assert len(list((tmp_path / "runs" / "ingest").iterdir())) == 1


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    store = Store(str(tmp_path))
    killed = tmp_path / "runs" / "ingest" / "20200101T000000-abcdef"
    killed.mkdir(parents=True)
    (killed / "part").write_text("half")
    assert store.published("ingest") is None
    publish(store, "ingest", "whole")
    assert not killed.exists()
    assert content(store, "ingest") == "whole"


def test_previous_run_is_kept_until_the_second_publication_after_it(tmp_path):
    store = Store(str(tmp_path))
    first = publish(store, "ingest", "1")
    publish(store, "ingest", "2")
    with open(first.path("table")) as file:
        assert file.read() == "1"
    publish(store, "ingest", "3")
    assert len(list((tmp_path / "runs" / "ingest").iterdir())) == 2


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
        '{"step": "ingest", "run": "gone", "made_from": {}, "published_at": "", "summary": {}}'
    )
    assert store.published("ingest") is None


def test_fingerprint_depends_only_on_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_a_changed_file_changes_its_stamp(tmp_path):
    file = tmp_path / "people.csv"
    missing = file_stamp(str(file))
    file.write_text("a")
    before = file_stamp(str(file))
    file.write_text("ab")
    stamps = [missing, before, file_stamp(str(file))]
    assert all(stamps.count(stamp) == 1 for stamp in stamps)


HOLDER = """
import sys, time
from ecg_spark.store import Store
with Store(sys.argv[1]).run("train", {}):
    print("at work", flush=True)
    time.sleep(300)
"""


def test_a_step_at_work_is_said_with_its_process_and_a_killed_one_holds_nothing(tmp_path):
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
