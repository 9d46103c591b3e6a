"""Bad input for every key of every config, made from its rule: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_input_lab import bad_values, drawn, every_key
from hydra.core.global_hydra import GlobalHydra

from xentlab.errors import UserError
from xentlab.schema import check_knob

Run = Callable[..., tuple[int, str, str]]

# What people really typed, each of which once trained something, or ended in a traceback.
TYPED = {
    ("train", "output.fresh=maybe"): "output.fresh must be true or false, got 'maybe'.",
    ("train", "output.weights=7"): "output.weights must be true or false, got 7.",
    ("train", "output.root="): "output.root must be a text that is not empty, got ''.",
    ("train", "output.root=null"): "output.root must be a text that is not empty, got null.",
    ("train", "output=5"): "output must be a mapping of its keys, got 5.",
    ("train", "~output"): "output must be a mapping of its keys, got none.",
    ("train", "~executor"): "executor must be a mapping of its keys, got none.",
    ("train", "trainer=5"): "trainer must be a mapping of its keys, got 5.",
    ("train", "loss=null"): "loss must be chosen by its name, got null: loss=NAME.",
    ("train", "loss=[ce]"): "loss must be chosen by its name, got [ce]: loss=NAME.",
    ("train", "loss={}"): "loss must be chosen by its name, got {}: loss=NAME.",
    ("train", "loss={_target_: mine.f}"): "loss._target_ must be a dotted path that can be imported, got 'mine.f'.",
    ("train", "~seed"): "seed must be chosen, got none",
    ("train", "seed=99999999999999999999"): "seed must be below 2^63, got 99999999999999999999.",
    ("train", f"optimizer.lr={'9' * 400}"): "optimizer.lr must be below 2^63, got 999",
    ("train", "trainer.epochs=1e9"): "trainer.epochs must be in [1, 1e+06], got 1000000000.0.",
    ("train", "tracking.uri=5"): "tracking.uri must be a text that is not empty or null, got 5.",
    ("train", "tracking.wait=nan"): "tracking.wait must be in [0, 86400], got nan.",
    ("train", "--nonsense"): "Unrecognized arguments: --nonsense",
    ("compare", "seed=3"): "seed has no meaning in a comparison, which has seeds",
    ("compare", "loss=mse"): "loss has no meaning in a comparison, which has losses",
    ("compare", "comparison=null"): "comparison must be chosen by its name, got null",
    ("compare", "comparison.tune={}"): "comparison.tune={} changes nothing",
    ("compare", f"comparison.name={'n' * 400}"): "comparison.name must be a name of at most 64 letters",
    ("compare", "comparison.losses=[ce,{focal: 5}]"): "comparison.losses.focal must be a mapping of its keys, got 5.",
    ("compare", "comparison.losses=[ce,{focal: {seed_offset: true}}]"): "focal.seed_offset must be an integer >= 0",
    ("compare", "comparison.search=sobol", "comparison.trials=4", "comparison.tune.optimizer.lr=[0.1]"): (
        "comparison.tune.optimizer.lr must be two bounds"
    ),
    ("report",): "The following arguments are required: NAME|ID; `xentlab report --help` says what there is.",
    ("ui", "--port", "x"): "Argument --port: invalid int value: 'x'",
    ("nonsense",): "Unknown command 'nonsense'",
}  # fmt: skip


@pytest.mark.parametrize("words", list(TYPED), ids=lambda w: " ".join(w)[:60])
def test_what_people_typed_is_one_sentence_and_leaves_nothing(run: Run, here: Path, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert TYPED[words] in err
    assert one_sentence(err)
    assert not list(here.iterdir())


def test_every_key_has_a_rule_that_refuses_what_it_does_not_say() -> None:
    keys = list(every_key())
    assert len(keys) > 280
    for key in keys:
        assert key.knob.kind is not object, f"{key.name} has no rule"
        values = bad_values(key.knob)
        assert values, f"{key.name} takes everything"
        for value in values:
            with pytest.raises(UserError) as caught:
                check_knob(key.name.rpartition(".")[0], key.knob, value)
            assert str(caught.value).startswith(f"{key.name} must be ")


@pytest.mark.slow
def test_a_bad_value_for_every_key_is_one_sentence_and_leaves_nothing(run: Run, here: Path) -> None:
    for words in drawn(0)[::3]:  # the rule of each key is held above: here, that every way to one asks it
        code, out, err = run(*words)
        GlobalHydra.instance().clear()
        key = words[-1].partition("=")[0]
        assert (code, out) == (2, ""), (words, err)
        assert one_sentence(err), (words, err)
        assert key.rpartition(".")[2] in err, (words, err)
        assert not list(here.iterdir()), words


@pytest.mark.slow
def test_real_commands(here: Path) -> None:
    """One of each way in; what each says is held above."""
    ways = [("train", "output.fresh=maybe"), ("train", "~seed"), ("train", "--nonsense"), ("compare", "seed=3")]
    for words in (*ways, ("report",), ("ui", "--port", "x"), ("nonsense",)):
        line = [sys.executable, "-m", "xentlab", *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == 2, (words, done.stderr)
        assert TYPED[words] in done.stderr
        assert one_sentence(done.stderr), (words, done.stderr)
        assert not list(here.iterdir()), words


def one_sentence(err: str) -> bool:
    return err.startswith("xentlab: ") and len(err.strip().splitlines()) == 1
