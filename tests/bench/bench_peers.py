"""The VAE against PCA and the designs of FactorECG and M-REGLE, on simulated and real beats.

    python tests/bench/bench_peers.py [--deepfake FOLDER] [--updates 1500] [--beats 4000]
        [--models pca,ours,mregle,factorecg] [--latents 20,32] [--seeds 3] [--batch 64]

Every network gets the same beats in batches of the same size, and as many updates. Mean absolute
error in µV and Pearson r on held-out people, and on beats of PTB-XL where its records lie beside
the checkout: those are never trained on. Of simulated people, what their factors find of the
planted variants (populations.power). `stability` is the mean absolute correlation of the factors
of two seeds, paired by the best assignment, `stability_turned` after the orthogonal map that
brings them closest; the mean over pairs. FOLDER is what generate_deepfake.py wrote; without it
that population is left out. The published reference is 15.7 µV (annealed beta-VAE, Harvey et al.).
"""

import argparse
import itertools
import json
import math
import time

import numpy as np
import torch
from peers import FactorEcg, MRegle, fit
from populations import PTBXL, deepfake, power, ptbxl, simulated
from scipy.optimize import linear_sum_assignment

from ecg_spark.ecg import derive_leads
from ecg_spark.study import Model
from models.data.loader import Resident
from models.distributed import choose_device
from models.encoding.evaluation import agreement
from models.encoding.fold_encoder import independent_leads
from models.network.pca import fit_components
from models.training.fitting import Trainer
from models.training.folds import closest, finish, matched

ACTIVE_KL = 0.05


def ours(training, validation, latents, updates, batch, seed):
    """The product's own training and factors, as beats -> (latents, rebuilt)."""
    device = choose_device("auto")
    beats = Resident(torch.from_numpy(training).to(device), seed)
    epochs = math.ceil(updates / beats.steps(batch))
    settings = Model(latents=latents, epochs=epochs, batch_size=batch)
    held_out = Resident(torch.from_numpy(validation).to(device), seed)
    fitting = Trainer(beats, settings, seed, device, None)
    for _ in fitting.epochs(held_out):
        pass
    encoder = finish(
        fitting.result(), beats, settings, {"seed": seed, "table_version": "bench"}, device
    )

    def apply(rows):
        z = encoder.encode(derive_leads(rows)).z
        return z, independent_leads(encoder.decode(z))

    return apply


def peer(kind):
    """A peer's training, in the same form."""

    def train(training, validation, latents, updates, batch, seed):
        torch.manual_seed(seed)
        device = choose_device("auto")
        beats = torch.from_numpy(training).to(device)
        network = fit(kind(latents).to(device), beats, updates, batch, seed).cpu()

        def encoded(rows):
            with torch.inference_mode():
                parts = [network.encode(x) for x in torch.from_numpy(rows).split(256)]
            return (torch.cat(part) for part in zip(*parts, strict=True))

        mean, log_variance = encoded(training)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean(dim=0)

        def apply(rows):
            mean, _ = encoded(rows)
            with torch.inference_mode():
                rebuilt = torch.cat([network.decode(z) for z in mean.split(256)])
            return mean[:, kl >= ACTIVE_KL].numpy(), rebuilt.numpy()

        return apply

    return train


def pca(training, validation, latents, updates, batch, seed):
    """The linear peer, in the same form."""
    components = fit_components(training, latents)

    def apply(rows):
        z = components.scores(rows)
        return z, components.rebuild(z).reshape(rows.shape)

    return apply


MODELS = {"pca": pca, "ours": ours, "mregle": peer(MRegle), "factorecg": peer(FactorEcg)}


def figures(apply, held_out, real):
    """Reconstruction of both sets, and independence of the active latents on held-out people."""
    z, rebuilt = apply(held_out)
    line = {"active": z.shape[1]} | reconstruction("held_out", held_out, rebuilt)
    if real is not None:
        line |= reconstruction("ptbxl", real, apply(real)[1])
    if z.shape[1] > 1:
        r = np.abs(np.corrcoef(z, rowvar=False)[np.triu_indices(z.shape[1], 1)])
        line |= {"max_abs_r": round(float(r.max()), 3), "mean_abs_r": round(float(r.mean()), 3)}
    return line, z


def reconstruction(name, beats, rebuilt):
    """MAE in µV and r."""
    error, r = agreement(torch.from_numpy(beats), torch.from_numpy(np.asarray(rebuilt, np.float32)))
    return {f"{name}_mae_uv": round(float(error.mean()), 2), f"{name}_r": round(float(r.mean()), 4)}


def stability(latents):
    """Mean absolute correlation of matched factors over all pairs of seeds, paired and turned."""
    paired, turned = [], []
    for a, b in itertools.combinations(latents, 2):
        few, many = sorted((a, b), key=lambda z: z.shape[1])
        few, many = ((z - z.mean(axis=0)) / z.std(axis=0) for z in (few, many))
        r = np.abs(few.T @ many) / len(few)
        paired.append(r[linear_sum_assignment(-r)].mean())
        turned.append(matched(many @ closest(many, few), few).mean())
    if not paired:
        return {}
    return {
        "stability": round(float(np.mean(paired)), 3),
        "stability_turned": round(float(np.mean(turned)), 3),
    }


def main():
    """Print a JSON line a population, number of latents and model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deepfake", help="the folder that generate_deepfake.py wrote")
    parser.add_argument("--only", default="simulated,deepfake", help="these populations")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--beats", type=int, default=4000, help="of each population")
    parser.add_argument("--models", default="pca,ours,mregle")
    parser.add_argument("--latents", default="20,32")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    real = ptbxl() if PTBXL.is_dir() else None
    populations = {"simulated": lambda: simulated(1, options.beats)}
    if options.deepfake:
        populations["deepfake"] = lambda: (deepfake(options.deepfake, options.beats),)
    populations = {key: populations[key] for key in options.only.split(",") if key in populations}
    for population, beats_of in populations.items():
        beats, *truth = beats_of()
        beats = independent_leads(beats) if truth else beats
        held_out, validation, training = np.split(beats, [len(beats) // 5, len(beats) // 4])
        for latents in map(int, options.latents.split(",")):
            for name in options.models.split(","):
                lines, z, started = [], [], time.time()
                for seed in range(1, 2 if name == "pca" else options.seeds + 1):
                    apply = MODELS[name](
                        training, validation, latents, options.updates, options.batch, seed
                    )
                    line, own = figures(apply, held_out, real)
                    if truth:
                        line = power(apply(beats)[0], *truth) | line
                    lines.append(line)
                    z.append(own)
                mean = {key: round(float(np.mean([x[key] for x in lines])), 4) for key in lines[0]}
                said = {"population": population, "latents": latents, "model": name}
                said |= {"updates": options.updates, "training": len(training)} | mean
                said |= stability(z) | {"seconds": round((time.time() - started) / len(lines))}
                print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
