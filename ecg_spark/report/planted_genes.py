"""Planted genes against those that the tests of rare variants find.

A planted gene is **found** by a method if a phenotype of the method, or all of them together, has
for that gene a p beyond the study's threshold of genes. A gene beyond it that was not planted is
**false**: the rare variants of a simulated biobank are in linkage with no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from ecg_spark.report.comparison import no_truth, read_truth
from ecg_spark.report.sections import ReportInputs
from ecg_spark.tables import TOGETHER, group_of


@dataclass(frozen=True)
class PlantedGene:
    """A gene whose rare variants act on a parameter of the heart, and the methods that found it.

    `kind` is that of `comparison.Planted`; `directions` is `one` or `both`.
    """

    gene: str
    parameter: str
    kind: str
    directions: str
    variance_explained: float
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeneComparison:
    """Planted genes, the one that explains most first, with the methods that found each; and how
    many false genes each method has, and all methods together."""

    planted: tuple[PlantedGene, ...]
    false: Mapping[str, int]
    false_in_all: int
    methods: tuple[str, ...]

    @property
    def found(self) -> int:
        """How many planted genes any method found."""
        return sum(bool(one.found) for one in self.planted)

    def found_by(self, *methods: str) -> int:
        """How many planted genes any of these methods found."""
        return sum(any(name in one.found for name in methods) for one in self.planted)

    @property
    def rows(self) -> list[list[object]]:
        """Each method, how many planted genes it found, and of how many, and its false genes."""
        return [
            [name, self.found_by(name), len(self.planted), self.false[name]]
            for name in self.methods
        ]

    def summary(self) -> dict[str, Any]:
        """The counts for the step's JSON line."""
        return {
            "planted_genes": len(self.planted),
            "found_genes": self.found,
            "found_genes_by_method": {name: self.found_by(name) for name in self.methods},
            "false_genes": self.false_in_all,
            "false_genes_by_method": dict(self.false),
        }


def genes_against_found(material: ReportInputs) -> GeneComparison | None:
    """The planted genes of the study's truth against its tests of rare variants.

    None where no gene is known to act, or the study tests none. Raises `DataError` where the truth
    cannot be read.
    """
    truth, threshold = material.study.truth, material.summary("rare").get("gene_threshold")
    planted = read_planted_genes(material.study.locate(truth)) if truth else []
    if not planted or threshold is None:
        return None
    rows = material.table("rare", "genes").to_table(
        columns=["gene", "phenotype"], filter=pc.field("neg_log10_p") > threshold
    )
    return compare_genes(planted, rows.to_pandas(), material.methods)


def read_planted_genes(path: str) -> list[PlantedGene]:
    """The planted genes of a `truth.json`, none where it names none. Raises `DataError` as
    `read_truth` does."""
    try:
        return [
            PlantedGene(
                str(one["gene"]),
                str(one["parameter"]),
                str(one["class"]),
                str(one["directions"]),
                float(one["variance_explained"]),
            )
            for one in read_truth(path).get("planted_genes", [])
        ]
    except (ValueError, KeyError, TypeError):
        raise no_truth(path) from None


def compare_genes(
    planted: Sequence[PlantedGene], beyond: pd.DataFrame, methods: Sequence[str]
) -> GeneComparison:
    """Match planted genes with those beyond the threshold (columns gene, phenotype)."""
    by = [name if name.endswith(TOGETHER) else group_of(name) for name in beyond["phenotype"]]
    genes = {name: set(own) for name, own in beyond.assign(method=by).groupby("method")["gene"]}
    names = {one.gene for one in planted}
    matched = [
        replace(one, found=tuple(name for name in methods if one.gene in genes.get(name, ())))
        for one in sorted(planted, key=lambda one: -one.variance_explained)
    ]
    false = {name: len(genes.get(name, set()) - names) for name in methods}
    in_all = len(set().union(*genes.values()) - names)
    return GeneComparison(tuple(matched), false, in_all, tuple(methods))
