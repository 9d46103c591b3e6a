"""Both kinds of chance: what single test examples came to is kept, and intervals say what they hold for."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xentlab import analysis
from xentlab.errors import UserError
from xentlab.journal import Records, TrialRecord
from xentlab.report import Record
from xentlab.report.scope import scope
from xentlab.run.artifacts import read_answers

Run = Callable[..., tuple[int, str, str]]
SMALL = (
    "compare", "tracking=off", "trainer.epochs=2", "dataset.train_fraction=0.3", "model.hidden=[16]",
    "comparison.losses=[ce,mse]", "comparison.final_seeds=6", "comparison.extensions=0",
    "comparison.tune.optimizer.lr=[0.03,0.3]",
)  # fmt: skip


def trials(here: Path) -> list[TrialRecord]:
    found = Records(here / "xentlab-runs")
    found.update()
    return list(found.trials.values())


def latest(here: Path) -> tuple[Path, dict[str, Any]]:
    folder = max((here / "xentlab-runs" / "comparisons").iterdir())
    return folder, json.loads((folder / "verdicts.json").read_text())


@pytest.mark.parametrize(("of_seeds", "of_examples", "of_both"), [(0.02, 0.2, 0.2), (0.1, 0.2, 0.2), (0, 0, 0.2)])
def test_the_wider_interval_covers_a_known_two_way_truth(of_seeds: float, of_examples: float, of_both: float) -> None:
    generator, tables = np.random.default_rng(0), 600
    drawn = of_seeds * generator.standard_normal((tables, 10, 1))
    drawn = drawn + of_examples * generator.standard_normal((tables, 1, 300))
    drawn = drawn + of_both * generator.standard_normal((tables, 10, 300))
    low, high = analysis.crossed(drawn)
    covered = float(((low <= 0) & (high >= 0)).mean())
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / tables) ** 0.5
    # At the level of a family as a report has it: never narrower than the interval for new seeds.
    low, high = analysis.crossed(drawn, levels=0.99)
    alone = np.array([analysis.flip_interval(table.mean(axis=1), level=0.99) for table in drawn])
    covered = float(((np.minimum(low, alone[:, 0]) <= 0) & (np.maximum(high, alone[:, 1]) >= 0)).mean())
    assert covered > 0.99 - 3 * (0.99 * 0.01 / tables) ** 0.5


def test_the_interval_for_new_seeds_alone_misses_where_examples_vary() -> None:
    generator = np.random.default_rng(1)
    drawn = 0.02 * generator.standard_normal((200, 10, 1)) + generator.standard_normal((200, 1, 300))
    missed = 0
    for table in drawn:
        low, high = analysis.flip_interval(table.mean(axis=1))
        missed += not low <= 0 <= high
    assert missed > 100
    low, high = analysis.crossed(drawn)
    assert ((low > 0) | (high < 0)).mean() < 0.1


def test_tables_without_chance_have_intervals_without_width() -> None:
    low, high = analysis.crossed(np.full((2, 6, 20), 0.25), resamples=199)
    assert low.tolist() == high.tolist() == [0.25, 0.25]


def test_every_table_has_its_own_level_and_the_same_seed_gives_the_same_digits() -> None:
    table = np.random.default_rng(2).standard_normal((1, 8, 50))
    both = np.concatenate([table, table])
    low, high = analysis.crossed(both, levels=[0.8, 0.99], resamples=999)
    assert low[1] < low[0] < high[0] < high[1]
    assert analysis.crossed(both, levels=[0.8, 0.99], resamples=999)[0].tolist() == low.tolist()


def test_squared_errors_become_what_they_add_to_their_seeds_root() -> None:
    squares = np.random.default_rng(3).random((4, 500))
    parts = analysis.rooted(squares)
    np.testing.assert_allclose(parts.mean(1), np.sqrt(squares.mean(1)), rtol=1e-12)
    moved = squares.copy()
    moved[:, 7] += 1e-3
    change = np.sqrt(moved.mean(1)) - np.sqrt(squares.mean(1))
    np.testing.assert_allclose((analysis.rooted(moved) - parts).mean(1), change, rtol=1e-9)
    np.testing.assert_allclose(change, 1e-3 / 500 / (2 * np.sqrt(squares.mean(1))), rtol=1e-2)
    assert analysis.rooted(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_mcnemar_is_the_exact_sign_test_of_what_only_one_gets_right() -> None:
    ours = np.array([1, 1, 1, 1, 0, 0, 0, 1, 0, 0], dtype=bool)
    theirs = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0], dtype=bool)
    found = analysis.mcnemar(ours, theirs)
    # Of five that differ one is ours: 2 * (C(5, 0) + C(5, 1)) / 2^5.
    assert (found.ours, found.theirs, found.p) == (1, 4, pytest.approx(12 / 32))
    assert analysis.mcnemar(ours, ours).p == 1


def test_a_leader_is_worth_what_it_has_on_seeds_that_did_not_choose_it() -> None:
    table = {"a": {0: 1.0, 1: 5.0, 2: 3.0}, "b": {0: 4.0, 1: 2.0, 2: 2.0}}
    # Without 0: b (4 against 8) -> 4; without 1: a (4 against 6) -> 5; without 2: a and b tie at 6, the first -> 3.
    assert analysis.leader(table, direction="min") == analysis.Leader("b", pytest.approx(8 / 3), 4.0, 1, 3)
    assert analysis.leader({"a": table["a"]}, direction="min") is None
    lost = analysis.leader({"a": {0: 1.0, 1: None}, "b": {0: 2.0, 1: 2.0}}, direction="min", trivial=9.0)
    assert lost is not None
    assert (lost.loss, lost.held_out) == ("b", pytest.approx((2 + 9) / 2))


def test_many_equal_losses_have_an_overestimated_leader_and_an_honest_estimate_beside() -> None:
    generator, own, held_out = np.random.default_rng(4), [], []
    for _ in range(200):
        rows = generator.standard_normal((20, 10))
        found = analysis.leader({str(i): dict(enumerate(r.tolist())) for i, r in enumerate(rows)}, direction="min")
        assert found is not None
        own.append(found.mean)
        held_out.append(found.held_out)
    assert np.mean(own) < -0.5
    assert abs(np.mean(held_out)) < 0.1


def test_final_trials_keep_their_answers_and_the_report_shows_both_kinds(recorded: Run, here: Path) -> None:
    code, _, err = recorded(*SMALL)
    assert (code, err) == (0, "")
    root = here / "xentlab-runs"
    chosen = [t for t in trials(here) if t.outcome.test]
    assert len(chosen) == 12
    for trial in chosen:
        answers = read_answers(root / str(trial.artifacts))
        assert int(answers["test"].sum()) == len(answers["error"]) == 359
        assert answers["error"].mean() == pytest.approx(trial.outcome.test["error"], rel=1e-12)
        assert answers["nll"].dtype == np.float16
        assert answers["nll"].astype(float).mean() == pytest.approx(trial.outcome.test["nll"], rel=1e-3)
    kept = {str(t.artifacts) for t in chosen}
    assert {str(p.parent.relative_to(root)) for p in root.rglob("answers.npz")} == kept

    folder, data = latest(here)
    record = Record.from_json(data)
    wide = {each.loss: each for each in record.wider if each.metric == "test/error"}
    assert {each.metric for each in record.wider} == {"test/error", "test/nll"}
    for row in record.primary.rows:
        both = wide[row.loss]
        assert both.examples == 359
        assert None not in (both.low, both.high, row.low, row.high)
        assert (both.low or 0) <= (row.low or 0) < (row.high or 0) <= (both.high or 0)
    (mse,) = [row for row in record.primary.rows if row.loss == "mse"]
    assert mse.diff_low is not None
    assert (wide["mse"].diff_low or 0) <= mse.diff_low
    wrong = {(t.tags["loss"], t.config["seed"]): read_answers(root / str(t.artifacts))["error"] for t in chosen}
    assert len(record.duels) == 6
    for duel in record.duels:
        assert duel.ours == int((wrong["ce", duel.seed] > wrong["mse", duel.seed]).sum())
        assert duel.theirs == int((wrong["ce", duel.seed] < wrong["mse", duel.seed]).sum())
    page, words = (folder / "report.md").read_text(), " ".join(scope(record))
    for part in ("for new seeds on this test set", "for new seeds and new examples", "Model against model"):
        assert part in page
        assert part in (folder / "report.html").read_text()
    assert "those for new seeds and new examples stand beside" in words


def test_a_trial_without_answers_leaves_the_wider_intervals_out(run: Run, recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    next((here / "xentlab-runs").rglob("answers.npz")).unlink()
    assert run(*SMALL)[0] == 0
    record = Record.from_json(latest(here)[1])
    assert record.wider == record.duels == []
    assert "what other test examples would change is not in them" in " ".join(scope(record))


def test_a_trial_that_diverged_scores_the_trivial_answer_on_every_example(run: Run, here: Path) -> None:
    losses = "comparison.losses=[ce,mse_logits]"
    assert run(*SMALL, losses, "comparison.tune.optimizer.lr=[1e30,1e31]")[0] == 0
    record = Record.from_json(latest(here)[1])
    (row,) = [row for row in record.primary.rows if row.loss == "mse_logits"]
    assert row.failed == 6
    if record.wider:  # where any trial of the baseline ended
        (both,) = [each for each in record.wider if (each.loss, each.metric) == ("mse_logits", "test/error")]
        assert both.low == both.high == row.failure_score
    assert all(duel.loss != "mse_logits" for duel in record.duels)


def test_numbers_keep_their_squared_errors(run: Run, here: Path) -> None:
    losses = ("comparison.losses=[mse,huber]", "comparison.baseline=mse")
    code, _, err = run(*SMALL, "dataset=diabetes", "comparison.tune.optimizer.lr=[0.003,0.01]", *losses)
    assert code == 0
    assert len(err.splitlines()) == 2, "the comparison of its task, without the other datasets; both said"
    for trial in trials(here):
        if trial.outcome.test:
            answers = read_answers(here / "xentlab-runs" / str(trial.artifacts))
            assert np.sqrt(answers["rmse"].mean()) == pytest.approx(trial.outcome.test["rmse"], rel=1e-5)
    record = Record.from_json(latest(here)[1])
    assert {each.metric for each in record.wider} == {"test/rmse"}
    assert record.duels == []


def test_a_record_that_names_a_metric_it_lacks_is_refused(recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    data = latest(here)[1]
    data["wider"][0]["metric"] = "test/eror"
    with pytest.raises(UserError, match="Unknown metric in the record 'test/eror'"):
        Record.from_json(data)


def test_a_rounding_replicate_is_the_same_seeds_in_float64_and_a_named_source_of_variance(run: Run, here: Path) -> None:
    options = ("comparison.rounding=true", "comparison.final_seeds=3")
    code, out, _ = run(*SMALL, *options, "--dry-run")
    assert code == 0
    assert re.search(r"rounding +\W+ +6 ", out)
    assert run(*SMALL, *options)[0] == 0
    done = trials(here)
    again = [t for t in done if t.tags["phase"] == "rounding"]
    chosen = {(t.tags["loss"], t.config["seed"]): t for t in done if t.tags["phase"] == "final"}
    assert len(again) == len(chosen) == 6
    record = Record.from_json(latest(here)[1])
    assert [entry.loss for entry in record.rounding] == ["ce", "mse"]
    for trial in again:
        twin = chosen[trial.tags["loss"], trial.config["seed"]]
        assert trial.config["trainer"]["precision"] == "float64"
        assert trial.config["optimizer"] == twin.config["optimizer"]
        assert trial.outcome.test["nll"] == pytest.approx(twin.outcome.test["nll"], rel=0.05)
        assert trial.outcome.test["nll"] != twin.outcome.test["nll"]
    for entry in record.rounding:
        pairs = [(t, chosen[entry.loss, t.config["seed"]]) for t in again if t.tags["loss"] == entry.loss]
        changes = [t.outcome.test["error"] - twin.outcome.test["error"] for t, twin in pairs]
        assert entry.n == 3
        assert entry.change == pytest.approx(statistics.fmean(changes), abs=1e-12)
        assert entry.noise == pytest.approx(statistics.stdev(changes) / 2**0.5, abs=1e-12)
        assert entry.sd == pytest.approx(statistics.stdev(twin.outcome.test["error"] for _, twin in pairs))
    (page,) = (here / "xentlab-runs" / "comparisons").glob("*/report.md")
    assert "Rounding as a source of variance" in page.read_text()


def test_rounding_has_nothing_to_compare_with_in_float64(run: Run) -> None:
    code, _, err = run(*SMALL, "comparison.rounding=true", "trainer.precision=float64")
    assert (code, err.count("\n")) == (2, 1)
    assert "comparison.rounding must be false with trainer.precision=float64" in err
