"""A hospital's archive and two biobanks: the same variants act on the hearts of all.

    OUT/hospital/    only recordings, of older and sicker people, by other devices
    OUT/first/       a biobank as `biobank.py` writes it, recorded with CardioSoft
    OUT/second/      a biobank with another mix of the two populations
    OUT/truth.json   what was planted, as the two biobanks together have it

No person is in two of them. The hospital's patients have longer intervals, flatter T waves and more
fibrillation and ectopy, as age and disease bring about, and their recordings have more noise.
"""

import json
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from ecg_spark.simulate.biobank import simulate_biobank
from ecg_spark.simulate.cohort import Cohort
from ecg_spark.simulate.files import CARDIOSOFT, MUSE, WFDB
from ecg_spark.store import atomic_write

HOSPITAL = Cohort(
    name="hospital",
    number=2,
    age_mean=67.0,
    age_sd=11.0,
    age_range=(18, 95),
    shifts={
        "heart_rate": 0.5,
        "pr_interval": 0.4,
        "qrs_duration": 0.7,
        "qtc_interval": 0.7,
        "qrs_axis": -0.4,
        "st_level": -0.4,
        "t_amplitude": -0.6,
    },
    ectopy=0.25,
    noise=1.6,
    formats=(MUSE, WFDB),
    has_genotypes=False,
)
FIRST = Cohort(name="first", formats=(CARDIOSOFT,))
SECOND = Cohort(name="second", number=1, population_shares=(0.35, 0.65), formats=(CARDIOSOFT,))
COHORTS = (HOSPITAL, FIRST, SECOND)

_AVERAGED = ("effect_allele_frequency", "variance_explained")
_OF_EACH = (*_AVERAGED, "variance_explained_measured")


def simulate_consortium(
    spark: SparkSession, out: Path, *, participants: int, variants: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Write a hospital's archive and two biobanks.

    What exists already is left as it is.

    Args:
        spark: the session.
        out: the folder to write into.
        participants: how many people each of the three has.
        variants: how many variants each biobank has.
        seed: decides everything that is random.

    Returns:
        The counts of each, by its name.

    Raises:
        UsageError: as `simulate_biobank` raises it.
    """
    counts = {
        cohort.name: simulate_biobank(
            spark,
            out / cohort.name,
            participants=participants,
            variants=variants,
            seed=seed,
            cohort=cohort,
        )
        for cohort in COHORTS
    }
    truth = json.dumps(_truth_of_both(out), indent=1)
    atomic_write(str(out / "truth.json"), truth.encode())
    return counts


def _truth_of_both(out: Path) -> dict[str, Any]:
    """The planted variants with the means over the biobanks, and each biobank's own figures."""
    names = [cohort.name for cohort in COHORTS if cohort.has_genotypes]
    truths = [json.loads((out / name / "truth.json").read_text("utf-8")) for name in names]
    planted = []
    for alike in zip(*(truth["planted"] for truth in truths), strict=True):
        of_each = [{key: one.pop(key) for key in _OF_EACH} for one in alike]
        means = {key: sum(own[key] for own in of_each) / len(of_each) for key in _AVERAGED}
        planted.append(alike[0] | means | {"cohorts": dict(zip(names, of_each, strict=True))})
    notes = truths[0]["notes"] | {"means": f"over the biobanks, of {' and '.join(_AVERAGED)}"}
    same = ("participants", "variants", "seed", "reference_genome", "parameters")
    return {
        "cohorts": names,
        **{key: truths[0][key] for key in same},
        "notes": notes,
        "planted": planted,
    }
