"""Checks, before any work, that the locations which a study names can be reached.

Object stores fail with messages of their own libraries, and some take minutes to do so. Here each
is asked once, for at most `PATIENCE_SECONDS`, and what goes wrong becomes one sentence.
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
# Classes of errors by name, because the libraries that define them need not be installed.
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
    """Check that the locations of a study on object stores can be used.

    Whether an input exists is left to the code that reads it.

    Args:
        inputs: settings of the study file with their locations.
        output: the output folder; a test file is written there.

    Raises:
        InfrastructureError: a location cannot be used; the message names the setting.
    """
    for key, place in inputs:
        _require(key, place, _look)
    _require("output", output, _try_to_write)


def require_connectors(spark: "SparkSession", places: Iterable[tuple[str, str]]) -> None:
    """Check that Spark itself can open the locations.

    A path on this machine means the same to Spark only if Spark's default file system is that of
    this machine.

    Args:
        spark: the session that will read and write them.
        places: settings of the study file with their locations.

    Raises:
        InfrastructureError: Spark cannot open a location; the message says which connector it
            lacks.
    """
    hadoop = cast(Any, spark.sparkContext._jvm).org.apache.hadoop
    settings = cast(Any, spark.sparkContext._jsc).hadoopConfiguration()
    for key, place in places:
        scheme = "file" if is_local(place) else place.partition("://")[0]
        own = hadoop.fs.FileSystem.getDefaultUri(settings).getScheme()
        if is_local(place) and own != "file":
            raise InfrastructureError(
                f"{key} is a path on this machine, but Spark's own files are on {own}: name a "
                f"location that all its nodes can reach, as a URI."
            )
        try:
            hadoop.fs.FileSystem.getFileSystemClass(scheme, settings)
        except Py4JJavaError:  # an unknown scheme, or a class that is missing
            connector = _CONNECTORS.get(scheme, "").format(
                hadoop=hadoop.util.VersionInfo.getVersion()
            )
            advice = f"start it with --packages {connector}" if connector else "use another store"
            raise InfrastructureError(
                f"{key} lies on {scheme}://, for which this Spark has no connector: {advice}."
            ) from None


def content_of(place: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: there is no such file.
        InfrastructureError: its store cannot be used.
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
    """Return what is wrong with a store, from its error, as a clause that ends with what to do.

    Args:
        error: an error of fsspec or of a store's library; those of Spark's tasks arrive as text.

    Returns:
        None for other errors, and for a missing or forbidden file: these have messages of their
        own.
    """
    text = f"{type(error).__name__}: {error}"
    if package := _PACKAGE.search(text):
        return f"needs a package: pip install 'ecg-spark[{_EXTRAS[package[1]]}]'"
    if "Protocol not known" in text:
        return "is of an unknown kind: use s3, gs, abfss, dbfs or a path"
    if _NO_CREDENTIALS.search(text):
        return (
            "gave no access, because no valid credentials were found: set them as for the store's "
            "own tools (environment, profile or role)"
        )
    if _AWAY.search(text):
        return "does not answer: check its address and the network"
    return None


def _answered(look: Callable[[], Found], place: str) -> Found:
    """Return what `look` finds at a location; a store must answer within `PATIENCE_SECONDS`.

    Raises `_NoAnswer` if it does not; the request then continues in the background.
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
        raise InfrastructureError(f"{key} is on dbfs:/, which exists on Databricks only.")
    try:
        _answered(lambda: look(place), place)
    except Exception as error:
        status = getattr(error, "status_code", None)  # how Azure says it
        if isinstance(error, FileNotFoundError) or status == 404:
            what: str | None = "does not exist: make it, or correct its name"
        elif isinstance(error, PermissionError) or status == 403:
            what = "denies access to the credentials in use: use others, or change its permissions"
        else:
            what = trouble(error)
        if what is None:
            raise
        raise InfrastructureError(f"{key}: the store {container(place)} {what}.") from None


def _look(place: str) -> None:
    """Ask for a location; if it does not exist, ask for its bucket, which must exist."""
    start = re.split(r"[*?\[]", place)[0]
    files, base = fsspec.core.url_to_fs(start if start == place else start.rpartition("/")[0])
    try:
        files.info(base)
    except FileNotFoundError:
        if place.partition("://")[0] in _CONNECTORS:
            with suppress(PermissionError):  # access to the bucket as a whole, which is not needed
                files.info(files._strip_protocol(container(place)))


def _try_to_write(folder: str) -> None:
    files, base = fsspec.core.url_to_fs(folder)
    make_folder(f"{folder}/locks")
    probe = f"{base}/locks/probe-{secrets.token_hex(4)}"
    files.pipe_file(probe, b"")
    files.rm_file(probe)
