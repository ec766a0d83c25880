"""Locations of files: paths and URIs in one spelling for Spark and Python.

Both read and write every location of a study, but they do not use the same names: Spark says s3a://
where others say s3://, and calls dbfs:/x what Python finds under /dbfs/x. `spelled` returns a form
that both accept. File systems that fsspec does not know by itself are registered here; the package
imports this module first, so that they are registered in every process.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

_STORES = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3a"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("abfss", "abfs", "az"), "abfss"),
}
"""The schemes of object stores, and how each is spelled here."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_ON_DATABRICKS = re.compile(r"/(?:dbfs(?=/)|(?=Volumes/))")
_TAGS = ("etag", "mtime", "lastmodified", "updated", "modified", "modifiedat")
"""Fields of a file system's listing that change with a file's content, the most certain first."""


class DatabricksFiles(LocalFileSystem):
    """Databricks' files as its nodes mount them, by Spark's names.

    /dbfs/x is dbfs:///x, and /Volumes/x is dbfs:///Volumes/x.
    """

    protocol = "dbfs"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str) and path.startswith("dbfs:"):
            path = f"/{path.removeprefix('dbfs:').lstrip('/')}"
            path = path if path.startswith("/Volumes/") else f"/dbfs{path}"
        return super()._strip_protocol(path)

    def unstrip_protocol(self, name: str) -> str:
        """Return the URI of a file."""
        return f"dbfs://{self._strip_protocol(name).removeprefix('/dbfs')}"


fsspec.register_implementation("dbfs", DatabricksFiles, clobber=True)
for _name in ("s3", "gs", "abfs"):
    # Spark writes at the same time: a listing that is a minute old may be wrong.
    fsspec.config.conf.setdefault(_name, {}).setdefault("use_listings_cache", False)


def spelled(path: str) -> str:
    """Return a path or URI in a form that both Spark and Python accept; local ones as plain paths.

    Raises:
        ValueError: an Azure location lacks its account.

    Example:
        >>> [spelled(path) for path in ("s3://bucket/ecg", "file:///data/ecg", "out/demo")]
        ['s3a://bucket/ecg', '/data/ecg', 'out/demo']
    """
    if found := _URI.match(path):
        scheme, rest = found[1].lower(), path[found.end() :]
        if scheme == "file":
            path = f"/{rest}"
        elif scheme == "dbfs":
            return f"dbfs:///{rest}"
        elif scheme in _STORES:
            if _STORES[scheme] == "abfss" and "@" not in rest.partition("/")[0]:
                raise ValueError(
                    "lacks its account: write container@account.dfs.core.windows.net after abfss://"
                )
            return f"{_STORES[scheme]}://{rest}"
    if "DATABRICKS_RUNTIME_VERSION" in os.environ and (found := _ON_DATABRICKS.match(path)):
        return f"dbfs:///{path[found.end() :].lstrip('/')}"
    return path


def is_local(path: str) -> bool:
    """Return whether a location is a path on this machine rather than a URI."""
    return "://" not in path


def join(folder: str, path: str) -> str:
    """Return an absolute path or URI as it is, any other path below the folder; both as `spelled`.

    Example:
        >>> join("s3a://bucket/study", "ecg"), join("s3a://bucket/study", "/data/ecg")
        ('s3a://bucket/study/ecg', '/data/ecg')
    """
    path = spelled(path)
    if not is_local(path) or path.startswith("/"):
        return path
    return f"{re.sub('(?<![:/])/+$', '', folder)}/{path}"


def resolve(folder: str, path: str) -> str:
    """Do as `join`, and resolve `.` and `..` and, on this machine, symbolic links.

    Example:
        >>> resolve("s3a://bucket/study", "../ecg")
        's3a://bucket/ecg'
    """
    whole = join(folder, path)
    if is_local(whole):
        return str(Path(whole).resolve())
    if is_local(spelled(path)):
        root, parts = container(whole), list[str]()
        for part in whole.removeprefix(root).split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        whole = "/".join([root, *parts])
    return whole


def spelled_like(like: str, names: Iterable[str]) -> list[str]:
    """Return the locations of files in a listing or glob, spelled as another location is.

    Args:
        like: a location on the same file system, in the spelling that is wanted.
        names: names of files as fsspec's listing returns them, without a scheme.
    """
    scheme, is_uri, _ = like.partition("://")
    if not is_uri or scheme == "file":
        return list(names)
    if scheme == "dbfs":
        return [f"dbfs://{name.removeprefix('/dbfs')}" for name in names]
    root = container(like)
    start = fsspec.get_filesystem_class(scheme)._strip_protocol(root)
    return [root + name.removeprefix(start) for name in names]


def usual(path: str) -> str:
    """Return a location as a URI that other programs accept.

    That is s3:// instead of s3a://, and file:// for what is mounted here.

    Example:
        >>> usual("s3a://bucket/ecg"), usual("/data/ecg")
        ('s3://bucket/ecg', 'file:///data/ecg')
    """
    if path.startswith("dbfs:"):
        path = DatabricksFiles._strip_protocol(path)
    return Path(path).as_uri() if is_local(path) else re.sub("^s3a:", "s3:", path)


def container(path: str) -> str:
    """Return the bucket or container of a URI, as a URI.

    Example:
        >>> container("s3a://bucket/study/ecg")
        's3a://bucket'
    """
    return "/".join(path.split("/")[:3])


def make_folder(folder: str) -> None:
    """Make a folder and its parents if they do not exist.

    Does nothing on an object store, which has no folders: its library might make the bucket.
    """
    files, base = fsspec.core.url_to_fs(folder)
    if isinstance(files, LocalFileSystem):
        files.makedirs(base, exist_ok=True)


def content_tag(info: Mapping[str, Any]) -> str:
    """Return what changes with a file's content: its tag, or else the time of its last change.

    Args:
        info: the file's entry in fsspec's listing.

    Returns:
        Empty if the listing has neither.
    """
    plain = {re.sub("[^a-z]", "", key.lower()): value for key, value in info.items()}
    return next((str(plain[name]) for name in _TAGS if plain.get(name)), "")
