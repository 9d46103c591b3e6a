"""The README: its commands run as they stand there, its first table is the script's, and it is no longer than a talk.

Commands are shortened by one rule. To `compare` (but for published experiments, which name their size) and to `train`
are added the overrides of `SHORTER`: few epochs, few seeds, no MLflow. What sets up an environment of its own, needs
data that is not at hand, or names a placeholder, is left out, and `LEFT_OUT` says why.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import readme_figures
from support import DATA

Run = Callable[..., tuple[int, str, str]]
TEXT = readme_figures.README.read_text()
SHORTER = {
    "train": ("trainer.epochs=1", "tracking=off"),
    "compare": ("trainer.epochs=1", "comparison.tuning_seeds=1", "comparison.final_seeds=3", "tracking=off"),
    "published": ("tracking=off",),
}
LEFT_OUT = {
    "scripts/demo": "makes an environment of its own; its command is `compare comparison=quickstart`",
    "scripts/test": "is what runs this",
    "dataset.root=DIR": "DIR stands for the reader's own folder",
    "dataset.path=X.csv": "X.csv stands for the reader's own table",
}
if not (DATA and (Path(DATA) / "MNIST" / "raw").is_dir()):
    LEFT_OUT["dataset=mnist"] = "XENTLAB_DATA holds no MNIST here"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def shortened(line: list[str]) -> list[str]:
    """A command of the README as it is run here, without its program."""
    words = ["published", *line[1:]] if line[0] == "scripts/published" else line[1:]
    published = any(word.startswith("comparison=published/") for word in words)
    return [*words, *SHORTER.get("published" if published else words[0], ())]


def test_the_readme_is_short() -> None:
    assert len(TEXT.split()) <= 2000


def test_what_is_left_out_stands_there() -> None:
    text = "\n".join(" ".join(line) for line in commands())
    assert all(part in text for part in LEFT_OUT)
    assert len(commands()) > 20


@pytest.mark.slow
def test_every_command_runs(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    for block in blocks("python"):
        (here / block.split()[1].rstrip(",")).write_text(block)
    for line in commands():
        if any(part in " ".join(line) for part in LEFT_OUT):
            continue
        words = shortened(line)
        if words[:1] == ["published"]:
            words.remove("tracking=off")
        code, _, err = run(*words)
        assert code == 0, f"{shlex.join(line)}: {err}"


def test_the_first_table_is_the_scripts() -> None:
    shown = TEXT.partition(readme_figures.BEGIN)[2].partition(readme_figures.END)[0]
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert re.search(r"\d+ paired seeds each; torch \d+\.\d+\.\d+, Python 3\.\d+\.\d+, CPU; made by", shown)
    losses = {"a": ("baseline", 0.03), "b": ("better", 0.02), "c": ("equivalent", 0.031)}
    facts: dict[str, Any] = {"diff_low": -0.011, "diff_high": 0.002, "difference": -0.01, "p_holm": 0.0061}

    def metric(key: str) -> dict[str, Any]:
        named = [{"loss": n, "verdict": v, "mean": m, "values": {"0": m}, **facts} for n, (v, m) in losses.items()]
        return {"key": key, "margin": 0.005, "rows": named}

    record = {"metrics": [metric("test/error"), metric("test/ece")]}
    made = readme_figures.table(json.loads(json.dumps(record)))
    assert "| a | 3.00 | | | baseline |" in made
    assert "| b | 2.00 | −1.00 [−1.10, +0.20] | 0.0061 | **better**; better calibrated |" in made
    assert "| c | 3.10 | −1.00 [−1.10, +0.20] | 0.0061 | equivalent within ±0.5 |" in made
    assert made.splitlines()[0] == rows[0]
