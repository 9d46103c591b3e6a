"""A comparison's folder: beside its report, all that a stranger needs to run it again, and how folders are found.

protocol.yaml      the resolved config, and under `composed` the node of every loss (and group) that it names
environment.json   versions, code and hardware of the session that judged
trials.json        label, phase, signature and id of every trial
verdicts.json      the record that the report lays out
reproduction.json  only where the comparison ran another one again: how the two compare
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xentlab.comparison.overlay import GroupNode
from xentlab.disk import not_written, written_whole
from xentlab.errors import UserError, unknown
from xentlab.journal import Records, names_of
from xentlab.report import Record, Study
from xentlab.secrets import redacted
from xentlab.train import ALWAYS_NAMED
from xentlab.typed import from_json

OWN = ("output", "tracking", "executor")
"""Where a config runs and what hears of it: each machine's own, and no part of what is asked."""

Composed = dict[str, dict[str, dict[str, Any]]]
"""Group -> name -> node, as it was composed."""

_HEAD = "# All that this comparison was asked to do, resolved; `xentlab reproduce` runs it again.\n"


def remember(group_node: GroupNode, composed: Composed) -> GroupNode:
    """`group_node`, which also keeps in `composed` whatever it composes, and composes nothing twice."""

    def compose(group: str, name: str) -> dict[str, Any]:
        known = composed.setdefault(group, {})
        if name not in known:
            known[name] = group_node(group, name)
        return copy.deepcopy(known[name])

    return compose


def write_folder(
    folder: Path, config: Mapping[str, Any], composed: Composed, environment: Mapping[str, Any], trials: list[Any]
) -> None:
    """Write protocol, environment and the list of trials into a comparison's folder."""
    whole = redacted({**config, "composed": composed})  # of fresh mappings: YAML needs no aliases
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=120)
    (folder / "protocol.yaml").write_text(_HEAD + text, encoding="utf-8")
    for name, content in (("environment.json", environment), ("trials.json", trials)):
        (folder / name).write_text(json.dumps(redacted(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# Characters, and levels: the time that YAML takes grows with their product.
_LONGEST, _DEEPEST = 2**20, 32


def _check_yaml(text: str) -> None:
    """Refuse what would take hours to read, or stand for a billion nodes; looks at no more of it than that needs."""
    if len(text) > _LONGEST:
        raise UserError(f"protocol.yaml must be at most {_LONGEST} characters long, got {len(text)}.")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise UserError(f"protocol.yaml must be nested at most {_DEEPEST} deep.")
        if isinstance(event, yaml.AliasEvent):
            raise UserError("protocol.yaml must not hold aliases.")


def load_protocol(text: str) -> dict[str, Any]:
    """All that `protocol.yaml` says, as plain data; nothing that it names is looked up.

    Raises:
        UserError: the text is no such file.
    """
    try:
        _check_yaml(text)
        whole = from_json(Any, yaml.safe_load(text), "protocol.yaml")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"protocol.yaml must be YAML: {' '.join(str(error).split())}.") from error
    for key in ("comparison", "composed", "trainer", *ALWAYS_NAMED):
        if not isinstance(whole, dict) or not isinstance(whole.get(key), dict):
            raise UserError(f"protocol.yaml must be a mapping in which {key} is one too.")
    return dict(whole)


def recorded_config(whole: Mapping[str, Any]) -> tuple[dict[str, Any], GroupNode]:
    """The config in `load_protocol`'s answer, and what gives the nodes that it names, without any config file."""
    composed = whole["composed"]

    def node(group: str, name: str) -> dict[str, Any]:
        known = composed.get(group)
        known = known if isinstance(known, dict) else {}
        if not isinstance(known.get(name), dict):
            raise unknown(f"{group} of protocol.yaml", name, map(str, known))
        return as_before(known[name])

    config = {key: value for key, value in whole.items() if key != "composed"}
    # Until replicates repeated the whole procedure, every rate was chosen once.
    config["comparison"] = {"replicate": "point", **config["comparison"]}
    return config, node


def as_before(node: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's node as it meant when it was written: until there was an outer split, each seed drew its own test."""
    old = "test_fraction" in node and "outer_seed" not in node
    return {**node, **({"outer_seed": None} if old else {})}


def read_verdicts(folder: Path) -> Record | Study:
    """What a comparison's verdicts.json holds: one record, or a study of several.

    Raises:
        UserError: the file cannot be read, or is no such record.
    """
    path = folder / "verdicts.json"
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} must be JSON that can be read: {error}.") from error
    return read_record(whole)


def read_cells(folder: Path) -> dict[str, Record]:
    """The records of a comparison by their cells; the empty name where there is one only.

    Raises:
        UserError: see `read_verdicts`.
    """
    found = read_verdicts(folder)
    return {"": found} if isinstance(found, Record) else {cell.label: cell.record for cell in found.cells}


def read_record(whole: Any) -> Record | Study:
    """The record, or study of several, that plain JSON describes.

    Raises:
        UserError: it is none.
    """
    return Study.from_json(whole) if isinstance(whole, dict) and "cells" in whole else Record.from_json(whole)


def write_text(path: Path, text: str) -> None:
    """Write a file of a folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with written_whole(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise not_written("A report must be a file", path, error) from error


def groups_below(records: Records, group: str) -> list[str]:
    """A group and all groups under it, in the order in which they were opened."""
    found = {group}
    while True:
        more = {name for name, g in records.groups.items() if g.parent in found} - found
        if not more:
            return [name for name in records.groups if name in found]
        found |= more


def list_trials(records: Records, group: str) -> list[dict[str, str]]:
    """Label, phase, signature and id of every trial of a comparison, by cell and loss."""
    listed = []
    for name in groups_below(records, group):
        below = records.groups[name]
        for trial in (records.trials[member] for member in below.members):
            row = {"cell": below.tags["cell"]} if "cell" in below.tags else {}
            row |= {"label": below.name, "phase": phase(trial.tags), "signature": trial.signature, "trial": trial.id}
            listed.append(row)
    return listed


def phase(tags: Mapping[str, str]) -> str:
    """`tune` or `final`; a trial that `xentlab train` ran has seen its test set, as only final trials do."""
    return tags.get("phase", "final")


def folder_group(folder: Path) -> str:
    """The id of the comparison that a folder belongs to."""
    return folder.name.rpartition("-")[2]


def comparison_folders(root: Path) -> list[Path]:
    """The folders of all comparisons of a root, the newest last."""
    found = [path.parent for path in (root / "comparisons").glob("**/verdicts.json")]
    return sorted(found, key=folder_group)


def find_comparison(root: Path, name: str) -> Path:
    """The folder of a comparison, by its own name (`quickstart-2`), id, path, or the name that it shares with others.

    Of those that share a name it is the newest that reproduces no other.

    Raises:
        UserError: there is none.
    """
    folders = comparison_folders(root)
    for folder in folders:
        if name in (folder_group(folder), folder.name):
            return folder
    if (Path(name) / "verdicts.json").is_file():
        return Path(name)
    records = read_groups(root)
    own = {known: group for group, names in names_of(records.groups).items() for known in names}
    if name in own:
        group = records.groups[own[name]]
        found = [folder for folder in folders if folder_group(folder) == group.id]
        if found:
            return found[0]
        if group.removed:
            raise UserError(f"'{name}' is in the trash: `xentlab runs restore {name}` brings it back.")
        raise UserError(f"'{name}' has no report: it is a {group.kind} that has not come to its end.")
    named = [folder for folder in folders if _name(folder, root) == name]
    originals = [folder for folder in named if not (folder / "reproduction.json").exists()]
    if named:
        return (originals or named)[-1]
    if not folders:
        raise UserError(f"No comparison is recorded in {root}: run `xentlab compare comparison=quickstart`.")
    raise unknown("comparison", name, {_name(folder, root) for folder in folders})


def read_groups(root: Path) -> Records:
    """The groups of a root alone, without its trials, which takes a fraction of the time."""
    records = Records(root, without=("session", "trial", "member", "epoch", "end", "test"))
    records.update()
    return records


def own_name(root: Path, folder: Path) -> str:
    """The name that no other comparison has; its folder's where the journal does not know it."""
    return names_of(read_groups(root).groups).get(folder_group(folder), [folder.name])[0]


def _name(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root / "comparisons")).rpartition("-")[0]
