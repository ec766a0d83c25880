"""Checks the packed chunks of an HDF5 dataset before the library unpacks them.

The library trusts a file about its chunks: it reads past the end of one that unpacks to less than
declared, or that is too short for its checksum, and it unpacks without a limit. A chunk must hold
exactly what the dataset's type and shape say.
"""

import itertools
import zlib

import h5py
import numpy as np

from ecg_spark.ecg.formats.samples import MAX_SAMPLES
from ecg_spark.ecg.recording import Reason, RecordingError

_SHUFFLE, _FLETCHER32 = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
_DEFLATE, _LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF
FILTERS = {_SHUFFLE, _FLETCHER32, _DEFLATE, _LZF}
"""HDF5's own filters that are read."""

_CHECKSUM_BYTES = 4


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Return the filters that a dataset's chunks passed through, in their order."""
    plan = dataset.id.get_create_plist()
    return [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]


def check_stored(dataset: h5py.Dataset) -> None:
    """Check that no packed chunk of a dataset is far larger than its content, before any is loaded.

    Raises:
        RecordingError: `too_large` if one is.
    """
    if dataset.chunks is None or not filters_of(dataset):
        return
    most = 2 * _chunk_bytes(dataset) + _CHECKSUM_BYTES
    if dataset.id.chunk_iter(lambda chunk: True if chunk.size > most else None):
        raise RecordingError(Reason.TOO_LARGE, "a chunk is larger than it should be")


def check_chunks(dataset: h5py.Dataset, first: int, last: int) -> None:
    """Check that the packed chunks of some rows hold exactly what they should.

    Call `check_stored` once before it.

    Args:
        dataset: a dataset of the file.
        first: the first row, from 0.
        last: the row after the last one.

    Raises:
        RecordingError: `too_large` or `malformed`; besides, the library raises its own errors on a
            damaged file.
    """
    filters = filters_of(dataset)
    if dataset.chunks is None or not filters:
        return
    size = _chunk_bytes(dataset)
    starts = [
        range(0, extent, step) for extent, step in zip(dataset.shape, dataset.chunks, strict=True)
    ]
    step = dataset.chunks[0]
    starts[0] = range(first // step * step, last, step)
    if np.prod([len(axis) for axis in starts], dtype=np.float64) > MAX_SAMPLES:
        raise RecordingError(Reason.TOO_LARGE, "more chunks than a recording needs")
    for start in itertools.product(*starts):
        skipped, content = dataset.id.read_direct_chunk(start)
        applied = [which for n, which in enumerate(filters) if not skipped >> n & 1]
        if _unpacked_size(content, applied, size) != size:
            raise RecordingError(Reason.MALFORMED, "a chunk does not hold what it should")


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    """Return how many bytes a chunk holds.

    Of a text of any length that is the length and where it lies: an address and a number.
    """
    width = int(dataset.dtype.itemsize)
    if dataset.dtype.kind == "O":
        width = 8 + int(dataset.file.id.get_create_plist().get_sizes()[0])
    return int(np.prod(dataset.chunks)) * width


def _unpacked_size(content: bytes, filters: list[int], size: int) -> int:
    """Return how many bytes a chunk holds once its `filters` are undone; it should be `size`."""
    packed = True
    for which in reversed(filters):
        if which == _FLETCHER32:
            if len(content) < _CHECKSUM_BYTES:
                raise RecordingError(Reason.MALFORMED, "a chunk lacks its checksum")
            content = content[:-_CHECKSUM_BYTES]
        elif which in (_DEFLATE, _LZF):
            if not packed:
                raise RecordingError(Reason.UNKNOWN_FORMAT, "chunks that are packed twice")
            most = size + _CHECKSUM_BYTES
            content = bytes(_inflated(content, most) if which == _DEFLATE else _lzf(content, most))
            packed = False
        elif packed and {_DEFLATE, _LZF} & set(filters[: filters.index(which)]):
            raise RecordingError(Reason.UNKNOWN_FORMAT, "chunks that are shuffled after packing")
    return len(content)


def _inflated(content: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(content, most + 1)
    except zlib.error:
        raise RecordingError(Reason.MALFORMED, "a chunk that cannot be unpacked") from None
    if len(unpacked) > most:
        raise RecordingError(Reason.TOO_LARGE, "a chunk unpacks to more than it should hold")
    return unpacked


def _lzf(content: bytes, most: int) -> bytearray:
    """Unpack LZF: runs of up to 32 new bytes, and copies of up to 264 bytes that came before."""
    out = bytearray()
    at, end = 0, len(content)
    padded = content + bytes(2)
    while at < end:
        control = padded[at]
        at += 1
        if control < 32:
            out += content[at : at + control + 1]
            at += control + 1
        else:
            length = control >> 5
            if length == 7:
                length += padded[at]
                at += 1
            back = ((control & 31) << 8 | padded[at]) + 1
            at += 1
            if back > len(out):
                break
            found = out[len(out) - back :]
            out += (found * (length // back + 2))[: length + 2]
        if len(out) > most:
            raise RecordingError(Reason.TOO_LARGE, "a chunk unpacks to more than it should hold")
    if at != end:
        raise RecordingError(Reason.MALFORMED, "a chunk that cannot be unpacked")
    return out
