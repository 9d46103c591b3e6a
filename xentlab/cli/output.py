"""Stdout and stderr as a command needs them: it reaches its end whoever reads them, in whatever encoding."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import TextIO


class Output(io.TextIOWrapper):
    """A stream whose reader may leave: what a closed pipe does not take, and what follows, goes where nobody reads.

    Characters that the terminal's encoding lacks are replaced.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        lines, at_once = stream.line_buffering, stream.write_through
        super().__init__(stream.buffer, stream.encoding, "replace", line_buffering=lines, write_through=at_once)

    def write(self, text: str) -> int:
        with self._whoever_reads():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._whoever_reads():
            super().flush()

    @contextlib.contextmanager
    def _whoever_reads(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())


def lenient(stream: TextIO) -> TextIO:
    """`Output` over a stream that is a file; one of another kind, a debugger's for example, as it is."""
    return Output(stream) if isinstance(stream, io.TextIOWrapper) else stream
