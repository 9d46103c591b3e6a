"""The catalogue: every loss that `xentlab.losses` exports and that declares what it is, by name.

A loss enters it by being exported; there is no list to keep. `compound` is no entry: it is a sum of entries.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xentlab import losses
from xentlab.losses.contract import LossSpec


def catalogue() -> dict[str, Callable[..., Tensor]]:
    """Every loss of the catalogue by name, in alphabetical order."""
    exported = dict(sorted(vars(losses).items()))
    return {
        name: function
        for name, function in exported.items()
        if isinstance(getattr(function, "spec", None), LossSpec) and function is not losses.compound
    }
