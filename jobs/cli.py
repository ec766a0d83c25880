"""The `ecg-spark` command: init, simulate, run, score, meta, …, and each step by its name."""

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path

import fsspec

from ecg_spark.errors import UsageError
from ecg_spark.locations import resolve
from ecg_spark.steps import STEPS, steps_of
from ecg_spark.study import load_study, study_template
from jobs import meta, populations, replicate, score, simulate
from jobs.status import clean, status_lines
from jobs.step import (
    GROUPS,
    add_force,
    description_of,
    guarded,
    print_line,
    print_steps,
    steps_named,
)


def main(arguments: list[str] | None = None) -> int:
    """Parse and execute a command line.

    Returns:
        The exit code: 0 done, 2 wrong usage, 3 bad data, 4 infrastructure, 130 interrupted, 1 a
        defect.
    """
    options = _parser().parse_args(arguments)
    return guarded(lambda: options.action(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecg-spark",
        description="From raw electrocardiograms to the genes behind them.",
        epilog="Exit codes: 0 done, 2 wrong usage or study file, 3 bad data, 4 infrastructure.",
    )
    parser.add_argument("--version", action="version", version=f"ecg-spark {version('ecg-spark')}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)

    init = commands.add_parser("init", help="write a study file with every setting explained")
    init.add_argument("study", nargs="?", default="study.yaml", type=Path)
    init.set_defaults(action=_init)

    biobank = commands.add_parser("simulate", help="simulate a biobank with planted variants")
    simulate.add_options(biobank)
    biobank.set_defaults(action=simulate.run)

    chosen = {"run": None} | {name: (name,) for name in STEPS} | GROUPS
    for name, steps in chosen.items():
        told = description_of(name)
        commands.add_parser(name, help=told, description=told).set_defaults(
            action=_run, steps=steps
        )
    replication = commands.add_parser(
        "replicate", help="look up the study's loci in another cohort"
    )
    replicate.add_options(replication)
    replication.set_defaults(action=replicate.run)
    scoring = commands.add_parser("score", help="score everybody genotyped by the weights of files")
    score.add_options(scoring)
    scoring.set_defaults(action=score.run)
    combination = commands.add_parser("meta", help="combine the results of several cohorts")
    meta.add_options(combination)
    combination.set_defaults(action=meta.run)
    others = {
        populations.NAME: (populations.run, description_of(populations.NAME)),
        "sweep": (_sweep, description_of("sweep")),
        "status": (_status, "show what is published, and what a run would redo and why"),
        "clean": (_clean, "remove what interrupted runs left behind"),
    }
    for name, (action, told) in others.items():
        commands.add_parser(name, help=told).set_defaults(action=action)
    model = commands.add_parser("model", help="take the study's model to another study")
    actions = model.add_subparsers(title="commands", metavar="command", required=True)
    export = actions.add_parser("export", help="write the model into one folder or .zip")
    export.add_argument("study", help="the study file, a path or URI")
    export.add_argument("--to", required=True, help="a new folder, or a file that ends in .zip")
    export.set_defaults(action=_export)
    for name in ("run", *GROUPS, *STEPS, "replicate", "score", *others):
        more = ", or a folder that meta or score has written" if name == "clean" else ""
        commands.choices[name].add_argument("study", help=f"the study file, a path or URI{more}")
    for name in ("run", *GROUPS, *STEPS, populations.NAME):
        add_force(commands.choices[name])
    return parser


def _init(options: argparse.Namespace) -> None:
    try:
        file = options.study.open("x", encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{options.study} exists already: name another file.") from None
    except FileNotFoundError:
        raise UsageError(f"The folder {options.study.parent} does not exist: make it.") from None
    try:
        with file:
            file.write(study_template())
    except OSError:
        options.study.unlink()
        raise
    print(f"Wrote {options.study}: set its paths, then 'ecg-spark run {options.study}'.")


def _sweep(options: argparse.Namespace) -> None:
    from jobs.sweep import run_sweep  # PyTorch and MLflow take seconds to import

    print_line(run_sweep(load_study(options.study)))


def _export(options: argparse.Namespace) -> None:
    from jobs.model import export_model  # PyTorch and MLflow take seconds to import

    print_line(export_model(load_study(options.study), resolve(os.getcwd(), options.to)))


def _status(options: argparse.Namespace) -> None:
    for line in status_lines(load_study(options.study)):
        print(line)


def _clean(options: argparse.Namespace) -> None:
    folder = resolve(os.getcwd(), options.study)
    files, base = fsspec.core.url_to_fs(folder)
    print_line(clean(folder if files.isdir(base) else load_study(options.study).output_path))


def _run(options: argparse.Namespace) -> None:
    study = load_study(options.study)
    print_steps(steps_named(options.steps or steps_of(study)), study, force=options.force)


if __name__ == "__main__":
    sys.exit(main())
