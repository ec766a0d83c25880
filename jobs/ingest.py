"""spark-submit jobs/ingest.py --study study.yaml: raw ECG files become recordings."""

import sys
from typing import Any

from ecg_spark.participants import read_manifest
from ecg_spark.pipeline.ingest import ingest, listing_digest
from ecg_spark.store import file_stamp
from ecg_spark.study import Study
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """Where the ECG files are, and how a participant is found."""
    return study.ecg.model_dump()


def files(study: Study) -> Any:
    """The listing of the ECG files, and the manifest."""
    manifest = study.ecg.manifest
    return [
        listing_digest(study.locate(study.ecg.path)),
        file_stamp(study.locate(manifest.path)) if manifest else None,
    ]


def work(context: Context) -> Summary:
    """Read every file and publish the tables recordings and quarantine."""
    ecg = context.study.ecg
    manifest = ecg.manifest and read_manifest(ecg.manifest, context.study.locate(ecg.manifest.path))
    path = context.study.locate(ecg.path)
    return ingest(context.spark, path, manifest, ecg.id_pattern, context.run.path)


STEP = Step("ingest", (), settings, work, files)

if __name__ == "__main__":
    sys.exit(main(STEP))
