"""What the participant table tells of the people analysed, kept as it is."""

import numpy as np
import pandas as pd

from ecg_spark.genetics.null_model.cohort import Brought, save_told


def test_what_is_told_of_the_people_analysed_is_kept_in_its_own_units(tmp_path):
    covariates = pd.DataFrame({"age": [61.0, 44.5, 70.0]}, index=["1.0", "2", "3"])
    is_male = pd.Series([1.0, np.nan], index=["1", "2"])
    brought = Brought(pd.DataFrame(), {}, covariates, is_male, None, [])
    people = pd.Series(["2", "1", "9"], index=["a", "b", "c"])
    save_told(brought, people, str(tmp_path))
    told = pd.read_parquet(tmp_path / "told.parquet").set_index("participant_id")
    assert list(told.index) == ["2", "1", "9"]
    np.testing.assert_array_equal(told["age"], [44.5, 61.0, np.nan])
    np.testing.assert_array_equal(told["is_male"], [np.nan, 1.0, np.nan])
    save_told(Brought(pd.DataFrame(), {}, covariates, None, None, []), people, str(tmp_path))
    assert list(pd.read_parquet(tmp_path / "told.parquet")) == ["participant_id", "age"]
