#!/usr/bin/env python
"""Everything that a GPU must prove, in order of worth: tests, then one benchmark after another, each step bounded.

    scripts/gpu [--only tests,trainer,...] [--budget SECONDS] [--logs FOLDER] [--json FILE]

Without a GPU nothing runs, and the exit code is 0. With one it is 1 where a step failed or was cut off. What no time is
left for is named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import harness
import torch

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass(frozen=True)
class Step:
    """What runs, in order, and for how many seconds at most; a benchmark writes its figures to a file."""

    name: str
    arguments: tuple[str, ...]
    seconds: int

    def command(self, figures: Path) -> list[str]:
        if self.name == "tests":
            return [sys.executable, "-m", "pytest", *self.arguments]
        if self.name == "published":
            return [sys.executable, "-m", "xentlab", *self.arguments]
        return [sys.executable, str(HERE / self.arguments[0]), *self.arguments[1:], "--json", str(figures)]


STEPS = (
    Step("tests", ("tests/test_cuda.py", "tests/test_metrics.py", "-k", "cuda", "-q", "-n", "14"), 200),
    Step("trainer_mlp", ("bench_trainer.py", "--device", "cuda", "--model", "mlp", "--repeats", "3"), 60),
    Step("stack", ("bench_stack.py", "--device", "cuda", "--seconds", "6", "--repeats", "3", "--sample", "2"), 180),
    Step("sweep", ("bench_sweep.py", "--device", "cuda", "--sample", "1", "--rates", "10"), 150),
    Step("trainer_lenet", ("bench_trainer.py", "--device", "cuda", "--model", "lenet", "--repeats", "3"), 60),
    Step("losses", ("bench_losses.py", "--devices", "cuda", "--repeats", "3"), 150),
    Step("published", ("published", "mnist_fast", "--size", "gpu", "--minutes", "5"), 240),
)  # fmt: skip


@dataclass
class Result:
    """How a step ended: its exit code (None: cut off, or not begun), and the seconds that it took."""

    name: str
    code: int | None
    seconds: float | None


def run(step: Step, limit: float, logs: Path) -> Result:
    """Run one step and write what it prints to its log."""
    began = time.perf_counter()
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (logs / f"{step.name}.log").open("w") as log:
        try:
            code: int | None = subprocess.run(
                step.command(logs / f"{step.name}.json"), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                timeout=limit, env={**os.environ, "PYTHONPATH": paths}, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code = None
    return Result(step.name, code, time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
    names = [step.name for step in STEPS]
    parser.add_argument("--only", default=",".join(names), help="steps, comma-separated (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=900, help="seconds for all of them (default: %(default)s)")
    parser.add_argument("--logs", type=Path, help="where each step's output and figures go (default: a new folder)")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    for name in chosen:
        if name not in names:
            print(f"--only must name steps of {', '.join(names)}, got {name!r}.", file=sys.stderr)
            return 2
    if not torch.cuda.is_available():
        print("No GPU here: nothing was run.")
        return 0
    logs = options.logs or Path(tempfile.mkdtemp(prefix="xentlab-gpu-"))
    logs.mkdir(parents=True, exist_ok=True)
    ends, until = [], time.perf_counter() + options.budget
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; logs and figures in {logs}", flush=True)
    for step in (step for step in STEPS if step.name in chosen):
        left = until - time.perf_counter()
        end = run(step, min(left, step.seconds), logs) if left > 5 else Result(step.name, None, None)
        ends.append(end)
        words = (logs / f"{step.name}.log").read_text().rstrip().splitlines() if end.seconds else []
        print(f"\n== {step.name}\n" + "\n".join(words[-40:]), flush=True)
    said = {0: "done", None: "cut off"}
    rows = [
        (e.name, "no time left" if e.seconds is None else said.get(e.code, "failed"), f"{e.seconds or 0:.0f} s")
        for e in ends
    ]
    harness.show("what a GPU must prove", ("step", "end", "time"), rows, left=("step", "end"))
    harness.write(options, {"card": torch.cuda.get_device_name(), "steps": [asdict(e) for e in ends]})
    (logs / "steps.json").write_text(json.dumps([asdict(e) for e in ends], indent=1) + "\n")
    return 0 if all(e.code == 0 for e in ends) else 1


if __name__ == "__main__":
    sys.exit(main())
