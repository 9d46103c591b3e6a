"""What a metric is beside its formula: its one entry, which curves, tables, searches and sentences all read."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric of predictions."""

    name: str  # the key under which it is recorded
    direction: Literal["min", "max"]  # whether less or more is better
    unit: str  # of its values
    is_share: bool  # whether it is a fraction, shown as percent and points
    short: str  # what a sentence calls it
    long: str  # what a table calls it
    perfect: float | None = 0.0  # the value that no prediction beats; None where there is none
    root: bool = False  # whether it is the root of a mean over examples
    when_worse: str = ""  # what it means for a user where it is worse, in words; empty where its name says so

    @property
    def label(self) -> str:
        """The long name with the unit."""
        return f"{self.long} ({self.unit})"

    def better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`."""
        return value < other if self.direction == "min" else value > other
