"""HDF5, CSV and Parquet: rate, unit and leads come from the file or the study, never by guess."""

import io
import itertools
import warnings
import zlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, RecordingError, read_recording
from ecg_spark.ecg.formats import hdf5 as hdf5_format
from ecg_spark.ecg.formats.samples import Samples, microvolts_of
from ecg_spark.ecg.recording import Note, Reason
from tests.builders.ecg_files import DESCRIBED, csv_table, hdf5, heart, parquet_table

EIGHT = heart()
NAMES = list(INDEPENDENT_LEADS)
ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


def microvolts(recording):
    return recording.signal_mv[ROWS] * 1000


def refused(content, samples=DESCRIBED):
    with pytest.raises(RecordingError) as caught:
        read_recording(content, samples=samples)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("unit", "size"),
    [("uV", 1), ("µV", 1), ("μV", 1), ("mV", 1000), ("V", 1e6), ("4.88 uV", 4.88), ("1e-4 V", 100),
     ("nV", 1e-3), ("0.1mV", 100), ("5 ohm", None), ("0 mV", None), ("", None), ("mmHg", None)],
)  # fmt: skip
def test_a_unit_is_a_voltage_with_or_without_a_number(unit, size):
    assert microvolts_of(unit) == (None if size is None else pytest.approx(size))


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2", ">i4"])
@pytest.mark.parametrize("turned", [False, True])
def test_hdf5_is_read_whatever_its_axes_and_numbers(kind, turned):
    values = (EIGHT.T if turned else EIGHT).astype(kind)
    recording = read_recording(hdf5({"ecg": values}), samples=DESCRIBED)
    assert recording.source_format == "hdf5"
    np.testing.assert_allclose(microvolts(recording), EIGHT, atol=1e-6)


def test_fractions_keep_a_tenth_of_a_microvolt():
    content = hdf5({"ecg": (EIGHT / 1000 + 0.00004).astype("f4")})
    recording = read_recording(content, samples=replace(DESCRIBED, unit="mV"))
    np.testing.assert_allclose(microvolts(recording), EIGHT + 0.04, atol=0.1)


@given(order=st.permutations(NAMES), separator=st.sampled_from([",", ";", "\t"]))
@settings(max_examples=20, deadline=None)
def test_named_leads_may_stand_in_any_order(order, separator):
    rows = np.array([EIGHT[NAMES.index(lead)] for lead in order])
    said = replace(DESCRIBED, leads=tuple(order))
    for content in (
        csv_table(rows, order, separator),
        parquet_table(rows, order),
        hdf5({"x": rows}),
        hdf5(dict(zip(order, rows, strict=True))),
    ):
        np.testing.assert_allclose(microvolts(read_recording(content, samples=said)), EIGHT)


LENGTHS = st.one_of(st.just(0), st.integers(3, 400))


@given(front=LENGTHS, behind=LENGTHS, empty=st.sampled_from([0.0, np.nan]))
@settings(max_examples=20, deadline=None)
def test_padding_is_removed_and_noted(front, behind, empty):
    padded = np.pad(EIGHT + 0.5, ((0, 0), (front, behind)), constant_values=empty)
    recording = read_recording(hdf5({"ecg": padded}), samples=DESCRIBED)
    assert recording.samples.shape == (12, 3000)
    assert (Note.PADDING_LEFT_OFF in recording.notes) == (front + behind > 0)


def test_zeros_inside_a_recording_stay():
    rows = EIGHT.copy()
    rows[:, 1000:1010] = 0
    recording = read_recording(hdf5({"ecg": rows}), samples=DESCRIBED)
    assert recording.samples.shape == (12, 3000)
    assert recording.notes == ()


@pytest.mark.parametrize("missing", ["sampling_rate_hz", "unit", "leads"])
def test_what_neither_file_nor_study_says_is_refused_with_the_key(missing):
    samples = replace(DESCRIBED, **{missing: None})
    reason, detail = refused(hdf5({"ecg": EIGHT}), samples)
    assert reason == Reason.NOT_DESCRIBED
    assert f"ecg.samples.{missing}" in detail
    if missing != "leads":
        for content in (csv_table(EIGHT, NAMES), parquet_table(EIGHT, NAMES)):
            reason, detail = refused(content, samples)
            assert reason == Reason.NOT_DESCRIBED
            assert f"ecg.samples.{missing}" in detail


def test_every_missing_key_is_said_at_once():
    _, detail = refused(hdf5({"ecg": EIGHT}), Samples())
    for key in ("sampling_rate_hz", "unit", "leads"):
        assert f"ecg.samples.{key}" in detail


@pytest.mark.parametrize(
    ("names", "value", "reason", "says"),
    [
        (["pulse"], 1.0, Reason.MISSING_LEAD, "without a column of a lead"),
        (["V1", "v1"], 1.0, Reason.MALFORMED, "a lead is stored twice"),
        (["V1"], "1.0", Reason.MALFORMED, "does not hold numbers"),
        ([f"c{number}" for number in range(1001)], 1.0, Reason.TOO_LARGE, "more columns or rows"),
    ],
    ids=["no lead", "twice", "text", "columns"],
)
def test_a_parquet_table_that_is_no_recording_is_refused(names, value, reason, says):
    found, detail = refused(parquet_table(np.full((len(names), 5000), value), names))
    assert found == reason
    assert says in detail


def with_attributes(**said):
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("ecg", data=EIGHT)
        dataset.attrs.update(said)
    return file.getvalue()


def test_what_the_file_itself_says_counts():
    content = with_attributes(sampling_rate=500, units="uV", lead_names=NAMES)
    np.testing.assert_allclose(microvolts(read_recording(content)), EIGHT)
    content = parquet_table(EIGHT, NAMES, {"fs": "500", "unit": "uV"})
    np.testing.assert_allclose(microvolts(read_recording(content)), EIGHT)
    content = csv_table(EIGHT, [f"{lead} [uV]" for lead in NAMES])
    samples = Samples(sampling_rate_hz=500)
    np.testing.assert_allclose(microvolts(read_recording(content, samples=samples)), EIGHT)


def test_what_a_dataset_of_a_lead_says_counts():
    file = io.BytesIO(hdf5(dict(zip(NAMES, EIGHT, strict=True))))
    with h5py.File(file, "r+") as opened:
        for name in NAMES:
            opened[name].attrs.update({"fs": 500, "unit": "uV"})
    np.testing.assert_allclose(microvolts(read_recording(file.getvalue())), EIGHT)
    with h5py.File(file, "r+") as opened:
        opened["V6"].attrs["unit"] = "mV"
    assert refused(file.getvalue(), Samples())[0] == Reason.MALFORMED


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (with_attributes(fs=400), "sampling_rate_hz"),
        (with_attributes(unit="mV"), "unit"),
        (with_attributes(leads=NAMES[::-1]), "leads"),
        (parquet_table(EIGHT, NAMES, {"sampling_frequency": "250"}), "sampling_rate_hz"),
        (csv_table(EIGHT, [f"{lead} (mV)" for lead in NAMES]), "unit"),
    ],
)
def test_a_file_that_contradicts_the_study_is_refused(content, key):
    reason, detail = refused(content)
    assert reason == Reason.MALFORMED
    assert f"ecg.samples.{key}" in detail


def test_a_csv_without_lead_names_is_refused():
    bare = csv_table(EIGHT, NAMES).split(b"\n", 1)[1]
    reason, detail = refused(bare)
    assert reason == Reason.MISSING_LEAD
    assert "names no lead" in detail
    reason, _ = refused(b"participant_id,age,sex\n1,50,0\n2,60,1\n")
    assert reason not in (Reason.MISSING_LEAD, Reason.NOT_DESCRIBED)


def test_a_csv_with_remarks_quotes_an_index_and_decimal_commas_is_read():
    names = ["", *(f'"Lead {lead}"' for lead in NAMES)]
    lines = [";".join([str(n), *(f"{x},0" for x in row)]) for n, row in enumerate(EIGHT.T.tolist())]
    text = "\r\n".join(["# a remark", "", ";".join(names), *lines])
    recording = read_recording(b"\xef\xbb\xbf" + text.encode(), samples=DESCRIBED)
    np.testing.assert_allclose(microvolts(recording), EIGHT)


@pytest.mark.parametrize("place", [1, 1500, 2999])
def test_a_csv_with_a_damaged_line_is_refused(place):
    lines = csv_table(EIGHT, NAMES).split(b"\n")
    for damaged in (b"1,2,3", b"1,2,3,4,x,6,7,8"):
        reason, _ = refused(b"\n".join([*lines[:place], damaged, *lines[place + 1 :]]))
        assert reason == Reason.MALFORMED


def test_a_lead_twice_is_refused():
    for content in (
        csv_table(EIGHT, ["Lead I", *NAMES[:1], *NAMES[2:]]),
        parquet_table(EIGHT, ["Lead I", *NAMES[:1], *NAMES[2:]]),
    ):
        reason, detail = refused(content)
        assert reason == Reason.MALFORMED
        assert "twice" in detail


def test_shapes_and_datasets_that_are_not_clear_are_refused():
    assert refused(hdf5({"ecg": EIGHT[:7]}))[0] == Reason.MALFORMED
    assert refused(hdf5({"ecg": EIGHT[:, :8]}))[0] == Reason.MALFORMED
    reason, detail = refused(hdf5({"a": EIGHT, "b": EIGHT}))
    assert reason == Reason.NOT_DESCRIBED
    assert "ecg.samples.dataset" in detail
    reason, detail = refused(hdf5({"tracings": np.stack([EIGHT, EIGHT])}))
    assert reason == Reason.NOT_DESCRIBED
    assert "ecg.samples.ids" in detail
    named = replace(DESCRIBED, dataset="b")
    assert read_recording(hdf5({"a": EIGHT * 2, "b": EIGHT}), samples=named).samples.size


def hostile(kind, folder):
    """A file whose samples are not its own, or are more than any recording's."""
    other = folder / "other.h5"
    other.write_bytes(hdf5({"ecg": EIGHT}))
    (folder / "raw").write_bytes(EIGHT.astype("<f8").tobytes())
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        match kind:
            case "external link":
                opened["ecg"] = h5py.ExternalLink(str(other), "/ecg")
            case "soft link":
                opened["group/inside"] = EIGHT
                opened["ecg"] = h5py.SoftLink("/group/inside")
            case "external storage":
                raw = [(str(folder / "raw"), 0, EIGHT.size * 8)]
                opened.create_dataset("ecg", EIGHT.shape, "<f8", external=raw)
            case "virtual":
                layout = h5py.VirtualLayout(EIGHT.shape, "<f8")
                layout[:] = h5py.VirtualSource(str(other), "ecg", EIGHT.shape)
                opened.create_virtual_dataset("ecg", layout)
            case "huge":
                opened.create_dataset("ecg", (8, 1 << 40), "<f8", chunks=(1, 1024))
            case "huge chunk":
                opened.create_dataset("ecg", (8, 1 << 20), "<f8", chunks=(8, 1 << 20))
            case "compound":
                opened["ecg"] = np.zeros((8, 3000), np.dtype([("a", "f4"), ("b", "f4")]))
            case "texts":
                opened["ecg"] = [["x"] * 3000] * 8
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("external link", Reason.UNSAFE), ("soft link", Reason.UNSAFE),
     ("external storage", Reason.UNSAFE), ("virtual", Reason.UNSAFE), ("huge", Reason.TOO_LARGE),
     ("huge chunk", Reason.TOO_LARGE), ("compound", Reason.MALFORMED), ("texts", Reason.MALFORMED)],
)  # fmt: skip
def test_hostile_hdf5_is_refused(kind, reason, tmp_path):
    content = hostile(kind, tmp_path)
    assert refused(content, replace(DESCRIBED, dataset="ecg"))[0] == reason
    with pytest.raises(RecordingError):
        read_recording(content, samples=DESCRIBED)


def test_filters_of_others_are_not_loaded(monkeypatch):
    content = hdf5({"ecg": EIGHT}, compression="gzip")
    monkeypatch.setattr(hdf5_format, "FILTERS", {h5py.h5z.FILTER_SHUFFLE})
    assert refused(content)[0] == Reason.UNKNOWN_FORMAT


def bomb(filters, size):
    """A file whose one chunk unpacks to `size` bytes, not to what the dataset holds."""
    file = io.BytesIO()
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("ecg", (8, 3000), "<f8", chunks=(8, 3000), **filters)
        dataset.id.write_direct_chunk((0, 0), packed)
    return file.getvalue()


@pytest.mark.parametrize(
    "filters", [{"compression": "gzip"}, {"compression": "gzip", "shuffle": True}]
)
def test_a_chunk_that_unpacks_without_end_is_refused(filters):
    assert refused(bomb(filters, 300 << 20))[0] == Reason.TOO_LARGE


def several(ids, **options):
    padded = np.pad(
        np.stack([EIGHT.T * (n + 1) for n in range(len(ids))]), ((0, 0), (9, 5), (0, 0))
    )
    return hdf5({"tracings": padded, "exam_id": ids}, **options)


SEVERAL = replace(DESCRIBED, dataset="tracings", ids="exam_id")


@pytest.mark.parametrize("ids", [[7, 8, 9, 10, 11], ["a", "b", "c", "d", "e"]])
@pytest.mark.parametrize("chunks", [None, True])
def test_slices_of_a_file_of_several_give_each_recording_once(ids, chunks):
    content = several(ids, chunks=chunks)
    for bounds in ([0, 5], [0, 2, 5], [0, 1, 2, 3, 4, 5]):
        found = []
        for first, last in itertools.pairwise(bounds):
            tracings = hdf5_format.Tracings(io.BytesIO(content), SEVERAL)
            found += tracings.recordings(first, last)
            tracings.close()
        assert [name for name, _ in found] == [str(name) for name in ids]
        for n, (_, recording) in enumerate(found):
            np.testing.assert_allclose(microvolts(recording), EIGHT * (n + 1), atol=0.2 * (n + 1))


def test_an_id_that_comes_twice_is_nobodys():
    tracings = hdf5_format.Tracings(io.BytesIO(several([7, 8, 7])), SEVERAL)
    found = list(tracings.recordings(0, 3))
    assert [isinstance(item, RecordingError) for _, item in found] == [True, False, True]


@pytest.mark.parametrize("ids", [[1, 2], [1.5, 2.5, 3.5], [[1, 2, 3]]])
def test_ids_that_do_not_belong_to_the_recordings_are_refused(ids):
    content = hdf5({"tracings": np.stack([EIGHT.T] * 3), "exam_id": ids})
    with pytest.raises(RecordingError):
        hdf5_format.Tracings(io.BytesIO(content), SEVERAL)


@given(place=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=40), cut=st.booleans())
@settings(max_examples=100, deadline=None)
def test_damaged_files_of_several_only_raise_recording_errors(place, new, cut):
    content = several([1, 2], compression="gzip")
    at = int(place**2 * len(content))
    content = content[:at] + new + (b"" if cut else content[at + len(new) :])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            tracings = hdf5_format.Tracings(io.BytesIO(content), SEVERAL)
        except RecordingError:
            return
        for _, item in tracings.recordings(0, len(tracings.ids)):
            assert isinstance(item, RecordingError) or item.samples.shape[0] == 12


TWELVE = Samples(sampling_rate_hz=500, unit="mV", leads=LEADS)


def test_archives_in_the_field_give_their_samples(shared_data):
    folder = shared_data / "field" / "ecg"
    reference = np.loadtxt(folder / "reference" / "e07504-6s.csv", delimiter=",", skiprows=1).T
    chapman = "MUSE_20180111_155115_19000.csv"
    for path, samples in (
        (folder / "archive-sph" / "records" / "A00001.h5", TWELVE),
        (folder / "archive-chapman-csv" / "ECGData" / chapman, replace(TWELVE, unit="uV")),
    ):
        recording = read_recording(path, samples=samples)
        np.testing.assert_allclose(recording.signal_mv * 1000, reference, atol=1)
    denoised = folder / "archive-chapman-csv" / "ECGDataDenoised" / chapman
    assert refused(denoised, TWELVE)[0] == Reason.MISSING_LEAD
    described = replace(TWELVE, sampling_rate_hz=400, dataset="tracings", ids="exam_id")
    with (folder / "archive-code15" / "exams_part0.hdf5").open("rb") as file:
        found = list(hdf5_format.Tracings(file, described).recordings(0, 2))
    assert [(name, item.samples.shape) for name, item in found] == [
        ("1001", (12, 4000)),
        ("1002", (12, 2800)),
    ]
