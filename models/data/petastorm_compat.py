"""Lets Petastorm 0.12.1 run with current pyarrow and NumPy, and makes its reader.

Petastorm uses pyarrow's legacy dataset classes, gone since version 15, and NumPy names gone since
2.0. This module supplies exactly what `make_batch_reader` uses, and the reader is made here, so
that nothing else needs to know. It never unpickles: a data set's own Petastorm metadata are not
read. Petastorm 0.13.1 is no alternative: its thread pool loses rows silently.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from ecg_spark.errors import DataError

OPEN_FILES = 8
"""Parquet files that a reader keeps open."""

Table = str | tuple[str, ...]
"""The path or URI of a table's folder, or those of several that are read as one."""


def _module(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules.setdefault(name, module)


# Imported by name only; the file system itself is always given.
_module("pyarrow.filesystem", LocalFileSystem=type("LocalFileSystem", (), {}))
_module("pyarrow.hdfs", HadoopFileSystem=type("HadoopFileSystem", (), {}))
for _old, _new in (("unicode_", np.str_), ("string_", np.bytes_)):
    if not hasattr(np, _old):
        setattr(np, _old, _new)

# By import_module, because they must follow the lines above.
_reader = import_module("petastorm.reader")
_worker = import_module("petastorm.arrow_reader_worker")
_metadata = import_module("petastorm.etl.dataset_metadata")
EmptyResultError = import_module("petastorm.workers_pool").EmptyResultError


class _Piece:
    """One row group of a Parquet file."""

    def __init__(
        self,
        path: str,
        open_file_func: Callable[[str], Any],
        row_group: int,
        partition_keys: Sequence[Any] = (),
    ) -> None:
        self.path, self.row_group, self._open = path, row_group, open_file_func
        self.partition_keys = partition_keys

    def read(self, columns: set[str], partitions: None) -> pa.Table:
        return self._open(self.path).read_row_group(self.row_group, columns=sorted(columns))


class _File:
    """A Parquet file, whose row groups are to become pieces."""

    partition_keys: Sequence[Any] = ()

    def __init__(self, path: str, footer: Callable[[str], pq.FileMetaData]) -> None:
        self.path, self._footer = path, footer

    def get_metadata(self) -> pq.FileMetaData:
        return self._footer(self.path)


class _Dataset:
    """The Parquet files of a table, in the order of their names."""

    partitions = metadata = common_metadata = None

    def __init__(self, path: str, filesystem: "TableFiles", **_: Any) -> None:
        self.paths, self.fs = path, _Opened(filesystem)
        self.pieces = [_File(name, self.fs.footer) for name in filesystem.names()]


class _Opened:
    """The Parquet files of a file system: each footer is read once, a few files are open at a time.

    A table of a million beats has hundreds of files, and each reader of each process opens its own.
    """

    def __init__(self, files: "TableFiles") -> None:
        self._files = files
        self._footers: dict[str, pq.FileMetaData] = {}
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()

    def footer(self, name: str) -> pq.FileMetaData:
        """A file's footer. Petastorm asks for those of many files from several threads."""
        if name not in self._footers:
            with pq.ParquetFile(self._files.source(name)) as file:
                self._footers[name] = file.metadata
        return self._footers[name]

    def open(self, name: str) -> pq.ParquetFile:
        """The open file, for the one thread that reads row groups."""
        if name not in self._open:
            while len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)[1].close(force=True)
            source = self._files.source(name)
            self._open[name] = pq.ParquetFile(source, metadata=self.footer(name))
        self._open.move_to_end(name)
        return self._open[name]


class _Flat(_worker.ArrowReaderWorkerResultsQueueReader):  # type: ignore[name-defined]
    """Row groups as NumPy; a column of lists of one length as a view, not a copy of each list.

    Lists of text stay Arrow's: they are not of one length.
    """

    def read_next(self, workers_pool: Any, schema: Any, ngram: None) -> Any:
        """The next row group, a namedtuple of arrays."""
        try:
            table = workers_pool.get_results()
        except EmptyResultError:
            raise StopIteration from None
        columns = {name: _as_numpy(table.column(name), name) for name in table.column_names}
        return schema.make_namedtuple(**columns)


def _as_numpy(column: pa.ChunkedArray, name: str) -> NDArray[Any] | pa.ListArray:
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        return np.asarray(array)
    if pa.types.is_string(array.type.value_type):
        return array
    lengths = np.diff(array.offsets.to_numpy())
    if len(set(lengths.tolist())) > 1:
        raise DataError(
            f"The values of the column {name} have different lengths: "
            f"run the step that made the table again."
        )
    return np.asarray(array.flatten()).reshape(len(array), -1)


for _user in (_reader, _worker, _metadata):
    vars(_user)["pq"] = SimpleNamespace(ParquetDataset=_Dataset, ParquetDatasetPiece=_Piece)
vars(_worker)["ParquetFile"] = lambda file: file  # the piece has opened it
_worker.ArrowReaderWorker.new_results_queue_reader = staticmethod(_Flat)


class TableFiles:
    """The Parquet files of one table, or of several that are read as one.

    A file's name begins with the number of its table, so that files of different tables differ.
    """

    def __init__(self, table: Table) -> None:
        folders = (table,) if isinstance(table, str) else table
        self._folders = [fsspec.core.url_to_fs(folder) for folder in folders]

    def names(self) -> list[str]:
        """Return the names of the data files, table by table; not hidden ones or Spark's own."""
        return [
            f"{number}/{name}"
            for number, (filesystem, root) in enumerate(self._folders)
            for name in sorted(DirFileSystem(root, filesystem).find(""))
            if name.endswith(".parquet") and not any(p[:1] in "._" for p in name.split("/"))
        ]

    def source(self, name: str) -> Any:
        """Return what Arrow opens: a local file's path, so that Arrow reads it without Python."""
        number, _, rest = name.partition("/")
        filesystem, root = self._folders[int(number)]
        path = f"{root}/{rest}"
        return path if isinstance(filesystem, LocalFileSystem) else filesystem.open(path)


def batch_reader(table: Table, columns: Sequence[str], **options: Any) -> Any:
    """Return Petastorm's `make_batch_reader` for the Parquet files of a table.

    Args:
        table: one table, or several that are read as one.
        columns: the columns to read.
        options: those of `make_batch_reader`: seed, workers_count, shuffle_row_groups, ...
    """
    return _reader.make_batch_reader(
        "file:///table",  # a name only: the files are those of the given file system
        schema_fields=[f"^{name}$" for name in columns],
        filesystem=TableFiles(table),
        **options,
    )
