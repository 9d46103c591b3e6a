"""Local workers: the same numbers as in one process, whatever is printed, raised, killed, late or interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_lab import alive, assert_same, batch, close_all, kill, needs_proc, opened, records, trial, until

from xentlab.errors import UserError
from xentlab.run.executors import processes
from xentlab.run.executors.processes import Processes
from xentlab.run.order import Failure, Order
from xentlab.run.session import Session
from xentlab.train import Trial

pytestmark = needs_proc

LOSSES = """
import os, time
import torch.nn.functional as F

# Quiet and sound on the few examples by which a loss from outside is looked at, and not in training.
def noisy(logits, target):
    if len(logits) > 8:
        print("a library that talks")
        os.write(1, b"and one below Python\\n")
    return F.cross_entropy(logits, target, reduction="none")

def raising(logits, target):
    if len(logits) > 8:
        raise ValueError("it does not add up")
    return F.cross_entropy(logits, target, reduction="none")

def hanging(logits, target):
    if len(logits) > 8:
        time.sleep(3600)
    return F.cross_entropy(logits, target, reduction="none")
"""


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Two workers that stay for all tests of this module, and import a user's own losses from where this does."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "losses_of_the_tests.py").write_text(LOSSES)
    sys.path.append(str(folder))
    pool = Processes(workers=2)
    yield pool
    pool.close()
    sys.path.remove(str(folder))
    assert not pool._crew


@pytest.fixture
def started(executor: Processes, tmp_path_factory: pytest.TempPathFactory) -> Processes:
    """Both workers at work: what a test then waits for is not their start."""
    opened(tmp_path_factory.mktemp("started"), executor).run(batch(epochs=1)[:3])
    return executor


@pytest.fixture(autouse=True)
def as_configured(executor: Processes) -> Iterator[None]:
    yield
    executor.timeout, executor.retries = None, 2
    close_all()


def own(name: str) -> Trial:
    return trial(f"loss._target_=losses_of_the_tests.{name}", "trainer.epochs=2")


def orders(session: Session, trials: list[Trial]) -> list[Order]:
    """Each trial as an order of its own."""
    session.journal.open()
    return [session._order([t], {}, {}, keep=False) for t in trials]


def run_all(executor: Processes, session: Session, trials: list[Trial]) -> list[Failure | None]:
    return [failure for _, failure in sorted(executor.run(orders(session, trials), lambda: None))]


@pytest.mark.slow
def test_a_batch_ends_with_the_numbers_of_one_process(executor: Processes, tmp_path: Path) -> None:
    wanted = opened(tmp_path / "here").run(batch())
    seen: list[tuple[int, int]] = []
    session = opened(tmp_path / "there", executor)
    found = session.run(batch(), on_epoch=lambda trials, epoch: seen.append((len(trials), epoch.number)))
    assert_same(found, wanted)
    assert sorted(seen) == sorted([(2, e) for e in (1, 2, 3)] * 2 + [(1, e) for e in (1, 2, 3)] * 2)
    assert session.trained == 6
    owners = {session.records.trials[r.id].session for r in found}
    facts = [session.records.sessions[name] for name in owners]
    assert all(f.command == "worker" and f.driver == session.journal.session for f in facts)
    assert {f.pid for f in facts} <= {w.pid for w in executor._crew}
    assert session.run(batch())[0].id == found[0].id, "recorded trials are not trained again"


def test_workers_stay_for_the_next_run(started: Processes, tmp_path: Path) -> None:
    before = [w.pid for w in started._crew]
    assert len(before) == 2
    opened(tmp_path, started).run(batch(epochs=1)[:3])
    assert [w.pid for w in started._crew] == before


def test_what_libraries_print_reaches_no_answer_and_what_raises_stops_no_other(
    executor: Processes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = opened(tmp_path, executor)
    ends = run_all(executor, session, [own("raising"), own("noisy"), trial("trainer.epochs=1")])
    sentence = "loss raising failed: ValueError: it does not add up (losses_of_the_tests.py, line 14)."
    assert ends == [Failure(sentence, mistake=True), None, None]
    found = records(tmp_path).trials.values()
    assert sorted(t.status for t in found) == ["failed", "finished", "finished"]
    assert capfd.readouterr().out == ""
    with pytest.raises(UserError, match="it does not add up"):
        session.run([own("raising"), trial("trainer.epochs=2")])
    assert [t.status for t in records(tmp_path).trials.values()].count("finished") == 3


@pytest.mark.slow
def test_a_unit_that_hangs_is_ended_and_the_others_are_not(started: Processes, tmp_path: Path) -> None:
    started.timeout, started.retries = 10.0, 0
    session = opened(tmp_path, started)
    hanging, fine = run_all(started, session, [own("hanging"), trial("trainer.epochs=1")])
    assert fine is None
    assert hanging is not None
    assert hanging.sentence.endswith("at last without a new epoch for 10 s (executor.timeout).")


def test_a_worker_with_other_code_says_so(executor: Processes, tmp_path: Path) -> None:
    session = opened(tmp_path, executor)
    (order,) = orders(session, [trial("trainer.epochs=1")])
    changed = Order.from_json({**order.to_json(), "trials": [{**order.trials[0], "signature": "another"}]})
    ((_, failure),) = executor.run([changed], lambda: None)
    assert failure is not None
    assert failure.mistake
    assert "both must run the same version" in failure.sentence


def long_trials() -> list[Trial]:
    common = ("trainer.epochs=60", "trainer.checkpoint_every=4", "dataset.train_fraction=0.5")
    return [trial(f"loss={loss}", *common) for loss in ("ce", "mse")]


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(executor: Processes, tmp_path: Path) -> None:
    wanted = opened(tmp_path / "here").run(long_trials())
    session = opened(tmp_path / "there", executor)
    killed: list[int] = []

    def kill_once(_: Any, epoch: Any) -> None:
        busy = [w for w in executor._crew if w.index is not None]
        if busy and epoch.number >= 5 and not killed:
            killed.append(busy[0].pid)
            kill(busy[0].pid)

    found = session.run(long_trials(), on_epoch=kill_once)
    assert len(killed) == 1
    assert killed[0] not in [w.pid for w in executor._crew]
    assert_same(found, wanted)
    again = records(tmp_path / "there")
    assert len(again.trials) == 2, "under the same ids"
    assert_same([again.trials[r.id] for r in found], wanted)
    assert not list((tmp_path / "there" / "checkpoints").glob("*.pt"))
    assert all([e for e, _, _ in t.curves["val/error"]] == list(range(1, 61)) for t in again.trials.values())


@pytest.mark.slow
def test_a_worker_that_is_lost_too_often_fails_its_unit_alone(executor: Processes, tmp_path: Path) -> None:
    executor.retries = 0
    session = opened(tmp_path, executor)

    def kill_first() -> None:
        for worker in executor._crew:
            if worker.index == 0 and any(t.epochs for t in records(tmp_path).trials.values()):
                kill(worker.pid)

    (one, other) = sorted(executor.run(orders(session, long_trials()), kill_first))
    assert other == (1, None)
    assert one[1] is not None
    assert one[1].sentence.startswith("The worker that trained ce · seed 0 was lost once, at last killed by SIGKILL")


@pytest.mark.slow
def test_ctrl_c_ends_workers_in_order_and_marks_their_trials(executor: Processes, tmp_path: Path) -> None:
    session = opened(tmp_path, executor)
    endless = trial("trainer.epochs=100000", "dataset.train_fraction=0.5")
    busy: list[int] = []

    def interrupt(*_: Any) -> None:
        busy.extend(w.pid for w in executor._crew if w.index is not None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.run([endless], on_epoch=interrupt)
    assert busy
    assert not any(alive(pid) for pid in busy)
    (found,) = records(tmp_path).trials.values()
    assert (found.status, found.reason) == ("interrupted", "interrupted by the user")


@pytest.mark.slow
def test_a_silent_worker_is_replaced(executor: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SILENCE_S", 5.0)
    session = opened(tmp_path, executor)
    stopped: list[int] = []

    def stop_once(*_: Any) -> None:
        busy = [w.pid for w in executor._crew if w.index is not None]
        if busy and not stopped:
            stopped.append(busy[0])
            os.kill(busy[0], signal.SIGSTOP)

    (found,) = session.run(long_trials()[:1], on_epoch=stop_once)
    assert found.status == "finished"
    assert len(stopped) == 1
    until(lambda: not alive(stopped[0]), seconds=5)
