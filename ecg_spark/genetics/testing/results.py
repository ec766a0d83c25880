"""What every variant is tested for and what is reported of it: array functions shared by all
engines.

For the variants of one contig and each pattern of phenotypes an engine supplies a
`kernel.Regression`. All that follows is here: the correction for relatives, the thresholds, -log10
p, the omnibus tests and the rows of the result.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.genotypes.parts import SITES
from ecg_spark.genetics.genotypes.thresholds import (
    call_rate,
    excess_of_heterozygotes,
    first_failed,
    imputation_quality,
)
from ecg_spark.genetics.null_model.phenotypes import (
    LEAST_VARIANCE,
    by_missingness,
    covariance_by_relatives,
    variance_by_relatives,
)
from ecg_spark.genetics.null_model.whole_genome import Loco
from ecg_spark.genetics.testing.kernel import Pattern, Regression, basis_of_pattern, pattern
from ecg_spark.genetics.testing.omnibus import Together, omnibus, together
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t
from ecg_spark.study import Genotypes

_RESULT = (
    "phenotype string, beta double, se double, t double, neg_log10_p double, n int, af double, "
    "alleles float, call_rate float, info float, hwe_neg_log10_p float"
)
_JOINT = "model string, chi2 double, df int, neg_log10_p double, n int, af double"
TESTS = (
    "contig string, position int, ref string, alt string, rsid string, "
    f"results array<struct<{_RESULT.replace(' ', ':').replace(',:', ',')}>>, "
    f"omnibus array<struct<{_JOINT.replace(' ', ':').replace(',:', ',')}>>, failed array<string>"
)
"""One row per variant: a result per phenotype, an omnibus test per group tested jointly and, for
each group of phenotypes that the same people have, the first threshold that the variant fails.

A result also gives the number of effect alleles among the people who have the phenotype, the share
of them who have a dosage, and the quality by which the variant is judged (see `thresholds`)."""

Rows = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Sink:
    """What becomes of the rows of `TESTS` in the task that computes them.

    Attributes:
        schema: the columns of what `take` yields.
        take: consumes the batches of a task and yields others.
    """

    schema: str
    take: Callable[[Rows], Rows]


AS_ROWS = Sink(TESTS, lambda rows: rows)
"""Returns the rows unchanged."""

Reals = NDArray[np.float64]

FEWEST_JUDGES = 50
"""With fewer judges the tests of quality have no power; then everybody counts as a judge."""


@dataclass(frozen=True)
class Question:
    """What every variant is tested for; sent to every task.

    Attributes:
        people: the sample ids.
        names: the names of the phenotypes.
        y: the phenotypes [people, p]; NaN where missing.
        members: for each group of phenotypes that the same people have, their numbers.
        bases: for each such group, the basis of the covariates (see `kernel.Pattern`).
        together: the numbers of the phenotypes of each omnibus test.
        offsets: LOCO predictions; None if the null model is `none`.
        relatives: pairs (s1, s2, kinship); None if the people count as unrelated.
        thresholds: what a variant must pass; None to test every variant.
        judges: by whose genotypes the quality of a variant is judged, on autosomes and on X,
            [people, 2]; None for everybody.
    """

    people: pd.Index
    names: tuple[str, ...]
    y: Reals
    members: tuple[tuple[int, ...], ...]
    bases: tuple[Reals, ...]
    together: Mapping[str, tuple[int, ...]]
    offsets: Loco | None
    relatives: pd.DataFrame | None
    thresholds: Genotypes | None
    judges: NDArray[np.bool_] | None

    def phenotypes_on(self, contig: str) -> Reals:
        """The phenotypes [people, p] minus what the other chromosomes predict of them."""
        if self.offsets is None:
            return self.y
        predicted = self.offsets.without(contig).reindex(self.people)[list(self.names)]
        return np.asarray(self.y - predicted.to_numpy(float))

    def known(self, own: Sequence[int]) -> NDArray[np.bool_]:
        """Who has the phenotypes of a group, [people]."""
        return np.isfinite(self.y[:, own[0]])

    def judging(self, known: NDArray[np.bool_], contig: str) -> NDArray[np.bool_]:
        """By which of the `known` people a variant of a contig is judged: by all of them if
        the judges among them are fewer than `FEWEST_JUDGES`.
        """
        if self.judges is None:
            return known
        own = known & self.judges[:, int(CONTIGS.get(contig) == "X")]
        return known if own.sum() < FEWEST_JUDGES or (own == known).all() else own


@dataclass(frozen=True)
class Terms:
    """What the variants of a contig are tested against.

    Attributes:
        patterns: the pattern of each group of phenotypes that the same people have.
        factors: for each pattern, the factors that correct its standard errors for relatives, [k].
        weights: for each omnibus test, how its single tests are combined.
    """

    patterns: tuple[Pattern, ...]
    factors: tuple[Reals, ...]
    weights: Mapping[str, Together]


def question(
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    offsets: Loco | None,
    relatives: pd.DataFrame | None,
    thresholds: Genotypes | None,
    judges: pd.DataFrame | None,
) -> Question:
    """Prepare the question of `blocks.associate`, whose arguments these are.

    People who have no phenotype may lack covariates.

    Raises:
        ValueError: if different samples have the phenotypes of a group of `together`.
    """
    names = list(map(str, phenotypes.columns))
    y, values = phenotypes.to_numpy(float), covariates.to_numpy(float)
    members = tuple(
        tuple(phenotypes.columns.get_loc(name) for name in own)
        for own in by_missingness(phenotypes)
    )
    groups = {key: tuple(map(names.index, own)) for key, own in together.items()}
    for key, own in groups.items():
        if not any(set(own) <= set(each) for each in members):
            raise ValueError(f"the phenotypes of {key} are known for different samples")
    bases = tuple(basis_of_pattern(np.isfinite(y[:, own[0]]), values) for own in members)
    by = None if judges is None else judges.reindex(phenotypes.index, fill_value=False).to_numpy()
    return Question(
        phenotypes.index, tuple(names), y, members, bases, groups, offsets, relatives, thresholds,
        by,
    )  # fmt: skip


def terms_on(asked: Question, contig: str) -> Terms:
    """What the variants of a contig are tested against."""
    y = asked.phenotypes_on(contig)
    patterns = []
    for own, basis in zip(asked.members, asked.bases, strict=True):
        known = asked.known(own)
        patterns.append(pattern(own, known, basis, y[:, own], asked.judging(known, contig)))
    weights = {key: _weights(asked, patterns, own) for key, own in asked.together.items()}
    return Terms(tuple(patterns), tuple(_factors(asked, each) for each in patterns), weights)


def runs_of(contigs: pa.ChunkedArray | pa.Array) -> Iterator[tuple[str, int, int]]:
    """The runs of consecutive variants on one contig: its name, the first place, and the place
    after the last.

    Example:
        >>> list(runs_of(pa.array(["1", "1", "2"])))
        [('1', 0, 2), ('2', 2, 3)]
    """
    names = np.asarray(contigs.to_pylist(), object)
    ends = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    for start, stop in pairwise(ends):
        if stop > start:
            yield names[start], start, stop


def tests_of(
    asked: Question, terms: Terms, sites: pa.Table, found: Sequence[Regression]
) -> pa.RecordBatch:
    """Assemble the rows of `TESTS` of some variants.

    Args:
        sites: the variants, all on one contig.
        found: their tests against each pattern of `terms`.
    """
    m, p = len(sites), len(asked.names)
    beta, se, t, log_p, af, alleles, called, info, hwe = np.full((9, m, p), np.nan)
    n, df = np.zeros((2, p), np.int64)
    wider = np.ones(p)
    failed = []
    for each, one, factors in zip(terms.patterns, found, terms.factors, strict=True):
        reasons = np.full(m, None, object)
        if asked.thresholds is not None:
            reasons = first_failed(one.tally, one.judged, asked.thresholds)
        failed.append(reasons)
        passes = np.array([reason is None for reason in reasons], bool)[:, None]
        columns = each.places
        beta[:, columns] = np.where(passes, one.beta, np.nan)
        se[:, columns] = np.where(passes, one.se * factors, np.nan)
        t[:, columns] = np.where(passes, one.t / factors, np.nan)
        log_p[:, columns] = neg_log10_p_of_t(t[:, columns], each.df)
        sum_x = np.where(one.tally.known > 0, one.sum_x, np.nan)  # missing genotypes at the mean
        af[:, columns] = sum_x[:, None] / (2 * one.n)
        told = (sum_x, call_rate(one.tally), imputation_quality(one.judged),
                excess_of_heterozygotes(one.judged))  # fmt: skip
        for values, known in zip((alleles, called, info, hwe), told, strict=True):
            values[:, columns] = known[:, None]
        n[columns], df[columns], wider[columns] = one.n, each.df, factors
    results = {
        "phenotype": pa.array(list(asked.names) * m, pa.string()),
        "beta": _numbers(beta),
        "se": _numbers(se),
        "t": _numbers(t),
        "neg_log10_p": _numbers(log_p),
        "n": pa.array(np.tile(n, m), pa.int32()),
        "af": _numbers(af),
        "alleles": _numbers(alleles, pa.float32()),
        "call_rate": _numbers(called, pa.float32()),
        "info": _numbers(info, pa.float32()),
        "hwe_neg_log10_p": _numbers(hwe, pa.float32()),
    }
    g = len(asked.together)
    chi2, p_together = np.full((2, m, g), np.nan)
    first = [own[0] for own in asked.together.values()]
    for i, (key, own) in enumerate(asked.together.items()):
        alone = t[:, own] * wider[list(own)]
        chi2[:, i], p_together[:, i] = omnibus(alone, terms.weights[key], int(df[own[0]]))
    ranks = np.array([len(terms.weights[key].own) for key in asked.together], np.int64)
    joint = {
        "model": pa.array(list(asked.together) * m, pa.string()),
        "chi2": _numbers(chi2),
        "df": pa.array(np.tile(ranks, m), pa.int32()),
        "neg_log10_p": _numbers(p_together),
        "n": pa.array(np.tile(n[first], m), pa.int32()),
        "af": _numbers(af[:, first]),
    }
    why = pa.array(np.stack(failed, axis=1).ravel().tolist(), pa.string())
    place = [sites.column(name) for name in SITES.names]
    place = [one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one for one in place]
    return pa.record_batch(
        [*place, _structs(results, m), _structs(joint, m), _lists(why, m)],
        [*SITES.names, "results", "omnibus", "failed"],
    )


def _factors(asked: Question, each: Pattern) -> Reals:
    """The factors that correct the standard errors of a pattern's phenotypes for relatives."""
    left, people = each.left[each.known], asked.people[each.known]
    return np.sqrt(variance_by_relatives(left, people, asked.relatives))


def _weights(asked: Question, patterns: Sequence[Pattern], own: Sequence[int]) -> Together:
    """How the tests of a group of phenotypes are combined."""
    each = next(one for one in patterns if own[0] in one.places)
    left = each.left[each.known][:, np.searchsorted(each.places, own)]
    people = asked.people[each.known]
    alone, related = (covariance_by_relatives(left, people, one) for one in (None, asked.relatives))
    return together(alone, related, LEAST_VARIANCE)


def _numbers(values: Reals, kind: pa.DataType | None = None) -> pa.Array:
    kind = kind or pa.float64()
    return pa.array(values.ravel().astype(kind.to_pandas_dtype()), kind, from_pandas=True)


def _structs(fields: Mapping[str, pa.Array], m: int) -> pa.ListArray:
    return _lists(pa.StructArray.from_arrays(list(fields.values()), list(fields)), m)


def _lists(values: pa.Array, m: int) -> pa.ListArray:
    """Split values into equally long lists, one for each of m variants."""
    ends = np.arange(m + 1) * (len(values) // max(m, 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)
