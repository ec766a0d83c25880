"""Archives whose average beats are published, without the ECGs that they are of."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecg_spark.simulate.heart import beat_mv, sample_hearts
from ecg_spark.store import Store
from ecg_spark.study import Study, load_study
from jobs.average import STEP as AVERAGE
from jobs.ingest import STEP as INGEST
from jobs.step import origin
from tests.builders.study_file import write_study


def heart_table(seed: int, people: int, ecgs: int = 1) -> pa.Table:
    """Beats of simulated hearts with noise, as many of each person, in no order."""
    rng = np.random.default_rng(seed)
    whose = rng.permutation(np.repeat(np.arange(people), ecgs))
    signal = beat_mv(sample_hearts(rng, people))[whose]
    signal = (signal + rng.normal(0, 0.005, signal.shape)).astype(np.float32)
    hashes = rng.integers(0, 2**63 - 1, people)
    return pa.table(
        {
            "participant_hash": hashes[whose],
            "signal": pa.array(list(signal.reshape(len(whose), -1)), pa.list_(pa.float32())),
            "flags": pa.array([["paced"] if k % 20 == 0 else [] for k in range(len(whose))]),
        }
    )


def write_table(table: pa.Table, folder: Path, rows: int = 16) -> str:
    """Write a table with row groups of so many rows; the folder's path."""
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part-0.parquet", row_group_size=rows)
    return str(folder)


def publish_archive(folder: Path, name: str, table: pa.Table, **changes: object) -> Path:
    """Publish beats as the step `average` of a study of this name would; its study file."""
    (folder / "ecg").mkdir(parents=True, exist_ok=True)
    (folder / "ecg" / "a.xml").touch()
    content = {"name": name, "output": "out", "ecg": {"path": "ecg"}, **changes}
    path = write_study(folder, content)
    publish_beats(load_study(path), table)
    return path


def publish_beats(study: Study, table: pa.Table) -> None:
    """Publish the steps `ingest` and `average` of a study, with these beats."""
    store = Store(study.output_path)
    for step in (INGEST, AVERAGE):
        _, provenance = origin(step, study, store)
        with store.run(step.name, provenance) as run:
            if step is AVERAGE:
                write_table(table, Path(run.path("beats")))
            run.publish({"n_out": len(table)})
