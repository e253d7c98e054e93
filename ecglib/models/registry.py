"""Every model by its name: what it takes, where it comes from, how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ecglib.errors import UserError, nearest
from ecglib.models.age_and_sex import AgeAndSex
from ecglib.models.baseline_cnn import BaselineCNN
from ecglib.models.bigru import BiGRU
from ecglib.models.bilstm import BiLSTM
from ecglib.models.classical import Classical
from ecglib.models.cnet import CNet
from ecglib.models.crnn import CRNN
from ecglib.models.dual_path import DualPath
from ecglib.models.ecgnet import ECGNet
from ecglib.models.enhanced_cnn import EnhancedCNN
from ecglib.models.hydra import Hydra
from ecglib.models.kernel_machine import KernelMachine
from ecglib.models.logistic_regression import LogisticRegression
from ecglib.models.median_beat import MedianBeat
from ecglib.models.nearest_neighbour import NearestNeighbour
from ecglib.models.random_forest import RandomForest
from ecglib.models.seq2seq import Seq2Seq
from ecglib.models.strided_cnn import StridedCNN
from ecglib.models.xresnet1d import XResNet1d
from ecglib.models.yardstick import Yardstick

Takes = Literal[
    "beat", "beat+features", "features", "sequence", "aligned beat", "recording", "age and sex", "median beat"
]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A model's row in the registry.

    `build` is called as `build(n_leads, n_samples, n_classes, **options)` and returns a module whose
    `forward(x, *, features=None, lengths=None)` maps float32 `(batch, leads, samples)` to logits `(batch, classes)`.
    One that takes `beat+features` is told `n_features` as well and needs features `(batch, n_features)`; one that takes
    `features` does too, and reads them alone; one that takes a `sequence` also maps `(batch, beats, leads, samples)` to
    `(batch, beats, classes)`; one that takes an `aligned beat` reads all leads of one in mV, the R peak always in the
    same place; one that takes a `recording` reads recordings of any length padded at their end, honours `lengths`
    (int64 `(batch,)`: samples of each, None for all full), and each logit answers one of several labels. One that takes
    `age and sex` of a recording `(batch, 1, 2)`, or its `median beat` in mV `(batch, leads, samples)`, is a yardstick:
    NaN is unknown, and each logit answers one of one or more labels.
    """

    name: str
    build: type[Any]
    takes: Takes
    source: str
    """Citation key in `book/references.bib`."""
    votes: bool = False
    """Whether its logits tell the class alone: no threshold can be moved, and copies of beats change nothing."""

    @property
    def reads_features(self) -> bool:
        """Whether it needs features beside the beat."""
        return "features" in self.takes

    @property
    def reads_beats(self) -> bool:
        """Whether it is for the classes of heartbeats; the others tell something of the whole recording."""
        return not (self.reads_aligned or self.reads_recordings or self.yardstick)

    @property
    def reads_aligned(self) -> bool:
        """Whether it reads beats aligned at their R peaks, in mV, all leads together."""
        return self.takes == "aligned beat"

    @property
    def reads_recordings(self) -> bool:
        """Whether it reads whole recordings and answers several labels at once; then it is for no single beat."""
        return self.takes == "recording"

    @property
    def classical(self) -> bool:
        """Whether it is fitted at once instead of trained in epochs."""
        return issubclass(self.build, Classical | Yardstick)

    @property
    def yardstick(self) -> bool:
        """Whether it is what a network of infarctions or of whole recordings must beat, and reads what is made of one
        recording alone: age and sex, or the median beat."""
        return self.takes in ("age and sex", "median beat")


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("cnet", CNet, "beat", "kachuee2018"),
        Entry("baseline_cnn", BaselineCNN, "beat", "lecun1998"),
        Entry("enhanced_cnn", EnhancedCNN, "beat", "ioffe2015"),
        Entry("dual_path", DualPath, "beat", "szegedy2015"),
        Entry("bilstm", BiLSTM, "beat", "graves2005"),
        Entry("bigru", BiGRU, "beat", "cho2014"),
        Entry("seq2seq", Seq2Seq, "sequence", "mousavi2019"),
        Entry("ecgnet", ECGNet, "beat+features", "he2016"),
        Entry("hydra", Hydra, "beat", "dempster2023"),
        Entry("nearest_neighbour", NearestNeighbour, "beat", "cover1967", votes=True),
        Entry("logistic_regression", LogisticRegression, "beat", "cox1958"),
        Entry("random_forest", RandomForest, "features", "saenz2020"),
        Entry("strided_cnn", StridedCNN, "aligned beat", "springenberg2015"),
        Entry("crnn", CRNN, "recording", "zihlmann2017"),
        Entry("xresnet1d", XResNet1d, "recording", "he2019bag"),
        Entry("age_and_sex", AgeAndSex, "age and sex", "cox1958"),
        Entry("median_beat", MedianBeat, "median beat", "cox1958"),
        Entry("kernel_machine", KernelMachine, "median beat", "cortes1995"),
    )
}
OF_BEATS: dict[str, Entry] = {name: entry for name, entry in ENTRIES.items() if entry.reads_beats}
"""The models that classify beats."""


def entry(name: str) -> Entry:
    """The registry's entry of that name.

    Raises UserError when there is none.
    """
    if name not in ENTRIES:
        raise UserError("model", f"unknown model {name}", f"one of {', '.join(ENTRIES)}", nearest(name, ENTRIES, 0.4))
    return ENTRIES[name]


def build(name: str, n_leads: int, n_samples: int, n_classes: int, **options: Any) -> nn.Module:
    """Make a model, its weights drawn from torch's global generator.

    Raises UserError when the model is unknown, can't take that shape, or has no such option.
    """
    found = entry(name)
    for what, value, least in (("n_leads", n_leads, 1), ("n_classes", n_classes, 1 if found.yardstick else 2)):
        if value < least:
            raise UserError(f"model {name}", f"{what} = {value}", f"{least} or more")
    if n_samples < found.build.MIN_SAMPLES:
        raise UserError(f"model {name}", f"n_samples = {n_samples}", f"{found.build.MIN_SAMPLES} samples or more")
    try:
        model: nn.Module = found.build(n_leads, n_samples, n_classes, **options)
        return model
    except TypeError as error:
        raise UserError(f"model {name}", str(error).split("() ")[-1], do="check model_options") from None
    except ValueError as error:
        raise UserError(f"model {name}", str(error)) from None


def n_parameters(model: nn.Module) -> int:
    """Number of learned values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def files(model: nn.Module) -> list[str]:
    """The modules of `models/` that a network follows from, relative to the package: those of its layers, and all that
    are no network's own."""
    own = {type(layer).__module__ for layer in model.modules()}
    networks = {entry.build.__module__ for entry in ENTRIES.values()} - own
    found = [f"ecglib.models.{path.stem}" for path in sorted(Path(__file__).parent.glob("*.py"))]
    return [f"models/{name.rpartition('.')[2]}.py" for name in found if name not in {*networks, __name__}]
