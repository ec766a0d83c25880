"""The registered model as an MLflow pyfunc, logged as code: beats in mV to active latents."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

from models.encoding.encoder import read_encoder


class EcgVae(PythonModel):
    """Returns the posterior modes of the active latents, float64 [n, k]."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model's folder; it works on a GPU if there is one."""
        self.encoder = read_encoder(Path(context.artifacts["model"]), "auto")

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: Any = None
    ) -> np.ndarray:
        """Return the latents of beats, float32 [n, 12, 600] in mV."""
        return self.encoder.encode(np.asarray(model_input, np.float32)).z


mlflow.models.set_model(EcgVae())
