"""The errors that a user sees: a sentence with the name, the rule, the value and what exists instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend. Its text is one sentence; the command line prints it and exits with 2."""


class StoppedError(Exception):
    """What nobody has done wrong, and stops the command. One sentence; the command line prints it and exits with 1."""


def unknown(kind: str, name: str, available: Iterable[str]) -> UserError:
    """Say that `name` is no `kind`, name the nearest that is, and list them all."""
    names = sorted(available)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"Unknown {kind} '{name}'.{hint} Available: {', '.join(names)}.")
