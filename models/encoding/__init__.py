"""Beats to factors and back by a trained network, and how well it does that."""
