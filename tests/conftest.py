"""What every test shares: one Spark session with Hail for the suite, and the real recordings."""

from pathlib import Path

import pytest

from ecg_spark.session import spark_session, start_hail
from jobs.simulate import simulate

PARTICIPANTS = 120
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def spark():
    """The one Spark session of the suite."""
    session = spark_session("ecg-spark tests", driver_memory="3g", progress=False)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def hail(spark, tmp_path_factory):
    """Hail, started in the suite's Spark session."""
    return start_hail(spark, str(tmp_path_factory.mktemp("hail")))


@pytest.fixture(scope="session")
def biobank(spark, tmp_path_factory):
    """A small simulated biobank: its folder, with the study file beside the data."""
    out = tmp_path_factory.mktemp("simulated") / "biobank"
    simulate(out, participants=PARTICIPANTS, variants=1500, seed=11)
    return out


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real recordings and genotypes beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real recordings (../shared/data) are not beside this checkout")
    return SHARED_DATA
