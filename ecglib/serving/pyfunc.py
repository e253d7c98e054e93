"""What MLflow serves of a registered model. MLflow copies this file beside the artefact and runs it where the model is
loaded (*models from code*), so that nothing is pickled; `ecglib.serving.registry` says which inputs there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from scipy.special import expit, softmax

from ecglib.serving import load


class Served(PythonModel):
    """Probabilities of beats, or of whole recordings, as they are cut and scaled by the card."""

    def load_context(self, context: Any) -> None:
        (folder,) = context.artifacts.values()
        self._model = load(folder)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Probabilities `(n, classes)` of `beat` `(n, leads, samples)`, with `features` `(n, features)` where the model
        reads them, or of `recording` `(n, leads, samples)`. A sequence model takes consecutive beats of one record; of
        an infarction each beat is told. What is no number is refused."""
        for name, values in model_input.items():
            if not np.isfinite(values).all():
                raise MlflowException(f"{name} holds NaN or infinity", error_code=INVALID_PARAMETER_VALUE)
        model, temperature = self._model, np.float32(self._model.card.temperature)
        if "recording" in model_input:
            return np.asarray(expit(model.run(model_input["recording"]) / temperature))
        beat, features = model_input["beat"], model_input.get("features")
        if features is None:
            logits = model.logits(beat, np.empty((len(beat), 0), np.float32))
        else:
            logits = model.run(beat, features)
        return np.asarray(softmax(logits / temperature, axis=1))


set_model(Served())
