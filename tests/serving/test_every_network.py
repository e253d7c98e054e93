"""Every network of the book gives through ONNX Runtime what it gives in torch, on real beats and recordings."""

from __future__ import annotations

from pathlib import Path

import excerpts
import numpy as np
import pytest
import torch
from excerpts import SAMPLE

from ecglib import aami
from ecglib.data import beats, databases, records
from ecglib.models import registry
from ecglib.models.classical import Classical
from ecglib.serving import export
from ecglib.serving.model import Model

RESULTS = export.Results(0, 0, 0, [0], "record", {}, {})
TRAINED = [name for name, entry in registry.ENTRIES.items() if not entry.classical]


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_it_gives_what_torch_gives(name: str, tmp_path: Path) -> None:
    entry = registry.entry(name)
    shape, features, classes = [1, 187], np.zeros((0, 0), np.float32), list(aami.CLASSES)
    common = {
        "name": name, "model": name, "database": "mitdb", "sample": True, "protocol": "intra", "profile": "", "seed": 0,
        "key": "", "recipe": {}, "commit": "", "created": "", "examples": 0, "rate": 125.0,
    }  # fmt: skip
    own = {"task": "beats", "leads": ["MLII"], "cut": "kachuee", "classes": classes}
    options: dict[str, int] = {}
    if entry.reads_recordings:
        source = databases.sample("ptb-xl")
        assert source is not None
        read = [records.read_repaired(source.folder, record).signals for record in source.records[:6]]
        x, shape, classes = np.stack([one[:, :1000] for one in read]), [12, 1000], ["a", "b"]
        own = {"task": "recordings", "leads": list(records.LEADS), "cut": "", "classes": classes, "rate": 100.0}
    elif entry.reads_aligned:
        shape, classes = [1, 101], ["healthy", "infarction"]
        x = beats.cut_record(excerpts.source(SAMPLE), "119", "relative", ["MLII"]).signals[:, :1, :101]
        own = {"task": "infarction", "leads": ["II"], "cut": "aligned", "classes": classes}
    else:
        how = "relative" if entry.reads_features else "kachuee"
        cut = beats.cut_record(excerpts.source(SAMPLE), "119", how, ["MLII"])
        x, features, shape = cut.signals, cut.features, list(cut.signals.shape[1:])
        if entry.reads_features:
            own |= {"cut": how, "features": list(beats.features_of("relative", 1))}
            options = {"n_features": features.shape[1]}
    torch.manual_seed(0)
    network = registry.build(name, *shape, len(classes), **options).eval()
    assert not isinstance(network, Classical)
    sequence = entry.takes == "sequence"
    given = torch.from_numpy(x)
    if sequence:
        own["beats_per_sequence"] = 10
        given = given[: len(given) // 10 * 10].unflatten(0, (-1, 10))
    example = [given[:3], *([torch.from_numpy(features[:3])] if options else [])]
    card = export.write(tmp_path, network, example, common | own | {"input_shape": shape}, RESULTS)
    with torch.inference_mode():
        logits = network(given, features=torch.from_numpy(features) if options else None).numpy()
    found = Model(card, tmp_path, threads=1).run(given.numpy(), features if options else None)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
