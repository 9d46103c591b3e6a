"""A tape as one CUDA graph: all its kernels are launched by one call, on buffers that stay where they are.

A small model's step is over sooner than Python can ask for its kernels one after another; a graph asks once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from xentlab.step.tape import Tape


class Graph:
    """What `capture` returns: call it as the tape it was made of; its results are the caller's own."""

    def __init__(self, graph: torch.cuda.CUDAGraph, tape: Tape, inputs: Sequence[Tensor], outputs: Any) -> None:
        self._graph, self._inputs, self._outputs = graph, inputs, outputs
        self._tape = tape  # holds what the graph knows by its address alone

    def __call__(self, *inputs: Tensor) -> Any:
        for buffer, given in zip(self._inputs, inputs, strict=True):
            buffer.copy_(given)
        self._graph.replay()
        return tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, self._outputs)


def capture(tape: Tape, inputs: Sequence[Tensor]) -> Tape | Graph:
    """The tape as a graph, where its inputs lie on a GPU and all its calls can be captured; else the tape itself.

    Args:
        tape: has run on these inputs' shapes before, so that all that is set up once has been.
        inputs: of the recorded shapes; their values do not matter, and nothing is computed.
    """
    if inputs[0].device.type != "cuda":
        return tape
    with torch.no_grad(), torch.cuda.device(inputs[0].device):
        buffers = [given.clone() for given in inputs]
        if any(b.stride() != g.stride() for b, g in zip(buffers, inputs, strict=True)):
            return tape
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outputs = tape(*buffers)
        except RuntimeError:  # a call that waits for the host, or reads from it
            torch.cuda.synchronize()
            return tape
    return Graph(graph, tape, buffers, outputs)
