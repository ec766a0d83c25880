"""spark-submit jobs/score.py --study study.yaml --weights FILE ... --out DIR: score everybody
by scoring files.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from pyspark.sql import SparkSession

from ecg_spark.genetics.scoring.applying import apply_files
from ecg_spark.locations import resolve
from ecg_spark.reach import require_connectors, require_reachable
from ecg_spark.store import Publication, Run, Store, file_stamp, fingerprint
from ecg_spark.study import Study, given, load_study
from jobs.genotypes import STEP as GENOTYPES
from jobs.publishing import Summary, publish, told
from jobs.step import add_force, guarded, parse, present, print_line, require_steps, session_of

STEP = "score"
VERSION = 1
"""To be raised when a change of the code gives other scores for the same files and genotypes."""


def score(
    study: Study,
    weights: Sequence[str],
    out: str,
    *,
    force: bool = False,
    session: SparkSession | None = None,
) -> tuple[bool, Publication]:
    """Score everybody genotyped in a study by scoring files, and publish the scores in a folder.

    Nothing is computed if the folder already has the scores of the same files and genotypes.

    Args:
        weights: scoring files in the PGS Catalog's format.
        out: the output folder.
        force: compute the scores in any case.
        session: the session to work in; None for the active one or a new one.

    Returns:
        Whether the work was skipped, and what is published now.

    Raises:
        UsageError: if the study's genotypes are not published for its present file.
        DataError: if a scoring file cannot be used.
    """
    require_steps([GENOTYPES.name], study)
    paths = [resolve(os.getcwd(), one) for one in weights]
    folder = resolve(os.getcwd(), out)
    named = [(f"--weights {number}", path) for number, path in enumerate(paths, 1)]
    require_reachable(named, folder)
    own = Store(study.output_path)
    genotypes, scores = present(GENOTYPES, study, own), own.published("scores")
    fitted_here = scores.run if scores else None
    spark = session_of(study, session)
    require_connectors(spark, [("--out", folder), *named])
    settings = study.absolute(given(study.genotypes), "id_map")
    id_map = settings.id_map and file_stamp(settings.id_map)
    provenance = {
        "settings": fingerprint(STEP, VERSION, settings.pairing, fitted_here),
        "files": fingerprint(id_map, *map(file_stamp, paths)),
        "inputs": {"genotypes": genotypes.run},
    }

    def work(run: Run, _: Publication | None) -> Summary:
        told = apply_files(spark, genotypes.folder, settings, paths, run.folder, fitted_here)
        return told | {"folder": run.folder}

    return publish(Store(folder), STEP, provenance, work, force=force)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the job and the command share."""
    parser.add_argument(
        "--weights", required=True, nargs="+", metavar="FILE",
        help="a scoring file of the PGS Catalog's format, or several",
    )  # fmt: skip
    parser.add_argument("--out", required=True, help="the folder to write, a path or URI")
    add_force(parser)


def main(arguments: list[str] | None = None) -> int:
    """The entry point of `jobs/score.py`, with the options of `ecg-spark score`."""
    options = parse(STEP, arguments, add_options)
    return guarded(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Compute the scores that the options ask for, and print the summary."""
    study = load_study(options.study)
    skipped, published = score(study, options.weights, options.out, force=options.force)
    print_line(told(STEP, skipped, published))


if __name__ == "__main__":
    sys.exit(main())
