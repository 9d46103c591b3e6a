"""Models of text: bigram, mlp_lm, gru, transformer. Logits [B, C, T] of the next token of indices [B, T].

A place's logits hang on its own token and on those before it, never on a later one. Written in batched matrix products,
so that they stack: PyTorch's own GRU and fused attention have no rule for `torch.vmap` on a CPU. All take
`input_shape`, (T,) of a sequence, and `num_outputs`, the size of the vocabulary, and give a module from indices [B, T]
to logits [B, C, T].
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xentlab.errors import UserError
from xentlab.models.contract import outputs
from xentlab.schema import Range

_STD = 0.02  # of a transformer's first weights, as in GPT-2


def _sequence(name: str, input_shape: tuple[int, ...]) -> int:
    if len(input_shape) != 1:
        raise UserError(f"{name} needs sequences of tokens (T), got inputs of shape {input_shape}.")
    return input_shape[0]


@outputs("sequence")
def bigram(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Logits [B, C, T] from a table of C rows: each token has its own scores for the next."""
    _sequence("bigram", input_shape)
    return _Bigram(num_outputs)


class _Bigram(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, vocabulary)
        nn.init.zeros_(self.table.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table(tokens).mT


@outputs("sequence")
def mlp_lm(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    last: Annotated[int, Range(1, None)] = 8,
    embedding: Annotated[int, Range(1, None)] = 16,
    hidden: Annotated[int, Range(1, None)] = 128,
) -> nn.Module:
    """Logits [B, C, T] from one hidden layer over the embeddings of the last few tokens; zeros before the first.

    Args:
        last: how many tokens it looks at, >= 1.
        embedding: numbers that stand for a token, >= 1.
        hidden: units of the hidden layer, >= 1.

    Reference: Bengio, Ducharme, Vincent & Jauvin, A neural probabilistic language model, 2003.
    """
    _sequence("mlp_lm", input_shape)
    return _MlpLm(num_outputs, last, embedding, hidden)


class _MlpLm(nn.Module):
    def __init__(self, vocabulary: int, last: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.last = last
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.hidden = nn.Linear(last * embedding, hidden)
        self.scores = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[-1]
        padded = F.pad(self.embedding(tokens), (0, 0, self.last - 1, 0))
        seen = torch.cat([padded[..., k : k + length, :] for k in range(self.last)], -1)
        return self.scores(torch.tanh(self.hidden(seen))).mT


@outputs("sequence")
def gru(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    embedding: Annotated[int, Range(1, None)] = 32,
    hidden: Annotated[int, Range(1, None)] = 128,
    dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
) -> nn.Module:
    """Logits [B, C, T] from gated recurrent units that read from left to right.

    Args:
        embedding: numbers that stand for a token, >= 1.
        hidden: units, >= 1.
        dropout: share of the units' outputs that is dropped before the scores, in [0, 1).

    Reference: Cho et al., Learning phrase representations using RNN encoder-decoder, 2014.
    """
    _sequence("gru", input_shape)
    return _Gru(num_outputs, embedding, hidden, dropout)


class _Gru(nn.Module):
    def __init__(self, vocabulary: int, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.cell = nn.GRUCell(embedding, hidden)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        cell, states = self.cell, []
        inward = F.linear(self.embedding(tokens), cell.weight_ih, cell.bias_ih)
        state = torch.zeros_like(inward[..., 0, : cell.hidden_size])
        for place in range(tokens.shape[-1]):
            of_input = inward[..., place, :].chunk(3, -1)
            of_state = F.linear(state, cell.weight_hh, cell.bias_hh).chunk(3, -1)
            reset, update = (torch.sigmoid(i + s) for i, s in zip(of_input[:2], of_state[:2], strict=True))
            new = torch.tanh(of_input[2] + reset * of_state[2])
            state = new + update * (state - new)
            states.append(state)
        return self.scores(self.dropout(torch.stack(states, -2))).mT


@outputs("sequence")
def transformer(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    layers: Annotated[int, Range(1, None)] = 2,
    heads: Annotated[int, Range(1, None)] = 4,
    width: Annotated[int, Range(1, None)] = 64,
    dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
) -> nn.Module:
    """Logits [B, C, T] from a causal transformer: learned places, pre-norm blocks of attention and a wide MLP.

    Args:
        layers: blocks, >= 1.
        heads: of attention, >= 1; they share the width evenly.
        width: channels, >= 1, a multiple of `heads`.
        dropout: share that is dropped of embeddings, attention and each block's two answers, in [0, 1).

    Raises:
        UserError: the heads do not share the width evenly.

    Reference: Vaswani et al., Attention is all you need, 2017; Radford et al., Language models are unsupervised
    multitask learners, 2019 (pre-norm, first weights).
    """
    length = _sequence("transformer", input_shape)
    if width % heads:
        raise UserError(f"model.width must be a multiple of model.heads, got {width} and {heads}.")
    return _Transformer(num_outputs, length, layers, heads, width, dropout)


class _Transformer(nn.Module):
    def __init__(self, vocabulary: int, length: int, layers: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(_STD * torch.randn(length, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(heads, width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if name.endswith(("back.weight", "down.weight")):  # what the residual stream sums, two for each block
                nn.init.normal_(weight, std=_STD / math.sqrt(2 * layers))
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
            elif "norm" not in name and name != "places":
                nn.init.normal_(weight, std=_STD)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.dropout(self.tokens(tokens) + self.places[: tokens.shape[-1]])
        for block in self.blocks:
            stream = block(stream)
        return self.scores(self.norm(stream)).mT


class _Block(nn.Module):
    def __init__(self, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.dropout(self.back(self._attention(self.norm_attention(stream))))
        return stream + self.dropout(self.down(F.gelu(self.up(self.norm_mlp(stream)))))

    def _attention(self, stream: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in self.inward(stream).chunk(3, -1)
        )
        # Over [..., T, T] as few passes as it takes: the queries are scaled, and an added mask has no backward pass.
        scores = queries / math.sqrt(queries.shape[-1]) @ keys.mT
        later = scores.new_full(scores.shape[-2:], -torch.inf).triu(1)
        return (self.dropout((scores + later).softmax(-1)) @ values).transpose(-3, -2).flatten(-2)
