"""An order: a stack as plain data, and the contract of whoever brings orders to their end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from xentlab.data import Dataset
from xentlab.errors import StoppedError, UserError
from xentlab.train import Trial
from xentlab.train.plan import cut


@dataclass(frozen=True)
class Order:
    """The trials of one stack with all that training and recording them needs; nothing but plain data.

    Attributes:
        root: the output directory, on a file system that every worker sees under this path.
        driver: the session that hands the order out, see `journal`.
        trials: for each its `id`, `signature`, `attempt`, `config`, `name` (of the loss), `test` and `group` (or None).
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
    def from_json(cls, data: Mapping[str, Any]) -> Order:
        return cls(**{**data, "trials": tuple(data["trials"])})

    @property
    def ids(self) -> list[str]:
        return [entry["id"] for entry in self.trials]

    @property
    def signatures(self) -> list[str]:
        return [entry["signature"] for entry in self.trials]

    @property
    def label(self) -> str:
        """What a person calls it: its first trial and how many more."""
        first = self.trials[0]
        more = f" and {len(self.trials) - 1} more" if len(self.trials) > 1 else ""
        return f"{first['name']} · seed {first['config']['seed']}{more}"


@dataclass(frozen=True)
class Failure:
    """Why an order did not come to its end: one sentence, and whether it is the user's mistake.

    `parts` are the failures of those of its trials that failed, by their signatures, where the others did not.
    """

    sentence: str
    mistake: bool = False
    parts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What an exception says, as plain data."""
        if isinstance(error, PartsError):
            return cls(str(error), parts={key: asdict(cls.of(part)) for key, part in error.parts.items()})
        known = isinstance(error, (UserError, StoppedError))
        return cls(str(error) if known else f"{type(error).__name__}: {error}", isinstance(error, UserError))

    def error(self) -> Exception:
        if self.parts:
            return PartsError({key: Failure(**part).error() for key, part in self.parts.items()})
        return UserError(self.sentence) if self.mistake else TrainingError(self.sentence)


class TrainingError(StoppedError):
    """A training raised, or the process that held it is lost for good."""


class PartsError(TrainingError):
    """Some trials of an order failed, by their signatures; the others have ended as they should."""

    def __init__(self, parts: Mapping[str, Exception]) -> None:
        super().__init__(str(next(iter(parts.values()))))
        self.parts = parts


def failures(order: Order, error: Exception | None) -> Mapping[str, Exception]:
    """What an order's error means for its trials, by their signatures."""
    if isinstance(error, PartsError):
        return error.parts
    return {} if error is None else dict.fromkeys(order.signatures, error)


class Executor(Protocol):
    """Brings orders to their end, wherever. To add one: see `xentlab.run.executors`."""

    def place(
        self,
        planned: Sequence[Sequence[Trial]],
        wanted: Sequence[Trial],  # noqa: ARG002
        dataset: Callable[[Trial], Dataset],
    ) -> Sequence[Sequence[Trial]] | None:
        """The stacks as they are to be ordered, or None where the session had better train them in its own process.

        Unless an executor says otherwise, every stack, the looped ones as single trials.

        Args:
            planned: the stacks of what is not recorded yet; they may be cut, not mixed.
            wanted: every trial of this run, recorded or not: what is decided by it is decided alike after a restart.
            dataset: reads a trial's data, or has read it.
        """
        return cut(planned, dataset)

    def run(
        self, orders: Sequence[Order], watch: Callable[[], None]
    ) -> Generator[tuple[int, Failure | None], None, None]:
        """Train every order; yields (index, None or why it failed) as each one ends, in any order.

        One that fails does not stop the others. What is still running when the generator is closed (Ctrl-C included)
        is ended before it returns.

        Args:
            orders: what to train; `perform` is what a worker does with one.
            watch: to be called about twice a second while orders run; it reads the workers' journals.
        """
        ...

    def close(self) -> None:
        """End whatever was kept for the next run; calling it again changes nothing."""
        ...
