"""What a stranger's loss does beside its values, contained: prints, seeds of the global generator, exits."""

import contextlib
import io
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from xentlab.errors import UserError

_ALONE = threading.RLock()  # the streams are the process's: two threads would restore each other's
PRINTS = "it prints"
SEEDS = "it seeds the global random generator"
DRAWS = "it draws from the global random generator: a trial of it cannot be repeated to the digit"


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[], bool]]:
    """Nothing printed within it leaves it, through Python's streams or the process's own; yields whether any was."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    with _ALONE, tempfile.TemporaryFile() as sink, io.StringIO() as words:
        for stream in streams:
            stream.flush()
        kept = []
        for number in (1, 2):
            with contextlib.suppress(OSError):  # closed: then nothing can be printed there
                kept.append((number, os.dup(number)))
                os.dup2(sink.fileno(), number)
        try:
            with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
                yield lambda: bool(words.getvalue()) or os.fstat(sink.fileno()).st_size > 0
        finally:
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)


@contextlib.contextmanager
def contained(name: str) -> Iterator[list[str]]:
    """Runs a stranger's code without its prints, its seeds, its warnings and its exits; yields what it did.

    Raises:
        UserError: it asks for the end of the program.
    """
    seen: list[str] = []
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad(), quiet() as printed:
        warnings.simplefilter("ignore")
        before = torch.random.get_rng_state()
        try:
            yield seen
        except SystemExit as error:
            raise UserError(f"loss {name} ends the program: a loss returns its values.") from error
        if printed():
            seen.append(PRINTS)
        after = torch.random.get_rng_state()
        if not torch.equal(before, after) and DRAWS not in seen:
            seen.append(SEEDS)


def with_manners(call: Callable[..., Any], notes: tuple[str, ...]) -> Callable[..., Any]:
    """The loss as it is called in training: what the probe saw it do beside stays inside."""
    if not {PRINTS, SEEDS} & set(notes):
        return call

    def contained_call(*values: Any, **data: Any) -> Any:
        with torch.random.fork_rng(devices=[]) if SEEDS in notes else contextlib.nullcontext(), quiet():
            return call(*values, **data)

    return contained_call
