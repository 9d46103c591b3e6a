"""Successive halving: the same rungs for every loss, whatever the scores."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from xentlab.comparison.search import (
    Halving,
    Point,
    Rung,
    Score,
    Scores,
    Space,
    best_point,
    neighbours_within_noise,
    plan_rungs,
    trial_epochs,
)
from xentlab.errors import UserError
from xentlab.report.facts import describe_rungs

Values = Callable[[float, int], float | None]

RATES: Space = {"optimizer.lr": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
RUNGS = plan_rungs(6, 18, eta=3, min_epochs=2)  # 6 points for 2 epochs, 2 for 6, 1 for 18


def climb(values: Values, *, monitor: str = "error", extensions: int = 0) -> tuple[list[Rung], Scores, Halving]:
    """Run a search on simulated scores: the rungs that it asked for, the scores, and the search."""
    search = Halving(RATES, monitor, RUNGS, extensions)
    scores: dict[Point, Score] = {}
    asked = []
    while points := search.ask(scores):
        assert len(set(points)) == len(points)
        epochs = search.epochs or RUNGS[-1].epochs
        asked.append(Rung(len(points), epochs))
        for point in points:
            scores[point] = Score(values(dict(point)["optimizer.lr"], epochs), epochs=search.epochs)
    return asked, scores, search


def rate(point: Point) -> float:
    return dict(point)["optimizer.lr"]


def reached(scores: Scores, epochs: int | None) -> set[float]:
    return {rate(p) for p, s in scores.items() if s.epochs == epochs}


@pytest.mark.parametrize(
    ("points", "epochs", "eta", "min_epochs", "said"),
    [
        (5, 30, 3, 3, "5 points for 3 epochs, the best 2 for 10, the best 1 for 30"),
        (5, 30, 3, 4, "5 points for 10 epochs, the best 2 for 30"),
        (9, 27, 3, 1, "9 points for 3 epochs, the best 3 for 9, the best 1 for 27"),
        (16, 8, 2, 1, "16 points for 1 epoch, the best 8 for 2, the best 4 for 4, the best 2 for 8"),
        (2, 9, 4, 2, "2 points for 2 epochs, the best 1 for 9"),
    ],
)
def test_rungs_by_hand(points: int, epochs: int, eta: int, min_epochs: int, said: str) -> None:
    assert describe_rungs(plan_rungs(points, epochs, eta=eta, min_epochs=min_epochs)) == said


def test_rungs_are_as_many_as_points_and_epochs_allow() -> None:
    drawn = random.Random(0)
    for _ in range(500):
        eta, least, points = drawn.randint(2, 5), drawn.randint(1, 6), drawn.randint(2, 60)
        epochs = drawn.randint(eta * least, 200)
        rungs = plan_rungs(points, epochs, eta=eta, min_epochs=least)
        assert len(rungs) >= 2
        assert (rungs[0].points, rungs[-1].epochs) == (points, epochs)
        assert rungs[0].epochs >= least
        assert rungs[-1].points == 1 or rungs[0].epochs // eta < least  # no further rung could be put in
        for below, above in itertools.pairwise(rungs):
            assert below.points > above.points >= below.points / eta > above.points - 1
            assert below.epochs == above.epochs // eta


@pytest.mark.parametrize(
    ("points", "epochs", "sentence"),
    [(1, 9, "needs at least 2 points for each loss, got 1"), (4, 8, r"comparison\.min_epochs = 9, got 8")],
)
def test_what_cannot_be_halved_is_said(points: int, epochs: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan_rungs(points, epochs, eta=3, min_epochs=3)


def test_the_budget_is_the_same_whatever_the_scores() -> None:
    drawn = random.Random(1)
    simulated: list[Values] = [
        lambda lr, _: lr,
        lambda *_: 0.5,
        lambda *_: None,
        lambda lr, _: None if lr > 0.01 else 0.5,
        lambda lr, epochs: None if epochs > 2 else lr,
        *([lambda *_: drawn.choice([None, drawn.random()])] * 50),
    ]
    for values in simulated:
        asked, scores, _ = climb(values)
        assert tuple(asked) == RUNGS
        assert sum(r.points * r.epochs for r in asked) == trial_epochs(RUNGS) == 6 * 2 + 2 * 6 + 18
        assert len(scores) == 6


def test_the_best_climb_and_scores_of_different_epochs_never_meet() -> None:
    # Errors grow with the epochs here, so that a mix would choose a point that had left.
    _, scores, search = climb(lambda lr, epochs: abs(lr - 0.1) + epochs)
    assert reached(scores, None) == {0.1}
    assert reached(scores, 6) == {0.03}
    assert best_point(scores, "error") == (("optimizer.lr", 0.1),)
    assert search.edges(scores) == {}
    assert rate(best_point(climb(lambda lr, _: -abs(lr - 0.3), monitor="map")[1], "map")) == 0.3


def test_a_fast_learner_wins_before_it_would_be_overtaken() -> None:
    def slow_and_steady(lr: float, epochs: int) -> float:
        return 0.9 * 0.7**epochs if lr == 0.03 else 0.5

    assert slow_and_steady(0.03, 18) < 0.01
    # 0.441 after two epochs goes on; were it judged after one, 0.63, it would not.
    assert rate(best_point(climb(slow_and_steady)[1], "error")) == 0.03
    _, scores, _ = climb(lambda lr, epochs: slow_and_steady(lr, epochs - 1))
    assert reached(scores, 2) >= {0.03}
    assert rate(best_point(scores, "error")) != 0.03


def test_diverged_points_go_last() -> None:
    _, scores, _ = climb(lambda lr, _: None if lr < 0.3 else lr)
    assert reached(scores, None) == {0.3}
    assert reached(scores, 6) == {1.0}
    _, scores, _ = climb(lambda lr, _: 0.9 if lr == 1.0 else None)
    assert rate(best_point(scores, "error")) == 1.0
    assert reached(scores, 6) == {0.01}  # fills the rung


def test_ties_and_failures_everywhere_go_to_the_smallest() -> None:
    for values in (lambda *_: 0.5, lambda *_: None):
        _, scores, search = climb(values)
        assert rate(best_point(scores, "error")) == 0.01
        assert search.edges(scores) == {"optimizer.lr": -1}


def test_where_all_epochs_are_too_many_the_best_of_fewer_is_chosen() -> None:
    _, scores, _ = climb(lambda lr, epochs: None if epochs == 18 else abs(lr - 0.1))
    assert rate(best_point(scores, "error")) == 0.03
    assert scores[best_point(scores, "error")].epochs == 6


def test_a_winner_on_the_edge_is_extended_at_all_epochs() -> None:
    asked, scores, search = climb(lambda lr, _: 1 / lr, extensions=1)
    assert tuple(asked) == (*RUNGS, Rung(1, 18))
    assert reached(scores, None) == {3.0, 9.0}
    assert search.extended == 1
    assert search.edges(scores) == {"optimizer.lr": 1}  # still growing
    asked, scores, search = climb(lambda lr, _: abs(lr - 3), extensions=2)
    assert len(asked) == 4
    assert search.edges(scores) == {}


def test_noise_is_told_from_neighbours_of_the_same_epochs_alone() -> None:
    def scored(epochs: int | None) -> Scores:
        near = {0.1: Score(0.2, (0.19, 0.21) * 3), 0.3: Score(0.2, (0.2, 0.2) * 3, epochs=epochs)}
        return {(("optimizer.lr", k),): s for k, s in near.items()}

    assert neighbours_within_noise(scored(None), (("optimizer.lr", 0.1),), "optimizer.lr") == [0.3]
    assert neighbours_within_noise(scored(6), (("optimizer.lr", 0.1),), "optimizer.lr") == []
