"""Information theory: the classic worked numbers, its identities as properties, and scipy as the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from xentlab.errors import UserError
from xentlab.information import binary_cross_entropy, explain, parse_distribution, sigmoid, softmax

P = (0.7, 0.2, 0.1)
Q = (0.5, 0.3, 0.2)
WEIGHTS = st.floats(1e-6, 1.0)
BASES = st.sampled_from([2.0, math.e, 10.0, 1.5])


def information(p, *, base: float = math.e) -> np.ndarray:
    return np.array([row.information for row in explain(p, base=base).rows])


def entropy(p, *, base: float = math.e) -> float:
    return explain(p, base=base).entropy


def cross_entropy(p, q, *, base: float = math.e) -> float:
    return explain(p, q, base=base).cross_entropy


def kl_divergence(p, q, *, base: float = math.e) -> float:
    return explain(p, q, base=base).kl_divergence


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two distributions of one length; the first may hold zeros."""
    size = draw(st.integers(1, 8))
    q = np.array(draw(st.lists(WEIGHTS, min_size=size, max_size=size)))
    p = np.array(draw(st.lists(st.one_of(st.just(0.0), WEIGHTS), min_size=size, max_size=size)))
    p[draw(st.integers(0, size - 1))] += 0.5
    return p / p.sum(), q / q.sum()


def test_worked_information_and_entropy() -> None:
    np.testing.assert_allclose(information(P), [0.36, 1.61, 2.30], atol=0.005)
    assert entropy(P) == pytest.approx(0.80, abs=0.005)


def test_worked_softmax_and_its_cross_entropy() -> None:
    probs = softmax([10, 9, 8])
    np.testing.assert_allclose(probs, [0.67, 0.24, 0.09], atol=0.005)
    assert cross_entropy([1, 0, 0], probs) == pytest.approx(-math.log(0.665), abs=0.001)


def test_worked_one_hot_label() -> None:
    assert cross_entropy([0, 1, 0], [0.3, 0.6, 0.1]) == pytest.approx(-math.log(0.6), rel=1e-12)


def test_worked_n_hot_label() -> None:
    expected = -math.log(0.9) - math.log(0.7) - math.log(0.8)
    assert binary_cross_entropy([0, 1, 1], [0.1, 0.7, 0.8]) == pytest.approx(expected, rel=1e-12)
    assert binary_cross_entropy([0, 1, 1], [0.1, 0.7, 0.8], base=2) == pytest.approx(expected / math.log(2), rel=1e-12)


@settings(deadline=None)
@given(pairs(), BASES)
def test_cross_entropy_is_entropy_plus_divergence(pair: tuple[np.ndarray, np.ndarray], base: float) -> None:
    p, q = pair
    expected = entropy(p, base=base) + kl_divergence(p, q, base=base)
    assert cross_entropy(p, q, base=base) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(pairs())
def test_gibbs_inequality(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = pair
    assert cross_entropy(p, q) >= entropy(p) - 1e-12  # rounding of sums of at most 8 terms
    assert kl_divergence(p, p) == 0.0


@settings(deadline=None)
@given(pairs(), BASES)
def test_matches_scipy(pair: tuple[np.ndarray, np.ndarray], base: float) -> None:
    p, q = pair
    assert entropy(p, base=base) == pytest.approx(stats.entropy(p, base=base), rel=1e-9, abs=1e-12)
    assert kl_divergence(p, q, base=base) == pytest.approx(stats.entropy(p, q, base=base), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(pairs(), BASES)
def test_base_only_changes_the_unit(pair: tuple[np.ndarray, np.ndarray], base: float) -> None:
    p, q = pair
    scale = math.log(base)
    np.testing.assert_allclose(information(q, base=base) * scale, information(q), rtol=1e-12)
    for quantity in (cross_entropy, kl_divergence):
        assert quantity(p, q, base=base) * scale == pytest.approx(quantity(p, q), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(pairs(), BASES)
def test_explanation_adds_up(pair: tuple[np.ndarray, np.ndarray], base: float) -> None:
    p, q = pair
    table = explain(p, q, base=base)
    assert [row.outcome for row in table.rows] == list(range(p.size))
    assert [row.p for row in table.rows] == p.tolist()
    assert [row.q for row in table.rows] == q.tolist()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose([row.information for row in table.rows], -np.log(p) / math.log(base), atol=1e-12)
        np.testing.assert_allclose([row.q_information for row in table.rows], -np.log(q) / math.log(base), atol=1e-12)
    for name in ("entropy", "cross_entropy", "kl_divergence"):
        total = sum(getattr(row, name) for row in table.rows)
        assert getattr(table, name) == pytest.approx(total, rel=1e-9, abs=1e-12)


def test_explanation_of_one_distribution() -> None:
    table = explain(P)
    assert table.cross_entropy is table.kl_divergence is table.rows[0].q is None
    assert [explain(P, base=base).unit for base in (math.e, 2, 10, 3)] == ["nats", "bits", "hartleys", "log base 3"]


def test_fair_coin_is_one_bit_and_uniform_is_the_maximum() -> None:
    assert entropy([0.5, 0.5], base=2) == 1.0
    assert entropy([0.25] * 4, base=2) == 2.0
    assert entropy([0.4, 0.3, 0.2, 0.1]) < math.log(4)


def test_zeros() -> None:
    assert entropy([1.0, 0.0]) == 0.0
    assert information([1.0, 0.0]).tolist() == [0.0, math.inf]
    assert not np.signbit(information([1.0])[0])
    assert cross_entropy([1.0, 0.0], [0.5, 0.5]) == pytest.approx(math.log(2))
    assert cross_entropy([0.5, 0.5], [1.0, 0.0]) == kl_divergence([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert kl_divergence([1.0, 0.0], [1.0, 0.0]) == 0.0
    assert kl_divergence([0.5, 0.5], [1.0, 1e-320]) == pytest.approx(math.log(0.5) - 0.5 * math.log(1e-320))
    assert binary_cross_entropy([0, 1], [0.0, 1.0]) == 0.0
    assert binary_cross_entropy([1], [0.0]) == binary_cross_entropy([0], [1.0]) == math.inf


@settings(deadline=None)
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=8))
def test_links_match_scipy(logits: list[float]) -> None:
    np.testing.assert_allclose(softmax(logits), special.softmax(logits), rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits), rtol=1e-9, atol=1e-300)


def test_links_at_extreme_logits() -> None:
    assert softmax([1e4, -1e4]).tolist() == [1.0, 0.0]
    assert sigmoid([1e4, -1e4, 0.0]).tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: entropy([1.1, -0.1]), "p must be non-negative, got -0.1."),
        (lambda: entropy([0.7, 0.2]), "p must sum to 1 within 1e-06, got a sum of 0.9."),
        (lambda: entropy([0.5, 0.5 + 2e-6]), "p must sum to 1 within 1e-06, got a sum of 1.000002."),
        (lambda: entropy([0.5, math.nan]), "p must hold finite numbers, got nan."),
        (lambda: entropy([]), "p must be one list of at least one number, got the shape [0]."),
        (lambda: entropy([[0.5, 0.5]]), "p must be one list of at least one number, got the shape [1, 2]."),
        (lambda: entropy(["a"]), "p must be a list of numbers, got ['a']."),
        (lambda: information([2.0]), "p must sum to 1 within 1e-06, got a sum of 2."),
        (lambda: cross_entropy(P, [0.5, 0.5]), "p and q must have the same length, got 3 and 2."),
        (lambda: kl_divergence(P, [0.5, 0.6, -0.1]), "q must be non-negative, got -0.1."),
        (lambda: explain(P, [1.0]), "p and q must have the same length, got 3 and 1."),
        (lambda: entropy(P, base=1), "base must be > 0 and not 1, got 1."),
        (lambda: cross_entropy(P, Q, base=0), "base must be > 0 and not 1, got 0."),
        (lambda: kl_divergence(P, Q, base=-2), "base must be > 0 and not 1, got -2."),
        (lambda: explain(P, base=math.inf), "base must be > 0 and not 1, got inf."),
        (lambda: binary_cross_entropy([0, 2], [0.5, 0.5]), "n_hot must be in [0, 1], got 2."),
        (lambda: binary_cross_entropy([0, 1], [0.5, -0.5]), "probs must be in [0, 1], got -0.5."),
        (lambda: binary_cross_entropy([0], [0.5, 0.5]), "n_hot and probs must have the same length, got 1 and 2."),
        (lambda: softmax([math.inf]), "logits must hold finite numbers, got inf."),
        (
            lambda: parse_distribution("0.7,x"),
            "A distribution must be numbers separated by commas, such as 0.7,0.2,0.1; got 'x' in '0.7,x'.",
        ),
        (
            lambda: parse_distribution(""),
            "A distribution must be numbers separated by commas, such as 0.7,0.2,0.1; got '' in ''.",
        ),
        (
            lambda: parse_distribution("0.7,0.2"),
            "The distribution '0.7,0.2' must sum to 1 within 1e-06, got a sum of 0.9.",
        ),
    ],
)
def test_mistakes_are_one_sentence(call: object, sentence: str) -> None:
    assert callable(call)
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value) == sentence


def test_sum_within_tolerance_is_accepted() -> None:
    assert entropy([0.5, 0.5 + 5e-7]) == pytest.approx(math.log(2), abs=1e-6)


def test_parse_distribution() -> None:
    assert parse_distribution(" 0.7, 0.2,0.1 ").tolist() == list(P)
