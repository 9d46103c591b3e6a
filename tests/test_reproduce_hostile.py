"""What comes from a stranger is checked whole before any of it is kept: nothing of it runs, escapes or breaks."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reproduce_lab import Run, first, folder_of, forge, read

from xentlab.comparison.folder import list_trials, load_protocol
from xentlab.errors import UserError
from xentlab.reproduce import contents, segments
from xentlab.tracking import content
from xentlab.tracking.keys import all_keys, groups_in_order, record_of

pytest_plugins = ("reproduce_fixtures",)


def group_in_itself(members: dict[str, bytes]) -> None:
    lines = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
    child = next(line for line in lines if line["event"] == "group" and line["kind"] == "loss")
    for line in lines:
        if line["event"] == "group" and line["group"] == child["parent"]:
            line["parent"] = child["group"]
    members["journal.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()


def config(**trainer: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        lines = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        next(line for line in lines if line["event"] == "trial")["config"]["trainer"].update(trainer)
        members["journal.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()

    return change


def protocol(body: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({"comparison/protocol.yaml": body})


def replaced(member: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        assert old in members[member]
        members[member] = members[member].replace(old, new)

    return change


def deep(depth: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"a": nested}
    return nested


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "groups in each other": (group_in_itself, "must hold no group that lies in itself"),
    "an epoch that is no integer": (first("epoch", epoch=1e30), "epoch.epoch must be an integer"),
    "an epoch of 400 digits": (first("epoch", epoch=10**400), "epoch.epoch must be an integer"),
    "an epoch beyond all": (first("epoch", epoch=10**9), "epoch.epoch must be in [1, 1e+07]"),
    "a time of 400 digits": (first("end", time=10**400), "time must be an integer"),
    "a time beyond calendars": (first("end", time=10**17), "time must be in [0, 1e+14]"),
    "many epochs": (config(epochs="many"), "config.trainer.epochs must be an integer, got 'many'."),
    "half a letter": (first("trial", label="\ud800"), "trial.label must be a text"),
    "half a letter in a tag": (first("trial", tags={"\udfff": "x"}), "tags"),
    "a number that no machine holds": (first("session", environment={"x": 10**4000}), "must be a number of usual size"),
    "a config without a floor": (first("group", params=deep(500)), "must be nested at most"),
    "brackets in YAML": (protocol(b"[" * 200_000), "must be nested at most"),
    "dashes in YAML": (protocol(b"- " * 200_000), "must be nested at most"),
    "a long YAML": (protocol(b"a: " + b"x" * 2**21), "must be at most 1048576 characters long"),
    "brackets in JSON": (lambda m: m.update({"comparison/trials.json": b"[" * 200_000}), "trials.json must be JSON"),
    "a name that is a path": (
        replaced("comparison/protocol.yaml", b"name: quickstart", b"name: ../../outside"), "comparison.name"
    ),
    "a name of 400 letters": (
        replaced("comparison/protocol.yaml", b"name: quickstart", b"name: " + b"n" * 400), "comparison.name"
    ),
    "a record of nothing": (lambda m: m.update({"comparison/verdicts.json": b"{}"}), "record.name is missing."),
    "a record of another shape": (
        lambda m: m.update({"comparison/verdicts.json": b'{"version": 1, "losses": 3}'}), "xentlab: "
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", list(HOSTILE))
def test_a_hostile_archive_is_one_sentence_and_leaves_nothing(run: Run, made: Path, here: Path, how: str) -> None:
    change, sentence = HOSTILE[how]
    forge(made, here / "a.zip", change)
    began = time.monotonic()
    code, _, err = run("import", "a.zip")
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert len(err) < 500
    assert time.monotonic() - began < 10
    assert [p.name for p in here.iterdir()] == ["a.zip"]


@pytest.mark.slow
def test_two_archives_cannot_close_a_circle(run: Run, made: Path, here: Path) -> None:
    group = segments.read_sessions((contents.read_members(made / "comparison.zip")[1]["journal.jsonl"]).decode())[0]
    top = next(e for e in group.events if e["event"] == "group" and e["kind"] != "loss")["group"]
    other = "ab" * 10

    def lies_in(parent: str) -> Callable[[dict[str, bytes]], None]:
        def change(members: dict[str, bytes]) -> None:
            lines = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
            for line in lines:
                if line["event"] == "group" and line["group"] == top:
                    line["parent"] = parent
            members["journal.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()

        return change

    forge(made, here / "first.zip", lies_in(other))
    assert run("import", "first.zip")[0] == 0
    facts, members = contents.read_members(made / "comparison.zip")
    lines = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
    extra = {"event": "group", "time": 1, "group": other, "kind": "sweep", "name": "x", "parent": top, "params": {}}
    lines.insert(1, {**extra, "tags": {}})
    members["journal.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()
    contents.write_archive(here / "second.zip", {k: v for k, v in facts.items() if k != "format"}, members)
    code, _, err = run("import", "second.zip")
    assert code == 2
    assert "lies in itself" in err


def test_a_member_that_lies_about_its_size_is_not_unpacked(run: Run, here: Path) -> None:
    path = here / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("journal.jsonl", bytes(300 << 20))
    body = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", body, body.index(signature) + offset, 100)
    path.write_bytes(body)
    tracemalloc.start()
    code, _, err = run("import", "liar.zip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert peak < 40 << 20


def test_pages_are_made_here_and_scripts_stay_away(run: Run, made: Path, here: Path) -> None:
    evil = b"<html><script>alert(1)</script></html>"

    def change(members: dict[str, bytes]) -> None:
        members["comparison/report.html"] = members["comparison/evil.html"] = members["comparison/evil.svg"] = evil
        verdicts = members["comparison/verdicts.json"].decode()
        question = json.loads(verdicts)["question"]
        told = json.dumps("<script>alert(2)</script> [red]x[/foo] \x1b]0;owned\x07", ensure_ascii=False)
        members["comparison/verdicts.json"] = verdicts.replace(json.dumps(question, ensure_ascii=False), told).encode()

    forge(made, here / "a.zip", change)
    assert run("import", "a.zip")[0] == 0
    folder = folder_of(here / "xentlab-runs")
    assert not list(folder.glob("evil*"))
    page = (folder / "report.html").read_text()
    assert "alert(1)" not in page
    assert "<script>alert(2)" not in page
    for kind in ("text", "md"):
        code, out, _ = run("report", "quickstart", "--format", kind)
        assert code == 0
        assert "\x1b" not in out
        assert "\x07" not in out


# ---- fuzz ---------------------------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=30),
    st.sampled_from([10**400, 1e308, -1, "\ud800", "\x1b]0;x", "../../x", "[/foo]", "many", "a" * 5000, {}, []]),
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


def short(error: UserError) -> None:
    assert len(str(error)) < 1000


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside plain JSON."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@pytest.mark.slow
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_journal_is_refused_or_read_by_everyone(
    made: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = [
        json.loads(line) for line in contents.read_members(made / "comparison.zip")[1]["journal.jsonl"].splitlines()
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.sampled_from(lines))
        put(line, data.draw(st.sampled_from(list(places(line)))), data.draw(VALUES))
    if data.draw(st.booleans()):
        lines = data.draw(st.permutations(lines))
    try:
        sessions = segments.read_sessions("".join(json.dumps(line) + "\n" for line in lines))
    except UserError as error:
        short(error)
        return
    root = tmp_path_factory.mktemp("root")
    records = read(root)
    segments.write_sessions(sessions, records, "d" * 64, "made.zip", {})
    records = read(root)
    records.mark_killed()
    assert records.loss() is None
    groups_in_order(records)
    for key in all_keys(records):
        record = record_of(records, key)
        content.params(content.config_of(record))
        for tags in (content.opening_tags(record, key, records), content.closing_tags(record, key, records)):
            json.dumps(tags).encode()
            "".join([*tags, *tags.values()]).encode()
        if key[0] is not None:
            content.points(records.trials[key[0]], 0)
    for group in records.groups:
        list_trials(records, group)


@settings(max_examples=80, deadline=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.text(alphabet="[]{}:,-?&*!|>'\"# \nab1.", max_size=400),
        st.integers(1, 50_000).map(lambda n: "[" * n),
        st.integers(1, 5_000).map(lambda n: "{a: " * n),
        st.integers(1, 20_000).map(lambda n: "? " * n),
        st.integers(1, 5_000).map(lambda n: "9" * n),
    )
)
def test_a_protocol_is_refused_or_plain_and_in_little_time(text: str) -> None:
    try:
        load_protocol(text)
    except UserError as error:
        short(error)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.randoms(use_true_random=False))
def test_bytes_changed_anywhere_in_an_archive_are_one_sentence(made: Path, tmp_path_factory: Any, seed: Any) -> None:
    body = bytearray((made / "comparison.zip").read_bytes())
    for _ in range(seed.randrange(1, 6)):
        body[seed.randrange(len(body))] = seed.randrange(256)
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(body)
    try:
        contents.read_members(path)
    except UserError as error:
        short(error)
