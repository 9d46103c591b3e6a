"""Where a model starts: the file that its first weights are read from, and what of them never moves.

A file is a mapping of names to tensors, `.pt` or `.pth` as `torch.save` writes one and `weights_only=True` reads it, or
`.safetensors`; a mapping that holds it under `state_dict` or `model` will do. torchvision's own weights go by their
names where the file is in torch's cache: nothing is downloaded.
"""

import contextlib
import fnmatch
import functools
import hashlib
import itertools
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xentlab.data.places import path_list, search_folders
from xentlab.dotted import behind
from xentlab.errors import UserError
from xentlab.models.contract import Builder, dropout_probability, in_evaluation, is_torchvision

_INNER = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "net.")
# Shares of the file's tensors, and of the net's, that must fit before the file counts as one of this net.
_OF_FILE, _OF_NET = 0.75, 0.5


@dataclass(frozen=True, kw_only=True)
class Start:
    """Each field is a knob of `model` in the config, whatever the model.

    Attributes:
        weights: file that the first weights are read from, or the name of torchvision's own; None: drawn by the seed.
        freeze: what never moves: `none`, `backbone` (all but the last layer), or a pattern of parameters' names. It
            works as in evaluation, BatchNorm by its running statistics and without dropout.
    """

    weights: str | None = None
    freeze: str = "none"


def weights_file(named: str, builder: Builder, sha256: str | None = None) -> Path:
    """The file that `model.weights` names, of the digest that a record asks for.

    Raises:
        UserError: there is none, or it is another.
    """
    places = [Path(named).expanduser(), *(folder / Path(named).name for folder in (_hub(), *search_folders(None)))]
    own, name = _own_names(builder), named.rpartition(".")[2]
    if name in own:
        places = [_hub() / own[name]()]
    file = next((place for place in places if place.is_file()), None)
    asked = f" of sha256 {sha256}" if sha256 else ""
    if file is None:
        names = f"; names of torchvision's: {', '.join(own)}" if own else ""
        raise UserError(
            f"model.weights must be a file{asked} that is here, got {named}: none at {path_list(places)}{names}."
        )
    if sha256 and file_digest(file) != sha256:
        raise UserError(f"model.weights must be the file{asked}, found {file} of sha256 {file_digest(file)}.")
    return file


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _own_names(builder: Builder) -> dict[str, Callable[[], str]]:
    """The files of torchvision's own weights of a net, by their names; else those that a builder of the lab names."""
    function = behind(builder)
    if not is_torchvision(builder):
        return getattr(function, "weights", {})
    import torchvision

    try:
        known: Mapping[str, Any] = torchvision.models.get_model_weights(function.__name__).__members__
    except ValueError:  # one that torchvision does not list
        return {}
    return {name: functools.partial(os.path.basename, member.url) for name, member in known.items()}


def file_digest(file: Path) -> str:
    """sha256 of a file, read once as long as it stays as it is."""
    stat = file.stat()
    return _digest_of(file, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _digest_of(file: Path, size: int, changed: int) -> str:  # noqa: ARG001
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tensors_in(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names, without the prefix that a wrapper has given to all of them.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    return _tensors_in(file, file_digest(file))


@functools.lru_cache(maxsize=2)
def _tensors_in(file: Path, sha256: str) -> dict[str, Tensor]:  # noqa: ARG001
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as members:
                if (bad := members.testzip()) is not None:
                    raise zipfile.BadZipFile(f"the checksum of {bad} differs")
        elif file.read_bytes()[:2] == b"PK":
            raise zipfile.BadZipFile("its end is missing")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it is about to refuse
            found = _safetensors(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"model.weights must be a file of tensors alone, which {file} is not, or is damaged."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"model.weights must be a file that can be read, {file} cannot: {said:.160}.") from error
    for key in _INNER:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError(f"model.weights must hold tensors by their names, {file} holds {type(found).__name__}.")
    wrong = [name for name, value in found.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise UserError(f"model.weights must hold finite numbers, {wrong[0]} of {file} does not.")
    return _bare(found)


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            "model.weights can be a .safetensors file where the package safetensors is installed."
        ) from error
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _bare(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if named and all(name.startswith(prefix) for name in named):
            return _bare({name.removeprefix(prefix): value for name, value in named.items()})
    return dict(named)


def last_layer(module: nn.Module, blank: Tensor) -> str:
    """The name of the layer with parameters that comes last as inputs go through: the head, which fits one task."""
    ran: list[str] = []
    with in_evaluation(module), contextlib.ExitStack() as hooks:
        for name, part in module.named_modules():
            if next(part.parameters(recurse=False), None) is not None:
                hooks.enter_context(part.register_forward_hook(lambda *_, name=name: ran.append(name)))
        module(blank)
    return ran[-1]


def put_in(module: nn.Module, file: Path, blank: Tensor) -> str:
    """Give a module the weights of a file, in place; what fitted and what did not, in a sentence without its end.

    Sizes may differ in the last layer, which then keeps its first values: it is for other classes.

    Raises:
        UserError: the file is damaged, or of another net.
    """
    given, whole = tensors_in(file), module.state_dict(keep_vars=True)
    own = _bare(whole)
    head = last_layer(module, blank)
    fits = {name: value for name, value in own.items() if name in given and given[name].shape == value.shape}
    wrong = [name for name in own if name in given and name not in fits]
    last = {bare for full, bare in zip(whole, own, strict=True) if full.rpartition(".")[0] == head}
    alien = [name for name in given if name not in own]
    if outside := [name for name in wrong if name not in last]:
        name = outside[0]
        raise UserError(
            f"model.weights must be of this net: {file} has {name} {list(given[name].shape)}, here it is "
            f"{list(own[name].shape)}{f', and {len(outside) - 1} more differ' if len(outside) > 1 else ''}."
        )
    if len(fits) < _OF_NET * len(own) or len(fits) + len(wrong) < _OF_FILE * len(given):
        raise UserError(
            f"model.weights must be of this net: of the {len(given)} tensors of {file} {len(fits)} fit into the "
            f"{len(own)} here, without a place {_few(alien)}, lacking {_few([n for n in own if n not in given])}."
        )
    with torch.no_grad():
        for name, value in fits.items():
            value.copy_(given[name])
    left = [name for name in own if name not in fits and not name.endswith("num_batches_tracked")]
    said = f"model.weights={file.name}: {len(fits)} of {len(own)} tensors are the file's"
    if left:
        sizes = [list(named[wrong[0]].shape) for named in (given, own)] if wrong else []
        why = f" (the last layer, {sizes[0]} in the file, {sizes[1]} here)" if wrong else ""
        said += f"; at their first values {_few(left)}{why}"
    return said + (f"; without a place here {_few(alien)}" if alien else "")


def fix(module: nn.Module, freeze: str, blank: Tensor) -> None:
    """Freeze what `freeze` names, in place, and hold it in evaluation.

    Raises:
        UserError: it names nothing, or leaves nothing to train.
    """
    if freeze == "none":
        return
    named = dict(zip(_bare(dict(module.named_parameters())), module.named_parameters(), strict=True))
    head = last_layer(module, blank) if freeze == "backbone" else None
    for bare, (name, parameter) in named.items():
        if (name.rpartition(".")[0] != head) if head is not None else fnmatch.fnmatchcase(bare, freeze):
            parameter.requires_grad_(False)
    moves = [parameter.requires_grad for _, parameter in named.values()]
    if all(moves):
        rule = "have something before the last layer" if head is not None else "match some of the parameters"
        raise UserError(f"model.freeze={freeze} must {rule}, which are {_few(list(named), 8)}.")
    if not any(moves):
        raise UserError(
            f"model.freeze={freeze} must leave something to train, but matches all {len(moves)} parameters."
        )
    for part in module.modules():
        inside = [parameter.requires_grad for parameter in part.parameters()]
        if head is not None or (inside and not any(inside)):
            for held in part.modules():
                held.train(False)
                held.train = functools.partial(_stay, held)  # type: ignore[method-assign]
                if dropout_probability(held) > 0:  # it would pass for one that draws
                    setattr(held, "dropout" if isinstance(held, nn.MultiheadAttention) else "p", 0.0)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001
    return module


def seen_by(module: nn.Module, part: str, inputs: Tensor) -> list[tuple[Any, ...]]:
    """What a part of a module is given as inputs go through, a tuple for each time that it runs; and what comes out."""
    calls: list[tuple[Any, ...]] = []
    hook = module.get_submodule(part).register_forward_hook(lambda _, given, out: calls.append((*given, out)))
    with hook, torch.no_grad(), torch.random.fork_rng(devices=[]):
        calls.append((module(inputs),))
    return calls


def trained_part(module: nn.Module, blank: Tensor) -> str | None:
    """The part that holds all that moves, where the net is that part on what the rest always gives alike; else None.

    Runs the module in training mode, on random numbers in the place of `blank` where those are floats.
    """
    owners = [name.split(".")[:-1] for name, p in module.named_parameters() if p.requires_grad]
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*owners, strict=False))
    name = ".".join(parts[0] for parts in shared)
    if not name:
        return None
    if blank.is_floating_point():
        blank = torch.rand(blank.shape, generator=torch.Generator().manual_seed(0))
    trained, settled = seen_by(module.train(), name, blank), seen_by(module.eval(), name, blank)
    module.train()
    one = all(len(calls) == 2 and len(calls[0]) == 2 for calls in (trained, settled))
    if not one or not all(isinstance(value, Tensor) for value in (trained[0][0], *settled[0])):
        return None
    (given, out), (whole,) = settled
    return name if torch.equal(trained[0][0], given) and torch.equal(out, whole) else None


def _few(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
