"""What one comparison does, as its config says it: which losses, tuned how, over which seeds, judged by what."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from xentlab.analysis import Looks, seeds_for
from xentlab.analysis.permutation import smallest_conclusive
from xentlab.comparison.loss_entries import LossNode, read_losses, read_values
from xentlab.comparison.overlay import leaves, set_key
from xentlab.comparison.search import (
    ON_GRIDS,
    Point,
    Rung,
    Search,
    SearchKind,
    Space,
    count_points,
    make_search,
    plan_rungs,
)  # fmt: skip
from xentlab.errors import UserError, unknown
from xentlab.report.setup import Mode, Replicated
from xentlab.schema import Pattern, PositiveFloat, PositiveInt, Range, check_knobs
from xentlab.train import Trial, prepare

NAME = Pattern(r"\w[\w.+ -]{0,63}", "a name of at most 64 letters, digits and blanks, or any of . _ + -")
Name = Annotated[str, NAME]
"""Names a folder as well."""
Seeds = Annotated[tuple[int, ...], Range(0, None)]
# Tuning seeds begin here, so that they never meet the final ones, which count from 0.
_FIRST_TUNING_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a config says of a comparison and its protocol takes as it is.

    Attributes:
        name: of the comparison.
        question: what it asks, one sentence.
        baseline: label of the loss that all others are compared with.
        search: `grid`; `halving`, the same grid in rungs of growing epochs; `sobol` or `optuna` with `trials` points
            between bounds.
        trials: points per loss for `sobol` and `optuna`.
        extensions: how often a grid may grow on the side where the winner sits on its edge.
        replicate: what each final seed repeats: the whole `procedure`, tuning on its own validation split; or the
            `point` that was chosen once, which is cheaper and leaves the variance of choosing out.
        margin: the largest difference of the judged metric that would not matter, or null.
        rounding: train the final seeds once more in float64, to see what rounding alone changes.
    """

    name: Name
    question: str
    baseline: str
    search: SearchKind = "grid"
    trials: Annotated[int, Range(1, 100_000)] | None = None
    extensions: Annotated[int, Range(0, 100)] = 2
    replicate: Replicated = "procedure"
    margin: PositiveFloat | None = None
    rounding: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings(Stated):
    """The keys of `comparison` in a config. Lists and mappings are read further by `read_protocol`.

    Attributes:
        losses: names, or one label with its knobs each; beside knobs an entry may name the `loss` behind its label, a
            `tune` of its own knobs, and a `seed_offset` added to its final seeds (which unpairs them: for A/A).
        tune: tuned keys as nested mappings, each with its grid or its two bounds, the same for every loss.
        eta: of `halving`: one in so many points goes on, for so many times the epochs.
        min_epochs: of `halving`: the fewest epochs that a point is judged by.
        tuning_seeds: of `point` a number, or the seeds themselves (null: 2); of `procedure` how many draws more each
            final seed tunes on beside its own (null: 0).
        final_seeds: a number, or the seeds themselves; disjoint from the tuning seeds. `auto` takes as many as the
            number of losses needs.
        looks: numbers of final seeds, ascending, at which verdicts are taken, alpha split over them; null for one look.
        modes: of fairness, one or several of `tuned`, `shared`, `matched`.
        axes: what the comparison is repeated over: groups (`dataset: [digits, mnist]`) or knobs, nested.
    """

    losses: tuple[Any, ...]
    tune: dict[str, Any]
    eta: Annotated[int, Range(2, None)] = 3
    min_epochs: PositiveInt = 3
    tuning_seeds: Annotated[int, Range(0, 10_000)] | Seeds | None = None
    final_seeds: Annotated[int, Range(2, 10_000)] | Seeds | Literal["auto"] = "auto"
    looks: Annotated[tuple[int, ...], Range(2, 10_000)] | None = None
    modes: tuple[str, ...] = ("tuned",)
    axes: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Protocol(Stated):
    """One comparison on one dataset and model under one fairness mode, checked.

    Attributes:
        base: the config of a trial, without loss and seed.
        losses: label -> config node of the loss, in the order in which they are shown.
        spaces: label -> the space that its tuning searches.
        rungs: how many points of each loss are tuned for how many epochs; one rung unless `search` is `halving`.
        seed_offsets: label -> what is added to its final seeds.
    """

    base: dict[str, Any]
    losses: dict[str, dict[str, Any]]
    spaces: dict[str, Space]
    rungs: tuple[Rung, ...]
    tuning_seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    looks: Looks | None
    mode: Mode
    seed_offsets: dict[str, int]

    @property
    def compared(self) -> int:
        """How many losses are compared with the baseline."""
        return len(self.losses) - 1

    @property
    def draws(self) -> tuple[int | None, ...]:
        """The replicates that tune for themselves: every final seed, or one for all, called None."""
        return self.final_seeds if self.replicate == "procedure" else (None,)

    def drawn(self, label: str, replicate: int | None) -> tuple[int, ...]:
        """The seeds of the tuning trials of one replicate; first its own, whose chosen trial meets the test set."""
        if replicate is None:
            return self.tuning_seeds
        more = len(self.tuning_seeds) // len(self.final_seeds)
        place = self.final_seeds.index(replicate) * more
        return (replicate + self.seed_offsets[label], *self.tuning_seeds[place : place + more])

    def at(self, seeds: int) -> Protocol:
        """The same with only the first final seeds."""
        if self.replicate == "point":
            return replace(self, final_seeds=self.final_seeds[:seeds])
        more = len(self.tuning_seeds) // len(self.final_seeds)
        return replace(self, final_seeds=self.final_seeds[:seeds], tuning_seeds=self.tuning_seeds[: seeds * more])

    @property
    def undecidable(self) -> str:
        """That no verdict can come of so few final seeds, and what number would do; empty where one can."""
        seeds = len(self.final_seeds)
        if seeds >= smallest_conclusive(0.05 / self.compared):
            return ""
        losses = f"{self.compared} loss{'es' if self.compared > 1 else ''}"
        return (
            f"{seeds} final seeds cannot make any of {losses} better or worse than {self.baseline}: "
            f"comparison.final_seeds={seeds_for(self.compared)} can."
        )

    @property
    def drawn_between(self) -> str:
        """Between which bounds points are drawn, and how many; empty where a grid is searched."""
        if self.search in ON_GRIDS:
            return ""
        shared = self.spaces[self.baseline]
        bounds = "; ".join(f"{key} between {low:g} and {high:g}" for key, (low, high) in shared.items())
        return f"comparison.search={self.search} draws {self.trials} points for each loss: {bounds}."

    def searching(self, label: str, monitor: str) -> Search:
        """A new search of one loss's space."""
        trials, space = self.trials, self.spaces[label]
        return make_search(self.search, space, monitor, trials=trials, extensions=self.extensions, rungs=self.rungs)

    def trial(self, label: str, point: Point, seed: int, *, test: bool, epochs: int | None = None) -> Trial:
        """One trial of one loss, for all epochs or fewer; only those with `test` may ever see test data."""
        config = copy.deepcopy(self.base)
        config["loss"], config["seed"] = copy.deepcopy(self.losses[label]), seed
        for key, value in point:
            set_key(config, key, value)
        if epochs is not None:
            config["trainer"]["epochs"] = epochs
        return prepare(config, test=test, name=label)

    def final_trials(self, label: str, point: Callable[[int], Point]) -> list[Trial]:
        """The trials that judge a loss, one for each final seed at the point that it uses."""
        seeds = ((seed, seed + self.seed_offsets[label]) for seed in self.final_seeds)
        return [self.trial(label, point(seed), own, test=True) for seed, own in seeds]

    @property
    def rounded(self) -> Protocol:
        """The same in float64, in which every sum is rounded elsewhere."""
        return replace(self, base={**self.base, "trainer": {**self.base["trainer"], "precision": "float64"}})

    def without(self, labels: Collection[str]) -> Protocol:
        """The same for the other losses alone."""
        left = [label for label in self.losses if label not in labels]
        losses, spaces = {k: self.losses[k] for k in left}, {k: self.spaces[k] for k in left}
        return replace(self, losses=losses, spaces=spaces, seed_offsets={k: self.seed_offsets[k] for k in left})


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The checked keys of `comparison`."""
    node = dict(config["comparison"])
    missing = [key for key in ("name", "question", "losses", "baseline", "tune") if key not in node]
    if missing:
        raise UserError(f"comparison.{missing[0]} is missing: a file of configs/comparison must give it.")
    node["axes"] = node.get("axes") or {}
    return Settings(**check_knobs("comparison", Settings, node))


def read_protocol(config: Mapping[str, Any], settings: Settings, mode: Mode, loss_node: LossNode) -> Protocol:
    """The protocol of one cell: a composed config without axes, under one fairness mode.

    Raises:
        UserError: a value that makes no sense; every mistake is found before the first trial.
    """
    base = {k: v for k, v in config.items() if k not in ("comparison", "loss", "seed")}
    nodes, own_spaces, offsets = read_losses(settings.losses, loss_node)
    if settings.baseline not in nodes:
        raise unknown("comparison.baseline", settings.baseline, nodes)
    common = {key: read_values(key, values) for key, values in leaves(settings.tune)}
    spaces: dict[str, Space] = {label: {**common, **own_spaces[label]} for label in nodes}
    if settings.search not in ON_GRIDS:  # between the ends of what was a grid
        spaces = {x: {k: (v[0], v[-1]) if len(v) > 1 else v for k, v in space.items()} for x, space in spaces.items()}
    sizes = {label: count_points(settings.search, space, settings.trials) for label, space in spaces.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{label} {size}" for label, size in sizes.items())
        raise UserError(
            f"comparison.tune must give every loss the same number of trials, got {found}: "
            f"use comparison.search=sobol with comparison.trials=N."
        )
    if mode == "matched" and "optimizer.lr" not in common:
        raise UserError("comparison.modes: matched scales optimizer.lr, which comparison.tune does not name.")
    if settings.rounding and base["trainer"]["precision"] == "float64":
        raise UserError("comparison.rounding must be false with trainer.precision=float64, which it compares with.")
    looks = None if settings.looks is None else Looks(settings.looks)
    wanted = settings.final_seeds if looks is None else looks.seeds[-1]
    final = _read_seeds("final_seeds", seeds_for(len(nodes) - 1) if wanted == "auto" else wanted, 0)
    tuning = _tuning_seeds(settings.replicate, settings.tuning_seeds, len(final))
    for label, offset in offsets.items():
        shared = sorted({s + offset for s in final} & set(tuning))
        if shared:
            what = f" of {label}" if offset else ""
            raise UserError(f"comparison.final_seeds{what} must not hold a tuning seed, got {shared[0]} in both.")
    if len(final) < 2:
        raise UserError(f"comparison.final_seeds must be at least 2 seeds, got {len(final)}.")
    protocol = Protocol(
        **{field.name: getattr(settings, field.name) for field in fields(Stated)},
        base=base,
        losses=nodes,
        spaces=spaces,
        rungs=_rungs(settings, sizes[settings.baseline], base["trainer"]["epochs"]),
        tuning_seeds=tuning,
        final_seeds=final,
        looks=looks,
        mode=mode,
        seed_offsets=offsets,
    )
    for label, space in spaces.items():
        for corner in (0, -1):
            protocol.trial(label, tuple((k, v[corner]) for k, v in space.items()), final[0], test=True)
    return protocol


def _rungs(settings: Settings, points: int, epochs: int) -> tuple[Rung, ...]:
    """How long each loss's points are trained."""
    if settings.search == "halving":
        if "trainer.epochs" in dict(leaves(settings.tune)):
            raise UserError(
                "comparison.tune must not name trainer.epochs with comparison.search=halving, which sets them."
            )
        return plan_rungs(points, epochs, eta=settings.eta, min_epochs=settings.min_epochs)
    return (Rung(points, epochs),)


def _tuning_seeds(replicate: Replicated, value: int | tuple[int, ...] | None, final: int) -> tuple[int, ...]:
    """The tuning seeds of a `comparison.tuning_seeds`: those of all, or in turn those of each of the final seeds."""
    if replicate == "point":
        return _read_seeds("tuning_seeds", 2 if value is None else value, _FIRST_TUNING_SEED)
    if isinstance(value, tuple):
        raise UserError(
            f"comparison.tuning_seeds must be a number of draws for each final seed with "
            f"comparison.replicate=procedure, got {list(value)}: seeds are listed with comparison.replicate=point."
        )
    return tuple(range(_FIRST_TUNING_SEED, _FIRST_TUNING_SEED + (value or 0) * final))


def _read_seeds(key: str, value: int | tuple[int, ...], first: int) -> tuple[int, ...]:
    """A count of seeds, or the seeds themselves."""
    seeds = tuple(range(first, first + value)) if isinstance(value, int) else value
    if not seeds or len(set(seeds)) < len(seeds):
        given = value if isinstance(value, int) else list(value)
        raise UserError(f"comparison.{key} must be different seeds, at least one, got {given}.")
    return seeds
