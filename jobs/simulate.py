"""spark-submit jobs/simulate.py --participants N --variants M --out DIR: simulate cohorts."""

import argparse
import sys
from pathlib import Path

from ecg_spark.session import spark_session
from ecg_spark.simulate import simulate_biobank, simulate_consortium
from ecg_spark.simulate.diseases import RECORDS_END
from jobs.step import Summary, guarded, print_line

RECORDINGS = """\
# The study of a simulated {kind}; 'ecg-spark init' writes a study file with every key explained.

name: {name}
output: results
seed: {seed}

ecg:
  path: ecg
  manifest: {{path: manifest.csv}}
"""

PEOPLE = """
participants:
  path: participants.csv
  covariates: [age, sex, bmi]

genotypes:
  path: genotypes.bed

truth: truth.json
"""

DISEASES = """
phewas:
  path: diagnoses.csv
  map: phecodes.csv
  until: {records_end}
"""

CARRIED = """
model:
  source: ../model  # of the hospital: ecg-spark model export

gwas:
  engine: blocks
"""


def simulate(
    out: Path, participants: int, variants: int, seed: int, hearts: Path | None = None
) -> Summary:
    """Write a simulated biobank and its study file into `out`; one that is already there stays.

    Args:
        hearts: a folder of recordings that serve as the participants' hearts; None to simulate
            these as well.

    Returns:
        The summary, with the path of the study file under `study`.
    """
    spark = spark_session("ecg-spark simulate")
    summary = simulate_biobank(
        spark, out, participants=participants, variants=variants, seed=seed, hearts=hearts
    )
    content = RECORDINGS + PEOPLE + ("" if hearts else DISEASES)
    study = _write_study(out, "biobank", f"simulated-{seed}", seed, content)
    return {"step": "simulate", **summary, "study": study}


def simulate_cohorts(out: Path, participants: int, variants: int, seed: int) -> Summary:
    """Write the simulated cohorts of a consortium into `out`, each with its study file.

    The study files of the biobanks use the hospital's model from `out`/model, where it is expected
    once it has been exported.
    """
    spark = spark_session("ecg-spark simulate")
    cohorts = simulate_consortium(
        spark, out, participants=participants, variants=variants, seed=seed
    )
    for name, summary in cohorts.items():
        is_biobank = (out / name / "genotypes.bed").exists()
        kind = "biobank" if is_biobank else "archive"
        content = RECORDINGS + (PEOPLE + CARRIED if is_biobank else "")
        summary["study"] = _write_study(out / name, kind, f"simulated-{name}-{seed}", seed, content)
    return {"step": "simulate", "cohorts": cohorts}


def _write_study(folder: Path, kind: str, name: str, seed: int, content: str) -> str:
    """Write a study file unless there is one; returns its path."""
    study = folder / "study.yaml"
    if not study.exists():
        said = content.format(kind=kind, name=name, seed=seed, records_end=RECORDS_END)
        study.write_text(said, encoding="utf-8")
    return str(study)


def run(options: argparse.Namespace) -> None:
    """Run the simulation that the options ask for, and print its summary."""
    size = options.out, options.participants, options.variants, options.seed
    if options.consortium:
        print_line(simulate_cohorts(*size))
    else:
        print_line(simulate(*size, options.hearts))


def main(arguments: list[str] | None = None) -> int:
    """The entry point of `jobs/simulate.py`, with the options of `ecg-spark simulate`."""
    parser = argparse.ArgumentParser(prog="jobs/simulate.py", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    return guarded(lambda: run(options))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the job and the command share."""
    parser.add_argument("--participants", type=_positive, required=True)
    parser.add_argument("--variants", type=_positive, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=_positive, default=1)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--consortium",
        action="store_true",
        help="a hospital's archive and two biobanks, of so many participants each",
    )
    instead.add_argument(
        "--hearts", type=Path, help="a folder of recordings that serve as the participants' hearts"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
