"""Records run again: bit by bit, judged, and with one sentence where that cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from reproduce_lab import SMALL, Run, folder_of, read, rewrite, trials
from support import an_outcome

from xentlab.analysis import Judgement
from xentlab.journal import TrialRecord
from xentlab.report import Record
from xentlab.report.record import JudgedMetric, Loss
from xentlab.reproduce import judge_comparison, judge_trial

pytest_plugins = ("reproduce_fixtures",)


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
    assert {k: v for k, v in new[0].outcome.to_json().items() if k not in timed} == {
        k: v for k, v in trial.outcome.to_json().items() if k not in timed
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
    assert not new.outcome.test


def test_a_trial_without_its_stack_is_trained_alone_by_the_same_lift(run: Run, copy: Path) -> None:
    trial, mate = trials(copy, "tune")[:2]
    assert trial.outcome.lift == "vectorised"

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "end" and event["trial"] == mate.id:
            event["status"] = "failed"

    rewrite(copy, change)
    code, out, _ = run("reproduce", trial.id, "--no-tracking")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "trials in its stack" in line]
    assert line.split()[-4:-1:2] == ["6", "1"]
    (new,) = [t for t in read(copy).trials.values() if "reproduces" in t.tags]
    assert new.outcome.lift == "vectorised"


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
        ended = dataclasses.replace(an_outcome(), test={"error": value}, seconds=value)
        return TrialRecord("1", "s", "ce", {}, {}, "s", 0, ended=ended, curves={"val/nll": points})

    old, peers = trial(0.2, 0.3), [trial(0.2, 0.3), trial(0.21, 0.32), trial(0.22, 0.28)]
    for value, curve, level in (
        (0.2, 0.3, "bit-identical"),
        (0.2 * (1 + 1e-9), 0.3 * (1 + 1e-9), "within tolerance"),
        (0.22, 0.31, "within seed noise"),
        (0.25, 0.9, "differs"),
    ):
        judged = {row.what: row.level for row in judge_trial(old, trial(value, curve), peers)}
        marks = dict.fromkeys(("diverged", "stuck", "epochs", "best_epoch", "epochs_to_target"), "bit-identical")
        assert judged == marks | {"test/error": level, "val/nll, 2 epochs": level}
    # Without peers nothing is known of seed noise, and a mark has none.
    assert {row.what: row.level for row in judge_trial(old, trial(0.21, 0.3), [])}["test/error"] == "differs"
    flipped = trial(0.2, 0.3)
    flipped.ended = dataclasses.replace(flipped.outcome, diverged=True)
    assert {row.what: row.level for row in judge_trial(old, flipped, peers)}["diverged"] == "differs"


def test_a_row_is_judged_by_its_means_and_its_seeds() -> None:
    def a_row(values: list[float | None], p: float) -> Judgement:
        known = [v for v in values if v is not None]
        mean = sum(known) / len(known)
        return Judgement("ce", dict(enumerate(values)), mean, None, None, len(known), len(values) - len(known), p=p)

    def a_record(row: Judgement) -> Record:
        metric = JudgedMetric("e", "e", "min", [row], primary=True)
        return Record("r", "q", "c", "now", "ce", [Loss("ce", "ce")], [metric])

    def level(values: list[float | None], p: float = 0.5) -> str:
        (verdict,) = judge_comparison(a_record(a_row([0.20, 0.22, 0.24], 0.5)), a_record(a_row(values, p)))
        assert verdict.stands
        return verdict.mean.level

    assert level([0.20, 0.22, 0.24]) == "bit-identical"
    assert level([0.20, 0.22, 0.24], p=0.5 + 1e-9) == "within tolerance"
    assert level([0.21, 0.22, 0.24], p=0.4) == "within seed noise"
    assert level([0.30, 0.32, 0.34]) == "differs"
    assert level([0.20, 0.22, 0.24], p=0.4) == "differs"  # the statistics, not the trainings
    assert level([0.20, 0.22, None]) == "differs"
    assert level([0.20, 0.22, 99.0]) == "differs"  # though it widens the spread
    assert level([-98.8, 0.22, 99.24]) == "differs"  # though the mean stays


def test_a_row_that_came_out_alike_is_not_called_different_for_its_baselines_sake() -> None:
    def a_record(baseline: list[float], p: float) -> Record:
        rows = [
            Judgement(loss, dict(enumerate(of)), sum(of) / 3, None, None, 3, 0, p=p, verdict=verdict)
            for loss, of, verdict in (("ce", baseline, "baseline"), ("mse", [0.1, 0.2, 0.3], "inconclusive"))
        ]
        metric = JudgedMetric("e", "e", "min", rows, primary=True)
        return Record("r", "q", "c", "now", "ce", [Loss("ce", "ce"), Loss("mse", "mse")], [metric])

    def levels(baseline: list[float]) -> list[str]:
        judged = judge_comparison(a_record([0.2, 0.22, 0.24], 0.5), a_record(baseline, 0.4))
        return [verdict.mean.level for verdict in judged]

    assert levels([0.21, 0.22, 0.24]) == ["within seed noise", "bit-identical"]
    assert levels([0.2, 0.22, 0.24]) == ["differs", "differs"]  # the statistics alone


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
        assert (brought.outcome, brought.curves, brought.config) == (trial.outcome, trial.curves, trial.config)
        assert brought.artifacts is None
    again = [t for t in records.trials.values() if "reproduces" in t.tags]
    assert len(again) == len(there.trials)
    # The name still means the original, so that a reproduction is never judged against another.
    assert f"comparisons/{original.name}" in run("report", "quickstart")[1]


@pytest.mark.slow
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
