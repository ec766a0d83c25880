"""Spark's daemon of Python workers, which saves each worker its imports and each task 0.2 s.

A worker is a fork of the daemon: it starts with everything that the daemon has imported, in memory
that all workers of the executor share. After each task a worker collects garbage among the objects
that it holds. The objects that it started with, and those of packages that a task has imported, are
left out of that; otherwise the collection would take longer than many tasks (0.12 s with PyTorch).

Before each task a worker clears the caches of the import path. Up to Python 3.11 that reads the
directories of all archives on the path again: thousands of names in pyspark.zip and Spark's jar
(https://github.com/python/cpython/issues/103200). Here an archive is only read again if its file
has changed. Spark runs this module instead of its own daemon because of the setting
`spark.python.daemon.module`, so the Python of every executor must find it.
"""

import contextlib
import gc
import os
import sys
import zipimport
from importlib import import_module, invalidate_caches
from typing import Any

from pyspark import daemon

USUAL = ("numpy", "pandas", "pyarrow.parquet", "scipy.signal", "scipy.stats", "pydantic", "h5py")
"""Packages that most tasks import: a second of work. PyTorch is left to those that encode."""

_read_again = zipimport.zipimporter.invalidate_caches
_stamps: dict[tuple[str, str], tuple[int, int]] = {}


def read_if_changed(importer: Any) -> None:
    """Read the directory of an importer's archive again only if its file has changed."""
    try:
        status = os.stat(importer.archive)
    except OSError:
        _read_again(importer)
        return
    own, stamp = (importer.archive, importer.prefix), (status.st_mtime_ns, status.st_size)
    if _stamps.get(own) != stamp:
        _read_again(importer)
        _stamps[own] = stamp


class Collector:
    """Stands for the module `gc` where a worker collects garbage after each task."""

    def __init__(self) -> None:
        self._modules = len(sys.modules)

    def collect(self) -> int:
        """Collect garbage, and leave out from then on what has been imported since the last time.

        Returns:
            The number of objects that could not be reached.
        """
        found = gc.collect()
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            gc.freeze()
        return found


def prepare() -> None:
    """Import what most tasks need.

    A package that is missing is ignored here: the tasks that need it report it.
    """
    # The port on which Spark reaches the daemon is read from its standard output.
    with contextlib.redirect_stdout(sys.stderr):
        for name in USUAL:
            with contextlib.suppress(Exception):
                import_module(name)
    invalidate_caches()  # what the archives hold now, no worker need read again
    gc.freeze()


if __name__ == "__main__":
    zipimport.zipimporter.invalidate_caches = read_if_changed  # type: ignore[method-assign, assignment]
    prepare()
    daemon.gc = Collector()  # type: ignore[assignment]
    daemon.manager()
