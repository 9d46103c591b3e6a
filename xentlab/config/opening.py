"""What the commands that train share: the session over the output directory, with MLflow fed beside it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from xentlab import environment
from xentlab.disk import private
from xentlab.plain import visible
from xentlab.run.executors import executor_of
from xentlab.run.executors.processes import Processes
from xentlab.run.session import Session
from xentlab.schema import Range, check_knobs
from xentlab.secrets import without_passwords
from xentlab.tracking import Tracker, resolve_destination
from xentlab.tracking.settings import EXPERIMENT_NAME, TRACKING_URI


@dataclass(frozen=True, kw_only=True)
class OutputKnobs:
    """The keys of `output`, see configs/train.yaml."""

    root: str
    fresh: bool = False
    own: bool = False
    weights: bool = True
    diff: bool = False


@dataclass(frozen=True, kw_only=True)
class TrackingKnobs:
    """The keys of `tracking`, see configs/tracking; `wait` in seconds."""

    enabled: bool
    uri: str | None = None
    experiment: str | None = None
    wait: Annotated[float, Range(0, 86_400)] = 30.0


def output_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The checked keys of `output`."""
    return check_knobs("output", OutputKnobs, config.get("output"))


@contextlib.contextmanager
def opened(config: Mapping[str, Any], command: str) -> Iterator[Session]:
    """A session over `output.root`; whatever it journals reaches MLflow in the background unless `tracking=off`."""
    environment.keep_freed_memory()
    output, tracking = output_of(config), check_knobs("tracking", TrackingKnobs, config.get("tracking"))
    root = Path(output["root"]).absolute()
    executor = executor_of(config)
    facts = environment.describe(diff=output["diff"])
    session = Session.open(root, facts, command, fresh=output["fresh"], weights=output["weights"], own=output["own"])
    session.executor, session.say = executor, say
    if (loss := session.records.loss()) is not None:
        warn(loss)
    tracker: Tracker | None = None
    session.journal.filed = []
    if tracking["enabled"]:
        destination = resolve_destination(tracking["uri"], tracking["experiment"], root)
        session.journal.filed = destination.filed
        _say_who_decides(tracking)

        def start_tracking() -> None:
            nonlocal tracker
            tracker = Tracker(session.journal, destination, warn=warn)

        session.journal.on_open = start_tracking
    with private():
        try:
            yield session
        finally:
            if executor is not None:
                executor.close()
            session.journal.close()
            if tracker is not None:
                _drain(tracker, tracking["wait"])


def _say_who_decides(tracking: Mapping[str, Any]) -> None:
    """Say where MLflow's own variables decide where the runs go, or are overruled."""
    for knob, variable in (("uri", TRACKING_URI), ("experiment", EXPERIMENT_NAME)):
        if os.environ.get(variable):
            shown = without_passwords(os.environ[variable])
            rule = f"is followed: {shown}" if tracking[knob] is None else f"is overruled by tracking.{knob}"
            say(f"{variable} {rule}.")


def looking(config: Mapping[str, Any]) -> Session:
    """A session over `output.root` that is to look only: nothing is written unless something is trained."""
    output = output_of(config)
    fresh, own = output["fresh"], output["own"]
    found = Session.open(Path(output["root"]), environment.describe(), "look", fresh=fresh, weights=False, own=own)
    executor = executor_of(config)
    found.say, found.executor = say, executor if isinstance(executor, Processes) else None
    return found


def say(sentence: str) -> None:
    """Tell the user something on stderr."""
    print(visible(f"xentlab: {sentence}"), file=sys.stderr)


def warn(sentence: str) -> None:
    """Say on stderr what went wrong without stopping anything."""
    say(f"warning: {sentence}")


def _drain(tracker: Tracker, wait: float) -> None:
    """Wait until MLflow has everything, but not for long; Ctrl-C leaves it to go on by itself."""
    from rich.console import Console

    console, words = Console(stderr=True), "sending to MLflow; Ctrl-C leaves it to finish in the background"
    with console.status(words) if console.is_terminal else contextlib.nullcontext():
        tracker.close(wait)
    if tracker.done is None and tracker.reachable and tracker.feeding:
        gets = f"still gets about {tracker.pending} points" if tracker.sent else "has taken nothing yet and is tried"
        warn(
            f"MLflow at {tracker.destination.open_uri} {gets} in the background; the journal keeps everything: should "
            f"this machine stop before, send it with `{tracker.destination.sync_command}`."
        )
