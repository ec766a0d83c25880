"""What tests of the reader and of the beats share: the ECG files as they are met in the field."""

import re

import pytest

ROW = re.compile(r"\| `([^`]+)` \| [^|]* \| ([^|]*) \|")


@pytest.fixture(scope="module")
def field(shared_data):
    """The folder of inputs and what its README says of each."""
    folder = shared_data / "field" / "ecg"
    rows = map(ROW.match, (folder / "README.md").read_text().splitlines())
    return folder, {row[1]: row[2].strip() for row in rows if row}
