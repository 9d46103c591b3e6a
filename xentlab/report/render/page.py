"""HTML: one page that asks nothing of the network, carries no script and follows the reader's light or dark theme.

The markup is in `templates`, and every text that goes into it is escaped there by Jinja2, which is imported only when a
page is made.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xentlab.plain import visible
from xentlab.report import theme
from xentlab.report.blocks import Document
from xentlab.report.diagnostics import png_data

if TYPE_CHECKING:
    from jinja2 import Template


def document(given: Document) -> str:
    """The whole page, from `<!doctype html>` on."""
    # Pictures are numbered through the page, so that no two share an id.
    return _template().render(document=given, theme=theme, numbers=itertools.count()).strip() + "\n"


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {"kind": lambda block: type(block).__name__, "next": next, "png": png_data, "css": _css}
    return environment.get_template("page.html")


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value


def _css(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)
