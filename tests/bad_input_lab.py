"""Bad input, made from the rules: every key of every config, and for each the values that its rule refuses."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from xentlab.comparison.protocol import Settings
from xentlab.config.compose import config_dir
from xentlab.config.opening import OutputKnobs, TrackingKnobs
from xentlab.data import soften, split
from xentlab.dotted import locate
from xentlab.losses.contract import spec_of
from xentlab.schema import Knob, Range, knobs
from xentlab.train import Trainer

# What no key takes, and what most do not: those that a rule allows are left out below.
_POOL = (
    None, True, "", " ", "maybe", 7, -1, 0, 1.5, math.nan, math.inf, -math.inf, 1e30, 10**400, [], [None], ["a", 7],
    [-1], [math.nan], {"a": 1},
)  # fmt: skip
_WORLDS = {
    "multiclass": (),
    "segmentation": ("dataset=scenes_small", "model=unet"),
    "multilabel": ("dataset=multilabel_synthetic",),
    "regression": ("dataset=diabetes",),
}


@dataclass(frozen=True)
class Key:
    """One key of a config: the command and the choices under which it stands, its name there, and its rule."""

    command: str
    choices: tuple[str, ...]
    name: str
    knob: Knob

    def words(self, value: Any) -> list[str]:
        """The command line that gives it this value."""
        return [self.command, *self.choices, f"{self.name}={written(value)}"]


def every_key() -> Iterator[Key]:
    """Every key of every config that is ours."""
    yield Key("train", (), "seed", Knob("seed", int, 0, Range(0, None)))
    for part, schema in (("trainer", Trainer), ("output", OutputKnobs), ("tracking", TrackingKnobs)):
        yield from (Key("train", (), f"{part}.{name}", knob) for name, knob in knobs(schema).items())
    yield from (Key("compare", (), f"comparison.{name}", knob) for name, knob in knobs(Settings).items())
    for group in ("dataset", "model", "loss", "regularizer", "optimizer", "schedule", "augment", "executor"):
        for file in sorted((config_dir() / group).glob("*.yaml")):
            function = locate(group, yaml.safe_load(file.read_text())["_target_"])
            needed = [f"{group}.{knob.name}=x" for knob in knobs(function).values() if knob.required]
            choices = (f"{group}={file.stem}", *needed)
            if group == "loss":
                choices = (*_WORLDS[spec_of(function).tasks[0]], *choices)
            found = {**knobs(function), **(knobs(split) | knobs(soften) if group == "dataset" else {})}
            if file.stem != "torchvision":  # torchvision's own signatures have no rules of ours
                yield from (Key("train", choices, f"{group}.{name}", knob) for name, knob in found.items())


def bad_values(knob: Knob) -> list[Any]:
    """The values of the pool, and those beside the bounds of its range, that the rule refuses."""
    found = list(_POOL)
    for one in (knob, *knob.others):
        for bound, outwards in ((one.range.low, -1), (one.range.high, 1)) if one.range else ():
            if bound is not None:
                found += [bound, bound + outwards, [bound + outwards]]
    return [value for value in found if not any(_fits(one, value) for one in (knob, *knob.others))]


def _fits(knob: Knob, value: Any) -> bool:
    """Whether a value obeys a rule, read anew from what the rule says of itself."""
    if value is None:
        return knob.optional
    if knob.choices:
        return any(value is choice or (type(value) is type(choice) and value == choice) for choice in knob.choices)
    if knob.kind is list:
        items = value if isinstance(value, list) else [object()]
        return all(knob.item is None or _fits(Knob("", knob.item, 0, knob.range), item) for item in items)
    if knob.kind in (int, float):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        counts = knob.kind is int or isinstance(value, int)  # as an integer, which 64 bits hold
        if not (abs(value) < 2**63 if counts else math.isfinite(value)):
            return False
        return (knob.kind is float or float(value).is_integer()) and (knob.range is None or value in knob.range)
    if knob.kind is str:
        return isinstance(value, str) and (value in knob.pattern if knob.pattern else bool(value.strip()))
    return type(value) is knob.kind


def written(value: Any) -> str:
    """A value as Hydra's grammar has it."""
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else str(value).lower()


def drawn(seed: int) -> list[list[str]]:
    """A bad command line for every key, drawn by a seed; more of them with other seeds."""
    generator = random.Random(seed)
    return [key.words(generator.choice(bad_values(key.knob))) for key in every_key()]
