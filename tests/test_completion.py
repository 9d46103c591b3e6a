"""A mistyped word is answered from the config files alone, and a shell completes from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xentlab.cli.completion import offers
from xentlab.config.compose import composed
from xentlab.config.words import check_words, choices_by_group
from xentlab.errors import UserError


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=foo", "dataset=bar"], "Unknown loss 'foo'. Did you mean 'focal'? Nearest of "),
        (["dataset=bar"], "Unknown dataset 'bar'."),
        (["loss=ce,foo"], "Unknown loss 'foo'."),
        (["loss=CrossEntropyLoss"], "CrossEntropyLoss is ce here: loss=ce."),
        (["epochs=3"], "There is no 'epochs': it is trainer.epochs here."),
        (["sead=3"], "Unknown config key 'sead'. Did you mean 'seed'?"),
        (["trainer.epoch=5"], "Unknown config key 'trainer.epoch'. Did you mean 'trainer.epochs'? Available: trainer."),
        (["loss=custom_ce", "loss.gama=2"], "Unknown config key 'loss.gama'. Did you mean 'loss.gamma'?"),
        (["loss.gamma=2"], "Unknown config key 'loss.gamma': the chosen loss has no knobs."),
    ],
)
def test_a_mistyped_word_is_answered_without_torch(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        check_words("train", words)
    assert str(refused.value).startswith(sentence)
    code = "import sys; from xentlab.cli import main; print(main(sys.argv[1:]), {'torch', 'hydra'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code, "train", *words], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr.startswith(f"xentlab: {sentence}")) == ("2 set()\n", True)


def test_what_only_composing_knows_is_left_to_it() -> None:
    check_words("train", ["loss={a:1}", "+x=3", "~loss", "loss=null", "seed=1,2", "optimizer.lr=3", "comparison=mnist"])
    check_words("train", ["loss=foo", "hydra.searchpath=[file:///own]"])
    check_words("train", ["loss=ce,mse", "loss.gamma=1", "+loss.own=1", "model._target_=a.B", "model.own=1"])
    check_words("compare", ["comparison.search=sobol", "comparison=published/nielsen_mnist", "trainer.own=1"])


def test_every_knob_that_composing_knows_is_known() -> None:
    groups = ("dataset", "model", "loss", "augment", "optimizer", "schedule", "tracking", "executor")
    chosen = [f"{group}={choices_by_group()[group][-1]}" for group in groups]
    with composed("train", chosen) as config:
        keys = [
            f"{group}.{key}=1" for group in (*groups, "trainer", "output") for key in config[group] if key[0] != "_"
        ]
    assert len(keys) > 50
    check_words("train", [*chosen, *keys])


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("xentlab comp", ["compare", "completion"]),
        ("xentlab train loss=custom", ["loss=custom_ce"]),
        ("xentlab train model=lenet model.p", ["model.pooling="]),
        ("xentlab train optimizer=adam optimizer.be", ["optimizer.beta1=", "optimizer.beta2="]),
        ("xentlab train dataset.label", ["dataset.label_noise="]),
        ("xentlab train trainer.epo", ["trainer.epochs="]),
        ("xentlab compare comparison.fi", ["comparison.final_seeds="]),
        ("xentlab runs sh", ["show"]),
        ("xentlab runs ls --ki", ["--kind"]),
        ("xentlab list los", ["losses"]),
        ("xentlab list aug", ["augmentations"]),
        ("xentlab check-loss hing", ["hinge"]),
        ("xentlab report --for", ["--format"]),
    ],
)
def test_what_is_offered(line: str, offered: list[str]) -> None:
    assert [word for word in offers(line) if "squared" not in word] == offered
    assert len(choices_by_group()["loss"]) > 50


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where a shell finds the command, and none of the user's own settings."""
    called = tmp_path / "xentlab"
    called.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xentlab "$@"\n')
    called.chmod(0o755)
    home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(tmp_path))
    return {**os.environ, **home, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(environment: dict[str, str]) -> None:
    script = 'eval "$(xentlab completion bash)"; complete -p xentlab; COMP_LINE="xentlab train loss=cus"\n'
    script += 'COMP_POINT=${#COMP_LINE}; _xentlab 2>/dev/null; echo "${COMPREPLY[@]}"'
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert ran.stdout.splitlines() == ["complete -F _xentlab xentlab", "custom_ce"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes(environment: dict[str, str]) -> None:
    script = 'xentlab completion fish | source; complete -C "xentlab train loss=cus"; complete -C "xentlab runs sh"'
    ran = subprocess.run(["fish", "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.splitlines() == ["loss=custom_ce", "show"]
