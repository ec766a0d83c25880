"""spark-submit jobs/gwas.py --study study.yaml: run all steps of the association study."""

import sys

from jobs.associations import STEP as ASSOCIATIONS
from jobs.cohort import STEP as COHORT
from jobs.findings import STEP as FINDINGS
from jobs.null_model import STEP as NULL_MODEL
from jobs.rare import STEP as RARE
from jobs.step import main

STEPS = (COHORT, NULL_MODEL, ASSOCIATIONS, RARE, FINDINGS)

if __name__ == "__main__":
    sys.exit(main(*STEPS, name="gwas"))
