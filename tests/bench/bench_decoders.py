"""The decoder against a convolutional one, over the number of training beats.

    python tests/bench/bench_decoders.py FOLDER [--sizes 1000,2000,5000,10000,20000]
        [--held-out 2000] [--updates 6000] [--latents 20] [--workers 2] [--ptbxl BEATS.npy]

FOLDER is what generate_deepfake.py wrote. Both decoders are trained behind the same encoder, by the
product's own training, from the same start: amplitudes on principal components. Ours then warps the
time axis; the other adds transposed convolutions of as many channels as the encoder has. Mean
absolute errors in µV on held-out people, and on PTB-XL where its records lie beside the checkout:
`guess` by the encoder, `mode` by the posterior's mode under the decoder, as the product encodes.
PCA beside, with as many latents.
"""

import argparse
import json
import math
import time
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from populations import PTBXL, deepfake, ptbxl
from torch import nn

from ecg_spark.study import Model
from models.data.loader import Resident
from models.distributed import choose_device
from models.encoding import fold_encoder
from models.encoding.evaluation import agreement
from models.encoding.posterior import posteriors
from models.network.pca import fit_components
from models.network.vae import N_LEADS, START_OF_RESIDUAL, VAE, Residual
from models.training import fitting
from models.training.fitting import Fitting

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

    def linearised(self, z):
        def one(own):
            rebuilt = self.decode(own.unsqueeze(0))[0]
            return rebuilt.T, rebuilt

        slopes, rebuilt = torch.func.vmap(torch.func.jacfwd(one, has_aux=True), chunk_size=256)(z)
        return rebuilt, slopes


DECODERS = {"ours": VAE, "convolutional": Convolutional}


@contextmanager
def as_the_product(kind):
    """The product's training and encoder with a network of another kind."""
    with mock.patch.object(fitting, "VAE", kind), mock.patch.object(fold_encoder, "VAE", kind):
        yield


def trained(kind, training, validation, latents, updates, device):
    """A network of a kind, and how many epochs it was trained."""
    beats, held_out = (Resident(torch.from_numpy(x).to(device), 1) for x in (training, validation))
    epochs = math.ceil(updates / beats.steps(BATCH))
    settings = Model(latents=latents, epochs=epochs, batch_size=BATCH)
    with as_the_product(kind):
        run = Fitting(beats, settings, 1, device, None)
        for _ in run.epochs(held_out):
            pass
    return run.result().to(device), len(run.history), run.best_epoch


def errors(network, beats, device):
    """Errors in µV by the encoder's guess and by the mode: mean, and the largest of a beat."""
    rows = torch.from_numpy(beats)
    with torch.no_grad():
        guess = torch.cat([network.encode(part)[0] for part in rows.to(device).split(512)])
        mode = torch.cat([part.mean for part in posteriors(network, rows)])
        line = {"no_mode": int((~mode.isfinite()).any(dim=1).sum())}
        for name, z in (("guess", guess.cpu()), ("mode", mode)):
            parts = zip(rows.split(512), z.split(512), strict=True)
            found = [agreement(x, network.decode(own.to(device)).cpu())[0] for x, own in parts]
            error = torch.cat(found)
            error = error[error.isfinite()]
            line |= {name: round(float(error.mean()), 2), f"{name}_most": round(float(error.max()))}
    return line


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
                    *(options.latents, options.updates, device),
                )
                line |= {"epochs": epochs, "best_epoch": best}
                line |= {people: errors(network, own, device) for people, own in judged.items()}
            print(json.dumps(line | {"seconds": round(time.time() - started)}), flush=True)


if __name__ == "__main__":
    main()
