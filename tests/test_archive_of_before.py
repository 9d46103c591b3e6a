"""An archive that an earlier version exported: imported, laid out again, and run again with every verdict standing.

`archives/quickstart.zip` is `comparison=quickstart` as version 0.1.0 of November 2026 recorded it, on torch 2.14.1.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parent / "archives" / "quickstart.zip"
Run = Callable[..., tuple[int, str, str]]


def test_it_is_imported_and_its_tables_read_as_they_did(run: Run) -> None:
    assert run("import", str(ARCHIVE))[0] == 0
    code, page, _ = run("report", "quickstart", "--format", "md")
    assert code == 0
    with zipfile.ZipFile(ARCHIVE) as archive:
        before = archive.read("comparison/report.md").decode()
    # The cross-loss matrix has its columns by result too, as all lists have by now.
    tables, now = (
        sorted(sorted(line.split("|")) for line in text.splitlines() if line.startswith("|")) for text in (before, page)
    )
    assert len(tables) > 100
    assert now == tables, "the rows are the same"
    whole = page.splitlines()
    first = whole[whole.index("## test error (primary)") + 4 :][:4]
    assert [row.split("|")[1].strip() for row in first] == ["custom\\_ce", "bce", "ce", "mse"], "by their results"
    assert "custom\\_ce cuts the test error from 3.2 to 2.2 % (−0.97 points" in whole[6]


@pytest.mark.slow
def test_it_runs_again_and_every_verdict_stands(run: Run) -> None:
    code, page, errors = run("reproduce", "--from", str(ARCHIVE), "--no-tracking")
    assert code == 0, page + errors
    assert page.rstrip().endswith("16 of 16 verdicts stand")
