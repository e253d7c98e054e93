"""PTB's diagnostic database: infarction or healthy, by the reason for admission."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ecglib.data import records
from ecglib.data.catalogues.catalogue import OTHER, Person, age_and_sex, of_all
from ecglib.data.databases import Source
from ecglib.errors import RecordError


def people(source: Source) -> Iterator[Person | RecordError]:
    """Who has an infarction and who is healthy, or why a recording is left out. The header's comments say it, `Reason
    for admission: Myocardial infarction`; the folder `patientNNN` names the patient."""
    seen = set()
    for record in source.records:
        path = source.folder / f"{record}.hea"
        try:
            said = records.comments(source.folder, record)
        except RecordError as error:
            yield error
            continue
        reasons = {records.field([line], "reason for admission").lower() for line in said} - {""}
        reason = " and ".join(sorted(reasons))
        label = {"healthy control": 0, "myocardial infarction": 1}.get(reason)
        patient = next((part for part in record.split("/")[:-1] if re.fullmatch(r"patient\d+", part)), "")
        if len(reasons) != 1 or reason in ("n/a", "unknown", "?"):
            yield RecordError(path, "unreadable diagnosis", reason or "none", "a reason for admission")
        elif label is None and "infarct" in reason:
            yield RecordError(path, "unreadable diagnosis", reason, "Myocardial infarction, as the database writes it")
        elif label is None:
            yield RecordError(path, OTHER)
        elif (patient, path.name) in seen:
            yield RecordError(path, "the same recording as another")
        elif not patient:
            yield RecordError(path, "unknown patient", expected="a folder patientNNN")
        else:
            seen.add((patient, path.name))
            age, female, odd = age_and_sex(of_all(said, "age"), of_all(said, "sex"))
            yield Person(record, patient, label, age=age, female=female, repairs=odd)
