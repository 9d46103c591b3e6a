"""The classes of a folder with masks as a file in it lists them, with their colours where it says those."""

from __future__ import annotations

import re
from pathlib import Path

from xentlab.data.delimited import read_text

# Where the classes are listed, as people and tools call it.
_LISTINGS = ("classes.txt", "class_dict.csv", "labelmap.txt", "label_colors.txt")
_CHANNELS = r"\s*[,;\s]\s*".join(rf"(?P<{c}>25[0-5]|2[0-4]\d|1?\d?\d)" for c in "rgb")
# A class with its colour in `classes.txt`: before it or after it, as three numbers or in hexadecimal.
_COLORED = (
    re.compile(rf"{_CHANNELS}[,;\s]+(?P<name>.*\S)"),
    re.compile(rf"(?P<name>.*?\S)[,;\s]+{_CHANNELS}"),
    re.compile(rf"(?P<name>[^:]*[^:\s]):{_CHANNELS}:.*"),
    re.compile(r"(?P<name>.*?\S)[,;\s]+#(?P<hex>[0-9a-fA-F]{6})"),
)


def listing_in(folder: Path) -> Path:
    """The file that lists the classes of a folder, or should."""
    return next((folder / name for name in _LISTINGS if (folder / name).is_file()), folder / _LISTINGS[0])


def listed_classes(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names in `classes.txt`, and their colours where it says them.

    One a line, blanks in them kept; `#` begins a comment, an index before a name goes.
    """
    listing = listing_in(folder)
    if not listing.is_file():
        return (), ()
    lines = [line.strip() for line in read_text(listing, []).splitlines() if line.strip()]
    for pattern in _COLORED:
        found = [pattern.fullmatch(line) for line in lines if not line.startswith("#")]
        found = found[1:] if len(found) > 1 and found[0] is None else found  # a header
        rows = [match for match in found if match is not None]
        if rows and len(rows) == len(found):
            shades = [m["hex"] if pattern is _COLORED[-1] else bytes(int(m[c]) for c in "rgb").hex() for m in rows]
            return tuple(m["name"].strip(",; ") for m in rows), tuple(f"#{shade}" for shade in shades)
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    numbered = [name.partition(" ") for name in names]
    if all(head.rstrip(":,.").isdigit() and tail.strip() for head, _, tail in numbered):
        places_said = [int(head.rstrip(":,.")) for head, _, _ in numbered]
        if places_said in (list(range(len(names))), list(range(1, len(names) + 1))):
            names = [tail.strip() for _, _, tail in numbered]
    return tuple(names), ()
