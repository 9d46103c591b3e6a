"""Matplotlib without its global state: new figures, and their way into SVG text or a PNG file.

The only places where matplotlib is imported are inside these functions and the drawing ones next door. Figures are made
with the object interface; pyplot is never touched, so drawing neither opens windows nor keeps figures alive.
"""

from __future__ import annotations

import html
import io
import math
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xentlab.plain import visible
from xentlab.report.theme import GRID, INK, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib reads its settings from one global table while it draws.
_SETTINGS_LOCK = threading.Lock()


@contextmanager
def settings() -> Iterator[None]:
    """The project's matplotlib settings, for the duration of a drawing."""
    import matplotlib

    values: Any = {
        "svg.fonttype": "none",  # text stays text: it can be read, searched, and takes the page's font and colour
        "svg.hashsalt": "xentlab",  # the same picture gets the same ids
        "text.parse_math": False,  # a label is a user's word: a dollar sign in it is a dollar sign
        "font.size": 10.0,
        "axes.unicode_minus": True,
    }
    with _SETTINGS_LOCK, matplotlib.rc_context(values), warnings.catch_warnings():
        # The measuring font lacks some scripts; the page's or the reader's font has them.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield


def svg(figure: Figure, prefix: str, description: str) -> str:
    """The figure as an inline `<svg>` for the page, its ids prefixed, its colours the page's, its texts escaped.

    Args:
        prefix: distinguishes its ids from those of other pictures on the page.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    opening, rest = text.split(">", 1)
    text = re.sub(r'\s(width|height)="[^"]*"', "", opening) + ">" + rest
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(visible(description))}" ', 1)
    return visible(themed(text).strip())


def page_axes(width: float, height: float, *, left: float) -> tuple[Figure, Axes]:
    """A transparent figure for the page with one axes in marker colours; all lengths in inches."""
    figure, (axes,) = page_panels(width, height, (0.55, height - 0.65), left=left)
    return figure, axes


def page_panels(
    width: float, height: float, *spans: tuple[float, float], left: float, right: float = 0.12
) -> tuple[Figure, list[Axes]]:
    """The same with an axes for each of `spans`: its lower end and its height.

    The margins are fixed, because measuring every text to fit them takes as long as the drawing itself.
    """
    from matplotlib.figure import Figure

    figure, across = Figure(figsize=(width, height), frameon=False), 1 - (left + right) / width
    panels = []
    for bottom, tall in spans:
        panels.append(figure.add_axes((left / width, bottom / height, across, tall / height), facecolor="none"))
        dress(panels[-1], INK, GRID)
    return figure, panels


def dress(axes: Axes, ink: str, grid: str) -> None:
    """Quiet axes: no frame above and right, thin grid below the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(grid)
    axes.grid(color=grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=ink, color=grid, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(ink)
        label.set_fontsize(10)


def widen(axes: Axes, ends: Iterable[float], *, upright: bool) -> bool:
    """A logarithmic axis where one loss's values would press the others' together; whether it is one."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    ends = [end for end in ends if math.isfinite(end)]
    if not ends or min(ends) <= 0 or max(ends) / min(ends) < 8:
        return False
    if upright:
        axes.set_yscale("log")
    else:
        axes.set_xscale("log")
    axis = axes.yaxis if upright else axes.xaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    return True


def fit(limit: Callable[[float, float], Any], values: Iterable[float]) -> None:
    """Limits that a few values far from all others do not flatten: what lies beyond is left to the tables."""
    known = sorted(v for v in values if math.isfinite(v))
    if len(known) < 8:
        return
    low, middle, high = (known[round(share * (len(known) - 1))] for share in (0.05, 0.5, 0.95))
    reach = 5 * max(high - middle, middle - low)
    ends = [v for v in known if middle - reach <= v <= middle + reach]
    if reach > 0 and len(ends) < len(known):
        room = 0.05 * (ends[-1] - ends[0])
        limit(ends[0] - room, ends[-1] + room)


def png(figure: Figure, path: Path | str) -> Path:
    """Write the figure as a PNG at `path`, whose folder is made where it is missing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": "xentlab"})
    return path
