"""The Spark steps: ingest, average and encode."""
