"""The jobs: a spark-submit script for each step, and the `ecg-spark` command."""
