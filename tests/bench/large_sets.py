"""Large genotype sets for `bench_scale`, drawn cheaply, and phenotypes on which some variants act.

Variants are independent of each other, in Hardy-Weinberg equilibrium, 0.1 % of the calls missing.
"""

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import SparkSession

from ecg_spark.flow import SAMPLES, VARIANTS, flow_rows
from ecg_spark.genetics.genotypes.contigs import genome
from ecg_spark.genetics.genotypes.packed import BY_BYTE
from ecg_spark.genetics.genotypes.parts import (
    MAGIC,
    SITES,
    TASK_VARIANTS,
    Batch,
    batch_variants,
)
from ecg_spark.genetics.genotypes.thresholds import tally
from ecg_spark.genetics.genotypes.writing import (
    WRITTEN,
    save,
    told,
    write_part,
    write_parts,
    written,
)
from ecg_spark.genetics.null_model.cohort import Brought
from ecg_spark.genetics.outputs.tables import RELATIVES, SCORES
from ecg_spark.tables import FLOW, write_rows

BUILD = "GRCh38"
COVARIATES, COMPONENTS = 7, 10
PLANTED, CHI_SQUARED = 30, 80.0
"""How many variants act, and the chi-squared that each has, whatever the people."""

MISSING, FREQUENCIES = 0.001, np.linspace(0.02, 0.5, 193)
CHUNK = 500
"""Variants that are drawn together, from a seed of their own."""

TRAIT_MISSING = 0.02
SEED = 1


@cache
def four_calls(frequency: int) -> np.ndarray:
    """Bytes of four calls of a variant, as often among 65,536 as they are likely."""
    f = FREQUENCIES[frequency]
    one = np.array([f * f, 0, 2 * f * (1 - f), (1 - f) ** 2]) * (1 - MISSING)
    one[1] = MISSING  # .bed: 00 two alternate alleles, 01 missing, 10 one, 11 none
    four = np.einsum("a,b,c,d->abcd", one, one, one, one).ravel()
    ends = np.rint(np.cumsum(four) * 65_536).astype(int)
    return np.repeat(np.arange(256, dtype=np.uint8), np.diff(ends, prepend=0))


def chunk(number: int, people: int, variants: int) -> np.ndarray:
    """The packed calls [variants, people / 4] of a chunk of a set."""
    rng = np.random.default_rng([SEED, number])
    count = min(CHUNK, variants - number * CHUNK)
    frequency = rng.integers(len(FREQUENCIES), size=count)
    rows = np.empty((count, people // 4), np.uint8)
    for row, own in zip(rows, frequency.tolist(), strict=True):
        four_calls(own).take(rng.integers(65_536, size=len(row), dtype=np.uint16), out=row)
    return rows


class Layout:
    """Where the variants of a set lie: as many on each chromosome, spread over its length."""

    def __init__(self, variants: int, chromosomes: int):
        known = genome(BUILD)
        names = [str(1 + i) for i in range(chromosomes)]
        each = -(-variants // chromosomes)
        self.variants, self.each = variants, each
        self.contigs = [known.contigs[name] for name in names]
        self.steps = [known.lengths[name] // (each + 1) for name in names]
        self.megabases = sum(known.lengths[name] for name in names) / 1e6

    def sites(self, start: int, stop: int) -> pa.Table:
        """What names the variants from one place up to another."""
        places = range(start, stop)
        columns = {
            "contig": [self.contigs[i // self.each] for i in places],
            "position": [self.steps[i // self.each] * (1 + i % self.each) for i in places],
            "ref": ["G"] * len(places),
            "alt": ["A"] * len(places),
            "rsid": [f"rs{i}" for i in places],
        }
        return pa.table(columns, SITES)


def write_bed(stem: str, people: int, layout: Layout) -> None:
    """The set as a .bed with its .bim and .fam."""
    done = 0
    with open(f"{stem}.bed", "wb") as bed, open(f"{stem}.bim", "w") as bim:
        bed.write(MAGIC)
        while done < layout.variants:
            rows = chunk(done // CHUNK, people, layout.variants)
            bed.write(rows.tobytes())
            for one in layout.sites(done, done + len(rows)).to_pylist():
                bim.write("{contig}\t{rsid}\t0\t{position}\t{alt}\t{ref}\n".format(**one))
            done += len(rows)
    with open(f"{stem}.fam", "w") as fam:
        fam.writelines(f"0 {name} 0 0 0 -9\n" for name in names_of(people))


def write_checked(spark: SparkSession, folder: str, people: int, layout: Layout) -> None:
    """The set as the step genotypes publishes it, with components that say nothing."""
    everybody, step = np.ones(people, bool), min(CHUNK, batch_variants(people))
    place = f"{folder}/variants"

    def write(tasks: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = [number for task in tasks for number in task.column(0).to_pylist()]
        return told(write_part(place, (one for number in numbers for one in batches(number))))

    def batches(number: int) -> Iterator[Batch]:
        first = number * TASK_VARIANTS
        for start in range(first, min(first + TASK_VARIANTS, layout.variants), CHUNK):
            rows = chunk(start // CHUNK, people, layout.variants)
            found, sites = tally(rows, everybody), layout.sites(start, start + len(rows))
            flags = pa.array(np.ones(len(rows), bool))
            sites = sites.append_column("call_rate", pa.array(found.known / people))
            sites = sites.append_column("af", pa.array(found.af))
            sites = sites.append_column("is_common", flags).append_column("is_candidate", flags)
            sites = sites.append_column("set", pa.array([0] * len(rows), pa.int32()))
            for at in range(0, len(rows), step):
                yield written(sites.slice(at, step), rows[at : at + step])

    names = names_of(people)
    count = -(-layout.variants // TASK_VARIANTS)
    tasks = spark.sparkContext.parallelize([(number,) for number in range(count)], count)
    frame = spark.createDataFrame(tasks, "number int").mapInArrow(write, WRITTEN)
    save(write_parts(place, pd.Index(names), frame)[0])
    scores = np.random.default_rng(SEED).normal(size=(people, COMPONENTS)).tolist()
    own = {"call_rate": 1 - MISSING, "unrelated": True, "x_f": None, "sets": [0]}
    own |= {"heterozygosity_sd": 0.0, "ancestry": None, "pc_of_ancestry": None}
    rows = [{"s": name, "pc": pc, **own} for name, pc in zip(names, scores, strict=True)]
    write_rows(rows, SCORES, f"{folder}/{SCORES.name}")
    write_rows([], RELATIVES, f"{folder}/{RELATIVES.name}")
    flow = flow_rows("genotypes", SAMPLES, people, {}, people)
    flow += flow_rows("genotypes", VARIANTS, layout.variants, {}, layout.variants)
    write_rows(flow, FLOW, f"{folder}/{FLOW.name}")


def names_of(people: int) -> list[str]:
    return [f"S{i:06d}" for i in range(people)]


def planted_places(variants: int) -> list[int]:
    """The variants that act, as far from each other as can be."""
    return ((np.arange(PLANTED) * 2 + 1) * variants // (2 * PLANTED)).tolist()


def brought(people: int, variants: int, count: int) -> Brought:
    """Phenotypes with planted effects, in the groups of a study, and covariates.

    Some of a trait's values are missing, in one of three patterns.
    """
    rng = np.random.default_rng(SEED)
    names = names_of(people)
    values = rng.normal(size=(people, count))
    for k, place in enumerate(planted_places(variants)):
        row = chunk(place // CHUNK, people, variants)[place % CHUNK]
        calls = BY_BYTE[row].reshape(-1)[:people].astype(float)
        calls[calls > 2] = calls[calls <= 2].mean()
        scaled = (calls - calls.mean()) / calls.std()
        values[:, k % count] += np.sqrt(CHI_SQUARED / people) * scaled
    latents = max(1, count * 20 // 47)
    columns = {
        "vae": [f"z{i}" for i in range(latents)],
        "pca": [f"pca{i}" for i in range(min(latents, count - latents))],
    }
    columns["traits"] = [f"trait{i}" for i in range(count - sum(map(len, columns.values())))]
    groups = {key: own for key, own in columns.items() if own}
    table = pd.DataFrame(values, names, [name for own in groups.values() for name in own])
    lost = rng.random((people, 3)) < TRAIT_MISSING
    for i, name in enumerate(columns["traits"]):
        table.loc[lost[:, i % 3], name] = np.nan
    covariates = rng.normal(size=(people, COVARIATES))
    terms = pd.DataFrame(covariates, names, [f"c{i}" for i in range(COVARIATES)])
    return Brought(table, groups, terms, None, None, ())
