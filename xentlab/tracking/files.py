"""What a sender does with files: locks, and artifacts on their way into a folder or elsewhere. No mlflow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Hold the lock of this file, alone among all processes; yields it open for reading and writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def local_folder(uri: str) -> Path | None:
    """The folder behind an artifact URI, which MLflow keeps as a plain tree of files; None where it is elsewhere."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        return None
    return Path(urllib.request.url2pathname(parts.path))


def copy_into(folder: Path, source: Path) -> None:
    """Copy a tree of files into a folder, over what is there already; weights take no second place on the same disk."""
    shutil.copytree(source, folder, copy_function=_copied, dirs_exist_ok=True)


def send_into(place: Any, source: Path) -> None:
    """Send a tree of files to one of MLflow's artifact repositories, over what is there already."""
    for file in [file for file in sorted(source.rglob("*")) if file.is_file()]:
        below = file.parent.relative_to(source).as_posix()
        with _but_for_lost_weights(file.name):
            place.log_artifact(str(file), None if below == "." else below)


def _copied(source: str, target: str) -> None:
    if source.endswith(".pt"):  # replaced whole where it changes, so that both names never differ in part
        with contextlib.suppress(OSError):
            Path(target).unlink(missing_ok=True)
            os.link(source, target)
            return
    with _but_for_lost_weights(source):
        shutil.copyfile(source, target)


def _but_for_lost_weights(name: str) -> AbstractContextManager[None]:
    """A trial that was not chosen loses its weights, perhaps just now."""
    return contextlib.suppress(FileNotFoundError) if name.endswith(".pt") else contextlib.nullcontext()
