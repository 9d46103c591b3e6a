"""Tuning: the same budget and the same seeds for every loss, chosen on validation. No test data can be reached here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xentlab.comparison.protocol import Protocol
from xentlab.comparison.search import ON_GRIDS, Point, Score, best, make_search, neighbours_within_noise, rank
from xentlab.journal import TrialRecord
from xentlab.train import Trial

RunArms = Callable[[Mapping[str, Sequence[Trial]]], dict[str, list[TrialRecord]]]
"""Brings the trials of every loss to their end and returns their records."""

MeasureNorm = Callable[[Trial], float]
"""The gradient norm of a trial's first batch at its first weights."""


@dataclass
class Tuning:
    """How one loss was tuned.

    Attributes:
        scores: every point that was tried, by the trials of it that were trained for most epochs.
        chosen: the point that its final trials use.
        on_edge: the keys whose best value is still the outermost that was tried.
        extended: how many points were added because a winner sat on an edge.
        flat: tuned key -> neighbouring values that the tuning seeds cannot tell from the chosen one.
        note: how the point was chosen, where it is not simply the best.
    """

    scores: dict[Point, Score] = field(default_factory=dict)
    chosen: Point = ()
    on_edge: tuple[str, ...] = ()
    extended: int = 0
    flat: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""


def tune(protocol: Protocol, monitor: str, run: RunArms, measure: MeasureNorm) -> dict[str, Tuning]:
    """Tune every loss at the protocol's budget and choose each loss's point by its fairness mode.

    Args:
        protocol: the comparison.
        monitor: the validation metric that selects.
        run: runs trials by loss and returns their records.
        measure: tells a trial's first gradient norm; asked in the mode `matched` only.
    """
    tunings = {label: Tuning() for label in protocol.losses}
    searches = {
        label: make_search(
            protocol.search,
            space,
            monitor,
            trials=protocol.trials,
            extensions=protocol.extensions,
            rungs=protocol.rungs,
        )
        for label, space in protocol.spaces.items()
    }
    while wanted := {label: points for label, s in searches.items() if (points := s.ask(tunings[label].scores))}:
        epochs, seeds = {label: searches[label].epochs for label in wanted}, protocol.tuning_seeds
        records = run(
            {
                label: [protocol.trial(label, p, s, test=False, epochs=epochs[label]) for p in points for s in seeds]
                for label, points in wanted.items()
            }
        )
        for label, points in wanted.items():
            for place, point in enumerate(points):
                of_point = records[label][place * len(seeds) : (place + 1) * len(seeds)]
                tunings[label].scores[point] = _score(of_point, monitor, epochs[label])
    for label, tuning in tunings.items():
        tuning.chosen = best(tuning.scores, monitor)
        tuning.on_edge = tuple(searches[label].edges(tuning.scores))
        tuning.extended = searches[label].extended
        judged = tuning.scores[tuning.chosen]
        if judged.epochs is not None and judged.value is not None:
            tuning.note = (
                f"every point that was trained for all epochs diverged: the best of those trained for {judged.epochs} "
                f"was chosen, INCONCLUSIVE tuning"
            )
        if protocol.search in ON_GRIDS:
            flat = {key: neighbours_within_noise(tuning.scores, tuning.chosen, key) for key in protocol.spaces[label]}
            tuning.flat = {key: values for key, values in flat.items() if values}
    if protocol.mode == "shared":
        _share(protocol, tunings, monitor)
    elif protocol.mode == "matched":
        _match(protocol, tunings, measure)
    return tunings


def _score(records: Sequence[TrialRecord], monitor: str, epochs: int | None) -> Score:
    values = tuple(final_value(r, f"val/{monitor}") for r in records)
    return Score(_mean(values), values, _mean([final_value(r, "val/nll") for r in records]), epochs)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, None where any value is missing."""
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def final_value(record: TrialRecord, key: str) -> float | None:
    """A trial's value at its last epoch, None where it diverged."""
    points = record.curves.get(key)
    return points[-1][2] if points and not record.outcome.diverged else None


def _share(protocol: Protocol, tunings: Mapping[str, Tuning], monitor: str) -> None:
    """One point for all: of those that every loss has tried, the one with the best mean rank over the losses."""
    common = set.intersection(*(set(t.scores) for t in tunings.values()))
    totals = dict.fromkeys(common, 0.0)
    for tuning in tunings.values():
        ordered = sorted(common, key=lambda p, t=tuning: rank(t.scores[p], monitor))  # type: ignore[misc]
        for place, point in enumerate(ordered):
            totals[point] += place
    shared = min(common, key=lambda p: (totals[p], rank(tunings[protocol.baseline].scores[p], monitor), p))
    for tuning in tunings.values():
        tuning.chosen, tuning.note = shared, "shared by all losses: best mean rank on validation"
        if len(protocol.rungs) > 1:
            tuning.note += ", points trained for more epochs before those trained for fewer"
        tuning.on_edge, tuning.flat = (), {}


def _match(protocol: Protocol, tunings: Mapping[str, Tuning], measure: MeasureNorm) -> None:
    """The baseline's learning rate, scaled for each loss so that first updates have the norm of the baseline's."""
    chosen = dict(tunings[protocol.baseline].chosen)
    seeds = protocol.tuning_seeds

    def norm(label: str) -> float:
        point = tuple(chosen.items())
        return statistics.fmean(measure(protocol.trial(label, point, s, test=False)) for s in seeds)

    reference = norm(protocol.baseline)
    for label, tuning in tunings.items():
        factor = 1.0 if label == protocol.baseline else reference / norm(label)
        rate = float(f"{chosen['optimizer.lr'] * factor:.4g}")
        tuning.chosen = tuple((k, rate if k == "optimizer.lr" else v) for k, v in chosen.items())
        tuning.note = f"matched: first updates as large as {protocol.baseline}'s, factor {factor:.4g}"
        tuning.on_edge, tuning.flat = (), {}
