"""The stored references: five repeats a row, and what they were measured with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from labkit import paths
from labkit.report import stored

STORED = sorted(paths.data("reference").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_stored_reference_has_five_repeats_a_row_and_names_what_it_was_measured_with(
    path: Path,
) -> None:
    found = stored.reference(str(path))

    repeats = Counter(record.axes["arm"] for record in found.records)
    ran = {arm.id for arm in found.file.arms_at(found.scale)} - {*found.absent}
    assert dict.fromkeys(ran, 5) == repeats
    assert path.with_suffix(".png").is_file()
    for record in found.records:
        env = record.environment
        assert all(env["versions"][name] for name in ("labkit", "aiohttp", "uvloop"))
        assert all(env[name] for name in ("commit", "python", "system", "cpu", "cores"))
        assert record.trial["target"]["engine"]
    assert "changed since" not in found.measured_on()
    # Each row that was not measured says why.
    missing = {arm.id for arm in found.file.arms if arm.chart} - ran
    assert all(any(one.startswith(f"{arm} ") for one in found.omissions()) for arm in missing)
