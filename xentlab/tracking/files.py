"""What a sender does on the local disk: locks, and artifacts that lie in a local folder. No mlflow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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


def _copied(source: str, target: str) -> None:
    if source.endswith(".pt"):  # replaced whole where it changes, so that both names never differ in part
        with contextlib.suppress(OSError):
            Path(target).unlink(missing_ok=True)
            os.link(source, target)
            return
        with contextlib.suppress(FileNotFoundError):  # a trial that was not chosen has lost its weights meanwhile
            shutil.copyfile(source, target)
        return
    shutil.copyfile(source, target)
