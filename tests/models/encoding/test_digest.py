"""What tells that two cohorts were encoded by one model."""

import numpy as np

from models.encoding.encoder import read_encoder
from tests.builders.encoders import untrained_encoder


def test_the_digest_is_the_models_own_wherever_it_lies(tmp_path):
    beats = np.random.default_rng(1).normal(size=(30, 12, 600)).astype(np.float32)
    encoder = untrained_encoder(beats, 2)
    encoder.save(tmp_path)
    assert read_encoder(tmp_path).digest == encoder.digest
    assert untrained_encoder(beats + 0.01, 2).digest != encoder.digest
    assert len(encoder.digest) == 64
