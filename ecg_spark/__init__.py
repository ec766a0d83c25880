"""ecg-spark: from raw electrocardiograms to the genes behind them.

    study = ecg_spark.load_study("study.yaml")
    found = ecg_spark.run(study)               # or steps=["ingest", "average"], spark=spark
    found["findings"].tables["loci"].show()    # a Spark frame
    found["report"].figures["effects"]         # a picture, which a notebook shows
    whole = ecg_spark.meta([study, "other/sumstats"], out="meta")
    whole.tables["loci"].show()

What the commands do, from Python and notebooks: `load_study` or `simulate_study` give a study,
`run` its steps, `sweep` models to choose from, `score` polygenic scores by files of weights;
`replicate` seeks its loci in another cohort, `meta` combines the results of several, `populations`
those of a study's ancestries.
`read_recording`, `average_beat` and `load_encoder` are for single recordings. Each name is imported
when it is first used, so that `import ecg_spark` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecg_spark import locations as locations  # so that every process knows the same stores

if TYPE_CHECKING:
    from ecg_spark.ecg import average_beat, read_recording
    from ecg_spark.study import load_study
    from jobs.api import meta, populations, replicate, run, score, simulate_study, sweep
    from models.registry.publishing import load_encoder

__all__ = [
    "average_beat",
    "load_encoder",
    "load_study",
    "meta",
    "populations",
    "read_recording",
    "replicate",
    "run",
    "score",
    "simulate_study",
    "sweep",
]

_HOMES = {
    "average_beat": "ecg_spark.ecg",
    "load_encoder": "models.registry.publishing",
    "load_study": "ecg_spark.study",
    "meta": "jobs.api",
    "populations": "jobs.api",
    "read_recording": "ecg_spark.ecg",
    "replicate": "jobs.api",
    "run": "jobs.api",
    "score": "jobs.api",
    "simulate_study": "jobs.api",
    "sweep": "jobs.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
