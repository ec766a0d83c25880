"""spark-submit jobs/genotypes.py --study study.yaml: import genotypes: quality control,
principal components, relatives.
"""

import sys
from typing import Any

from ecg_spark.genetics.genotypes.files import genotype_files, is_read_by_hail
from ecg_spark.genetics.people.ancestry import read_populations
from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.ids import read_id_list
from ecg_spark.reach import require_connectors
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from jobs.step import Context, Step, Summary, main

SETS = (
    "genotypes.path",
    "genotypes.model",
    "genotypes.separate",
    "genotypes.ancestry.reference",
)
OF_THE_COHORT: dict[str, Any] = dict.fromkeys(("pairing", "id_map", "max_heterozygosity_sd"), True)
OF_THE_COHORT |= {"ancestry": {"analyse"}}
OF_THE_TESTS = dict.fromkeys(("keep_variants", "exclude_variants", "regions"), True)
"""Keys that do not change the checked set, only who and what in it is analysed."""


def settings(study: Study) -> Any:
    """The genotype sets, their filters, and the seed of the choice of variants."""
    own = given(study.genotypes)
    return [own.model_dump(exclude=OF_THE_COHORT | OF_THE_TESTS), study.seed]


def files(study: Study) -> Any:
    """The stamps of every file of the genotype sets, and of the lists of samples."""
    own = given(study.genotypes)
    lists = [path for path in (own.exclude, own.keep, own.sample) if path]
    sets = [path for path in (own.path, own.model, *own.separate) if path]
    if own.ancestry:
        sets.append(own.ancestry.reference)
        lists.append(own.ancestry.populations)
    found = [file for path in sets for file in genotype_files(study.locate(path))]
    found += map(study.locate, lists)
    return [file_stamp(file) for file in found]


def work(context: Context) -> Summary:
    """Publish the checked set in parts, and the table of the samples."""
    genotypes = context.study.absolute(
        given(context.study.genotypes), "path", "model", "exclude", "keep", "sample"
    )
    separate = tuple(map(context.study.locate, genotypes.separate))
    ancestry = genotypes.ancestry and context.study.absolute(
        genotypes.ancestry, "reference", "populations"
    )
    genotypes = genotypes.model_copy(update={"separate": separate, "ancestry": ancestry})
    require_connectors(context.spark, _read_by_hail(context.study))
    return prepare_genotypes(
        context.spark,
        genotypes,
        genotypes.path,
        context.run.folder,
        context.study.seed,
    )


def uses_hail(study: Study) -> bool:
    """Whether Hail reads one of the sets."""
    return bool(_read_by_hail(study))


def _read_by_hail(study: Study) -> list[tuple[str, str]]:
    """The sets that Hail reads, by their keys."""
    return [(key, place) for key, place in study.inputs() if key in SETS and is_read_by_hail(place)]


def check(study: Study) -> None:
    """Check the lists of samples and the reference's populations before the step runs.

    Raises:
        DataError: if one cannot be read, or a list is empty.
    """
    if ancestry := given(study.genotypes).ancestry:
        read_populations(study.locate(ancestry.populations))
    for key in ("exclude", "keep"):
        if path := getattr(given(study.genotypes), key):
            read_id_list(study.locate(path), f"list genotypes.{key}")


STEP = Step("genotypes", (), settings, work, files, version=9, check=check, uses_hail=uses_hail)

if __name__ == "__main__":
    sys.exit(main(STEP))
