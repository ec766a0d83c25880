"""Phenotypes that a study brings: what their table may hold, and what is refused of it."""

import re

import numpy as np
import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.participants import read_phenotypes
from ecg_spark.pipeline.phenotypes import with_own
from ecg_spark.study import Phenotypes


def read(path, notes=None, **settings):
    settings = {"columns": ("z_*",)} | settings
    given = Phenotypes(path=str(path), **settings)
    return read_phenotypes(given, str(path), [] if notes is None else notes)


def test_columns_are_taken_by_name_and_by_pattern_and_missing_values_stay_missing(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        "participant_id;z_0;z_1;LV mass (g);site\n"
        "007;1,5;-9;80;A\n8.0;NA;2;90;B\n;3;3;3;C\n10;2,5;.;-9;D\n11;3;4;70;x\n"
    )
    notes = []
    found = read(path, notes, columns=("LV mass (g)", "z_*"), missing_codes={"z_1": [-9]})
    assert list(found.index) == ["007", "8", "10", "11"]
    assert list(found.columns) == ["LV_mass_g", "z_0", "z_1"]
    assert found["z_0"].tolist()[::2] == [1.5, 2.5]
    assert found["z_1"].isna().tolist() == [True, False, True, False]
    assert found["LV_mass_g"].tolist() == [80, 90, -9, 70]
    told = " ".join(notes)
    assert "1 rows of the table of phenotypes have no id" in told
    assert "1 values of z_1 are codes for a missing value (-9: 1)" in told
    assert "declare it in phenotypes.missing_codes" in told


def test_floats_of_a_parquet_file_come_back_as_they_are(tmp_path):
    rng = np.random.default_rng(3)
    values = pd.DataFrame(rng.normal(size=(50, 3)) * [1, 1e-7, 1e9], columns=["z_0", "z_1", "z_2"])
    values.assign(participant_id=np.arange(50)).to_parquet(tmp_path / "own.parquet")
    found = read(tmp_path / "own.parquet")
    assert (found.to_numpy() == values.to_numpy()).all()
    assert list(found.index) == [str(k) for k in range(50)]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("participant_id,z_0\n1,2\n1,3\n", r"1 rows of the .* repeat a participant"),
        ("participant_id,z_0\n1,2\n2,2\n", r"column z_0 of .* holds 2 only"),
        ("participant_id,z_0\n1,\n2,NA\n", r"column z_0 of .* holds no number"),
        ("participant_id,z_0\n1,good\n2,bad\n3,1\n", r"column z_0 of .* is text"),
        ("participant_id,y\n1,2\n2,3\n", r"no column z_\*; it has participant_id, y"),
        ("eid,z_0\n1,2\n2,3\n", r"no column participant_id; .*set phenotypes\.id"),
        ("participant_id,z_0,z_1\n1,2.5,3\n2,1.5,'2,5'\n3,3,1\n", r"decimal commas in z_1"),
        ("participant_id,z_a b,z_a_b\n1,2,3\n2,3,4\n", r"column z_a_b .* the name of another"),
        ("participant_id,z_a,z_A\n1,2,3\n2,3,4\n", r"column z_A .* the name of another"),
    ],
)
def test_a_table_that_is_no_table_of_phenotypes_is_refused(tmp_path, table, says):
    path = tmp_path / "own.csv"
    path.write_text(table.replace("'", '"'))
    with pytest.raises(DataError, match=says) as caught:
        read(path)
    assert "own.csv" not in str(caught.value)


@pytest.mark.parametrize("name", ["vae_00", "PCA_3", "qt_ms", "own", "traits", "IID", "s"])
def test_names_of_latents_traits_and_ids_are_taken(tmp_path, name):
    path = tmp_path / "own.csv"
    path.write_text(f"participant_id,{name}\n1,2\n2,3\n")
    with pytest.raises(DataError, match=f"column {re.escape(name)} .* a trait or an id: rename"):
        read(path, columns=(name,))


def test_beside_latents_own_phenotypes_are_of_the_people_who_have_those():
    latents = pd.DataFrame({"vae_00": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    own = pd.DataFrame({"z": [5.0, 6.0, 7.0]}, index=["b", "c", "d"])
    notes = []
    found, groups = with_own(latents, {"vae": ["vae_00"]}, own, notes)
    assert groups == {"vae": ["vae_00"], "own": ["z"]}
    assert list(found.index) == ["a", "b", "c"]
    assert np.isnan(found.loc["a", "z"])
    assert found.loc["b", "z"] == 5
    assert notes == [
        "1 of 3 participants in the table of phenotypes have no latents and are left out"
    ]
    assert with_own(latents, {"vae": ["vae_00"]}, pd.DataFrame(), notes)[1].keys() == {"vae"}
    with pytest.raises(DataError, match="None of the 3 participants"):
        with_own(latents, {"vae": ["vae_00"]}, own.set_axis(["x", "y", "w"]), notes)
