"""PyTorch: the Petastorm loader, the VAE and its loss, training in MLflow, encoding."""
