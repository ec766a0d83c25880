"""The GWAS in figures: one pass over all associations, in memory that does not grow with them.

All p-values are -log10 p. The distribution of every phenotype is kept as a fine histogram, from
which its QQ curve and its lambda follow; single points are kept only above `FLOOR`, for the
Manhattan plots.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecg_spark.genetics.testing.inflation import lambda_of
from ecg_spark.tables import VARIANT

FLOOR = 2.0
"""Associations with a smaller -log10 p are counted, but not drawn as points."""

_BIN = 0.005

FREQUENCIES = (0.01, 0.05, 0.2)
"""The limits between the bins of the minor allele frequency."""

BINS = ("below 1 %", "1 to 5 %", "5 to 20 %", "20 to 50 %")


@dataclass
class Survey:
    """What one pass over the associations has collected.

    Attributes:
        histograms: of -log10 p by phenotype.
        by_frequency: of -log10 p by group and bin of the minor allele frequency.
        peaks: the points of each group.
        extents: the last position of each contig, in the order of the genome.
    """

    histograms: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    by_frequency: dict[str, dict[str, NDArray[np.int64]]] = field(default_factory=dict)
    peaks: dict[str, pd.DataFrame] = field(default_factory=dict)
    extents: dict[str, int] = field(default_factory=dict)

    def points(self, group: str) -> pd.DataFrame:
        """A group's variants above `FLOOR`, each with its largest neg_log10_p and the
        phenotype that has it.
        """
        return self.peaks.get(group, pd.DataFrame(columns=[*VARIANT, "neg_log10_p", "phenotype"]))

    def qq(self, phenotype: str) -> NDArray[np.float64]:
        """The QQ curve of a phenotype (see `qq_of`)."""
        return qq_of(self.histograms[phenotype])

    def tests(self, phenotype: str) -> int:
        """How many variants were tested for a phenotype."""
        return int(self.histograms[phenotype].sum())


def qq_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The QQ curve of a histogram of -log10 p, thinned to what can be seen.

    Returns:
        Expected -log10 p in the first row and observed in the second, [2, m], in increasing order.
    """
    filled = np.flatnonzero(counts)
    above = counts.sum() - np.cumsum(counts)[filled]
    middle = above + (counts[filled] + 1) / 2  # the mean rank within a bin, 1 the smallest p
    curve = np.array([-np.log10(middle / (counts.sum() + 1)), (filled + 0.5) * _BIN])
    # In the bulk of the distribution, neighbouring bins fall on the same pixel: keep one of them.
    step = np.concatenate([[True], np.diff(np.floor(curve[0] * 80)) > 0])
    return curve[:, step | (curve[1] >= FLOOR)]


def median_lambda(counts: NDArray[np.int64], df: int = 1) -> float:
    """Lambda of the tests of a histogram, each with `df` degrees of freedom.

    Example:
        >>> round(median_lambda(np.bincount([60] * 100)), 1)
        1.0
    """
    half = np.searchsorted(np.cumsum(counts), counts.sum() / 2)
    before = np.cumsum(counts)[half] - counts[half]
    within = (counts.sum() / 2 - before) / counts[half]
    return lambda_of((half + within) * _BIN, df)


def scan_associations(batches: Iterable[pa.RecordBatch], group: Callable[[str], str]) -> Survey:
    """Read all associations once.

    Args:
        batches: contig, position, ref, alt, phenotype and neg_log10_p, where tests without a
            p-value are null. If there is a column af, tests are also counted by minor allele
            frequency.
        group: gives the group of a phenotype. A variant's point is its best result over the
            phenotypes of a group.
    """
    seen = Survey()
    kept: list[pd.DataFrame] = []
    for batch in batches:
        table = pa.Table.from_batches([batch])
        table = table.filter(pc.is_valid(table["neg_log10_p"]))
        if not table.num_rows:
            continue
        _extend(seen, table, group)
        high = table.filter(pc.greater_equal(table["neg_log10_p"], FLOOR)).to_pandas()
        high["group"] = high["phenotype"].map(
            {name: group(name) for name in high["phenotype"].unique()}
        )
        kept.append(high)
        if sum(map(len, kept)) > 2_000_000:
            kept = [_best(kept)]
    if kept:
        seen.peaks = {str(name): part for name, part in _best(kept).groupby("group")}
    seen.extents = dict(sorted(seen.extents.items(), key=lambda item: contig_order(item[0])))
    return seen


def contig_order(contig: str) -> tuple[int, str]:
    """A sort key that puts 2 before 10 and X after 22, with or without chr.

    Example:
        >>> sorted(["chrX", "chr10", "chr2"], key=contig_order)
        ['chr2', 'chr10', 'chrX']
    """
    name = contig.removeprefix("chr")
    return (int(name), "") if name.isdecimal() else (10_000, name)


def _extend(seen: Survey, table: pa.Table, group: Callable[[str], str]) -> None:
    ends = table.group_by("contig").aggregate([("position", "max")])
    for contig, end in zip(*(ends[k].to_pylist() for k in ("contig", "position_max")), strict=True):
        seen.extents[contig] = max(seen.extents.get(contig, 0), end)
    phenotypes = table["phenotype"].combine_chunks().dictionary_encode()
    names = phenotypes.dictionary.to_pylist()
    codes = phenotypes.indices.to_numpy()
    # Larger values share the last bin, so that a p-value of 0 does not make the histogram endless.
    bins = (np.clip(table["neg_log10_p"].to_numpy(), 0, 1000) / _BIN).astype(np.int64)
    for code, name in enumerate(names):
        _count(seen.histograms, name, bins[codes == code])
    if "af" not in table.column_names:
        return
    af = table["af"].to_numpy()
    frequency = np.searchsorted(FREQUENCIES, np.minimum(af, 1 - af), "right")
    groups = [group(name) for name in names]
    for name in dict.fromkeys(groups):
        own = seen.by_frequency.setdefault(name, {})
        of_group = np.array([one == name for one in groups])[codes] & np.isfinite(af)
        for code, label in enumerate(BINS):
            chosen = bins[of_group & (frequency == code)]
            if len(chosen):
                _count(own, label, chosen)


def _count(histograms: dict[str, NDArray[np.int64]], name: str, bins: NDArray[np.int64]) -> None:
    """Add tests, given by the numbers of their bins, to the histogram of a name."""
    counts = np.bincount(bins)
    known = histograms.get(name, np.zeros(0, np.int64))
    size = max(len(counts), len(known))
    histograms[name] = np.pad(counts, (0, size - len(counts))) + np.pad(
        known, (0, size - len(known))
    )


def _best(parts: list[pd.DataFrame]) -> pd.DataFrame:
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.sort_values("neg_log10_p", ascending=False, kind="stable")
    return rows.drop_duplicates([*VARIANT, "group"])
