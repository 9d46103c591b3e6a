"""The errors that a user sees: a sentence with the name, the rule, the value and what exists instead."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A mistake that the user can mend. Its text is one sentence; the command line prints it and exits with 2."""


class StoppedError(Exception):
    """What nobody has done wrong, and stops the command. One sentence; the command line prints it and exits with 1."""


# More names than these are no help to read.
_LISTED = 30


def unknown(kind: str, name: str, available: Iterable[str]) -> UserError:
    """Say that `name` is no `kind`, name the nearest that is, and list them all, or of many the nearest five."""
    names = sorted(available)
    if not names:
        return UserError(f"Unknown {kind} '{name}': there is none.")
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if len(names) > _LISTED:
        five = difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        return UserError(f"Unknown {kind} '{name}'.{hint} Nearest of {len(names)}: {', '.join(five)}.")
    return UserError(f"Unknown {kind} '{name}'.{hint} Available: {', '.join(names)}.")


def a_kind(value: object) -> str:
    """What kind of thing it is, with its article: `an int`."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


_PLACES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def own_error(what: str, error: BaseException) -> UserError:
    """An error that came out of a user's own code as one sentence: its words, and the line of theirs that raised it."""
    here = str(Path(__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((here, "<"))]
    own = [f for f in frames if not f.filename.startswith(_PLACES)]
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    said = f"{type(error).__name__}: {text}".rstrip(".: ")
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return UserError(f"{what} failed: {said}{where}.")
