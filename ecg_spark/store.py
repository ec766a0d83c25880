"""The output folder of a study: a run is published by replacing one pointer atomically.

    OUT/runs/<step>/<run>/...      what a step wrote, never changed once it is published
    OUT/published/<step>.json      the pointer: which run is current, and what it was made from
    OUT/locks/<step>               which process is working on a step
    OUT/secret.key                 the key of the hashes of participant ids

A reader sees either a step's old output or its new one, never half of it: the pointer is replaced
by a rename on a file system and by a single put on an object store. No pointer leads to a run that
was killed; the next run of its step removes it.

An object store removes a folder file by file and has no locks. There the file `_run` is written
first and removed first: a run without it does not count, whatever points to it. The lock is a file
that its owner renews (see `locks`); a process that has lost its lock cannot publish.
"""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import IO, Any

import fsspec

from ecg_spark.errors import InfrastructureError, UsageError
from ecg_spark.locations import content_tag, make_folder
from ecg_spark.locks import holder, lock

log = logging.getLogger(__name__)

SECRET, SECRET_BYTES = "secret.key", 32
BEGUN = "_run"
"""The first file of a run on a store, and the first to be removed."""


@dataclass(frozen=True)
class Publication:
    """What a step has published.

    Attributes:
        step: the name of the step.
        run: the name of the run, which is also that of its folder.
        provenance: what the run was made from: fingerprints of its inputs and settings.
        published_at: the time in UTC, in ISO 8601.
        summary: the counts and other results that the command prints.
        folder: the path or URI of the run's folder.
        version: the version of ecg-spark that made it; empty if it was not recorded.
    """

    step: str
    run: str
    provenance: dict[str, Any]
    published_at: str
    summary: dict[str, Any]
    folder: str
    version: str = ""
    """The version of ecg-spark that made it."""

    def path(self, name: str) -> str:
        """Return the path of one of the outputs, for example of a table's folder."""
        return f"{self.folder}/{name}"


def fingerprint(*parts: Any) -> str:
    """Return a digest of inputs and settings: equal parts give an equal digest in any process.

    Args:
        parts: anything JSON can hold; other objects count by their text. The order of keys in
            mappings does not matter, that of lists does.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_stamp(path: str) -> list[Any]:
    """Return what changes when an input changes: its path, size, and tag or modification time.

    For a folder, the size is the sum over all files in it and the tag is a digest of their listing.
    An input that does not exist has the size None: the code that reads it raises the clearer error.

    Args:
        path: a path or URI of a file or folder.

    Returns:
        `[path, bytes or None, tag]`; the tag is empty if the file system gives none.
    """
    fs, base = fsspec.core.url_to_fs(path)
    try:
        info = fs.info(base)
    except FileNotFoundError:
        return [path, None, ""]
    if info["type"] != "directory":
        return [path, info["size"], content_tag(info)]
    found = sorted(
        (name, one["size"], content_tag(one)) for name, one in fs.find(base, detail=True).items()
    )
    return [path, sum(size for _, size, _ in found), fingerprint(found)]


def atomic_write(path: str, body: bytes) -> None:
    """Replace a file atomically: by a rename, or by a single put on an object store.

    Args:
        path: the path or URI of the file; its folder is made if need be.
        body: its whole content.

    Raises:
        OSError: the file cannot be written; the earlier one is then unchanged.
    """
    fs, base = fsspec.core.url_to_fs(path)
    make_folder(path.rpartition("/")[0])
    if "file" not in fs.protocol:
        fs.pipe_file(base, body)
        return
    aside = f"{base}.{secrets.token_hex(4)}"
    try:
        with open(aside, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, base)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(aside)
        raise


@contextmanager
def atomic_file(path: str) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces an earlier one of the same name when it is complete.

    Until then its name begins with a dot, so that readers of the folder ignore it. If the block
    raises, the new file is removed and the earlier one stays.

    Args:
        path: the path or URI of the file; its folder is made if need be.
    """
    fs, base = fsspec.core.url_to_fs(path)
    folder, _, name = base.rpartition("/")
    make_folder(path.rpartition("/")[0])
    aside = f"{folder}/.{name}.{secrets.token_hex(4)}"
    try:
        with fs.open(aside, "wb") as file:
            yield file
        fs.mv(aside, base)
    except BaseException:
        with suppress(FileNotFoundError):
            fs.rm(aside)
        raise


def remove_folder(folder: str) -> None:
    """Remove a folder and its content; does nothing if it does not exist."""
    fs, path = fsspec.core.url_to_fs(folder)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def _write_once(path: str, body: bytes) -> None:
    """Create a file that only its owner can read, atomically, unless another process has."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(aside, path)
    with suppress(FileNotFoundError):
        os.unlink(aside)


class Store:
    """The output folder of one study, on any file system that fsspec reaches."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._fs, self._base = fsspec.core.url_to_fs(self.root)
        self._has_locks = "file" in self._fs.protocol

    def published(self, step: str) -> Publication | None:
        """Return the current publication of a step, or None if there is none.

        Raises:
            InfrastructureError: the pointer is not valid JSON or lacks fields.
        """
        try:
            content = json.loads(self._fs.cat_file(f"{self._base}/{_pointer(step)}"))
            known = {
                key: content[key] for key in Publication.__dataclass_fields__ if key in content
            }
            publication = Publication(**known, folder=f"{self.root}/runs/{step}/{content['run']}")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise InfrastructureError(
                f"The pointer published/{step}.json in the output folder is damaged: "
                f"remove it and run the step again."
            ) from None
        return publication if self._is_there(step, publication.run) else None

    def require(self, step: str) -> Publication:
        """Return the current publication of a step.

        Raises:
            UsageError: the step has not published anything.
            InfrastructureError: the pointer is damaged.
        """
        publication = self.published(step)
        if publication is None:
            raise UsageError(
                f"Nothing is published for the step '{step}' in the output folder: "
                f"run 'ecg-spark {step}' first."
            )
        return publication

    def published_as(self, prefix: str) -> list[Publication]:
        """The current publications whose names begin so, by their names."""
        names = [name for name in self.steps() if name.startswith(prefix)]
        return [found for name in names if (found := self.published(name)) is not None]

    def secret(self) -> bytes:
        """Return 32 random bytes of this study, created at the first call.

        On a file system only the owner of their file can read them. They key the hashes of ids, so
        that nobody who sees a hash can find the id by trying all of them. They are never logged and
        never leave the output folder. As long as they stay the same, people are assigned to the
        same split in every run.

        Raises:
            InfrastructureError: the file does not have 32 bytes.
        """
        path = f"{self._base}/{SECRET}"
        if not self._fs.exists(path):
            body = secrets.token_bytes(SECRET_BYTES)
            if self._has_locks:
                _write_once(path, body)
            else:
                with suppress(FileExistsError):
                    self._fs.pipe_file(path, body, mode="create")
        found: bytes = self._fs.cat_file(path)
        if len(found) != SECRET_BYTES:
            raise InfrastructureError(
                f"The file {SECRET} in the output folder is damaged: remove it and run "
                f"'ecg-spark average' again."
            )
        return found

    @contextmanager
    def run(self, step: str, provenance: dict[str, Any]) -> Iterator["Run"]:
        """Start a new run of a step, in a folder of its own.

        The step's lock is held while the block runs. Runs that were interrupted earlier are removed
        first. If the block raises, or does not publish, the new run is removed too.

        Args:
            provenance: what the run is made from, which `Publication.provenance` will hold.

        Raises:
            InfrastructureError: another process is working on the step.
        """
        with self.lock(step) as require_lock:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
            self._remove_unpublished(step)
            run = Run(self, step, name, provenance, require_lock)
            make_folder(run.folder)
            if not self._has_locks:
                self._fs.pipe_file(self._runs(step, name, BEGUN), b"")
            try:
                yield run
            except BaseException:
                self._remove(step, name)
                raise
            if not run.is_published:
                self._remove(step, name)

    def lock(self, step: str) -> AbstractContextManager[Callable[[], None]]:
        """Keep other processes from a step while this one works on it: see `locks.lock`."""
        return lock(f"{self.root}/locks/{step}", step)

    def put_copy(self, path: str, name: str) -> str:
        """Copy a file of a run into the output folder, atomically, and return its path there.

        Args:
            path: the path or URI of the file to be copied.
            name: its path below the output folder.
        """
        atomic_write(f"{self.root}/{name}", self._fs.cat_file(self._fs._strip_protocol(path)))
        return f"{self.root}/{name}"

    def size_of(self, step: str, run: str) -> int:
        """Return the total size of a run's files in bytes."""
        return int(self._fs.du(self._runs(step, run)))

    def at_work(self, step: str) -> str:
        """Return which process is working on a step now; empty if none is."""
        return holder(f"{self.root}/locks/{step}")

    def steps(self) -> list[str]:
        """The names under which something was begun, published or not."""
        folder = f"{self._base}/runs"
        if not self._fs.exists(folder):
            return []
        paths = self._fs.ls(folder, detail=False)
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def remove_leftovers(self, step: str) -> tuple[int, int]:
        """Remove what interrupted runs of a step left behind.

        Nothing is removed while a process is working on the step.

        Returns:
            The number of runs removed, and their size in bytes.
        """
        try:
            with self.lock(step):
                sizes = [self.size_of(step, name) for name in self._leftovers(step)]
                self._remove_unpublished(step)
        except InfrastructureError:
            return 0, 0
        return len(sizes), sum(sizes)

    def _leftovers(self, step: str) -> list[str]:
        """The runs of a step that are not published."""
        current, folder = self.published(step), self._runs(step)
        if not self._fs.exists(folder):
            return []
        names = [path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(folder, detail=False)]
        return [name for name in names if current is None or name != current.run]

    def _publish(self, publication: Publication) -> None:
        content = asdict(publication)
        del content["folder"]
        body = json.dumps(content, indent=1, sort_keys=True).encode()
        atomic_write(f"{self.root}/{_pointer(publication.step)}", body)

    def _remove_unpublished(self, step: str) -> None:
        """Remove what killed runs left, and all but the newest published run."""
        for name in self._leftovers(step):
            self._remove(step, name)

    def _is_there(self, step: str, name: str) -> bool:
        own = [name] if self._has_locks else [name, BEGUN]
        return bool(self._fs.exists(self._runs(step, *own)))

    def _remove(self, step: str, name: str) -> None:
        try:
            if not self._has_locks:
                with suppress(FileNotFoundError):
                    self._fs.rm_file(self._runs(step, name, BEGUN))
            self._fs.rm(self._runs(step, name), recursive=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("An unpublished run of %s could not be removed: %s", step, error.strerror)

    def _runs(self, step: str, *names: str) -> str:
        return "/".join([self._base, "runs", step, *names])


def _pointer(step: str) -> str:
    return f"published/{step}.json"


class Run:
    """A step's output while it is being written."""

    def __init__(
        self,
        store: Store,
        step: str,
        name: str,
        provenance: dict[str, Any],
        require_lock: Callable[[], None],
    ) -> None:
        self._store, self._step, self._name, self._provenance = store, step, name, provenance
        self._require_lock = require_lock
        self.folder = f"{store.root}/runs/{step}/{name}"
        self.is_published = False

    def path(self, name: str) -> str:
        """Return where to write an output of this name."""
        return f"{self.folder}/{name}"

    def publish(self, summary: dict[str, Any]) -> Publication:
        """Make this run the step's current output, atomically.

        Args:
            summary: the counts and other results that the command prints; JSON must be able to hold
                it.

        Raises:
            InfrastructureError: another process has taken over the step in the meantime.
        """
        self._require_lock()
        publication = Publication(
            self._step,
            self._name,
            self._provenance,
            datetime.now(UTC).isoformat(timespec="seconds"),
            summary,
            self.folder,
            version("ecg-spark"),
        )
        self._store._publish(publication)
        self.is_published = True
        return publication
