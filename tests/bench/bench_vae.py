"""VAE against PCA on simulated beats: reconstruction, independence, and power to find variants.

    python tests/bench/bench_vae.py [--seed 1] [--people 2000] [--epochs 100] [--folds 1]

Each of the heart's parameters gets one variant that explains 7 % of its variance; what finds it is
said in populations.power. The correlations of two latents are said of these people and of 10,000
that no network has seen: among few, some are large by chance.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from populations import power, simulated

from ecg_spark.study import Model
from models.encoding.factors import varimax
from models.encoding.fold_encoder import independent_leads
from models.registry.publishing import load_encoder
from models.training.plan import Plan
from models.training.train import train

FRESH = 10_000


def about_fold_means(z, folds):
    """What the fold as a covariate leaves of latents."""
    means = np.array([z[folds == fold].mean(axis=0) for fold in np.unique(folds)])
    return z - means[folds]


def turned(encoder):
    """The rotation of PCA's scores by the rule that turns the VAE's latents into factors."""
    encoder = encoder.folds[0]
    around = 0.5 * np.eye(encoder.n_active)
    effect = encoder.decode_pca(around) - encoder.decode_pca(-around)
    return varimax(independent_leads(effect).reshape(encoder.n_active, -1).T.astype(float))


def main():
    """Train on one population and print a JSON line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=Model().epochs)
    parser.add_argument("--channels", type=int, default=Model().channels)
    parser.add_argument("--folds", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("models").setLevel(logging.INFO)
    beats, scores, dosages = simulated(options.seed, options.people)
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "beats"
        table.mkdir()
        signal = pa.array(list(beats.reshape(len(beats), -1)), pa.list_(pa.float32()))
        columns = pa.table({"participant_hash": np.arange(len(beats)), "signal": signal})
        pq.write_table(columns, table / "part.parquet", row_group_size=256)
        uri, started, cpu = f"sqlite:///{scratch}/mlflow.db", time.time(), time.process_time()
        settings = Model(epochs=options.epochs, channels=options.channels, folds=options.folds)
        plan = Plan(
            *(str(table), settings, options.seed, f"simulated-{options.seed}"),
            *(uri, "bench", f"{scratch}/kept"),
        )
        result = train(plan, "ecg-vae", scratch)
        seconds = {"seconds": time.time() - started, "cpu_seconds": time.process_time() - cpu}
        encoder = load_encoder(result.model_uri, uri)
        hashes = np.arange(len(beats))
        folds = encoder.fold_of(hashes)
        vae, pca = (
            about_fold_means(encode(beats, hashes).z, folds)
            for encode in (encoder.encode, encoder.encode_pca)
        )
        models = {
            "vae": (vae, "val"),
            "pca": (pca, "pca"),
            "pca, varimax": (pca @ turned(encoder), "pca"),
        }
        for name, (z, metrics) in models.items():
            line = {"model": name, "seed": options.seed} | power(z, scores, dosages)
            line |= {
                key: round(result.metrics[f"{metrics}/{key}"], 4) for key in ("mae_uv", "pearson_r")
            }
            line |= {"match": round(result.metrics["folds/mean_abs_r"], 3)}
            print(
                json.dumps(line | {key: round(value) for key, value in seconds.items()}), flush=True
            )
        z = encoder.encode(simulated(options.seed + 1000, FRESH)[0]).z
        r = np.abs(np.corrcoef(z, rowvar=False)[np.triu_indices(z.shape[1], 1)])
        line = {"model": "vae", "fresh_people": FRESH, "max_abs_r": round(float(r.max()), 3)}
        print(json.dumps(line | {"mean_abs_r": round(float(r.mean()), 3)}), flush=True)


if __name__ == "__main__":
    main()
