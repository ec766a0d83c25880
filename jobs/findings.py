"""spark-submit jobs/findings.py --study study.yaml: find loci and their credible sets, and estimate
heritability and genetic correlations.
"""

import re
import sys
from typing import Any

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.catalogue import read_annotation
from ecg_spark.genetics.gwas import describe_findings
from ecg_spark.store import file_stamp
from ecg_spark.study import Gwas, Study, given
from jobs.associations import LISTS
from jobs.associations import STEP as ASSOCIATIONS
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.null_model import STEP as NULL_MODEL
from jobs.step import Context, Step, Summary, main
from jobs.train import STEP as TRAIN
from models.registry.tracking import log_downstream_metrics

TABLES = ("genes", "published")
OF_THE_LOCI = {"p_threshold", "clump_window_bp", "clump_r2", "colocalise", *TABLES}

_NO_METRIC = re.compile(r"[^\w./ -]")
"""Characters that MLflow does not accept in the name of a metric, as in age^2."""


def settings(study: Study) -> Any:
    """The thresholds of a locus, and the tables that describe it."""
    rare = study.gwas.rare
    own = study.gwas.model_dump(include=OF_THE_LOCI)
    return [own, *([rare.genes] if rare else [])]


def files(study: Study) -> Any:
    """The stamps of the tables of genes, published loci and consequences, and of published
    statistics.
    """
    paths = [getattr(study.gwas, key) for key in TABLES]
    paths += [study.gwas.rare.genes] if study.gwas.rare else []
    paths += study.gwas.colocalise
    return [file_stamp(study.locate(path)) for path in paths if path]


def work(context: Context) -> Summary:
    """Publish the loci, and log to the model's MLflow run what the whole study found with it."""
    study, inputs = context.study, context.inputs
    summary = describe_findings(
        context.spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        inputs["null_model"].folder,
        inputs["associations"].folder,
        study.absolute(given(study.genotypes), *LISTS),
        _absolute(study),
        context.run.folder,
    )
    if "train" not in inputs or study.whole is not None:
        return summary
    probes = inputs["cohort"].summary["probes"]
    found = {f"probe/{_NO_METRIC.sub('_', name)}": value for name, value in probes.items()}
    told = inputs["associations"].summary | summary
    for figure in ("mean_lambda", "mean_chi2", "loci"):
        for method, value in told[figure].items():
            found[f"gwas/{figure}_{method.replace(' ', '_')}"] = float(value)
    trained = inputs["train"].summary
    log_downstream_metrics(trained["run_id"], trained["model_id"], found, study.tracking_uri)
    return summary


def check(study: Study) -> None:
    """Check the tables that describe loci before the step runs.

    Raises:
        DataError: if one cannot be used.
    """
    for number, folder in enumerate(study.gwas.colocalise, 1):
        if file_stamp(study.locate(folder))[1] is None:
            raise DataError(f"Folder {number} of gwas.colocalise does not exist: correct it.")
    read_annotation(_absolute(study), given(study.genotypes).reference_genome)


def _absolute(study: Study) -> Gwas:
    rare = study.gwas.rare and study.absolute(study.gwas.rare, "genes")
    folders = tuple(map(study.locate, study.gwas.colocalise))
    own = study.absolute(study.gwas, *TABLES)
    return own.model_copy(update={"rare": rare, "colocalise": folders})


STEP = Step(
    "findings",
    (TRAIN, GENOTYPES, COHORT, NULL_MODEL, ASSOCIATIONS),
    settings,
    work,
    files,
    version=3,
    check=check,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
