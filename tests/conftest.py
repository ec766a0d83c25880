"""What every test shares: one Spark session with Hail for the suite, and the real recordings."""

from pathlib import Path

import pytest

from ecg_spark.session import spark_session, start_hail

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
def shared_data():
    """The folder of real recordings and genotypes beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real recordings (../shared/data) are not beside this checkout")
    return SHARED_DATA
