"""Recordings of the PyPI package deepfake-ecg, a network trained on real 12-lead ECGs.

    python3.11 -m venv dfe && dfe/bin/pip install deepfake-ecg torch
    dfe/bin/python tests/bench/generate_deepfake.py FOLDER [--recordings 20000] [--seed 1]

It needs an environment of its own, never the product's. FOLDER receives files of 250 recordings,
int16 [250, 8, 5000] in µV at 500 Hz, leads I, II, V1 to V6; those that are there already are not
made again, so that it can be stopped and started. The package's own `generate` writes text files
and unpickles its checkpoint; here the same network is called, and only tensors are read.
"""

import argparse
import os
from pathlib import Path

import deepfakeecg
import numpy as np
import torch

EACH = 250
FULL_SCALE_UV = 6000
"""The package's own scale of its output, which is between -1 and 1."""


@torch.inference_mode()
def main():
    """Write what is missing of the recordings asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    network = deepfakeecg.Generator()
    weights = Path(deepfakeecg.__file__).parent / "checkpoints" / "g_stat.pt"
    network.load_state_dict(torch.load(weights, "cpu", weights_only=True)["stat_dict"])
    network.eval()
    for part in range(-(-options.recordings // EACH)):
        target = options.folder / f"{options.seed}-{part:04d}.npy"
        if target.exists():
            continue
        generator = torch.Generator().manual_seed(options.seed * 100_000 + part)
        noise = torch.rand(EACH, 8, 5000, generator=generator) * 2 - 1
        made = torch.cat([network(rows) for rows in noise.split(10)]) * FULL_SCALE_UV
        aside = target.with_suffix(".part")
        with aside.open("wb") as file:
            np.save(file, made.to(torch.int16).numpy())
        os.replace(aside, target)


if __name__ == "__main__":
    main()
