"""Searching at one budget for every loss: grids that extend, sequences that fill, samplers that learn."""

from __future__ import annotations

import math

import pytest
from scipy.stats import qmc

from xentlab.comparison.search import (
    Grid,
    Optuna,
    Point,
    Score,
    Sobol,
    best_point,
    make_search,
    neighbours_within_noise,
)
from xentlab.errors import UserError

RATES = {"optimizer.lr": (0.01, 0.1, 1.0)}


def scored(values: dict[float, float | None]) -> dict[Point, Score]:
    return {(("optimizer.lr", k),): Score(v, (v, v), v) for k, v in values.items()}


def test_a_grid_is_every_combination_once() -> None:
    space = {"optimizer.lr": (0.1, 1.0), "loss.gamma": (0.0, 1.0, 2.0)}
    points = Grid(space, "error", 0).ask({})
    assert len(points) == len(set(points)) == 6
    assert (("optimizer.lr", 0.1), ("loss.gamma", 2.0)) in points


def test_a_winner_inside_ends_the_search() -> None:
    search = Grid(RATES, "error", 3)
    search.ask({})
    scores = scored({0.01: 0.5, 0.1: 0.2, 1.0: 0.4})
    assert search.ask(scores) == []
    assert search.edges(scores) == {}
    assert search.extended == 0


@pytest.mark.parametrize(
    ("values", "beyond", "side"),
    [({0.01: 0.1, 0.1: 0.2, 1.0: 0.4}, 0.001, -1), ({0.01: 0.5, 0.1: 0.4, 1.0: 0.3}, 10.0, 1)],
)
def test_a_winner_on_the_edge_asks_for_the_next_point_outside(
    values: dict[float, float | None], beyond: float, side: int
) -> None:
    search = Grid(RATES, "error", 1)
    search.ask({})
    scores = scored(values)
    assert search.edges(scores) == {"optimizer.lr": side}
    assert search.ask(scores) == [(("optimizer.lr", beyond),)]
    assert search.extended == 1
    assert search.ask(scored({**values, beyond: 0.0})) == []  # its bound is reached, the edge remains
    assert search.edges(scored({**values, beyond: 0.0})) == {"optimizer.lr": side}


def test_direction_ties_and_failures() -> None:
    assert dict(best_point(scored({0.01: 0.5, 0.1: 0.7}), "map"))["optimizer.lr"] == 0.1
    assert dict(best_point(scored({0.01: None, 0.1: 0.7}), "error"))["optimizer.lr"] == 0.1
    assert dict(best_point(scored({0.01: None, 0.1: None}), "error"))["optimizer.lr"] == 0.01
    tied: dict[Point, Score] = {(("lr", 0.1),): Score(0.2, (0.2,), 0.9), (("lr", 1.0),): Score(0.2, (0.2,), 0.3)}
    assert best_point(tied, "error") == (("lr", 1.0),)


def test_sobol_is_scipys_sequence_on_a_log_scale() -> None:
    space = {"optimizer.lr": (1e-3, 1.0), "loss.gamma": (0.0, 4.0)}
    points = Sobol(space, "error", 6).ask({})
    reference = qmc.Sobol(2, scramble=False).random(8)[1:7]
    for point, (a, b) in zip(points, reference, strict=True):
        values = dict(point)
        assert math.isclose(values["optimizer.lr"], 1e-3 * 1000**a, rel_tol=1e-3)
        assert math.isclose(values["loss.gamma"], 4 * b, rel_tol=1e-3)
    assert Sobol(space, "error", 6).ask(dict.fromkeys(points, Score(0.1))) == []


def test_optuna_learns_and_repeats() -> None:
    def minimise() -> list[Point]:
        search = Optuna({"optimizer.lr": (1e-4, 1.0)}, "error", 40)
        scores: dict[Point, Score] = {}
        tried: list[Point] = []
        while points := search.ask(scores):
            tried += points
            distances = {p: abs(math.log10(dict(p)["optimizer.lr"]) + 2) for p in points}
            scores |= {p: Score(d if d < 1.9 else None) for p, d in distances.items()}
        return tried

    tried = minimise()
    assert len(tried) == 40
    assert tried == minimise()
    late = [abs(math.log10(dict(p)["optimizer.lr"]) + 2) for p in tried[20:]]
    assert sum(late) / len(late) < 0.7  # a uniform draw gives 1


def test_a_drawn_winner_at_a_bound_is_on_the_edge() -> None:
    search = Sobol({"optimizer.lr": (0.01, 1.0)}, "error", 4)
    assert search.edges(scored({0.0101: 0.1, 0.1: 0.2})) == {"optimizer.lr": -1}
    assert search.edges(scored({0.5: 0.3, 0.1: 0.2})) == {}


def test_neighbours_within_noise() -> None:
    def point(rate: float) -> Point:
        return (("optimizer.lr", rate),)

    scores = {
        point(0.01): Score(0.30, (0.29, 0.31, 0.30, 0.28, 0.32, 0.31, 0.30)),
        point(0.1): Score(0.20, (0.19, 0.21, 0.20, 0.19, 0.20, 0.21, 0.20)),
        point(1.0): Score(0.205, (0.18, 0.22, 0.215, 0.19, 0.205, 0.2, 0.21)),
    }
    assert neighbours_within_noise(scores, point(0.1), "optimizer.lr") == [1.0]
    # Five draws can tell nothing apart, so that nothing is said of them.
    few = {p: Score(s.value, s.values[:5]) for p, s in scores.items()}
    assert neighbours_within_noise(few, point(0.1), "optimizer.lr") == []


def test_what_a_search_needs_is_said() -> None:
    with pytest.raises(UserError, match=r"comparison\.trials must be a number of trials per loss"):
        make_search("sobol", RATES, "error", trials=None, extensions=0)
    with pytest.raises(UserError, match=r"comparison\.tune\.optimizer\.lr must be two bounds"):
        make_search("sobol", RATES, "error", trials=4, extensions=0)
