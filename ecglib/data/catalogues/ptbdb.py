"""PTB's diagnostic database: infarction or healthy, by the reason for admission."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ecglib.data.catalogues.catalogue import FEMALE, OTHER, Person, years
from ecglib.data.databases import Source
from ecglib.errors import RecordError


def people(source: Source) -> Iterator[Person | RecordError]:
    """Who has an infarction and who is healthy, or why a recording is left out.

    The header's comments say it, `Reason for admission: Myocardial infarction`; the folder `patientNNN` names the
    patient.
    """
    for record in source.records:
        path = source.folder / f"{record}.hea"
        try:
            text = path.read_bytes().decode("utf-8", errors="replace")
        except OSError:
            yield RecordError(path, "missing header")
            continue
        lines = re.findall(r"^#[ \t]*([^:\n]+):(.*)$", text, re.M)
        reasons = {value.strip().lower() for name, value in lines if name.strip().lower() == "reason for admission"}
        said = {name.strip().lower(): value.strip() for name, value in lines}
        reason = " and ".join(sorted(reasons))
        if len(reasons) != 1 or reason in ("", "n/a", "unknown", "?"):
            yield RecordError(path, "unreadable diagnosis", reason or "none", "a reason for admission")
            continue
        label = {"healthy control": 0, "myocardial infarction": 1}.get(reason)
        if label is None and "infarct" in reason:
            yield RecordError(path, "unreadable diagnosis", reason, "Myocardial infarction, as the database writes it")
            continue
        if label is None:
            yield RecordError(path, OTHER)
            continue
        patient = next((part for part in record.split("/")[:-1] if re.fullmatch(r"patient\d+", part)), "")
        if not patient:
            yield RecordError(path, "unknown patient", expected="a folder patientNNN")
            continue
        female = FEMALE.get(said.get("sex", "").lower(), float("nan"))
        yield Person(record, patient, label, age=years(said.get("age", "")), female=female)
