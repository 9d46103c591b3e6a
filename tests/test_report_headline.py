"""The answer in one sentence: every case that a comparison can end in."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import pytest
from report_lab import example

from xentlab import report
from xentlab.report.conclusions import sentences
from xentlab.report.headline import answer_of, answer_of_study, joined
from xentlab.report.numbers import by_result
from xentlab.report.record import Record
from xentlab.report.scope import scope
from xentlab.report.study import StudyCell


def ended(**verdicts: tuple[str, float]) -> Record:
    """A record of ce at 3.2 % and losses that ended so: name -> (verdict, difference in points)."""
    record = Record.from_json(example(["ce", *verdicts]))
    rows = [dataclasses.replace(record.primary.rows[0], mean=0.032)]
    for row in record.primary.rows[1:]:
        verdict, change = verdicts[row.loss]
        ends = {"diff_low": change / 100 - 0.003, "diff_high": change / 100 + 0.003}
        rows.append(
            dataclasses.replace(row, verdict=verdict, difference=change / 100, mean=0.032 + change / 100, **ends)
        )
    quiet = [
        dataclasses.replace(m, rows=[dataclasses.replace(r, verdict="inconclusive") for r in m.rows])
        for m in record.metrics[1:]
    ]
    return dataclasses.replace(record, metrics=[dataclasses.replace(record.primary, rows=rows), *quiet])


def with_price(record: Record, loss: str, **meaning: Any) -> Record:
    """`loss` is worse on ECE, 2.3 against 23.4 %."""
    ece = record.metrics[2]
    means = {"ce": 0.023, loss: 0.234}
    rows = [
        dataclasses.replace(r, mean=means.get(r.loss, r.mean), verdict="worse" if r.loss == loss else r.verdict)
        for r in ece.rows
    ]
    return dataclasses.replace(record, metrics=[*record.metrics[:2], dataclasses.replace(ece, rows=rows, **meaning)])


def test_a_winner_with_its_knobs_its_size_and_its_price() -> None:
    record = with_price(ended(mine=("better", -0.97)), "mine", short="ECE", when_worse="its confidence is less")
    given = dataclasses.replace(record.losses[1], knobs={"lr": 0.3, "gamma": 1.0, "base": 2.0}, given=["gamma"])
    record = dataclasses.replace(record, losses=[record.losses[0], given])
    assert answer_of(record) == (
        "mine (gamma 1) cuts the test error from 3.2 to 2.2 % (−0.97 points [−1.27, −0.67], 10 paired seeds); "
        "but its confidence is less: ECE 2.3 → 23.4 %."
    )
    assert answer_of(with_price(ended(mine=("better", -0.97)), "mine")).endswith("; but it is worse: ECE 2.3 → 23.4 %.")
    both = with_price(ended(mine=("better", -0.97), also=("better", -0.5)), "mine")
    assert answer_of(both).endswith("; but it is worse: ECE 2.3 → 23.4 %; also (−0.50 points) is better too.")


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (
            {"a": ("better", -0.5), "b": ("better", -0.9), "c": ("better", -0.2)},
            "b cuts the test error from 3.2 to 2.3 % (−0.90 points [−1.20, −0.60], 10 paired seeds); "
            "a (−0.50 points) and c (−0.20 points) are better too.",
        ),
        ({"a": ("equivalent", 0.1)}, "It does not matter here: a makes no difference within ±0.3 points to ce on"),
        ({"a": ("worse", 0.9)}, "ce stays the best on test error (3.20 %): a (+0.90 points) is worse"),
        (
            {"a": ("inconclusive", 0.1), "b": ("inconclusive", -0.2)},
            "Nothing is decided: no loss differs from ce on test error (3.20 %) by more than chance may; the largest "
            "difference is b's −0.20 points [−0.50, 0.10], 10 paired seeds",
        ),
        (
            {"a": ("worse", 0.9), "b": ("equivalent", 0.1), "c": ("inconclusive", 0.2)},
            "No loss beats ce on test error (3.20 %): a (+0.90 points) is worse; b makes no difference within "
            "±0.3 points; c is undecided (10 paired seeds).",
        ),
        (
            dict.fromkeys("abcd", ("equivalent", 0.1)),
            "It does not matter here: a, b, c and d make no difference within",
        ),
        (
            dict.fromkeys("abcde", ("equivalent", 0.1)),
            "It does not matter here: a, b, c and 2 others make no difference within",
        ),
    ],
)
def test_how_a_comparison_may_end(verdicts: dict[str, tuple[str, float]], said: str) -> None:
    assert answer_of(ended(**verdicts)).startswith(said)


def test_what_takes_weight_off_every_verdict_is_part_of_the_answer() -> None:
    record = ended(mine=("better", -0.97), other=("worse", 0.5))
    first, second, third = record.losses
    ends = {seed: str(seed) for seed in range(10)}
    doubtful = [dataclasses.replace(first, stuck=6, trials=ends), dataclasses.replace(second, on_edge=True), third]
    assert answer_of(dataclasses.replace(record, losses=doubtful)).endswith(
        "; mine did best on the edge of what was tried: tune wider; most trials of ce are stuck at a constant answer."
    )
    open_ended = ended(mine=("inconclusive", -0.97), other=("inconclusive", 0.5))
    said = answer_of(dataclasses.replace(open_ended, losses=[first, dataclasses.replace(second, on_edge=True), third]))
    assert said.startswith("Nothing is decided against ce on test error (3.20 %); the largest")
    doubtful[0] = dataclasses.replace(first, stuck=5, trials=ends)
    assert "stuck" not in answer_of(dataclasses.replace(record, losses=doubtful))


def test_too_few_seeds_are_said_to_decide_nothing() -> None:
    record = ended(a=("inconclusive", 0.1), b=("inconclusive", 0.1))
    rows = [dataclasses.replace(row, pairs=3, family=2) for row in record.primary.rows]
    few = dataclasses.replace(
        record, metrics=[dataclasses.replace(record.primary, rows=rows), *record.metrics[1:]], failed={"c": "Why."}
    )
    assert answer_of(few) == (
        "Nothing can be decided with 3 paired seeds: 2 losses against ce need at least 7 (test error 3.20 %); c failed."
    )


def test_seeds_that_can_decide_no_secondary_metric_are_said_to() -> None:
    record = ended(**dict.fromkeys("abcde", ("inconclusive", 0.1)))
    sizes = {"train": 50, "validation": 10, "test": 100}
    setup = dataclasses.replace(record.setup, replicate="procedure", final_seeds=list(range(10)), sizes=sizes)
    record = dataclasses.replace(record, setup=setup)
    family = f"one family of {5 * (len(record.metrics) - 1)} comparisons"
    assert f"{family}. " in " ".join(scope(record))
    rows = [dataclasses.replace(row, pairs=8) for row in record.primary.rows]
    few = dataclasses.replace(record, metrics=[dataclasses.replace(record.primary, rows=rows), *record.metrics[1:]])
    assert f"{family}, of which 8 seeds can decide none: it takes 9." in " ".join(scope(few))
    labels = joined([metric.label for metric in record.metrics[1:]])
    assert sentences(record)[0].endswith(f"; secondary: inconclusive on {labels}.")
    more = [*record.metrics, *(dataclasses.replace(record.metrics[1], key=key) for key in ("one", "more"))]
    said = sentences(dataclasses.replace(record, metrics=more))[0]
    assert said.endswith(f"; secondary: inconclusive on all {len(more) - 1} others.")


def test_a_metric_in_units_of_the_target_and_one_that_is_better_larger() -> None:
    record = ended(a=("better", -0.97))
    plain = dataclasses.replace(record.primary, percent=False, label="test RMSE", margin=None)
    assert answer_of(dataclasses.replace(record, metrics=[plain, *record.metrics[1:]])).startswith(
        "a cuts the test RMSE from 0.032 to 0.022 (−0.0097 ["
    )
    raised = ended(a=("better", 0.97))
    larger = dataclasses.replace(raised.primary, direction="max", label="test mean IoU")
    assert "a raises the test mean IoU from 3.2 to 4.2 % (+0.97 points" in answer_of(
        dataclasses.replace(raised, metrics=[larger, *raised.metrics[1:]])
    )


def test_a_study_says_where_its_winner_wins() -> None:
    won, lost, open_ = ended(a=("better", -0.9)), ended(a=("worse", 0.9)), ended(a=("inconclusive", 0.1))
    cells = [StudyCell(name, record) for name, record in (("one", won), ("two", lost), ("three", open_), ("four", won))]
    study = report.Study("s", "q", "c", cells)
    assert answer_of_study(study) == "a is better than ce on test error in 2 of 4 cells (one and four) and worse in 1."
    none = report.Study("s", "q", "c", cells[1:3])
    assert answer_of_study(none) == "No loss beats ce on test error in any of 2 cells; worse: a in 1."


def test_the_winner_stands_first_and_every_colour_stays() -> None:
    record = ended(a=("worse", 0.9), b=("better", -0.5))
    assert [loss.name for loss in by_result(record)] == ["b", "ce", "a"]
    page = report.html(record)
    assert page.index(">b</th>") < page.index(">ce</th>") < page.index(">a</th>")
    only = ended(b=("better", -0.5))
    cells = [StudyCell("all", record), StudyCell("some", only)]
    whole = report.html(report.Study("s", "q", "c", cells))
    assert 'stroke="var(--s2)"' in whole.rpartition('id="cell-1"')[2], "b is the third loss of the study"


def test_the_csv_holds_every_seed() -> None:
    record = ended(a=("worse", 0.9))
    from xentlab.report.render.spreadsheet import rows_of

    rows = list(csv.DictReader(io.StringIO(rows_of(record))))
    assert len(rows) == len(record.metrics) * 2
    first = rows[1]
    assert (first["metric"], first["loss"], first["verdict"]) == ("test/error", "a", "worse")
    assert float(first["difference"]) == pytest.approx(0.009)
    assert [float(first[f"seed {s}"]) for s in range(10, 20)] == list(record.primary.rows[1].values.values())
