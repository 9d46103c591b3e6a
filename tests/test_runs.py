"""What is recorded, as `xentlab runs` shows and changes it; two weeks of it, with MLflow's side."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xentlab
from xentlab.catalogue import trash
from xentlab.catalogue.rows import Wanted, entries, find_entry, read
from xentlab.errors import UserError
from xentlab.journal import GroupEvent, GroupRecord, Journal, MarkEvent, Records, names_of

Run = Callable[..., tuple[int, str, str]]

SMALL = (
    "trainer.epochs=2", "model.hidden=[8]", "dataset.train_fraction=0.3", "output.root=runs", "tracking=off",
)  # fmt: skip
COMPARE = (
    "compare", *SMALL, "comparison.replicate=point", "comparison.tuning_seeds=1", "comparison.final_seeds=2",
    "comparison.extensions=0", "comparison.tune.optimizer.lr=[0.1]",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one sweep, one training by itself, and a comparison that was widened by a loss."""
    from xentlab.cli import main

    place = tmp_path_factory.mktemp("made")
    with contextlib.chdir(place):
        assert main(["train", "-m", "loss=ce,mse", *SMALL]) == 0
        assert main(["train", "seed=7", *SMALL]) == 0
        assert main([*COMPARE, "comparison.losses=[ce,mse]"]) == 0
        assert main([*COMPARE, "comparison.losses=[ce,mse,focal]"]) == 0
    return place


@pytest.fixture
def root(made: Path, here: Path) -> Path:
    shutil.copytree(made / "runs", here / "runs")
    return here / "runs"


def files(root: Path) -> dict[str, bytes]:
    """What lies in a root beside its journal and its trash."""
    found = (path for path in root.rglob("*") if path.is_file() and path.parent.name != "journal")
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def listed(run: Run, *filters: str) -> list[dict[str, Any]]:
    code, out, _ = run("runs", "ls", "--root", "runs", "--json", *filters)
    assert code == 0
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_a_list_is_newest_first_filtered_and_the_same_in_every_format(run: Run, root: Path) -> None:
    rows = listed(run)
    assert [row["kind"] for row in rows] == ["comparison", "comparison", "trial", "sweep"]
    assert [row["name"] for row in rows if row["kind"] != "trial"] == ["quickstart-2", "quickstart-1", "sweep-1"]
    assert rows[0]["losses"] == ["ce", "mse", "focal"]
    assert re.match("best .+ · seed .+: validation error 0[.]", rows[3]["answer"])
    assert all(row["bytes"] > 0 and row["dataset"] == ["digits"] and row["model"] == ["mlp"] for row in rows)
    assert [row["name"] for row in listed(run, "--loss", "focal")] == ["quickstart-2"]
    assert len(listed(run, "--kind", "trial")) == len(xentlab.runs(root)) == 2 + 1 + 2 * 3 + 3
    assert listed(run, "--since", "2h", "--state", "finished", "--limit", "2") == rows[:2]
    assert listed(run, "--since", "2100-01-01") == listed(run, "--state", "trash") == []
    assert [row["kind"] for row in listed(run, "--sort", "kind")] == ["comparison", "comparison", "sweep", "trial"]
    table = list(csv.DictReader(io.StringIO(run("runs", "ls", "--csv", "--root", "runs")[1])))
    assert [row["name"] for row in table] == [row["name"] for row in rows]
    out = run("runs", "--root", "runs")[1]
    assert "quickstart-2" in out
    assert not {*"│┃─━"} & {*out}


@pytest.mark.parametrize("words", ["runs ls --kind sweeps", "runs ls --sort size", "runs ls --since soon"])
def test_a_filter_that_is_none_is_one_sentence(run: Run, root: Path, words: str) -> None:
    code, out, err = run(*words.split(), "--root", str(root))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_what_is_mistyped_is_named(run: Run) -> None:
    assert "Unknown command 'comprae'. Did you mean 'compare'?" in run("comprae")[2]
    assert "Unknown command of `xentlab runs` 'shwo'. Did you mean 'show'?" in run("runs", "shwo")[2]


def test_every_command_takes_an_alias_and_a_new_name(run: Run, root: Path) -> None:
    assert run("runs", "rename", "quickstart-1", "first", "--root", "runs")[0] == 0
    for name in ("first", "quickstart-1"):
        assert run("report", name, "--format", "md", "--root", "runs")[1].count("focal") == 0
        assert run("export", name, "-o", f"{name}.zip", "--root", "runs")[0] == 0
        assert run("runs", "show", name, "--root", "runs")[0] == 0
        assert xentlab.load(name, root).record.name == "quickstart"
    _, out, err = run("report", "quickstart", "--format", "md", "--root", "runs")
    assert "focal" in out
    assert "laid out quickstart-2, the newest that 'quickstart' means" in err
    for taken in ("quickstart-2", "quickstart", "sweep-1"):
        assert "already" in run("runs", "rename", "first", taken, "--root", "runs")[2]
    assert run("runs", "rename", "first", "a/b", "--root", "runs")[0] == 2
    assert "Did you mean 'first'" in run("runs", "show", "frist", "--root", "runs")[2]


@pytest.mark.usefixtures("root")
def test_a_note_is_listed_shown_and_taken_back(run: Run) -> None:
    assert run("runs", "note", "quickstart-2", "with the\nnew labels", "--root", "runs")[0] == 0
    assert listed(run)[0]["note"] == "with the new labels"
    assert "with the new labels" in run("runs", "show", "quickstart-2", "--root", "runs")[1]
    assert run("runs", "note", "quickstart-2", "", "--root", "runs")[0] == 0
    assert listed(run)[0]["note"] == ""


def test_names_stay_whoever_comes_and_goes(tmp_path: Path) -> None:
    def group(name: str, kind: str = "comparison", **tags: str) -> GroupRecord:
        return GroupRecord(name, kind, "quick", None, {}, dict(tags), "s", 0)

    old = {name: group(name) for name in ("b", "a")}
    assert names_of(old) == {"a": ["quick-1"], "b": ["quick-2"]}
    new = {**old, "c": group("c", alias="quick-3"), "d": group("d", alias="quick-3")}
    assert names_of(new) == {"a": ["quick-1"], "b": ["quick-2"], "c": ["quick-3"], "d": ["quick-4"]}
    new["c"].marks["name"] = "mine"
    assert names_of(new)["c"] == ["mine", "quick-3"]
    journal = Journal(tmp_path, {}, "test")
    journal.append(GroupEvent("aaaaaaaa", "sweep", "s", None, {}, {}), MarkEvent("aaaaaaaa", {"note": "late"}, 1))
    journal.append(MarkEvent("aaaaaaaa", {"note": "early", "name": "kept"}, 0))
    journal.close()
    records = Records(tmp_path)
    records.update()
    assert records.groups["aaaaaaaa"].marks == {"note": "late", "name": "kept"}
    assert records.next_mark("aaaaaaaa") == 2


def test_what_is_needed_stays_and_who_needs_it_is_said(run: Run, root: Path) -> None:
    before = files(root)
    first = find_entry(read(root), "quickstart-1")
    assert isinstance(first, GroupRecord)
    member = next(m for g in read(root).groups.values() if g.parent == first.id for m in g.members)
    code, _, err = run("runs", "rm", member, "--root", "runs", "--yes")
    assert (code, "is needed by quickstart-" in err) == (2, True)
    assert "Say --yes" in run("runs", "rm", "quickstart-1", "--root", "runs")[2]
    assert files(root) == before
    assert "11 trials" in run("runs", "rm", "quickstart-2", "sweep-1", "quickstart-1", "--root", "runs", "--yes")[1]
    assert run("runs", "restore", "quickstart-1", "quickstart-2", "sweep-1", "--root", "runs")[0] == 0
    assert files(root) == before
    out = run("runs", "rm", "quickstart-1", "--root", "runs", "--yes")[1]
    assert "0 trials" in out
    assert "kept for quickstart-2: 6 trials" in out
    assert "is in the trash: `xentlab runs restore quickstart-1`" in run("report", "quickstart-1", "--root", "runs")[2]
    out = run("runs", "rm", "quickstart-2", "sweep-1", "--root", "runs", "--yes")[1]
    assert "11 trials" in out  # those of the first too, which nobody needs any more
    assert [row["kind"] for row in listed(run)] == ["trial"]
    assert len(xentlab.runs(root)) == 1
    assert run("runs", "restore", "quickstart-1", "quickstart-2", "sweep-1", "--root", "runs")[0] == 0
    assert files(root) == before


def test_a_removal_that_was_killed_goes_on(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(root)
    with monkeypatch.context() as patched:
        patched.setattr(trash, "follow_journal", lambda records: None)  # noqa: ARG005
        records = read(root)
        trash.move(records, trash.put_away(records, [find_entry(records, "sweep-1")]).ids, "trash")
    assert files(root) == before
    assert "sweep-1" not in [row["name"] for row in listed(run)]
    assert run("runs", "prune", "--root", "runs")[0] == 0
    assert len([name for name in files(root) if name.startswith("trash/trials")]) > 0
    assert run("runs", "restore", "sweep-1", "--root", "runs")[0] == 0
    assert files(root) == before


@pytest.mark.usefixtures("root")
def test_a_removed_training_is_trained_again(run: Run) -> None:
    oldest = listed(run, "--kind", "trial")[-1]["name"]
    assert run("runs", "rm", oldest, "--root", "runs", "--yes")[0] == 0
    assert run("train", "-m", "loss=ce,mse", *SMALL)[0] == 0
    assert [row["trials"] for row in listed(run, "--kind", "sweep")] == [2, 2]
    assert [row["name"] for row in listed(run, "--kind", "sweep")] == ["sweep-2", "sweep-1"]


def test_prune_names_sizes_frees_what_a_flag_names_and_gives_it_back(run: Run, root: Path) -> None:
    (root / "trials" / "0123456789").mkdir()
    (root / "trials" / "0123456789" / "final.pt").write_bytes(bytes(3 << 20))
    before = files(root)
    out = run("runs", "prune", "--root", "runs")[1]
    assert "--orphans: 1 files, 3.0 MB" in out
    assert "--caches" in out
    assert files(root) == before
    assert run("runs", "prune", "--orphans", "--caches", "--root", "runs", "--yes")[0] == 0
    assert not (root / "trials" / "0123456789").exists()
    assert run("runs", "restore", "orphans", "caches", "--root", "runs")[0] == 0
    assert files(root) == before
    assert run("runs", "rm", "sweep-1", "--root", "runs", "--yes")[0] == 0
    assert run("runs", "prune", "--orphans", "--forever", "--root", "runs", "--yes")[0] == 0
    assert not (root / "trash").exists()
    assert "Unknown" in run("runs", "restore", "sweep-1", "--root", "runs")[2]
    assert {row["name"] for row in listed(run)} >= {"quickstart-1", "quickstart-2"}


def test_the_best_are_of_validation_and_a_difference_is_named(run: Run, root: Path) -> None:
    code, out, _ = run("runs", "best", "--loss", "ce", "--json", "--root", "runs")
    assert code == 0
    (ranking,) = json.loads(out)
    values = [p["mean"] for p in ranking["points"]]
    assert values == sorted(values)
    known = {t.id: t for t in read(root).trials.values()}
    for point in ranking["points"]:
        assert known[point["trial"]].tags["loss"] == "ce"
        if point["n"] == 1:
            assert known[point["trial"]].outcome.best == point["mean"]
    assert run("runs", "best", "sweep-1", "--root", "runs")[0] == 0
    code, out, _ = run("runs", "diff", "quickstart-1", "quickstart-2", "--root", "runs")
    assert code == 0
    assert "comparison.losses" in out
    assert "data: the same" in out
    assert "6 are the same ones" in out
    assert "0 of 4 verdicts moved" in out
    trials = [row["name"] for row in listed(run, "--kind", "trial", "--loss", "ce")]
    code, out, _ = run("runs", "diff", trials[0], trials[-1], "--root", "runs")
    assert code == 0
    assert "optimizer.lr" in out
    assert run("runs", "diff", trials[0], "quickstart-1", "--root", "runs")[0] == 2


def test_a_list_does_not_look_further_than_it_must(root: Path) -> None:
    records = read(root)
    assert all(not trial.curves for trial in records.trials.values())
    assert entries(records, Wanted())[0].bytes == 0
    with pytest.raises(UserError, match="Unknown sweep, comparison or trial"):
        find_entry(records, "nothing")


@pytest.mark.slow
def test_a_comparison_is_extended_by_losses_and_seeds(run: Run, root: Path) -> None:
    known = {row["id"] for row in listed(run, "--kind", "trial")}
    own = ("output.root=runs", "tracking=off")
    add = "comparison.losses+=[{soft:{loss:custom_ce,smoothing:0.1}}]"
    code, out, _ = run("compare", "--extend", "quickstart-1", add, "comparison.final_seeds=3", *own)
    assert code == 0
    assert "extends quickstart-1: 6 of 12 trials are recorded and reused, 6 are to be trained" in out
    row = listed(run)[0]
    assert (row["name"], row["losses"], row["trials"]) == ("quickstart-3", ["ce", "mse", "soft"], 12)
    assert len({row["id"] for row in listed(run, "--kind", "trial")} - known) == 6
    assert (
        "seeds were added after a look at 2, unplanned"
        in run("report", "quickstart-3", "--format", "md", "--root", "runs")[1]
    )
    found = xentlab.load("quickstart-3", root).record
    assert found.command.startswith("xentlab compare --extend quickstart-1 ")
    again = xentlab.compare(*own, extend="quickstart-1", losses=["focal"])
    assert [loss.name for loss in again.record.losses] == ["ce", "mse", "focal"]
    assert (
        again.record.command
        == "xentlab compare --extend quickstart-1 output.root=runs tracking=off 'comparison.losses+=[focal]'"
    )
    for wrong in (["optimizer.lr=1"], [], ["comparison.losses=[focal]"]):
        code, _, err = run("compare", "--extend", "quickstart-1", *wrong, *own)
        assert code == 2
        assert "--extend takes comparison.losses+=[NAME, ...]" in err
