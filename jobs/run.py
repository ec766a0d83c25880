"""spark-submit jobs/run.py --study study.yaml: every step that is not published, in one session."""

import sys

from jobs.step import STEPS, main, steps_named

if __name__ == "__main__":
    sys.exit(main(*steps_named(STEPS), name="run"))
