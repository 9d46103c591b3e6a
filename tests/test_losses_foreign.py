"""Losses from outside: what the probe finds, what it refuses, and that what it adopts is what its author meant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foreign_losses_lab import OWN, batch

from xentlab.errors import UserError
from xentlab.losses import ce
from xentlab.losses.compound import bind
from xentlab.losses.contract import probed_of
from xentlab.losses.foreign import build_loss
from xentlab.losses.probe import Probed
from xentlab.tasks import find

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that holds `foreign_losses.py`."""
    import sys

    (tmp_path / "foreign_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("foreign_losses", None)


def adopted(name: str, task: str = "multiclass", **knobs: Any) -> tuple[functools.partial[torch.Tensor], Probed]:
    path = name if "." in name else f"foreign_losses.{name}"
    loss = build_loss("loss", {"_target_": path, **knobs}, find(task))
    found = probed_of(loss)
    assert found is not None
    return loss, found


@pytest.mark.parametrize(
    ("name", "values", "target", "takes", "link"),
    [
        ("element", "element", "either", "logits", "softmax"),
        ("averages", "mean", "either", "logits", "softmax"),
        ("summed", "sum", "either", "logits", "softmax"),
        ("indices", "element", "index", "logits", "softmax"),
        ("one_hot", "element", "soft", "logits", "softmax"),
        ("of_probs", "element", "index", "probabilities", "softmax"),
        ("of_some_probs", "element", "index", "probabilities", "softmax"),
        ("of_log_probs", "element", "index", "log_probabilities", "softmax"),
        ("truth_first", "element", "either", "logits", "softmax"),
        ("Module", "element", "either", "logits", "softmax"),
        ("margins", "element", "index", "logits", "sigmoid"),
        ("distances", "element", "index", "logits", "identity"),
        ("with_average", "mean", "index", "logits", "softmax"),
        ("Centres", "mean", "index", "logits", "identity"),
        ("torch.nn.CrossEntropyLoss", "element", "either", "logits", "softmax"),
        ("torch.nn.functional.cross_entropy", "element", "either", "logits", "softmax"),
        ("torch.nn.NLLLoss", "element", "index", "log_probabilities", "softmax"),
        ("torch.nn.BCELoss", "class", "soft", "probabilities", "sigmoid"),
        ("torch.nn.BCEWithLogitsLoss", "class", "soft", "logits", "sigmoid"),
        ("torch.nn.MSELoss", "class", "soft", "logits", "identity"),
        ("torch.nn.KLDivLoss", "class", "soft", "log_probabilities", "softmax"),
        ("torch.nn.MultiMarginLoss", "element", "index", "logits", "softmax"),
    ],
)
def test_what_the_probe_finds(name: str, values: str, target: str, takes: str, link: str) -> None:
    loss, found = adopted(name)
    assert (found.values, found.target, found.input, found.link) == (values, target, takes, link)
    assert found.stacks
    logits, truth = batch()
    assert torch.isfinite(loss(logits, truth)).all()
    assert str(found).count("\n") == 0


@pytest.mark.parametrize("name", ["element", "indices", "one_hot", "of_probs", "of_some_probs", "of_log_probs",
                                  "truth_first", "torch.nn.CrossEntropyLoss", "torch.nn.NLLLoss"])  # fmt: skip
def test_all_ways_to_say_cross_entropy_are_ce(name: str) -> None:
    logits, target = batch()
    torch.testing.assert_close(adopted(name)[0](logits, target), ce(logits, target), rtol=1e-12, atol=0)


def test_the_mean_of_torch_is_meant_where_values_are_of_classes() -> None:
    logits, target = batch()
    hot = F.one_hot(target, 4).double()
    for name in ("MSELoss", "BCEWithLogitsLoss", "L1Loss"):
        wanted = getattr(torch.nn, name)()(logits, hot)
        torch.testing.assert_close(adopted(f"torch.nn.{name}")[0](logits, target).mean(), wanted, rtol=1e-12, atol=0)
    loss, _ = adopted("torch.nn.CrossEntropyLoss", weight=[1.0, 2.0, 3.0, 4.0])
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    wanted = F.cross_entropy(logits, target, weight=weight, reduction="none")
    torch.testing.assert_close(loss(logits, target), wanted, rtol=1e-12, atol=0)


def test_arguments_are_knobs() -> None:
    logits, target = batch()
    for name in ("Module", "positional", "keywords"):
        loss, _ = adopted(name, gamma=3)
        torch.testing.assert_close(loss(logits, target), 3 * ce(logits, target), rtol=1e-12, atol=0)
    loss, _ = adopted("positional", gamma=3, mode="double")
    torch.testing.assert_close(loss(logits, target), 6 * ce(logits, target), rtol=1e-12, atol=0)
    assert bind(loss, "multiclass").data == {"gamma": 3.0}
    loss, _ = adopted("Reduced", weight=0.5)
    torch.testing.assert_close(loss(logits, target), 0.5 * ce(logits, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "knobs", "sentence"),
    [
        ("outer", {}, "loss outer must give values of shape [4] for outputs [4, 3] and a target [4], got [4, 4]."),
        ("column", {}, "loss column must give values of shape [4] for outputs [4, 3] and a target [4], got [4, 1]."),
        ("squares", {}, "loss squares failed: RuntimeError: The size of tensor a (3) must match the size of tensor b"),
        ("boom", {}, "loss boom failed: ValueError: my own check: temperature too low (foreign_losses.py, line 36)."),
        ("leaves", {}, "loss leaves ends the program: a loss returns its values."),
        ("number", {}, "loss number must return a tensor, got a float."),
        ("flat", {}, "loss flat must have a gradient: its values do not hang on the outputs."),
        ("Module", {"gamma": -1}, "loss Module failed: ValueError: gamma must not be negative (foreign_losses.py,"),
        ("Module", {"gama": 1}, "Unknown knob of loss 'gama'. Did you mean 'gamma'? Available: gamma, words."),
        ("Module", {"gamma": "a"}, "loss.gamma must be a number, got 'a'."),
        ("Reduced", {}, "loss.weight has no default and must be given."),
        ("torch.nn.TripletMarginLoss", {}, "TripletMarginLoss is called with anchor, positive, negative: a loss is"),
        ("torch.nn.CTCLoss", {}, "CTCLoss is called with log_probs, targets, input_lengths, target_lengths: a loss is"),
        ("element", {"_input_": "words"}, "loss._input_ must be one of logits, probabilities, log_probabilities, got"),
        ("element", {"_link_": "log"}, "loss._link_ must be one of softmax, sigmoid, identity, got 'log'."),
    ],
)  # fmt: skip
def test_what_cannot_be_a_loss_is_refused_in_one_sentence(name: str, knobs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        adopted(name, **knobs)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("prints", "it prints"),
        ("writes", "it prints"),
        ("seeds", "it seeds the global random generator"),
        ("draws", "it draws from the global random generator"),
        ("sleeps", "a call takes 0.3 s"),
        ("Learns", "its own parameters are not trained"),
        ("loops", "does not stack"),
        ("Counts", "it keeps a state or draws random numbers"),
    ],
)
def test_what_a_loss_does_beside_is_contained_and_said(name: str, note: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.random.get_rng_state()
    loss, found = adopted(name)
    assert note in str(found)
    assert torch.equal(before, torch.random.get_rng_state())
    loss(*batch())
    assert torch.equal(before, torch.random.get_rng_state()) == (name != "draws")
    assert capfd.readouterr() == ("", "")
    if name in ("draws", "Counts"):
        assert not found.stacks


def test_a_state_begins_anew_with_each_training() -> None:
    loss, _ = adopted("Counts")
    values = [float(loss(*batch()).sum()) for _ in range(2)]
    bound = bind(loss, "multiclass")
    bound.renew()
    assert (bound.alone, values[1]) == (True, pytest.approx(2 * values[0]))
    assert float(loss(*batch()).sum()) == values[0]


def test_indices_in_one_channel_and_a_word_that_is_refused() -> None:
    loss, found = adopted("Channel", "segmentation")
    assert (found.values, found.target, loss.keywords["reduction"]) == ("mean", "column", "mean")
    logits, target = batch((3, 2))
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target), rtol=1e-12, atol=0)


def test_what_the_probe_cannot_know_is_said_by_hand() -> None:
    logits, target = batch()
    loss, found = adopted("element", _link_="sigmoid", _input_="log_probabilities")
    assert (found.link, found.input) == ("sigmoid", "log_probabilities")
    logs = torch.log_softmax(F.logsigmoid(logits), 1)
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logs, target, reduction="none"))
