"""The five beat classes of ANSI/AAMI EC57 and the record lists that the field shares.

Sources: ANSI/AAMI EC57:1998/(R)2008, section 3; the division into DS1 and DS2 is de Chazal, O'Dwyer & Reilly (2004),
IEEE Trans. Biomed. Eng. 51(7), table III.
"""

from __future__ import annotations

from typing import Final

CLASSES: Final = ("N", "S", "V", "F", "Q")
"""Normal and bundle branch block, supraventricular ectopic, ventricular ectopic, fusion, unknown or paced."""

SYMBOLS: Final[dict[str, str]] = {
    **dict.fromkeys(("N", "L", "R", "B", "e", "j"), "N"),
    **dict.fromkeys(("A", "a", "J", "S", "n"), "S"),
    **dict.fromkeys(("V", "E", "r"), "V"),
    "F": "F",
    **dict.fromkeys(("/", "f", "Q", "?"), "Q"),
}
"""WFDB annotation symbol -> class; a symbol that is not here marks no beat (rhythm changes, noise, flutter waves …).
`mitdb` has no B, n, r and ?."""

# fmt: off
DS1: Final = (
    "101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122",
    "124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230",
)
DS2: Final = (
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210",
    "212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234",
)
# fmt: on
PACED: Final = ("102", "104", "107", "217")
"""Left out of inter-patient work, as EC57 asks."""

DS1_VALIDATION: Final = ("114", "118", "119", "124", "205", "220")
"""The records of DS1 on which inter-patient choices are made; the rest of DS1 trains."""

SAME_PATIENT: Final[dict[str, str]] = {"202": "201"}
"""Records 201 (DS1) and 202 (DS2) come from one patient; a record is its own patient otherwise."""


def index_of(symbol: str) -> int | None:
    """Position of the symbol's class in `CLASSES`, or None when the symbol marks no beat."""
    return CLASSES.index(SYMBOLS[symbol]) if symbol in SYMBOLS else None
