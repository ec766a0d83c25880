"""WFDB headers as they are met, missing samples, and archives with their members in any order."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import LEADS, Note, Reason, RecordingError, read_recording
from ecg_spark.ecg.formats import archives, unpacked
from ecg_spark.ecg.formats.times import read_moment
from ecg_spark.ecg.formats.wfdb_header import is_header
from tests.builders.ecg_files import heart, small_muse, twelve, wfdb_record

SAMPLES = twelve(heart())
GIVEN = datetime(2020, 5, 6, 9, 49, 17)


def record(samples=SAMPLES, gain="1000/mV", **more):
    return wfdb_record(samples, list(LEADS), gains=[gain] * 12, **more)


def reason_of(header, files=None, **more):
    with pytest.raises(RecordingError) as error:
        read_recording(header, companions=files, **more)
    return error.value.reason


# --- headers -------------------------------------------------------------------------------------


@given(
    start=st.sampled_from(
        [
            ("", None),
            ("09:49:17 06/05/2020", GIVEN),
            ("9:49:17.250 6/5/2020", GIVEN),
            ("06-May-2020 09:49:17", GIVEN),
            ("2020-05-06 09:49:17", GIVEN),
            ("2020-05-06T09:49:17.000Z", GIVEN),
            ("09:49:17 May 6, 2020", GIVEN),
            ("09:49:17 2020-05-06", GIVEN),
            ("2006", None),
            ("10:00:00 2006", None),
            ("10:00:00", None),
            ("06/05/2020", None),
            ("09:49:17 06/05/20", None),
            ("09:49 06/05/2020", None),
            ("25:99:00 06/05/2020", None),
            ("09:49:17 05/16/2020", None),
            ("unknown", None),
        ]
    ),
    gain=st.sampled_from(["1000/mV", "1/uV", "1/\u00b5V", "1/\u03bcV", "1/microvolts", "1e6/V"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    comment=st.sampled_from([None, b"#Dx: \xc4\x85\xe9", "# \u00b5 \u5e74".encode(), b"# plain"]),
    suffix=st.sampled_from(["", ".mat", ".dat"]),
)
@settings(max_examples=80, deadline=None)
def test_headers_of_every_kind_give_the_same_samples(start, gain, encoding, end, comment, suffix):
    written, expected = start
    header, files = record(gain=gain, name=f"r{suffix}")
    lines = header.decode().split("\n")
    lines[0] = f"{lines[0]} {written}".strip()
    try:
        data = end.join(lines).encode(encoding)
    except UnicodeEncodeError:
        data = end.join(lines).encode()
    if comment is not None and encoding != "utf-16":
        data += end.encode() + comment
    recording = read_recording(data, companions=files)
    np.testing.assert_allclose(recording.signal_mv, SAMPLES / 1000, atol=6e-4)
    assert recording.acquired_at == expected
    assert (Note.TIME_UNREADABLE in recording.notes) == (bool(written) and expected is None)


@pytest.mark.parametrize(
    "text",
    ["HR 41\n", "HR 41\nQT 380 400\n", "HR 1\nPR 160\n", "QRS 2 100 200\nPR 160\nQT 380\n",
     "Dose 2 500 3000 milligrams\na day\n", "N 3 500\nA 16 200\nB 16 300\nC 16 100\n",
     "5/2 2020\nvisit 12\n", "participants 12 500 5000\n", ""],
)  # fmt: skip
def test_text_of_the_form_of_a_record_line_is_not_an_ecg(text):
    assert not is_header(text.encode())
    assert reason_of(text.encode(), name="note.txt") == Reason.NOT_AN_ECG


@given(st.lists(st.text("abcHRQT 0123456789.:/\t", max_size=30), max_size=8))
@settings(max_examples=200, deadline=None)
def test_lines_without_a_file_and_a_format_are_no_header(lines):
    text = "\n".join(line.replace(".", " ").replace("/", " ") for line in ["HR 41", *lines])
    told = [line.split() for line in text.split("\n")[1:]]
    if not any(len(words) > 1 and words[0].startswith("HR") for words in told):
        assert not is_header(text.encode())


def test_a_file_whose_name_promises_an_ecg_is_quarantined_not_overlooked():
    for name in ("r.hea", "r.dat", "r.mat.gz", "r.xml", "r.scp", "r.dcm", "r.edf"):
        assert reason_of(b"503 Service Unavailable", name=name) == Reason.UNKNOWN_FORMAT
    for name in ("visits.7z", "visits.rar", "visits.zip"):
        assert reason_of(b"packed", name=name) == Reason.UNKNOWN_FORMAT
    assert reason_of(b"PK packed", name="letter.docx") == Reason.NOT_AN_ECG


def test_a_lost_or_damaged_file_of_other_channels_costs_no_lead():
    header, files = record()
    header = header.replace(b"r 12 ", b"r 14 ") + b"\nr.xyz 16 1000/mV 16 0 0 5 0 vx\n"
    header += b"r.xyz 16 1000/mV 16 0 0 5 0 vy"
    for other in ({}, {"r.xyz": b"cut"}):
        recording = read_recording(header, companions=files | other)
        np.testing.assert_array_equal(recording.samples, SAMPLES)
    assert reason_of(header, {"r.xyz": b""}) == Reason.MALFORMED


# --- missing samples -----------------------------------------------------------------------------


@given(
    lead=st.sampled_from(LEADS),
    start=st.integers(0, 2999),
    length=st.integers(1, 60),
    in_all=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_few_missing_samples_are_filled_and_more_are_not_finite(lead, start, length, in_all):
    samples = SAMPLES.copy()
    end = min(start + length, 3000)
    rows = list(range(12)) if in_all else [LEADS.index(lead)]
    samples[rows, start:end] = -32768
    given_by_others = not in_all and lead in LEADS[:6]
    header, files = record(samples)
    if end - start > 10 and not given_by_others:
        assert reason_of(header, files) == Reason.NOT_FINITE
        return
    recording = read_recording(header, companions=files)
    kept = np.ones((12, 3000), bool)
    kept[rows, start:end] = False
    np.testing.assert_array_equal(recording.samples[kept], SAMPLES[kept])
    if given_by_others:
        assert recording.notes == (Note.SAMPLES_DERIVED,)
        np.testing.assert_allclose(recording.samples, SAMPLES, atol=0.51)
    else:
        assert recording.notes == (Note.SAMPLES_FILLED,)
        for row in rows:
            edges = SAMPLES[row, [max(start - 1, 0), min(end, 2999)]]
            inside = [
                edge for edge, there in zip(edges, (start > 0, end < 3000), strict=True) if there
            ]
            hole = recording.samples[row, start:end]
            assert (hole >= min(inside) - 1).all()
            assert (hole <= max(inside) + 1).all()


def test_limb_leads_that_disobey_einthoven_give_nothing():
    samples = SAMPLES.copy()
    samples[5] += (300 * np.sin(np.arange(3000) / 40)).astype(int)
    samples[5, 1000:1100] = -32768
    assert reason_of(*record(samples)) == Reason.NOT_FINITE


def test_a_limb_lead_that_is_missing_whole_is_derived():
    samples = SAMPLES.copy()
    samples[3] = -32768
    recording = read_recording(*record(samples)[:1], companions=record(samples)[1])
    assert recording.notes == (Note.SAMPLES_DERIVED,)
    np.testing.assert_allclose(recording.signal_mv, SAMPLES / 1000, atol=6e-4)
    samples[8] = -32768
    assert reason_of(*record(samples)) == Reason.NOT_FINITE


# --- times ---------------------------------------------------------------------------------------


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)).map(
        lambda t: t.replace(microsecond=0)
    )
)
@settings(max_examples=200, deadline=None)
def test_every_way_to_write_a_moment_is_read_as_it(moment):
    forms = ("%Y-%m-%dT%H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S.123-0500", "%d-%b-%Y %H:%M:%S",
             "%B %d, %Y %I:%M:%S %p", "%H:%M:%S %d %b %Y", "%Y/%m/%d %H:%M:%S", "%Y%m%d %H%M%S",
             "%Y年%m月%d日 %H时%M分%S秒", "%A, %d %B %Y %H:%M:%S")  # fmt: skip
    for form in forms:
        assert read_moment(moment.strftime(form)) == moment, form
    assert read_moment(moment.strftime("%Y-%m-%d %H:%M")) == moment.replace(second=0)
    assert read_moment(moment.strftime("%d.%m.%Y %H:%M:%S"), day_first=True) == moment
    assert read_moment(moment.strftime("%m/%d/%Y %H:%M:%S"), day_first=False) == moment
    unsure = moment.strftime("%d/%m/%Y %H:%M:%S")
    certain = moment.day > 12 or moment.day == moment.month
    assert read_moment(unsure) == (moment if certain else None)
    for part in ("%Y-%m-%d", "%H:%M:%S", "%d/%m/%y %H:%M:%S", "%Y", "%Y-%m-%dT"):
        assert read_moment(moment.strftime(part), day_first=True) is None, part


@given(st.text("0123456789:/-. TAPMZaprJune年", max_size=30), st.sampled_from([None, True, False]))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_moment_or_none(text, day_first):
    moment = read_moment(text, day_first=day_first)
    assert moment is None or str(moment.year).zfill(4) in text


# --- streams and archives ------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20_000), max_size=6), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_gzip_of_any_members_is_read_whole(cuts, zeros):
    content = small_muse()
    at = sorted({0, len(content), *(cut % len(content) for cut in cuts)})
    parts = [content[a:b] for a, b in pairwise(at)] + [b""]
    packed = b"".join(map(gzip.compress, parts)) + bytes(zeros)
    expected = read_recording(content)
    np.testing.assert_array_equal(read_recording(packed).samples, expected.samples)
    for broken in (packed[: -zeros - 4], packed + b"\x01rest"):
        assert reason_of(broken) == Reason.MALFORMED


def packed_tar(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files:
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return stream.getvalue()


def read_all(name, data):
    """The recordings' members and samples, and the reasons of what is none."""
    read, refused = {}, {}
    for item in archives.recordings(io.BytesIO(data), name):
        if isinstance(item, tuple):
            refused[item[0]] = item[1].reason
            continue
        first = next(iter(item))
        companions = {member.rpartition("/")[2]: content for member, content in item.items()}
        try:
            recording = read_recording(item[first], companions=companions, name=first)
            read[first] = (set(item), recording.samples)
        except RecordingError as error:
            refused[first] = error.reason
    return read, refused


def odd_files():
    """Two records with odd companions, one of which shares a file, segments, and no ECG."""
    header, files = record(file="a.bin", name="a")
    shared, _ = record(file="a.bin", name="b")
    parts = {}
    for n, half in ((1, SAMPLES[:, :1500]), (2, SAMPLES[:, 1500:])):
        inner, content = record(half, file=f"s{n}.xyz", name=f"s{n}")
        parts |= {f"v/s{n}.hea": inner, f"v/s{n}.xyz": content["r.dat"]}
    return {
        "v/a.hea": header, "v/b.hea": shared, "v/a.bin": files["r.dat"], "v/RECORDS": b"a\nb\n",
        "a.bin": b"another folder's", "v/s.hea": b"s/2 12 500 3000\ns1 1500\ns2 1500\n", **parts,
    }  # fmt: skip


@given(st.permutations(list(odd_files().items())), st.sampled_from(["zip", "", "gz", "xz", "bz2"]))
@settings(max_examples=25, deadline=None)
def test_members_in_any_order_and_compression_give_the_same_recordings(files, kind):
    if kind == "zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        read, refused = read_all("x.zip", stream.getvalue())
    else:
        pack = {"": bytes, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[kind]
        read, refused = read_all(f"x.tar.{kind}".rstrip("."), pack(packed_tar(files)))
    assert sorted(read) == ["v/a.hea", "v/b.hea", "v/s.hea"]
    assert read["v/a.hea"][0] == {"v/a.hea", "v/a.bin"}
    for _, samples in read.values():
        np.testing.assert_array_equal(samples, SAMPLES)
    assert refused == {"v/RECORDS": Reason.NOT_AN_ECG, "a.bin": Reason.NOT_AN_ECG}


def test_a_header_in_an_archive_reaches_no_other_folder():
    header, files = record(file="../r.dat")
    read, refused = read_all("x.tar", packed_tar([("v/r.hea", header), ("r.dat", files["r.dat"])]))
    assert not read
    assert refused == {"v/r.hea": Reason.UNSAFE, "r.dat": Reason.UNKNOWN_FORMAT}


def test_headers_that_name_each_other_are_not_lost():
    lines = b"\n".join(b"%b 16 1000/mV 16 0 0 0 0 " + lead.encode() for lead in LEADS)
    files = [
        (f"{a}.hea", f"{a} 12 500 3000\n".encode() + lines.replace(b"%b", f"{b}.hea".encode()))
        for a, b in (("x", "y"), ("y", "x"))
    ]
    read, refused = read_all("x.tar", packed_tar(files))
    assert not read
    assert refused == {"x.hea": Reason.MALFORMED, "y.hea": Reason.MALFORMED}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_bombs_of_every_compression_are_refused(pack, monkeypatch):
    monkeypatch.setattr(unpacked, "FREE_BYTES", 1 << 20)
    bomb = pack(packed_tar([(f"{n}.xml", bytes(4 << 20)) for n in range(4)]))
    with pytest.raises(RecordingError) as error:
        list(archives.recordings(io.BytesIO(bomb), "x.tar"))
    assert error.value.reason == Reason.TOO_LARGE


def test_an_xz_stream_that_asks_for_memory_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    packed = lzma.compress(packed_tar([("r.xml", b"x")]), filters=filters)
    with pytest.raises(RecordingError) as error:
        list(archives.recordings(io.BytesIO(packed), "x.tar.xz"))
    assert error.value.reason == Reason.TOO_LARGE


def test_records_further_apart_than_the_window_are_told_as_that(monkeypatch):
    monkeypatch.setattr(archives, "MAX_WAITING_BYTES", 200_000)
    header, files = record(file="a.bin", name="a")
    far = [(f"{n}.txt", bytes(60_000)) for n in range(8)]
    _, refused = read_all("x.tar", packed_tar([("a.hea", header), *far, ("a.bin", files["r.dat"])]))
    assert refused["a.hea"] == Reason.MALFORMED
    near = packed_tar([*far, ("a.hea", header), ("a.bin", files["r.dat"]), *far])
    assert list(read_all("x.tar", near)[0]) == ["a.hea"]


# --- the field -----------------------------------------------------------------------------------

FIELD = {
    "wfdb-header/date-first.hea": (1, GIVEN.replace(day=5)),
    "wfdb-header/iso-date.hea": (1, datetime(2014, 5, 8, 5, 5, 15)),
    "wfdb-header/sound.hea": (1, GIVEN.replace(day=5)),
    **{
        f"wfdb-header/{name}.hea": (1, None)
        for name in ("year-date", "year", "two-digit-year", "bom", "crlf", "micro-utf8", "mu-utf8",
                     "micro-latin1", "no-length", "latin1-comment")
    },
    "gzip/g1.hea": (1, None),
    "lead-order/order.hea": (6, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELD)
def test_records_of_the_field_are_the_reference(shared_data, name):
    field = shared_data / "field" / "ecg"
    if not field.is_dir():
        pytest.skip("the files of the field are not there")
    reference = np.loadtxt(field / "reference" / "e07504-6s.csv", delimiter=",", skiprows=1).T
    atol, moment = FIELD[name]
    recording = read_recording(field / name)
    assert recording.sampling_rate_hz == 500
    np.testing.assert_allclose(1000 * recording.signal_mv, reference, atol=atol)
    assert recording.acquired_at == moment


@pytest.mark.parametrize(
    ("name", "lead", "note"),
    [("v2-10ms", "V2", Note.SAMPLES_FILLED), ("head-4ms", None, Note.SAMPLES_FILLED),
     ("avf-200ms", "aVF", Note.SAMPLES_DERIVED), ("v2-40ms", "V2", None)],
)  # fmt: skip
def test_missing_samples_of_the_field(shared_data, name, lead, note):
    field = shared_data / "field" / "ecg"
    if not field.is_dir():
        pytest.skip("the files of the field are not there")
    if note is None:
        assert reason_of(field / "missing-samples" / f"{name}.hea") == Reason.NOT_FINITE
        return
    recording = read_recording(field / "missing-samples" / f"{name}.hea")
    reference = np.loadtxt(field / "reference" / "e07504-6s.csv", delimiter=",", skiprows=1).T
    apart = np.abs(1000 * recording.signal_mv - reference) > 1
    assert recording.notes == (note,)
    assert apart.sum() <= (0 if note is Note.SAMPLES_DERIVED else 24)
    assert all(LEADS[row] == (lead or LEADS[row]) for row in np.flatnonzero(apart.any(axis=1)))


@pytest.mark.parametrize("name", ["archive/visit.tar.xz", "archive/visit.tar.bz2"])
def test_archives_of_the_field(shared_data, name):
    field = shared_data / "field" / "ecg"
    if not field.is_dir():
        pytest.skip("the files of the field are not there")
    reference = np.loadtxt(field / "reference" / "e07504-6s.csv", delimiter=",", skiprows=1).T
    ((_, samples),) = read_all(name, (field / name).read_bytes())[0].values()
    np.testing.assert_allclose(samples, reference, atol=1)
