"""What the lab asks of a model: which shape it gives, whether it suits a task, what its layers are."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn

from xentlab.dotted import behind
from xentlab.errors import UserError
from xentlab.tasks import find

Kind = Literal["vector", "map", "sequence"]
Builder = Callable[..., nn.Module]

_WORDS: dict[str, str] = {
    "vector": "one score per class [B, C]",
    "map": "one score per class and pixel [B, C, H, W]",
    "sequence": "one score per token and place [B, C, T]",
}
_BUILDERS: dict[str, list[str]] = {kind: [] for kind in _WORDS}


def outputs(what: Kind) -> Callable[[Builder], Builder]:
    """Declare what a builder's modules return: logits [B, C], [B, C, H, W] (`map`) or [B, C, T] (`sequence`)."""

    def declare(builder: Builder) -> Builder:
        builder.outputs = what  # type: ignore[attr-defined]
        _BUILDERS[what].append(builder.__name__)
        return builder

    return declare


def is_torchvision(builder: Builder) -> bool:
    """Whether the builder is a function of `torchvision.models`, which takes no input shape."""
    return behind(builder).__module__.split(".")[:2] == ["torchvision", "models"]


def kind(builder: Builder) -> Kind | None:
    """What the builder's modules return, or None where it is not declared.

    Args:
        builder: a builder, or a `functools.partial` of one. Every model of `torchvision.models` counts as `vector`.
    """
    if is_torchvision(builder):
        return "vector"
    return getattr(behind(builder), "outputs", None)


def check_model(builder: Builder, task: str) -> None:
    """Refuse a model whose logits have another shape than the task of that name needs; an undeclared builder passes.

    Raises:
        UserError: the model returns a vector where the task needs a map, or the reverse.
    """
    gives, needs = kind(builder), find(task).output
    if gives is not None and gives != needs:
        raise UserError(
            f"The task {task} needs a model with {_WORDS.get(needs, needs)}, got {behind(builder).__name__}, "
            f"which gives {_WORDS[gives]}; choose one of {', '.join(sorted(_BUILDERS.get(needs, ())))}."
        )


def is_foreign(builder: Builder) -> bool:
    """Whether it is a user's own or another library's, see `xentlab.models.foreign`."""
    return getattr(behind(builder), "foreign", False)


def check_output(
    module: nn.Module,
    input_shape: tuple[int, ...],
    num_outputs: int,
    what: str,
    name: str,
    blank: torch.Tensor | None = None,
) -> None:
    """Send two blank inputs through the module and refuse it unless logits of the shape that is wanted come out.

    The module's mode, buffers and the random generators are left as they were.

    Args:
        input_shape: the shape of one input, without the batch axis.
        num_outputs: C, the number of classes.
        blank: two inputs, where they are no floats.

    Raises:
        UserError: the module fails on such inputs or returns something else.
    """
    places: dict[str, tuple[int, ...]] = {"vector": (), "sequence": input_shape}
    wanted = (2, num_outputs, *places.get(what, input_shape[1:]))
    try:
        with in_evaluation(module):
            found = module(torch.zeros(2, *input_shape) if blank is None else blank)
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        said = str(error).strip() or type(error).__name__
        reason = said.splitlines()[0].rstrip(".!").replace(". ", "; ")
        raise UserError(f"{name} cannot take inputs of shape {input_shape}: {reason}.") from error
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if shape != wanted:
        raise UserError(f"{name} must return logits of shape {wanted} for two inputs {input_shape}, got {shape}.")


@contextlib.contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Within it the module works as in evaluation and makes no graph; the modes of its parts come back after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def has_convolution(module: nn.Module) -> bool:
    """Whether any layer of the module is a convolution, which a CPU does not run faster in a stack."""
    return any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())


def has_bag(module: nn.Module) -> bool:
    """Whether any layer is a bag of embeddings, which `torch.vmap` runs row by row and warns of."""
    return any(isinstance(m, nn.EmbeddingBag) for m in module.modules())


def has_dropout(module: nn.Module) -> bool:
    """Whether any layer of the module draws random numbers in training (dropout or stochastic depth with p > 0).

    Such a module cannot be stacked. Functional dropout inside a user's own `forward` is not seen here.
    """
    return any(dropout_probability(m) > 0 for m in module.modules())


def dropout_probability(module: nn.Module) -> float:
    """With which probability a layer drops something in training; 0 for one that is no dropout."""
    # StochasticDepth is torchvision's, known by its name because torchvision is slow to import.
    if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "StochasticDepth":
        return float(module.p)  # type: ignore[arg-type]
    if isinstance(module, nn.MultiheadAttention):
        return float(module.dropout)
    return 0.0


def image_shape(name: str, input_shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """The input shape as (channels, H, W), refused unless H and W are `least` pixels or more.

    Raises:
        UserError: the input is no image, or too small for the model `name`.
    """
    if len(input_shape) != 3:
        raise UserError(f"{name} needs images of shape (channels, H, W), got inputs of shape {input_shape}.")
    channels, height, width = input_shape
    if min(height, width) < least:
        raise UserError(f"{name} needs images of at least {least}x{least} pixels here, got {height}x{width}.")
    return channels, height, width
