"""A choice replaces what it replaces: what a preset had set for another component does not linger in a config.

Hydra merges the files of all choices. So a comparison that gives its MLP hidden layers would give them to the LeNet
that a command line chooses instead. `settle` drops what was meant for another component, and says so; what the command
line itself names stays, to be used or refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from xentlab.comparison.overlay import GroupNode
from xentlab.train import COMPONENTS, component_name
from xentlab.train.trial import dataset_of, task_of


def of_its_task(config: Mapping[str, Any], given: Sequence[str], ready: Collection[str]) -> str | None:
    """Of the `ready` comparisons the one called after the data's task; None where the default one will do."""
    keys = given_keys(given)
    if not isinstance(config.get("comparison"), Mapping) or not isinstance(config.get("dataset"), Mapping):
        return None
    if "comparison" in keys or not {"dataset", "dataset._target_"} & keys:
        return None
    task = task_of(dataset_of(config["dataset"])[0]).name
    return task if task in ready else None


def settle(
    config: dict[str, Any],
    given: Sequence[str],
    chosen: Mapping[str, str],
    preset: Callable[[list[str]], Mapping[str, str]],
    group_node: GroupNode,
) -> list[str]:
    """Clear a composed config, in place, of what a preset had set for components that were chosen away.

    Args:
        chosen: group -> the file of it that was chosen in the end.
        preset: those that would be chosen under these overrides alone.

    Returns:
        What was dropped, a sentence for each component.
    """
    given = [override for override in given if not override.startswith("~")]
    keys = given_keys(given)
    mine = [group for group in COMPONENTS if {group, f"{group}._target_"} & keys]
    if not mine or "published" in config:
        return []
    comparison = config.get("comparison")
    before: Mapping[str, str] = {}
    if comparison is not None:
        before = preset([o for o in given if not any(k.partition(".")[0] in COMPONENTS for k in given_keys([o]))])
    said, changed = [], []
    for group in mine:
        own = {key.split(".")[1] for key in keys if key.startswith(f"{group}.")}
        plain = group_node(group, chosen[group])
        node, another = dict(config[group]), _called(group, config, chosen, keys)
        replaced = node["_target_"] != plain["_target_"]
        crossed = comparison is not None and isinstance((comparison.get("axes") or {}).get(group), Sequence)
        if not replaced and not crossed and before.get(group, chosen[group]) == chosen[group]:
            continue
        changed.append(group)
        kept = _shared(group) if replaced else set(plain)
        config[group] = {k: v for k, v in plain.items() if k in kept or k.startswith("_")}
        config[group] |= {k: v for k, v in node.items() if k.partition(".")[0] in own}
        dropped = [k for k, v in node.items() if config[group].get(k) != v and (k not in plain or plain[k] != v)]
        if comparison is not None:
            dropped += _clear(comparison, group, config[group], keys)
        if dropped:
            said.append(f"{group}={another} does without what was set for another {group}: {', '.join(dropped)}.")
    if comparison is not None:
        names = [_called(group, config, chosen, keys) for group in ("dataset", "model")]
        _neutral(config, changed, keys, *names)
    return said


def given_keys(overrides: Iterable[str]) -> set[str]:
    """The dotted keys that overrides name; one that gives a mapping names each of its keys too."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = set()
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        key = key.partition("@")[0].replace("/", ".")
        mapping = OverridesParser.create().parse_override(override).value() if value.startswith("{") else {}
        found |= {key, *(f"{key}.{inner}" for inner in mapping)}
    return found


def _called(group: str, config: Mapping[str, Any], chosen: Mapping[str, str], keys: Collection[str]) -> str:
    """What a person calls a component: by its own name, the file that was chosen, or the last word of its path."""
    by_path = f"{group}._target_" in keys
    return str(config[group].get("name") or (component_name(config[group]) if by_path else chosen[group]))


def _shared(group: str) -> set[str]:
    """The knobs that every component of a group has."""
    from xentlab.data import soften, split
    from xentlab.models import Start
    from xentlab.schema import knobs

    return {knob for each in {"dataset": (split, soften), "model": (Start,)}.get(group, ()) for knob in knobs(each)}


def _clear(comparison: dict[str, Any], group: str, node: Mapping[str, Any], keys: set[str]) -> list[str]:
    """Take out of a comparison the axes and grids of what was chosen away; their keys."""
    dropped = []
    for name in ("axes", "tune"):
        held = comparison.get(name) or {}
        if group not in held or any(key.startswith(f"comparison.{name}") for key in keys):
            continue
        known = held[group] if isinstance(held[group], Mapping) else {}
        left = {knob: values for knob, values in known.items() if knob in node}
        comparison[name] = {k: v for k, v in held.items() if k != group} | ({group: left} if left else {})
        gone = [f"comparison.{name}.{group}.{knob}" for knob in known if knob not in node]
        dropped += gone if known else [f"comparison.{name}.{group}"]
    return dropped


def _neutral(config: dict[str, Any], changed: Collection[str], keys: set[str], dataset: str, model: str) -> None:
    """Give a comparison on other data or another model a question of its own, and no bounds of the former data."""
    comparison = config["comparison"]
    if not {"dataset", "model"} & set(changed):
        return
    if "comparison.question" not in keys:
        comparison["question"] = f"Does the loss matter for {model} on {dataset}?"
    if "dataset" not in changed:
        return
    if "comparison.name" not in keys:
        comparison["name"] = f"{dataset}_{model}"
    if "comparison.margin" not in keys:
        comparison["margin"] = None
    if "trainer.target" not in keys:
        config["trainer"]["target"] = None
