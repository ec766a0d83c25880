"""spark-submit jobs/simulate.py --participants N --variants M --out DIR [--hearts FOLDER]."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ecg_spark.session import spark_session
from ecg_spark.simulate import simulate_biobank
from jobs.step import guarded, print_line

STUDY = """\
# The study of a simulated biobank; 'ecg-spark init' writes a study file with every key explained.

name: simulated-{seed}
output: results
seed: {seed}

ecg:
  path: ecg
  manifest: {{path: manifest.csv}}

participants:
  path: participants.csv
  covariates: [age, sex, bmi]

genotypes:
  path: genotypes.bed

truth: truth.json
"""


def simulate(
    out: Path, participants: int, variants: int, seed: int, hearts: Path | None = None
) -> dict[str, Any]:
    """Write a simulated biobank and its study file into `out`; done already, it stays."""
    spark = spark_session("ecg-spark simulate")
    size = {"participants": participants, "variants": variants}
    summary = simulate_biobank(spark, out, **size, seed=seed, hearts=hearts)
    study = out / "study.yaml"
    if not study.exists():
        study.write_text(STUDY.format(seed=seed), encoding="utf-8")
    return {"step": "simulate", **summary, "study": str(study)}


def main(arguments: list[str] | None = None) -> int:
    """The entry of `jobs/simulate.py`, with the options of `ecg-spark simulate`."""
    parser = argparse.ArgumentParser(prog="jobs/simulate.py", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    return guarded(lambda: print_line(simulate(**vars(options))))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that the job and the command share."""
    parser.add_argument("--participants", type=_positive, required=True)
    parser.add_argument("--variants", type=_positive, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=_positive, default=1)
    parser.add_argument(
        "--hearts", type=Path, help="a folder of recordings that serve as the participants' hearts"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
