"""The training's side of tracking: starts the process that feeds MLflow, and listens to it. Imports no mlflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from xentlab.journal import Journal
from xentlab.tracking.settings import Destination, mlflow_environment

POLL_S = 0.05
HOPELESS_S = 2.0  # how long `close` waits while the store does not answer


class Tracker:
    """Follows a journal in a process of its own, which outlives this one if need be.

    It is to be made after the journal's first event and closed after the journal. Made and forgotten is fine as well:
    the process ends by itself once the journal's writer is gone and everything is sent.
    """

    def __init__(
        self,
        journal: Journal,
        destination: Destination,
        *,
        warn: Callable[[str], None],
        command: Sequence[str] = (sys.executable, "-P", "-m", "xentlab"),
    ) -> None:
        """Start the process.

        Args:
            journal: the journal to follow; it has written an event.
            warn: gets each warning, one sentence, from another thread.
        """
        assert journal.path.exists(), "a tracker follows a journal that has begun"
        self.destination = destination
        self.sent = 0
        self.pending = 0
        self.reachable = True
        self.done: bool | None = None
        self._warn = warn
        self._log = destination.root / "tracking.log"
        options = ["--root", str(destination.root), "--uri", destination.uri, "--experiment", destination.experiment]
        self._listener: threading.Thread | None = None
        try:
            self._process = self._start([*command, "sync", "--follow", journal.session, *options])
        except OSError as error:
            self._fail(f"cannot be started: {error.strerror}")
            return
        self._listener = threading.Thread(target=self._listen, name="xentlab-tracking", daemon=True)
        self._listener.start()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        # in a session of its own: Ctrl-C in the terminal ends the training, not the sending of what it has recorded
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
                errors="replace",
                env=environment_of_child(),
            )

    def _fail(self, how: str) -> None:
        self._warn(
            f"The process that feeds MLflow {how}: the journal keeps everything, send it with "
            f"`{self.destination.sync_command}`."
        )

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    message = dict(json.loads(line))
                    if "warning" in message:
                        self._warn(message["warning"])
                    elif "done" in message:
                        self.done = message["done"]
                    else:
                        self.sent, self.pending, self.reachable = (message[k] for k in ("sent", "pending", "reachable"))
                except (ValueError, TypeError, KeyError):  # something that it imports prints on its own
                    continue
        code = self._process.wait()
        if self.done is None:
            self._fail(f"ended with code {code} ({last_line(self._log)})")

    @property
    def feeding(self) -> bool:
        """Whether the process is still at work."""
        return self._listener is not None and self._listener.is_alive()

    def close(self, wait_s: float, *, progress: Callable[[int, int], None] | None = None) -> bool:
        """Wait until everything has arrived; the journal must be closed before.

        A store that does not answer is waited for only briefly. What is not sent when this returns is still being sent
        in the background, for a while.

        Args:
            progress: called with (points sent, points pending) whenever they change.

        Returns:
            Whether everything has arrived.
        """
        began = time.monotonic()
        shown: tuple[int, int] | None = None
        while (
            self._listener is not None
            and self._listener.is_alive()
            and time.monotonic() - began < (wait_s if self.reachable else min(wait_s, HOPELESS_S))
        ):
            if progress is not None and shown != (self.sent, self.pending):
                shown = (self.sent, self.pending)
                progress(*shown)
            self._listener.join(POLL_S)
        if progress is not None and shown != (self.sent, self.pending):
            progress(self.sent, self.pending)
        return self.done is True


def environment_of_child() -> dict[str, str]:
    """The environment of the sending process: it imports mlflow, not what lies where it was called, on one thread."""
    path = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    home = Path(__file__).parents[2]  # where xentlab is imported from: of a checkout, no installed package's place
    if home.name != "site-packages" and str(home) not in path:
        path.append(str(home))
    return {**mlflow_environment(os.environ), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}


def last_line(path: Path, limit: int = 2000) -> str:
    """The last line of a log, or a note that it is empty."""
    lines = path.read_text(encoding="utf-8", errors="replace")[-limit:].strip().splitlines()
    return lines[-1].strip() if lines else "no message"
