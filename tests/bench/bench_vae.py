"""VAE against PCA on simulated beats: reconstruction, independence, and power to find variants.

    python tests/bench/bench_vae.py [--seed 1] [--people 2000] [--epochs 100] [--folds 1]

Each of the heart's parameters gets one variant that explains 7 % of its variance. A variant is
found by single latents at p < 5e-8 / k, or by chi-squared over all decorrelated latents at 5e-8.
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
from populations import simulated
from scipy import stats

from ecg_spark.study import Model
from models.encoder import load_encoder
from models.factors import varimax
from models.fold_encoder import independent_leads
from models.job import Plan
from models.train import train


def figures(z, scores, dosages):
    """Variants found, linear decodability of the parameters, correlation of the latents."""
    n, k = z.shape
    z = stats.norm.ppf((stats.rankdata(z, axis=0) - 0.375) / (n + 0.25))
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    r = dosages.T @ z / n
    t = r * np.sqrt((n - 2) / (1 - r**2))
    p = 2 * stats.t.sf(np.abs(t), n - 2)
    normal = np.sign(t) * stats.norm.isf(np.clip(p, 1e-300, 1) / 2)
    correlation = np.corrcoef(z, rowvar=False)
    chi2 = np.einsum("vi,ij,vj->v", normal, np.linalg.inv(correlation), normal)
    single, omnibus = p.min(axis=1) < 5e-8 / k, stats.chi2.sf(chi2, k) < 5e-8
    design = np.column_stack([z, np.ones(n)])
    left = scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    off = np.abs(correlation[np.triu_indices(k, 1)])
    return {
        "latents": k,
        "found_single": int(single.sum()),
        "found_omnibus": int(omnibus.sum()),
        "found": int((single | omnibus).sum()),
        "planted": len(single),
        "mean_r2_of_parameters": round(
            float((1 - left.var(axis=0) / scores.var(axis=0)).mean()), 3
        ),
        "max_abs_r": round(float(off.max()), 3),
        "mean_abs_r": round(float(off.mean()), 3),
    }


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
            line = {"model": name, "seed": options.seed} | figures(z, scores, dosages)
            line |= {
                key: round(result.metrics[f"{metrics}/{key}"], 4) for key in ("mae_uv", "pearson_r")
            }
            line |= {"match": round(result.metrics["folds/mean_abs_r"], 3)}
            print(
                json.dumps(line | {key: round(value) for key, value in seconds.items()}), flush=True
            )


if __name__ == "__main__":
    main()
