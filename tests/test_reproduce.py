"""Records run again: bit by bit, judged, exported, imported, and refused where they name what they may not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from xentlab.errors import UserError
from xentlab.journal import Records, TrialRecord
from xentlab.report import Record
from xentlab.reproduce import ALLOWED, check_targets, judge_comparison, judge_trial
from xentlab.reproduce.archive import contents, read_archive
from xentlab.schema import locate, only

Run = Callable[..., tuple[int, str, str]]
SMALL = (
    "compare", "tracking=off", "trainer.epochs=2", "dataset.train_fraction=0.3", "model.hidden=[8]",
    "comparison.losses=[ce,{smooth:{loss:custom_ce,smoothing:0.1}}]", "comparison.tuning_seeds=2",
    "comparison.final_seeds=3", "comparison.extensions=0", "comparison.tune.optimizer.lr=[0.03,0.1,0.3]",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which one small comparison was run and exported to comparison.zip."""
    from xentlab.cli import main

    place = tmp_path_factory.mktemp("made")
    with contextlib.chdir(place):
        assert main(SMALL) == 0
        assert main(["export", "quickstart", "-o", "comparison.zip"]) == 0
    return place


@pytest.fixture
def copy(made: Path, here: Path) -> Path:
    """A copy of that directory's records in the working directory; returns its root."""
    shutil.copytree(made / "xentlab-runs", here / "xentlab-runs")
    return here / "xentlab-runs"


def read(root: Path) -> Records:
    records = Records(root)
    records.update()
    return records


def folder_of(root: Path) -> Path:
    return min((root / "comparisons").iterdir())


def trials(root: Path, phase: str) -> list[TrialRecord]:
    return [t for t in read(root).trials.values() if t.tags.get("phase") == phase]


def rewrite(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Tamper with every event of a journal."""
    for path in (root / "journal").glob("*.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            change(event)
        path.write_text("".join(json.dumps(event) + "\n" for event in events))


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


def test_a_final_trial_is_reproduced_bit_by_bit(run: Run, copy: Path) -> None:
    trial = trials(copy, "final")[1]
    code, out, err = run("reproduce", trial.id[:16], "--no-tracking")
    assert (code, err) == (0, "")
    assert "bit-identical" in out
    for other in ("within tolerance", "within seed noise", "differs"):
        assert other not in out.partition("reproduced:")[2]
    new = [t for t in read(copy).trials.values() if t.tags.get("reproduces") == trial.id]
    assert len(new) == 1
    assert new[0].id != trial.id
    timed = ("seconds",)
    assert {k: v for k, v in new[0].summary.items() if k not in timed} == {
        k: v for k, v in trial.summary.items() if k not in timed
    }
    for name, points in trial.curves.items():
        if not name.startswith("speed/"):
            assert [v for _, _, v in new[0].curves[name]] == [v for _, _, v in points], name


def test_a_tuning_trial_is_reproduced_without_its_test_set(run: Run, copy: Path) -> None:
    trial = trials(copy, "tune")[-1]
    code, out, _ = run("reproduce", trial.id, "--no-tracking")
    assert code == 0
    assert "within" not in out
    (new,) = [t for t in read(copy).trials.values() if t.tags.get("reproduces") == trial.id]
    assert not [key for key in new.summary if key.startswith("test")]


def test_a_trial_without_its_stack_is_trained_alone_by_the_same_lift(run: Run, copy: Path) -> None:
    trial, mate = trials(copy, "tune")[:2]
    assert trial.summary["lift"] == "vectorised"

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "end" and event["trial"] == mate.id:
            event["status"] = "failed"

    rewrite(copy, change)
    code, out, _ = run("reproduce", trial.id, "--no-tracking")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "trials in its stack" in line]
    assert line.split()[-4:-1:2] == ["6", "1"]
    (new,) = [t for t in read(copy).trials.values() if "reproduces" in t.tags]
    assert new.summary["lift"] == "vectorised"


def test_a_tampered_number_differs(run: Run, copy: Path) -> None:
    trial = trials(copy, "final")[0]

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "end" and event["trial"] == trial.id:
            event["summary"]["test/nll"] = 99.0

    rewrite(copy, change)
    code, out, _ = run("reproduce", trial.id, "--no-tracking")
    assert code == 1
    (line,) = [line for line in out.splitlines() if "test/nll" in line]
    assert "differs" in line
    assert "99" in line
    assert "NOT reproduced" in out


def test_what_changed_since_is_shown(run: Run, copy: Path) -> None:
    trial = trials(copy, "final")[0]

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "session":
            event["environment"]["packages"]["torch"] = "1.13.1"
            event["environment"]["threads"] = None
        if event["event"] == "trial" and event["trial"] == trial.id:
            event["signature"] = "5" * 64
            event["tags"]["fingerprint"] = "f" * 64

    rewrite(copy, change)
    code, out, _ = run("reproduce", trial.id, "--no-tracking")
    assert code == 0
    shown = out.partition("the same as recorded:")[0]
    for what, recorded in (("torch", "1.13.1"), ("code for ce", "5" * 16), ("data digits", "f" * 16)):
        assert any(what in line and recorded in line for line in shown.splitlines()), what
    assert "numpy" not in shown


def test_judgements_name_the_first_class_that_holds() -> None:
    def trial(value: float, curve: float) -> TrialRecord:
        points = [(1, 0, 0.5), (2, 0, curve)]
        summary = {"test/error": value, "diverged": False, "seconds": value}
        return TrialRecord("1", "s", "ce", {}, {}, "s", 0, summary=summary, curves={"val/nll": points})

    old, peers = trial(0.2, 0.3), [trial(0.2, 0.3), trial(0.21, 0.32), trial(0.22, 0.28)]
    for value, curve, level in (
        (0.2, 0.3, "bit-identical"),
        (0.2 * (1 + 1e-9), 0.3 * (1 + 1e-9), "within tolerance"),
        (0.22, 0.31, "within seed noise"),
        (0.25, 0.9, "differs"),
    ):
        judged = {row.what: row.level for row in judge_trial(old, trial(value, curve), peers)}
        assert judged == {"test/error": level, "diverged": "bit-identical", "val/nll, 2 epochs": level}
    # Without peers nothing is known of seed noise, and a mark has none.
    assert judge_trial(old, trial(0.21, 0.3), [])[0].level == "differs"
    flipped = trial(0.2, 0.3)
    flipped.summary["diverged"] = True
    assert {row.what: row.level for row in judge_trial(old, flipped, peers)}["diverged"] == "differs"


def test_a_row_is_judged_by_its_means_and_its_seeds() -> None:
    def level(values: list[float | None], **facts: Any) -> str:
        known = [v for v in values if v is not None]
        row = {"loss": "ce", "verdict": "baseline", "values": {str(i): v for i, v in enumerate(values)}}
        row |= {"mean": sum(known) / len(known), "p": 0.5} | facts
        (verdict,) = judge_comparison(*({"metrics": [{"key": "e", "label": "e", "rows": [r]}]} for r in (old, row)))
        assert verdict.stands
        return verdict.mean.level

    numbers = [0.20, 0.22, 0.24]
    old = {"loss": "ce", "verdict": "baseline", "values": {"0": 0.20, "1": 0.22, "2": 0.24}}
    old |= {"mean": sum(numbers) / 3, "p": 0.5}
    assert level([0.20, 0.22, 0.24]) == "bit-identical"
    assert level([0.20, 0.22, 0.24], p=0.5 + 1e-9) == "within tolerance"
    assert level([0.21, 0.22, 0.24], p=0.4) == "within seed noise"
    assert level([0.30, 0.32, 0.34]) == "differs"
    assert level([0.20, 0.22, 0.24], p=0.4) == "differs"  # the statistics, not the trainings
    assert level([0.20, 0.22, None]) == "differs"
    assert level([0.20, 0.22, 99.0]) == "differs"  # though it widens the spread
    assert level([-98.8, 0.22, 99.24]) == "differs"  # though the mean stays


def test_a_changed_verdict_does_not_stand(run: Run, copy: Path) -> None:
    path = folder_of(copy) / "verdicts.json"
    record = json.loads(path.read_text())
    row = next(r for r in record["metrics"][0]["rows"] if r["verdict"] != "baseline")
    row["verdict"] = "better" if row["verdict"] != "better" else "worse"
    path.write_text(json.dumps(record))
    code, out, _ = run("reproduce", "quickstart", "--no-tracking")
    assert code == 1
    assert "7 of 8 verdicts stand" in out


def test_export_import_reproduce_in_an_empty_directory(run: Run, made: Path, here: Path) -> None:
    archive = made / "comparison.zip"
    code, out, err = run("reproduce", "--from", str(archive), "--no-tracking")
    assert (code, err) == (0, "")
    assert "reproduced: 8 bit-identical; 8 of 8 verdicts stand" in out
    root = here / "xentlab-runs"
    original, new = sorted((root / "comparisons").iterdir())
    assert json.loads((new / "reproduction.json").read_text())["reproduces"] == original.name.rpartition("-")[2]
    assert yaml.safe_load((new / "protocol.yaml").read_text())["composed"]
    there, records = read(made / "xentlab-runs"), read(root)
    for name, trial in there.trials.items():
        brought = records.trials[name]
        assert (brought.summary, brought.curves, brought.config) == (trial.summary, trial.curves, trial.config)
        assert brought.artifacts is None
    again = [t for t in records.trials.values() if "reproduces" in t.tags]
    assert len(again) == len(there.trials)
    # The name still means the original, so that a reproduction is never judged against another.
    assert f"comparisons/{original.name}" in run("report", "quickstart")[1]


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


def test_a_study_of_several_cells(run: Run, here: Path) -> None:
    small = [a for a in SMALL if "losses" not in a and "final_seeds" not in a]
    cells = (
        "comparison.losses=[ce,mse]",
        "comparison.final_seeds=2",
        "+comparison.axes.model=[linear,{mlp:{hidden:[4]}}]",
    )
    assert run(*[a for a in small if "model." not in a], *cells)[0] == 0
    assert run("export", "quickstart", "-o", "study.zip")[0] == 0
    shutil.rmtree(here / "xentlab-runs")
    code, out, err = run("reproduce", "--from", "study.zip", "--no-tracking")
    assert (code, err) == (0, "")
    assert "16 of 16 verdicts stand" in out
    for kind, word in (("md", "# quickstart"), ("tex", "tabular"), ("json", '"cells"'), ("text", "linear")):
        assert word in run("report", "quickstart", "--format", kind)[1]
    page = Path(run("report", "quickstart")[1].strip())
    assert page.read_text().startswith("<!doctype html>")


def test_a_report_in_every_format(run: Run, copy: Path) -> None:
    folder = folder_of(copy)
    page, verdicts = (folder / "report.html").read_text(), (folder / "verdicts.json").read_text()
    (folder / "report.html").unlink()
    code, out, _ = run("report", "quickstart")
    assert code == 0
    assert Path(out.strip()) == folder / "report.html"
    assert (folder / "report.html").read_text() == page
    assert run("report", folder.name, "--format", "md")[1] == (folder / "report.md").read_text()
    assert run("report", folder.name.rpartition("-")[2], "--format", "tex")[1] == (folder / "report.tex").read_text()
    assert json.loads(run("report", "quickstart", "--format", "json")[1]) == json.loads(verdicts)
    assert "smooth against ce" in run("report", "quickstart", "--format", "text")[1]
    assert Record.from_json(json.loads(verdicts)).name == "quickstart"


MARKER = "from pathlib import Path\nPath('imported').touch()\n"


def forge(made: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """An archive whose manifest is right about contents that were changed."""
    facts, members = contents.read(made / "comparison.zip")
    change(members)
    contents.write(out, {key: value for key, value in facts.items() if key != "format"}, members)
    return out


def with_config(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    """Change the protocol's config and that of every trial."""

    def apply(members: dict[str, bytes]) -> None:
        protocol = yaml.safe_load(members["comparison/protocol.yaml"])
        change(protocol)
        members["comparison/protocol.yaml"] = yaml.safe_dump(protocol).encode()
        events = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        for event in events:
            if event["event"] == "trial":
                change(event["config"])
        members["journal.jsonl"] = "".join(json.dumps(event) + "\n" for event in events).encode()

    return apply


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a target of its own": (lambda c: c["loss"].update(_target_="os.system"), "os.system"),
    "a module that acts": (lambda c: c["model"].update(_target_="marker.model"), "marker.model"),
    "deep inside": (lambda c: c["dataset"].update(a=[{"b": {"_target_": "marker.x"}}]), "marker.x"),
    "a term of a compound": (
        lambda c: c["loss"].update(_target_="xentlab.losses.compound", terms={"a": {"_target_": "marker.x"}}),
        "marker.x",
    ),
    "a target that is no word": (lambda c: c["loss"].update(_target_=["os.system"]), "os.system"),
    "beginning well": (lambda c: c["loss"].update(_target_="xentlabx.loss"), "xentlabx.loss"),
    "a module that is a program": (lambda c: c["loss"].update(_target_="xentlab.__main__.x"), "xentlab.__main__.x"),
}


@pytest.mark.parametrize("how", list(HOSTILE))
def test_foreign_code_is_refused_and_never_imported(run: Run, made: Path, here: Path, how: str) -> None:
    (here / "marker.py").write_text(MARKER)
    change, named = HOSTILE[how]
    archive = forge(made, here / "hostile.zip", with_config(change))
    code, out, err = run("reproduce", "--from", str(archive), "--no-tracking")
    assert code == 2
    assert out == ""
    assert f"names {named}, which is not imported" in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "imported").exists()
    assert not (here / "xentlab-runs").exists()


@pytest.mark.parametrize("kind", ["trial", "comparison"])
def test_a_journal_of_ones_own_is_not_believed_either(
    run: Run, copy: Path, here: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "marker.py").write_text(MARKER + "from xentlab.losses import ce\n")
    monkeypatch.syspath_prepend(here)

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "trial" and event["config"]["loss"]["_target_"] == "xentlab.losses.ce":
            event["config"]["loss"]["_target_"] = "marker.ce"

    rewrite(copy, change)
    name = trials(copy, "final")[0].id if kind == "trial" else "quickstart"
    code, _, err = run("reproduce", name, "--no-tracking")
    assert code == 2
    assert "loss._target_ names marker.ce" in err
    assert not (here / "imported").exists()
    if kind == "trial":  # the code would have run: --trust lets it
        assert run("reproduce", name, "--no-tracking", "--trust")[0] == 0
        assert (here / "imported").exists()


def test_a_way_out_through_an_allowed_module_is_closed() -> None:
    with only(ALLOWED):
        assert locate("loss", "xentlab.losses.ce").__name__ == "ce"
        assert locate("loss", "torch.nn.Linear").__name__ == "Linear"
        assert locate("model", "torchvision.models.resnet18").__name__ == "resnet18"
        for target in ("xentlab.journal.os.system", "xentlab.losses.adapters.functools.partial", "os.system"):
            with pytest.raises(UserError, match="which is not imported"):
                locate("loss", target)
    assert locate("loss", "os.system").__name__ == "system"
    check_targets({"a": [{"_target_": "torch.nn.Linear"}, {"_target_": "torchvision.models.resnet18"}]})
    with pytest.raises(UserError, match=r"comparison\.axes\._target_ names os\.system|axes"):
        check_targets({"comparison": {"axes": {"loss._target_": ["os.system"]}}})


def test_a_term_by_name_cannot_leave_the_losses(run: Run, made: Path, here: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        terms = {"adapters.inspect.os.system": {}}
        config["loss"] = {"_target_": "xentlab.losses.compound", "_partial_": True, "terms": terms, "smoothing": 0.0}

    archive = forge(made, here / "hostile.zip", with_config(change))
    trial = trials(made / "xentlab-runs", "final")[0].id
    code, _, err = run("reproduce", trial, "--from", str(archive), "--no-tracking")
    assert code == 2
    assert "os.system, which is not imported" in err


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


def first(kind: str, **fields: Any) -> Callable[[dict[str, bytes]], None]:
    """Change the fields of the journal's first event of this kind."""

    def apply(members: dict[str, bytes]) -> None:
        events = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        next(event for event in events if event["event"] == kind).update(fields)
        members["journal.jsonl"] = "".join(json.dumps(event) + "\n" for event in events).encode()

    return apply


UNSOUND: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "an unknown event": (first("member", event="rm"), "must be an event of session, group"),
    "an id that is a path": (first("trial", trial="../../x"), "must be a trial with a sound trial"),
    "a session that is a path": (first("session", session="../x"), "must be a session with a sound session"),
    "a trial from nowhere": (first("end", trial="ffffffffff"), "speaks of ffffffffff, which was not opened before."),
    "a row too few": (first("epoch", metrics={"val/nll": []}), "must hold one number or null for each trial"),
    "a number that is none": (first("epoch", metrics={"val/nll": [float("nan")]}), "must be JSON: NaN is no number."),
    "an end without a summary": (first("end", summary={}), "must have a summary with a sound diverged."),
    "a config without a model": (first("trial", config={"seed": 0}), "must be a trial with a sound config"),
    "tags that are no words": (first("trial", tags={"a": 1}), "must be a trial with a sound tags"),
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


MISTAKES: dict[tuple[str, ...], str] = {
    ("report", "quikstart"): "Unknown comparison 'quikstart'. Did you mean 'quickstart'? Available: quickstart.",
    ("export", "quikstart"): "Unknown comparison 'quikstart'. Did you mean 'quickstart'?",
    ("reproduce", "quikstart"): "Unknown trial or comparison 'quikstart'. Did you mean 'quickstart'?",
    ("reproduce",): "Say what to reproduce: a trial, a comparison, or --from FILE.",
    ("reproduce", "1"): "'1' must be the beginning of one trial's id, got 18: ",
    ("reproduce", "--from", "missing.zip"): "but there is no such file.",
    ("report", "quickstart", "--root", "nowhere"): "No comparison is recorded in nowhere: run `xentlab compare",
    ("reproduce", "quickstart", "--root", "nowhere"): "No comparison is recorded in ",
    (
        "export",
        "quickstart",
        "-o",
        "nowhere/a.zip",
    ): "-o must be a file that can be written, got nowhere/a.zip: No such",
    ("import", "missing.zip"): "but there is no such file.",
    ("import", "xentlab-runs"): "xentlab-runs must be a file that can be read: Is a directory.",
}


@pytest.mark.parametrize("arguments", list(MISTAKES))
def test_a_mistake_is_one_sentence(run: Run, copy: Path, arguments: tuple[str, ...]) -> None:
    before = sorted(str(p) for p in copy.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert MISTAKES[arguments] in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(str(p) for p in copy.rglob("*")) == before


def test_a_folder_without_its_protocol_says_so(run: Run, copy: Path) -> None:
    (folder_of(copy) / "protocol.yaml").unlink()
    for command in (("export", "quickstart"), ("reproduce", "quickstart", "--no-tracking")):
        code, _, err = run(*command)
        assert code == 2
        assert "must hold protocol.yaml" in err


def test_a_trial_that_did_not_finish_cannot_be_reproduced(run: Run, copy: Path) -> None:
    trial = trials(copy, "final")[0]

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "end" and event["trial"] == trial.id:
            event["status"] = "failed"

    rewrite(copy, change)
    code, _, err = run("reproduce", trial.id, "--no-tracking")
    assert code == 2
    assert f"Trial {trial.id} must have finished to be reproduced, but it is failed." in err


def test_an_archive_says_what_it_holds(made: Path) -> None:
    archive = read_archive(made / "comparison.zip")
    assert archive.name == "quickstart"
    assert archive.folder == folder_of(made / "xentlab-runs").name
    assert len(archive.configs) == 19
    prints = json.loads(contents.read(made / "comparison.zip")[1]["fingerprints.json"])
    assert prints == {"digits": [trials(made / "xentlab-runs", "final")[0].tags["fingerprint"]]}
