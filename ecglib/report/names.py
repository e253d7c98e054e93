"""What the book calls the things that parameters and records name by keys: one vocabulary for all of it."""

from __future__ import annotations

from typing import Final

from ecglib.experiment import record as results

UNDEFINED: Final = "–"
NOT_RUN: Final = "not run"

METRICS: Final[dict[str, str]] = {
    "macro_f1": "macro-F1",
    "macro_f1_nsv": "macro-F1 (N,\N{NO-BREAK SPACE}S,\N{NO-BREAK SPACE}V)",
    "mcc": "MCC",
    "se": "Se",
    "sp": "specificity",
    "ppv": "+P",
    "f1": "F1",
    "fpr": "FPR",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ece": "ECE",
}
"""The field's names of keys of a record's metrics, where they are others than the keys with spaces."""

PROTOCOLS: Final = {
    "intra": "intra-patient",
    "inter": "inter-patient",
    "adapted": "patient-adapted",
    "cross-database": "cross-database",
    "by-patient": "by patient",
    "by-beat": "by beat",
    "held-out": "by patient, a fifth held out",
}
"""The protocols, in tables."""
PROTOCOLS_TOLD: Final = {
    "intra": "intra-patient: beats of a patient may be in training and test set",
    "inter": "inter-patient: DS1 trains, DS2 tests",
    "adapted": "patient-adapted: DS1 trains, each record of DS2 adapts by its first minutes and tests on the rest",
    "cross-database": "cross-database: other databases test than train, patients apart",
    "drawn": "inter-patient: patients drawn under the seed train, choose and test",
}
"""The protocols of heartbeats, in sentences; `drawn` is `inter` on another database than `mitdb`."""
BEATS_ALONE: Final = (
    "Patients are in both parts. Which beat is whose is not in the files of this set, so no score has an interval."
)
"""What must be said of a result on beats without records."""
PATIENTS: Final = {"intra": "patients in both parts", "inter": "patients apart"}
"""What two protocols do with patients, in figures."""
_ANSWERS: Final = {
    "none": ("nothing", "nothing done about the class imbalance"),
    "weighted": ("class weights, inverse frequency", "class weights in the loss by inverse frequency"),
    "effective-number": ("class weights, effective number", "class weights in the loss by effective number"),
    "focal": ("focal loss", "focal loss"),
    "logit-adjustment": ("logit adjustment", "logits adjusted by class frequency in training"),
    results.MOVED: ("thresholds moved", ""),
    "random-over": ("random over-sampling", "the rare classes filled up with copies"),
    "random-under": ("random under-sampling", "the common classes drawn down to the rarest"),
    "smote": ("SMOTE", "the rare classes filled up by SMOTE"),
    "smote-tomek": ("SMOTE-Tomek", "the rare classes filled up by SMOTE and Tomek links removed"),
    "borderline-smote": ("Borderline-SMOTE", "the rare classes filled up by Borderline-SMOTE"),
    "adasyn": ("ADASYN", "the rare classes filled up by ADASYN"),
}
ANSWERS: Final = {name: title for name, (title, _) in _ANSWERS.items()}
"""The answers to class imbalance, in the order of the tables."""
ANSWERS_TOLD: Final = {name: told for name, (_, told) in _ANSWERS.items()}
"""The answers to class imbalance in training, in sentences."""
WAYS: Final = {
    "scratch": "from scratch",
    "frozen": "all frozen but the head's two layers",
    "finetune": "fine-tuned, deep layers slower",
    "gradual": "unfrozen from the top",
}
"""The ways of transfer, in the order of the tables."""


def metric_name(key: str) -> str:
    """The field's name of a metric's key (`"macro_ppv"` -> `"macro +P"`); of an unknown one, the key with spaces."""
    if key in METRICS:
        return METRICS[key]
    return f"macro {metric_name(key.removeprefix('macro_'))}" if key.startswith("macro_") else key.replace("_", " ")


def sentence(text: str) -> str:
    """A word or two as a sentence of their own."""
    return f"{text[0].upper()}{text[1:]}."


def parameter_name(name: str) -> str:
    """A parameter as a search draws it, an option of the model without its prefix."""
    return name.removeprefix("model_options.")
