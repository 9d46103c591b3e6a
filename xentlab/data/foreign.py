"""Data from outside, or what returns them, as a `Dataset`: any map-style `torch.utils.data.Dataset`, a tuple of two
arrays, a data frame (or a tuple of it and the name of its target), a mapping of parts, as Hugging Face's.

Task, classes and sizes are those of its examples, and said; `+dataset.task=` and `+dataset.class_names=[...]` say
otherwise. All examples are met once; where they are too many to be held, or under `+dataset.resident=false`, training
asks for them again. `+dataset.test.KNOB=VALUE` (and `val`) names the same source with other knobs, or by `_target_`
another one.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xentlab.data.columns import few
from xentlab.data.dataset import Dataset, consecutive
from xentlab.data.handed import class_names_of, framed, of_frames, parts_of
from xentlab.data.pixels import Remarks
from xentlab.data.sources import Remembered, digest_of
from xentlab.data.stream import Stream, is_held
from xentlab.dotted import locate
from xentlab.errors import UserError, a_kind, own_error
from xentlab.schema import Knob, check_knobs, check_values, knobs, target_of
from xentlab.tasks import TASKS, find

_INPUTS = ("image", "inputs", "input", "pixel_values", "x", "features", "data")
_TARGETS = ("label", "labels", "target", "targets", "y", "mask", "class")
_OWN = ("task", "class_names", "name", "val", "test", "ignore_index", "resident")


def build_dataset(path: str, node: Mapping[str, Any]) -> functools.partial[Dataset]:
    """The builder of data that a config node names, with every knob checked and bound: of the lab, or adopted.

    Raises:
        UserError: there is none, a knob is wrong, or its examples are of no task.
    """
    found, values = target_of(path, node)
    if hasattr(found, "task") or (not isinstance(found, type) and "task" in knobs(found)):
        return functools.partial(found, **check_knobs(path, found, values))
    return adopt(found, values, path)


_ADOPTED: dict[tuple[Any, str], functools.partial[Dataset]] = {}


def adopt(source: Any, values: Mapping[str, Any], path: str = "dataset") -> functools.partial[Dataset]:
    """A source from outside, as a builder that reads it once it is called; the same one for the same arguments.

    Args:
        source: a class or function that gives a map-style dataset (or a `Dataset`), or such an object.
        values: its knobs, and the keys of this lab: `task`, `class_names`, `name`, `val`, `test`, `ignore_index` and
            `resident`.
    """
    key = (source, repr(sorted(values.items())))
    if key not in _ADOPTED:
        _ADOPTED[key] = _adopt(source, values, path)
    return _ADOPTED[key]


def _adopt(found: Any, values: Mapping[str, Any], path: str) -> functools.partial[Dataset]:
    name = str(getattr(found, "__name__", type(found).__name__))
    own = {k: v for k, v in values.items() if k in _OWN and v is not None}
    given = {k: v for k, v in values.items() if k not in _OWN}
    parts = parts_of(name, _made(name, found, given, path))
    for part in ("val", "test"):
        if part in own:
            if not isinstance(own[part], Mapping):
                raise UserError(f"{path}.{part} must be a mapping of knobs, got {own[part]!r}.")
            node = dict(own.pop(part))
            other = locate(f"{path}.{part}", str(node.pop("_target_"))) if "_target_" in node else found
            made = _made(name, other, node if other is not found else {**given, **node}, f"{path}.{part}")
            parts[part] = parts_of(name, made)["train"]
    ready = parts["train"]
    if (frames := {part: framed(source) for part, source in parts.items()})["train"] is not None:
        ready = of_frames(name, frames, own)
    if own.get("resident", "auto") not in ("auto", True, False):
        raise UserError(f"{path}.resident must be auto or true or false, got '{own['resident']}'.")
    task = ready.task if isinstance(ready, Dataset) else str(own.get("task") or _task_of(name, ready))
    if task not in TASKS:
        raise UserError(f"{path}.task must be one of {', '.join(TASKS)}, got '{task}'.")

    def read(*, task: str) -> Dataset:
        if isinstance(ready, Dataset):
            return ready
        return _met(parts, task, {"name": name, **own})

    for attribute in ("__module__", "__qualname__"):
        setattr(read, attribute, str(getattr(found, attribute, name)))
    read.__name__, read.__wrapped__ = name, found if callable(found) else type(found)  # type: ignore[attr-defined]
    return functools.partial(read, task=task)


def _made(name: str, found: Any, given: Mapping[str, Any], path: str) -> Any:
    """The object behind a class, a function, or itself."""
    made = found
    if isinstance(found, type) or inspect.isroutine(found) or isinstance(found, functools.partial):
        every = inspect.signature(found).parameters.values()
        named = [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        checked = check_values(path, {p.name: Knob(p.name, object, p.default) for p in named}, given)
        try:
            made = found(**checked)
        except UserError:
            raise
        except Exception as error:
            raise own_error(f"dataset {name}", error) from error
    elif given:
        raise UserError(f"{path} is an object, which has no knobs, got {', '.join(given)}.")
    if not isinstance(made, Dataset) and not (hasattr(made, "__getitem__") and hasattr(made, "__len__")):
        raise UserError(
            f"dataset {name} must give a torch.utils.data.Dataset with __len__ and __getitem__, arrays, "
            f"a data frame or an xentlab.data.Dataset, got {a_kind(made)}."
        )
    return made


def _example(name: str, source: Any, index: int) -> tuple[Any, Any]:
    """Input and target of one example."""
    try:
        found = source[index]
    except Exception as error:
        raise own_error(f"dataset {name} on example {index}", error) from error
    if isinstance(found, Mapping):
        pair = [next((found[k] for k in keys if k in found), None) for keys in (_INPUTS, _TARGETS)]
        if pair[0] is not None and pair[1] is not None:
            return pair[0], pair[1]
    elif isinstance(found, Sequence) and len(found) == 2:
        return found[0], found[1]
    shape = f"keys {', '.join(map(str, found))}" if isinstance(found, Mapping) else a_kind(found)
    raise UserError(f"dataset {name} must give pairs (input, target), got {shape} for example {index}.")


def _tensor(name: str, what: str, value: Any) -> Tensor:
    """An input or a target as a tensor: images with their channels first."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise UserError(f"dataset {name} must give {what} that are numbers, arrays or images, got {a_kind(value)}.")
    pictured = not isinstance(value, np.ndarray) or array.dtype == np.uint8
    if array.ndim == 3 and pictured and array.shape[-1] in (1, 3, 4) and array.shape[0] not in (1, 3):
        array = np.moveaxis(array, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)


def _task_of(name: str, source: Any) -> str:
    """What the first examples are of."""
    if not len(source):
        raise UserError(f"dataset {name} must have examples, got none.")
    pairs = [_example(name, source, i) for i in range(min(8, len(source)))]
    if isinstance(pairs[0][1], str):
        return "multiclass"
    inputs, targets = _tensor(name, "inputs", pairs[0][0]), [_tensor(name, "targets", target) for _, target in pairs]
    numbers = torch.cat([t.flatten() for t in targets]).double()
    if targets[0].ndim == 2 and inputs.ndim >= 2 and targets[0].shape == inputs.shape[-2:]:
        return "segmentation"
    if targets[0].numel() > 1:
        return "multilabel" if bool(((numbers == 0) | (numbers == 1)).all()) else "regression"
    return "regression" if targets[0].is_floating_point() else "multiclass"


def _met(parts: Mapping[str, Any], task: str, own: Mapping[str, Any]) -> Dataset:
    """All examples of the parts of a source, their inputs held or streamed; with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    name = str(own["name"])
    counts = {part: len(source) for part, source in parts.items()}
    if not all(counts.values()):
        raise UserError(f"dataset {name} must have {min(counts, key=lambda part: counts[part])} examples, got none.")
    places = [(source, i) for source in parts.values() for i in range(len(source))]

    def example(number: int) -> tuple[Tensor, Any]:
        given, answer = _example(name, *places[number])
        value = _tensor(name, "inputs", given)
        value = value.unsqueeze(0) if value.ndim == 2 else value  # a map is an image of one channel
        return value if value.dtype == torch.uint8 else value.float(), answer

    first, remarks = example(0)[0], Remarks()
    held = is_held(own.get("resident", "auto"), len(places), first.shape, remarks, first.itemsize)
    rows, digests, answers = list[Tensor](), list[bytes](), list[Any]()
    console, numbers = Console(stderr=True), range(len(places))
    watched = track(numbers, f"reading {name}", console=console, transient=True) if sys.stderr.isatty() else numbers
    for number in watched:
        value, answer = example(number)
        _check_like(name, "inputs", first, value, number)
        if not bool(value.isfinite().all()):
            raise UserError(f"dataset {name} must give finite inputs, got nan or inf in example {number}.")
        answers.append(answer)
        if held:
            rows.append(value)
        else:
            digests.append(digest_of(value))
    stream = None
    if not held:
        source = Remembered(name, lambda number: example(number)[0], digests)
        stream = Stream(source, (len(places), *first.shape), first.dtype)
    inputs = torch.stack(rows) if stream is None else stream.inputs
    targets, words = _targets(name, answers, task)
    ignored, named = own.get("ignore_index"), own.get("class_names")
    names = named or words or class_names_of(parts["train"], targets, ignored)
    kind, counted = find(task).columns, ""
    if kind == "class":
        if not named and len(names) < 2:
            raise UserError(f"dataset {name} must have two classes at least, got {len(names)}.")
        counted = _counted(name, targets, names, told=bool(named))
    how = "task as said" if "task" in own else "task by its examples"
    sizes = ", ".join(f"{count} {part}" for part, count in counts.items()) if len(counts) > 1 else str(len(places))
    word = {"numbers": "target", "labels": "label"}.get(str(kind), "classe") + ("s" if len(names) > 1 else "")
    note = f"{sizes} examples {list(inputs.shape[1:])} of {task} ({how}), {len(names)} {word}{counted}"
    return Dataset(
        name=name,
        task=task,
        inputs=inputs,
        targets=targets,
        class_names=tuple(map(str, names)),
        scale=1 / 255 if inputs.dtype == torch.uint8 and inputs.ndim == 4 else 1.0,
        ignore_index=ignored,
        source_splits=consecutive(counts) if len(counts) > 1 else {},
        notes=(note, *remarks.notes),
        stream=stream,
    )


def _targets(name: str, answers: Sequence[Any], task: str) -> tuple[Tensor, list[str]]:
    """The targets of all examples in their task's form; and the classes, where they are words."""
    words = sorted({str(y) for y in answers}) if isinstance(answers[0], str) else []
    rows = [_tensor(name, "targets", words.index(y) if words else y) for y in answers]
    for number, row in enumerate(rows):
        _check_like(name, "targets", rows[0], row, number)
    targets, form = torch.stack(rows), find(task)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    if form.columns == "labels":
        return targets.to(torch.uint8), words
    whole = form.columns == "class" and bool((targets == targets.round()).all())
    if not form.floats and (whole or not targets.is_floating_point()):
        return targets.long(), words
    return targets.float(), words


def _counted(name: str, targets: Tensor, names: Sequence[Any], *, told: bool) -> str:
    """How many examples each class has; nothing of maps."""
    if targets.ndim > 1 or targets.is_floating_point() or bool((targets < 0).any()) or int(targets.max()) >= len(names):
        return ""
    counts = torch.bincount(targets, minlength=len(names))
    found = counts.nonzero().flatten().tolist()
    if not told and 2 * len(found) < len(names):
        raise UserError(
            f"dataset {name} must number its classes from 0 on, got {few([str(i) for i in found])}, so that "
            f"{len(names) - len(found)} of {len(names)} have no example: dataset.class_names says that it is so."
        )
    return ": " + few([f"{word} {count}" for word, count in zip(names, counts.tolist(), strict=True)])


def _check_like(name: str, what: str, first: Tensor, row: Tensor, number: int) -> None:
    if row.shape != first.shape:
        raise UserError(
            f"dataset {name} must give {what} of one shape, got {list(first.shape)} for example 0 and "
            f"{list(row.shape)} for example {number}."
        )
