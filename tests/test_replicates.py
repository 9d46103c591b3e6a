"""A replicate is the whole procedure: every final seed tunes for itself, and only its choice meets the test set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xentlab.comparison.search import Score
from xentlab.comparison.tune import Replicate, Tuning
from xentlab.journal import Records, TrialRecord
from xentlab.report import Record
from xentlab.report.scope import scope

Run = Callable[..., tuple[int, str, str]]
RATES = (0.03, 0.1, 0.3)
SMALL = (
    "compare", "tracking=off", "trainer.epochs=3", "dataset.train_fraction=0.3", "model.hidden=[16]",
    "comparison.losses=[ce,mse]", "comparison.final_seeds=4", "comparison.extensions=0",
    "comparison.tune.optimizer.lr=[0.03,0.1,0.3]",
)  # fmt: skip


def trials(here: Path) -> list[TrialRecord]:
    found = Records(here / "xentlab-runs")
    found.update()
    return list(found.trials.values())


def latest(here: Path) -> dict[str, Any]:
    folders = sorted((here / "xentlab-runs" / "comparisons").iterdir())
    record: dict[str, Any] = json.loads((folders[-1] / "verdicts.json").read_text())
    return record


def rate(trial: TrialRecord) -> float:
    return float(trial.config["optimizer"]["lr"])


def own(trial: TrialRecord) -> tuple[str, int]:
    return trial.tags["loss"], trial.config["seed"]


def last(trial: TrialRecord, name: str) -> float:
    value = trial.curves[name][-1][2]
    assert value is not None
    return value


def chosen_by_hand(mine: list[TrialRecord]) -> TrialRecord:
    return min(mine, key=lambda t: (last(t, "val/error"), last(t, "val/nll"), rate(t)))


def test_each_seed_chooses_on_its_own_split_and_only_the_choice_is_tested(recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    done = trials(here)
    assert len(done) == 2 * 4 * len(RATES)
    record = latest(here)
    rows = {row["loss"]: row for row in record["metrics"][0]["rows"]}
    for loss in ("ce", "mse"):
        for seed in range(4):
            mine = [t for t in done if t.tags["loss"] == loss and t.config["seed"] == seed]
            assert sorted(map(rate, mine)) == list(RATES)
            winner = chosen_by_hand(mine)
            for trial in mine:
                assert bool(trial.outcome.test) == (trial is winner)
                assert trial.tags["role"] == ("chosen" if trial is winner else "candidate")
                assert trial.tags["phase"] == ("final" if trial is winner else "tune")
            assert rows[loss]["values"][str(seed)] == winner.outcome.test["error"]


def test_the_weights_of_what_was_not_chosen_are_gone(recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    for trial in trials(here):
        kept = (here / "xentlab-runs" / str(trial.artifacts) / "final.pt").is_file()
        assert kept == (trial.tags["role"] == "chosen")


def test_without_weights_none_are_kept_and_the_test_values_are_the_same(run: Run, recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    first = latest(here)
    assert run(*SMALL, "output.weights=false", "output.root=other")[0] == 0
    folders = sorted((here / "other" / "comparisons").iterdir())
    again = json.loads((folders[-1] / "verdicts.json").read_text())
    assert [m["rows"] for m in again["metrics"]] == [m["rows"] for m in first["metrics"]]
    assert not list((here / "other").rglob("*.pt"))


def test_a_candidate_tested_later_ends_as_a_trial_that_was_tested_at_once(run: Run, recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    done = trials(here)
    winner = next(t for t in done if t.tags["role"] == "chosen")
    options = (f"loss={winner.tags['loss']}", f"optimizer.lr={rate(winner)}", f"seed={winner.config['seed']}")
    small = ("train", *(a for a in SMALL[1:] if "comparison" not in a), "trainer.batch_size=32", *options)
    assert run(*small, "output.root=alone", "dataset=digits", "model=mlp", "optimizer=sgd")[0] == 0
    alone = Records(here / "alone")
    alone.update()
    (trial,) = alone.trials.values()
    assert trial.outcome.test.keys() == winner.outcome.test.keys()
    # A stack of twelve and a stack of one differ in rounding alone.
    assert trial.outcome.test["nll"] == pytest.approx(winner.outcome.test["nll"], rel=1e-3)
    assert trial.outcome.test_at_best.keys() == winner.outcome.test_at_best.keys()


@pytest.mark.slow
def test_again_is_free_and_more_seeds_add_only_their_own_trials(run: Run, recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    before, first = {t.id for t in trials(here)}, latest(here)
    assert run(*SMALL)[0] == 0
    assert {t.id for t in trials(here)} == before
    assert latest(here)["metrics"] == first["metrics"]
    assert run(*SMALL, "comparison.final_seeds=5")[0] == 0
    more = [t for t in trials(here) if t.id not in before]
    assert {t.config["seed"] for t in more} == {4}
    assert len(more) == 2 * len(RATES)


@pytest.mark.slow
def test_lost_weights_are_trained_again_to_the_same_test_values(run: Run, here: Path) -> None:
    assert run(*SMALL, "comparison.final_seeds=2")[0] == 0
    values = {row["loss"]: row["values"] for row in latest(here)["metrics"][0]["rows"]}
    # As another comparison finds them: candidates whose weights are gone.
    journal = here / "xentlab-runs" / "journal"
    for file in journal.glob("*.jsonl"):
        kept = [line for line in file.read_text().splitlines() if json.loads(line)["event"] != "test"]
        file.write_text("".join(f"{line}\n" for line in kept))
    for weights in (here / "xentlab-runs").rglob("*.pt"):
        weights.unlink()
    assert run(*SMALL, "comparison.final_seeds=2")[0] == 0
    again = {row["loss"]: row["values"] for row in latest(here)["metrics"][0]["rows"]}
    assert again == values


def test_more_draws_for_each_seed(run: Run, here: Path) -> None:
    assert run(*SMALL, "comparison.final_seeds=2", "comparison.tuning_seeds=1")[0] == 0
    done = trials(here)
    assert {t.config["seed"] for t in done} == {0, 1, 1000, 1001}
    assert {t.config["seed"] for t in done if t.outcome.test} == {0, 1}
    for loss in ("ce", "mse"):
        for seed in (0, 1):
            pair = {
                r: [
                    t
                    for t in done
                    if t.tags["loss"] == loss and rate(t) == r and t.config["seed"] in (seed, 1000 + seed)
                ]
                for r in RATES
            }
            means = {r: sum(last(t, "val/error") for t in two) / 2 for r, two in pair.items()}
            (tested,) = [t for two in pair.values() for t in two if t.outcome.test]
            assert means[rate(tested)] == min(means.values())


@pytest.mark.parametrize("mode", ["shared", pytest.param("matched", marks=pytest.mark.slow)])
def test_fairness_is_within_each_replicate(run: Run, here: Path, mode: str) -> None:
    assert run(*SMALL, f"comparison.modes=[{mode}]", "comparison.final_seeds=2")[0] == 0
    tested = [t for t in trials(here) if t.outcome.test]
    assert len(tested) == 4
    by_seed = {s: {t.tags["loss"]: rate(t) for t in tested if t.config["seed"] == s} for s in (0, 1)}
    if mode == "shared":
        assert all(rates["ce"] == rates["mse"] for rates in by_seed.values())
    else:
        assert all(rates["ce"] in RATES and rates["mse"] not in RATES for rates in by_seed.values())


SEARCHES = [
    pytest.param("sobol", 3, 2),
    pytest.param("optuna", 3, 2, marks=pytest.mark.slow),
    pytest.param("halving", None, 9, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "points", "epochs"), SEARCHES)
def test_other_searches_work_within_each_replicate(
    run: Run, here: Path, kind: str, points: int | None, epochs: int
) -> None:
    options = (f"comparison.search={kind}", "comparison.final_seeds=2", f"trainer.epochs={epochs}")
    options += (f"comparison.trials={points}", "comparison.tune.optimizer.lr=[0.03,0.3]") if points else ()
    assert run(*SMALL, *options)[0] == 0
    tested = [t for t in trials(here) if t.outcome.test]
    assert sorted((t.tags["loss"], t.config["seed"]) for t in tested) == [("ce", 0), ("ce", 1), ("mse", 0), ("mse", 1)]
    assert all(t.config["trainer"]["epochs"] == epochs for t in tested)
    if points:
        for trial in tested:
            mine = [t for t in trials(here) if own(t) == own(trial)]
            assert len({rate(t) for t in mine}) == points
            assert trial.id == chosen_by_hand(mine).id
    before = {t.id for t in trials(here)}
    assert run(*SMALL, *options)[0] == 0
    assert {t.id for t in trials(here)} == before, "the search of a replicate asks for the same again"


def test_looks_stop_once_all_is_decided(run: Run, here: Path) -> None:
    options = (
        "comparison.losses=[ce,{far:{loss:mse}}]",
        "comparison.looks=[8,12]",
        "comparison.tune.optimizer.lr=[0.3]",
    )
    assert run(*SMALL, *options)[0] == 0
    record = latest(here)
    seeds = record["setup"]["final_seeds"]
    assert record["setup"]["looks"] == [8, 12]
    (row,) = [row for row in record["metrics"][0]["rows"] if row["loss"] == "far"]
    assert len(seeds) == (8 if row["verdict"] != "inconclusive" else 12)


def test_too_few_seeds_are_said_before_anything_trains(recorded: Run) -> None:
    _, out, _ = recorded(*SMALL)
    assert out.startswith(
        "4 final seeds cannot make any of 1 loss better or worse than ce: comparison.final_seeds=10 can."
    )


def test_auto_takes_as_many_seeds_as_the_losses_need(run: Run) -> None:
    options = [a for a in SMALL if "final_seeds" not in a]
    code, out, _ = run(*options, "--dry-run")
    assert code == 0
    assert "60" in out  # 2 losses, 3 rates, 10 seeds
    assert "10 seeds, 1 comparison: a difference of 1 standard deviations of the paired differences" in " ".join(
        out.split()
    )


def test_the_point_of_old_says_what_it_is(run: Run, here: Path) -> None:
    assert run(*SMALL, "comparison.replicate=point", "comparison.tuning_seeds=1")[0] == 0
    record = Record.from_json(latest(here))
    assert record.setup.replicate == "point"
    assert all("at the rates chosen once" in line for line in record.sentences)
    assert any("chosen once" in line for line in scope(record))


def test_the_scope_is_said(recorded: Run, here: Path) -> None:
    assert recorded(*SMALL)[0] == 0
    record = Record.from_json(latest(here))
    words = " ".join(scope(record))
    for part in (
        "digits: 345 train, 288 val, 359 test",
        "the whole procedure",
        "drawn once, before any seed",
        "secondary",
    ):
        assert part in words
    (page,) = (here / "xentlab-runs" / "comparisons").glob("*/report.md")
    assert "Scope" in page.read_text()


def replicate(rate: float, *, edge: bool = False, extended: int = 0) -> Replicate:
    point = (("optimizer.lr", rate),)
    scores = {(("optimizer.lr", r),): Score(abs(r - rate), (abs(r - rate),), 0.0) for r in RATES}
    return Replicate((0,), scores, point, ("optimizer.lr",) if edge else (), extended)


def test_the_edge_is_inconclusive_where_more_than_a_fifth_of_the_replicates_choose_it() -> None:
    def tuning(edges: int) -> Tuning:
        return Tuning({s: replicate(0.3 if s < edges else 0.1, edge=s < edges, extended=1) for s in range(10)})

    assert tuning(2).on_edge == {}
    assert tuning(3).on_edge == {"optimizer.lr": 3}
    assert tuning(3).extended == 10


def test_how_often_each_point_was_chosen_and_every_rates_mean_over_all_seeds() -> None:
    tuning = Tuning({s: replicate(r) for s, r in enumerate((0.1, 0.3, 0.1))})
    assert list(tuning.times.items()) == [((("optimizer.lr", 0.1),), 2), ((("optimizer.lr", 0.3),), 1)]
    score = tuning.scores[(("optimizer.lr", 0.1),)]
    assert score.values == (0.0, pytest.approx(0.2), 0.0)
    assert score.value == pytest.approx(0.2 / 3)


@pytest.mark.slow
def test_seeds_that_are_added_after_a_look_are_allowed_and_the_sentence_says_what_that_costs(
    run: Run, recorded: Run, here: Path
) -> None:
    assert recorded(*SMALL)[0] == 0
    lost = "seeds were added after a look at {}, unplanned: the error rate no longer holds"
    assert latest(here)["setup"]["added_after"] == []
    for seeds, looked in ((4, []), (6, [4]), (7, [4, 6]), (6, [4])):
        code, out, _ = run(*SMALL, f"comparison.final_seeds={seeds}")
        assert code == 0
        record = Record.from_json(latest(here))
        assert record.setup.added_after == looked
        words = lost.format(" and ".join(map(str, looked)))
        assert (words in " ".join(out.split())) == bool(looked)
        assert any("added without a plan" in line for line in scope(record)) == bool(looked)
    # Other seeds are no added ones, nor is what was planned.
    assert run(*SMALL, "comparison.final_seeds=[20,21,22,23,24]")[0] == 0
    assert latest(here)["setup"]["added_after"] == []
    assert run(*SMALL, "comparison.looks=[6,8]", "output.root=planned")[0] == 0
    planned = json.loads(next((here / "planned" / "comparisons").glob("*/verdicts.json")).read_text())
    assert planned["setup"]["added_after"] == []
