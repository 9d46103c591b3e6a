"""Tuning: the same budget and the same seeds for every loss, chosen on validation. No test data can be reached here.

A replicate is one run of the whole procedure. It tunes on its own draws (a draw is a seed: a validation split, first
weights, an order), chooses, and extends its grid where the winner sits on the edge. With `replicate=procedure` every
final seed is a replicate, whose first draw is the seed itself; with `replicate=point` there is one, and its choice is
used for all final seeds.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xentlab.comparison.protocol import Protocol
from xentlab.comparison.search import Point, Score, Search, best_point, neighbours_within_noise, rank
from xentlab.journal import TrialRecord
from xentlab.train import Trial

RunArms = Callable[[Mapping[str, Sequence[Trial]]], dict[str, list[TrialRecord]]]
"""Brings the trials of every loss to their end and returns their records."""

MeasureNorm = Callable[[Trial], float]
"""The gradient norm of a trial's first batch at its first weights."""

# Where more replicates than these choose the outermost value that was tried, tuning is inconclusive.
_EDGE_SHARE = 0.2


@dataclass
class Replicate:
    """How one replicate of one loss was tuned.

    Attributes:
        draws: the seeds of its tuning trials.
        scores: every point that was tried, by the trials of it that were trained for most epochs.
        chosen: the point that it uses.
        on_edge: the keys whose best value is still the outermost that was tried.
        extended: how many points were added because a winner sat on an edge.
        note: how the point was chosen, where it is not simply the best.
    """

    draws: tuple[int, ...]
    scores: dict[Point, Score] = field(default_factory=dict)
    chosen: Point = ()
    on_edge: tuple[str, ...] = ()
    extended: int = 0
    note: str = ""


@dataclass(frozen=True)
class Tuning:
    """How one loss was tuned: its replicates by their seed; a single one, by None, where the rates are chosen once."""

    replicates: dict[int | None, Replicate]

    def chosen(self, seed: int) -> Point:
        """The point that a final seed uses."""
        return self.replicates[seed if seed in self.replicates else None].chosen

    @property
    def times(self) -> dict[Point, int]:
        """How often each point was chosen, the most frequent first."""
        counts = Counter(r.chosen for r in self.replicates.values())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def scores(self) -> dict[Point, Score]:
        """Every point that any replicate tried, by the mean over the draws of those that tried it for most epochs."""
        found: dict[Point, list[Score]] = {}
        for replicate in self.replicates.values():
            for point, score in replicate.scores.items():
                found.setdefault(point, []).append(score)
        return {point: _together(scores) for point, scores in found.items()}

    @property
    def on_edge(self) -> dict[str, int]:
        """Key -> how many replicates chose its outermost value, where they are too many to conclude from."""
        counts = Counter(key for replicate in self.replicates.values() for key in replicate.on_edge)
        return {key: count for key, count in counts.items() if count > _EDGE_SHARE * len(self.replicates)}

    @property
    def extended(self) -> int:
        """How many points were added in all."""
        return sum(replicate.extended for replicate in self.replicates.values())

    @property
    def notes(self) -> list[str]:
        """What is to be said of the choice, each thing once."""
        return list(dict.fromkeys(r.note for r in self.replicates.values() if r.note))

    def flat(self, keys: Sequence[str]) -> dict[str, list[float]]:
        """Tuned key -> neighbours of the most frequent choice that the draws do not tell from it."""
        found = {key: neighbours_within_noise(self.scores, next(iter(self.times)), key) for key in keys}
        return {key: values for key, values in found.items() if values}


def tune(protocol: Protocol, monitor: str, run: RunArms, measure: MeasureNorm) -> dict[str, Tuning]:
    """Tune every replicate of every loss at the protocol's budget and choose its point by the fairness mode.

    Args:
        run: runs trials by loss and returns their records.
        measure: tells a trial's first gradient norm; asked in the mode `matched` only.
    """
    draws = protocol.draws
    tuned = {key: {label: Replicate(protocol.drawn(label, key)) for label in protocol.losses} for key in draws}
    searches = {(key, label): protocol.searching(label, monitor) for key in draws for label in protocol.losses}
    while _round(protocol, monitor, run, tuned, searches):
        pass
    for key, replicates in tuned.items():
        for label, replicate in replicates.items():
            search = searches[key, label]
            replicate.chosen = best_point(replicate.scores, monitor)
            replicate.on_edge, replicate.extended = tuple(search.edges(replicate.scores)), search.extended
            judged = replicate.scores[replicate.chosen]
            if judged.epochs is not None and judged.value is not None:
                replicate.note = (
                    f"every point that was trained for all epochs diverged: the best of those trained for "
                    f"{judged.epochs} was chosen, INCONCLUSIVE tuning"
                )
        if protocol.mode == "shared":
            _share(protocol, replicates, monitor)
        elif protocol.mode == "matched":
            _match(protocol, replicates, measure)
    return {label: Tuning({key: tuned[key][label] for key in draws}) for label in protocol.losses}


Searches = Mapping[tuple[int | None, str], Search]
Tuned = Mapping[int | None, Mapping[str, Replicate]]


def _round(protocol: Protocol, monitor: str, run: RunArms, tuned: Tuned, searches: Searches) -> bool:
    """Train what the searches ask for, all replicates and losses at once; whether any asked for more."""
    jobs: dict[str, list[tuple[int | None, Point]]] = {label: [] for label in protocol.losses}
    for (key, label), search in searches.items():
        jobs[label] += [(key, point) for point in search.ask(tuned[key][label].scores)]
    trials = {
        label: [
            protocol.trial(label, point, seed, test=False, epochs=searches[key, label].epochs)
            for key, point in asked
            for seed in tuned[key][label].draws
        ]
        for label, asked in jobs.items()
        if asked
    }
    if not trials:
        return False
    records = run(trials)
    for label in trials:
        rows = iter(records[label])
        for key, point in jobs[label]:
            replicate = tuned[key][label]
            own = [next(rows) for _ in replicate.draws]
            values = tuple(final_value(record, f"val/{monitor}") for record in own)
            nll = _mean([final_value(record, "val/nll") for record in own])
            replicate.scores[point] = Score(_mean(values), values, nll, searches[key, label].epochs)
    return True


def _together(scores: Sequence[Score]) -> Score:
    """One score over the draws of all replicates that tried a point for as many epochs as any."""
    longest = None if any(s.epochs is None for s in scores) else max(s.epochs or 0 for s in scores)
    kept = [s for s in scores if s.epochs == longest]
    if len(kept) == 1:
        return kept[0]
    values = tuple(value for score in kept for value in score.values)
    return Score(_mean(values), values, _mean([score.nll for score in kept]), kept[0].epochs)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, None where any value is missing."""
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def final_value(record: TrialRecord, key: str) -> float | None:
    """A trial's value under its final weights, None where it diverged."""
    return None if record.outcome.diverged else record.final(key)


def _share(protocol: Protocol, replicates: Mapping[str, Replicate], monitor: str) -> None:
    """One point for all: of those that every loss has tried, the one with the best mean rank over the losses."""
    common = set.intersection(*(set(r.scores) for r in replicates.values()))
    totals = dict.fromkeys(common, 0.0)
    for replicate in replicates.values():
        ordered = sorted(common, key=lambda p, r=replicate: rank(r.scores[p], monitor))  # type: ignore[misc]
        for place, point in enumerate(ordered):
            totals[point] += place
    shared = min(common, key=lambda p: (totals[p], rank(replicates[protocol.baseline].scores[p], monitor), p))
    for replicate in replicates.values():
        replicate.chosen, replicate.note = shared, "shared by all losses: best mean rank on validation"
        if len(protocol.rungs) > 1:
            replicate.note += ", points trained for more epochs before those trained for fewer"
        replicate.on_edge = ()


def _match(protocol: Protocol, replicates: Mapping[str, Replicate], measure: MeasureNorm) -> None:
    """The baseline's learning rate, scaled for each loss so that first updates have the norm of the baseline's."""
    chosen = dict(replicates[protocol.baseline].chosen)

    def norm(label: str) -> float:
        point, draws = tuple(chosen.items()), replicates[label].draws
        return statistics.fmean(measure(protocol.trial(label, point, s, test=False)) for s in draws)

    reference = norm(protocol.baseline)
    for label, replicate in replicates.items():
        factor = 1.0 if label == protocol.baseline else reference / norm(label)
        rate = float(f"{chosen['optimizer.lr'] * factor:.4g}")
        replicate.chosen = tuple((k, rate if k == "optimizer.lr" else v) for k, v in chosen.items())
        replicate.note = f"matched: first updates as large as {protocol.baseline}'s"
        if None in protocol.draws:
            replicate.note += f", factor {factor:.4g}"
        replicate.on_edge = ()
