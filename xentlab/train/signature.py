"""What decides a trial's numbers, as one sha256: config, data, lift, torch's version, and all code that takes part.

The code is that of the trial's own components and of the training loop, with every module that they import and so on,
without installed packages. A name that a package hands on counts as the module that defines it: a loss more in the
catalogue changes no other loss's trials. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xentlab.data import soften
from xentlab.schema import knobs
from xentlab.train.code import Code, keep_read, read_code
from xentlab.train.trial import COMPONENTS, Trial

# What changes how a result is computed or kept, but not the result: trials that differ in it are the same trial.
_EXECUTION = ("train_sample", "eval_batch_size", "checkpoint_every", "max_stack", "memory")
# Where the closure of what trains every trial begins.
_TRAINING = ("xentlab.train.fit", "xentlab.step")
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()


def signature(trial: Trial, fingerprint: str, lift: str) -> str:
    """sha256 of what decides a trial's result.

    Args:
        trial: of which components and config count.
        fingerprint: of its data.
        lift: that trains it, see `plan.lift_of`.
    """
    # A record from before there was a component says nothing of it.
    config = {k: trial.config[k] for k in (*COMPONENTS, "seed") if k in trial.config}
    # Where a file of soft targets lies decides nothing, nor whether images are held: the fingerprint tells.
    left_out = {*knobs(soften), "resident"}
    config["dataset"] = {k: v for k, v in trial.config["dataset"].items() if k not in left_out}
    config["model"] = {k: v for k, v in trial.config["model"].items() if k != "weights"}  # but its sha256
    # An object from Python is what its source says, by whatever name it is held.
    config = {k: {**v, "_target_": ""} if isinstance(v, dict) and "_source_" in v else v for k, v in config.items()}
    config["trainer"] = {k: v for k, v in trial.config["trainer"].items() if k not in _EXECUTION}
    config["trainer"] |= {"device": trial.device.type, "lift": lift}
    partials = (trial.model, *trial.loss.functions, trial.regularizer, trial.optimizer, trial.schedule, trial.augment)
    functions = [p.func if isinstance(p, functools.partial) else p for p in partials]
    facts = {
        "config": config,
        "fingerprint": fingerprint,
        "torch": torch.__version__,
        "functions": [f"{f.__module__}.{getattr(f, '__qualname__', '')}" for f in functions],
        "typed in": [_typed(f) for f in functions],
        "code": _digest(tuple(sorted({f.__module__ for f in functions}))),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def code_digest(builder: functools.partial[Any]) -> str:
    """sha256 of the code of a component's function, with all that it imports."""
    return _digest((builder.func.__module__,)) + _typed(builder.func)


def closure(*names: str) -> list[str]:
    """The modules of these names and all that they import, installed packages left out, in alphabetical order."""
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found and _file(name) is not None:
            found.add(name)
            ahead += _imports(name)
    return sorted(found)


@functools.cache
def _digest(names: tuple[str, ...]) -> str:
    """sha256 of the code of these modules, of what trains, and of all that both import."""
    code = "".join(f"{name} {_source(name).digest}\n" for name in closure(*names, *_TRAINING))
    keep_read()
    return hashlib.sha256(code.encode()).hexdigest()


@functools.cache
def _typed(function: Callable[..., Any]) -> str:
    """The source of a function that stands in no file, as in a notebook's cell; else nothing."""
    if _file(function.__module__) is None and not _is_installed(function.__module__):
        try:
            return inspect.getsource(function)
        except (OSError, TypeError):
            pass
    return ""


@functools.cache
def _file(name: str) -> Path | None:
    """The file of a module, unless it is built in, installed, or no module at all."""
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if module is None:
        package = name.rpartition(".")[0]
        if package and package not in sys.modules and _lies_installed(package):
            return None  # to look for what is in a package imports it, and scipy takes a tenth of a second
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            spec = None
        origin = spec.origin if spec is not None and spec.has_location else None
    if origin is None:
        return None
    file = Path(origin).resolve()
    own = name.partition(".")[0] == "xentlab"
    return file if file.is_file() and (own or not _below_installed(file)) else None


def _below_installed(file: Path) -> bool:
    return _STANDARD in file.parents or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


@functools.cache
def _lies_installed(name: str) -> bool:
    """Whether a package that nobody has imported is found among the installed ones."""
    root = name.partition(".")[0]
    spec = importlib.util.find_spec(root) if root not in sys.modules else None
    return spec is not None and spec.origin is not None and _below_installed(Path(spec.origin).resolve())


def _is_installed(name: str) -> bool:
    return getattr(sys.modules.get(name), "__file__", None) is not None


@functools.cache
def _source(name: str) -> Code:
    """What a module's file says; of one that is installed or has none nothing."""
    file = _file(name)
    return Code("", [], []) if file is None else read_code(file)


def _imports(name: str) -> list[str]:
    """The modules that a module imports, anywhere in it but for type checking alone."""
    found: list[str] = []
    for level, module, names in _source(name).imports:
        source = _source_of(name, level, module)
        found += [_definer(source, attribute) for attribute in names] or [source]
    return found


def _source_of(name: str, level: int, module: str) -> str:
    """The absolute name of the module that `from ... import` in module `name` speaks of."""
    if not level:
        return module
    file = _file(name)
    package = name.split(".")
    if file is None or file.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - (level - 1)]
    return ".".join([*package, *([module] if module else [])])


def _definer(module: str, attribute: str, seen: frozenset[str] = frozenset()) -> str:
    """Where `attribute` of a module comes from: the submodule of that name, the module that defines it, or itself."""
    if _file(module) is None or module in seen:
        return module
    bound = [each for each in _source(module).bound if each[3] == attribute]
    if len(bound) == 1:
        level, source, name, _ = bound[0]
        return _definer(_source_of(module, level, source), name, seen | {module})
    inner = f"{module}.{attribute}"
    return inner if not bound and attribute != "*" and _file(inner) is not None else module
