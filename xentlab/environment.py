"""What a result depends on beside its config: versions, code, hardware. Recorded once per session."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PACKAGES = ("xentlab", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "hydra-core", "mlflow")
# A diff is recorded whole up to this many characters; beyond, its head and a word that it was cut.
_DIFF_LIMIT = 200_000
_FILES_LIMIT = 100


# Of glibc's malloc: numbers of its options, and the sizes up to which it keeps what is freed (512 MB) and does not ask
# the system for a piece of its own (256 MB).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT, _OWN_PIECE = 2**29, 2**28


def keep_freed_memory() -> None:
    """Let this process keep what large tensors free, for the next step's; where its C library is glibc.

    Else every step of a large stack gives its memory back and asks for it again, and the system clears it page by
    page: a sixth of the time of 64 small MLPs on MNIST. All threads share what is kept, since of those that hold much
    one runs at a time (see `xentlab.data.turns`): six LeNets on a stream then take 80 MB in place of 210.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _OWN_PIECE)
        library.mallopt(_M_ARENA_MAX, 1)


def load_ahead() -> None:
    """Have the linker load torch's largest library in a thread, while this one imports what needs no torch: 0.2 s.

    An import holds the interpreter meanwhile, dlopen as a C function does not. Where the user says where libraries lie,
    torch itself decides what comes first.
    """
    spec = importlib.util.find_spec("torch")
    library = Path(spec.origin if spec and spec.origin else "").parent / "lib" / "libtorch_cpu.so"
    if sys.platform == "linux" and library.is_file() and "LD_LIBRARY_PATH" not in os.environ:
        load = ctypes.CDLL(None).dlopen
        threading.Thread(target=load, args=(os.fsencode(library), os.RTLD_NOW), daemon=True).start()


def describe(*, diff: bool = False) -> dict[str, Any]:
    """Python, packages, machine, devices and the git state of the working directory, as plain data.

    Args:
        diff: keep the uncommitted difference itself, not only its digest: it may hold a tracked file of secrets.
    """
    import torch

    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "host": platform.node(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),  # sums are split among them, which moves their last bits
        "devices": ["cpu", *map(torch.cuda.get_device_name, range(torch.cuda.device_count()))],
        "git": git_state(Path.cwd(), diff=diff),
        "command": ["xentlab", *sys.argv[1:]],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_state(folder: Path, *, diff: bool = False) -> dict[str, Any]:
    """Commit of the git checkout that holds `folder`, and sha256 and files of what is uncommitted; else empty."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    text = _git(folder, "diff", "HEAD")
    if not text:
        return {"commit": commit, "changed": None}
    names = (_git(folder, "diff", "HEAD", "--name-only") or "").splitlines()
    changed = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "files": names[:_FILES_LIMIT]}
    if len(text) > _DIFF_LIMIT:
        text = text[:_DIFF_LIMIT] + f"\n[cut: {len(text)} characters in all]"
    return {"commit": commit, "changed": changed, **({"diff": text} if diff else {})}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
