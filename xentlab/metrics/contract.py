"""What a metric is beside its formula: its one entry, which curves, tables, searches and sentences all read."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric of predictions.

    Attributes:
        name: the key under which it is recorded.
        direction: whether less or more is better.
        unit: of its values.
        is_share: whether it is a fraction, shown as percent and points.
        short: what a sentence calls it.
        long: what a table calls it.
        perfect: the value that no prediction beats; None where there is none.
        when_worse: what it means for a user where it is worse, in words; empty where its name says so.
        root: whether it is the root of a mean over examples.
    """

    name: str
    direction: Literal["min", "max"]
    unit: str
    is_share: bool
    short: str
    long: str
    perfect: float | None = 0.0
    root: bool = False
    when_worse: str = ""

    @property
    def label(self) -> str:
        """The long name with the unit."""
        return f"{self.long} ({self.unit})"

    def better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`."""
        return value < other if self.direction == "min" else value > other
