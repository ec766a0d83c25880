"""A small encoder without training: networks as they start, which is a PCA."""

import numpy as np

from models.encoding.encoder import Encoder
from models.encoding.factors import Factors
from models.encoding.fold_encoder import FORM, independent_leads, pack
from models.network.pca import fit_components
from models.network.vae import VAE


def untrained_encoder(beats: np.ndarray, latents: int) -> Encoder:
    """Two networks, of other beats [n, 12, 600] each, with as many active latents."""
    independent, folds = independent_leads(beats), []
    rotation = np.eye(latents, dtype=np.float32)
    factors = Factors(rotation, rotation, np.zeros(latents, np.float32))
    config = {"latents": latents, "channels": 4, "n_active": latents, "kl": [1.0] * latents}
    config |= {"seed": 1, "test_share": 0.1, "form": FORM}
    for start in (0, 10):
        network = VAE(latents, 4)
        network.start_from(independent[start:])
        components = fit_components(independent[start:], latents)
        folds.append(pack(network, factors, components, config))
    return Encoder(folds, [1.0] * latents)
