from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ecglib import aami
from ecglib.data.catalogues import mitdb
from ecglib.data.databases import Source
from ecglib.data.records import list_records, read_annotations
from ecglib.errors import RecordError


@pytest.fixture
def source(small_mitdb: Path) -> Source:
    folder = small_mitdb / "mitdb"
    return Source("mitdb", folder, False, tuple(list_records(folder)))


def test_sets_add_up(source: Source) -> None:
    table, sets = mitdb.by_record(source), mitdb.by_set(source)
    assert list(table.columns) == list(aami.CLASSES)
    assert sets["all"]["all"] == table.to_numpy().sum()
    for name, records in (("DS1", aami.DS1), ("DS2", aami.DS2)):
        for cls in aami.CLASSES:
            assert sets[name][cls] == table.loc[list(records), cls].sum()
        assert sets[name]["all"] == sum(sets[name][cls] for cls in aami.CLASSES)
    assert list(mitdb.by_set(source, sums=False)) == ["DS1", "DS2"]
    assert "all" not in mitdb.by_set(source, sums=False)["DS1"]


def test_a_record_without_readable_annotations_has_no_row(source: Source, tmp_path: Path) -> None:
    shutil.copytree(source.folder, tmp_path / "mitdb")
    (tmp_path / "mitdb" / "100.atr").write_bytes(b"")
    broken = Source("mitdb", tmp_path / "mitdb", False, source.records)
    reasons: list[RecordError] = []
    assert set(mitdb.by_record(broken, passed_over=reasons.append).index) == set(source.records) - {"100"}
    assert ["100.atr" in str(error) for error in reasons] == [True]


def test_the_strip_holds_as_many_classes_as_any_and_needs_a_readable_record(source: Source) -> None:
    strip = mitdb.busiest_strip(source, seconds=10)
    width = strip["signals_mv"].shape[1]
    assert width == 10 * strip["fs"]
    inside = (strip["samples"] >= strip["start"]) & (strip["samples"] < strip["start"] + width)
    shown = {aami.SYMBOLS[s] for s in np.array(strip["symbols"])[inside] if s in aami.SYMBOLS}
    for name in source.records:
        found = read_annotations(source.folder, name)
        for start in range(0, int(found.samples[-1]) - width, width):
            here = (found.samples >= start) & (found.samples < start + width)
            assert len({aami.SYMBOLS[str(s)] for s in found.symbols[here] if str(s) in aami.SYMBOLS}) <= len(shown)
    with pytest.raises(RecordError, match="no annotated beats"):
        mitdb.busiest_strip(Source("mitdb", source.folder / "none", False, ("100",)), seconds=10)
