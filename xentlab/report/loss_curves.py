"""The picture of losses beside each other: value and gradient against the true class's logit and probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xentlab.errors import UserError
from xentlab.report import draw, theme

if TYPE_CHECKING:
    from xentlab.losses.laws.curves import LossCurve


def loss_curves(curves: Sequence[LossCurve], classes: int, path: Path | str) -> Path:
    """Draw all losses in four panels and write them to `path`, a PNG or an SVG by its ending.

    The upper row shows the loss, the lower one the norm of its gradient with respect to the logits; the left column
    over the true class's logit (see `LossCurve`), the right one over its probability. The vertical axes end
    where the steepest curve would press the others flat. Losses of numbers have the left column alone, over the first
    output less the target.

    Raises:
        UserError: the ending is neither .png nor .svg, or some losses are of classes and some of numbers.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"the picture's file must end in .png or .svg, got '{path}'.")
    numbers = [c.name for c in curves if not c.probability]
    if 0 < len(numbers) < len(curves):
        raise UserError(
            f"losses of classes and of numbers have no picture in common; of numbers: {', '.join(numbers)}."
        )
    with draw.settings():
        figure = Figure(figsize=(5.6 if numbers else 9.6, 7.2), dpi=130, facecolor="white", layout="constrained")
        panels = figure.subplots(2, 1 if numbers else 2, sharex="col", squeeze=False)
        rows = (("loss", [c.value for c in curves]), ("norm of the gradient", [c.gradient_norm for c in curves]))
        across = "first output less the target" if numbers else "output of the true class"
        columns = [(across, [c.logit for c in curves])]
        if not numbers:
            columns.append(("probability of the true class", [c.probability for c in curves]))
        for row, (ylabel, heights) in zip(panels, rows, strict=True):
            ceiling = _ceiling(heights)
            floor = min(min(h) for h in heights)
            for axes, (_, places) in zip(row, columns, strict=True):
                draw.dress(axes, theme.FILE_INK, theme.FILE_GRID)
                for index, (x, y) in enumerate(zip(places, heights, strict=True)):
                    style: dict[str, Any] = {"color": theme.colour(index), "linestyle": theme.dashes(index)}
                    axes.plot(x, y, linewidth=1.8, label=curves[index].name, **style)
                span = ceiling - min(floor, 0.0)
                axes.set_ylim(min(floor, 0.0) - 0.03 * span, ceiling + 0.03 * span)
            row[0].set_ylabel(ylabel, color=theme.FILE_INK)
        for axes, (xlabel, _) in zip(panels[1], columns, strict=True):
            axes.set_xlabel(xlabel, color=theme.FILE_INK)
        for axes in panels[:, 1:].flat:
            axes.set_xlim(-0.02, 1.02)
        others = {"sigmoid": "minus the true class's", "identity": "sharing what it leaves of 1"}
        links = {c.link: f"{others.get(c.link, '0')} ({c.link})" for c in curves}
        scope = "regression" if numbers else f"{classes} classes"
        said = f"{scope}, values in each loss's own unit, logarithms natural"
        rest = "" if numbers else f"\nthe other outputs: {', '.join(links.values())}"
        figure.suptitle(said + rest, color=theme.FILE_INK, fontsize=11)
        lines, names = panels[0, 0].get_legend_handles_labels()
        ncols = min(3 if numbers else 6, len(curves))
        figure.legend(lines, names, loc="outside lower center", ncols=ncols, frameon=False, fontsize=9)
        if path.suffix == ".png":
            return draw.png(figure, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})
    return path


def _ceiling(heights: Sequence[Sequence[float]]) -> float:
    """The highest value to show: of every curve, at most 1.5 times the median of the curves' own."""
    tops = sorted(max(h) for h in heights)
    return max(min(tops[-1], 1.5 * tops[len(tops) // 2]), 1e-9)
