"""Seeds as a config gives them: a number or the seeds themselves, and those to tune on."""

from __future__ import annotations

from xentlab.errors import UserError
from xentlab.report.setup import Replicated

# Tuning seeds begin here, so that they never meet the final ones, which count from 0.
_FIRST_TUNING_SEED = 1000


def tuning_seeds(replicate: Replicated, value: int | tuple[int, ...] | None, final: int) -> tuple[int, ...]:
    """The tuning seeds of a `comparison.tuning_seeds`: those of all, or in turn those of each of the final seeds."""
    if replicate == "point":
        return read_seeds("tuning_seeds", 2 if value is None else value, _FIRST_TUNING_SEED)
    if isinstance(value, tuple):
        raise UserError(
            f"comparison.tuning_seeds must be a number of draws for each final seed with "
            f"comparison.replicate=procedure, got {list(value)}: seeds are listed with comparison.replicate=point."
        )
    return tuple(range(_FIRST_TUNING_SEED, _FIRST_TUNING_SEED + (value or 0) * final))


def read_seeds(key: str, value: int | tuple[int, ...], first: int) -> tuple[int, ...]:
    """A count of seeds, or the seeds themselves."""
    seeds = tuple(range(first, first + value)) if isinstance(value, int) else value
    if not seeds or len(set(seeds)) < len(seeds):
        given = value if isinstance(value, int) else list(value)
        raise UserError(f"comparison.{key} must be different seeds, at least one, got {given}.")
    return seeds
