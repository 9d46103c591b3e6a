#!/usr/bin/env python
"""Makes the README's first table again: runs `comparison=quickstart`, and writes what it found between two markers.

    scripts/readme_figures.py [--readme README.md] [OVERRIDES ...]

The versions that the figures belong to stand beneath them. A row says that a loss is better or worse calibrated where
that is the verdict on its calibration error.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from harness import call

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- quickstart -->\n", "<!-- end of quickstart -->"


def signed(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def line(row: dict[str, Any], calibration: dict[str, Any], margin: float) -> str:
    """One loss: its error, its difference from the baseline with its interval, and what is concluded from it."""
    if row["verdict"] == "baseline":
        return f"| {row['loss']} | {100 * row['mean']:.2f} | | | baseline |"
    words = {"better": "**better**", "worse": "**worse**", "equivalent": f"equivalent within ±{100 * margin:g}"}
    verdict = words.get(row["verdict"], row["verdict"])
    if calibration["verdict"] in ("better", "worse"):
        verdict += f"; {calibration['verdict']} calibrated"
    ends = f"[{signed(row['diff_low'])}, {signed(row['diff_high'])}]"
    cells = (row["loss"], f"{100 * row['mean']:.2f}", f"{signed(row['difference'])} {ends}", f"{row['p_holm']:.2g}")
    return f"| {' | '.join((*cells, verdict))} |"


def table(record: dict[str, Any]) -> str:
    """The table of a comparison's record, and the versions beneath it."""
    metrics = {metric["key"]: metric for metric in record["metrics"]}
    errors, calibration = (metrics[key]["rows"] for key in ("test/error", "test/ece"))
    margin = metrics["test/error"]["margin"]
    lines = [
        "| small MLP on 8x8 digits, tuned alike | test error % | against ce, points [95 % CI] | p (Holm) | verdict |",
        "|---|---|---|---|---|",
        *(line(*rows, margin) for rows in zip(errors, calibration, strict=True)),
        "",
        f"{len(errors[0]['values'])} paired seeds each; torch {torch.__version__.partition('+')[0]}, Python "
        f"{platform.python_version()}, CPU; made by `scripts/readme_figures.py`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", type=Path, default=README, help="the file to rewrite (default: the checkout's)")
    parser.add_argument("overrides", nargs="*", help="of the comparison")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        call(["compare", "comparison=quickstart", "tracking=off", "trainer.device=cpu", *options.overrides], scratch)
        (file,) = Path(scratch).glob("xentlab-runs/comparisons/*/verdicts.json")
        record = json.loads(file.read_text())
    before, _, rest = options.readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    options.readme.write_text(f"{before}{BEGIN}{table(record)}{END}{after}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
