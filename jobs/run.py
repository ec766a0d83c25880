"""spark-submit jobs/run.py --study study.yaml: run every step of the study that is not up to
date, in one session.
"""

import sys

from ecg_spark.steps import steps_of
from ecg_spark.study import load_study
from jobs.step import guarded, parse, print_steps, steps_named


def main(arguments: list[str] | None = None) -> int:
    """Run every step of the study that is not up to date; returns the exit code."""
    options = parse("run", arguments)

    def act() -> None:
        study = load_study(options.study)
        print_steps(steps_named(steps_of(study)), study, force=options.force)

    return guarded(act)


if __name__ == "__main__":
    sys.exit(main())
