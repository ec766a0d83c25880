"""Locks that keep two processes from the same step.

On a file system the kernel holds a lock and lets go of it when the process ends, however that is.
An object store has no such thing. There a lock is a lease: a file that is made once, renewed while
its owner lives, and removed. Making a file only where there is none is what such stores do for one
process and refuse to all others. A lease that nobody has renewed for a while is of a process that
was killed, and is taken over. Its owner may yet live, on a machine that stood still: it asks before
it publishes, and finds that it has lost the lease.
"""

import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, TextIO

import fsspec

from ecg_spark.errors import InfrastructureError
from ecg_spark.locations import make_folder

log = logging.getLogger(__name__)

RENEWED_SECONDS, FORGOTTEN_SECONDS = 30.0, 300.0
"""How often a lease is renewed, and after what silence its owner is held for dead: clocks may
differ by minutes, not more, or the store itself refuses what they sign."""

SETTLED_SECONDS = 3.0
"""After which of two that take over the same lease the one that wrote last has it."""


@contextmanager
def lock(path: str, step: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of a step, the file at `path`, against all other processes.

    The function that it gives raises `InfrastructureError` where the lock has been lost since,
    which the kernel's never is. Raises `InfrastructureError`, which says who is at work, where that
    is another process.
    """
    files, base = fsspec.core.url_to_fs(path)
    make_folder(path.rpartition("/")[0])
    who = (
        f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} "
        f"UTC"
    )
    if "file" in files.protocol:
        held = _kernel_lock(base, step, who)
    else:
        held = _lease(_Lease(files, base, step, who))
    with held as require:
        yield require


def holder(path: str) -> str:
    """Who holds the lock at `path`; empty where nobody does. Nothing is changed."""
    files, base = fsspec.core.url_to_fs(path)
    if "file" not in files.protocol:
        found = _read(files, base)
        alive = time.time() - found.get("renewed_at", 0.0) < FORGOTTEN_SECONDS
        return str(found.get("who", "another process")) if alive else ""
    try:
        with open(base, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
    except FileNotFoundError:
        pass
    return ""


@contextmanager
def _kernel_lock(path: str, step: str, who: str) -> Iterator[Callable[[], None]]:
    with open(path, "a+", encoding="utf-8") as file:
        try:
            _take(file)
        except BlockingIOError:
            file.seek(0)
            raise _taken(step, file.read().strip()) from None
        file.truncate(0)
        file.write(who)
        file.flush()
        yield lambda: None


def _take(file: TextIO) -> None:
    """Take the lock of a file, at the second try if `holder` looks at it just then."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.1)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _lease(own: "_Lease") -> Iterator[Callable[[], None]]:
    own.take()
    over = Event()
    renewal = Thread(target=own.renew_until, args=(over,), daemon=True)
    renewal.start()
    try:
        yield own.require
    finally:
        over.set()
        renewal.join()
        own.give_back()


class _Lease:
    def __init__(self, files: fsspec.AbstractFileSystem, path: str, step: str, who: str) -> None:
        self._fs, self._path = files, path
        self._step, self._who, self._token = step, who, secrets.token_hex(8)

    def take(self) -> None:
        """Make the file, or take over one that is forgotten."""
        try:
            self._write(mode="create")
        except OSError as error:  # each store refuses in its own words
            found = self._read()
            if not found and not isinstance(error, FileExistsError):
                raise
            now = time.time()
            if now - found.get("renewed_at", now) < FORGOTTEN_SECONDS:
                raise self._taken(found) from None
            self._write()
            time.sleep(SETTLED_SECONDS)
            self.require()

    def require(self) -> None:
        """Raise `InfrastructureError` where another process has the lease."""
        found = self._read()
        if found.get("token") != self._token:
            raise self._taken(found)

    def renew_until(self, over: Event) -> None:
        """Renew the lease from time to time while it is this process's."""
        while not over.wait(RENEWED_SECONDS):
            try:
                if self._read().get("token") != self._token:
                    return
                self._write()
            except Exception as error:
                log.debug("The lease of %s was not renewed: %s", self._step, type(error).__name__)

    def give_back(self) -> None:
        """Remove the file, if it is still this process's."""
        with suppress(Exception):  # it will be forgotten
            if self._read().get("token") == self._token:
                self._fs.rm_file(self._path)

    def _read(self) -> dict[str, Any]:
        return _read(self._fs, self._path)

    def _write(self, **how: str) -> None:
        content = {"who": self._who, "token": self._token, "renewed_at": time.time()}
        self._fs.pipe_file(self._path, json.dumps(content).encode(), **how)

    def _taken(self, found: dict[str, Any]) -> InfrastructureError:
        minutes = f"; one that was killed is forgotten after {FORGOTTEN_SECONDS / 60:.0f} minutes"
        return _taken(self._step, found.get("who", ""), minutes)


def _read(files: fsspec.AbstractFileSystem, path: str) -> dict[str, Any]:
    """What a lease says; nothing where there is none."""
    try:
        return dict(json.loads(files.cat_file(path)))
    except FileNotFoundError:
        return {}
    except ValueError:  # not one of ours
        return {"renewed_at": 0.0}


def _taken(step: str, who: str, more: str = "") -> InfrastructureError:
    return InfrastructureError(
        f"The step '{step}' is being run in this output folder by {who or 'another process'}: wait "
        f"for it, or stop it and run the same command again{more}."
    )
