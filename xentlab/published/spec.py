"""What one published experiment does, as its file in `configs/comparison/published` says it.

    size: cpu                       # which of `sizes`
    published:
      source: ...                   # author, year, where
      protocol: ...                 # in words, for the page
      choices: [...]                # what the source leaves open, and what is done here
      arms: {LABEL: SETTINGS}       # a training each; SETTINGS are laid over the composed config; `teacher` in them:
                                    # the arm whose networks' answers are learned, see `xentlab.published.teachers`
      over: {dataset: {label_noise: [0.0, 0.2]}}   # every arm once for each value
      tune: {optimizer: {lr: [0.01, 0.03]}}        # every arm at every seed chooses among these by its own validation
      sizes: {SIZE: {seeds, decides, words, set}}
      otherwise: {LABEL: {of: ARM, metric, set: SETTINGS}}   # an open choice made another way, to see if it matters
      claims: [...]                 # see `xentlab.published.claims.Claim`

SETTINGS are choices as in `xentlab.comparison.overlay`. A size lays its `set` over the protocol first; what the command
line names stands, and if that is a part of the protocol, the run tests no claim.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from xentlab.comparison.overlay import GroupNode, combinations, lay, leaves
from xentlab.comparison.search import Point
from xentlab.errors import UserError, unknown
from xentlab.published.claims import Claim
from xentlab.published.neuron import Neuron
from xentlab.published.teachers import Teacher, check_teachers, in_rounds, read_teacher
from xentlab.report.reproduction import ClaimKind
from xentlab.train import Trial, prepare
from xentlab.typed import from_json

SIZES = ("smoke", "cpu", "gpu", "full")


@dataclass(frozen=True)
class Size:
    """How large an experiment is.

    Attributes:
        words: what is smaller than in the source.
        seeds: trainings of each arm.
        decides: the kinds of claim whose own experiment this size is, in data and extent; the others are not tested.
        set: settings laid over the config.
    """

    words: str
    seeds: int = 1
    decides: list[ClaimKind] = field(default_factory=list)
    set: Any = None


@dataclass(frozen=True)
class Stuck:
    """A seed whose metric ends below a number has not learned; it is counted, and left out of `value` claims."""

    metric: str
    below: float


@dataclass(frozen=True)
class Otherwise:
    """An open choice made another way.

    Attributes:
        of: the arm that is trained once more.
        metric: what is compared.
        set: settings laid over the arm's.
    """

    of: str
    metric: str
    set: Any = None


@dataclass(frozen=True)
class Experiment:
    """The keys of `published` in a config; `neuron` stands where there is nothing to train in batches."""

    source: str
    protocol: str
    sizes: dict[str, Size]
    claims: list[Claim]
    choices: list[str] = field(default_factory=list)
    arms: Any = None
    over: Any = None
    tune: Any = None
    also: list[str] = field(default_factory=list)
    evaluate: list[Literal["temperature", "serving"]] = field(default_factory=list)
    stuck: Stuck | None = None
    otherwise: dict[str, Otherwise] = field(default_factory=dict)
    neuron: Neuron | None = None


@dataclass(frozen=True)
class Plan:
    """An experiment at one size, checked.

    Attributes:
        arms: label -> the trials of an arm, one for each seed.
        others: the same for the open choices that are made another way.
        teachers: label -> teacher, of the arms that have one; their trials here have the labels, see `distillation`.
        candidates: label -> for each seed a trial at each point, of arms that are tuned; they never see the test set.
    """

    name: str
    question: str
    block: Experiment
    size: str
    arms: dict[str, list[Trial]]
    others: dict[str, list[Trial]]
    teachers: dict[str, Teacher] = field(default_factory=dict)
    candidates: dict[str, list[dict[Point, Trial]]] = field(default_factory=dict)

    @property
    def rounds(self) -> list[list[str]]:
        """The labels of all arms as they are trained, one round after another: students after their teachers."""
        return in_rounds(self.every, self.teachers)

    @property
    def every(self) -> dict[str, list[Trial]]:
        """All that is trained, by its label."""
        return self.arms | self.others

    @property
    def at(self) -> Size:
        """What the chosen size says."""
        return self.block.sizes[self.size]


def read_plan(config: Mapping[str, Any], group_node: GroupNode, given: Collection[str] = ()) -> Plan:
    """The plan of a composed config.

    Args:
        config: with `published`, `size` and `comparison.name`.
        given: the keys that the command line names, dotted; a size leaves them as they are.

    Raises:
        UserError: a key is missing, unknown, or of a value that makes no sense; no data is read before.
    """
    block: Experiment = from_json(Experiment, config["published"], "published")
    size = str(config["size"])
    if size not in SIZES:
        raise UserError(f"size must be one of {', '.join(SIZES)}, got '{size}'.")
    if size not in block.sizes:
        raise unknown("size of this experiment", size, block.sizes)
    at = block.sizes[size]
    base = {k: copy.deepcopy(v) for k, v in config.items() if k not in ("published", "comparison", "size", "seed")}
    lay(base, at.set or {}, group_node, set(given))

    def trials(label: str, settings: Sequence[Mapping[str, Any]]) -> list[Trial]:
        arm = copy.deepcopy(base)
        for part in settings:
            lay(arm, {key: value for key, value in part.items() if key != "teacher"}, group_node)
        teacher = read_teacher(label, settings)
        if teacher is not None:
            teachers[label] = teacher
        points = [tuple(point.items()) for point in combinations(dict(leaves(block.tune)))] if block.tune else []
        for seed in range(at.seeds) if points else ():
            tried: dict[Point, Trial] = {}
            for point in points:
                candidate = {**copy.deepcopy(arm), "seed": seed}
                lay(candidate, dict(point), group_node, set(given))
                tried[point] = prepare(candidate, test=False, name=label)
            candidates.setdefault(label, []).append(tried)
        return [prepare({**arm, "seed": seed}, name=label) for seed in range(at.seeds)]

    teachers: dict[str, Teacher] = {}
    candidates: dict[str, list[dict[Point, Trial]]] = {}
    parts = dict(_arms(block))
    arms = {label: trials(label, settings) for label, settings in parts.items()}
    others: dict[str, list[Trial]] = {}
    for label, other in block.otherwise.items():
        if other.of not in arms:
            raise unknown(f"arm of published.otherwise.{label}", other.of, arms)
        others[label] = trials(label, [*parts[other.of], other.set or {}])
    if any(key.startswith("published.over.") for key in given):  # fewer of its values: fewer claims
        asked = [claim for claim in block.claims if {*claim.values, claim.better, claim.worse} <= {*arms, ""}]
        block = dataclasses.replace(block, claims=asked)
    for claim in block.claims:
        named = [*claim.values, *filter(None, (claim.better, claim.worse))]
        for arm_name in named if arms else ():
            if arm_name not in arms:
                raise unknown(f"arm of the claim '{claim.about}'", arm_name, arms)
    check_teachers(teachers, arms | others)
    facts = config["comparison"]
    changed = sorted(key for key in given if not _keeps_the_protocol(key))
    if changed:
        words = f"{at.words}, but {', '.join(changed)} set on the command line"
        block = dataclasses.replace(block, sizes=block.sizes | {size: dataclasses.replace(at, words=words, decides=[])})
    return Plan(str(facts["name"]), str(facts["question"]), block, size, arms, others, teachers, candidates)


# What the command line may name without leaving the protocol: where things are, and how they are computed.
_ASIDE = (
    "size", "comparison", "output", "tracking", "executor", "hydra", "dataset.root", "dataset.download",
    "trainer.device", "trainer.lift", "trainer.compile", "trainer.deterministic", "trainer.checkpoint_every",
    "trainer.max_stack", "trainer.memory", "trainer.eval_batch_size", "trainer.train_sample",
)  # fmt: skip


def _keeps_the_protocol(key: str) -> bool:
    """Whether a key of the command line says where or how, not what; more seeds are always welcome, fewer arms too."""
    if (key.startswith("published.sizes.") and key.endswith(".seeds")) or key.startswith("published.over."):
        return True
    return any(key == known or key.startswith(f"{known}.") for known in _ASIDE)


def _arms(block: Experiment) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Label and settings of every arm: each of `arms` once for every combination of `over`."""
    found = []
    for label, settings in dict(block.arms or {}).items():
        for choices in combinations(dict(leaves(block.over))):
            words = [str(label), *(f"{k.rpartition('.')[2].replace('_', ' ')} {v}" for k, v in choices.items())]
            parts: list[Mapping[str, Any]] = [dict(settings or {}), choices]
            teacher = read_teacher(str(label), parts)
            if teacher is not None:  # of the same combination
                parts.append({"teacher": " · ".join([teacher.arm, *words[1:]])})
            found.append((" · ".join(words), parts))
    return found
