"""Every loss of the catalogue under every law, on every task it declares; and the commands that look at losses."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from xentlab import losses
from xentlab.config.compose import config_dir
from xentlab.errors import UserError
from xentlab.losses.contract import catalogue, spec_of
from xentlab.losses.laws import LAWS, assert_lawful, check

CATALOGUE = catalogue()
CELLS = [(name, task) for name, function in CATALOGUE.items() for task in spec_of(function).tasks]
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(("name", "task"), CELLS)
def test_the_loss_keeps_the_laws(name: str, task: str) -> None:
    assert_lawful(CATALOGUE[name], task)


def test_the_catalogue_is_found() -> None:
    assert len(CATALOGUE) >= 40
    assert list(CATALOGUE) == sorted(CATALOGUE)
    assert {"ce", "bce", "mse", "mse_logits", "custom_ce"} <= set(CATALOGUE)
    assert "compound" not in CATALOGUE
    assert "loss" not in CATALOGUE


def test_every_loss_has_a_docstring_a_reference_and_a_config_of_its_name() -> None:
    for name, function in CATALOGUE.items():
        assert function.__name__ == name
        documentation = function.__doc__ or ""
        assert "Args:" in documentation, name
        assert "Returns:" in documentation, name
        assert spec_of(function).reference, name
    files = (config_dir() / "loss").glob("*.yaml")
    targets = {file.stem: yaml.safe_load(file.read_text())["_target_"] for file in files}
    assert targets.keys() >= CATALOGUE.keys()
    assert {name: targets[name] for name in CATALOGUE} == {name: f"xentlab.losses.{name}" for name in CATALOGUE}
    assert {t.removeprefix("xentlab.losses.") for t in targets.values()} == {*CATALOGUE, "compound"}


def test_two_class_ce_is_bce_of_the_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5.0 * torch.randn(200, 2, generator=generator, dtype=torch.float64)
    truth = torch.randint(2, (200,), generator=generator)
    difference = (logits[:, 1] - logits[:, 0]).unsqueeze(1)
    wanted = losses.bce(difference, truth.double().unsqueeze(1))
    torch.testing.assert_close(losses.ce(logits, truth), wanted, rtol=1e-9, atol=1e-15)


def test_a_partial_is_held_to_the_laws_at_its_own_knobs() -> None:
    # With smoothing the minimum is no longer where the probabilities are true.
    report = check(functools.partial(losses.custom_ce, smoothing=0.2), "multiclass")
    assert "proper" in {row.law for row in report.broken}
    with pytest.raises(AssertionError, match=r"custom_ce breaks \d of 24 laws:\n(.|\n)*proper: under p = "):
        assert_lawful(functools.partial(losses.custom_ce, smoothing=0.2), "multiclass")
    with pytest.raises(UserError, match=r"^loss\.smoothing must be in \[0, 1\), got 1\.0\.$"):
        check(functools.partial(losses.custom_ce, smoothing=1.0))


def test_a_report_has_a_row_for_each_law() -> None:
    report = check("ce", "multiclass")
    assert [row.law for row in report.rows] == [law.name for law in LAWS]
    assert report.lawful
    skipped = {row.law: row.detail for row in report.rows if row.verdict == "skipped"}
    assert skipped == {
        "knob ranges": "it has no knobs", "stacked knobs": "it has no float knobs", "limits": "it declares no limits",
        "class weights": "it takes no class weights; the objective weighs its elements",
        **dict.fromkeys(("translation", "scale", "functional"), "its targets are classes, not numbers"),
    }  # fmt: skip
    assert all(law.statement.endswith(".") for law in LAWS)


# A user's own losses.

OWN = '''
"""Losses of a user."""

import torch
import torch.nn.functional as F


def one_hot(target, logits):
    if target.is_floating_point():
        if target.shape != logits.shape:
            raise ValueError("the target is not shaped like the logits")
        return target
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError("the target does not fit the logits")
    return torch.movedim(F.one_hot(target, num_classes=logits.shape[1]), -1, 1).to(logits.dtype)


def good(logits, target, *, gamma=1.0):
    return ((torch.softmax(logits, 1) - one_hot(target, logits)).square() * gamma).sum(1)


def wrong_sign(logits, target):
    return -good(logits, target)


def column(logits, target):
    return F.cross_entropy(logits, target, reduction="none").unsqueeze(1)


def does_not_stack(logits, target, *, gamma=1.0):
    return good(logits, target) * 2 if gamma > 1 else good(logits, target)


def wrong_signature(logits):
    return logits.sum(1)


def anything(*args):
    return args


A_NUMBER = 3
'''


@pytest.fixture
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package outside the checkout that holds a user's losses."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")
    (folder / "their_losses").mkdir()
    (folder / "their_losses" / "__init__.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield "their_losses"
    sys.modules.pop("their_losses", None)


def test_a_good_loss_of_a_user(run: Run, package: str) -> None:
    code, out, err = run("check-loss", f"{package}.good")
    assert (code, err) == (0, "")
    assert "good on multiclass, multilabel, segmentation" in out
    assert "keeps all" in out
    assert "broken" not in out
    assert run("check-loss", f"{package}.good", "--task", "multilabel")[0] == 0
    module = importlib.import_module(package)
    assert_lawful(module.good)


@pytest.mark.parametrize(
    ("name", "law", "words"),
    [
        ("wrong_sign", "raises truth", "a step raises class 1 most"),
        ("column", "shape", "values of shape [1, 1], not [1],"),
        ("does_not_stack", "stacked knobs", "vmap over gamma raised RuntimeError"),
    ],
)
def test_a_mistake_of_a_user_is_named(run: Run, package: str, name: str, law: str, words: str) -> None:
    code, out, err = run("check-loss", f"{package}.{name}", "--task", "multiclass")
    assert (code, err) == (1, "")
    assert f"{name} breaks 1 of 24 laws." in out
    (row,) = [line for line in out.splitlines() if "broken" in line]
    assert law in row
    cells = [line.split("│")[3].strip() for line in out.splitlines() if line.count("│") == 4]
    assert words in " ".join(cells)
    with pytest.raises(AssertionError, match=law):
        assert_lawful(f"{package}.{name}", "multiclass")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["focall"], "Unknown loss 'focall'. Did you mean 'focal'? Nearest of "),
        (["their_losses.god"], "Unknown name in their_losses 'god'. Did you mean 'good'? Available: "),
        (["no_such_package.mine"], "the loss must be a dotted path that can be imported, got 'no_such_package.mine'."),
        (["their_losses.A_NUMBER"], "the loss must name a function, got their_losses.A_NUMBER, which is an int."),
        (
            ["their_losses.wrong_signature"],
            "wrong_signature takes logits by position: a loss must be a function (logits, target, *, knobs) -> values.",
        ),
        (["their_losses.anything"], "anything takes *args: a loss must be a function (logits, target, *, knobs)"),
        (
            ["ce", "--task", "regresion"],
            "Unknown task 'regresion'. Did you mean 'regression'? Available: multiclass, ",
        ),
        (["dice", "--task", "multilabel"], "loss dice has no meaning on multilabel: it is defined for segmentation "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("package")
def test_what_is_no_loss_is_refused_in_one_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    code, out, err = run("check-loss", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"xentlab: {sentence}")
    assert err.count("\n") == 1


# Looking at losses.


def test_list_losses_tells_what_each_declares(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = run("list", "losses")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 120
    lines = [line.split() for line in out.splitlines()]
    assert {*CATALOGUE, "compound"} <= {words[0] for words in lines if words}
    for words in ("gamma=2  >= 0", "sigmoid", "proper", "shift-invariant", "Brier", "1950", "cross entropy"):
        assert words in out
    code, out, _ = run("list", "losses", "focal")
    assert code == 0
    assert "gamma" in out
    assert "log" in out


@pytest.mark.parametrize("command", ["check-loss", "plot-loss"])
def test_help_has_two_examples(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.count(f"xentlab {command}") >= 3
