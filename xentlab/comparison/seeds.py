"""Seeds as a config gives them: a number or the seeds themselves, those to tune on, and when verdicts are taken."""

from __future__ import annotations

from typing import Any

from xentlab.analysis import Looks
from xentlab.errors import UserError
from xentlab.report.setup import Replicated

# Tuning seeds begin here, so that they never meet the final ones, which count from 0.
_FIRST_TUNING_SEED = 1000


def read_looks(value: Any) -> Looks | None:
    """The planned looks; None for a single one."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(n, int) for n in value):
        raise UserError(f"comparison.looks must be a list of numbers of final seeds or null, got {value!r}.")
    return Looks(tuple(value))


def tuning_seeds(replicate: Replicated, value: Any, final: int) -> tuple[int, ...]:
    """The tuning seeds of a `comparison.tuning_seeds`: those of all, or in turn those of each of the final seeds."""
    if replicate == "point":
        return read_seeds("tuning_seeds", 2 if value is None else value, _FIRST_TUNING_SEED)
    if value is None or value == 0:
        return ()
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(
            f"comparison.tuning_seeds must be a number of draws for each final seed with "
            f"comparison.replicate=procedure, got {value!r}: seeds are listed with comparison.replicate=point."
        )
    return tuple(range(_FIRST_TUNING_SEED, _FIRST_TUNING_SEED + value * final))


def read_seeds(key: str, value: Any, first: int) -> tuple[int, ...]:
    """A count of seeds, or the seeds themselves."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return tuple(range(first, first + value))
    if isinstance(value, (list, tuple)) and value and all(isinstance(s, int) and s >= 0 for s in value):
        if len(set(value)) == len(value):
            return tuple(value)
        raise UserError(f"comparison.{key} must be different seeds, got {list(value)}.")
    raise UserError(f"comparison.{key} must be a number >= 1 or a list of seeds, got {value!r}.")
