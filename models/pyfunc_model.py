"""The registered model as an MLflow pyfunc, logged as code: beats in mV to active latents."""

import warnings
from pathlib import Path

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext

from models.encoder import read_encoder

# MLflow asks for type hints, and would take them for the schema, which the signature states.
warnings.filterwarnings("ignore", ".*Add type hints to the `predict`")


class EcgVae(PythonModel):
    """Posterior means of the active latents, float64 [n, k]."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the configuration, the model's two artifacts."""
        self.encoder = read_encoder(Path(context.artifacts["model"]))

    def predict(self, context, model_input, params=None):
        """Latents of beats, float32 [n, 12, 600] in mV."""
        return self.encoder.encode(np.asarray(model_input, np.float32)).z


mlflow.models.set_model(EcgVae())
