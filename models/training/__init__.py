"""A model from beats: its epochs, its folds, its run, and a grid of settings to choose from."""
