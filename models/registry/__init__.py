"""MLflow: runs and registered models, what they show, and how a model is read back."""
