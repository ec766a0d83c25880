"""What steps have published, for Python: summaries, tables as Spark DataFrames, figures."""

import base64
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import fsspec
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.display import line, quiet, table, whole

Found = TypeVar("Found")

FIGURES = "figures"
"""The folder of a run that holds its figures."""

_MIME = {"png": "image/png", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class Figure:
    """A picture that a notebook displays.

    Attributes:
        kind: `png` or `svg`.
        content: the bytes of the file.
    """

    kind: str
    content: bytes

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        text = self.content.decode() if self.kind == "svg" else _encoded(self.content)
        return {_MIME[self.kind]: text}


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


class _ByName(Mapping[str, Found]):
    """Things by name."""

    @property
    @abstractmethod
    def _named(self) -> Mapping[str, Any]:
        """What each is made from."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"


class Tables(_ByName[DataFrame]):
    """The tables in a run's folder, by name; each is read as a Spark DataFrame when it is accessed.

    Args:
        folder: the path or URI of the run.
        session: returns the session that reads them; called when a table is accessed.
    """

    def __init__(self, folder: str, session: Callable[[], SparkSession]) -> None:
        self._folder, self._session = folder, session

    def __getitem__(self, name: str) -> DataFrame:
        reader = self._session().read.option("pathGlobFilter", "*.parquet")
        return reader.parquet(self._named[name])

    @cached_property
    def _named(self) -> dict[str, str]:
        """The folder, or the one file, of each table."""
        found = (name.split("/") for name in _files(self._folder, "*.parquet", "*/*.parquet"))
        names = sorted({parts[0] for parts in found if not parts[0].startswith(".")})
        return {name.removesuffix(".parquet"): f"{self._folder}/{name}" for name in names}


class Figures(_ByName[Figure]):
    """The figures of a run, by name; each is read when it is accessed.

    Args:
        folder: the path or URI of the run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = f"{folder}/{FIGURES}"

    def __getitem__(self, name: str) -> Figure:
        kind = self._named[name]
        with fsspec.open(f"{self._folder}/{name}.{kind}", "rb") as file:
            return Figure(kind, file.read())

    @cached_property
    def _named(self) -> dict[str, str]:
        found = _files(self._folder, *(f"*.{kind}" for kind in _MIME))
        return dict(sorted(name.rsplit(".", 1) for name in found))


def _files(folder: str, *patterns: str) -> list[str]:
    """The matching files below a folder, by their paths relative to it."""
    fs, base = fsspec.core.url_to_fs(folder)
    found = [path for pattern in patterns for path in fs.glob(f"{base}/{pattern}")]
    return [path.split(f"{base}/", 1)[1] for path in found]


@dataclass(frozen=True)
class Result:
    """What one step has published.

    Attributes:
        step: the name of the step.
        summary: what the command prints.
        skipped: whether the result had been published before and the step was not run again.
        folder: the path or URI under which everything lies.
        tables: Spark DataFrames by name.
        figures: pictures by name.
    """

    step: str
    summary: dict[str, Any]
    skipped: bool
    folder: str
    tables: Mapping[str, DataFrame]
    figures: Mapping[str, Figure]

    def _repr_html_(self) -> str:
        lists = {"tables": self.tables, "figures": self.figures}
        said = [f"{kind}: {', '.join(names)}" for kind, names in lists.items() if names]
        return whole(self.step, self.summary) + "".join(map(quiet, said))


class Results(_ByName[Result]):
    """The results of the steps that were asked for, by name, in the order of the steps."""

    def __init__(self, results: Mapping[str, Result]) -> None:
        self._results = dict(results)

    @property
    def _named(self) -> dict[str, Result]:
        return self._results

    def __getitem__(self, step: str) -> Result:
        return self._results[step]

    def _repr_html_(self) -> str:
        rows = [
            (step, line({k: v for k, v in result.summary.items() if k != "report"}))
            for step, result in self.items()
        ]
        return table("", ("step", "what it published"), rows)
