"""The cross-products of a region's variants and phenotypes, from which everything else follows.

The genotypes are those that were tested (dosages where they are not hard calls), in the people who
have the phenotype. Covariates and LOCO predictions are removed as in the tests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.excerpt import Excerpt
from ecg_spark.genetics.genotypes.rows import Rows
from ecg_spark.genetics.genotypes.thresholds import first_failed, tallies
from ecg_spark.genetics.testing.kernel import LEAST_LEFT, Pattern, fill_about
from ecg_spark.study import Genotypes

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]

CHUNK_BYTES = 64 << 20
"""How many bytes of genotypes are expanded to numbers at a time."""

SINGULAR = 1e-3
"""If the correlations of variants have a smaller eigenvalue, their effects cannot be separated."""


@dataclass(frozen=True)
class Products:
    """The cross-products of the variants tested against one pattern of phenotypes.

    Attributes:
        people: how many people have the phenotypes.
        variants: the places of the variants in the excerpt, [p].
        af: allele frequencies, [p].
        gram: products of the variants after covariates, [p, p].
        xy: products of variants and phenotypes after covariates, [p, k].
        yy: sums of squares of the phenotypes after covariates, [k].
        df: residual degrees of freedom of a test of one variant.
        factors: the factors of standard errors that correct for relatives, [k].
    """

    people: int
    variants: Whole
    af: Reals
    gram: Reals
    xy: Reals
    yy: Reals
    df: int
    factors: Reals

    @property
    def n(self) -> float:
        """The number of people minus one for each covariate."""
        return self.df + 2.0

    @property
    def length(self) -> Reals:
        """The sum of squares of each variant after covariates, [p]."""
        return np.diag(self.gram)

    def r(self) -> Reals:
        """The correlation matrix of the variants, [p, p]."""
        scale = np.sqrt(self.length)
        return np.asarray(self.gram / scale / scale[:, None])

    def z(self) -> Reals:
        """The products of variants and phenotypes, both of variance 1, over √(n - 1), [p, k];
        as among independent people.
        """
        own = self.xy / np.sqrt(self.length)[:, None]
        return np.asarray(own / np.sqrt(self.yy / (self.n - 1)))

    def alone(self) -> tuple[Reals, Reals, Reals]:
        """beta, se and t of each variant for each phenotype, as they were tested, each [p, k]."""
        beta = self.xy / self.length[:, None]
        rss = self.yy - beta * self.xy
        se = np.sqrt(np.maximum(rss, 0) / self.length[:, None] / self.df) * self.factors
        return beta, se, beta / se

    def together(self, chosen: Sequence[int]) -> tuple[Reals, Reals, Reals, int]:
        """Several variants in one regression.

        Args:
            chosen: their numbers.

        Returns:
            beta, se and t, each [chosen, k], and the residual degrees of freedom; NaN if the
            variants are collinear.
        """
        own = self.gram[np.ix_(chosen, chosen)]
        df = self.df - (len(chosen) - 1)
        scale = np.sqrt(np.diag(own))
        if df < 1 or np.linalg.eigvalsh(own / scale / scale[:, None])[0] < SINGULAR:
            return *np.full((3, len(chosen), self.xy.shape[1]), np.nan), df
        inverse = np.linalg.inv(own)
        beta = inverse @ self.xy[chosen]
        rss = self.yy - (beta * self.xy[chosen]).sum(axis=0)
        se = np.sqrt(np.diag(inverse)[:, None] * np.maximum(rss, 0) / df) * self.factors
        return beta, se, beta / se, df


def products_of(
    excerpt: Excerpt,
    patterns: Sequence[Pattern],
    factors: Sequence[Reals],
    thresholds: Genotypes,
) -> Iterator[Products]:
    """The cross-products of an excerpt's variants with the phenotypes of each pattern.

    A variant is included if it passes the thresholds among the people of the pattern, and is not
    explained entirely by the covariates.

    Args:
        patterns: patterns of the people of the excerpt.
        factors: for each pattern, the factors of standard errors that correct for relatives.
    """
    m = len(excerpt.sites)
    mean, af = np.zeros((2, len(patterns), m))
    passes = np.zeros((len(patterns), m), bool)
    for places, rows in excerpt.pieces:
        groups = [each.known for each in patterns] + [each.judges for each in patterns]
        counted = tallies(rows, groups)
        both = zip(counted[: len(patterns)], counted[len(patterns) :], strict=True)
        for one, (counts, judged) in enumerate(both):
            mean[one, places], af[one, places] = counts.mean, counts.af
            failed = first_failed(counts, judged, thresholds)
            passes[one, places] = [reason is None for reason in failed]
    for one, (each, own) in enumerate(zip(patterns, factors, strict=True)):
        yield _products(excerpt, each, own, mean[one], af[one], np.flatnonzero(passes[one]))


def centred_rows(excerpt: Excerpt, mean: Reals, start: int, stop: int) -> Reals:
    """Genotypes minus each variant's mean, for the people from `start` to `stop`; missing ones are
    0.

    Args:
        mean: of each variant.
        start: a multiple of four.

    Returns:
        [variants, stop - start].
    """
    x = np.empty((len(excerpt.sites), stop - start))
    for places, rows in excerpt.pieces:
        own = _people(rows, start, stop)
        wide = np.empty((len(places), own.shape[1] * (4 if own.dtype == np.uint8 else 1)))
        fill_about(mean[places], own, wide)
        x[places] = wide[:, : stop - start]
    return x


def _people(rows: Rows, start: int, stop: int) -> Rows:
    return rows[:, start // 4 : -(-stop // 4)] if rows.dtype == np.uint8 else rows[:, start:stop]


def _products(
    excerpt: Excerpt, each: Pattern, factors: Reals, mean: Reals, af: Reals, variants: Whole
) -> Products:
    p, people = len(excerpt.sites), len(each.known)
    columns = np.column_stack([each.left, each.basis])
    gram, xc, length = np.zeros((p, p)), np.zeros((p, columns.shape[1])), np.zeros(p)
    step = max(4, CHUNK_BYTES // (8 * max(p, 1)) // 4 * 4)
    for start in range(0, people, step):
        stop = min(start + step, people)
        x = centred_rows(excerpt, mean, start, stop)
        x[:, ~each.known[start:stop]] = 0
        xc += x @ columns[start:stop]
        length += np.einsum("ij,ij->i", x, x)
        single = x.astype(np.float32)
        gram += single @ single.T
    k = each.left.shape[1]
    xq = xc[:, k:]
    gram -= xq @ xq.T
    left = length - np.einsum("ij,ij->i", xq, xq)
    np.fill_diagonal(gram, left)
    total = 2 * each.known.sum() * np.minimum(af, 1 - af)
    variants = variants[left[variants] > LEAST_LEFT * total[variants]]
    return Products(
        int(each.known.sum()),
        variants,
        af[variants],
        gram[np.ix_(variants, variants)],
        xc[variants, :k],
        (each.left**2).sum(axis=0),
        each.df,
        factors,
    )
