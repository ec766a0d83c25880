"""The open archives: each study file of infra/studies reads a miniature of the layout it is for."""

import io
import tarfile
from glob import glob
from pathlib import Path

import numpy as np
import pytest
import yaml

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, read_recording
from ecg_spark.errors import UsageError
from ecg_spark.participants import read_manifest, read_participants, read_sex
from ecg_spark.pipeline import ingest as ingesting
from ecg_spark.study import Participants, load_study
from jobs.ingest import STEP
from jobs.step import run_step
from tests.builders.ecg_files import csv_table, hdf5, heart, parquet_table
from tests.builders.ecg_files import wfdb_record as record

STUDIES = Path(__file__).parents[2] / "infra" / "studies"


def twelve(seed, n=3000, rate=500.0):
    """Twelve leads in µV that obey Einthoven, [12, n], another for each seed."""
    eight = heart(n, rate) * (1 + seed % 3) + np.random.default_rng(seed).integers(-9, 9, (8, n))
    one, two = eight[:2] // 2 * 2
    limb = [one, two, two - one, -(one + two) // 2, one - two // 2, two - one // 2]
    return np.vstack([*limb, eight[2:]])


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_wfdb(folder, name, samples, leads=LEADS, suffix=".dat", gap=0, remarks=""):
    """A WFDB record; `gap` bytes before the samples, as in a .mat file."""
    stem = Path(name).name
    header, files = record(
        samples, list(leads), gains=["1000/mV"] * 12, file=f"{stem}{suffix}", name=stem
    )
    text = "\n".join(line.replace(f"{suffix} 16 ", f"{suffix} 16+{gap} ") if gap else line
                     for line in header.decode().split("\n"))  # fmt: skip
    put(folder, f"{name}.hea", text + "\n" + remarks)
    put(folder, f"{name}{suffix}", bytes(gap) + files["r.dat"])


def mimic(folder):
    order = [*LEADS[:4], "aVF", "aVL", *LEADS[6:]]
    rows = ["subject_id,study_id,file_name,ecg_time,path"]
    for n, subject in ((1, 10000032), (2, 10000032), (3, 10000117)):
        name = f"files/p1000/p{subject}/s4068923{n}/4068923{n}"
        samples = twelve(n)
        put_wfdb(folder, name, samples[[LEADS.index(lead) for lead in order]], order)
        rows.append(f"{subject},4068923{n},4068923{n},2180-07-23 08:44:0{n},{name}")
    put(folder, "record_list.csv", "\n".join(rows) + "\n")
    put(folder, "machine_measurements.csv", "subject_id,study_id,rr_interval\n1,2,3\n")
    put(folder, "LICENSE.txt", "Open Data Commons Open Database License v1.0\n")
    return [("10000032", twelve(1)), ("10000032", twelve(2)), ("10000117", twelve(3))]


def code15(folder):
    rows = [
        "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,"
        "normal_ecg,trace_file"
    ]
    expected = []
    for part in range(2):
        ids, tracings = [], []
        for n in range(4):
            length = 4000 if n % 2 else 2800
            samples = twelve(10 * part + n, length, 400.0)
            front = (4096 - length) // 2
            padded = np.pad(samples.T, ((front, 4096 - length - front), (0, 0)))
            ids.append(1000 + 10 * part + n)
            tracings.append(padded / 1000)
            patient = 500 + n // 2  # two exams of a patient, in both files
            rows.append(
                f"{ids[-1]},{50 + n},{n // 2 == 0},50.5,False,False,False,False,False,False,"
                f"{patient},,,True,exams_part{part}.hdf5"
            )
            expected.append((str(patient), samples))
        ids.append(0)  # the last recording of each file
        tracings.append(np.zeros((4096, 12)))
        put(
            folder,
            f"exams_part{part}.hdf5",
            hdf5({"exam_id": ids, "tracings": np.array(tracings, "f4")}, chunks=True),
        )
    put(folder, "exams.csv", "\n".join(rows) + "\n")
    return expected


def sph(folder):
    rows = ["ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date"]
    expected = []
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for n in (1, 2, 3):
            samples = twelve(n)
            content = hdf5({"ecg": (samples / 1000).astype("f2" if n == 3 else "f4")})
            item = tarfile.TarInfo(f"records/A0000{n}.h5")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
            rows.append(f"A0000{n},1,S0000{n},5{n},{'MF'[n % 2]},3000,2020/3/{n}")
            expected.append((f"S0000{n}", samples))
    put(folder, "records.tar", tar.getvalue())
    put(folder, "metadata.csv", "\n".join(rows) + "\n")
    put(folder, "code.csv", "Code,Description\n1,Normal ECG\n")
    return expected


def ptbxl(folder):
    rows = ["ecg_id,patient_id,age,sex,recording_date,filename_lr,filename_hr"]
    expected = []
    for n in (1, 2):
        high, low = (
            f"records{kind}/00000/0000{n}_{end}" for kind, end in ((500, "hr"), (100, "lr"))
        )
        put_wfdb(folder, high, twelve(n))
        put_wfdb(folder, low, twelve(n, 1000, 100.0))
        rows.append(f"{n},1570{n}.0,56.0,{n % 2},1984-11-09 09:17:34,{low},{high}")
        expected.append((f"1570{n}", twelve(n)))
    put(folder, "ptbxl_database.csv", "\n".join(rows) + "\n")
    return expected


def ningbo(folder):
    expected = []
    for n in (1, 2):
        samples = twelve(n)
        remarks = "#Age: 59\n#Sex: Female\n#Dx: 426177001,164934002\n#Rx: Unknown\n"
        name = f"WFDBRecords/01/010/JS0000{n}"
        put_wfdb(folder, name, samples, suffix=".mat", gap=24, remarks=remarks)
        expected.append((f"JS0000{n}", samples))
    put(folder, "WFDBRecords/01/010/RECORDS", "JS00001\nJS00002\n")
    put(folder, "ConditionNames_SNOMED-CT.csv", "Acronym Name,Snomed_CT\nSB,426177001\n")
    return expected


def challenge(folder):
    expected = []
    for n, (source, name) in enumerate((("georgia", "E00001"), ("ptb-xl", "HR00001"))):
        samples = twelve(n)
        put_wfdb(folder, f"training/{source}/g1/{name}", samples, suffix=".mat", gap=24,
                 remarks="# Age: 60\n# Sex: Male\n")  # fmt: skip
        put(folder, f"training/{source}/g1/RECORDS", f"{name}\n")
        expected.append((name, samples))
    return expected


def chapman(folder):
    expected = []
    rows = ["FileName,Rhythm,Beat,PatientAge,Gender,VentricularRate"]
    for n in (1, 2):
        samples = twelve(n)
        name = f"MUSE_20180111_15511{n}_19000"
        put(folder, f"ECGData/{name}.csv", csv_table(samples, list(LEADS)))
        put(folder, f"ECGDataDenoised/{name}.csv", csv_table(samples, list(LEADS))[38:])
        rows.append(f"{name},SB,NONE,5{n},{'FEMALE' if n % 2 else 'MALE'},60")
        expected.append((name, samples))
    put(folder, "Diagnostics.csv", "\n".join(rows) + "\n")
    return expected


def ptbxl_flat(folder):
    """Its recordings at 500 Hz in one folder beside the table, which names them with theirs."""
    expected = ptbxl(folder)
    for path in folder.glob("records*/*/*"):
        path.rename(folder / path.name)
    rows = (folder / "ptbxl_database.csv").read_text()
    row = "9,15709.0,61.0,0,1990-01-01 10:00:00,records100/00000/00009_lr,records500/00000/00009_hr"
    put(folder, "ptbxl_database.csv", f"{rows}{row}\n")
    return expected


LAYOUTS = {
    "mimic-iv-ecg": mimic,
    "code15": code15,
    "sph": sph,
    "ptbxl-full": ptbxl,
    "chapman-ningbo": ningbo,
    "challenge-2021": challenge,
    "chapman-csv": chapman,
}


def placed(name, folder):
    """The study file of an archive in the folder of its download, as the file says to put it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text((STUDIES / f"{name}.yaml").read_text())
    return path


def ingested(spark, study):
    summary = run_step(STEP, study)
    (run,) = (Path(study.output_path) / "runs" / "ingest").iterdir()
    names = ("recordings", "quarantine")
    return summary, {name: spark.read.parquet(f"{run}/{name}").toPandas() for name in names}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_each_archive_is_read_as_downloaded_without_genotypes(name, spark, tmp_path):
    expected = LAYOUTS[name](tmp_path)
    study = load_study(placed(name, tmp_path))
    summary, tables = ingested(spark, study)
    rows = tables["recordings"]
    assert summary["n_in"] == sum(summary[n] for n in ("n_out", "n_quarantined", "n_not_ecg"))
    assert sorted(rows["participant_id"]) == sorted(who for who, _ in expected)
    for who, samples in expected:
        errors = [
            np.abs(signal * row.microvolts_per_unit - samples).max()
            for row in rows[rows["participant_id"] == who].itertuples()
            for signal in [np.frombuffer(row.signal, "<i2").reshape(12, -1)]
            if signal.shape == samples.shape
        ]
        assert min(errors) < (2 if name == "sph" else 1)  # half precision keeps three digits
    if name == "code15":
        assert set(rows["sampling_rate_hz"]) == {400.0}
        assert all("padding_left_off" in notes for notes in rows["notes"])
        assert tables["quarantine"]["path"].str.endswith("!/0").sum() == 2
    if name == "sph":
        assert sorted(map(str, rows["acquired_at"])) == [
            f"2020-03-0{n} 00:00:00" for n in (1, 2, 3)
        ]
    if name == "mimic-iv-ecg":
        assert set(rows["acquired_at"].dt.year) == {2180}


def test_ptbxl_beside_the_checkout_is_found_as_its_table_says(tmp_path):
    """The study file with random genotypes: its data lie beside the checkout, all in one folder."""
    expected = ptbxl_flat(tmp_path / "shared" / "data" / "ptbxl")
    studies = tmp_path / "checkout" / "infra" / "studies"
    studies.mkdir(parents=True)
    study = load_study(placed("ptbxl", studies))
    assert Path(study.output_path) == tmp_path / "checkout" / "out" / "ptbxl"
    found = {Path(path).name: Path(path) for path in glob(study.locate(study.ecg.path))}
    assert set(found) == {f"0000{n}_hr.{end}" for n in (1, 2) for end in ("hea", "dat")}
    manifest = read_manifest(study.ecg.manifest, study.locate(study.ecg.manifest.path))
    read = {
        row.participant_id: read_recording(found[f"{Path(row.uri).name}.hea"])
        for row in manifest.itertuples()
        if f"{Path(row.uri).name}.hea" in found
    }
    assert set(read) == {who for who, _ in expected}
    for who, samples in expected:
        assert read[who].sampling_rate_hz == 500
        assert np.abs(read[who].samples * read[who].microvolts_per_unit - samples).max() < 1
    assert {moment.year for moment in manifest["acquired_at"]} == {1984, 1990}
    people = read_participants(study.participants, study.locate(study.participants.path))
    assert set(read) < set(people.index)  # one has no recording here


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("code15", ("exams.csv", "patient_id", "age", "is_male")),
        ("sph", ("metadata.csv", "Patient_ID", "Age", "Sex")),
        ("ptbxl-full", ("ptbxl_database.csv", "patient_id", "age", "sex")),
        ("chapman-csv", ("Diagnostics.csv", "FileName", "PatientAge", "Gender")),
    ],
)
def test_the_archives_own_table_can_be_that_of_the_participants(name, settings, tmp_path):
    """As the study file says for whoever adds genotypes."""
    who = {participant for participant, _ in LAYOUTS[name](tmp_path)}
    said = placed(name, tmp_path).read_text()
    assert all(word in said.replace(".xlsx", ".csv") for word in settings)
    path, person, age, sex = settings
    participants = Participants(path=path, id=person, covariates=(age, sex), sex=sex)
    covariates = read_participants(participants, str(tmp_path / path))
    assert set(covariates.index) == who
    assert covariates.shape[1] == 2
    assert covariates.notna().all(axis=None)
    assert set(read_sex(participants, str(tmp_path / path))) == {0.0, 1.0}


def test_a_file_of_several_is_read_in_slices_by_several_tasks(spark, tmp_path, monkeypatch):
    expected = code15(tmp_path)
    study = load_study(placed("code15", tmp_path))
    monkeypatch.setattr(ingesting, "PART_BYTES", 200_000)
    summary, tables = ingested(spark, study)
    assert summary["n_out"] == len(expected)
    assert len(tables["recordings"]) == tables["recordings"]["path"].nunique() == len(expected)
    assert (tables["quarantine"]["path"].str.contains("!/")).all()


def test_a_file_of_several_that_cannot_be_read_is_quarantined_once(spark, tmp_path, monkeypatch):
    code15(tmp_path)
    whole = (tmp_path / "exams_part1.hdf5").read_bytes()
    (tmp_path / "exams_part1.hdf5").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(ingesting, "PART_BYTES", 100_000)
    summary, tables = ingested(spark, load_study(placed("code15", tmp_path)))
    assert summary["n_out"] == 4
    assert tables["quarantine"]["path"].str.endswith("exams_part1.hdf5").sum() == 1


@pytest.mark.parametrize("name", ["code15", "sph", "chapman-csv"])
@pytest.mark.parametrize("key", ["unit", "sampling_rate_hz"])
def test_a_study_that_leaves_rate_or_unit_open_is_refused_before_work(name, key, spark, tmp_path):
    LAYOUTS[name](tmp_path)
    if name == "sph":
        with tarfile.open(tmp_path / "records.tar") as archive:
            archive.extractall(tmp_path, filter="data")
    path = placed(name, tmp_path)
    content = yaml.safe_load(path.read_text())
    del content["ecg"]["samples"][key]
    if name == "sph":
        content["ecg"]["path"] = "records"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match=rf"ecg\.samples\.{key} in the study file"):
        run_step(STEP, load_study(path))
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_parquet_file_is_a_recording(spark, tmp_path):
    for n in (1, 2):
        rows = heart() + np.random.default_rng(n).integers(-9, 9, (8, 3000))
        put(tmp_path, f"ecg/{n}.parquet", parquet_table(rows, list(INDEPENDENT_LEADS)))
    path = placed("chapman-csv", tmp_path)
    content = yaml.safe_load(path.read_text())
    content["ecg"] |= {"path": "ecg", "id_pattern": r"^(\d)\.parquet"}
    path.write_text(yaml.safe_dump(content))
    summary, _ = ingested(spark, load_study(path))
    assert summary["formats"] == {"parquet": 2}


def test_the_manifest_of_a_file_of_several_names_each_recording_once(tmp_path):
    code15(tmp_path)
    settings = load_study(placed("code15", tmp_path)).ecg.manifest
    frame = read_manifest(settings, str(tmp_path / "exams.csv"))
    assert len(frame) == 8
    assert not frame.duplicated(["uri", "member"]).any()
