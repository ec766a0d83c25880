"""XML whatever its declaration says: the samples are those of the sound file, or it is refused."""

import codecs
import contextlib
import re
import time
from encodings.aliases import aliases

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import INDEPENDENT_LEADS, Note, Reason, RecordingError, read_recording
from ecg_spark.ecg.formats.quantities import decimal, microvolts
from tests.builders.ecg_files import aecg, heart, sierra, small_cardiosoft, small_muse

NOT_FOR_DOCUMENTS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}


def is_charset(name: str) -> bool:
    """Whether documents can be written in a codec of Python's."""
    try:
        return "<a>1</a>".encode(name).decode(name) == "<a>1</a>" and bool(codecs.lookup(name))
    except (LookupError, ValueError):
        return False


CODECS = sorted(
    name for name in {*aliases.values(), "utf_8_sig", "cp720", "cp874"} - NOT_FOR_DOCUMENTS
    if is_charset(name)
)  # fmt: skip
RHYTHM = heart(2600)
FIVE = [row // 5 for row in RHYTHM]
ZEROS = [np.zeros_like(FIVE[0])] * 4
DOCUMENTS = {
    "muse": small_muse().decode(),
    "cardiosoft": small_cardiosoft().decode("latin-1"),
    "sierra": sierra([*FIVE[:2], *ZEROS, *FIVE[2:]]).decode(),
    "aecg": aecg(RHYTHM).decode(),
}
SOUND = {name: read_recording(text.encode("latin-1")) for name, text in DOCUMENTS.items()}


def document(name: str, codec: str, declared: str | None, remark: str) -> bytes:
    """The sound file with a remark in it and another declaration, written in `codec`."""
    text = re.sub(r"^<\?xml.*?\?>", "", DOCUMENTS[name])
    text = re.sub(r"(<(?:RestingECG|CardiologyXML|restingecgdata|AnnotatedECG)\b[^>]*>)",
                  lambda root: f"{root[0]}<Remark>{remark}</Remark>", text, count=1)  # fmt: skip
    head = "" if declared is None else f'<?xml version="1.0" encoding="{declared}"?>\n'
    return (head + text).encode(codec, "xmlcharrefreplace")


def assert_same(data: bytes, name: str) -> None:
    recording = read_recording(data)
    np.testing.assert_array_equal(recording.samples, SOUND[name].samples)
    assert recording.microvolts_per_unit == SOUND[name].microvolts_per_unit
    assert recording.sampling_rate_hz == SOUND[name].sampling_rate_hz


FORMATS = st.sampled_from(sorted(DOCUMENTS))
SHIFTING = {codec for codec in CODECS if codec.startswith(("utf_7", "hz", "iso2022"))}
NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Cn"], blacklist_characters="<&>"))
BAD = ["R&D", "a & b", "\x01", "x\x1fy", "&#1;", "&#x0B;", "&nbsp;", "&#xD800;", "&", "\x08"]
NOISE = st.sampled_from(["", "", "", *BAD])
MARK = codecs.BOM_UTF8
BEFORE = st.sampled_from([b"", b"", b"\n", b"\r\n\r\n", b"  ", MARK, b"\n" + MARK, b"\0"])
AFTER = st.sampled_from([b"", b"", b"\0", b"\x1a", b"\0" * 300, b"\r\n\x1a\0\n", b"\n\n"])


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_codec_is_read_as_declared(name):
    for codec in CODECS:
        assert_same(document(name, codec, codec, "Müller 王 Ñ &lt;"), name)


@given(FORMATS, st.sampled_from(CODECS), NAMES, NOISE, BEFORE, AFTER)
@example("muse", "utf_7", "", "", b"", b"\0")
@settings(max_examples=60, deadline=None)
def test_a_codec_with_noise_around_and_in_it(name, codec, remark, noise, before, after):
    data = document(name, codec, codec, remark + noise)
    if codec.startswith(("utf_16", "utf_32")) and before:
        before = "\n".encode(codec)  # a blank line is as wide
    if codec in ("utf_16", "utf_32") or (MARK in before and not codec.startswith("utf_8")):
        before = b""  # a mark must stay in front, and be the right one
    assert_same(before + data + after, name)


@given(
    FORMATS,
    st.sampled_from(CODECS),
    st.sampled_from([*CODECS, "x-unknown", "", None]),
    NAMES,
    NOISE,
)
@settings(max_examples=100, deadline=None)
@example("muse", "cp500", "ascii", "", "")
@example("aecg", "cp1026", "utf-8", "", "")
@example("muse", "cp037", "utf_16", "", "&")
@example("sierra", "utf_16_be", "big5", "\u738b", "&nbsp;")
def test_a_wrong_declaration_costs_no_number(name, codec, declared, remark, noise):
    data = document(name, codec, declared, remark + noise)
    # What shifts its alphabet can only be read where it is declared: that or a refusal.
    if {codec, declared} & SHIFTING and codec != declared:
        try:
            assert_same(data, name)
        except RecordingError:
            return
    elif codec.startswith("cp") and b"<" not in data and declared is None:
        return  # EBCDIC without a declaration is no XML
    else:
        assert_same(data, name)


@given(FORMATS, NAMES.filter(lambda text: not text.isascii()))
@settings(max_examples=20, deadline=None)
def test_replaced_text_is_noted(name, remark):
    data = document(name, "latin-1", "UTF-8", "é" + remark)
    if remark.encode("latin-1", "ignore"):
        assert Note.TEXT_REPLACED in read_recording(data).notes
    assert not read_recording(document(name, "utf-8", "UTF-8", remark)).notes
    assert not read_recording(document(name, "gb18030", "GB18030", remark)).notes


def test_a_participant_id_decoded_by_a_guess_is_dropped():
    """Two ids that differ in a letter that cannot be read must not become one."""
    sound = DOCUMENTS["cardiosoft"].replace(
        "<StripData>", "<PatientInfo><PID>Å1</PID></PatientInfo><StripData>"
    )
    for encoding in ("latin-1", "utf-8", "gb18030", "utf-16"):
        declared = sound.replace("ISO-8859-1", encoding)
        assert read_recording(declared.encode(encoding)).participant_id == "Å1"
    wrong = sound.replace("ISO-8859-1", "UTF-8").encode("latin-1")
    assert read_recording(wrong).participant_id is None
    ascii_id = wrong.replace(b"\xc51", b"A1").replace(b"<Str", b"<Remark>\xc5</Remark><Str")
    assert read_recording(ascii_id).participant_id == "A1"
    control = sound.replace("Å1", "A\x011").encode("latin-1")
    assert read_recording(control).participant_id is None


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf_7", "gbk", "cp500", "iso2022_jp"])
def test_entities_are_refused_in_any_codec(name, codec):
    text = re.sub(r"^<\?xml.*?\?>(<!DOCTYPE[^>]*>)?", "", DOCUMENTS[name])
    for entity in ('<!ENTITY e "5">', '<!ENTITY % p SYSTEM "file:///etc/passwd">'):
        for before in ("", "\n"):
            head = f'{before}<?xml version="1.0" encoding="{codec}"?><!DOCTYPE x [{entity}]>'
            with pytest.raises(RecordingError) as error:
                read_recording((head + text.replace("500", "&e;00")).encode(codec))
            assert error.value.reason == Reason.UNSAFE


def test_an_entity_of_the_document_type_is_never_part_of_a_number():
    """A document type that is not opened may define it as anything."""
    muse = DOCUMENTS["muse"].replace(">4.88<", ">4&dot;88<")
    aecg_text = DOCUMENTS["aecg"].replace("?><A", '?><!DOCTYPE A SYSTEM "a.dtd"><A')
    for text in (muse, aecg_text.replace('value="0.002"', 'value="0.0&x;02"')):
        with pytest.raises(RecordingError) as error:
            read_recording(text.encode())
        assert error.value.reason == Reason.MALFORMED


@pytest.mark.parametrize(
    ("name", "called"),
    [("muse", "GE MUSE XML"), ("cardiosoft", "GE CardioSoft XML"), ("sierra", "Philips Sierra XML"),
     ("aecg", "HL7 aECG")],
)  # fmt: skip
def test_a_damaged_ecg_is_called_by_its_format(name, called):
    text = DOCUMENTS[name]
    for damaged in (
        text[: len(text) // 2],
        text[:-20] + "<a></b>",
        text.replace(">", "> ]]> <<", 1),
        text + "<more/>",
    ):
        with pytest.raises(RecordingError) as error:
            read_recording(damaged.encode("latin-1"))
        assert error.value.reason == Reason.MALFORMED
        assert error.value.detail.startswith(f"{called}: not well-formed XML: ")


@pytest.mark.parametrize("codec", ["utf-8", "gbk", "utf-16", "cp037"])
def test_repairing_is_no_burden(codec):
    for flood in ("&" * 1_000_000, "&#1;" * 150_000, "\x01" * 2_000_000, "<?xml " * 100_000):
        data = document("muse", codec, codec, flood)
        started = time.process_time()
        with contextlib.suppress(RecordingError):
            read_recording(data)
        assert time.process_time() - started < 5


# --- numbers and units ---------------------------------------------------------------------------


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_a_decimal_comma_is_a_decimal_point(whole, digits):
    value = whole / 10**digits
    text = f"{value:.{digits}f}"
    assert decimal(text) == decimal(text.replace(".", ",")) == float(text)
    assert decimal(f" {text} ") == float(text)


@pytest.mark.parametrize(
    "text",
    ["", ",", ".", "1.234,5", "1,234.5", "1,2,3", "1.2.3", "nan", "inf", "1_0", "0x1", "1e13",
     "\ufffd5", "5\ufffd0", "4\u066b8", "--1", "1e999", "5 uV"],
)  # fmt: skip
def test_a_text_that_is_not_a_number_gives_none(text):
    assert decimal(text) is None


def test_units_of_voltage():
    for unit in ("uV", "µV", "μV", "UV", " uv ", "ÂµV", "Î¼V", "microvolt", "MICROVOLTS"):
        assert microvolts(unit) == 1.0
    for unit in ("mV", "MV", "millivolts"):
        assert microvolts(unit) == 1000.0
    for unit in ("", None, "mmHg", "V/s", "\ufffdV", "%"):
        assert microvolts(unit) is None


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("muse", ["4.88"]), ("aecg", ["0.002"]), ("cardiosoft", []), ("sierra", [])],
)
def test_decimal_commas_in_documents(name, numbers):
    text = DOCUMENTS[name]
    for number in numbers:
        assert number in text
        text = text.replace(number, number.replace(".", ","))
    text = text.replace(">5<", ">5,0<").replace('"5200"', '"5200,0"').replace(">100<", ">100,000<")
    text = text.replace('value="1"', 'value="1,0"')
    assert text != DOCUMENTS[name]
    assert_same(text.encode("latin-1"), name)


def test_units_survive_a_wrong_declaration():
    text = DOCUMENTS["aecg"].replace('"uV"', '"µV"')
    assert text.count("µV") >= len(INDEPENDENT_LEADS)
    for codec, declared in (("latin-1", "UTF-8"), ("utf-8", "ISO-8859-1"), ("gbk", "gb2312")):
        if codec == "gbk":
            text = text.replace("µ", "μ")
        changed = text.replace("<?xml version='1.0'?>", "").replace('<?xml version="1.0"?>', "")
        data = f'<?xml version="1.0" encoding="{declared}"?>{changed}'.encode(codec)
        assert_same(data, "aecg")
