"""HDF5: one recording per file (SPH), or thousands in one (CODE-15 %), read in slices.

An HDF5 file can point to other files, and can need plug-ins to be unpacked. Only numbers in the
file itself are read, and only those packed by HDF5's own filters.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.hdf5_chunks import FILTERS, check_chunks, check_stored, filters_of
from ecg_spark.ecg.formats.leads import lead_name
from ecg_spark.ecg.formats.samples import (
    MAX_SAMPLES,
    Samples,
    lead_order,
    recording_of,
    said_by,
)
from ecg_spark.ecg.recording import LEADS, Reason, Recording, RecordingError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".h5", ".hdf5", ".hdf")

BLOCK_BYTES = 32 << 20
"""What is unpacked at a time, and the largest chunk: the chunks of real archives are under 1 MB."""

MAX_RECORDINGS = 1_000_000
"""In one file: a file of so many would be 200 GB."""

_MAX_ITEMS, _MAX_ATTRIBUTES, _MAX_TEXT = 1000, 100, 1000
_MAX_TEXTS = 16
_LAYOUTS = {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}


def is_hdf5(data: bytes) -> bool:
    """Return whether data are an HDF5 file: its signature comes first or after a user block."""
    at = 0
    while at < len(data):
        if data[at : at + len(SIGNATURE)] == SIGNATURE:
            return True
        at = 2 * at or 512
    return False


def read_hdf5(data: bytes, samples: Samples) -> Recording:
    """Return the one recording in an HDF5 file.

    Its samples are the dataset that the study names, or else the only one with two axes, of which
    one has the length of the leads; or one dataset for each lead, named after it.

    Args:
        data: the content of the file.
        samples: what the study says about rate, unit, leads and dataset.

    Raises:
        RecordingError: `unknown_format` if the study says that files hold several recordings;
            `not_described` if it does not say what a file leaves open; `unsafe` for links to other
            files; otherwise the file is malformed.
    """
    if samples.ids is not None:
        raise RecordingError(
            Reason.UNKNOWN_FORMAT,
            "an HDF5 file of several recordings is read in a folder: take it out of its archive",
        )
    with _opened(io.BytesIO(data)) as file:
        named = {} if samples.dataset is not None else _lead_datasets(file)
        if named:
            told = {said_by(_attributes(file) | _attributes(item)) for item in named.values()}
            if len(told) > 1:
                raise RecordingError(Reason.MALFORMED, "the leads differ in rate or unit")
            said = told.pop()
            columns = {name: _values(dataset) for name, dataset in named.items()}
        else:
            dataset = _sample_dataset(file, samples)
            said = said_by(_attributes(file) | _attributes(dataset))
            columns = _columns(_values(dataset), lead_order(said, samples))
    return recording_of(columns, said, samples, "hdf5")


class Tracings:
    """The recordings of an HDF5 file that holds several, and their ids.

    Samples are [recordings, samples, leads] or [recordings, leads, samples]. Close it after use.
    """

    def __init__(self, file: BinaryIO | io.RawIOBase, samples: Samples) -> None:
        """Open a file.

        Args:
            file: the file, seekable.
            samples: what the study says; `samples.ids` names the dataset of the ids.

        Raises:
            RecordingError: the file cannot be read as described.
        """
        assert samples.ids is not None
        self._samples = samples
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(_opened(file))
            self._data = _sample_dataset(opened, samples, axes=3)
            self._said = said_by(_attributes(opened) | _attributes(self._data))
            self._leads = lead_order(self._said, samples)
            self.ids = _ids(_dataset(opened, samples.ids))
            if len(self.ids) != self._data.shape[0]:
                raise RecordingError(
                    Reason.MALFORMED, f"{self._data.shape[0]} recordings, {len(self.ids)} ids"
                )
            _lead_axis(self._data.shape[1:], self._leads)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def recordings(self, first: int, last: int) -> Iterator[tuple[str, Recording | RecordingError]]:
        """Yield the id of each recording, and the recording or the error that prevents its use.

        If an id occurs twice in the file, both recordings are refused: it is unclear to whom each
        belongs.

        Args:
            first: the number of the first recording, from 0.
            last: the number after that of the last one.
        """
        counts: dict[str, int] = {}
        for name in self.ids:
            counts[name] = counts.get(name, 0) + 1
        chunks = self._data.chunks
        row_bytes = int(np.prod(self._data.shape[1:], dtype=np.int64)) * self._data.dtype.itemsize
        step = max(1, min(chunks[0] if chunks else 64, BLOCK_BYTES // max(row_bytes, 1)))
        at = first
        while at < last:
            end = min(last, (at // step + 1) * step)
            yield from self._block(at, end, counts)
            at = end

    def _block(
        self, first: int, last: int, counts: dict[str, int]
    ) -> Iterator[tuple[str, Recording | RecordingError]]:
        names = self.ids[first:last]
        try:
            with _refusing():
                check_chunks(self._data, first, last)
                block = self._data[first:last]
        except RecordingError as error:
            if last - first > 1:  # others of a damaged block may be intact
                for at in range(first, last):
                    yield from self._block(at, at + 1, counts)
            else:
                yield names[0], error
            return
        for name, values in zip(names, block, strict=True):
            try:
                if counts[name] > 1:
                    raise RecordingError(
                        Reason.MALFORMED, "several recordings of the file have the same id"
                    )
                columns = _columns(values, self._leads)
                yield name, recording_of(columns, self._said, self._samples, "hdf5")
            except RecordingError as error:
                yield name, error


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn what the library raises on a damaged file into a `RecordingError`."""
    try:
        yield
    except RecordingError:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        MemoryError,
    ) as error:
        raise RecordingError(
            Reason.MALFORMED, f"a damaged HDF5 file ({type(error).__name__})"
        ) from None


@contextlib.contextmanager
def _opened(file: BinaryIO | io.RawIOBase) -> Iterator[h5py.File]:
    with _refusing(), h5py.File(file, "r", rdcc_nbytes=BLOCK_BYTES) as opened:
        yield opened


def _item(group: h5py.Group, name: str) -> Any:
    """Return a group or dataset by its path; links that lead elsewhere are refused."""
    item: Any = group
    for part in name.strip("/").split("/"):
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise RecordingError(Reason.MALFORMED, "it lacks a dataset that the study file names")
        if not isinstance(link, h5py.HardLink):
            raise RecordingError(Reason.UNSAFE, "a dataset is a link to elsewhere")
        item = item[part]
    return item


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset of plain numbers or texts that lies in the file itself."""
    dataset = _item(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise RecordingError(Reason.MALFORMED, "what the study file names is not a dataset")
    plan = dataset.id.get_create_plist()
    if plan.get_layout() not in _LAYOUTS or plan.get_external_count():
        raise RecordingError(Reason.UNSAFE, "a dataset's values lie in another file")
    filters = filters_of(dataset)
    if not set(filters) <= FILTERS or len(filters) > len(set(filters)):
        raise RecordingError(Reason.UNKNOWN_FORMAT, "a dataset is packed by an unsupported filter")
    if dataset.shape is None or 0 in dataset.shape:
        raise RecordingError(Reason.TOO_SHORT, "a dataset holds nothing")
    if dataset.chunks is not None:
        size = int(np.prod(dataset.chunks, dtype=np.float64)) * dataset.dtype.itemsize
        if size > BLOCK_BYTES:
            raise RecordingError(Reason.TOO_LARGE, f"a chunk of {size >> 20} MiB")
    check_stored(dataset)
    return dataset


def _names(group: h5py.Group) -> list[str]:
    if len(group) > _MAX_ITEMS:
        raise RecordingError(Reason.TOO_LARGE, f"more than {_MAX_ITEMS} datasets in one group")
    return list(group)


def _lead_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the datasets that are named as leads are, by their names."""
    return {name: _dataset(file, name) for name in _names(file) if lead_name(name)}


def _sample_dataset(file: h5py.File, samples: Samples, axes: int = 2) -> h5py.Dataset:
    """Return the dataset of the samples: the named one, else the only one of as many axes."""
    if samples.dataset is not None:
        dataset = _dataset(file, samples.dataset)
    else:
        found = [name for name in _names(file) if len(_shape(file, name)) in (2, 3)]
        if len(found) != 1:
            raise RecordingError(
                Reason.NOT_DESCRIBED,
                f"{len(found)} datasets could be the samples: set ecg.samples.dataset in the "
                "study file",
            )
        dataset = _dataset(file, found[0])
    if dataset.dtype.kind not in "iuf" or dataset.dtype.itemsize > 8:
        raise RecordingError(Reason.MALFORMED, "the samples are not numbers")
    if len(dataset.shape) == 3 and axes == 2:
        raise RecordingError(
            Reason.NOT_DESCRIBED,
            "the file holds several recordings: set ecg.samples.ids to the dataset of their ids",
        )
    if len(dataset.shape) != axes:
        raise RecordingError(Reason.MALFORMED, f"the samples have {len(dataset.shape)} axes")
    if axes == 3 and dataset.shape[0] > MAX_RECORDINGS:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_RECORDINGS} recordings")
    if max(dataset.shape[-2:]) > MAX_SAMPLES or min(dataset.shape[-2:]) > 100 * len(LEADS):
        raise RecordingError(Reason.TOO_LARGE, "more leads or samples than a recording has")
    return dataset


def _shape(group: h5py.Group, name: str) -> tuple[int, ...]:
    """Return the shape of a dataset that lies in the file itself, () of anything else."""
    is_inside = isinstance(group.get(name, getlink=True), h5py.HardLink)
    if not is_inside or group.get(name, getclass=True) is not h5py.Dataset:
        return ()
    return group[name].shape or ()


def _values(dataset: h5py.Dataset) -> NDArray[Any]:
    """Return the values of a dataset of one recording."""
    if dataset.dtype.kind not in "iuf" or dataset.dtype.itemsize > 8:
        raise RecordingError(Reason.MALFORMED, "the samples are not numbers")
    if len(dataset.shape) > 2 or dataset.size > MAX_SAMPLES * len(LEADS):
        raise RecordingError(Reason.TOO_LARGE, "more samples than a recording has")
    if dataset.chunks is not None:
        steps = zip(dataset.shape, dataset.chunks, strict=True)
        if dataset.id.get_num_chunks() < np.prod([-(-extent // step) for extent, step in steps]):
            raise RecordingError(Reason.MALFORMED, "parts of the samples were never written")
    check_chunks(dataset, 0, dataset.shape[0] if dataset.shape else 1)
    values: NDArray[Any] = dataset[()]
    return values


def _lead_axis(shape: tuple[int, ...], leads: tuple[str, ...]) -> int:
    """Return which of two axes counts the leads: the one of their number."""
    axes = [axis for axis in (0, 1) if shape[axis] == len(leads)]
    if len(axes) != 1:
        raise RecordingError(
            Reason.MALFORMED,
            f"{len(leads)} leads, but the axes of a recording are {shape[0]} and {shape[1]} long",
        )
    return axes[0]


def _columns(values: NDArray[Any], leads: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    rows = values if _lead_axis(values.shape, leads) == 0 else values.T
    return dict(zip(leads, rows, strict=True))


def _ids(dataset: h5py.Dataset) -> list[str]:
    """Return the recordings' ids as text."""
    if len(dataset.shape) != 1 or dataset.shape[0] > MAX_RECORDINGS:
        raise RecordingError(Reason.MALFORMED, "the ids are not a row of numbers or texts")
    if dataset.size * dataset.dtype.itemsize > BLOCK_BYTES:
        raise RecordingError(Reason.TOO_LARGE, "the ids are too long")
    check_chunks(dataset, 0, dataset.shape[0])
    if dataset.dtype.kind in "iu" and dataset.dtype.itemsize <= 8:
        return [str(number) for number in dataset[()].tolist()]
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or (text.length or 0) > _MAX_TEXT:
        raise RecordingError(Reason.MALFORMED, "the ids are not a row of numbers or texts")
    # One by one where they lie elsewhere: many may refer to the same long text.
    items = dataset[()].tolist() if text.length else (dataset[at] for at in range(dataset.size))
    ids = []
    for item in items:
        if len(item) > _MAX_TEXT:
            raise RecordingError(Reason.TOO_LARGE, "the ids are too long")
        ids.append(item.decode("utf-8", "replace").strip("\0 "))
    return ids


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Return the attributes that are short texts or numbers."""
    found: dict[str, Any] = {}
    if len(item.attrs) > _MAX_ATTRIBUTES:
        return found
    for name in item.attrs:
        kind = item.attrs.get_id(name)
        is_text = h5py.check_string_dtype(kind.dtype) is not None
        if int(np.prod(kind.shape or (1,), dtype=np.float64)) <= _MAX_TEXTS and (
            is_text or kind.dtype.kind in "iuf"
        ):
            found[name] = item.attrs[name]
    return found
