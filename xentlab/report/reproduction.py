"""The record of a published experiment that was run again: numbers with their verdicts, and nothing that is laid out.

`published` turns it into words. Its JSON is that of `xentlab.typed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xentlab.report.setup import Environment

VERSION = 2
ClaimKind = Literal["value", "order", "at_least", "within", "range"]
ClaimVerdict = Literal["agrees", "disagrees", "not decidable", "not tested here"]


@dataclass(frozen=True)
class SeedMean:
    """Mean and standard deviation of `n` values in the unit that is shown, and how many were stuck or diverged."""

    mean: float | None
    sd: float | None = None
    n: int = 1
    gone: int = 0


@dataclass(frozen=True)
class MeanDifference:
    """A difference in the unit that is shown, with its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Finding:
    """One claim with its verdict; see `xentlab.published.claims.Claim`.

    Attributes:
        arm: the one that it is about, of two the one that is claimed to be better; empty for an exact quantity.
        metric: what is compared, in words with its unit.
        published: the number in the source, of the kinds `value` and `at_least`.
        sd: its standard deviation, where the source says it.
        best_of: it is the best of so many runs.
        said: what the source says, of the other kinds.
        other: the arm that is claimed to be worse, of the kinds `order` and `within`.
        theirs: what that one brought.
    """

    about: str
    kind: ClaimKind
    arm: str
    metric: str
    source: str
    ours: SeedMean
    difference: MeanDifference | None
    verdict: ClaimVerdict
    why: str
    published: float | None = None
    sd: float | None = None
    best_of: int = 1
    said: str = ""
    other: str = ""
    theirs: SeedMean | None = None


@dataclass(frozen=True)
class Tried:
    """What the source leaves open, made another way in one arm, and whether a difference is seen."""

    label: str
    arm: str
    metric: str
    ours: SeedMean
    otherwise: SeedMean
    difference: MeanDifference | None
    matters: bool


@dataclass(frozen=True)
class Arm:
    """Every seed of one arm: metric -> seed -> value, None where it diverged."""

    label: str
    values: dict[str, dict[str, float | None]]
    stuck: int | None = None
    diverged: int = 0


@dataclass(frozen=True)
class Spent:
    """What the trials took: seconds as they were trained, and about how many one after another.

    `ways` says how many trained at once and by which lift, `timed` whether single trials had to be timed.
    """

    trials: int
    trained_now: int
    seconds: float
    ways: list[tuple[str, ...]]
    one_by_one: float
    timed: bool


@dataclass(frozen=True)
class Lines:
    """Lines over epochs: label -> one value per epoch, the first before the first epoch."""

    title: str
    label: str
    lines: dict[str, list[float]]


@dataclass(frozen=True)
class Reproduction:
    """One published experiment at one size. `failed`: arms that could not be trained, each with its own sentence."""

    name: str
    question: str
    source: str
    protocol: str
    size: str
    size_words: str
    command: str
    created: str
    findings: list[Finding]
    choices: list[str] = field(default_factory=list)
    choices_tried: list[Tried] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    pictures: list[Lines] = field(default_factory=list)
    quantities: dict[str, float | None] = field(default_factory=dict)
    cost: Spent | None = None
    environment: Environment = field(default_factory=Environment)
    failed: dict[str, str] = field(default_factory=dict)
    version: int = VERSION

    @property
    def counts(self) -> dict[ClaimVerdict, int]:
        """How many claims have each verdict."""
        return {v: sum(f.verdict == v for f in self.findings) for v in get_args(ClaimVerdict)}
