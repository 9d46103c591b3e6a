"""A recorded comparison with losses or seeds more: the same protocol, so that whatever it has trained is reused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xentlab.comparison.cells import StudyPlan, read_study
from xentlab.comparison.estimate import trials_by_phase
from xentlab.comparison.folder import OWN, Composed, find_comparison, load_protocol, own_name, recorded_config, remember
from xentlab.comparison.overlay import GroupNode
from xentlab.errors import UserError
from xentlab.run.session import Session

ADDED = "comparison.losses+"
_MAY = ("comparison.losses", "comparison.final_seeds")


@dataclass(frozen=True)
class Extension:
    """What is to run: the plan, its config, the nodes that it names, and the own name of what it extends."""

    study: StudyPlan
    config: dict[str, Any]
    composed: Composed
    name: str

    def say_in(self, session: Session) -> str:
        """Have the journal say what is extended; returns one sentence on what the record gives."""
        extends = {"extends": self.name}
        session.journal.tags = lambda event: extends if getattr(event, "kind", "") == "comparison" else {}
        return self.reuse_in(session)

    def reuse_in(self, session: Session) -> str:
        """One sentence on what the record gives, and what is left to train, before any grid grows."""
        phases = [trials_by_phase(setting.protocol) for setting in self.study.settings]
        trials = {session.signature(t): t for of in phases for some in of.values() for t in some}
        known = sum(session.recorded(trial) is not None for trial in trials.values())
        why = "" if known else ": the code, torch or the data are not what they were"
        return (
            f"extends {self.name}: {known} of {len(trials)} trials are recorded and reused, "
            f"{len(trials) - known} are to be trained{why}"
        )


def read_extension(
    name: str, config: Mapping[str, Any], keys: Collection[str], group_node: GroupNode, *, added: bool
) -> Extension:
    """The comparison of a record with what a command adds.

    Args:
        name: of the record, in `output.root` of the config.
        config: of the command; of its `comparison` the keys that were given count.
        keys: that were given.
        group_node: composes what the record does not name.
        added: whether the losses come in addition.

    Raises:
        UserError: something else was given, or nothing.
    """
    other = sorted(key for key in keys if key not in _MAY and key.partition(".")[0] not in OWN)
    if other or not {*keys} & {*_MAY} or ("comparison.losses" in keys and not added):
        got = ", ".join(other) or ("comparison.losses=" if "comparison.losses" in keys else "neither")
        raise UserError(
            f"--extend takes {ADDED}=[NAME, ...] and comparison.final_seeds=N, beside output, tracking and executor, "
            f"got {got}: whatever else changes makes another comparison."
        )
    root = Path(config["output"]["root"])
    folder = find_comparison(root, name)
    whole = load_protocol((folder / "protocol.yaml").read_text(encoding="utf-8"))
    recorded, recorded_node = recorded_config(whole)
    comparison = dict(recorded["comparison"])
    if added:
        comparison["losses"] = [*comparison["losses"], *config["comparison"]["losses"]]
    if "comparison.final_seeds" in keys:
        comparison["final_seeds"] = config["comparison"]["final_seeds"]

    def node(group: str, wanted: str) -> dict[str, Any]:
        return (recorded_node if wanted in whole["composed"].get(group, {}) else group_node)(group, wanted)

    composed: Composed = {}
    new = {**recorded, **{key: config[key] for key in OWN}, "comparison": comparison}
    return Extension(read_study(new, remember(node, composed)), new, composed, own_name(root, folder))
