"""`xentlab sync`, `xentlab ui` and `xentlab doctor`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from xentlab import tracking
from xentlab.cli.console import console
from xentlab.disk import private
from xentlab.errors import UserError
from xentlab.journal import TrialRecord


def render(record: TrialRecord, folder: Path) -> None:
    """Draw a finished trial's pictures into its artifact folder: its curves, and masks of a segmentation.

    The trials of a comparison are many, and its report draws their curves together: they get no picture of their own.
    """
    from xentlab import report

    monitor = record.ended.monitor if record.ended is not None else ""
    if "comparison" not in record.tags and monitor and not (folder / "curves.png").exists():
        keys = ("train/objective", f"train/{monitor}", f"val/{monitor}")
        history = {key: [v for _, _, v in record.curves[key]] for key in keys}
        report.save_curves(history, folder / "curves.png", title=record.label)
    examples = folder / "examples.npz"
    if examples.exists() and not (folder / "masks.png").exists():
        with np.load(examples, allow_pickle=False) as kept:
            images = np.clip(np.moveaxis(kept["inputs"], 1, -1) * 255, 0, 255).astype(np.uint8)
            ignored = int(kept["ignore_index"])
            names = [str(name) for name in kept["class_names"]]
            report.masks(
                images, kept["truth"], kept["prediction"], names, folder / "masks.png",
                ignore_index=None if ignored < 0 else ignored,
            )  # fmt: skip


def send(root: str, uri: str | None, experiment: str | None, follow: str | None, *, everything: bool) -> int:
    """Send what was filed for the store, or everything; with `follow`, for as long as that session lives."""
    destination = tracking.resolve_destination(uri, experiment, Path(root))
    if follow is not None:
        return tracking.serve_follower(destination, follow, sys.stdout, render=render)
    if not (destination.root / "journal").is_dir():
        raise UserError(f"--root must be an output directory with a journal, got {destination.root}.")
    sent = tracking.sync(destination, everything=everything, render=render)
    print(
        f"{destination.open_uri}: {sent.points} points sent, {sent.created} runs made, {sent.completed} runs completed"
    )
    if sent.elsewhere:
        print(f"{sent.elsewhere} runs were filed for another store or experiment, or for none: --all sends them too.")
    return 0


def ui(root: str, uri: str | None, experiment: str | None, port: int, *, comparison: str | None, browse: bool) -> int:
    """Serve the MLflow UI on 127.0.0.1 until Ctrl-C and print where to look; a server already there gets links only."""
    from xentlab.comparison.folder import find_comparison, folder_group  # they import torch

    destination = tracking.resolve_destination(uri, experiment, Path(root))
    if comparison is not None:  # by the name that it has here; where the root has none of it, by what the store says
        with contextlib.suppress(UserError):
            comparison = folder_group(find_comparison(Path(root), comparison))
    if destination.artifact_location is None:  # a server already
        _show_links(destination, None, comparison, browse=browse)
        return 0
    for sign in (signal.SIGINT, signal.SIGTERM):  # a service manager ends it with the latter
        signal.signal(sign, signal.default_int_handler)
    server = tracking.serve(destination, port)
    try:
        _show_links(destination, tracking.base(port), comparison, browse=browse)
        print("Ctrl-C ends it.", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        print()
        return 0
    finally:
        tracking.stop(server)


def _show_links(
    destination: tracking.Destination, address: str | None, comparison: str | None, *, browse: bool
) -> None:
    links = tracking.links(destination, address=address, comparison=comparison)
    if not links.links:
        raise UserError(
            f"Nothing is recorded at {destination.open_uri} yet: run `xentlab compare comparison=quickstart`."
        )
    if links.warning:
        print(f"xentlab: warning: {links.warning}", file=sys.stderr)
    for link in links.links:
        print(f"{link.url}  {link.shows}")
    sys.stdout.flush()
    if browse:
        webbrowser.open(next((link for link in links.links if link.verdicts), links.links[0]).url)


def doctor(
    archives: Sequence[str], root: str, uri: str | None, experiment: str | None, *, repair: bool, free: bool
) -> int:
    """Print versions, devices, data, database and disk, and what is damaged; returns 1 when something is wrong."""
    from xentlab import doctor as health
    from xentlab import environment
    from xentlab.data.places import search_folders
    from xentlab.run.encoding import features_folder, features_kept

    facts = environment.describe()
    table = Table(title="xentlab doctor", title_justify="left", show_header=False)
    problems = []
    table.add_row("python", facts["python"])
    for name, version in facts["packages"].items():
        table.add_row(name, version or "not installed")
    table.add_row("processor", f"{facts['processor']}, {facts['cores']} cores")
    table.add_row("devices", ", ".join(facts["devices"]))
    for place in search_folders(None):
        names = [n for n in ("MNIST", "FashionMNIST", "camvid") if (place / n).is_dir()]
        table.add_row(f"data in {place}", ", ".join(names) or ("nothing yet" if place.is_dir() else "no such folder"))
    kept, size = features_kept(free=free)
    words = f"{kept} {'removed' if free else 'files'}, {size / 2**20:,.1f} MB"
    table.add_row(f"features in {features_folder()}", words + (" (--free removes them)" if kept and not free else ""))
    table.add_row("XENTLAB_DATA", os.environ.get("XENTLAB_DATA", "not set"))
    destination = tracking.resolve_destination(uri, experiment, Path(root))
    store = tracking.status(destination)
    words = f"{store['uri']}: " + (f"reachable, schema {store['schema']}" if store["reachable"] else store["problem"])
    if store["runs"] is not None:
        words += f", {store['runs']} runs in {store['experiments']} experiments"
    table.add_row("tracking", words)
    existing = next(p for p in (destination.root, *destination.root.parents) if p.exists())
    room = shutil.disk_usage(existing).free / 2**30
    table.add_row("disk", f"{room:.1f} GiB free in {existing}")
    if not os.access(existing, os.W_OK):
        problems.append(f"{existing} cannot be written: choose another output.root")
    if room < 1:
        problems.append(f"only {room:.1f} GiB are free in {existing}")
    page = console()
    page.print(table)
    if repair:
        with private():
            for done in health.repair(destination, lambda: tracking.sync(destination, render=render)):
                page.print(f"repair: {done}")
    problems += health.examine(destination, [Path(file) for file in archives])
    for problem in problems:
        page.print(f"problem: {problem}", style="red")
    return 1 if problems else 0
