"""A stack as plain data, and what a process does that is handed one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from xentlab.errors import UserError

if TYPE_CHECKING:
    from xentlab.data import Dataset
    from xentlab.run.lab import EpochCallback, Lab
    from xentlab.train import Trial


@dataclass(frozen=True)
class Unit:
    """The trials of one stack with all that training and recording them needs; nothing but plain data.

    Attributes:
        root: the output directory, on a file system that every worker sees under this path.
        driver: the session that hands the unit out, see `journal`.
        trials: for each its `id`, `signature`, `config`, `name` (of the loss), `test` and `group` (or None).
        tags: what each trial is tagged with beside what it is.
        weights: keep each trial's final and best weights.
        resumable: go on from a checkpoint of these trials where there is one.
        gpu: whether it asks for a GPU.
    """

    root: str
    driver: str
    trials: tuple[Mapping[str, Any], ...]
    tags: Mapping[str, str]
    weights: bool
    resumable: bool
    gpu: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Unit:
        return cls(**{**data, "trials": tuple(data["trials"])})

    @property
    def label(self) -> str:
        """What a person calls it: its first trial and how many more."""
        first = self.trials[0]
        more = f" and {len(self.trials) - 1} more" if len(self.trials) > 1 else ""
        return f"{first['name']} · seed {first['config']['seed']}{more}"


@dataclass(frozen=True)
class Failure:
    """Why a unit did not come to its end: one sentence, and whether it is the user's mistake."""

    sentence: str
    mistake: bool = False

    def error(self) -> Exception:
        return UserError(self.sentence) if self.mistake else TrainingError(self.sentence)


class TrainingError(RuntimeError):
    """A training raised, or the process that held it is lost for good."""


class Executor(Protocol):
    """Brings units to their end, wherever. To add one: a class with these methods, and its YAML in configs/executor."""

    def place(
        self, planned: Sequence[Sequence[Trial]], wanted: Sequence[Trial], dataset: Callable[[Trial], Dataset]
    ) -> Sequence[Sequence[Trial]] | None:
        """The stacks as they are to be handed out, or None where the lab had better train them in its own process.

        Args:
            planned: the stacks of what is not recorded yet; they may be cut, not mixed.
            wanted: every trial of this run, recorded or not: what is decided by it is decided alike after a restart.
            dataset: reads a trial's data, or has read it.
        """
        ...

    def run(
        self, units: Sequence[Unit], watch: Callable[[], None]
    ) -> Generator[tuple[int, Failure | None], None, None]:
        """Train every unit; yields (index, None or why it failed) as each one ends, in any order.

        A unit that fails does not stop the others. What is still running when the generator is closed (Ctrl-C included)
        is ended before it returns.

        Args:
            units: what to train; `perform` is what a worker does with one.
            watch: to be called about twice a second while units run; it reads the workers' journals.
        """
        ...

    def close(self) -> None:
        """End whatever was kept for the next run; calling it again changes nothing."""
        ...


def perform(
    unit: Unit,
    *,
    again: bool = False,
    on_epoch: EpochCallback = lambda trials, epoch: None,  # noqa: ARG005
) -> Failure | None:
    """Train a unit in this process, under a journal segment of this process; returns why it failed, or None.

    The session's journal and the data it has read stay for the next unit of the same driver.

    Args:
        unit: what to train.
        again: whether an earlier worker was lost over it: then it goes on from its checkpoint, and in a new segment,
            because segments are read in the order in which they were begun.
        on_epoch: called after each epoch.
    """
    if again:
        unit = replace(unit, resumable=True)
        _worker_lab.cache_clear()
    try:
        _worker_lab(unit.root, unit.driver, unit.weights).perform(unit, on_epoch)
    except UserError as error:
        return Failure(str(error), mistake=True)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")
    return None


@functools.lru_cache(maxsize=1)
def _worker_lab(root: str, driver: str, weights: bool) -> Lab:
    from xentlab import environment
    from xentlab.run.lab import Lab

    environment.keep_freed_memory()
    return Lab.worker(Path(root), environment.describe(), driver, weights=weights)
