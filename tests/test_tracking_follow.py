"""The follower of a session: whose runs it sends, at what cost, and which trials get pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tracking_lab import Lab, artifacts, assert_mirrors, runs

from xentlab import tracking
from xentlab.journal import MemberEvent, Records, TrialRecord
from xentlab.tracking.files import locked
from xentlab.tracking.following import Scope
from xentlab.tracking.keys import Key, all_keys
from xentlab.tracking.sender import PICTURES, Sender

# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
pytest_plugins = ("tracking_fixtures",)


def read(root: Path) -> Records:
    records = Records(root)
    records.update()
    return records


def test_the_runs_of_driven_sessions_are_the_drivers_own(tmp_path: Path) -> None:
    driver, other = Lab(tmp_path), Lab(tmp_path)
    worker = Lab(tmp_path, driver=driver.journal.session)
    helper = Lab(tmp_path, driver=worker.journal.session)
    stranger = Lab(tmp_path, driver=other.journal.session)
    labs = [driver, worker, helper, other, stranger]
    trials = [lab.trial() for lab in labs]
    scope = Scope(read(tmp_path), driver.journal.session, [])
    assert scope.everything() == []  # nothing has an epoch yet
    for lab, trial in zip(labs, trials, strict=True):
        lab.epochs([trial], 1, 1)
    assert set(scope.touched(scope.records.update())) == {(trial, None) for trial in trials[:3]}
    assert set(scope.everything()) == {(trial, None) for trial in trials[:3]}
    for lab in labs:
        lab.journal.close()


def test_a_session_lives_for_as_long_as_one_that_it_drives(tmp_path: Path) -> None:
    driver = Lab(tmp_path)
    driver.trial()
    worker = Lab(tmp_path, driver=driver.journal.session)
    worker.trial()
    scope = Scope(read(tmp_path), driver.journal.session, [])
    assert scope.lives()
    driver.journal.close()
    assert scope.lives()
    worker.journal.close()
    assert not scope.lives()


def test_the_runs_of_a_killed_session_are_left_to_its_follower_while_that_lives(tmp_path: Path) -> None:
    killed, next_one = Lab(tmp_path), Lab(tmp_path)
    trial = killed.trial()
    killed.epochs([trial], 1, 1)
    killed.journal.close()  # its process is gone, its follower still sends
    scope = Scope(read(tmp_path), next_one.journal.session, [])
    with locked(tmp_path / "journal" / f"{killed.journal.session}.followed"):
        assert scope.everything() == []
    assert scope.everything() == [(trial, None)]
    next_one.journal.close()


@pytest.mark.slow
def test_a_driver_that_ends_first_is_followed_until_its_workers_end(destination: tracking.Destination) -> None:
    driver = Lab(destination.root)
    group = driver.group()
    worker = Lab(destination.root, driver=driver.journal.session)
    trial = worker.trial(group)
    worker.epochs([trial], 1, 2)
    driver.group_end(group)
    seen: list[dict[str, Any]] = []
    following = threading.Thread(
        target=tracking.follow,
        args=(destination, driver.journal.session),
        kwargs={"say": seen.append, "interval_s": 0.1},
    )
    following.start()
    until = time.monotonic() + 60
    while not any(message.get("sent") == 5 for message in seen) and time.monotonic() < until:
        time.sleep(0.02)
    assert runs(destination)[(trial, group)].info.status == "RUNNING"
    driver.journal.close()
    worker.epochs([trial], 3, 4)
    worker.end(trial)
    worker.journal.close()
    following.join(60)
    assert seen[-1] == {"done": True}
    assert runs(destination)[(trial, group)].info.status == "FINISHED"
    assert_mirrors(destination)


def test_what_was_touched_is_what_all_keys_say(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    scope = Scope(read(tmp_path), lab.journal.session, [])
    found: set[Key] = set()

    def look() -> None:
        found.update(scope.touched(scope.records.update()))
        assert found == set(all_keys(scope.records))

    comparison = lab.group(kind="comparison")
    loss = lab.group(kind="loss", parent=comparison)
    filed = [lab.trial(loss) for _ in range(3)]
    look()
    lab.epochs(filed, 1, 2)
    look()
    assert scope.touched(scope.records.update()) == []
    second = lab.group(kind="loss", parent=comparison)
    lab.journal.append(MemberEvent(second, filed[0]))
    alone = lab.trial()
    look()
    lab.epochs([alone], 1, 1)
    look()
    lab.end(filed[0])
    assert set(scope.touched(scope.records.update())) == {(filed[0], loss), (filed[0], second)}
    lab.journal.close()


def test_a_pass_costs_what_is_new_not_what_exists(
    destination: tracking.Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    send = Sender.send

    def counted(self: Sender, records: Records, keys: Iterable[Key]) -> Any:
        wanted = list(keys)
        asked.append(len(wanted))
        return send(self, records, wanted)

    monkeypatch.setattr(Sender, "send", counted)
    lab = Lab(destination.root)
    group = lab.group()
    trials = [lab.trial(group) for _ in range(60)]
    lab.epochs(trials, 1, 1)

    def say(message: dict[str, Any]) -> None:
        if message.get("sent") == 120 and trials[0] not in touched:
            touched.append(trials[0])
            lab.epochs(trials[:2], 2, 2)
        elif message.get("sent", 0) > 120:
            lab.journal.close()

    touched: list[str] = []
    assert tracking.follow(destination, lab.journal.session, say=say, interval_s=0.1)
    assert asked[0] == asked[-1] == 61
    assert set(asked[1:-1]) - {0} == {2}
    assert_mirrors(destination)


def test_the_first_trials_of_a_sweep_get_pictures_and_every_one_outside_of_it(
    destination: tracking.Destination,
) -> None:
    lab = Lab(destination.root)
    sweep, loss = lab.group(), lab.group(kind="loss", name="ce")
    swept = [lab.trial(sweep) for _ in range(PICTURES + 4)]
    compared = [lab.trial(loss) for _ in range(PICTURES + 4)]
    alone = lab.trial()
    trials = [*swept, *compared, alone]
    lab.epochs(trials, 1, 2)
    for trial in trials:
        (destination.root / trial).mkdir()
        (destination.root / trial / "config.yaml").write_text("seed: 1")
        lab.end(trial, artifacts=trial)
    for group in (sweep, loss):
        lab.group_end(group)
    lab.journal.close()

    def render(record: TrialRecord, folder: Path) -> None:
        (folder / "curves.png").write_bytes(record.id.encode())

    tracking.sync(destination, render=render)
    found = runs(destination)
    drawn = {key[0] for key, run in found.items() if "curves.png" in artifacts(destination, run)}
    assert drawn == {*swept[:PICTURES], *compared, alone}
    assert all("config.yaml" in artifacts(destination, found[(trial, sweep)]) for trial in swept)


def test_a_run_goes_where_it_was_filed_for_until_the_user_asks(tmp_path: Path) -> None:
    here, there = (tracking.resolve_destination(None, name, tmp_path) for name in ("here", "there"))
    trials: dict[str, str] = {}
    for name, filed in (("here", here.filed), ("there", there.filed), ("off", []), ("unsaid", None)):
        lab = Lab(tmp_path)
        lab.journal.filed = filed
        trials[name] = lab.trial()
        lab.epochs([trials[name]], 1, 1)
        lab.end(trials[name])
        lab.journal.close()
    mine = Lab(tmp_path)
    mine.journal.filed = here.filed
    group = mine.group()
    mine.journal.append(MemberEvent(group, trials["off"]))  # a reused trial is filed where its group is
    own = mine.trial(group)
    mine.epochs([own], 1, 1)
    mine.end(own)
    mine.group_end(group)
    mine.journal.close()
    worker = Lab(tmp_path, driver=mine.journal.session)
    driven = worker.trial()
    worker.epochs([driven], 1, 1)
    worker.end(driven)
    worker.journal.close()
    for send in (
        lambda: tracking.follow(here, mine.journal.session, say=lambda _: None),
        lambda: tracking.sync(here),
    ):
        send()
        found = {(None, group), (trials["off"], group), (own, group), (driven, None)}
        assert set(runs(here)) == found | {(trials["here"], None), (trials["unsaid"], None)}
    assert tracking.sync(here).elsewhere == 1
    assert tracking.sync(here, everything=True).elsewhere == 0
    assert (trials["there"], None) in runs(here)
    assert tracking.sync(there).elsewhere == 5
    assert set(runs(there)) == {(trials["there"], None), (trials["unsaid"], None)}
