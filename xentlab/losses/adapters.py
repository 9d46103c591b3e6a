"""From a loss and a task to what the training step needs: the bound function, its link, its targets and its weights.

Cross-entropy on multilabel data compares with the n-hot target divided by its sum (an example without a label weighs
0). One-vs-rest losses on a single true class see its one-hot target. Ignored pixels and class weights are weights of
the objective, for every loss alike; only a loss of images that takes `class_weights` weighs its classes itself.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from xentlab.errors import UserError
from xentlab.losses.contract import as_distribution, meaningful, probed_of, spec_of, standing_for, suits
from xentlab.schema import knobs
from xentlab.step import Facts, weighted_mean
from xentlab.tasks import Link, Task

# What a loss may take that is no fact of the training set: the objective has it where it is asked for.
_GIVEN = ("weight", "class_weights")

DataTerm = Callable[[Tensor, Tensor, Facts, Mapping[str, Any]], Tensor]


@dataclass(frozen=True)
class Term:
    """One loss inside an objective."""

    name: str  # of the function
    function: functools.partial[Tensor]  # `(logits, target, *asked, **float knobs) -> values`, structural knobs bound
    data: dict[str, float]  # the float knobs and their values; they may differ inside a stack
    structure: dict[str, Any]  # everything else that decides what it computes, as plain data
    asks: tuple[str, ...]  # what it takes after the target: `weight`, and facts of the training set by their names
    outputs: int = 1  # how many numbers of the model it takes for each target
    requires: tuple[str, ...] = ()  # facts of the training set without which it has no meaning

    def check_weight(self, what: str | None) -> None:
        """Refuse weights of single elements, called `what`, for a loss that has no values of single elements."""
        probed = probed_of(self.function)
        if what is not None and probed is not None and probed.reduces:
            raise UserError(
                f"loss {self.name} gives no value to single elements, so it cannot honour {what}: give one value per "
                f"element instead of a mean."
            )

    def reduce(
        self, logits: Tensor, target: Tensor, weight: Tensor | None, facts: Facts, knob_values: Mapping[str, Any]
    ) -> Tensor:
        """The weighted mean of its values, a scalar. A set loss weighs inside, and its examples count alike.

        Args:
            weight: of each element; without those of its class for a loss that takes `class_weights` itself.
        """
        asked = (weight if name == "weight" else facts.get(name) for name in self.asks)
        self.check_weight(None if weight is None else "weights of its elements")
        values = self.function(logits, target, *asked, **knob_values)
        if "weight" not in self.asks or weight is None:
            return weighted_mean(values, weight)
        return weighted_mean(values, (weight.flatten(1) > 0).any(1))


@dataclass(frozen=True)
class BoundLoss:
    """A loss as one task uses it: its terms, each with its factor in the sum."""

    terms: dict[str, Term]  # by their names in the config; a plain loss is one term called by the empty name
    data: dict[str, float]  # float knobs by their paths below `loss`, factors too; they may differ inside a stack
    link: Link  # from logits to probabilities, on this task
    task: Task  # which weighs its targets

    @property
    def needs(self) -> list[str]:
        """Which facts about the training set it and its task ask for."""
        asked = dict.fromkeys(name for term in self.terms.values() for name in term.asks if name not in _GIVEN)
        required = (name for term in self.terms.values() for name in term.requires)
        return list(dict.fromkeys((*self.task.always, *asked, *required)))

    @property
    def outputs(self) -> int:
        """How many numbers of the model it takes for each target."""
        return next(iter(self.terms.values())).outputs

    def reads(self, other: Self) -> bool:
        """Whether outputs that were trained under another loss of the task mean something to this one."""
        return self.outputs == other.outputs and self.task.alike(self.link, other.link)

    @property
    def structure(self) -> dict[str, Any]:
        """What two losses must share to train in one stack."""
        return {name: term.structure for name, term in self.terms.items()}

    @property
    def numbers(self) -> dict[str, Any]:
        """Its knobs that are numbers, alone or several, as a prediction may hang on them: by `loss.` and their path."""
        parts = {f"terms.{name}." if name else "": term.structure for name, term in self.terms.items()}
        known = self.data | {prefix + k: v for prefix, structure in parts.items() for k, v in structure.items()}
        return {f"loss.{k}": v for k, v in known.items() if _is_numeric(v)}

    @property
    def stacks(self) -> bool:
        """Whether several trials of it can be one tensor program."""
        return all(probed is None or probed.stacks for probed in map(probed_of, self.functions))

    @property
    def alone(self) -> bool:
        """Whether no two trials may train side by side, since they would share the state that a loss keeps."""
        return any(probed is not None and probed.alone for probed in map(probed_of, self.functions))

    def renew(self) -> None:
        """Forget the objects that losses from outside were called by, and what they have kept."""
        for function in self.functions:
            getattr(function.func, "renew", lambda: None)()

    @property
    def findings(self) -> list[str]:
        """What was found of losses from outside, a line for each."""
        found = [(term.name, probed_of(term.function)) for term in self.terms.values()]
        return [f"loss {name}: {probed}" for name, probed in found if probed is not None]

    def check_weights(self, what: str) -> None:
        """Refuse ignored elements or weights, called `what`, where a term gives single elements no value."""
        for term in self.terms.values():
            term.check_weight(what)

    @property
    def functions(self) -> list[functools.partial[Tensor]]:
        return [term.function for term in self.terms.values()]

    def data_term(self, ignore_index: int | None) -> DataTerm:
        """`(logits, target, facts, knobs) -> scalar` of one trial, with `knobs` as in `data`."""

        def data_term(logits: Tensor, target: Tensor, facts: Facts, values: Mapping[str, Any]) -> Tensor:
            plain = {name: fact for name, fact in facts.items() if name != "class_weights"}
            weighed = self.task.weigh(target, facts, ignore_index, self.link)
            counted = self.task.weigh(target, plain, ignore_index, self.link) if len(plain) < len(facts) else weighed
            if "" in self.terms:
                term = self.terms[""]
                return term.reduce(logits, *(counted if "class_weights" in term.asks else weighed), facts, values)
            parts = []
            for name, term in self.terms.items():
                target, weight = counted if "class_weights" in term.asks else weighed
                if "smoothing" in values and not self.task.numeric:
                    target = smooth(target, values["smoothing"], logits)
                own = {knob: values[f"terms.{name}.{knob}"] for knob in term.data}
                parts.append(values[f"terms.{name}.weight"] * term.reduce(logits, target, weight, facts, own))
            return torch.stack(parts).sum()

        return data_term

    def mass(self, ignore_index: int | None) -> Callable[[Tensor, Facts], Tensor]:
        """`(target, facts) -> scalar`: what a batch weighs beside others, so that their means make the mean of all."""
        term = next(iter(self.terms.values()))

        def mass(target: Tensor, facts: Facts) -> Tensor:
            known = {k: v for k, v in facts.items() if k != "class_weights" or k not in term.asks}
            weight = self.task.weigh(target, known, ignore_index, self.link)[1]
            if weight is None:
                return torch.tensor(float(len(target)), device=target.device)
            return ((weight.flatten(1) > 0).any(1) if "weight" in term.asks else weight).sum()

        return mass

    @property
    def mixed(self) -> bool:
        """Whether its terms weigh elements differently, so that no mean of means is the mean of all."""
        return len({tuple(name in term.asks for name in _GIVEN) for term in self.terms.values()}) > 1


def _is_numeric(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return bool(value) and all(isinstance(v, (int, float)) for v in value)
    return isinstance(value, (int, float))


def bind_term(loss: functools.partial[Any], task: Task) -> tuple[Term, Link]:
    """One loss as a term of an objective on `task`, and its link there."""
    spec, given = spec_of(loss), dict(loss.keywords)
    name = getattr(loss.func, "__name__", str(loss.func))
    if not suits(spec, task):
        others = ", ".join(meaningful(task)) or "none"
        raise UserError(
            f"loss {name} has no meaning on {task.name}: it is defined for {', '.join(spec.tasks)} only; those that "
            f"have one there: {others}."
        )
    own = standing_for(loss.func, task)
    for knob in [knob for knob in given if own is not loss.func and knob not in knobs(own)]:
        if given.pop(knob) is not None:
            raise UserError(f"loss.{knob} must be null on {task.name}, got {loss.keywords[knob]}.")
    loss, spec = functools.partial(own, **given), spec_of(own)
    link = task.link if spec.link == "task" else spec.link
    schema = knobs(loss.func)
    if spec.link == "task" and "link" in schema:
        link = given["link"] = given["link"] or link
    if link not in task.links:
        raise UserError(f"loss {name} must have a link of {task.name} ({', '.join(task.links)}), got {link}.")
    data = {k: v for k, v in given.items() if schema[k].is_data and not getattr(loss.func, "fixed", False)}
    structure = {k: v for k, v in given.items() if k not in data}
    positional = [p.name for p in inspect.signature(loss.func).parameters.values() if p.kind is not p.KEYWORD_ONLY][2:]
    asks = tuple(p for p in positional if p in _GIVEN or p in task.facts)
    function = functools.partial(loss.func, **structure)
    target = f"{loss.func.__module__}.{loss.func.__qualname__}"
    outputs = spec.outputs(given) if callable(spec.outputs) else spec.outputs
    return Term(name, function, data, {"_target_": target, **structure}, asks, outputs, spec.requires), link


def smooth(target: Tensor, smoothing: float | Tensor, logits: Tensor) -> Tensor:
    """The target as a distribution like `logits` with its share `smoothing` spread evenly over all classes."""
    return (1.0 - smoothing) * as_distribution(target, logits) + smoothing / logits.shape[1]
