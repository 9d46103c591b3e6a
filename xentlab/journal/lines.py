"""One line of a journal: JSON that ends in a checksum of itself, and what is said of a line that is not as it was.

    {"event": "end", ..., "crc": "8f1c02ab"}

The checksum is `zlib.crc32` of the line without it. Lines of earlier versions have none and are read as before.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SEAL = re.compile(rb', "crc": "([0-9a-f]{8})"\}\s*$')


@dataclass(frozen=True)
class Damage:
    """A line that cannot be used: which segment, which line (from 1; 0 for the whole of it), and what is wrong."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}" + (f", line {self.line}" if self.line else "") + f": {self.reason}"


class DamagedError(ValueError):
    """The line is not as it was written."""


def seal(event: dict[str, Any]) -> bytes:
    """The line of an event, with its checksum."""
    text = json.dumps(event, allow_nan=False).encode()
    return text[:-1] + b', "crc": "%08x"}\n' % zlib.crc32(text)


def unseal(line: bytes) -> dict[str, Any]:
    """The event of a line, without its checksum.

    Raises:
        DamagedError: it is no JSON object with a kind and a time, or its checksum denies it.
    """
    found = _SEAL.search(line)
    if found is not None:
        line = line[: found.start()] + b"}"
        if zlib.crc32(line) != int(found[1], 16):
            raise DamagedError("its checksum differs")
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DamagedError("it is no JSON") from error
    if not isinstance(event, dict) or not isinstance(event.get("event"), str) or not isinstance(event.get("time"), int):
        raise DamagedError("it is no event")
    return event


def segments(root: Path) -> Iterator[Path]:
    """The segments of a root's journal, in the order of their names."""
    yield from sorted((root / "journal").glob("*.jsonl"))


def read_lines(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every event of a root's journal as plain data, with its segment; damaged lines are passed over."""
    for path in segments(root):
        with contextlib.suppress(OSError):
            for line in whole_lines(path):
                with contextlib.suppress(DamagedError):
                    yield path, unseal(line)


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The lines of a segment from a byte on; not a last one that is being written, or that a kill has torn."""
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line
