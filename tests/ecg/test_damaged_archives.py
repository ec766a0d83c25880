"""Archives of which any byte of the structure may be wrong: read, or refused in a word."""

import io
import zipfile

import pytest

from ecg_spark.ecg import RecordingError
from ecg_spark.ecg.formats.archives import recordings
from tests.builders.ecg_files import small_files

VALUES = (0, 1, 0x20, 0x7F, 0xAB, 0xFF)


def _read(content):
    """What comes out of a zip: members, or why not."""
    try:
        return list(recordings(io.BytesIO(content), "a.zip"))
    except RecordingError as error:
        return error


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_with_any_byte_of_its_structure_changed_is_read_or_refused(method):
    ecg = small_files()["edf"][0][:2_000]
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        archive.writestr("x.edf", ecg)
    content = whole.getvalue()
    assert _read(content) == [{"x.edf": ecg}]
    first = content.index(b"PK\x01\x02")  # the directory, which the end of the archive follows
    places = [*range(30 + len("x.edf")), *range(first, len(content))]
    refused = 0
    for at in places:
        for value in VALUES:
            found = _read(content[:at] + bytes([value]) + content[at + 1 :])
            refused += isinstance(found, RecordingError)
            if not isinstance(found, RecordingError):
                assert len(found) <= 1
    assert refused > 50


def test_zip_that_asks_for_a_later_version_of_the_format_is_refused():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("x.edf", b"0" * 100)
    content = bytearray(whole.getvalue())
    content[content.index(b"PK\x01\x02") + 6] = 171
    error = _read(bytes(content))
    assert isinstance(error, RecordingError)
    assert "damaged archive (NotImplementedError)" in error.detail
