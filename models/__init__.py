"""PyTorch: the Petastorm loader, the VAE and its loss, training in MLflow, encoding."""

import os

# OpenMP threads that wait for one another sleep instead of spinning. On cores that other processes
# use as well, spinning made an epoch ten times slower. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
