"""What is to be read: the files, grouped into recordings and archives, and their participants."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import fsspec
import pandas as pd

from ecg_spark.ecg.formats import SIGNAL_SUFFIXES, hdf5, promises_ecg
from ecg_spark.ecg.formats import archives as packed
from ecg_spark.ecg.formats.samples import NOTHING_SAID, Samples
from ecg_spark.ecg.formats.wfdb_header import is_header_name
from ecg_spark.errors import DataError
from ecg_spark.locations import content_tag, join, spelled_like
from ecg_spark.store import fingerprint

log = logging.getLogger(__name__)

INSIDE = "!/"
"""What separates an archive's path from its member's: `visits.zip!/2019/a.xml`."""

AMBIGUOUS = (
    "The manifest cannot be matched to the ECG files: several files or rows have the same name; "
    "give paths relative to ecg.path in its uri column."
)

Listing = list[tuple[str, int, str]]
"""Path, size in bytes, and time of change or tag of each file, in the order of the paths."""

Owner = dict[str, Any]
"""A row of the manifest: `key` (of the file, or inside the archive), `participant_id`,
`acquired_at`."""


@dataclass
class Source:
    """What is read in one go: a file, a WFDB record, an archive, or a slice of a large file.

    Attributes:
        path: names the source in the tables.
        files: the paths of its files.
        size: their bytes.
        stamp: changes whenever the content or the owner of the source does.
        owners: its rows of the manifest.
        holds_several: whether it may hold any number of recordings.
        is_splittable: whether slices of it can be read.
        slice: which part of the file this source is, from 0.
        slices: into how many parts the file is divided.
    """

    path: str
    files: list[str]
    size: int
    stamp: str
    owners: list[Owner] = field(default_factory=list)
    holds_several: bool = False
    is_splittable: bool = False
    slice: int = 0
    slices: int = 1

    def split(self, limit: int) -> "list[Source]":
        """Return slices of about `limit` bytes each; a source that is not splittable stays one."""
        count = max(1, -(-self.size // limit)) if self.is_splittable else 1
        return [
            replace(self, slice=index, slices=count, size=self.size // count)
            for index in range(count)
        ]


def several_suffixes(samples: Samples) -> tuple[str, ...]:
    """Return the endings, in lower case, of files that may hold any number of recordings."""
    return packed.SUFFIXES + (hdf5.SUFFIXES if samples.ids is not None else ())


@dataclass(frozen=True)
class Doubt:
    """A WFDB header that must be read before the files of its record are known.

    Attributes:
        header: its path.
        customary: the paths of the files that it has by custom. (What `ReadNames` returns are names
            in the header's folder.)
    """

    header: str
    customary: list[str]


ReadNames = Callable[[list[Doubt]], Mapping[str, list[str]]]
"""Returns the files that headers name, for headers whose files are not the customary ones."""


def list_files(path: str | None, manifest: pd.DataFrame | None, folder: str) -> Listing:
    """Return the files below a folder, matching a glob, in an archive, or in a manifest's folders.

    Files whose name begins with a dot or an underscore are left out.

    Args:
        path: a folder, a glob, a file or an archive; None takes the folders of the manifest's
            files.
        manifest: the table of `read_manifest`, needed without a `path`.
        folder: what the manifest's paths are relative to.

    Raises:
        DataError: the folder does not exist, or there is no file.
    """
    if path is not None:
        fs, base = fsspec.core.url_to_fs(path)
        if any(mark in base for mark in "*?["):
            listed = {path: fs.glob(base, detail=True)}
        elif fs.exists(base):
            listed = {path: fs.find(base, detail=True)}
        else:
            raise DataError(
                "The folder that ecg.path names does not exist: correct it in the study file."
            )
    else:
        assert manifest is not None
        listed = {}
        for parent in {join(folder, uri).rpartition("/")[0] for uri in manifest["uri"]}:
            fs, base = fsspec.core.url_to_fs(parent)
            if fs.isdir(base):
                listed[parent] = {item["name"]: item for item in fs.ls(base, detail=True)}
    files = sorted(
        (name, int(item.get("size") or 0), content_tag(item))
        for place, found in listed.items()
        for name, item in zip(spelled_like(place, found), found.values(), strict=True)
        if item["type"] == "file" and not name.rpartition("/")[2].startswith((".", "_"))
    )
    if not files:
        where = "The folder that ecg.path names" if path else "The folder of the manifest's files"
        raise DataError(f"{where} holds no file: correct ecg.path in the study file.")
    return files


def group(
    files: Listing,
    path: str | None,
    manifest: pd.DataFrame | None,
    folder: str,
    read_names: ReadNames,
    samples: Samples = NOTHING_SAID,
) -> list[Source]:
    """Return the sources among the files, in the order of their paths, each with its owners.

    A WFDB header is one source together with the files that it names, whatever these are called and
    however many headers name them; the segments of a record of several belong to it. Every other
    file is a source of its own. With a manifest and no path, only files that it names are sources.

    Args:
        files: the listing.
        path: as in `list_files`.
        manifest: the table of `read_manifest`; None if the study has none.
        folder: what the manifest's paths are relative to, without a `path`.
        read_names: reads the headers whose record is not told by the names of files.
        samples: what the study says about files of bare samples.

    Raises:
        DataError: the manifest is ambiguous, or names none of the files.
    """
    records = _records([file[0] for file in files], read_names)
    companions = {name for header, named in records.items() for name in named if name != header}
    sizes = {file[0]: file[1] for file in files}
    sources = [
        Source(path=name, files=names, size=sum(map(sizes.__getitem__, names)), stamp="")
        for name in sizes
        if name not in companions
        for names in [[name, *records.get(name, [])]]
    ]
    several = several_suffixes(samples)
    for source in sources:
        source.holds_several = source.path.lower().endswith(several)
        source.is_splittable = source.holds_several and not packed.is_archive(source.path)
    if manifest is not None:
        _assign(sources, manifest, folder if path is None else _root(path, files))
        if path is None:
            sources = [source for source in sources if source.owners]
    stamps = {file[0]: file[1:] for file in files}
    for source in sources:
        source.stamp = fingerprint([stamps[name] for name in source.files], source.owners)
    return sorted(sources, key=lambda source: source.path)


def _records(names: list[str], read_names: ReadNames) -> dict[str, list[str]]:
    """Return the companions of each WFDB header among the files, as their paths.

    By custom a record is `r.hea` and `r.dat`, or `r.mat`. A folder with nothing but such pairs is
    grouped by name. If a folder holds anything else (another suffix, a header alone, a README), any
    of its headers may name it, so executors read all of them: one more opening of a small file for
    each recording. Executors return only what differs from the custom.
    """
    folders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        parent, _, base = name.rpartition("/")
        folders[parent].add(base)
    records: dict[str, list[str]] = {}
    doubts: list[Doubt] = []
    for parent, inside in folders.items():
        pairs = {header: _customary(header, inside) for header in filter(is_header_name, inside)}
        paths = {
            _path(parent, header): [_path(parent, name) for name in found]
            for header, found in pairs.items()
        }
        records |= paths
        is_plain = all(len(found) == 1 for found in pairs.values())
        if pairs and not (is_plain and 2 * len(pairs) == len(inside)):
            doubts += [Doubt(header, found) for header, found in sorted(paths.items())]
    for header, named in (read_names(doubts) if doubts else {}).items():
        parent = header.rpartition("/")[0]
        there = [
            _path(parent, found)
            for name in named
            for found in [name if name in folders[parent] else f"{name}.gz"]
            if found in folders[parent]
        ]
        records[header] = [name for name in there if name != header]
    return records


def _customary(header: str, inside: set[str]) -> list[str]:
    """Return the files that a header has by custom: those of its name with `.dat` or `.mat`."""
    stem = re.sub(r"\.hea(\.gz)?$", "", header, flags=re.IGNORECASE)
    possible = [f"{stem}{suffix}{packed}" for suffix in SIGNAL_SUFFIXES for packed in ("", ".gz")]
    return [name for name in possible if name in inside]


def _path(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _root(path: str, files: Listing) -> str:
    """Return the folder that the manifest's paths are relative to."""
    if any(mark in path for mark in "*?["):
        return re.split(r"[*?\[]", path)[0].rpartition("/")[0]
    return path.rpartition("/")[0] if [file[0] for file in files] == [path] else path


def owner_key(path: str) -> str:
    """Return a path without its extension, by which it is matched with the manifest.

    Example:
        >>> owner_key("2019/visit.xml.gz"), owner_key("2019/visit")
        ('2019/visit', '2019/visit')
    """
    return re.sub(r"(\.[^./]*)?(\.gz)?$", "", path)


def _assign(sources: list[Source], manifest: pd.DataFrame, root: str) -> None:
    """Give each source its rows of the manifest: by relative path, else by file name.

    A recording inside a file of several is `file!/id`, or, in an archive, `file/path`.
    """
    times: list[str | None] = [None] * len(manifest)
    if "acquired_at" in manifest:
        times = [None if pd.isna(time) else time.isoformat() for time in manifest["acquired_at"]]
    keys: Iterable[str] = map(owner_key, manifest["uri"])
    if "member" in manifest:
        inside_of = zip(manifest["uri"], manifest["member"], strict=True)
        keys = (f"{uri}{INSIDE}{member}" for uri, member in inside_of)
    rows = [
        {"key": key, "participant_id": who, "acquired_at": when}
        for key, who, when in zip(keys, manifest["participant_id"], times, strict=True)
    ]
    start = len(re.sub(r"^file:/+", "/", root).rstrip("/")) + 1
    archives = [source for source in sources if source.holds_several]
    inside = [f"{archive.path[start:]}/" for archive in archives]
    for archive, prefix in zip(archives, inside, strict=True):
        archive.owners = [
            row | {"key": row["key"].replace(INSIDE, "/")[len(prefix) :]}
            for row in rows
            if row["key"].replace(INSIDE, "/").startswith(prefix)
        ]
    if not any(archive.owners for archive in archives):
        _match_by_name(archives, rows)
    if any(archive.owners for archive in archives) | _match(sources, rows, _relative(start), True):
        return
    names = [row | {"key": row["key"].rpartition("/")[2]} for row in rows]
    for archive in archives:
        archive.owners = names
    if not _match(sources, names, lambda path: owner_key(path).rpartition("/")[2], False) and (
        not archives
    ):
        raise DataError(
            "No file in ecg.path is named in the manifest: its uri column must hold paths relative "
            "to ecg.path, or file names."
        )


def _match_by_name(archives: list[Source], rows: list[Owner]) -> None:
    """Give each file of several recordings the rows `name!/member` of its own name."""
    by_name: dict[str, list[Owner]] = defaultdict(list)
    for row in rows:
        container, inside, member = row["key"].partition(INSIDE)
        if inside:
            by_name[container.rpartition("/")[2]].append(row | {"key": member})
    seen: set[str] = set()
    for archive in archives:
        name = archive.path.rpartition("/")[2]
        archive.owners = by_name.get(name, [])
        if archive.owners and name in seen:
            raise DataError(AMBIGUOUS)
        seen.add(name)


def _relative(start: int) -> Callable[[str], str]:
    return lambda path: owner_key(path[start:])


def _match(
    sources: Iterable[Source], rows: list[Owner], key: Callable[[str], str], whole: bool
) -> bool:
    """Give each single recording the row with its key; return whether any has one.

    With `whole`, keys are paths, which only the manifest can repeat; otherwise they are names,
    which several files may have.
    """
    by_key: dict[str, Owner] = {}
    repeated: set[str] = set()
    for row in rows:
        full = row["key"]
        if full in by_key:
            repeated.add(full)
        by_key[full] = row
    seen: set[str] = set()
    found = False
    for source in sorted(sources, key=lambda source: not promises_ecg(source.path)):
        if source.holds_several:
            continue
        own = key(source.path)
        owner = by_key.get(own) or (by_key.get(owner_key(source.path)) if whole else None)
        if owner is None:
            continue
        if own in seen and not promises_ecg(source.path):
            continue  # `r.atr` or `r.pdf` beside `r.hea`, whose owner is known
        found = True
        if repeated or (not whole and own in seen):
            raise DataError(AMBIGUOUS)
        seen.add(own)
        source.owners = [owner]
    return found
