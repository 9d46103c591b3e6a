"""The journal survives what kills its writer, and tells the living from the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import an_outcome

from xentlab.errors import UserError
from xentlab.journal import (
    EndEvent,
    EpochEvent,
    GroupEvent,
    Journal,
    MemberEvent,
    Records,
    TrialEvent,
    new_id,
    writer_lives,
)
from xentlab.journal.events import Ended
from xentlab.journal.lines import seal, unseal


def begin(root: Path) -> Journal:
    return Journal(root, {}, "xentlab train")


def trial(journal: Journal, name: str, *, resumed: int = 0) -> None:
    config = {"loss": {"_target_": "xentlab.losses.ce"}}
    journal.append(TrialEvent(name, "s", name, config, {}, resumed))


def epoch(journal: Journal, names: list[str], number: int, **metrics: list[float | None]) -> None:
    journal.append(EpochEvent(names, number, metrics))


def read(root: Path) -> Records:
    records = Records(root)
    records.update()
    records.mark_killed()
    return records


WRITER = """
import sys, time
from pathlib import Path
from xentlab.journal import EpochEvent, GroupEvent, Journal, MemberEvent, TrialEvent
journal = Journal(Path(sys.argv[1]), {}, "xentlab train")
journal.append(GroupEvent("g", "sweep", "g", None, {}, {}))
journal.append(TrialEvent("t", "s", "t", {}, {}, resumed=0))
journal.append(MemberEvent("g", "t"))
for epoch in range(1, 4):
    journal.append(EpochEvent(["t"], epoch, {"val/error": [1 / epoch]}))
print(journal.session, flush=True)
time.sleep(60)
"""


def test_nothing_is_written_before_the_first_event(tmp_path: Path) -> None:
    begin(tmp_path / "out").close()
    assert not (tmp_path / "out").exists()


def test_an_event_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    trial(journal, "a")
    trial(journal, "b")
    epoch(journal, ["a", "b"], 1, error=[0.5, None])
    epoch(journal, ["a"], 2, error=[0.25])
    journal.append(EndEvent("a", "finished", "", an_outcome().to_json(), "a"))
    records = read(tmp_path)
    a, b = records.trials["a"], records.trials["b"]
    assert [(e, v) for e, _, v in a.curves["error"]] == [(1, 0.5), (2, 0.25)]
    assert [(e, v) for e, _, v in b.curves["error"]] == [(1, None)]
    assert (a.status, a.outcome, a.artifacts, a.epochs) == ("finished", an_outcome(), "a", 2)
    assert b.status == "running"  # its writer lives
    assert records.finished("s") is a
    journal.close()


def test_update_reads_only_what_is_new_and_says_what_changed(tmp_path: Path) -> None:
    journal, records = begin(tmp_path), Records(tmp_path)
    trial(journal, "a")
    assert records.update() == {"a"}
    assert records.update() == set()
    epoch(journal, ["a"], 1, error=[0.5])
    assert records.update() == {"a"}
    assert len(records.trials["a"].curves["error"]) == 1
    journal.close()


@pytest.mark.parametrize("torn", ['{"event": "epoch", "time": 1, "tri', '{"event": "epoch"}'])
def test_a_torn_last_line_is_passed_over_and_read_once_it_is_whole(tmp_path: Path, torn: str) -> None:
    journal = begin(tmp_path)
    trial(journal, "a")
    epoch(journal, ["a"], 1, error=[0.5])
    journal.close()
    with open(journal.path, "a", encoding="utf-8") as file:
        file.write(torn)
    records = read(tmp_path)
    assert records.trials["a"].epochs == 1
    whole = json.dumps({"event": "epoch", "time": 1, "trials": ["a"], "epoch": 2, "metrics": {"error": [0.25]}})
    journal.path.write_text(journal.path.read_text().removesuffix(torn) + whole + "\n")
    records.update()
    assert [(e, v) for e, _, v in records.trials["a"].curves["error"]] == [(1, 0.5), (2, 0.25)]


def test_a_value_that_is_not_finite_cannot_be_written(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        epoch(journal, ["a"], 1, error=[float("nan")])
    journal.close()


def test_the_segment_can_be_read_when_on_open_is_called(tmp_path: Path) -> None:
    journal, seen = begin(tmp_path), list[bool]()

    def on_open() -> None:
        records = Records(tmp_path)
        records.update()
        seen.append(journal.session in records.sessions and writer_lives(journal.path))

    journal.on_open = on_open
    trial(journal, "a")
    trial(journal, "b")
    journal.close()
    assert seen == [True]


def test_an_epoch_trained_again_after_a_resume_counts_once(tmp_path: Path) -> None:
    first = begin(tmp_path)
    trial(first, "a")
    for number in (1, 2, 3):
        epoch(first, ["a"], number, error=[1.0 / number])
    first.close()
    second = begin(tmp_path)
    trial(second, "a", resumed=2)
    epoch(second, ["a"], 3, error=[9.0])
    epoch(second, ["a"], 4, error=[0.25])
    records = read(tmp_path)
    assert [(e, v) for e, _, v in records.trials["a"].curves["error"]] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert records.trials["a"].status == "running"
    assert records.trials["a"].session == second.session
    second.close()


def test_the_lock_is_held_exactly_while_the_writer_lives(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    assert not writer_lives(journal.path)
    trial(journal, "a")
    assert writer_lives(journal.path)
    journal.close()
    assert not writer_lives(journal.path)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_frees_its_lock_and_its_trials_are_marked(tmp_path: Path, blow: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        session = writer.stdout.readline().strip()
        path = tmp_path / "journal" / f"{session}.jsonl"
        assert writer_lives(path)
        records = Records(tmp_path)
        records.update()
        assert records.mark_killed() == set()
        os.kill(writer.pid, blow)
        writer.wait()
    assert not writer_lives(path)
    assert records.mark_killed() == {"t", "g"}
    killed = records.trials["t"]
    assert (killed.status, killed.epochs, killed.end) == ("killed", 3, killed.curves["val/error"][-1][1])
    assert records.groups["g"].status == "killed"


def test_a_killed_trial_lives_again_when_a_later_session_takes_it_up(tmp_path: Path) -> None:
    first = begin(tmp_path)
    trial(first, "a")
    first.close()
    records = read(tmp_path)
    assert records.trials["a"].status == "killed"
    second = begin(tmp_path)
    trial(second, "a")
    records.update()
    assert records.mark_killed() == set()
    assert records.trials["a"].status == "running"
    second.close()


def test_a_trial_is_filed_under_a_group_of_a_later_session_and_only_once(tmp_path: Path) -> None:
    first = begin(tmp_path)
    trial(first, "a")
    first.close()
    second = begin(tmp_path)
    second.append(MemberEvent("g", "a"))
    records = read(tmp_path)
    assert records.groups == {}
    second.append(GroupEvent("g", "sweep", "g", None, {}, {}))
    second.append(MemberEvent("g", "a"))
    assert records.update() == {"a", "g"}
    assert records.groups["g"].members == ["a"]
    second.close()


def test_the_latest_finished_trial_of_a_signature_is_found(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    ends: dict[str, Ended] = {"a": "finished", "b": "finished", "c": "failed"}
    for name, status in ends.items():
        trial(journal, name)
        summary = an_outcome().to_json() if status == "finished" else {}
        journal.append(EndEvent(name, status, "", summary, None))
    path = journal.path
    journal.close()
    lines = [unseal(line) for line in path.read_bytes().splitlines()]
    for index, line in enumerate(lines):
        line["time"] = 1000 + index
    path.write_bytes(b"".join(map(seal, lines)))
    records = read(tmp_path)
    found = records.finished("s")
    assert found is not None
    assert found.id == "b"
    assert records.finished("other") is None


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^output.root must be a directory that can be written, got .*/file/below: "):
        trial(begin(tmp_path / "file" / "below"), "a")


def test_an_event_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    trial(journal, "a")
    journal.close()
    with open(journal.path, "a", encoding="utf-8") as file:
        file.write('{"event": "teleport", "time": 1, "trial": "a"}\n')
    with pytest.raises(UserError, match="'teleport'"):
        read(tmp_path)


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [name[:11] for name in ids] == sorted(name[:11] for name in ids)
