"""The jobs: one spark-submit entry a step, and the `ecg-spark` command."""
