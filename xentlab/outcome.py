"""How a trial ended: one typed value from the training to the last page, and its one mapping to JSON.

The journal holds it as the flat `summary` of an `end` event, under the names that MLflow shows: the marks by their own
names, `best/val/MONITOR`, `test/METRIC` and `test_at_best/METRIC`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

from xentlab.schema import Range
from xentlab.typed import from_json, to_json

_BEST = "best/val/"
_TEST = {"test": "test/", "test_at_best": "test_at_best/"}
_COUNT = Range(0, 10_000_000)
_Kind = TypeVar("_Kind", "OnTest", "Outcome")


@dataclass(frozen=True)
class ReliabilityBins:
    """What fell into each of 16 bins of stated probability: 15 of equal width on [0, 1), and one of exactly 1.

    Attributes:
        count: statements in each bin.
        correct: how many of them came true.
        confidence: sum of the stated probabilities.
    """

    count: list[int]
    correct: list[int]
    confidence: list[float]


@dataclass(frozen=True)
class OnTest:
    """What the test set says of a trained trial: the fields of `Outcome` by the same names."""

    test: dict[str, float] = field(default_factory=dict)
    test_at_best: dict[str, float] = field(default_factory=dict)
    reliability: ReliabilityBins | None = None

    def to_json(self) -> dict[str, Any]:
        """The `summary` of a `test` event: `test/METRIC`, `test_at_best/METRIC` and `reliability`."""
        found = {f"{_TEST[part]}{k}": v for part in _TEST for k, v in getattr(self, part).items()}
        return found | ({"reliability": to_json(self.reliability)} if self.reliability is not None else {})

    @classmethod
    def from_json(cls, summary: Mapping[str, Any], path: str = "summary", *, strange: bool = False) -> OnTest:
        """What a `summary` says; arguments as in `Outcome.from_json`."""
        return _read(cls, summary, path, strange=strange)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Attributes:
        monitor: the validation metric that chose the best epoch; empty where it never was finite.
        best: its best value; None where it never was finite.
        best_epoch: the epoch of that value, from 1; 0 where there is none.
        test: metric -> test value of the final weights; empty where it diverged or has no test set.
        test_at_best: metric -> test value of the weights of the best epoch.
        diverged: whether it ended in numbers that are not finite.
        stuck: whether its last validation value is hardly better than a constant answer's.
        epochs: how many it was trained.
        epochs_to_target: the first epoch at which the monitor reached the target, if it did.
        seconds: its share of its stack's training, and of those that passed while another stack trained beside it.
        stack: how many trials trained as one tensor program; None in old journals.
        lift: `looped` or `vectorised`; None in old journals.
        reliability: of the final weights on test data.
    """

    diverged: bool
    stuck: bool
    epochs: Annotated[int, _COUNT]
    best_epoch: Annotated[int, _COUNT]
    epochs_to_target: Annotated[int, Range(1, None)] | None
    seconds: float
    stack: int | None = None
    lift: Literal["looped", "vectorised"] | None = None
    monitor: str = ""
    best: float | None = None
    test: dict[str, float] = field(default_factory=dict)
    test_at_best: dict[str, float] = field(default_factory=dict)
    reliability: ReliabilityBins | None = None

    def to_json(self) -> dict[str, Any]:
        """The `summary` of an `end` event."""
        found = to_json(self)
        for name in ("stack", "lift", "reliability"):
            if found[name] is None:
                del found[name]
        bins = {"reliability": found.pop("reliability")} if self.reliability is not None else {}
        best = {f"{_BEST}{found.pop('monitor')}": found.pop("best")} if self.best is not None else {}
        tested = {part: {f"{prefix}{k}": v for k, v in found.pop(part).items()} for part, prefix in _TEST.items()}
        marks = {name: value for name, value in found.items() if name not in ("monitor", "best")}
        return marks | best | tested["test_at_best"] | tested["test"] | bins

    @classmethod
    def from_json(cls, summary: Mapping[str, Any], path: str = "summary", *, strange: bool = False) -> Outcome:
        """The outcome that a `summary` describes.

        Args:
            summary: of an `end` event with the status `finished`.
            path: where it stands, for the sentence.
            strange: whether someone else wrote it; each value is checked then.

        Raises:
            UserError: a strange one lacks a field, or has one of the wrong type.
        """
        return _read(cls, summary, path, strange=strange)

    @property
    def untested(self) -> bool:
        """Whether a trial that ended well has not met its test set yet."""
        return not self.diverged and not self.test

    def with_test(self, on_test: OnTest) -> Outcome:
        """The outcome with what the test set has said since."""
        return replace(self, test=on_test.test, test_at_best=on_test.test_at_best, reliability=on_test.reliability)


def _read(kind: type[_Kind], summary: Mapping[str, Any], path: str, *, strange: bool) -> _Kind:
    """The flat names of a summary as fields."""
    fields: dict[str, Any] = {"test": {}, "test_at_best": {}}
    for key, value in summary.items():
        part, _, name = key.rpartition("/")
        if key.startswith(_BEST):
            fields |= {"monitor": key.removeprefix(_BEST), "best": value}
        elif part in _TEST:
            fields[part][name] = value
        else:
            fields[key] = value
    if strange:
        found: _Kind = from_json(kind, fields, path)
        return found
    bins = fields.get("reliability")
    return kind(**fields | {"reliability": ReliabilityBins(**bins) if bins is not None else None})
