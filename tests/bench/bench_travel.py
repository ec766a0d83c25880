"""A model that was trained elsewhere beside a study's own: reconstruction, and planted loci.

    python tests/bench/bench_travel.py MODEL BIOBANK [BIOBANK ...]

MODEL is what `ecg-spark model export` wrote. BIOBANK is a folder that `ecg-spark simulate` wrote
and whose study (`study.yaml`, output `results`) has been run with a network of its own: its beats,
people, covariates and genotypes are taken as they are published. The carried model rebuilds the
beats of the study's test people, as `train` judges it, and encodes everybody; its latents, the
study's own and its principal components are tested on every variant: made normal by ranks,
regressed with the study's covariates, singly at 5e-8 over the effective number, together by F at
5e-8. A JSON line for each.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from populations import by_ranks
from scipy import stats

from ecg_spark.genetics.testing.multiplicity import effective_tests
from ecg_spark.report.comparison import compare as against_truth
from ecg_spark.report.comparison import read_planted
from ecg_spark.store import Store
from ecg_spark.study import load_study
from models.data.loader import beats_of_the_test, open_beats
from models.data.split import Split
from models.encoding.evaluation import TESTED, TESTED_PEER, compare
from models.network.pca import fit_components
from models.registry.carried import read_carried
from models.training.judging import WithPeer

LEVEL, WINDOW_BP, LEAST_MAF, MOST_MISSING = 5e-8, 500_000, 0.01, 0.02
METHODS = ("vae", "vae omnibus")


def rebuilt(encoder, study, beats, metrics):
    """How the carried model rebuilds the study's test people, beside PCA and the study's own."""
    settings, leave_out = study.model, study.beats.leave_out
    split = Split(study.seed, settings.validation_share, test_share=settings.test_share)
    training, _, _ = open_beats(beats, split, torch.device("cpu"), leave_out=leave_out)
    tested, _ = beats_of_the_test(beats, split, 20_000, leave_out)
    peer = fit_components(training.sample(20_000), encoder.n_active)
    found = compare([(WithPeer(encoder, peer), tested)], TESTED, TESTED_PEER)
    return {
        "trained_on_at_home": len(training),
        "tested": len(tested),
        "carried_uv": round(found[f"{TESTED}/mae_uv"], 2),
        f"pca_{encoder.n_active}_uv": round(found[f"{TESTED_PEER}/mae_uv"], 2),
        "home_uv": round(metrics[f"{TESTED}/mae_uv"], 2),
    }


def encoded(encoder, beats, leave_out):
    """Latents by participant, the weighted mean over their beats."""
    table = pd.read_parquet(beats, columns=["participant_id", "signal", "weight", "flags"])
    table = table[[not set(flags) & set(leave_out) for flags in table["flags"]]]
    signal = np.stack(table["signal"].to_numpy()).astype(np.float32).reshape(-1, 12, 600)
    parts = np.array_split(signal, max(1, len(signal) // 250))
    z = np.concatenate([encoder.encode(part).z for part in parts])
    weight = table["weight"].to_numpy()[:, None]
    sums = pd.DataFrame(np.hstack([z * weight, weight]), table["participant_id"].to_numpy())
    sums = sums.groupby(level=0).sum()
    return sums.iloc[:, :-1].div(sums.iloc[:, -1], axis=0)


def published(latents, model):
    """Latents of a kind by participant, as the study has them."""
    table = pd.read_parquet(latents).query("model == @model")
    return pd.DataFrame(np.stack(table["z"].to_numpy()), table["participant_id"].to_numpy())


class Genotypes:
    """Dosages [variants, people] of a BED, missing ones at the mean, and where variants lie."""

    def __init__(self, folder: Path, people):
        samples = [line.split()[1] for line in (folder / "genotypes.fam").open()]
        names = ["contig", "id", "cm", "position", "a1", "a2"]
        sites = pd.read_csv(folder / "genotypes.bim", sep=r"\s+", header=None, names=names)
        packed = np.fromfile(folder / "genotypes.bed", np.uint8)[3:].reshape(len(sites), -1)
        codes = np.stack([(packed >> shift) & 3 for shift in (0, 2, 4, 6)], axis=2)
        codes = codes.reshape(len(sites), -1)[:, [samples.index(one) for one in people]]
        calls = np.array([2, np.nan, 1, 0], np.float32)[codes]
        mean = np.nanmean(calls, axis=1)
        used = np.minimum(mean, 2 - mean) / 2 >= LEAST_MAF
        used &= np.isnan(calls).mean(axis=1) < MOST_MISSING
        self.sites = sites[used].reset_index(drop=True)
        self.calls = np.where(np.isnan(calls), mean[:, None], calls)[used]


def found(phenotypes, genotypes, covariates, planted):
    """Counts of planted variants that phenotypes [n, k] of the people find."""
    design = np.linalg.qr(np.column_stack([np.ones(len(covariates)), covariates]))[0]
    y = by_ranks(phenotypes.to_numpy(float))
    y -= design @ (design.T @ y)
    x = genotypes.calls - (genotypes.calls @ design) @ design.T
    r = (x @ y) / np.sqrt((x**2).sum(axis=1)[:, None] * (y**2).sum(axis=0))
    (n, k), c = y.shape, design.shape[1]
    p = 2 * stats.t.sf(np.abs(r) * np.sqrt((n - c - 1) / (1 - r**2)), n - c - 1)
    correlation = np.corrcoef(y, rowvar=False)
    r2 = np.einsum("vi,ij,vj->v", r, np.linalg.inv(correlation), r)
    together = stats.f.sf((r2 / k) / ((1 - r2) / (n - c - k)), k, n - c - k)
    hits = (p.min(axis=1) < LEVEL / effective_tests(correlation, [], LEVEL)[1], together < LEVEL)
    rows = [
        (method, str(contig), near[0], near[-1])
        for method, hit in zip(METHODS, hits, strict=True)
        for contig, own in genotypes.sites[hit].groupby("contig")
        for near in _runs(np.sort(own["position"].to_numpy()))
    ]
    loci = pd.DataFrame(rows, columns=["method", "contig", "start", "end"])
    told = against_truth(planted, loci, METHODS).summary()
    return {
        "people": n,
        "latents": k,
        "planted_large": told["planted_large"],
        "large": told["found_large_vae"],
        "large_by_method": told["found_large_by_method"],
        "false": told["false_loci"]["vae or omnibus"],
    }


def _runs(positions):
    return np.split(positions, np.flatnonzero(np.diff(positions) > WINDOW_BP) + 1)


def main():
    """Print JSON lines for each biobank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("biobanks", nargs="*", type=Path)
    options = parser.parse_args()
    if not options.biobanks:
        print("skipped: give a model and the biobanks to use it in")
        return
    encoder = read_carried(options.model).encoder
    for folder in options.biobanks:
        study, store = load_study(folder / "study.yaml"), Store(f"{folder}/results")
        beats = store.require("average").path("beats")
        metrics = store.require("train").summary["metrics"]
        line = {"biobank": folder.name}
        print(json.dumps(line | rebuilt(encoder, study, beats, metrics)), flush=True)
        latents = store.require("encode").path("latents")
        own, pca = (published(latents, model) for model in ("vae", "pca"))
        carried = encoded(encoder, beats, study.beats.leave_out)
        told = Path(store.require("cohort").path("regenie/covariates.txt"))
        covariates = pd.read_csv(told, sep=r"\s+", dtype={"IID": str}).set_index("IID")
        people = [one for one in covariates.index if one in carried.index and one in own.index]
        genotypes = Genotypes(folder, people)
        planted = read_planted(study.locate(study.truth))
        terms = covariates.loc[people].drop(columns="FID").to_numpy(float)
        for by, values in {"home": own, "carried": carried, "pca": pca}.items():
            counts = found(values.loc[people], genotypes, terms, planted)
            print(json.dumps(line | {"by": by} | counts), flush=True)


if __name__ == "__main__":
    main()
