"""The library never unpacks a chunk of an HDF5 file that does not hold what it should."""

import io
import zlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Reason, RecordingError, read_recording
from ecg_spark.ecg.formats.hdf5 import Tracings
from tests.builders.ecg_files import DESCRIBED, hdf5, heart

EIGHT = heart()
KINDS = [
    {"fletcher32": True},
    {"compression": "gzip"},
    {"compression": "lzf"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"compression": "lzf", "shuffle": True, "fletcher32": True},
    {"shuffle": True},
]


def written(chunk: bytes, options: dict, skipped: int = 0) -> bytes:
    """A file of one chunk, whose stored bytes are these."""
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("ecg", (8, 3000), "<i2", chunks=(8, 3000), **options)
        dataset.id.write_direct_chunk((0, 0), chunk, skipped)
    return file.getvalue()


def stored(options: dict) -> bytes:
    """The stored bytes of a sound chunk."""
    content = hdf5({"ecg": EIGHT.astype("<i2")}, chunks=(8, 3000), **options)
    with h5py.File(io.BytesIO(content)) as opened:
        return opened["ecg"].id.read_direct_chunk((0, 0))[1]


def reason_of(content: bytes) -> Reason:
    with pytest.raises(RecordingError) as error:
        read_recording(content, samples=DESCRIBED)
    return error.value.reason


@pytest.mark.parametrize("options", KINDS)
def test_sound_chunks_of_every_filter_are_read(options):
    for chunks in (True, (8, 3000), (3, 700)):
        content = hdf5({"ecg": EIGHT.astype("<i2")}, chunks=chunks, **options)
        recording = read_recording(content, samples=DESCRIBED)
        np.testing.assert_allclose(
            recording.signal_mv[[0, 1, 6, 7]] * 1000, EIGHT[[0, 1, 2, 3]], atol=0.2
        )
    assert read_recording(written(stored(options), options), samples=DESCRIBED)


@pytest.mark.parametrize("options", KINDS)
def test_a_short_chunk_is_refused(options):
    whole = stored(options)
    for length in (1, 3, 4, 5, len(whole) // 2, len(whole) - 1):
        assert reason_of(written(whole[:length], options)) == Reason.MALFORMED


def test_a_chunk_that_unpacks_to_less_than_it_should_is_refused():
    whole = zlib.compress(bytes(24_000))
    assert reason_of(written(whole, {"compression": "gzip"})) == Reason.MALFORMED


def test_a_chunk_stored_as_it_is_is_read():
    plain = EIGHT.astype("<i2").tobytes()
    for options in ({"compression": "gzip"}, {"compression": "lzf"}):
        assert read_recording(written(plain, options, 1), samples=DESCRIBED)
        assert reason_of(written(plain[:-2], options, 1)) == Reason.MALFORMED


def test_samples_of_which_a_part_was_never_written_are_refused():
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("ecg", (8, 3000), "<i2", chunks=(8, 1500))
        dataset[:, :1500] = EIGHT[:, :1500]
    assert reason_of(file.getvalue()) == Reason.MALFORMED


@given(
    rows=st.lists(st.binary(max_size=12), max_size=60),
    repeats=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_lzf_of_any_bytes_is_read(rows, repeats):
    """The bytes are samples; repeated ones are packed as references to what was there before."""
    noise = np.frombuffer((b"".join(rows) * repeats + bytes(48_000))[:48_000], "<i2")
    samples = (noise.reshape(8, 3000) // 16 + EIGHT // 2).astype("<i2")
    described = replace(DESCRIBED, dataset="ecg")
    found = []
    for options in ({"compression": "lzf"}, {}):
        content = hdf5({"ecg": samples}, chunks=(4, 1000), **options)
        try:
            found.append(read_recording(content, samples=described).samples.tolist())
        except RecordingError as error:
            found.append(error.reason)
    assert found[0] == found[1]


@pytest.mark.parametrize("ids", [[7, 8, 9], [b"a", b"bb", b"ccc"], ["a", "bb", "a long one"]])
@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "lzf"}])
def test_ids_in_packed_chunks_are_read(ids, options):
    """Numbers, texts of one length, and texts of any length, which lie elsewhere in the file."""
    content = hdf5(
        {"tracings": np.stack([EIGHT.T] * 3), "exam_id": ids}, chunks=True, **options
    )  # fmt: skip
    described = replace(DESCRIBED, dataset="tracings", ids="exam_id")
    tracings = Tracings(io.BytesIO(content), described)
    found = dict(tracings.recordings(0, 3))
    tracings.close()
    assert list(found) == [item.decode() if isinstance(item, bytes) else str(item) for item in ids]
    assert not any(isinstance(item, RecordingError) for item in found.values())


def test_a_chunk_that_is_far_larger_than_what_it_holds_is_refused():
    assert reason_of(written(bytes(200_000), {"compression": "gzip"})) == Reason.TOO_LARGE
