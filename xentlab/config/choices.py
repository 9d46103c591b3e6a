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


def settle(
    config: dict[str, Any],
    given: Sequence[str],
    chosen: Mapping[str, str],
    preset: Callable[[list[str]], Mapping[str, str]],
    group_node: GroupNode,
) -> list[str]:
    """Clear a composed config, in place, of what a preset had set for components that were chosen away.

    Args:
        config: resolved, as plain data.
        given: the overrides of the command line.
        chosen: group -> the file of it that was chosen in the end.
        preset: those that would be chosen under these overrides alone.
        group_node: composes one file of a group.

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
        node, another = dict(config[group]), component_name(config[group])
        replaced = node["_target_"] != plain["_target_"]
        if not replaced and before.get(group, chosen[group]) == chosen[group]:
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
        _neutral(config, changed, keys)
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


def _shared(group: str) -> set[str]:
    """The knobs that every component of a group has."""
    if group != "dataset":
        return set()
    from xentlab.data import soften, split
    from xentlab.schema import knobs

    return {*knobs(split), *knobs(soften)}


def _clear(comparison: dict[str, Any], group: str, node: Mapping[str, Any], keys: set[str]) -> list[str]:
    """Take out of a comparison the axes and grids of what was chosen away; their keys."""
    dropped = []
    axes, tune = comparison.get("axes") or {}, comparison.get("tune") or {}
    if group in axes and not any(key.startswith("comparison.axes") for key in keys):
        comparison["axes"] = {key: values for key, values in axes.items() if key != group}
        dropped.append(f"comparison.axes.{group}")
    if isinstance(tune.get(group), Mapping) and not any(key.startswith("comparison.tune") for key in keys):
        gone = [knob for knob in tune[group] if knob not in node]
        comparison["tune"] = tune | {group: {k: v for k, v in tune[group].items() if k not in gone}}
        dropped += [f"comparison.tune.{group}.{knob}" for knob in gone]
    return dropped


def _neutral(config: dict[str, Any], changed: Collection[str], keys: set[str]) -> None:
    """Give a comparison on other data or another model a question of its own, and no bounds of the former data."""
    comparison = config["comparison"]
    if not {"dataset", "model"} & set(changed):
        return
    dataset, model = (config[group].get("name") or component_name(config[group]) for group in ("dataset", "model"))
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
