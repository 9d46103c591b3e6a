"""Files that are there whole or not at all, also after a loss of power; and what is said when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xentlab.errors import StoppedError, UserError

_WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a file may not grow so large",
    errno.EROFS: "it is read-only",
    errno.EIO: "the disk reports an error",
    errno.EACCES: "it may not be written",
    errno.EPERM: "it may not be written",
}


def cache(kind: str) -> Path:
    """The folder of the user's cache for `data`, what is known of it, or what else is made once and read often."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "xentlab" / kind


@contextlib.contextmanager
def private() -> Iterator[None]:
    """New files are the user's alone within it (0600, folders 0700), as those of child processes are."""
    before = os.umask(0o077)
    os.umask(before | 0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def written_together() -> Iterator[Callable[[Path], Path]]:
    """Gives scratch files beside paths, which take their places once all are on disk; they are gone where that fails.

    A disk that several threads ask at once keeps what waits in one go: five times as fast as one file after another.
    """
    scratches: dict[Path, Path] = {}

    def scratch(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratches[path] = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        return scratches[path]

    try:
        try:
            yield scratch
        except RuntimeError as error:  # what torch says where the disk takes no more, without an errno
            if "inline_container" not in str(error) and "PytorchStreamWriter" not in str(error):
                raise
            path = list(scratches)[-1]
            full = shutil.disk_usage(path.parent).free < 2**20
            raise OSError(errno.ENOSPC if full else errno.EFBIG, "cannot be written", str(path)) from error
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_sync, scratches.values()))
            for path, written in scratches.items():
                written.replace(path)
            for folder in {path.parent for path in scratches}:
                pool.submit(sync_folder, folder)
    finally:
        for written in scratches.values():
            written.unlink(missing_ok=True)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` that takes its place once it is written and on disk; it is gone where that fails."""
    with written_together() as scratch:
        yield scratch(path)


def _sync(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())


def why_refused(error: OSError) -> str:
    """Why a write failed, in words."""
    return _WHY.get(error.errno or 0, str(error).partition("\n")[0].rstrip("."))


def disk_refuses(error: OSError) -> bool:
    """Whether it is the disk that refuses, not the path that is wrong."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


def sync_folder(folder: Path) -> None:
    """Have the disk keep a folder's names, where it can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cannot_go_on(root: Path, error: OSError) -> StoppedError:
    """One sentence of a write that failed: why, what is safe, and how to go on."""
    return StoppedError(
        f"{root} cannot be written any more: {why_refused(error)}; all that the journal holds is safe, and the same "
        f"command goes on from there once it can be written."
    )


def not_written(rule: str, place: Path, error: OSError) -> UserError | StoppedError:
    """Why a place could not be written: the disk refuses, or it is none that can be, which `rule` says."""
    if disk_refuses(error):
        return cannot_go_on(place, error)
    return UserError(f"{rule} that can be written, got {place}: {error.strerror}.")


def cannot_begin(root: Path, error: OSError) -> UserError | StoppedError:
    """One sentence of an output directory in which nothing can be written."""
    return not_written("output.root must be a directory", root, error)
