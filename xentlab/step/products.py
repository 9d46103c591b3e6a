"""Products of stacked matrices as a CPU's library computes them quickly, and alike for one trial and for many."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_BMM, _TRANSPOSE, _EXPAND, _SLICE = (
    _ATEN.bmm.default, _ATEN.transpose.int, _ATEN.expand.default, _ATEN.slice.Tensor,
)  # fmt: skip


class Products(TorchDispatchMode):
    """On a CPU, autograd's X^T G as (G^T X)^T where it pays, and one matrix times one vector as of two trials.

    Autograd asks for a weight's gradient as X^T G and turns it into the weight's own shape. The other order takes a
    quarter of the time for 64 x 10, and three quarters for 784 x 64, whose copy then reads in order. A lone product
    with a vector takes another way through the library than one among several. Either may change last bits, so
    every gradient is computed under this mode, and the outputs of a lone trial.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and importing the compiler to say so takes two seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not _BMM or args[0].device.type != "cpu":
            return func(*args, **(kwargs or {}))
        # Of a forward pass nothing comes back turned: what a model does with it may ask for its own order.
        if torch._C._current_autograd_node() is not None and _is_turned(*args):
            right, left = (_TRANSPOSE(factor, 1, 2) for factor in args)
            return _TRANSPOSE(_product(left, right), 1, 2)
        return _product(*args)


def _is_turned(left: Tensor, right: Tensor) -> bool:
    """Whether the left factor lies turned in memory, the right one not, and the product is no wider than high."""
    return left.stride(2) > 1 == left.stride(1) == right.stride(2) and right.shape[2] <= left.shape[1]


def _product(left: Tensor, right: Tensor) -> Tensor:
    if left.shape[0] == 1 and 1 in (left.shape[1], right.shape[2]):
        twice = (_EXPAND(factor, [2, -1, -1]) for factor in (left, right))
        return _SLICE(_BMM(*twice), 0, 0, 1)
    return _BMM(left, right)
