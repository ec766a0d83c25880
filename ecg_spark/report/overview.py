"""All tests at a glance: Manhattan and QQ plots of every group, with their lambdas."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from matplotlib.figure import Figure

from ecg_spark.report import evidence, figures
from ecg_spark.report.associations import BINS, FLOOR, median_lambda, qq_of, scan_associations
from ecg_spark.report.comparison import Planted
from ecg_spark.report.planted import marks_of
from ecg_spark.tables import OWN, PEER, TOGETHER, VARIANT, group_of

TITLES = {
    "vae": "VAE latents, one by one: the best of each variant",
    "vae omnibus": "VAE latents together: omnibus test",
    "traits": "Conventional traits: the best of each variant",
    OWN: "The study's own phenotypes, one by one: the best of each variant",
    f"{OWN}{TOGETHER}": "The study's own phenotypes together: omnibus test",
    PEER: "Principal components of the beat, one by one: the best of each variant",
    f"{PEER}{TOGETHER}": "Principal components of the beat together: omnibus test",
}
"""The groups of tests in the order of their panels: latents, traits, and components last."""


@dataclass(frozen=True)
class Overview:
    """What was tested, by group in the order of `TITLES`, and the plots.

    Attributes:
        members: the phenotypes of each group.
        lambdas: lambda of each of these.
        by_frequency: lambda over all tests of a group, by the frequency of the minor allele.
        panels: what the Manhattan plots are drawn from (see `figures.manhattan`).
        extents: the contigs in order, with their lengths in bp.
        figures: the plots.
    """

    members: dict[str, list[str]]
    lambdas: dict[str, list[float]]
    by_frequency: dict[str, dict[str, float]]
    panels: list[tuple[str, str, pd.DataFrame, float]]
    extents: dict[str, int]
    figures: dict[str, Figure]


def overview(
    associations: ds.Dataset,
    omnibus: ds.Dataset | None,
    thresholds: Mapping[str, float],
    published: Mapping[str, float],
    degrees: Mapping[str, int],
    planted: Sequence[Planted],
) -> Overview:
    """Summarise and draw the published tests.

    Args:
        associations: the table of single tests.
        omnibus: the table of omnibus tests; None if there are none.
        thresholds: of each group, as -log10 p.
        published: known lambdas by phenotype; others are computed.
        degrees: the degrees of freedom of each omnibus test.
        planted: the planted variants of simulated data; empty for real data.
    """
    columns = [*VARIANT, "phenotype", "neg_log10_p", "af"]
    singles = scan_associations(evidence.batches(associations, columns), group_of)
    joint = scan_associations(evidence.omnibus_batches(omnibus) if omnibus else [], str)
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(singles.histograms):
        members[group_of(name)].append(name)
    members |= {name: [name] for name in joint.histograms}
    present = [group for group in TITLES if members[group]]
    surveys = {group: joint if group in joint.histograms else singles for group in present}
    lambdas = {
        group: [
            published.get(name)
            or median_lambda(surveys[group].histograms[name], degrees.get(name, 1))
            for name in members[group]
        ]
        for group in present
    }
    panels = [
        (TITLES[group], group, surveys[group].points(group), thresholds[group]) for group in present
    ]
    manhattan = figures.manhattan(panels, singles.extents, FLOOR, marks_of(planted))
    qq = figures.quantile_quantile(
        [
            (
                f"{group}  λ {np.mean(lambdas[group]):.3f}",
                group,
                {name: surveys[group].qq(name) for name in members[group]},
            )
            for group in present
        ]
    )
    by_frequency = {group: surveys[group].by_frequency.get(group, {}) for group in present}
    by_bin = figures.quantile_quantile(
        [
            (group, group, {name: qq_of(counts) for name, counts in own.items()})
            for group, own in by_frequency.items()
        ],
        dict(zip(BINS, figures.BY_BIN, strict=True)),
    )
    return Overview(
        {group: members[group] for group in present},
        lambdas,
        {
            group: {
                name: median_lambda(counts, degrees.get(group, 1)) for name, counts in own.items()
            }
            for group, own in by_frequency.items()
        },
        panels,
        singles.extents,
        {"manhattan": manhattan, "qq": qq, "qq_by_frequency": by_bin},
    )
