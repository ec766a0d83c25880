"""Ingest, once and again, each time into a new place."""

from ecg_spark.pipeline.ingest import ingest


def ingesting(spark, folder):
    """A function that ingests into a new place; it returns the summary and a reader of tables."""
    runs = iter(range(100))

    def run(path, manifest=None, id_pattern=None, **more):
        out = folder / f"run{next(runs)}"

        def table(name):
            return spark.read.parquet(table.path(name)).toPandas()

        table.path = lambda name: f"{out}/{name}"
        place = path and str(path)
        return ingest(spark, place, manifest, id_pattern, table.path, **more), table

    return run
