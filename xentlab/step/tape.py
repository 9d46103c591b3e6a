"""A tensor program recorded once and replayed: the same ATen calls on other values of the same shapes.

`torch.vmap` and autograd decide anew in every step what to compute, and for small models that costs more than the
arithmetic. Their decisions depend on shapes alone, so the calls they end in are written down, below both of them, and
replayed. A replay gives the bits that the recorded function would have given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_ATEN = torch.ops.aten
# What reads a number back to Python may have steered it: for other values the program could be another one.
_STEERING = {_ATEN._local_scalar_dense.default, _ATEN.is_nonzero.default, _ATEN.equal.default}
# What these return hangs on shapes alone.
_FILLING = {
    getattr(_ATEN, name).default
    for name in ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
}
_FOLDED_BYTES = 2**20  # a constant at most: a tape keeps it as long as it lives


@dataclass(frozen=True)
class _Slot:
    """A value of the replay: an input, or what a call returned."""

    number: int


@dataclass
class _Call:
    function: Any
    args: Any
    kwargs: dict[str, Any]
    outputs: Any  # as the function returns it, with a slot for each tensor

    def written(self) -> list[Any]:
        """The arguments that it writes into."""
        declared = self.function._schema.arguments
        given = dict(zip((a.name for a in declared), self.args, strict=False)) | self.kwargs
        return [
            given[a.name] for a in declared if a.alias_info is not None and a.alias_info.is_write and a.name in given
        ]


class Tape:
    """What `record` returns: call it with inputs of the recorded shapes.

    Tensors that the program read but was not given (weights, knobs) are held by reference: a replay reads what they
    hold then. What it wrote into such tensors it writes again.

    Attributes:
        peak_bytes: what the recorded run held at most at one time in tensors that it made itself.
    """

    def __init__(self, calls: Sequence[_Call], inputs: Sequence[_Slot], outputs: Any, peak_bytes: int) -> None:
        self.peak_bytes = peak_bytes
        calls = _needed(calls, outputs)
        self.calls = len(calls)
        self._replay = _compiled(calls, inputs, outputs)

    def __call__(self, *inputs: Tensor) -> Any:
        with torch.no_grad():
            return self._replay(*inputs)


def record(function: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[Any, Tape | None]:
    """Run `function(*inputs)` and write down what it calls.

    Args:
        function: whose calls depend on the shapes of its inputs, not on their values; it returns tensors, None, or
            nested tuples or dicts of them.
        inputs: what will differ between replays.

    Returns:
        What the function returned, and its tape; None in the tape's place where it read a number back to Python.
    """
    recorder = _Recorder()
    slots = [recorder.name(tensor) for tensor in inputs]
    with recorder:
        result = function(*inputs)
    if recorder.steered:
        return result, None
    outputs = tree_map(recorder.place, result)
    return result, Tape(_folded(recorder, outputs), slots, outputs, _peak_bytes(recorder, outputs))


def peak_bytes(function: Callable[..., Any], inputs: Sequence[Tensor]) -> int:
    """What `function(*inputs)` holds at most at one time in tensors that it makes, its results included; runs it."""
    recorder = _Recorder()
    for tensor in inputs:
        recorder.name(tensor)
    with recorder:
        result = function(*inputs)
    return _peak_bytes(recorder, tree_map(recorder.place, result))


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.storages: dict[_Slot, int] = {}  # which storage a slot shows; of storages made here alone
        self.sizes: dict[int, int] = {}
        self.steered = False
        self._slots: dict[int, _Slot] = {}
        self._looks: dict[Hashable, _Slot] = {}
        self._alive: list[Tensor] = []  # an id stays one tensor's only while that tensor lives

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and importing the compiler to say so takes two seconds

    def name(self, tensor: Tensor, *, view: bool = False) -> _Slot:
        """Give a tensor a slot: a new one, or, to a view, that of a tensor which shows the same in the same way."""
        if id(tensor) not in self._slots:
            self._alive.append(tensor)
            slot = _Slot(len(self._alive))
            looks = (
                tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, _steps(tensor),
                tensor.dtype, tensor.is_conj(), tensor.is_neg(),
            )  # fmt: skip
            self._slots[id(tensor)] = self._looks.setdefault(looks, slot) if view else slot
            self._looks.setdefault(looks, slot)
        return self._slots[id(tensor)]

    def tensor(self, slot: _Slot) -> Tensor:
        """The tensor that a slot was given to first."""
        return self._alive[slot.number - 1].detach()

    def place(self, value: Any) -> Any:
        """The slot of a tensor that has one; anything else as it is."""
        return self._slots.get(id(value), value) if isinstance(value, Tensor) else value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.steered |= func in _STEERING
        placed = tree_map(self.place, (args, kwargs))
        result = func(*args, **kwargs)
        if torch.Tag.inplace_view in func.tags:
            self._looks.clear()
        if isinstance(result, Tensor) and (func.is_view or func is _ATEN._unsafe_view.default):
            seen = len(self._alive)
            if self.name(result, view=True).number <= seen:
                return result
        outputs = tree_map(lambda v: self.name(v) if isinstance(v, Tensor) else v, result)
        self._account((args, kwargs), result, outputs)
        self.calls.append(_Call(func, placed[0], placed[1], outputs))
        return result

    def _account(self, given: Any, result: Any, outputs: Any) -> None:
        """Note which storages a call has made, and which slots show them."""
        before = {v.untyped_storage()._cdata for v in tree_leaves(given) if isinstance(v, Tensor)}
        for tensor, slot in zip(tree_leaves(result), tree_leaves(outputs), strict=True):
            if isinstance(slot, _Slot):
                storage = tensor.untyped_storage()
                if storage._cdata in self.sizes or storage._cdata not in before:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.storages[slot] = storage._cdata


def _steps(tensor: Tensor) -> tuple[int, ...]:
    """Its strides, but for axes of one element, where they say nothing."""
    return tuple(step if n > 1 else 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def _slots(value: Any) -> Iterable[_Slot]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, _Slot))


def _folded(recorder: _Recorder, outputs: Any) -> list[_Call]:
    """The calls without those that would come to what is known: what they came to stands in their place.

    Known are views of tensors that are held by reference, what is made of shapes and constants alone, and a tensor
    times one, where nothing writes into it. What the program returns is its caller's own, made anew.
    """

    def tensors(tree: Any) -> list[Tensor | _Slot]:
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor | _Slot)]

    def recorded(value: Tensor | _Slot) -> Tensor:
        return recorder.tensor(value) if isinstance(value, _Slot) else value

    def untouched(values: Sequence[Tensor | _Slot]) -> bool:
        return touched.isdisjoint(recorded(value).untyped_storage()._cdata for value in values)

    def stands(value: Any) -> Any:
        return known.get(value, value) if isinstance(value, _Slot) else value

    theirs = tensors([call.written() for call in recorder.calls] + [outputs])
    touched = {recorded(value).untyped_storage()._cdata for value in theirs}
    known, constants, left = dict[_Slot, Tensor | _Slot](), set[_Slot](), list[_Call]()
    returned = set(_slots(outputs))
    for call in recorder.calls:
        function, read, made = call.function, tensors((call.args, call.kwargs)), list(_slots(call.outputs))
        args, kwargs = tree_map(stands, (call.args, call.kwargs))
        left.append(_Call(function, args, kwargs, call.outputs))
        drawn = function._schema.is_mutable or torch.Tag.nondeterministic_seeded in function.tags
        if drawn or not made or not returned.isdisjoint(made):
            continue
        small = untouched(made) and sum(recorded(slot).untyped_storage().nbytes() for slot in made) <= _FOLDED_BYTES
        if small and (function in _FILLING or constants.issuperset(read)):
            constants.update(made)
            known |= {slot: recorder.tensor(slot) for slot in made}
        elif function.is_view and untouched(made) and not any(isinstance(stands(value), _Slot) for value in read):
            views = function(*args, **kwargs)  # of what stands there now
            known |= dict(zip(made, [view.detach() for view in tree_leaves(views)], strict=True))
        elif (
            function is _ATEN.mul.Scalar
            and args[1] == 1
            and untouched([*read, *made])
            and recorded(read[0]).dtype == recorded(made[0]).dtype
            and _steps(recorded(read[0])) == _steps(recorded(made[0]))
        ):
            known[made[0]] = args[0]
        else:
            continue
        left.pop()
    return left


def _needed(calls: Sequence[_Call], outputs: Any) -> list[_Call]:
    """Without the calls whose results nothing reads."""
    read, kept = set(_slots(outputs)), []
    for call in reversed(calls):
        if call.function._schema.is_mutable or any(slot in read for slot in _slots(call.outputs)):
            read.update(_slots((call.args, call.kwargs)))
            kept.append(call)
    return kept[::-1]


def _last_reads(calls: Sequence[_Call], outputs: Any) -> dict[_Slot, int]:
    """After which call a slot is read no more."""
    last: dict[_Slot, int] = {}
    for i, call in enumerate(calls):
        last |= dict.fromkeys(_slots((call.args, call.kwargs, call.outputs)), i)
    return last | dict.fromkeys(_slots(outputs), len(calls))


def _peak_bytes(recorder: _Recorder, outputs: Any) -> int:
    """The most bytes held at once by what the calls made; a storage is held as long as a slot that shows it is read."""
    calls = recorder.calls
    made: dict[int, int] = {}
    last: dict[int, int] = {}
    for slot, i in _last_reads(calls, outputs).items():
        storage = recorder.storages.get(slot)
        if storage is not None:
            last[storage] = max(last.get(storage, 0), i)
    for i, call in enumerate(calls):
        for slot in _slots(call.outputs):
            if slot in recorder.storages:
                made.setdefault(recorder.storages[slot], i)
    changes = [0] * (len(calls) + 2)
    for storage, i in made.items():
        changes[i] += recorder.sizes[storage]
        changes[last[storage] + 1] -= recorder.sizes[storage]
    return max(itertools.accumulate(changes))


def _compiled(calls: Sequence[_Call], inputs: Sequence[_Slot], outputs: Any) -> Callable[..., Any]:
    """A Python function of the inputs that makes the calls one after another and lets go of what is read no more."""
    space: dict[str, Any] = {}
    given = {s.number for s in inputs}

    def word(value: Any) -> str:
        if isinstance(value, _Slot):
            return f"v{value.number}"
        if type(value) in (list, tuple):
            inner = "".join(word(v) + ", " for v in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        if type(value) is dict:
            return "{" + ", ".join(f"{k!r}: {word(v)}" for k, v in value.items()) + "}"
        space[f"c{len(space)}"] = value
        return f"c{len(space) - 1}"

    last = _last_reads(calls, outputs)
    lines = [f"def replay({', '.join(f'v{s.number}' for s in inputs)}):"]
    for i, call in enumerate(calls):
        arguments = [word(a) for a in call.args] + [f"{k}={word(v)}" for k, v in call.kwargs.items()]
        result = word(call.outputs) if not isinstance(call.outputs, list) else word(tuple(call.outputs))
        lines.append(f"    {result} = {word(call.function)}({', '.join(arguments)})" if any(_slots(call.outputs))
                     else f"    {word(call.function)}({', '.join(arguments)})")  # fmt: skip
        done = {f"v{s.number}" for s in _slots((call.args, call.kwargs, call.outputs)) if last[s] == i}
        if done - {f"v{n}" for n in given}:
            lines.append(f"    del {', '.join(sorted(done - {f'v{n}' for n in given}))}")
    lines.append(f"    return {word(outputs)}")
    exec("\n".join(lines), space)
    replay: Callable[..., Any] = space["replay"]
    return replay
