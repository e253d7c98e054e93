"""The PhysioNet/CinC Challenge 2021: its scored classes, from the headers; with PTB-XL beside it."""

from __future__ import annotations

from typing import Final

from ecglib import fingerprint
from ecglib.data import records
from ecglib.data.catalogues import snomed
from ecglib.data.catalogues.catalogue import Entry, Records, age_and_sex, of_all, with_folds
from ecglib.data.databases import Source
from ecglib.errors import RecordError, UserError

SOURCES: Final = {
    "A": "CPSC 2018",
    "Q": "CPSC extra",
    "I": "INCART",
    "S": "PTB",
    "HR": "PTB-XL",
    "E": "Georgia",
    "JS": "Chapman-Shaoxing and Ningbo",
}
"""Beginning of a record's name -> where it comes from."""
SAME_PATIENT: Final = {"S0001": "S0001", "S0002": "S0001", "S0003": "S0001"}
"""Records of one patient, so far as is known: the Challenge names no patients."""


def read(source: Source) -> Records:
    """Records of the PhysioNet/CinC Challenge 2021 with its scored classes, from all `#Dx` or `# Dx` of their headers.

    A patient is unknown but for `SAME_PATIENT`, so each record is one of its own; folds are dealt out by patient within
    each of the databases that the Challenge is made of. Of records of one name, in several folders, the first stays.
    """
    entries, refused, duplicates, first = [], dict[str, str](), dict[str, str](), dict[str, str]()
    for record in source.records:
        try:
            said = records.comments(source.folder, record)
        except RecordError as error:
            refused[record] = error.reason
            continue
        codes = tuple(code.strip() for code in of_all(said, "Dx", ",").split(",") if code.strip())
        if not codes or not all(code.isdigit() for code in codes):
            refused[record] = "unreadable diagnosis"
            continue
        name = record.rpartition("/")[2]
        if first.setdefault(name, record) != record:
            duplicates[record] = first[name]
            continue
        origin = SOURCES.get(name.rstrip("0123456789"), "unknown")
        patient = f"challenge {SAME_PATIENT.get(name, name)}"
        age, female, odd = age_and_sex(of_all(said, "Age"), of_all(said, "Sex"))
        labels = snomed.scored(codes)
        entries.append(Entry(source.folder, record, origin, patient, labels, codes, age, female, repairs=odd))
    if not entries:
        raise UserError(source.folder, "no record with a diagnosis", "Challenge records with a line #Dx:")
    key, assumed = source.fingerprint(), _assumed(entries)
    return Records(snomed.SCORED, with_folds(entries), key, refused, duplicates, assumed, sample=source.sample)


def joined(of_challenge: Records, of_ptb_xl: Records) -> Records:
    """Both, a recording that is in both counted once: the Challenge's `HR00001` is PTB-XL's recording 1, and so on, and
    where PTB-XL's own is here, that one stays."""
    numbers = {int(entry.record.rpartition("/")[2].partition("_")[0]): entry for entry in of_ptb_xl.entries}
    duplicates, kept = dict(of_challenge.duplicates), []
    for entry in of_challenge.entries:
        name = entry.record.rpartition("/")[2]
        twin = numbers.get(int(name[2:])) if name.startswith("HR") and name[2:].isdigit() else None
        if twin is None:
            kept.append(entry)
        else:
            duplicates[entry.record] = twin.record
    key = fingerprint.of_values(of_ptb_xl.fingerprint, of_challenge.fingerprint)
    refused = of_ptb_xl.refused | of_challenge.refused
    entries = (*of_ptb_xl.entries, *kept)
    return Records(of_challenge.classes, entries, key, refused, duplicates, _assumed(kept), sample=of_challenge.sample)


def _assumed(entries: list[Entry]) -> tuple[str, ...]:
    """Of the Challenge's own records."""
    nobody = sum(entry.record.rpartition("/")[2] not in SAME_PATIENT for entry in entries)
    return (f"no patients are named for {nobody} recordings, so each counts as a patient of its own",) * (nobody > 0)
