"""What the book calls the things that parameters and records name by keys: one vocabulary for all of it."""

from __future__ import annotations

from typing import Final

from ecglib.experiment import record as results

UNDEFINED: Final = "–"
NOT_RUN: Final = "not run"

METRICS: Final[dict[str, str]] = {
    "macro_f1": "macro-F1",
    "macro_f1_nsv": "macro-F1 (N,\N{NO-BREAK SPACE}S,\N{NO-BREAK SPACE}V)",
    "macro_recall": "macro recall",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "se": "Se",
    "sp": "specificity",
    "specificity": "specificity",
    "ppv": "+P",
    "f1": "F1",
    "fpr": "FPR",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "macro_auroc": "macro AUROC",
    "macro_auprc": "macro AUPRC",
    "macro_se": "macro Se",
    "macro_sp": "macro specificity",
    "macro_ppv": "macro +P",
    "macro_ece": "macro ECE",
    "ece": "ECE",
    "challenge_score": "challenge score",
    "loss": "loss",
}
"""The field's name of each key of a record's metrics."""

PROTOCOLS: Final = {
    "intra": "intra-patient",
    "inter": "inter-patient",
    "adapted": "patient-adapted",
    "by-patient": "by patient",
    "by-beat": "by beat",
}
"""The protocols, in tables."""
PROTOCOLS_TOLD: Final = {
    "intra": "intra-patient: beats of a patient may be in training and test set",
    "inter": "inter-patient: DS1 trains, DS2 tests",
    "adapted": "patient-adapted: DS1 trains, each record of DS2 adapts by its first minutes and tests on the rest",
}
"""The protocols of heartbeats, in sentences."""
PATIENTS: Final = {"intra": "patients in both parts", "inter": "patients apart"}
"""What two protocols do with patients, in figures."""
ANSWERS: Final = {
    "none": "nothing",
    "weighted": "class weights, inverse frequency",
    "effective-number": "class weights, effective number",
    "focal": "focal loss",
    "logit-adjustment": "logit adjustment",
    results.MOVED: "thresholds moved",
    "random-over": "random over-sampling",
    "random-under": "random under-sampling",
    "smote": "SMOTE",
    "smote-tomek": "SMOTE-Tomek",
    "borderline-smote": "Borderline-SMOTE",
    "adasyn": "ADASYN",
}
"""The answers to class imbalance, in the order of the tables."""
ANSWERS_TOLD: Final = {
    "none": "nothing done about the class imbalance",
    "weighted": "class weights in the loss by inverse frequency",
    "effective-number": "class weights in the loss by effective number",
    "focal": "focal loss",
    "logit-adjustment": "logits adjusted by class frequency in training",
    "smote": "the rare classes filled up by SMOTE",
    "smote-tomek": "the rare classes filled up by SMOTE and Tomek links removed",
    "borderline-smote": "the rare classes filled up by Borderline-SMOTE",
    "adasyn": "the rare classes filled up by ADASYN",
    "random-over": "the rare classes filled up with copies",
    "random-under": "the common classes drawn down to the rarest",
}
"""The answers to class imbalance in training, in sentences."""
WAYS: Final = {
    "scratch": "from scratch",
    "frozen": "all frozen but the head's two layers",
    "finetune": "fine-tuned, deep layers slower",
    "gradual": "unfrozen from the top",
}
"""The ways of transfer, in the order of the tables."""
SETS: Final = {"train": "training", "val": "validation", "test": "test"}


def metric_name(key: str) -> str:
    """The field's name of a metric's key (`"ppv"` -> `"+P"`); an unknown key with spaces for underscores."""
    return METRICS.get(key, key.replace("_", " "))


def sentence(text: str) -> str:
    """A word or two as a sentence of their own."""
    return f"{text[0].upper()}{text[1:]}."
