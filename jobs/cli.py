"""The `ecg-spark` command: init, simulate, run, score, meta, …, and each step by its name."""

import argparse
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import fsspec

from ecg_spark.errors import UsageError
from ecg_spark.locations import resolve
from ecg_spark.steps import STEPS, steps_of
from ecg_spark.study import load_study, study_template
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

JOBS = {
    "simulate": "simulate a biobank with planted variants",
    "replicate": "look up the study's loci in another cohort",
    "score": "score everybody genotyped by the weights of files",
    "meta": "combine the results of several cohorts",
}
"""The commands whose options `jobs/<name>.py` adds and whose work its `run` does."""


def main(arguments: list[str] | None = None) -> int:
    """Parse and execute a command line.

    Returns:
        The exit code: 0 done, 2 wrong usage, 3 bad data, 4 infrastructure, 130 interrupted, 1 a
        defect.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(words[0] if words else None).parse_args(words)
    return guarded(lambda: options.action(options))


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of `command`.

    Only that command's module is imported: PyTorch, MLflow and Hail take seconds.
    """
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

    chosen = {"run": None} | {name: (name,) for name in STEPS} | GROUPS
    for name, steps in chosen.items():
        told = description_of(name)
        commands.add_parser(name, help=told, description=told).set_defaults(
            action=_run, steps=steps
        )
    others = {
        "populations": (_populations, description_of("populations")),
        "sweep": (_sweep, description_of("sweep")),
        "status": (_status, "show what is published, and what a run would redo and why"),
        "clean": (_clean, "remove what interrupted runs left behind"),
    }
    for name, (action, told) in others.items():
        commands.add_parser(name, help=told).set_defaults(action=action)
    for name, told in JOBS.items():
        job = commands.add_parser(name, help=told)
        if name == command:
            module = import_module(f"jobs.{name}")
            module.add_options(job)
            job.set_defaults(action=module.run)
    model = commands.add_parser("model", help="take the study's model to another study")
    actions = model.add_subparsers(title="commands", metavar="command", required=True)
    export = actions.add_parser("export", help="write the model into one folder or .zip")
    export.add_argument("study", help="the study file, a path or URI")
    export.add_argument("--to", required=True, help="a new folder, or a file that ends in .zip")
    export.set_defaults(action=_export)
    for name in ("run", *GROUPS, *STEPS, "replicate", "score", *others):
        more = ", or a folder that meta or score has written" if name == "clean" else ""
        commands.choices[name].add_argument("study", help=f"the study file, a path or URI{more}")
    for name in ("run", *GROUPS, *STEPS, "populations"):
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


def _populations(options: argparse.Namespace) -> None:
    from jobs.populations import run

    run(options)


def _sweep(options: argparse.Namespace) -> None:
    from jobs.sweep import run_sweep

    print_line(run_sweep(load_study(options.study)))


def _export(options: argparse.Namespace) -> None:
    from jobs.model import export_model

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
