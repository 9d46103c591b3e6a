"""Stacks side by side in one process: the same numbers, interrupted together, one's failure its own."""

from __future__ import annotations

import functools
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from executor_lab import finish, records, start, until
from support import compose_train

from xentlab import environment, held
from xentlab.errors import UserError
from xentlab.run.beside import places, side_by_side
from xentlab.run.session import Session
from xentlab.run.training import EpochCallback, Interruption
from xentlab.tasks.links import log_softmax, probabilities, sigmoid, softplus
from xentlab.threads import heed_interruption, share, take_share
from xentlab.train import Epoch, Fit, Trial, prepare

TINY = ("model.hidden=[8]", "dataset.train_fraction=0.1", "trainer.epochs=3")
HELD = held.path_of(lambda logits, target: torch.nn.functional.cross_entropy(logits, target, reduction="none"))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def trials(*overrides: str, losses: tuple[str, ...] = ("ce", "mse", "focal")) -> list[Trial]:
    return [prepare(compose_train(*TINY, f"loss={loss}", f"seed={s}", *overrides)) for loss in losses for s in (0, 1)]


def trained(root: Path, names: set[str]) -> dict[str, object]:
    """Curves and test metrics of each trial; `names` gets those of the threads that trained."""
    session = Session.open(root, environment.describe(), "test", fresh=False, weights=True)

    def on_epoch(trials: object, epoch: object) -> None:  # noqa: ARG001
        names.add(threading.current_thread().name)

    ended = session.run(trials(), on_epoch=on_epoch)
    session.journal.close()
    return {
        f"{t.label} {t.config['seed']}": (
            {k: [v for *_, v in points] for k, points in t.curves.items() if not k.startswith("speed/")},
            t.outcome.test,
        )
        for t in ended
    }


@pytest.mark.usefixtures("two_threads")
def test_stacks_side_by_side_end_with_the_bits_of_one_after_another(tmp_path: Path) -> None:
    beside, alone = set[str](), set[str]()
    found = trained(tmp_path / "beside", beside)
    torch.set_num_threads(1)
    assert found == trained(tmp_path / "alone", alone)
    assert beside == {"work"}
    assert alone == {"MainThread"}


@pytest.mark.usefixtures("two_threads")
def test_what_ends_makes_place_for_the_next_and_the_last_has_the_whole_machine() -> None:
    parts, deadline = dict[int, list[tuple[int, float]]](), time.monotonic() + 20

    def work(number: int, after_epoch: EpochCallback) -> None:
        parts[number] = [(torch.get_num_threads(), share())]
        while time.monotonic() < deadline:
            after_epoch([], Epoch(1, {}))
            if torch.get_num_threads() == 2 if number == 3 else len(parts) >= (2, 2, 4)[number]:
                break
            time.sleep(0.001)
        parts[number].append((torch.get_num_threads(), share()))

    side_by_side((functools.partial(work, number) for number in range(4)), 2, lambda trials, epoch: None)  # noqa: ARG005
    half, whole = (1, 0.5), (2, 1.0)
    assert parts == {0: [half, half], 1: [half, half], 2: [half, half], 3: [half, whole]}
    assert torch.get_num_threads() == 2


def test_a_second_counts_for_the_part_of_the_machine_that_a_stack_has() -> None:
    stack = trials(losses=("ce",))
    fit = Fit(stack, stack[0].dataset())
    take_share(1e-9)
    began = time.perf_counter()
    (*_, last) = fit.epochs()
    took = time.perf_counter() - began
    take_share(1.0)
    assert 0 < fit.history.seconds < 1e-9 * took
    assert 0 < last.metrics["speed/ms_per_step"][0] < 1e-6 * took


@pytest.mark.usefixtures("two_threads")
def test_what_fails_lets_the_one_beside_it_end_and_no_other_begin() -> None:
    begun = list[int]()

    def work(number: int, after_epoch: EpochCallback) -> None:  # noqa: ARG001
        begun.append(number)
        if number == 0:
            raise UserError("a loss of its own.")
        time.sleep(0.1)
        begun.append(number)

    with pytest.raises(UserError, match="of its own"):
        side_by_side((functools.partial(work, number) for number in range(4)), 2, lambda trials, epoch: None)  # noqa: ARG005
    assert sorted(begun) in ([0], [0, 1, 1])  # the failure may come before the second has begun


@pytest.mark.usefixtures("two_threads")
def test_while_nothing_can_be_begun_the_one_at_work_has_the_whole_machine_and_its_failure_ends_the_waiting() -> None:
    looks = list[tuple[int, float]]()

    def work(after_epoch: EpochCallback) -> None:
        deadline = time.monotonic() + 20
        while torch.get_num_threads() == 1 and time.monotonic() < deadline:
            time.sleep(0.001)
            after_epoch([], Epoch(1, {}))
        looks.append((torch.get_num_threads(), share()))
        raise UserError("a loss of its own.")

    def claimed() -> Iterator[Callable[[EpochCallback], None] | None]:
        yield work
        while True:  # all others are another command's
            yield None

    with pytest.raises(UserError, match="of its own"):
        side_by_side(claimed(), 2, lambda trials, epoch: None)  # noqa: ARG005
    assert looks == [(2, 1.0)]


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGINT is an interruption here, also where this process ignores it: as a shell's background job does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("two_threads", "heard")
def test_an_interruption_reaches_all_of_them() -> None:
    reached, both = list[int](), threading.Barrier(2)

    def train(number: int) -> None:
        try:
            if both.wait() == 0:
                threading.Timer(0.005, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
            while True:
                heed_interruption()
                with ThreadPoolExecutor(8) as pool:  # an interruption ends the work, never a thread that it waits for
                    list(pool.map(time.sleep, [0] * 8))
        except KeyboardInterrupt:
            reached.append(number)
            raise

    main = threading.main_thread().ident or 0
    for _ in range(60):
        reached.clear()
        with pytest.raises(KeyboardInterrupt):
            side_by_side([lambda _: train(0), lambda _: train(1)], 2, lambda trials, epoch: None)  # noqa: ARG005
        assert sorted(reached) == [0, 1]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("met", "said"),
    [
        (((3, 3, 20), (3, 3, 20)), "epoch 3 of 20; the same command goes on with epoch 3."),
        (((3, 1, 20), (7, 6, 20)), "epochs 3 to 7 of 20; the same command goes on with epochs 1 to 6."),
        (((2, 1, 20), (1, 1, 10)), "epochs 1 to 2 of up to 20; the same command begins again."),
    ],
)
def test_one_sentence_is_true_of_all_that_was_interrupted(met: tuple[tuple[int, int, int], ...], said: str) -> None:
    both = threading.Barrier(2)

    def stop(after_epoch: EpochCallback, at: tuple[int, int, int]) -> None:  # noqa: ARG001
        both.wait()
        raise Interruption(at)

    with pytest.raises(KeyboardInterrupt, match=f"^interrupted in {re.escape(said)}$"):
        side_by_side([functools.partial(stop, at=at) for at in met], 2, lambda trials, epoch: None)  # noqa: ARG005


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ((), 2),
        (("trainer.memory=0.2",), 1),
        (("trainer.lift=looped",), 1),
        (("trainer.deterministic=true",), 1),
        (("loss._target_=torch.nn.functional.cross_entropy",), 1),
        ((f"loss._target_={HELD}",), 1),
        (("loss=compound", "loss.terms={ce:{},mine:{_target_:torch.nn.functional.cross_entropy}}"), 1),
        (("loss=compound", f"loss.terms={{ce:{{}},mine:{{_target_:{HELD}}}}}"), 1),
    ],
)
def test_two_at_a_time_only_where_nothing_is_shared_and_memory_holds_both(
    overrides: tuple[str, ...], count: int
) -> None:
    planned = [[trial] for trial in trials(*overrides, losses=("ce",))]
    assert places(planned, lambda trial: trial.dataset()) == count
    assert places(planned[:1], lambda trial: trial.dataset()) == 1


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_with_all_its_stacks(tmp_path: Path) -> None:
    sweep = (
        "train", "-m", "loss=ce,mse", "seed=0,1", "dataset=digits", "trainer.epochs=400", "trainer.checkpoint_every=2",
        "executor=inline", "tracking=off",
    )  # fmt: skip
    root = tmp_path / "xentlab-runs"
    process = start(tmp_path, *sweep, threads=2)
    until(lambda: [t.epochs >= 5 for t in records(root).trials.values()] == 4 * [True], process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    at = sorted({t.epochs + 1 for t in records(root).trials.values()})
    epochs = f"epochs {at[0]} to {at[-1]}" if len(at) > 1 else f"epoch {at[0]}"
    assert f"xentlab: interrupted in {epochs} of 400; the same command goes on with epoch" in said
    assert [t.status for t in records(root).trials.values()] == 4 * ["interrupted"]
    finish(start(tmp_path, *sweep, threads=2))
    assert [t.status for t in records(root).trials.values()] == 4 * ["finished"]


def probable(logits: torch.Tensor) -> torch.Tensor:
    return probabilities(logits, "softmax", exclusive=True)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("function", [sigmoid, softplus, log_softmax, probable])
def test_a_number_has_the_same_bits_wherever_it_stands_and_on_any_number_of_threads(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    x = 4 * torch.randn(5003, 10, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(1)
    whole = function(x)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(function(x), whole)
    for first in (1, 7, 5000):
        assert torch.equal(function(x[first:]), whole[first:])
