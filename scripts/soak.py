"""One long sweep, killed three times while its server is killed and started again, beside the same one undisturbed.

    python scripts/soak.py --trials 3000

Both train the same small trials of one epoch. The disturbed one sends to an MLflow server on loopback; at the end every
number must be the undisturbed one's, every trial there once, and every run of the server finished. Exit code 1 where
anything is lost, doubled, left RUNNING or different.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from chaos import compared, in_mlflow, numbers, sound
from children import call

from xentlab.tracking.settings import mlflow_environment, mlflow_module

RATES = "optimizer.lr=0.01,0.02,0.03,0.05,0.07,0.1,0.15,0.2,0.3,0.5"
SMALL = (RATES, "model=linear", "trainer.epochs=1", "dataset.train_fraction=0.1", "output.weights=false")


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """MLflow's server on this port, over the store of this folder; killed at the end."""
    where = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--port", str(port), "--workers", "1"]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where], cwd=folder, stdout=log, stderr=log,
            env=mlflow_environment(os.environ), start_new_session=True,
        )  # fmt: skip
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def soak(place: Path, trials: int, draws: random.Random) -> list[str]:
    """What the disturbed sweep lacks, has twice or has otherwise."""
    whole, disturbed, store = (place / name for name in ("whole", "disturbed", "store"))
    for folder in (whole, disturbed, store):
        folder.mkdir()
    sweep = ("train", "-m", f"seed=range({trials // 10})", *SMALL)
    began = time.monotonic()
    wrong = sound(call(whole, *sweep, "tracking=off", kill_after=36_000), 0)
    seconds = time.monotonic() - began
    print(f"undisturbed: {len(numbers(whole)[0])} trials in {seconds:.0f} s", flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    sent = (*sweep, f"tracking.uri={address}")
    for kills in ((1, 2), (1,)):  # the server is killed between them, and once more is started below
        with server(store, port):
            for _ in kills:
                after = draws.uniform(0.2, 0.9) * seconds
                call(disturbed, *sent, kill_after=after)
                print(f"killed after {after:.0f} s: {len(numbers(disturbed)[0])} trials are there", flush=True)
    with server(store, port):
        wrong += sound(call(disturbed, *sent, kill_after=36_000), 0)
        wrong += sound(call(disturbed, "sync", "--all", "--uri", address, kill_after=36_000), 0)
    return wrong + compared(disturbed, numbers(whole)[0]) + in_mlflow(disturbed, store / "mlflow.db")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=3000, help="of the sweep, in tens (default: %(default)s)")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    mlflow_module()  # imported once, for all children
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xentlab-soak-", ignore_cleanup_errors=True) as place:
        wrong = soak(Path(place), chosen.trials, random.Random(chosen.seed))
    print("\n".join([*wrong[:20], f"{len(wrong)} findings in {(time.monotonic() - began) / 60:.1f} minutes"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
