"""Discovery on real hearts: variants planted on recordings, found by latents and by their peers.

    python tests/bench/bench_hearts.py FOLDER [--people 4000] [--variants 20000] [--seeds 3]
        [--models ours,pca,mregle,traits,convolutional] [--updates 6000] [--latents 20]
        [--workers 2]

FOLDER is what generate_deepfake.py wrote. Each seed draws people, their genomes and which variants
act as `ecg-spark simulate --hearts` does: the signals of recordings are changed by them, age, sex,
body mass and ancestry, then averaged. Each design is trained on 85 % of the people and encodes all.
Its latents, made normal by ranks, are tested on every variant with age, sex, BMI and ancestry as
covariates: singly at 5e-8 over their number, together (chi-squared over decorrelated latents) at
5e-8, or by either. `convolutional` is the design of bench_decoders. A locus is a block of linkage;
one in which nothing was planted is false. What was planted and averaged is kept in FOLDER.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from bench_decoders import convolutional
from bench_peers import MODELS
from populations import by_ranks, recording_of
from scipy import stats

from ecg_spark.ecg import RecordingError, average_beat, measure_traits
from ecg_spark.simulate.genome import Genome, Stream, make_genome, stream
from ecg_spark.simulate.genotypes import CHUNK, block_dosages
from ecg_spark.simulate.people import people_of_chunk, plant
from ecg_spark.simulate.recorded import CHANGES, changed
from models.encoding.fold_encoder import independent_leads

TRAITS = ("heart_rate_bpm", "pr_ms", "p_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg")
"""Those of ecg_spark.tables.TRAIT_NAMES, which needs Spark."""
DESIGNS = MODELS | {"convolutional": convolutional}
LEVEL, LARGE, BATCH = 5e-8, 0.05, 64


def planted_beats(folder, seed, people, variants, workers):
    """People's beats [n, 8, 600] in mV, traits [n, 7], covariates [n, 4] and their places."""
    kept = Path(folder) / f"planted-{seed}-{people}-{variants}.npz"
    if not kept.exists():
        genome = make_genome(seed, variants)
        planted = plant(genome, CHANGES)
        chunks = range(-(-people // CHUNK))
        parts = [people_of_chunk(genome, planted, chunk, CHANGES) for chunk in chunks]
        covariates = np.concatenate(
            [np.stack([one.age, one.sex, np.log(one.bmi), one.population], 1) for one in parts]
        )[:people]
        change = {
            name: np.concatenate([one.hearts[name] for one in parts])[:people]
            for name in parts[0].hearts
        }
        files = [np.load(path, mmap_mode="r") for path in sorted(Path(folder).glob("?-????.npy"))]
        places = [(file, row) for file in files for row in range(len(file))]
        order = stream(seed, Stream.HEARTS).permutation(len(places))[:people]
        if len(order) < people:
            raise SystemExit(f"{folder} holds {len(order)} recordings, {people} are needed.")
        work = [
            (np.array(places[i][0][places[i][1]]), {k: float(v[n]) for k, v in change.items()})
            for n, i in enumerate(order.tolist())
        ]
        with ProcessPoolExecutor(workers) as pool:
            done = list(pool.map(_planted, work, chunksize=16))
        used = np.array([one is not None for one in done])
        beats, traits = zip(*[one for one in done if one is not None], strict=True)
        with kept.open("wb") as file:
            np.savez(
                *(file,),
                beats=np.array(beats, np.float32),
                traits=np.array(traits, float),
                covariates=covariates[used],
                rows=np.flatnonzero(used),
            )
    loaded = np.load(kept)
    return (loaded[name] for name in ("beats", "traits", "covariates", "rows"))


def _planted(work):
    """One changed recording's average beat and traits; None where it cannot be averaged."""
    uv, change = work
    try:
        after = changed(uv.astype(float) / 1000, average_beat(recording_of(uv)), change)
        beat = average_beat(recording_of(1000 * after))
    except RecordingError:
        return None
    measured = measure_traits(beat)
    traits = [np.nan if measured[name] is None else measured[name] for name in TRAITS]
    return independent_leads(beat.signal_mv[None])[0], traits


class Discovery:
    """What phenotypes find of the planted variants of some people."""

    def __init__(self, seed, variants, people, rows, covariates):
        genome = make_genome(seed, variants)
        self.planted = plant(genome, CHANGES)
        ends = genome.block_start
        self.block = np.repeat(np.arange(genome.n_blocks), np.diff(ends))
        self.design = np.column_stack([np.ones(len(rows)), covariates])
        self.dosages = np.concatenate(
            [self._usable(genome, block, people)[:, rows] for block in range(genome.n_blocks)]
        )

    def _usable(self, genome: Genome, block, people):
        """Calls of a block as float32, missing ones at the mean, rare variants constant."""
        called = block_dosages(genome, block, people).astype(np.float32)
        called[called < 0] = np.nan
        mean = np.nanmean(called, axis=1, keepdims=True)
        rare = np.minimum(mean, 2 - mean) < 0.02
        return np.where(np.isnan(called) | rare, mean, called)

    def tests(self, y):
        """Signed normal deviates [variants, k] of phenotypes [n, k], and their correlation."""
        z = np.empty((len(self.dosages), y.shape[1]))
        seen = np.isfinite(y)
        for column in range(y.shape[1]):
            own = seen[:, column]
            design = np.linalg.qr(self.design[own])[0]
            normal = by_ranks(y[own, column])
            normal -= design @ (design.T @ normal)
            g = self.dosages[:, own].astype(np.float32)
            g = g - (g @ design) @ design.T
            length = np.sqrt((g**2).sum(axis=1) * (normal**2).sum())
            r = np.divide(g @ normal, length, out=np.zeros(len(g)), where=length > 1e-3)
            df = own.sum() - design.shape[1] - 1
            t = r * np.sqrt(df / np.maximum(1 - r**2, 1e-12))
            z[:, column] = np.sign(t) * stats.norm.isf(
                np.clip(stats.t.sf(np.abs(t), df), 1e-300, 1)
            )
        whole = seen.all(axis=1)
        correlations = np.corrcoef(by_ranks(y[whole]), rowvar=False)
        return z, np.atleast_2d(correlations)

    def of(self, y):
        """The counts of phenotypes [n, k]."""
        z, correlation = self.tests(y)
        k = y.shape[1]
        p = 2 * stats.norm.sf(np.abs(z))
        chi2 = np.einsum("vi,ij,vj->v", z, np.linalg.inv(correlation), z)
        hits = {"single": p.min(axis=1) < LEVEL / k, "omnibus": stats.chi2.sf(chi2, k) < LEVEL}
        hits["either"] = hits["single"] | hits["omnibus"]
        at = {one: self.block[one.variant] for one in self.planted}
        large = {block for one, block in at.items() if one.variance_explained >= LARGE}
        line = {"phenotypes": k, "planted": len(at), "planted_large": len(large)}
        for name, hit in hits.items():
            found = set(self.block[hit].tolist())
            line[f"large_{name}"] = len(found & large)
            line[f"all_{name}"] = len(found & set(at.values()))
            line[f"false_{name}"] = len(found - set(at.values()))
        missed = {one.parameter for one, block in at.items() if block in large - found}
        line["missed_by_either"] = " ".join(sorted(missed))
        varying = self.dosages.std(axis=1) > 1e-3
        lam = np.median(z[varying] ** 2, axis=0) / stats.chi2.ppf(0.5, 1)
        return line | {"mean_lambda": round(float(lam.mean()), 3)}


def encoded(name, beats, seed, latents, updates):
    """Latents of everybody by a design that was trained on 85 % of them."""
    validation, training = np.split(beats, [round(0.15 * len(beats))])
    return DESIGNS[name](training, validation, latents, updates, BATCH, seed)(beats)[0]


def main():
    """Print a JSON line a seed and design."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--people", type=int, default=4000)
    parser.add_argument("--variants", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--models", default="ours,pca,mregle,traits")
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--latents", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.seeds):
        size = options.people, options.variants
        beats, traits, covariates, rows = planted_beats(
            options.folder, seed, *size, options.workers
        )
        discovery = Discovery(seed, options.variants, options.people, rows, covariates)
        by = {"traits": lambda own=traits: own}
        by |= {
            name: partial(encoded, name, beats, seed, options.latents, options.updates)
            for name in DESIGNS
        }
        for name in options.models.split(","):
            started = time.time()
            line = {"model": name, "seed": seed, "people": len(rows), "latents": options.latents}
            line |= discovery.of(by[name]())
            print(json.dumps(line | {"seconds": round(time.time() - started)}), flush=True)


if __name__ == "__main__":
    main()
