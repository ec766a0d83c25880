"""PyTorch: the Petastorm loader, the VAE and its loss, training in MLflow, encoding."""

import os

# Threads that wait for one another sleep instead of spinning. On cores that others use as well,
# spinning made an epoch ten times slower; it must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
