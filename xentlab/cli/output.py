"""Stdout and stderr as a command needs them: it reaches its end whoever reads them, in whatever encoding."""

from __future__ import annotations

import io
import os
from typing import TextIO


class Output(io.TextIOBase):
    """A stream of a command that is to reach its end: what a closed pipe does not take is let go.

    Characters that the terminal's encoding lacks are replaced.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        self._encoding, self._number = stream.encoding, stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return self._number

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except BrokenPipeError:
                self._let_go()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except BrokenPipeError:
                self._let_go()

    def _let_go(self) -> None:
        # Python would flush what is left at its exit, and complain: it goes where nobody reads.
        assert self._stream is not None
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
        self._stream = None
