"""A comparison as one file: exported, imported, and the same bytes for the same records."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from reproduce_lab import Run, first, folder_of, forge, read, trials

from xentlab.reproduce.archive import contents, read_archive

pytest_plugins = ("reproduce_fixtures",)


def test_a_folder_holds_what_a_stranger_needs(copy: Path) -> None:
    folder = folder_of(copy)
    protocol = yaml.safe_load((folder / "protocol.yaml").read_text())
    targets = {name: node["_target_"] for name, node in protocol["composed"]["loss"].items()}
    assert targets == {"ce": "xentlab.losses.ce", "custom_ce": "xentlab.losses.custom_ce"}
    assert protocol["model"]["hidden"] == [8]
    assert json.loads((folder / "environment.json").read_text())["threads"] >= 1
    listed = {row["trial"]: row for row in json.loads((folder / "trials.json").read_text())}
    known = read(copy).trials
    assert listed.keys() == known.keys()
    for name, row in listed.items():
        assert row["signature"] == known[name].signature
        assert row["phase"] == known[name].tags["phase"]
        assert known[name].label.startswith(row["label"])


def test_importing_twice_adds_nothing(run: Run, made: Path, here: Path) -> None:
    def state() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in here.rglob("*") if p.is_file()}

    code, out, _ = run("import", str(made / "comparison.zip"))
    assert code == 0
    assert "18 new trials" in out
    before = state()
    code, out, _ = run("import", str(made / "comparison.zip"))
    assert code == 0
    assert "nothing that was not here" in out
    assert state() == before


def test_where_it_came_from_an_archive_adds_nothing(run: Run, made: Path, copy: Path) -> None:
    before = sorted(str(p) for p in copy.rglob("*"))
    assert "nothing that was not here" in run("import", str(made / "comparison.zip"))[1]
    assert sorted(str(p) for p in copy.rglob("*")) == before


def test_a_record_of_two_contents_is_refused(run: Run, made: Path, copy: Path) -> None:
    path = folder_of(copy) / "verdicts.json"
    path.write_text(path.read_text().replace("quickstart", "quickstarted"))
    code, _, err = run("import", str(made / "comparison.zip"))
    assert code == 2
    assert "verdicts.json is here already and says something else than the archive" in err


def test_the_same_comparison_is_the_same_archive(run: Run, made: Path, copy: Path, here: Path) -> None:
    # Another training in the same root does not concern the archive.
    assert run("train", "tracking=off", "trainer.epochs=1", "model.hidden=[4]")[0] == 0
    assert run("export", folder_of(copy).name.rpartition("-")[2], "-o", "again.zip")[0] == 0
    assert (here / "again.zip").read_bytes() == (made / "comparison.zip").read_bytes()
    names = zipfile.ZipFile(here / "again.zip").namelist()
    assert {"manifest.json", "journal.jsonl", "fingerprints.json", "comparison/protocol.yaml"} <= {*names}
    assert not [name for name in names if name.endswith((".pt", ".pkl", ".npz"))]


def zipped(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, body in entries:
            archive.writestr(entry, body)


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr, entry.create_system = (stat.S_IFLNK | 0o777) << 16, 3
    return entry


PATHS = ["../evil.json", "comparison/../../evil.json", "/var/evil.json", "a\\..\\evil.json", "C:/evil.json", "~/.json"]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_leaves_the_folder_is_refused(run: Run, here: Path, name: str) -> None:
    zipped(here / "a.zip", ("manifest.json", b"{}"), (name, b"{}"))
    code, _, err = run("import", "a.zip")
    assert code == 2
    assert "which is no plain relative path inside a folder." in err
    assert len(err.strip().splitlines()) == 1
    assert [p.name for p in here.iterdir()] == ["a.zip"]


def test_links_programs_and_a_wrong_manifest_are_refused(run: Run, made: Path, here: Path) -> None:
    digest = hashlib.sha256(b"{}").hexdigest()

    def manifest(**facts: Any) -> bytes:
        return json.dumps({"format": 1, "members": {"a.json": {"sha256": digest, "bytes": 2}}, **facts}).encode()

    (here / "text.zip").write_text("not a zip")
    (here / "cut.zip").write_bytes((made / "comparison.zip").read_bytes()[:-500])
    cases: dict[str, tuple[tuple[zipfile.ZipInfo | str, bytes], ...]] = {
        "is a link or a device.": ((link("a.json"), b"/etc/passwd"),),
        "files belong into it.": (("a.pkl", b"x"),),
        "must hold a manifest.json": (("a.json", b"{}"),),
        "must be of format 1": (("manifest.json", manifest(format=2)), ("a.json", b"{}")),
        "lists but does not hold a.json.": (("manifest.json", manifest()),),
        "holds but does not list b.json.": (("manifest.json", manifest()), ("a.json", b"{}"), ("b.json", b"{}")),
        "is not what the manifest says": (("manifest.json", manifest()), ("a.json", b"[]")),
        "must name a comparison and its group.": (("manifest.json", manifest()), ("a.json", b"{}")),
        "holds A.json twice.": (("a.json", b"{}"), ("A.json", b"{}")),
        "must be JSON": (("manifest.json", b"{"),),
        "must hold at most 1000 files": tuple((f"{n}.json", b"") for n in range(1001)),
    }
    for sentence, entries in cases.items():
        zipped(here / "case.zip", *entries)
        code, _, err = run("import", "case.zip")
        assert (code, len(err.strip().splitlines())) == (2, 1), err
        assert sentence in err
    for name in ("text.zip", "cut.zip", "missing.zip"):
        code, _, err = run("import", name)
        assert code == 2
        assert "must be an archive of `xentlab export`" in err
    assert not (here / "xentlab-runs").exists()


def test_a_bomb_is_not_unpacked(run: Run, here: Path) -> None:
    with (
        zipfile.ZipFile(here / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("journal.jsonl", "w", force_zip64=True) as member,
    ):
        for _ in range((contents.BYTES >> 22) + 1):
            member.write(bytes(1 << 22))
    assert (here / "bomb.zip").stat().st_size < contents.BYTES / 100
    code, _, err = run("import", "bomb.zip")
    assert code == 2
    assert "must unpack to at most 512 MiB, but declares 516 MiB." in err


UNSOUND: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "an unknown event": (first("member", event="rm"), "must be an event of session, group"),
    "an id that is a path": (first("trial", trial="../../x"), "trial.trial must be an identifier of 8 to 40"),
    "a session that is a path": (first("session", session="../x"), "session.session must be an identifier of 8 to 40"),
    "a trial from nowhere": (first("end", trial="ffffffffff"), "speaks of ffffffffff, which was not opened before."),
    "a row too few": (first("epoch", metrics={"val/nll": []}), "must hold one number or null for each trial"),
    "a number that is none": (first("epoch", metrics={"val/nll": [float("nan")]}), "must be JSON: NaN is no number."),
    "an end without a summary": (first("end", summary={}), "summary.diverged is missing."),
    "a config without a model": (first("trial", config={"seed": 0}), "must be a trial with a sound config"),
    "tags that are no words": (first("trial", tags={"a": 1}), "trial.tags.a must be a text, got 1."),
    "no journal": (lambda m: m.pop("journal.jsonl") and None, "must hold journal.jsonl"),
    "no protocol": (lambda m: m.pop("comparison/protocol.yaml") and None, "must hold comparison/protocol.yaml"),
    "a protocol of aliases": (
        lambda m: m.update({"comparison/protocol.yaml": b"a: &a [1]\nb: [*a, *a]\n"}),
        "protocol.yaml must not hold aliases.",
    ),
    "a protocol that is none": (lambda m: m.update({"comparison/protocol.yaml": b"[1]"}), "must be a mapping in which"),
}


@pytest.mark.parametrize("how", list(UNSOUND))
def test_an_unsound_journal_or_protocol_enters_nothing(run: Run, made: Path, here: Path, how: str) -> None:
    change, sentence = UNSOUND[how]
    forge(made, here / "a.zip", change)
    code, _, err = run("import", "a.zip")
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()


def test_paths_of_artifacts_are_dropped(run: Run, made: Path, here: Path) -> None:
    forge(made, here / "a.zip", first("end", artifacts="../../etc"))
    assert run("import", "a.zip")[0] == 0
    root = here / "xentlab-runs"
    assert {t.artifacts for t in read(root).trials.values()} == {None}
    kept = {g.artifacts for g in read(root).groups.values() if g.kind == "comparison"}
    assert kept == {f"comparisons/{folder_of(root).name}"}


def test_an_archive_says_what_it_holds(made: Path) -> None:
    archive = read_archive(made / "comparison.zip")
    assert archive.name == "quickstart"
    assert archive.folder == folder_of(made / "xentlab-runs").name
    assert len(archive.configs) == 19
    prints = json.loads(contents.read_members(made / "comparison.zip")[1]["fingerprints.json"])
    assert prints == {"digits": [trials(made / "xentlab-runs", "final")[0].tags["fingerprint"]]}
