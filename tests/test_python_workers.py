"""What Spark's Python workers begin with, and what they know of archives on their path."""

import os
import socket
import struct
import subprocess
import sys
import zipfile
import zipimport
from pathlib import Path

import psutil
import pytest

from ecg_spark.python_workers import read_if_changed


def archive(path, modules):
    with zipfile.ZipFile(path, "w") as file:
        for name, value in modules.items():
            file.writestr(f"{name}.py", f"VALUE = {value}\n")
    return str(path)


def test_an_archive_is_read_again_where_it_has_changed_and_only_there(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.zip", {"first": 1})
    importer = zipimport.zipimporter(path)
    read_if_changed(importer)
    with monkeypatch.context() as patched:
        patched.setattr(zipimport, "_read_directory", None)
        read_if_changed(importer)
    assert importer.find_spec("first")
    assert not importer.find_spec("second")
    archive(path, {"first": 1, "second": 22})
    os.utime(path, ns=(1, 1))
    read_if_changed(importer)
    assert importer.find_spec("second")
    os.remove(path)
    read_if_changed(importer)
    assert not importer.find_spec("first")


def test_a_task_imports_from_an_archive_that_came_after_its_worker_began(spark, tmp_path):
    context = spark.sparkContext

    def value_of(name):
        return list(context.range(4, numSlices=4).map(lambda _: __import__(name).VALUE).collect())

    context.range(4, numSlices=4).map(str).collect()
    for number, name in enumerate(("of_one_archive", "of_another")):
        context.addPyFile(archive(tmp_path / f"{name}.zip", {name: number}))
        assert value_of(name) == [number] * 4


def test_what_a_task_has_imported_is_left_out_of_later_collections(spark, tmp_path):
    (tmp_path / "large.py").write_text("VALUE = [[] for _ in range(200_000)]\n")
    context = spark.sparkContext
    context.addPyFile(str(tmp_path / "large.py"))

    def objects(imports):
        def count(_):
            import gc
            import sys

            if imports:
                __import__("large")
            return "large" in sys.modules, len(gc.get_objects())

        return context.range(4, numSlices=4).map(count).collect()

    assert max(count for _, count in objects(imports=True)) > 200_000
    later = [count for has_imported, count in objects(imports=False) if has_imported]
    assert later
    assert max(later) < 100_000


@pytest.mark.programs
def test_a_worker_begins_with_what_most_tasks_import(tmp_path):
    """Also where one of the packages says something, which Spark would take for the port, and
    cannot be imported."""
    (tmp_path / "h5py.py").write_text("print('of this version')\nraise RuntimeError\n")
    with subprocess.Popen(
        [sys.executable, "-m", "ecg_spark.python_workers"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as daemon:
        (port,) = struct.unpack("!i", daemon.stdout.read(4))
        socket.create_connection(("127.0.0.1", port), 10).close()
        loaded = {place.path for place in psutil.Process(daemon.pid).memory_maps()}
        daemon.stdin.close()
        daemon.wait(30)
        assert b"of this version" in daemon.stderr.read()
    assert any("/scipy/signal/" in path for path in loaded)
    assert not any("/torch/" in path for path in loaded)
