"""Values as people type them, and what Hydra says of mistakes: taken as they are, or one sentence and exit code 2."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
QUICK = ("trainer.epochs=1", "tracking=off")
ROWS = "a;y\n" + "".join(f"{i},5;{'pq'[i % 2]}\n" for i in range(40))


@pytest.mark.parametrize(
    "name", ["my t=1;(x).csv", "größe & 100%20.csv", "a,b [1].csv", "it's {x}.csv", "~t.csv", "t$.csv"]
)
def test_a_path_is_taken_as_it_is(run: Run, here: Path, name: str) -> None:
    (here / name).write_text(ROWS)
    code, _, errors = run("train", "dataset=tabular", f"dataset.path={here / name}", *QUICK)
    assert code == 0, errors
    code, _, errors = run("train", "dataset=tabular", f"dataset.path=./{name}", "seed=1", *QUICK)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("dataset=tabular", "dataset.path must be given: dataset.path=VALUE."),
        ("~dataset", "dataset must be chosen, got none: dataset=NAME, without ~dataset."),
        ("~loss", "loss must be chosen, got none"),
        ("optimizer.lr=${nope}", "optimizer.lr refers to ${nope}, which is not in the config."),
        (
            "optimizer.lr=${oc.env:XENTLAB_NO_SUCH}",
            "refers to the environment variable XENTLAB_NO_SUCH, which is not set.",
        ),
        ("model.hidden=[8", "model.hidden must be"),
        ("seed=0,1", "seed=0,1 holds a comma: in quotes it is one value, \"seed='0,1'\""),
        ("seed=${eval:1+1}", "seed must not hold ${eval:...}: oc.env, oc.select"),
        ("seed=${seed}", "seed refers to itself."),
        ("+seed=3", "seed is in the config already: without +."),
        ("seed:3", "'seed:3' must be written KEY=VALUE."),
        ("--resolve", "Argument --resolve: stands beside --cfg job"),
        ("hydra.run.dir=/proc/nope", "hydra.run.dir must be a folder that can be made, got /proc/nope."),
    ],
)
def test_a_mistake_gets_our_words(run: Run, here: Path, override: str, sentence: str) -> None:
    code, _, errors = run("train", override, *QUICK)
    assert code == 2
    assert sentence in errors
    assert errors.startswith("xentlab: ")
    assert errors.count("\n") == 1
    assert not (here / "xentlab-runs").exists()


def test_names_of_columns_need_no_quotes(run: Run, here: Path) -> None:
    (here / "t.csv").write_text(ROWS.replace("a;", "size (cm) = x;").replace(",5;", ",5;1;").replace("x;y", "x;b c;y"))
    code, _, errors = run("train", "dataset=tabular", "dataset.path=t.csv", "dataset.drop=[size (cm) = x]", *QUICK)
    assert code == 0, errors
    assert "left out as asked: size (cm) = x" in errors


def test_a_sweep_between_bounds_names_what_does_that(run: Run) -> None:
    code, _, errors = run("train", "-m", "optimizer.lr=interval(0.1,0.2)", *QUICK)
    assert code == 2
    assert "comparison.search=sobol" in errors


def test_a_number_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE", "0.125")
    code, page, errors = run("train", "optimizer.lr=${oc.env:RATE}", *QUICK)
    assert code == 0, errors
    assert "lr 0.125" in page


def call(here: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xentlab", *arguments]
    return subprocess.run(
        command, cwd=here, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_terminal_without_unicode_gets_every_line(here: Path) -> None:
    done = call(here, "train", *QUICK, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "1 epochs in" in done.stdout


@pytest.mark.slow
def test_a_reader_that_leaves_costs_nothing(here: Path) -> None:
    words = (sys.executable, "-m", "xentlab", "compare", *QUICK, "model.hidden=[8]", "comparison.final_seeds=2")
    shell = f"{shlex.join(words)} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list((here / "xentlab-runs" / "comparisons").glob("*/report.html"))


@pytest.mark.slow
def test_mlflows_own_variables_are_followed_or_overruled_and_said(here: Path) -> None:
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{here}/else.db", "MLFLOW_EXPERIMENT_NAME": "mine"}
    done = call(here, "train", "trainer.epochs=1", **variables)
    assert done.returncode == 0, done.stderr
    assert f"MLFLOW_TRACKING_URI is followed: sqlite:///{here}/else.db." in done.stderr
    assert (here / "else.db").is_file()
    assert not (here / "xentlab-runs" / "mlflow.db").exists()
    done = call(here, "train", "trainer.epochs=1", "seed=1", f"tracking.uri=sqlite:///{here}/third.db", **variables)
    assert "MLFLOW_TRACKING_URI is overruled by tracking.uri." in done.stderr
    assert (here / "third.db").is_file()


@pytest.mark.slow
def test_a_directory_with_a_percent_sign_keeps_its_runs(here: Path) -> None:
    place = here / "b%20b & (1)"
    place.mkdir()
    done = call(place, "train", "trainer.epochs=1")
    assert done.returncode == 0, done.stderr
    assert "in the background" not in done.stderr
    done = call(place, "sync")
    assert "0 points sent, 0 runs made" in done.stdout
    assert [path.name for path in here.iterdir()] == [place.name]


@pytest.mark.slow
def test_a_training_is_sent_nowhere_but_where_it_was_filed_for(here: Path) -> None:
    assert call(here, "train", *QUICK).returncode == 0
    done = call(here, "train", "trainer.epochs=1", "seed=1", "tracking.experiment=mine", "tracking.wait=120")
    assert done.returncode == 0
    assert "0 points sent, 0 runs made" in call(here, "sync", "--experiment", "mine").stdout
    first, second = call(here, "sync").stdout.splitlines()
    assert "0 points sent, 0 runs made" in first
    assert second == "2 runs were filed for another store or experiment, or for none: --all sends them too."
    assert "2 runs made" in call(here, "sync", "--all").stdout


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal_loses_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    from rich.table import Table

    from xentlab.cli import console

    for name, value in (("COLUMNS", str(columns)), ("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    table = Table(*("loss", "mean error", "[95 % interval]", "difference", "verdict", "seeds"), title="Verdicts")
    cells = ("label_smoothing", "3.14159", "[2.71828, 3.14200]", "+0.57721", "inconclusive", "12")
    table.add_row(*cells)
    page = console.console()
    assert page.width == columns
    page.print(table)
    said = capsys.readouterr().out
    assert all(cell in said for cell in (cells if columns == 40 else cells[1:2]))
    assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in said.splitlines()) <= columns


@pytest.mark.parametrize(
    "words",
    [("explain", "0.5,0.5"), ("doctor",), ("--help",), pytest.param(("train", *QUICK), marks=pytest.mark.slow)],
    ids=lambda words: words[0],
)
def test_every_command_stands_a_narrow_dumb_terminal_and_a_reader_that_leaves(
    here: Path, words: tuple[str, ...]
) -> None:
    shell = f"{shlex.join((sys.executable, '-m', 'xentlab', *words))} | head -n 1"
    plain = {**os.environ, "COLUMNS": "40", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(["bash", "-c", shell], cwd=here, env=plain, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout
