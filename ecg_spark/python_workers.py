"""Spark's daemon of Python workers, without the 0.2 s per task of reading archives again.

Before each task a worker clears the caches of the import path. Up to Python 3.11 that reads the
directories of all archives on the path again: thousands of names in pyspark.zip and Spark's jar
(https://github.com/python/cpython/issues/103200). Here an archive is only read again if its file
has changed. Spark runs this module instead of its own daemon by `spark.python.daemon.module`, so
the Python of every executor must find it.
"""

import os
import zipimport
from typing import Any

from pyspark.daemon import manager

_read_again = zipimport.zipimporter.invalidate_caches
_stamps: dict[tuple[str, str], tuple[int, int]] = {}


def read_if_changed(importer: Any) -> None:
    """Read the directory of an importer's archive again if its file has changed."""
    try:
        status = os.stat(importer.archive)
    except OSError:
        _read_again(importer)
        return
    own, stamp = (importer.archive, importer.prefix), (status.st_mtime_ns, status.st_size)
    if _stamps.get(own) != stamp:
        _read_again(importer)
        _stamps[own] = stamp


if __name__ == "__main__":
    zipimport.zipimporter.invalidate_caches = read_if_changed  # type: ignore[method-assign, assignment]
    manager()
