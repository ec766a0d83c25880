"""The Python file of the job's tasks: step.py STEP STUDY [--force], as the command ecg-spark."""

import sys

from pyspark.sql import SparkSession

from jobs.cli import main

SparkSession.builder.getOrCreate()  # the cluster's, which the steps find as the active one
code = main(sys.argv[1:])
if code:
    sys.exit(code)  # not with 0: Databricks takes any SystemExit for a failure
