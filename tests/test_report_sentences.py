"""Numbers and verdicts in words."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from report_lab import Outline, example

from xentlab import analysis, report
from xentlab.report import numbers
from xentlab.report.record import Record
from xentlab.typed import to_json


@pytest.fixture(scope="module")
def record():
    return Record.from_json(example())


def test_the_sentences_say_the_verdicts(record):
    mse, focal, bce, unstable = report.sentences(record)
    row = numbers.row_of(record.primary, "mse")
    pattern = (
        r"mse is worse than ce on test error by (\S+) points \[(\S+), (\S+)\], "
        r"n = 10, p = (\S+); secondary: worse on NLL; equi.*"
    )
    size, low, high, p = map(float, re.fullmatch(pattern, mse).groups())
    assert (size, low, high) == pytest.approx(
        (100 * row.difference, 100 * row.diff_low, 100 * row.diff_high), abs=0.005
    )
    assert p == pytest.approx(row.p_holm, abs=5e-4)
    assert focal.startswith("focal is equivalent to ce on test error: difference ")
    assert "within ±0.3 points, n = 10" in bce
    assert unstable.endswith("its tuned value lies on the edge of the search space.")
    assert "n = 10, 4 failed" in unstable


def test_a_better_loss_is_better_by_a_positive_number():
    data = example(["mse", "ce"])
    [sentence] = report.sentences(Record.from_json(data))
    size, low, high = re.match(
        r"ce is better than mse on test error by (\S+) points \[(\S+), (\S+)\],", sentence
    ).groups()
    assert 0 < float(low) < float(size) < float(high)


def test_a_loss_that_never_finishes_has_a_sentence():
    data = example(["ce", "mse"])
    table = {"ce": dict(enumerate(np.linspace(0.1, 0.2, 10).tolist())), "mse": dict.fromkeys(range(10))}
    data["metrics"][0]["rows"] = [to_json(r) for r in analysis.judge(table, baseline="ce", direction="min")]
    broken = Record.from_json(data)
    assert report.sentences(broken)[0].startswith(
        "mse is worse than ce on test error by 5.0 points [2.5, 7.5], n = 10, 10 failed, p = 0.004"
    )
    Outline(report.html(broken))


def test_given_sentences_are_kept(record):
    assert report.sentences(dataclasses.replace(record, sentences=["As said."])) == ["As said."]


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (None, 2, False, "–"),
        (-0.126, 2, False, "−0.13"),
        (0.126, 2, True, "+0.13"),
        (-0.001, 2, True, "0.00"),
        (12, 0, False, "12"),
    ],
)
def test_numbers(value, digits, sign, text):
    assert numbers.number(value, digits, sign=sign) == text


@pytest.mark.parametrize(
    ("widths", "digits"), [([0.3], 2), ([0.03, None], 3), ([], 3), ([25.0], 0), ([1e-9], 6), ([0.0], 3)]
)
def test_intervals_decide_the_digits(widths, digits):
    assert numbers.decimals(widths) == digits


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.0004, "< 0.001"), (0.0312, "0.031"), (0.5, "0.50"), (1.0, "1.00")]
)
def test_p_values(p, text):
    assert numbers.p_value(p) == text


def test_a_difference_that_rounds_to_nothing_is_shown_with_the_digits_that_it_needs():
    unit = numbers.scale(False, [(0.0, 0.02)])
    assert (unit.change(-0.00042), unit.size(-0.00042), unit.change(0.0012)) == ("−0.00042", "0.00042", "+0.001")
    assert (unit.change(0.0), unit.change(1e-12), unit.change(None)) == ("0.000", "0.000", "–")
