"""How much of a weak ancestry the principal components hold, with few and with many variants.

    python tests/bench/bench_components.py [--people 4000] [--fst 0.001] [--variants 4300 40000]

Two populations of equal size, of whom a tenth is projected. Prints for each number of variants the
R² of the population on 10 components, among those of the reference and those projected, the
distance of the populations among the projected over that among the reference (1 is right) with
their shrinkage corrected, and the seconds.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.people.components import blocks_of, principal_components
from ecg_spark.session import spark_session

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.builders.genetics_data import people, write_plink

COMPONENTS = 10


def r2(scores, population):
    """Of the population on the scores, and an intercept."""
    design = np.column_stack([np.ones(len(scores)), scores])
    left = population - design @ np.linalg.lstsq(design, population, rcond=None)[0]
    return 1 - left.var() / population.var()


def measure(spark, n, fst, variants):
    """One number of variants."""
    calls, population = people(n, variants, seed=1, populations=2, fst=fst)
    unrelated = np.arange(n) % 20 >= 2  # as many of either population
    with tempfile.TemporaryDirectory(prefix="bench-components-") as folder:
        write_plink(f"{folder}/set", calls, range(n))
        del calls
        packed = read_packed(f"{folder}/set")
        started = time.monotonic()
        over_blocks = blocks_of(
            spark, packed, np.arange(variants), np.arange(len(unrelated)), unrelated
        )
        scores = principal_components(over_blocks, unrelated, COMPONENTS, variants, np.zeros(n), 1)
        seconds = time.monotonic() - started
    best = np.argmax([r2(scores[unrelated][:, [i]], population[unrelated]) for i in range(10)])
    apart = [
        np.subtract(*(scores[own & (population == one), best].mean() for one in (0, 1)))
        for own in (unrelated, ~unrelated)
    ]
    return {
        "people": n, "variants": variants, "fst": fst,
        "r2_reference": round(r2(scores[unrelated], population[unrelated]), 3),
        "r2_projected": round(r2(scores[~unrelated], population[~unrelated]), 3),
        "distance_of_projected": round(float(apart[1] / apart[0]), 3),
        "seconds": round(seconds, 1),
    }  # fmt: skip


def main():
    """Run every number of variants."""
    parser = argparse.ArgumentParser(description="components of a weak ancestry")
    parser.add_argument("--people", type=int, default=4_000)
    parser.add_argument("--fst", type=float, default=0.001)
    parser.add_argument("--variants", type=int, nargs="+", default=[4_300, 40_000])
    options = parser.parse_args()
    spark = spark_session("bench components", progress=False)
    for variants in options.variants:
        print(json.dumps(measure(spark, options.people, options.fst, variants)), flush=True)


if __name__ == "__main__":
    main()
