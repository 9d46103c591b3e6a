"""How every loss looks: its colour, line and marker, in light and dark; `page.css` has the page's own style.

The colours are Okabe and Ito's, which stay apart under the common kinds of colour blindness, ordered so that the ones
with the most contrast come first; the seventh (yellow) is darkened on a light page and the first lightened on a dark
one. Line style and marker repeat the distinction for those who see no colour.

Pictures are drawn in marker colours (`INK`, `GRID`, `series`) that the page replaces with CSS variables, so that one
SVG serves both themes.

Reference:
    Okabe and Ito, Color universal design, 2008.
"""

from __future__ import annotations

from typing import Any

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#f0e442", "#000000")
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#c98500", "#c0629a", "#3a9bd4", "#a59a00", "#444444")
DARK = ("#4a9fe0", "#ee7a2b", "#1fbf92", "#e6a81e", "#d98bb5", "#8fd0f5", "#f0e442", "#c9c9c9")
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

INK, GRID, ZONE = "#010203", "#040506", "#070809"
# Of pictures that stand alone in a file.
FILE_INK, FILE_GRID = "#22252a", "#d5d9df"


def colour(index: int) -> str:
    """The colour of the loss at `index` in the record's order, for pictures that stand alone."""
    return PALETTE[index % len(PALETTE)]


def series(index: int) -> str:
    """The colour by which a picture for the page stands for the loss at `index`."""
    return f"#a0b0{index % len(PALETTE):02x}"


def dashes(index: int) -> Any:
    """The line style of the loss at `index`; it changes with every loss, and lasts longer than the colours."""
    return DASHES[index % len(DASHES)]


def marker(index: int) -> str:
    """The marker of the loss at `index`."""
    return MARKERS[index % len(MARKERS)]


def themed(svg: str) -> str:
    """The picture with its marker colours replaced by the page's variables."""
    for index in range(len(PALETTE)):
        svg = svg.replace(series(index), f"var(--s{index})")
    return svg.replace(INK, "currentColor").replace(GRID, "var(--line)").replace(ZONE, "var(--zone)")


def stroke(index: int) -> str:
    """The loss's line style as an SVG's dash pattern."""
    style = dashes(index)
    named = {"-": "", "--": "7 4", "-.": "8 3 2 3"}
    return named[style] if isinstance(style, str) else " ".join(f"{2 * v:g}" for v in style[1])
