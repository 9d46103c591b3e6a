"""A damaged line, segment or checkpoint costs that alone, and is said once with what it costs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import an_outcome

from xentlab.doctor import examine
from xentlab.journal import EndEvent, EpochEvent, GroupEvent, Journal, MemberEvent, Records, TrialEvent
from xentlab.journal.lines import DamagedError, seal, unseal
from xentlab.run.checkpoint import Checkpoint
from xentlab.tracking import resolve_destination

LINES = 14  # opening, group, 2 x (trial, member), 6 epochs, 2 ends


def written(root: Path) -> Path:
    journal = Journal(root, {}, "xentlab train")
    journal.append(GroupEvent("g", "sweep", "g", None, {}, {}))
    for name in ("a", "b"):
        journal.append(TrialEvent(name, f"s-{name}", name, {"loss": {}}, {}, 0), MemberEvent("g", name))
    for epoch in range(1, 7):
        journal.append(EpochEvent(["a", "b"], epoch, {"val/error": [1 / epoch, None]}))
    journal.append(*(EndEvent(name, "finished", "", an_outcome().to_json(), name) for name in ("a", "b")))
    journal.close()
    return journal.path


def read(root: Path) -> Records:
    records = Records(root)
    records.update()
    records.mark_killed()
    return records


Damage = Callable[[bytes], bytes]
HARMS: dict[str, Damage] = {
    "blank": lambda line: b"\n",  # noqa: ARG005
    "NUL": lambda line: bytes(len(line) - 1) + b"\n",
    "torn": lambda line: line[: len(line) // 2] + b"\n",
    "a bit flipped": lambda line: line[:12] + bytes([line[12] ^ 1]) + line[13:],
    "a digit changed": lambda line: line.replace(b'"time": 1', b'"time": 2', 1),
    "no UTF-8": lambda line: b"\xff\xfe" + line,
    "brackets": lambda line: b"[" * 200_000 + b"\n",  # noqa: ARG005
    "another's JSON": lambda line: b'{"x": 1}\n',  # noqa: ARG005
    "fields gone": lambda line: b'{"event": "epoch", "time": 3}\n',  # noqa: ARG005
}


@pytest.mark.parametrize("harm", HARMS)
def test_each_line_damaged_costs_what_it_said_alone(tmp_path: Path, harm: str) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == LINES
    for at in range(LINES):
        path.write_bytes(b"".join([*lines[:at], HARMS[harm](lines[at]), *lines[at + 1 :]]))
        records = read(tmp_path)
        assert [d.line for d in records.damage] == [at + 1]
        said = records.loss()
        assert said is not None
        assert f"line {at + 1}: " in said
        kind = json.loads(lines[at])["event"]
        spoken = json.loads(lines[at]).get("trial")
        assert records.lost == ({spoken} if kind == "trial" else {"g"} & set() if kind != "group" else set())
        for name in ("a", "b"):
            if kind == "trial" and spoken == name:
                assert name not in records.trials
                continue
            trial = records.trials[name]
            ended = not (kind == "end" and spoken == name)
            assert trial.status == ("finished" if ended else "killed")
            gone = {json.loads(lines[at])["epoch"]} if kind == "epoch" else set()
            assert [e for e, _, _ in trial.curves["val/error"]] == [e for e in range(1, 7) if e not in gone]
            assert trial.at("val/error", 3) == (None if name == "b" or 3 in gone else 1 / 3)


def test_things_that_are_no_segment_stand_in_nobodys_way(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "journal" / "stray.jsonl").mkdir()
    (tmp_path / "journal" / "notes.txt").write_text("mine")
    records = read(tmp_path)
    assert [d.line for d in records.damage] == [0]
    assert {t.status for t in records.trials.values()} == {"finished"}


def test_an_opening_that_a_later_segment_repeats_brings_back_what_waited_for_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if json.loads(line)["event"] != "trial"))
    records = read(tmp_path)
    assert records.lost == {"a", "b"}
    journal = Journal(tmp_path, {}, "xentlab train")
    journal.append(TrialEvent("a", "s-a", "a", {"loss": {}}, {}, 0))
    journal.close()
    records.update()
    assert records.lost == {"b"}
    assert (records.trials["a"].status, records.trials["a"].epochs) == ("finished", 6)


def test_lines_of_before_have_no_checksum_and_are_read() -> None:
    event = {"event": "end", "time": 3, "name": 'a", "crc": "00000000"}'}
    assert unseal(seal(event)) == event
    assert unseal(json.dumps(event).encode() + b"\n") == event
    with pytest.raises(DamagedError):
        unseal(seal(event).replace(b"3", b"4", 1))


def harmed(path: Path, how: str, draws: random.Random) -> None:
    body = bytearray(path.read_bytes())
    if how == "cut":
        del body[len(body) // 3 :]
    elif how == "empty":
        body.clear()
    elif how == "another's":
        body[:] = b"not a checkpoint"
    else:
        for at in draws.sample(range(len(body)), 20):
            body[at] ^= 0xFF
    path.write_bytes(body)


@pytest.mark.parametrize("how", ["cut", "empty", "another's", "bytes changed"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_then_to_the_start(tmp_path: Path, how: str) -> None:
    checkpoint, said, draws = Checkpoint(tmp_path, ["s"]), list[str](), random.Random(0)
    for done in (1, 2, 3):
        checkpoint.save(["a"], {"done": done, "weights": torch.arange(5000.0) * done})
    assert checkpoint.load()[1]["done"] == 3  # type: ignore[index]
    harmed(checkpoint.path, how, draws)
    ids, snapshot = checkpoint.load(said.append)
    assert ids == ["a"]
    assert snapshot is not None
    assert snapshot["done"] == 2
    assert torch.equal(snapshot["weights"], torch.arange(5000.0) * 2)
    assert len(said) == 1
    assert "is damaged and passed over, for the one before" in said[0]
    harmed(checkpoint.before, how, draws)
    assert checkpoint.load(said.append) == ([], None)
    assert "for the start" in said[-1]
    checkpoint.save(["a"], {"done": 4})
    assert checkpoint.load()[1] == {"done": 4}
    checkpoint.remove()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_doctor_lists_what_is_damaged_and_touches_nothing(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert examine(resolve_destination(None, None, tmp_path)) == []
    checkpoint = Checkpoint(tmp_path, ["s"])
    checkpoint.save(["a"], {"done": 1, "weights": torch.arange(5000.0)})
    harmed(checkpoint.path, "bytes changed", random.Random(0))
    path.write_bytes(path.read_bytes().replace(b'"group"', b'"grouq"', 1))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    first, *others = examine(resolve_destination(None, None, tmp_path))
    assert "line 2: its checksum differs" in first
    assert any(str(checkpoint.path) in told for told in others)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
