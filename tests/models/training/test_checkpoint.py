"""The state of a training run, kept on this machine or on a store."""

import torch

from models.training.checkpoint import Checkpoints, State


def test_what_was_saved_last_is_loaded_until_it_is_removed(anywhere):
    folder = f"{anywhere}/checkpoints/train"
    kept = Checkpoints(folder)
    assert kept.load(0) is None
    for step in (1, 2):
        parts = {"network": {"weight": torch.full((3,), float(step))}}
        kept.save(State("study", "run", "run", 0, step, [{"epoch": 0.0}], parts), now=True)
    found = Checkpoints(folder).load(0)
    assert (found.step, found.epoch) == (2, 1)
    assert found.parts["network"]["weight"].tolist() == [2.0, 2.0, 2.0]
    assert kept.load(1) is None
    kept.remove()
    assert kept.load(0) is None
    kept.remove()
