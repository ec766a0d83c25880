"""Loci: significant variants grouped by linkage disequilibrium and by distance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.tables import VARIANT

Correlations = Callable[[pd.DataFrame, pd.DataFrame], NDArray[np.float32]]
"""Given a frame with one variant (contig, position, ref, alt) and a frame with others: the
correlation r of the one with each of the others, among the people analysed."""


def find_loci(
    hits: pd.DataFrame, correlations: Correlations, window_bp: int, r2: float
) -> list[dict[str, Any]]:
    """Group the significant tests of one method into loci.

    Each variant counts with its best phenotype. As in PLINK's clumping, the strongest variant
    takes all others within `window_bp` whose r² with it is at least `r2`, then the strongest of
    the rest does, and so on. Clumps whose lead variants follow each other within `window_bp` are
    merged into one locus.

    Args:
        hits: one row per variant and phenotype over all phenotypes of the method: contig,
            position, ref, alt, rsid, phenotype, beta, se, neg_log10_p, n, af.
        window_bp: the distance in bp.

    Returns:
        The loci, the strongest first. Each has the columns of its lead variant and best phenotype,
        the start and end of its variants, all their phenotypes, and the number of variants and of
        clumps.
    """
    if hits.empty:
        return []
    hits = hits.sort_values(
        ["neg_log10_p", *VARIANT, "phenotype"], ascending=[False, *[True] * 5], kind="stable"
    )
    best = hits.drop_duplicates(VARIANT).reset_index(drop=True)
    clumps = clump(best, correlations, window_bp, r2)
    members = best[VARIANT].assign(locus=merge(best, clumps, window_bp)[clumps], clump=clumps)
    hits = hits.merge(members, on=VARIANT)
    loci = []
    for _, rows in hits.groupby("locus", sort=False):
        lead = rows.iloc[0]
        loci.append(
            {
                **{name: lead[name] for name in [*VARIANT, "rsid", "phenotype", "beta", "se"]},
                **{name: lead[name] for name in ("neg_log10_p", "n", "af")},
                "start": int(rows["position"].min()),
                "end": int(rows["position"].max()),
                "phenotypes": list(dict.fromkeys(rows["phenotype"])),
                "n_variants": len(rows.drop_duplicates(VARIANT)),
                "n_clumps": int(rows["clump"].nunique()),
            }
        )
    return loci


def clump(
    variants: pd.DataFrame, correlations: Correlations, window_bp: int, r2: float
) -> NDArray[np.int64]:
    """The clump of each variant, as the index of the clump's lead variant.

    Args:
        variants: contig, position, ref and alt, the strongest first.
    """
    contigs, positions = variants["contig"].to_numpy(), variants["position"].to_numpy()
    clumps = np.full(len(variants), -1)
    for lead in range(len(variants)):
        if clumps[lead] >= 0:
            continue
        near = np.flatnonzero(
            (clumps < 0)
            & (contigs == contigs[lead])
            & (np.abs(positions - positions[lead]) <= window_bp)
        )
        linked = correlations(variants.iloc[[lead]], variants.iloc[near]) ** 2 >= r2
        clumps[near[linked]] = lead
        clumps[lead] = lead
    return clumps


def merge(variants: pd.DataFrame, clumps: NDArray[np.int64], window_bp: int) -> NDArray[np.int64]:
    """The locus of each lead variant, as the index of one of the locus's leads; -1 for other
    variants.
    """
    loci = np.full(len(variants), -1)
    leads = variants.iloc[np.unique(clumps)].sort_values(["contig", "position"])
    previous: Any = None
    for lead in leads.itertuples():
        chained = (
            previous is not None
            and previous.contig == lead.contig
            and lead.position - previous.position <= window_bp
        )
        loci[lead.Index] = loci[previous.Index] if chained else lead.Index
        previous = lead
    return loci


def significant_variants(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The distinct variants of several methods' hits, sorted by contig, position and alleles.

    Example:
        >>> one = pd.DataFrame({"contig": ["2"], "position": [7], "ref": ["A"], "alt": ["G"]})
        >>> len(significant_variants([one, one]))
        1
    """
    variants = pd.concat([frame[VARIANT] for frame in frames]).drop_duplicates()
    return variants.sort_values(VARIANT).reset_index(drop=True)
