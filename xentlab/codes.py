"""How many bits a text takes: entropies of its own counts, n-gram predictors, and the compressors that Python ships.

What lives here is numpy on sequences of whole numbers and the standard library on bytes. A predictor's cross-entropy is
the length of the code that it would write (Shannon), so a model, an n-gram and a compressor have one measure: bits.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int64]

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def entropies(symbols: Symbols, orders: int = 4) -> list[float]:
    """The entropy of a symbol given the 0, 1, ... `orders - 1` before it, in bits, by the counts of the text itself.

    H_k = -sum n(h c) log2(n(h c) / n(h)) / sum n(h c) over contexts h of k symbols. With long contexts most are seen
    once, and what was seen once surprises nobody: the figure then says how short the text is, not how regular.

    Args:
        symbols: indices [N] from 0 on; N > `orders` - 1.
    """
    found = []
    for order in range(orders):
        pairs, counts = np.unique(_joined(symbols, order), return_counts=True)
        _, context = np.unique(pairs // _base(symbols), return_inverse=True)
        share = counts / np.bincount(context, weights=counts)[context]
        found.append(float(-(counts * np.log2(share)).sum() / counts.sum()) + 0.0)
    return found


def ngram_bits(learned: Symbols, judged: Symbols, order: int, size: int) -> NDArray[np.float64]:
    """What each symbol of `judged` costs in bits after those before it, by the counts of `learned`: [M].

    Witten-Bell: p(c | h) = (n(h c) + d(h) p(c | h')) / (n(h) + d(h)), with d(h) the different symbols seen after the
    context h of `order` symbols, and h' the context without its first; below the shortest each symbol has 1 / size.

    Args:
        learned: indices [N] in [0, size), that come before `judged` in the text.
        judged: indices [M] in [0, size]; `size` stands for whatever is unknown, and costs NaN.
        order: symbols of context, >= 0; fewer than N.
        size: of the vocabulary.

    Reference: Witten & Bell, The zero-frequency problem, 1991.
    """
    base = size + 1
    whole = np.concatenate([learned, judged])
    probability = np.full(len(judged), 1.0 / size)
    for k in range(order + 1):
        pairs, counts = np.unique(_joined(learned, k, base), return_counts=True)
        contexts, place, distinct = np.unique(pairs // base, return_inverse=True, return_counts=True)
        totals = np.bincount(place, weights=counts)
        asked = _joined(whole, k, base)[len(learned) - k :]
        seen = _looked_up(pairs, counts, asked)
        total, kinds = (_looked_up(contexts, values, asked // base) for values in (totals, distinct))
        probability = np.where(total > 0, (seen + kinds * probability) / np.maximum(total + kinds, 1), probability)
    return np.where(judged < size, -np.log2(probability), np.nan)


def compressed_bits(data: bytes, before: bytes = b"") -> dict[str, int]:
    """What each compressor needs for `data` in bits; after `before`, what it needs for both less that for `before`."""
    return {
        name: 8 * (len(compress(before + data)) - (len(compress(before)) if before else 0))
        for name, compress in COMPRESSORS.items()
    }


def _base(symbols: Symbols) -> int:
    return int(symbols.max()) + 1


def _joined(symbols: Symbols, order: int, base: int | None = None) -> Symbols:
    """Each symbol with the `order` before it as one number [N - order]."""
    base = _base(symbols) if base is None else base
    count = len(symbols) - order
    joined = np.zeros(count, dtype=np.int64)
    for k in range(order + 1):
        joined = joined * base + symbols[k : k + count]
    return joined


def _looked_up(keys: Symbols, values: NDArray[np.generic], asked: Symbols) -> NDArray[np.float64]:
    """The value of each asked key, 0 where it is none of the sorted `keys`."""
    place = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[place] == asked, values[place], 0).astype(np.float64)
