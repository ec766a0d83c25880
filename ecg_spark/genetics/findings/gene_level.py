"""Gene tests of common variants: whether the variants in and near a gene are associated.

The statistic is the sum of χ² over all tested variants of the gene. Under the null it is a
weighted sum of χ²₁, with the eigenvalues of the variants' correlation matrix as weights (VEGAS:
Liu et al. 2010, Am J Hum Genet 87:139; MAGMA's snp-wise mean: de Leeuw et al. 2015, PLoS Comput
Biol 11:e1004219). Correlations are those of the genotypes and people that were tested. A
significant gene contains associated variants, but these may act through another gene.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.findings.region import products_of
from ecg_spark.genetics.genotypes.contigs import chromosome_of
from ecg_spark.genetics.genotypes.excerpt import read_excerpt
from ecg_spark.genetics.genotypes.packed import Calls, Packed
from ecg_spark.genetics.outputs.associations import part_files
from ecg_spark.genetics.outputs.tables import COMMON_GENES
from ecg_spark.genetics.testing.mixture import neg_log10_p_of_mixture
from ecg_spark.genetics.testing.results import Question, Terms, terms_on
from ecg_spark.session import broadcast, partition_number
from ecg_spark.study import Genotypes
from ecg_spark.tables import check_table, table_of, write_rows

Whole = NDArray[np.int64]

ABOUT_BP = 10_000
"""Variants up to this distance from a gene count for it."""

MOST_VARIANTS = 1_000
"""Of a gene with more variants, only every second (or third, …) is used, to have at most this many.
"""

GROUP_VARIANTS = 300
"""About how many variants the genes of a group have; their genotypes are read together."""

TASK_GROUPS = 16
"""How many neighbouring groups of genes a task tests; it reads the LOCO predictions of a chromosome
once."""


@dataclass(frozen=True)
class _Group:
    """Neighbouring genes whose genotypes are read together.

    Attributes:
        calls: where the genotypes of all their variants are.
        genes: for each gene its name, start, end, and the places of its variants among those of
            `calls`.
    """

    of_set: int
    contig: str
    calls: Calls
    genes: tuple[tuple[str, int, int, Whole], ...]


def write_common_genes(
    spark: SparkSession,
    packed: Packed,
    genes: pd.DataFrame | None,
    questions: Mapping[int, Question],
    thresholds: Genotypes,
    folder: str,
) -> int:
    """Test the common variants of each coding gene, and write the table common_genes into a
    folder.

    Args:
        packed: as in `write_loci`, like `questions` and `thresholds`.
        genes: from `read_gene_positions`; the table is empty if None.

    Returns:
        How many genes were tested.
    """
    groups = [] if genes is None else _groups(packed, genes[genes["is_coding"]], set(questions))
    place = f"{folder}/{COMMON_GENES.name}"
    if not groups:
        write_rows([], COMMON_GENES, place)
        return 0
    shared = broadcast(spark, (groups, packed.samples, dict(questions)))

    def work(numbers: Iterable[int]) -> Iterator[int]:
        groups, samples, questions = shared.value
        terms = lru_cache(1)(lambda key: terms_on(questions[key[0]], key[1]))
        with part_files(folder, f"part-{partition_number():05d}.parquet") as write:
            for number in numbers:
                own = groups[number]
                asked = questions[own.of_set]
                rows = list(_rows(own, samples, asked, terms((own.of_set, own.contig)), thresholds))
                write({COMMON_GENES.name: table_of(rows, COMMON_GENES)})
                yield len({row["gene"] for row in rows})

    numbers = spark.sparkContext.parallelize(range(len(groups)), -(-len(groups) // TASK_GROUPS))
    tested = sum(numbers.mapPartitions(work).collect())
    shared.unpersist()
    check_table(spark, COMMON_GENES, place)
    return tested


def _groups(packed: Packed, genes: pd.DataFrame, sets: set[int]) -> list[_Group]:
    """The genes that contain a variant, in groups of about `GROUP_VARIANTS`."""
    of_set = packed.sites["set"].to_numpy()
    contigs = {chromosome_of(name): name for name in packed.sites["contig"].cat.categories
               if len(packed.within(name, 1, np.iinfo(np.int32).max))}  # fmt: skip
    groups: list[_Group] = []
    for number in sorted(sets):
        for chromosome, own in genes.groupby("contig", sort=False):
            contig = contigs.get(chromosome)
            if contig is None:
                continue
            held: list[tuple[str, int, int, Whole]] = []
            size = 0
            for gene in own.drop_duplicates().sort_values(["start", "end", "gene"]).itertuples():
                near = packed.within(contig, gene.start - ABOUT_BP, gene.end + ABOUT_BP)
                near = near[of_set[near] == number]
                near = near[:: -(-len(near) // MOST_VARIANTS) or 1]
                if not len(near):
                    continue
                held.append((gene.gene, gene.start, gene.end, near))
                size += len(near)
                if size >= GROUP_VARIANTS:
                    groups.append(_group(number, contig, packed, held))
                    held, size = [], 0
            if held:
                groups.append(_group(number, contig, packed, held))
    return groups


def _group(
    of_set: int, contig: str, packed: Packed, held: Sequence[tuple[str, int, int, Whole]]
) -> _Group:
    places = np.unique(np.concatenate([near for *_, near in held]))
    genes = tuple(
        (name, start, end, np.searchsorted(places, near)) for name, start, end, near in held
    )
    return _Group(of_set, contig, packed.calls.only(places), genes)


def _rows(
    group: _Group, samples: pd.Index, asked: Question, terms: Terms, thresholds: Genotypes
) -> Iterator[dict[str, Any]]:
    excerpt = read_excerpt(group.calls, samples.get_indexer(asked.people))
    of_patterns = products_of(excerpt, terms.patterns, terms.factors, thresholds)
    for pattern, products in zip(terms.patterns, of_patterns, strict=True):
        chi2, r = (products.z() / products.factors) ** 2, products.r()
        for gene, start, end, near in group.genes:
            own = np.flatnonzero(np.isin(products.variants, near))
            if not len(own):
                continue
            total = chi2[own].sum(axis=0)
            weights = np.maximum(np.linalg.eigvalsh(r[np.ix_(own, own)]), 0.0)
            tail = np.nan_to_num(neg_log10_p_of_mixture(total, weights))
            for k, number in enumerate(pattern.places.tolist()):
                yield {
                    "gene": gene,
                    "contig": group.contig,
                    "start": start,
                    "end": end,
                    "phenotype": asked.names[number],
                    "n_variants": len(own),
                    "chi2": float(total[k]),
                    "neg_log10_p": float(tail[k]),
                }
