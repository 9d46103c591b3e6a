"""What the record of a report demands, and the sentence that refuses anything else."""

from __future__ import annotations

import copy
import json

import pytest
from report_lab import example

from xentlab.errors import UserError
from xentlab.report.record import Record


@pytest.fixture(scope="module")
def record():
    return Record.from_json(example())


def test_a_record_survives_json(record):
    again = Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))
    assert again == record
    assert again.losses[2].knobs == {"lr": 0.1, "gamma": 2.0}


def without(data, *path):
    *parents, last = path
    for key in parents:
        data = data[key]
    del data[last]


def put(data, value, *path):
    *parents, last = path
    for key in parents:
        data = data[key]
    data[last] = value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: without(d, "question"), r"^record\.question is missing\.$"),
        (lambda d: put(d, 3, "name"), r"^record\.name must be a text, got 3\.$"),
        (
            lambda d: put(d, "x", "metrics", 0, "rows", 2, "p"),
            r"record\.metrics\[0\]\.rows\[2\]\.p must be a finite num",
        ),
        (lambda d: put(d, float("nan"), "metrics", 0, "rows", 0, "mean"), r"mean must be a finite number, got nan"),
        (lambda d: put(d, True, "metrics", 0, "rows", 0, "n"), r"rows\[0\]\.n must be an integer, got True"),
        (lambda d: put(d, "good", "metrics", 0, "rows", 0, "verdict"), r"verdict must be one of better, worse"),
        (lambda d: put(d, 1, "metricz"), r"Unknown field of record 'metricz'\. Did you mean 'metrics'\?"),
        (lambda d: put(d, [], "losses", 0, "knobs"), r"knobs must be a mapping, got \[\]"),
        (lambda d: put(d, {}, "losses"), r"record\.losses must be a list, got \{\}"),
        (lambda d: put(d, [1], "losses"), r"record\.losses\[0\] must be a mapping, got 1"),
        (lambda d: put(d, 3, "version"), r"record\.version must be 1 or 2.*got 3"),
        (lambda d: put(d, "zz", "baseline"), r"Unknown record\.baseline 'zz'"),
        (lambda d: put(d, "ce", "losses", 1, "name"), r"losses must have different names, got ce, ce"),
        (lambda d: put(d, False, "metrics", 0, "primary"), r"exactly one that is primary"),
        (lambda d: without(d, "metrics", 1, "rows", 0), r"test/nll must have one row for each of ce, mse"),
        (lambda d: put(d, "zz", "cost", 0, "loss"), r"Unknown loss in the record 'zz'"),
        (
            lambda d: without(d, "curves", "val/error", "ce", "low", 0),
            r"val/error of ce must have columns of one length",
        ),
    ],
)
def test_a_wrong_record_is_refused_in_one_sentence(change, sentence):
    data = copy.deepcopy(example())
    change(data)
    with pytest.raises(UserError, match=sentence):
        Record.from_json(data)


def test_a_record_that_is_no_mapping_is_refused():
    with pytest.raises(UserError, match=r"record must be a mapping, got \[\]"):
        Record.from_json([])
