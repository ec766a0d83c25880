"""The decoder against a convolutional one, over the number of training beats.

    python tests/bench/bench_decoders.py FOLDER [--sizes 1000,2000,5000,10000,20000]
        [--held-out 2000] [--updates 6000] [--latents 20] [--workers 2] [--ptbxl BEATS.npy]

FOLDER is what generate_deepfake.py wrote. Both decoders are trained behind the same encoder, by the
product's own training, from the same start: amplitudes on principal components. Ours then warps the
time axis; the other adds transposed convolutions of as many channels as the encoder has. Mean
absolute errors in µV on held-out people, and on PTB-XL where its records lie beside the checkout:
`guess` by the encoder, `mode` by the posterior's mode under our decoder, as the product encodes.
PCA beside, with as many latents.
"""

import argparse
import json
import math
import time
from functools import partial
from unittest import mock

import numpy as np
import torch
from populations import PTBXL, deepfake, ptbxl
from torch import nn

from ecg_spark.study import Model
from models.data.loader import Resident
from models.distributed import choose_device
from models.encoding.evaluation import agreement
from models.encoding.factors import fit_factors
from models.encoding.posterior import posteriors
from models.network.pca import fit_components
from models.network.vae import N_LEADS, START_OF_RESIDUAL, VAE, Residual
from models.training import fitting
from models.training.fitting import Trainer
from models.training.folds import effects

BATCH = 64


class Convolutional(VAE):
    """The same encoder, and a decoder of amplitudes with transposed convolutions added to them."""

    def __init__(self, latents, channels):
        super().__init__(latents, channels)
        wide = 2 * channels
        self.waves_back = nn.Sequential(
            nn.Linear(latents, 256), nn.GELU(),
            nn.Linear(256, wide * 25), nn.Unflatten(1, (wide, 25)),
            Residual(wide),
            nn.ConvTranspose1d(wide, wide, 3, stride=3),  # 25 -> 75
            Residual(wide),
            nn.ConvTranspose1d(wide, channels, 4, stride=2, padding=1),  # -> 150
            Residual(channels), nn.GELU(),
            nn.ConvTranspose1d(channels, N_LEADS, 16, stride=4, padding=6),  # -> 600
        )  # fmt: skip

    def start_from(self, beats):
        super().start_from(beats)
        with torch.no_grad():
            self.waves_back[-1].weight.mul_(START_OF_RESIDUAL)
            nn.init.zeros_(self.waves_back[-1].bias)

    def decode(self, z):
        return self._unwarped(z) + self.waves_back(z)


DECODERS = {"ours": VAE, "convolutional": Convolutional}


def trained(kind, training, validation, latents, updates, seed, device):
    """A network of a kind, by the product's training, and how many epochs it was trained."""
    beats, held_out = (
        Resident(torch.from_numpy(x).to(device), seed) for x in (training, validation)
    )
    epochs = math.ceil(updates / beats.steps(BATCH))
    settings = Model(latents=latents, epochs=epochs, batch_size=BATCH)
    with mock.patch.object(fitting, "VAE", kind):
        run = Trainer(beats, settings, seed, device, None)
    for _ in run.epochs(held_out):
        pass
    return run.result().to(device), len(run.history), run.best_epoch


def errors(network, beats, device):
    """Mean absolute error in µV of the encoder's guess, and of the mode under our decoder."""
    rows = torch.from_numpy(beats)
    with torch.no_grad():
        found = {"guess": guessed(network, rows, device)[0]}
        if not isinstance(network, Convolutional):
            found["mode"] = torch.cat([part.mean for part in posteriors(network, rows)])
        line = {}
        for name, z in found.items():
            parts = zip(rows.split(512), z.split(512), strict=True)
            error = [agreement(x, network.decode(own.to(device)).cpu())[0] for x, own in parts]
            line[name] = round(float(torch.cat(error).mean()), 2)
    return line


@torch.no_grad()
def guessed(network, rows, device):
    """Mean and log variance of the encoder's posterior, on the CPU."""
    parts = [network.encode(part.to(device)) for part in rows.split(512)]
    return tuple(torch.cat(part).cpu() for part in zip(*parts, strict=True))


def convolutional(training, validation, latents, updates, batch, seed):
    """Factors of the convolutional design by its encoder's guess, found as the product's are."""
    device = choose_device("auto")
    network = trained(Convolutional, training, validation, latents, updates, seed, device)[0]
    mean, log_variance = guessed(network, torch.from_numpy(training), device)
    network.cpu()
    covariance = torch.diag_embed(log_variance.exp()).numpy()
    factors, _ = fit_factors(
        mean.numpy(), covariance, Model().min_active_kl, partial(effects, network)
    )

    def apply(rows):
        mean, log_variance = guessed(network, torch.from_numpy(rows), torch.device("cpu"))
        covariance = torch.diag_embed(log_variance.exp()).numpy()
        z = factors.of_posterior(mean.numpy(), covariance)[0]
        with torch.no_grad():
            return z, network.decode(mean).numpy()

    return apply


def main():
    """Print a JSON line a size and decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--sizes", default="1000,2000,5000,10000,20000")
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--latents", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decoders", default="pca,ours,convolutional")
    parser.add_argument("--ptbxl", help="average beats of PTB-XL, float32 [n, 8, 600]")
    options = parser.parse_args()
    device, sizes = choose_device("auto"), [int(size) for size in options.sizes.split(",")]
    beats = deepfake(options.folder, max(sizes) + 2 * options.held_out, options.workers)
    held_out, validation, rest = np.split(beats, [options.held_out, 2 * options.held_out])
    real = np.load(options.ptbxl) if options.ptbxl else ptbxl() if PTBXL.is_dir() else None
    judged = {"held_out": held_out} | ({} if real is None else {"ptbxl": real})
    for size in sizes:
        training = rest[:size]
        for name in options.decoders.split(","):
            started = time.time()
            line = {"training": len(training), "decoder": name, "latents": options.latents}
            if name == "pca":
                components = fit_components(training, options.latents)
                for people, own in judged.items():
                    rebuilt = components.rebuild(components.scores(own)).reshape(own.shape)
                    error = agreement(torch.from_numpy(own), torch.from_numpy(rebuilt))[0]
                    line[people] = round(float(error.mean()), 2)
            else:
                network, epochs, best = trained(
                    *(DECODERS[name], training, validation[: max(size // 5, 200)]),
                    *(options.latents, options.updates, 1, device),
                )
                line |= {"epochs": epochs, "best_epoch": best}
                line |= {people: errors(network, own, device) for people, own in judged.items()}
            print(json.dumps(line | {"seconds": round(time.time() - started)}), flush=True)


if __name__ == "__main__":
    main()
