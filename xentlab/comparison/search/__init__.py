"""Searching a space of knobs at one budget for every loss: a grid, rungs of it, a Sobol sequence, Optuna's sampler.

`make_search` is the door; `contract` says what a search is and how to add one.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

from xentlab.comparison.search.contract import (
    Point,
    Score,
    Scores,
    Search,
    Space,
    best_point,
    neighbours_within_noise,
    order,
    rank,
)
from xentlab.comparison.search.drawn import Optuna, Sobol
from xentlab.comparison.search.grid import Grid
from xentlab.comparison.search.halving import Halving, plan_rungs, trial_epochs
from xentlab.errors import UserError
from xentlab.report.setup import Rung, SearchKind

ON_GRIDS: tuple[SearchKind, ...] = ("grid", "halving")
"""The searches whose `comparison.tune` gives grids; the others draw between its bounds."""


def count_points(kind: SearchKind, space: Space, trials: int | None) -> int:
    """How many points a search tries for one loss before any extension.

    Raises:
        UserError: a search that draws was not told how many, or between which bounds, or is not installed.
    """
    if kind in ON_GRIDS:
        return math.prod(len(values) for values in space.values())
    if trials is None:
        raise UserError(
            f"comparison.trials must be a number of trials per loss with comparison.search={kind}, got null."
        )
    for key, bounds in space.items():
        if len(bounds) != 2:
            raise UserError(
                f"comparison.tune.{key} must be two bounds with comparison.search={kind}, got {list(bounds)}."
            )
    if kind == "optuna" and importlib.util.find_spec("optuna") is None:
        raise UserError("comparison.search=optuna needs its extra: pip install 'xentlab[optuna]'.")
    return trials


def make_search(
    kind: SearchKind, space: Space, monitor: str, *, trials: int | None, extensions: int, rungs: Sequence[Rung] = ()
) -> Search:
    """The search of one loss over its space; `rungs` are those of `halving`."""
    points = count_points(kind, space, trials)
    if kind == "grid":
        return Grid(space, monitor, extensions)
    if kind == "halving":
        return Halving(space, monitor, rungs, extensions)
    return Sobol(space, monitor, points) if kind == "sobol" else Optuna(space, monitor, points)
