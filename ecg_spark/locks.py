"""Locks that keep two processes from running the same step.

On a file system the kernel holds a lock and releases it when the process ends, however it ends. An
object store has no locks. There a lock is a lease: a file that is created, renewed while its owner
lives, and removed. If several processes create the file on the condition that it does not exist,
the store lets only one of them succeed. A lease that has not been renewed for some minutes belongs
to a process that was killed, and is taken over. If its owner is still alive, on a machine that was
suspended, it checks the lease before it publishes and finds that it has lost it.
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
"""How often a lease is renewed, and how long after the last renewal its owner counts as dead.
Clocks may differ by some minutes; if by more, the store itself rejects signed requests."""

SETTLED_SECONDS = 3.0
"""How long to wait after taking over a lease: if two processes did, the last to write has it."""


@contextmanager
def lock(path: str, step: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of a step while the block runs, so that no other process can.

    Args:
        path: the path or URI of the lock's file.
        step: the name of the step, for messages.

    Yields:
        A function that raises `InfrastructureError` if the lock has been lost since; a lock that
        the kernel holds cannot be lost.

    Raises:
        InfrastructureError: another process has the lock; the message says which.
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
    """Return which process holds the lock at `path`; empty if none does. Changes nothing."""
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
    """Take the lock of a file; tries twice, because `holder` may be looking at it."""
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
        """Create the lease's file, or take over one that has expired."""
        try:
            self._write(mode="create")
        except OSError as error:  # each store has an error of its own for it
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
        """Raise `InfrastructureError` if another process has the lease."""
        found = self._read()
        if found.get("token") != self._token:
            raise self._taken(found)

    def renew_until(self, over: Event) -> None:
        """Renew the lease from time to time, as long as this process has it."""
        while not over.wait(RENEWED_SECONDS):
            try:
                if self._read().get("token") != self._token:
                    return
                self._write()
            except Exception as error:
                log.debug("The lease of %s was not renewed: %s", self._step, type(error).__name__)

    def give_back(self) -> None:
        """Remove the file if this process still has the lease."""
        with suppress(Exception):  # it will expire
            if self._read().get("token") == self._token:
                self._fs.rm_file(self._path)

    def _read(self) -> dict[str, Any]:
        return _read(self._fs, self._path)

    def _write(self, **how: str) -> None:
        content = {"who": self._who, "token": self._token, "renewed_at": time.time()}
        self._fs.pipe_file(self._path, json.dumps(content).encode(), **how)

    def _taken(self, found: dict[str, Any]) -> InfrastructureError:
        minutes = FORGOTTEN_SECONDS / 60
        more = f"; the lock of a killed process expires after {minutes:.0f} minutes"
        return _taken(self._step, found.get("who", ""), more)


def _read(files: fsspec.AbstractFileSystem, path: str) -> dict[str, Any]:
    """What a lease says; empty if there is none."""
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
