"""What a served model is given, and what it answers."""

from __future__ import annotations

import numpy as np
from excerpts import SAMPLE
from numpy.typing import NDArray

from ecglib.data import beats, databases, records
from ecglib.serving import Model


def real_input(model: Model) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Beats of a record, or a recording, as a served model takes them, and what the model makes of them."""
    if model.card.task == "recordings":
        source = databases.sample("ptb-xl")
        assert source is not None
        recording = model.read(source.folder, source.records[0])
        return {"recording": recording.signals[None]}, model.score(recording)[None]
    recording, annotations = model.read(SAMPLE, "208"), records.read_annotations(SAMPLE, "208")
    peaks = annotations.samples[annotations.is_beat][:60]
    cuts, features, _, _ = beats.cut_signals(recording.signals, recording.fs, peaks, model.card.cut)
    columns = beats.features_of(model.card.cut, 1)
    own = {"features": features[:, [columns[name] for name in model.card.features]]} if model.card.features else {}
    return {"beat": cuts} | own, model.classify(recording, peaks).probability
