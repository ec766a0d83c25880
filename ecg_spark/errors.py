"""The errors that end a job, each with the exit code that the job returns.

Every message is one sentence that says what is wrong, where, and what to do. It never contains a
participant id, a name or a date of birth.
"""

import re
from typing import ClassVar


class EcgSparkError(Exception):
    """Base class of the errors that a user can act on; `exit_code` is the job's exit status."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """The message; files are named without their folders, whose names may be people's."""
        return _FOLDERS.sub("", super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


_FOLDERS = re.compile(
    r"(?<![\w:/.])(?<!spark\.jars=)(?<!ClassPath=)"
    r"(?:(?!https?:)[a-z][a-z0-9+.-]*:/{1,3}|/)(?:[^\s/'\"]+/)+"
)
"""Folders in a message, except that of Hail's jar in settings meant to be copied."""


class UsageError(EcgSparkError):
    """The arguments or the study file are wrong."""

    exit_code = 2


class DataError(EcgSparkError):
    """The input data cannot be used: nothing is readable, ids do not match, or nothing is left."""

    exit_code = 3


class InfrastructureError(EcgSparkError):
    """The infrastructure failed: no GPU, no MLflow server, a full disk, no Java."""

    exit_code = 4
