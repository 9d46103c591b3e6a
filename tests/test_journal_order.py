"""What came first is told by content: clocks go back, hosts disagree, and the records are the same."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from support import an_outcome

from xentlab.journal import EndEvent, EpochEvent, GroupEndEvent, GroupEvent, Journal, MemberEvent, Records, TrialEvent
from xentlab.journal import writer as writing

HOUR = 3_600_000


def segment(root: Path, clock: int, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A journal on a host whose clock shows `clock` milliseconds and runs on from there."""
    ticks = itertools.count(clock)
    monkeypatch.setattr(writing, "now_ms", lambda: next(ticks))
    return Journal(root, {}, "xentlab train")


def write_attempt(
    journal: Journal, attempt: int, epochs: range, end: str | None = None, names: tuple[str, ...] = ("a", "b")
) -> None:
    journal.append(GroupEvent("g", "sweep", "g", None, {}, {}, attempt=attempt))
    for name in names:
        journal.append(
            TrialEvent(name, f"s-{name}", name, {"loss": {}}, {}, resumed=epochs.start - 1, attempt=attempt),
            MemberEvent("g", name),
        )
    for epoch in epochs:
        # Trained again, an epoch takes another time but is the same number; here it tells which attempt stands.
        journal.append(EpochEvent(list(names), epoch, {"val/error": [1 / epoch, float(attempt)]}))
    if end == "finished":
        journal.append(*(EndEvent(name, "finished", "", an_outcome().to_json(), name) for name in names))
        journal.append(GroupEndEvent("g", "finished", {}, {}, None))
    elif end == "interrupted":
        journal.append(*(EndEvent(name, "interrupted", "by the user", {}, None) for name in names))
    journal.close()


def facts(root: Path) -> dict[str, Any]:
    """All that does not depend on times or on a segment's name."""
    records = Records(root)
    records.update()
    records.mark_killed()
    assert records.loss() is None
    trials = {
        name: (t.status, t.epochs, t.attempt, {k: [(e, v) for e, _, v in c] for k, c in t.curves.items()})
        for name, t in sorted(records.trials.items())
    }
    return {"trials": trials, "groups": {name: (g.status, g.attempt) for name, g in records.groups.items()}}


# Set back by an hour, by daylight saving in the middle, by 30 years; and two hosts that disagree.
CLOCKS = ([0, -HOUR, -2 * HOUR], [0, HOUR, 0], [0, -30 * 365 * 24 * HOUR, 5], [5 * HOUR, 0, 3 * HOUR], [0, 0, 0])


@pytest.mark.parametrize("clocks", CLOCKS)
def test_whatever_the_clocks_say_the_records_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clocks: list[int]
) -> None:
    now = 1_700_000_000_000
    for where, shown in (("true", [0, HOUR, 2 * HOUR]), ("false", clocks)):
        root = tmp_path / where
        write_attempt(segment(root, now + shown[0], monkeypatch), 0, range(1, 66))
        write_attempt(segment(root, now + shown[1], monkeypatch), 1, range(51, 81), "interrupted")
        write_attempt(segment(root, now + shown[2], monkeypatch), 2, range(76, 101), "finished")
    assert facts(tmp_path / "false") == facts(tmp_path / "true")
    trial = facts(tmp_path / "false")["trials"]["b"]
    assert trial[:3] == ("finished", 100, 2)
    assert trial[3]["val/error"] == [(e, 0.0 if e < 66 else 1.0 if e < 81 else 2.0) for e in range(1, 101)]


def test_segments_may_be_met_in_any_order_and_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a shared disk that shows another host's files late."""
    root, now = tmp_path / "whole", 1_700_000_000_000
    write_attempt(segment(root, now, monkeypatch), 0, range(1, 9))
    write_attempt(segment(root, now - HOUR, monkeypatch), 1, range(5, 13))
    write_attempt(segment(root, now - 2 * HOUR, monkeypatch), 2, range(9, 17), "finished")
    wanted, paths, draws = facts(root), sorted((root / "journal").glob("*.jsonl")), random.Random(0)
    for case, order in enumerate(itertools.permutations(paths)):
        late = tmp_path / str(case)
        records = Records(late)
        (late / "journal").mkdir(parents=True)
        for path in order:
            content = path.read_bytes()
            cut = draws.randrange(len(content))
            (late / "journal" / path.name).write_bytes(content[:cut])
            records.update()
            (late / "journal" / path.name).write_bytes(content)
            records.update()
        records.mark_killed()
        assert facts(late) == wanted
        curves = {n: {k: [(e, v) for e, _, v in c] for k, c in t.curves.items()} for n, t in records.trials.items()}
        assert curves == {name: fact[3] for name, fact in wanted["trials"].items()}
        assert {t.status for t in records.trials.values()} == {"finished"}


def test_what_is_finished_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_attempt(segment(tmp_path, HOUR, monkeypatch), 0, range(1, 5), "finished")
    write_attempt(segment(tmp_path, 2 * HOUR, monkeypatch), 1, range(1, 3))
    assert {t[0] for t in facts(tmp_path)["trials"].values()} == {"finished"}


def test_of_two_trials_of_a_signature_the_one_begun_later_is_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt, name in enumerate(("aa", "bb", "cc")):
        journal = segment(tmp_path, 10 * HOUR - attempt, monkeypatch)
        journal.append(TrialEvent(name, "same", name, {}, {}, 0, attempt=attempt))
        if name != "cc":
            journal.append(EndEvent(name, "finished", "", an_outcome().to_json(), None))
        journal.close()
    records = Records(tmp_path)
    records.update()
    found = records.finished("same")
    assert found is not None
    assert found.id == "bb"
    assert records.next_attempt("same") == 3
    assert records.next_attempt("another") == 0
