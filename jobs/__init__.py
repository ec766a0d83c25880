"""The jobs: a spark-submit script for each step, and the `ecg-spark` command."""

import gc

# Hardly anything of the million objects that PyTorch, MLflow, pandas and Spark make when they are
# imported is garbage: Python's own threshold of 700 spends a fifth of a job's start on searching.
gc.set_threshold(50_000, 20, 20)
