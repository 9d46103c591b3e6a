"""Typed values from JSON and back: every kind of hint, and the one sentence that each mistake gets."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from support import an_outcome

from xentlab.errors import UserError
from xentlab.journal.events import (
    EVENTS,
    EndEvent,
    EpochEvent,
    Event,
    GroupEndEvent,
    SessionEvent,
    event_from_line,
    line_from_event,
    load_event,
)
from xentlab.outcome import Outcome, ReliabilityBins
from xentlab.schema import Pattern, Range
from xentlab.typed import from_json, to_json


@dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(0, 1)]
    word: Annotated[str, Pattern("[a-z]+", "small letters")] = "a"


@dataclass(frozen=True)
class Whole:
    count: int
    inner: Inner
    by_seed: dict[int, float | None] = field(default_factory=dict)
    rows: tuple[Inner, ...] = ()
    kind: Literal["a", "b"] = "a"
    knob: float | int | bool | None = None
    free: Any = None


WHOLE = Whole(3, Inner(0.5), {0: 1.0, 12: None}, (Inner(1.0, "b"),), "b", True, {"x": [1]})


def test_what_is_dumped_is_loaded_again() -> None:
    assert from_json(Whole, json.loads(json.dumps(to_json(WHOLE), allow_nan=False)), "whole") == WHOLE


MISTAKES = {
    "whole.count must be an integer, got True.": {"count": True},
    "whole.count is missing.": {"count": ...},
    "Unknown field of whole 'counts'. Did you mean 'count'?": {"counts": 1},
    "whole.inner.share must be in [0, 1], got 1.5.": {"inner": {"share": 1.5}},
    "whole.inner.share must be a finite number, got inf.": {"inner": {"share": float("inf")}},
    "whole.inner.word must be small letters, got 'A'.": {"inner": {"share": 1, "word": "A"}},
    "whole.by_seed must be a mapping with whole numbers as keys, got 'one'.": {"by_seed": {"one": 1.0}},
    "whole.rows[0].share must be a finite number, got 'x'.": {"rows": [{"share": "x"}]},
    "whole.kind must be one of a, b, got 'c'.": {"kind": "c"},
}


@pytest.mark.parametrize("sentence", list(MISTAKES))
def test_a_mistake_is_one_sentence(sentence: str) -> None:
    given = {**to_json(WHOLE), **MISTAKES[sentence]}
    with pytest.raises(UserError) as error:
        from_json(Whole, {k: v for k, v in given.items() if v is not ...}, "whole")
    assert str(error.value).startswith(sentence)


OUTCOMES = [
    an_outcome(),
    dataclasses.replace(
        an_outcome(), monitor="error", best=0.25, test_at_best={"error": 0.5}, stack=4, lift="looped",
        epochs_to_target=2, reliability=ReliabilityBins([1] * 16, [0] * 16, [0.5] * 16),
    ),
    dataclasses.replace(an_outcome(), diverged=True, test={}, best_epoch=0),
]  # fmt: skip


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_is_read_as_it_was_written(outcome: Outcome) -> None:
    summary = json.loads(json.dumps(outcome.to_json()))
    assert Outcome.from_json(summary) == outcome
    assert Outcome.from_json(summary, strange=True) == outcome
    assert not {"monitor", "best", "test", "test_at_best"} & summary.keys()
    if outcome.best is not None:
        assert summary["best/val/error"] == outcome.best


@pytest.mark.parametrize(
    "event",
    [
        SessionEvent("0123456789", "host", 1, "xentlab train", {"git": {}}),
        EpochEvent(["0123456789", "0123456780"], 2, {"val/nll": [0.5, None]}),
        EndEvent("0123456789", "finished", "", OUTCOMES[1].to_json(), "trials/0123456789"),
        EndEvent("0123456789", "failed", "ValueError: no", {}, None),
        GroupEndEvent("0123456789", "finished", {"verdict": "better"}, {"p": 0.5}, None, {"a": [[1, 0.5]]}),
    ],
)
def test_an_event_is_read_as_it_was_written_by_us_and_from_elsewhere(event: Event) -> None:
    line = json.loads(json.dumps(line_from_event(event, 7)))
    assert EVENTS[line["event"]] is type(event)
    assert load_event(line, "Line 1") == event
    assert event_from_line(line) == (event, 7)
