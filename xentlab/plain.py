"""Texts of strangers as one harmless line: what a terminal or a reader's eye would obey is spelled out instead."""

from __future__ import annotations

_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SPELLED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
_SPELLED |= {code: f"\\u{code:04x}" for code in _DIRECTIONS}


def visible(text: str) -> str:
    """The text with control characters, and those that turn the direction of reading, spelled out."""
    return text.translate(_SPELLED)


def one_line(text: str) -> str:
    """The same with every run of white space as one blank."""
    return visible(" ".join(text.split()))
