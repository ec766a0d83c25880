"""Whether the places that a study names can be reached, asked before any work.

An object store fails in the words of its own library, and some take minutes to do so: here each is
asked once, for at most `PATIENCE_SECONDS`, and what goes wrong becomes a sentence.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast

import fsspec
from py4j.protocol import Py4JJavaError

from ecg_spark.errors import InfrastructureError
from ecg_spark.locations import container, is_local, make_folder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Found = TypeVar("Found")

PATIENCE_SECONDS = 20.0

_EXTRAS = {"s3fs": "s3", "gcsfs": "gcs", "adlfs": "azure"}
_CONNECTORS = {
    "s3a": "org.apache.hadoop:hadoop-aws:{hadoop}",
    "gs": "com.google.cloud.bigdataoss:gcs-connector:hadoop3-2.2.26",
    "abfss": "org.apache.hadoop:hadoop-azure:{hadoop}",
}
_PACKAGE = re.compile(r"ImportError: .*\b(s3fs|gcsfs|adlfs)\b")
# The classes of errors by their names: the libraries that define them need not be installed.
_NO_CREDENTIALS = re.compile(
    r"NoCredentials|NoAuthWithAWS|PartialCredentials|CredentialRetrieval|TokenRetrieval|SSOToken|ProfileNotFound"
    r"|DefaultCredentials|RefreshError|ClientAuthentication|CredentialUnavailable"
)
_AWAY = re.compile(
    r"EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionClosed|ClientConnector|ServerDisconn"
    r"|ServiceRequest|ServiceResponse|FSTimeout|NoAnswer"
)


class _NoAnswer(Exception):
    """A store says nothing."""


def require_reachable(inputs: Iterable[tuple[str, str]], output: str) -> None:
    """Raise `InfrastructureError` where a place on an object store cannot be used.

    `inputs` are keys of the study file with their locations, `output` is the output folder, of
    which it is tried whether it can be written to. Whether an input is there at all is told by
    whoever reads it.
    """
    for key, place in inputs:
        _require(key, place, _look)
    _require("output", output, _try_to_write)


def require_connectors(spark: "SparkSession", places: Iterable[tuple[str, str]]) -> None:
    """Raise `InfrastructureError` where Spark itself cannot open a place: keys with locations.

    A path on this machine is the same to Spark only where Spark's own files are this machine's.
    """
    hadoop = cast(Any, spark.sparkContext._jvm).org.apache.hadoop
    settings = cast(Any, spark.sparkContext._jsc).hadoopConfiguration()
    for key, place in places:
        scheme = "file" if is_local(place) else place.partition("://")[0]
        own = hadoop.fs.FileSystem.getDefaultUri(settings).getScheme()
        if is_local(place) and own != "file":
            raise InfrastructureError(
                f"{key} is a path on this machine and Spark's own files are on {own}: name a place "
                f"that all its nodes reach, by a URI."
            )
        try:
            hadoop.fs.FileSystem.getFileSystemClass(scheme, settings)
        except Py4JJavaError:  # an unknown scheme, or a class that is not there
            connector = _CONNECTORS.get(scheme, "").format(
                hadoop=hadoop.util.VersionInfo.getVersion()
            )
            advice = f"start it with --packages {connector}" if connector else "use another store"
            raise InfrastructureError(
                f"{key} lies on {scheme}://, for which this Spark has no connector: {advice}."
            ) from None


def content_of(place: str) -> bytes:
    """The content of a file.

    Raises `OSError` where there is none, and `InfrastructureError` where its store is of no use.
    """

    def read() -> bytes:
        files, base = fsspec.core.url_to_fs(place)
        return bytes(files.cat_file(base))

    try:
        return _answered(read, place)
    except Exception as error:
        if what := trouble(error):
            raise InfrastructureError(f"The store {container(place)} {what}.") from None
        raise


def trouble(error: BaseException) -> str | None:
    """What is wrong with a store, as a clause that ends with what to do, by the error that it gave.

    None for an error of another kind, and for a missing or forbidden file, which have words of
    their own. Spark gives the errors of its tasks as text.
    """
    text = f"{type(error).__name__}: {error}"
    if package := _PACKAGE.search(text):
        return f"needs a package: pip install 'ecg-spark[{_EXTRAS[package[1]]}]'"
    if "Protocol not known" in text:
        return "is of no kind that is known: use s3, gs, abfss, dbfs or a path"
    if _NO_CREDENTIALS.search(text):
        return (
            "gave no access, because no valid credentials were found: set them as its own tools "
            "take them (environment, profile or role)"
        )
    if _AWAY.search(text):
        return "does not answer: check its address and the network"
    return None


def _answered(look: Callable[[], Found], place: str) -> Found:
    """What `look` finds at a place, which must answer within `PATIENCE_SECONDS` if on a store.

    Raises `_NoAnswer` where it does not; the question goes on without anybody waiting for it.
    """
    if is_local(place):
        return look()
    found: list[Found] = []
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            found.append(look())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    for error in failed:
        raise error
    if not found:
        raise _NoAnswer
    return found[0]


def _require(key: str, place: str, look: Callable[[str], None]) -> None:
    if is_local(place):
        return
    if place.startswith("dbfs:") and "DATABRICKS_RUNTIME_VERSION" not in os.environ:
        raise InfrastructureError(f"{key} lies on dbfs:/, which is there on Databricks only.")
    try:
        _answered(lambda: look(place), place)
    except Exception as error:
        status = getattr(error, "status_code", None)  # Azure says it by nothing else
        if isinstance(error, FileNotFoundError) or status == 404:
            what: str | None = "does not exist: make it, or correct its name"
        elif isinstance(error, PermissionError) or status == 403:
            what = "is closed to the credentials in use: take others, or change its permissions"
        else:
            what = trouble(error)
        if what is None:
            raise
        raise InfrastructureError(f"{key}: the store {container(place)} {what}.") from None


def _look(place: str) -> None:
    """Ask for a place, and where it is not there for the bucket, which must be."""
    start = re.split(r"[*?\[]", place)[0]
    files, base = fsspec.core.url_to_fs(start if start == place else start.rpartition("/")[0])
    try:
        files.info(base)
    except FileNotFoundError:
        if place.partition("://")[0] in _CONNECTORS:
            with suppress(PermissionError):  # of the bucket as a whole, which nobody needs
                files.info(files._strip_protocol(container(place)))


def _try_to_write(folder: str) -> None:
    files, base = fsspec.core.url_to_fs(folder)
    make_folder(f"{folder}/locks")
    probe = f"{base}/locks/probe-{secrets.token_hex(4)}"
    files.pipe_file(probe, b"")
    files.rm_file(probe)
