"""The scripts that hold the statistics to what they promise: on pools and draws whose truth is known."""

from __future__ import annotations

import fault_table
import numpy as np
import pytest
import simulate_truth
import training_pool
from training_pool import METRICS, Pool


def pool(seeds: int = 60, *, shift: float = 0.0, seed: int = 0) -> Pool:
    """Trainings whose test values at a rate do not depend on what validation says of it."""
    generator = np.random.default_rng(seed)
    val, nll = generator.normal(size=(2, seeds, 3))
    return Pool(val, nll, {m: generator.normal(shift, 1.0, (seeds, 3)) for m in METRICS})


def test_each_seed_of_a_pool_chooses_by_its_own_validation_and_reads_that_test_value_alone() -> None:
    found = Pool(
        val=np.array([[0.3, 0.1, 0.2], [0.2, 0.2, 0.2]]),
        nll=np.array([[1.0, 1.0, 1.0], [3.0, 2.0, 1.0]]),
        test={"error": np.array([[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]])},
    )
    assert found.chosen().tolist() == [1, 2]
    assert found.procedure("error").tolist() == [11.0, 22.0]
    # Chosen once: the best mean over both seeds, for whoever is final.
    assert found.point("error", np.array([0, 1]), np.array([1])).tolist() == [21.0]


def test_a_pool_that_hides_nothing_gives_about_five_percent_and_a_planted_effect_is_found() -> None:
    ours = pool()
    wrong = training_pool.same_loss(ours, "nll", 10, 400, 0)
    assert wrong / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert training_pool.planted(ours, "nll", 10, 100, 0) >= 65


def test_different_losses_are_recentred() -> None:
    wrong = training_pool.recentred(pool(seed=1, shift=9.0), pool(seed=2), "error", 10, 400, 0)
    assert wrong / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_a_rate_chosen_once_for_each_side_is_what_a_false_verdict_is_made_of() -> None:
    generator = np.random.default_rng(3)
    # Two rates that validation cannot tell apart, one of them a standard deviation worse on test.
    val, nll = generator.normal(size=(2, 60, 2))
    test = generator.normal(size=(60, 2)) + np.array([0.0, 1.5])
    found = Pool(val, nll, dict.fromkeys(METRICS, test))
    assert training_pool.same_loss_at_points(found, "error", 10, 200, 0) > 40
    assert training_pool.same_loss(found, "error", 10, 400, 0) / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_levels_on_drawn_tables() -> None:
    for name, draw in simulate_truth.EXCHANGEABLE.items():
        wrong = simulate_truth.level(draw, compared=10, n=11, tables=200, seed=0, baseline=True)
        assert wrong / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5, name
        same = simulate_truth.equivalent_at_margin(draw, n=10, tables=200, seed=0)
        assert same / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5, name


def test_a_share_stands_with_its_exact_interval() -> None:
    assert simulate_truth.share_with_interval(5, 100).strip() == "5.0 % [1.6, 11.3]"


def test_too_small_a_pool_is_refused() -> None:
    with pytest.raises(SystemExit, match="--pool must be at least 44 seeds, got 10"):
        training_pool.train_pool(10)


@pytest.mark.slow
def test_every_fault_is_measured_again(capsys: pytest.CaptureFixture[str]) -> None:
    fault_table.print_faults({"ce": pool(seeds=44)}, 20, 0, simulate_truth.share_with_interval)
    told = capsys.readouterr().out
    assert told.count("before: ") == told.count("now: ") == 10
    assert "it is worse and not first in 100.0 %" in told
    assert "[20, 60, 99] against 98.2\n  before: 40 %; agrees\n" in told
    assert "; not decidable" in told
    assert "  now:    0 points. Rounding itself" in told
    assert "  now:    0 %, and all seeds have the same test images: True" in told
