"""Where data lives on this computer: the folders that are searched, in their order, and what to say about them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from xentlab.disk import cache
from xentlab.errors import UserError

T = TypeVar("T")


def search_folders(root: str | None) -> list[Path]:
    """The folders that are searched: `root` alone if given, else XENTLAB_DATA (if set) and the user's cache."""
    if root is not None:
        return [Path(root).expanduser()]
    named = os.environ.get("XENTLAB_DATA")
    return [Path(named).expanduser(), cache("data")] if named else [cache("data")]


def find_folder(root: str | None, name: str) -> Path:
    """`root` itself if given, else the folder called `name` in the first place that has one.

    Raises:
        UserError: there is no such folder.
    """
    if root is not None:
        folder = Path(root).expanduser()
        if folder.is_dir():
            return folder
        raise UserError(f"dataset.root must be a folder that exists, got {folder}.")
    candidates = [place / name for place in search_folders(None)]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise UserError(
        f"Dataset '{name}' was looked for as {path_list(candidates)} and not found: set dataset.root to its folder, or "
        f"XENTLAB_DATA to the folder that holds '{name}'."
    )


def downloaded(fetch: Callable[[Path], T], folders: Sequence[Path], missing: str, advice: str, *, allowed: bool) -> T:
    """What `fetch` brings into the first folder that can be written.

    Args:
        missing: what was looked for and where, in a sentence without its end.
        advice: what else would do.
        allowed: whether `dataset.download` is true.

    Raises:
        UserError: it may not be downloaded, or cannot.
    """
    if not allowed:
        raise UserError(f"{missing}, and dataset.download is false: {advice}.")
    for target in folders:
        with contextlib.suppress(OSError):  # the next place may do; if none does, the sentence below names them all
            target.mkdir(parents=True, exist_ok=True)
        if os.access(target, os.W_OK | os.X_OK):
            break
    else:
        raise UserError(
            f"Data cannot be downloaded because {path_list(folders)} cannot be written: set dataset.root or "
            "XENTLAB_DATA to a folder that can."
        )
    try:
        return fetch(target)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{missing}, and downloading failed ({first_line(error)}): {advice}.") from error


def first_line(error: BaseException) -> str:
    """What an error says first, or else its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def path_list(paths: Sequence[Path]) -> str:
    """The paths as they stand in a sentence."""
    return " and ".join(str(path) for path in paths)
