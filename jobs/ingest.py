"""spark-submit jobs/ingest.py --study study.yaml: read raw ECG files into recordings;
quarantine what cannot be used, with its reason.
"""

import sys
from typing import Any

import pandas as pd

from ecg_spark.participants import read_manifest
from ecg_spark.pipeline.ingest import ingest, listing_digest
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """Where the ECG files are, and how a participant is found."""
    return given(study.ecg).model_dump()


def files(study: Study) -> Any:
    """A digest of the listing of the ECG files, and the stamp of the manifest."""
    path, manifest, folder = _inputs(study)
    table = given(study.ecg).manifest
    return [
        listing_digest(path, manifest, folder),
        file_stamp(study.locate(table.path)) if table else None,
    ]


def work(context: Context) -> Summary:
    """Read every new file, and publish the tables recordings, quarantine and sources."""
    ecg = given(context.study.ecg)
    path, manifest, folder = _inputs(context.study)
    return ingest(
        context.spark,
        path,
        manifest,
        ecg.id_pattern,
        context.run.path,
        folder=folder,
        samples=ecg.samples.settings(),
        previous=None if context.previous is None else context.previous.path,
    )


def _inputs(study: Study) -> tuple[str | None, pd.DataFrame | None, str]:
    """Where the files are, the manifest, and the folder that paths are relative to if `path`
    is not given.
    """
    ecg = given(study.ecg)
    path = None if ecg.path is None else study.locate(ecg.path)
    if ecg.manifest is None:
        return path, None, ""
    table = study.locate(ecg.manifest.path)
    return path, read_manifest(ecg.manifest, table), table.rpartition("/")[0]


STEP = Step("ingest", (), settings, work, files, version=4)

if __name__ == "__main__":
    sys.exit(main(STEP))
