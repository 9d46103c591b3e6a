"""All laws, in the order in which reports list them, and the check that runs them on one loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from xentlab.dotted import locate
from xentlab.errors import UserError, unknown
from xentlab.losses.contract import UNDECLARED, catalogue, spec_of
from xentlab.losses.laws import identities, numerics, regression, stepping, symmetry
from xentlab.losses.laws.contract import (
    Counterexample,
    Law,
    LossError,
    Skipped,
    Subject,
    subject,
    takes,
)
from xentlab.tasks import find

_SINGLE, _DOUBLE = (torch.float32,), (torch.float64,)

LAWS = (
    Law("shape", numerics.shape),
    Law("finite", numerics.finite),
    Law("nan", numerics.nan, _SINGLE),
    Law("masked", numerics.masked, _SINGLE),
    Law("autocast", numerics.autocast, _SINGLE),
    Law("gradient", numerics.gradient, _DOUBLE),
    Law("pure", numerics.pure),
    Law("refusal", numerics.refusal, _SINGLE),
    Law("knob ranges", numerics.knob_ranges),
    Law("independence", symmetry.independence),
    Law("renaming", symmetry.renaming),
    Law("raises truth", symmetry.raises_truth),
    Law("shift", symmetry.shift),
    Law("minimum", symmetry.minimum),
    Law("stacked knobs", stepping.stacked_knobs),
    Law("stacked inputs", stepping.stacked_inputs),
    Law("two forms", stepping.two_forms),
    Law("ignored", stepping.ignored),
    Law("class weights", stepping.own_class_weights),
    Law("limits", identities.limits, _DOUBLE),
    Law("proper", identities.proper, _DOUBLE),
    Law("translation", regression.translation),
    Law("scale", regression.stretch),
    Law("functional", regression.functional, _DOUBLE),
)

# Those that say something of a loss that gives one value for a whole batch.
_OF_MEANS = ("nan", "gradient", "pure", "raises truth")

LawVerdict = Literal["held", "broken", "skipped"]


@dataclass(frozen=True)
class LawRow:
    """One law on one loss."""

    law: str
    verdict: LawVerdict  # held (on every task and precision that was tried), broken, or skipped
    detail: str = ""  # the smallest counterexample where broken, the reason where skipped, else nothing
    example: Counterexample | None = None


@dataclass(frozen=True)
class LawReport:
    """What the laws say of a loss."""

    loss: str
    tasks: tuple[str, ...]  # those it was looked at under
    rows: tuple[LawRow, ...]  # one for each law, in the order of `LAWS`
    probed: str = ""  # what a loss from outside gives and takes, in words; of one of this lab nothing

    @property
    def broken(self) -> tuple[LawRow, ...]:
        return tuple(row for row in self.rows if row.verdict == "broken")

    @property
    def lawful(self) -> bool:
        return not self.broken

    def __str__(self) -> str:
        if self.lawful:
            held = sum(row.verdict == "held" for row in self.rows)
            return f"{self.loss} keeps all {held} laws that apply to it."
        lines = [f"{self.loss} breaks {len(self.broken)} of {len(self.rows)} laws:"]
        return "\n".join(lines + [f"  {row.law}: {row.detail}" for row in self.broken])


def check(loss: str | Callable[..., Any], task: str | None = None) -> LawReport:
    """Run every law on `loss` and report, law by law, the smallest inputs that break it.

    Args:
        loss: a function, a `functools.partial` of one with knobs set, a name of the catalogue, or a dotted path.
        task: the name of one; None for every task that the loss declares.

    Raises:
        UserError: there is no such loss or task, its signature is not that of a loss, or it has no meaning on the task.
    """
    found = resolve_loss(loss) if isinstance(loss, str) else loss
    tasks = (find(task).name,) if task is not None else spec_of(found).tasks
    # A loss from outside is looked at on the tasks whose targets it takes.
    fitting = [name for name in tasks if spec_of(found) is not UNDECLARED or takes(found, name)] or tasks
    subjects = [subject(found, name) for name in fitting]
    rows: list[LawRow] = []
    malformed = False
    for law in LAWS:
        row = LawRow(law.name, "skipped", "its values have the wrong shape") if malformed else _row(law, subjects)
        malformed = malformed or (law.name == "shape" and row.verdict == "broken")
        rows.append(row)
    first = subjects[0]
    return LawReport(first.name, tuple(s.task.name for s in subjects), tuple(rows), str(first.probed or ""))


def assert_lawful(loss: str | Callable[..., Any], task: str | None = None) -> None:
    """Fail a test, with every broken law and its counterexample, unless `loss` keeps them all (see `check`)."""
    report = check(loss, task)
    if not report.lawful:
        raise AssertionError(str(report))


def resolve_loss(target: str) -> Callable[..., Any]:
    """The function that a name of the catalogue or a dotted path stands for.

    Raises:
        UserError: there is none.
    """
    known = catalogue()
    if target in known:
        return known[target]
    if "." not in target:
        raise unknown("loss", target, known)
    try:
        return locate("loss", target)
    except UserError as error:
        raise UserError(str(error).replace("loss._target_ ", "the loss ", 1)) from error


def _row(law: Law, subjects: list[Subject]) -> LawRow:
    """One law over all tasks and precisions, up to the first that breaks it."""
    reasons: dict[str, None] = {}
    held = False
    for this in subjects:
        if this.probed is not None and this.probed.reduces and law.name not in _OF_MEANS:
            reasons["not applicable: single elements have no value"] = None
            continue
        for dtype in law.dtypes:
            try:
                example = next(law.function(this, dtype, torch.Generator().manual_seed(0)), None)
            except LossError as error:
                example = error.example
            except Skipped as skipped:
                reasons[str(skipped)] = None
                continue
            if example is not None:
                where = f" ({this.task.name}, {str(dtype).removeprefix('torch.')})"
                return LawRow(law.name, "broken", f"{example}{where}", example)
            held = True
    return LawRow(law.name, "held") if held else LawRow(law.name, "skipped", "; ".join(reasons))
