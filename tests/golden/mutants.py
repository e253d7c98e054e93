"""Edits that change numbers, each with the case that must notice it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ["imblearn.combine", "pydantic", "safetensors.torch", "scipy.signal", "torch._dynamo", "wfdb"]
"""What a mutant's process may import beforehand: what others wrote, and takes seconds."""


@dataclass(frozen=True)
class Mutant:
    """In `file`, `old` becomes `new`, and `case` must notice. `old` stands in the file exactly once."""

    file: str
    old: str
    new: str
    case: str

    def moved(self) -> list[str]:
        """What moves in the case, of a copy of the package with the edit; call it where ecglib is not imported yet.

        Raises ValueError when `old` stands elsewhere now: a move carries its mutants along.
        """
        text = (ROOT / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} stands there {text.count(self.old)} times; expected once")
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(ROOT / "ecglib", Path(copy) / "ecglib")
            (Path(copy) / self.file).write_text(text.replace(self.old, self.new), encoding="utf-8")
            sys.path.insert(0, copy)
            import golden
            import trainings

            assert golden.recipes.__file__.startswith(copy), "the copy is what is run"
            with trainings.place():
                before, after = golden.known()[self.case], golden.now(self.case)
        return golden.moved(self.case, before, after) + golden.raised(before, after)


CONFIG: Final = "ecglib/config.py"
LOOP: Final = "ecglib/training/loop.py"
TWELVE_LEAD: Final = "ecglib/experiment/twelve_lead.py"
SMOOTHING: Final = (
    "label_smoothing: float = Field(0.0, ge=0, lt=1)\n"
    '    """Share of the target spread evenly over the classes."""\n    refit'
)
RATE: Final = "learning_rate: Positive = 0.003"
NEIGHBOURS: Final = (
    "smote_neighbours: int = Field(5, ge=1)\n"
    '    """SMOTE and its kin: neighbours between which new beats are drawn."""\n    sampling'
)

MUTANTS: Final = {
    "another exponent of the weights of positives": Mutant(
        TWELVE_LEAD, "(~y).sum(0), p.weight_exponent)", "(~y).sum(0), 2 * p.weight_exponent)",
        "twelve-lead/xresnet1d-weighted",
    ),
    "no weight decay for recordings": Mutant(
        "ecglib/experiment/driver.py", '"stop_after": where.epochs', '"stop_after": where.epochs, "weight_decay": 0.0',
        "twelve-lead/xresnet1d-none",
    ),
    "another fold validates": Mutant(
        "ecglib/data/splits.py", "fold == (number - 2) % FOLDS + 1", "fold == number % FOLDS + 1",
        "data/twelve-lead-100",
    ),
    "a macro metric is a median": Mutant(
        "ecglib/evaluation/metrics.py", "np.nanmean(values, axis=-1)", "np.nanmedian(values, axis=-1)",
        "twelve-lead/folds",
    ),
    "R peaks are searched again in longer intervals only": Mutant(
        "ecglib/data/detection.py", "gaps >= 1.5", "gaps >= 3", "evaluation/detection"
    ),
    "a missed beat is a true negative": Mutant(
        "ecglib/evaluation/metrics.py", "m[..., : len(classes)]", "m", "evaluation/detection"
    ),
    "batch normalisation with another epsilon": Mutant(
        "ecglib/models/layers.py", "        y = super()", "        self.eps = 2e-5\n        y = super()",
        "heartbeat/enhanced_cnn-none-intra",
    ),
    "microvolts are a hundredth of a mV": Mutant(
        "ecglib/data/records.py", '"u": 1e-3', '"u": 1e-2', "data/infarction-1"
    ),
    "leads in another order": Mutant(
        "ecglib/data/records.py", '"V1", "V2", "V3"', '"V2", "V1", "V3"', "data/twelve-lead-100"
    ),
    "trained on the fold that is scored": Mutant(
        "ecglib/experiment/infarction.py", "learn(p, data, seed, part.train, part.scored, where)",
        "learn(p, data, seed, part.scored, part.scored, where)",
        "infarction/aligned-weighted",
    ),
    "no weight decay": Mutant(
        LOOP, "self.model.parameters()), recipe.weight_decay)", "self.model.parameters()), 0.0)",
        "heartbeat/cnet-none-intra",
    ),
    "a rate of 0.00301": Mutant(
        CONFIG, RATE, RATE.replace("0.003", "0.00301"), "heartbeat/cnet-none-intra"
    ),
    "gradients clipped at 1.1": Mutant(
        LOOP, "self.model.parameters(), self.recipe.gradient_clip)",
        "self.model.parameters(), 1.1 * self.recipe.gradient_clip)", "heartbeat/stopped",
    ),
    "another ramp of the moving average": Mutant(
        LOOP, "(1 + step) / (10 + step)", "(2 + step) / (10 + step)", "heartbeat/cnet-none-intra"
    ),
    "a thousandth of label smoothing": Mutant(
        CONFIG, SMOOTHING, SMOOTHING.replace("0.0", "0.001"), "heartbeat/cnet-none-intra"
    ),
    "four neighbours for SMOTE": Mutant(
        CONFIG, NEIGHBOURS, NEIGHBOURS.replace("5", "4"), "heartbeat/cnet-smote-inter"
    ),
    "thresholds moved over a coarser grid": Mutant(
        "ecglib/evaluation/thresholds.py", "np.linspace(-4, 4, 33)", "np.linspace(-4, 4, 9)",
        "heartbeat/cnet-effective-number-intra",
    ),
    "a lead upside down": Mutant(
        "ecglib/data/records.py", "arranged[row] = lead", "arranged[row] = -lead", "data/twelve-lead-100"
    ),
    "premature beats are usual": Mutant(
        "ecglib/data/rhythm.py", "PREMATURE = 0.9", "PREMATURE = 0.0", "data/relative-intra"
    ),
    "leaves of a forest lead back to its root": Mutant(
        "ecglib/models/random_forest.py", 'torch.arange(size)[None, :, None].repeat(len(trees), 1, 2)',
        "torch.zeros(*shape, 2, dtype=torch.int64)", "heartbeat/random_forest-none-intra",
    ),
    "a raised recipe": Mutant(LOOP, "RECIPE = 1", "RECIPE = 2", "heartbeat/cnet-none-intra"),
}  # fmt: skip
