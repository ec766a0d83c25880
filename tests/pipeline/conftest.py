"""The simulated biobank, read once for all tests of this folder that only look at it."""

import pytest

from ecg_spark.participants import read_manifest
from ecg_spark.study import Manifest
from tests.builders.ingesting import ingesting


@pytest.fixture(scope="session")
def biobank_in(spark, biobank, tmp_path_factory):
    """The simulated biobank ingested: its manifest, the summary and a reader of the tables."""
    manifest = read_manifest(Manifest(path="x"), str(biobank / "manifest.csv"))
    return manifest, *ingesting(spark, tmp_path_factory.mktemp("in"))(biobank / "ecg", manifest)
