"""The combinator: a weighted sum of losses, on targets that may be smoothed. Losses compose instead of multiplying.

    loss=compound 'loss.terms={focal: {gamma: 2}, dice: {weight: 0.5}}' loss.smoothing=0.1

A term is named by a loss of `xentlab.losses` (or by any word, with a `_target_`); `weight` is its factor in the sum.
Every term is reduced by its own weighted mean, so that a loss per pixel and one per image can be added.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor

from xentlab.errors import UserError
from xentlab.losses.adapters import BoundLoss, bind_term
from xentlab.losses.contract import loss
from xentlab.losses.foreign import build_loss
from xentlab.schema import Knob, Range, check_knob
from xentlab.tasks import find

_FACTOR = Knob("weight", float, 1.0, Range(0, None))


@loss(family="combinators", link="task")
def compound(
    logits: Tensor,
    target: Tensor,
    *,
    terms: dict[str, Any] | None = None,
    smoothing: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
) -> Tensor:
    """The weighted sum of several losses on smoothed targets `t' = (1 - smoothing) t + smoothing / C`:

        sum_k weight_k mean(loss_k(z, t'))

    Args:
        logits: [N, C] or [N, C, H, W].
        target: class indices [N] or [N, H, W], or floats shaped like `logits`.
        terms: name -> knobs of that loss, with its factor `weight` >= 0 (default 1).
        smoothing: share of the target spread evenly over all classes, in [0, 1).

    Returns:
        A scalar: terms of different shapes have no common element.
    """
    task = "segmentation" if logits.ndim == 4 else "multiclass"
    bound = bind(functools.partial(compound, terms=terms, smoothing=smoothing), task)
    return bound.data_term(None)(logits, target, {}, bound.data)


def bind(loss: functools.partial[Any], task: str) -> BoundLoss:
    """What a loss means on the task of that name; of a compound its terms, their floats by paths (`terms.focal.gamma`).

    Raises:
        UserError: it declares that it has no meaning there; or a compound has no term, one that does not exist or has
            no meaning here, or terms with different links.
    """
    on = find(task)
    if loss.func is not compound:
        term, link = bind_term(loss, on)
        return BoundLoss({"": term}, dict(term.data), link, on)
    terms, data, links = {}, {"smoothing": loss.keywords["smoothing"]}, {}
    if not loss.keywords["terms"]:
        raise UserError("loss.terms must name at least one loss, got none.")
    if on.numeric and loss.keywords["smoothing"]:
        raise UserError(f"loss.smoothing must be 0 on {on.name}, got {loss.keywords['smoothing']:g}.")
    for name, given in loss.keywords["terms"].items():
        path, node = f"loss.terms.{name}", dict(given or {})
        if not isinstance(given or {}, Mapping):
            raise UserError(f"{path} must be a mapping of knobs, got {given!r}.")
        factor = check_knob(path, _FACTOR, node.pop("weight", 1.0))
        node.setdefault("_target_", f"xentlab.losses.{name}")
        terms[name], links[name] = bind_term(build_loss(path, node, on), on)
        data[f"terms.{name}.weight"] = factor
        data |= {f"terms.{name}.{knob}": value for knob, value in terms[name].data.items()}
    if len(set(links.values())) > 1:
        found = ", ".join(f"{name} {link}" for name, link in links.items())
        raise UserError(f"loss.terms must share one link, so that they speak of the same probabilities, got {found}.")
    if len({term.outputs for term in terms.values()}) > 1:
        found = ", ".join(f"{name} {term.outputs}" for name, term in terms.items())
        raise UserError(f"loss.terms must take equally many outputs for each target, got {found}.")
    return BoundLoss(terms, data, next(iter(links.values())), on)
