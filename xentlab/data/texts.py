"""Text as sequences of tokens: the help texts that ship with every Python, and any file of yours.

The text is cut at a line's end into what is learned from and, its last part, the test set; each is cut into sequences
of `context` tokens, of which the next ones are the targets. Validation is a run of neighbouring sequences that the
trial's seed draws, so that no sentence is in two parts. The vocabulary is that of everything outside the test part.
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from xentlab.codes import Symbols, compressed_bits, ngram_bits
from xentlab.data.dataset import Dataset, of_task
from xentlab.data.places import path_list, search_folders
from xentlab.errors import UserError
from xentlab.schema import PositiveInt, Range

Share = Annotated[float, Range(0, 1, open_low=True, open_high=True)]
_UNKNOWN = "unknown"


@of_task("tokens")
def english(
    *,
    context: PositiveInt = 64,
    stride: PositiveInt | None = None,
    test_share: Share = 0.1,
    limit: PositiveInt | None = None,
) -> Dataset:
    """The help texts that ship with every Python, character by character: inputs and targets int64 [N, context].

    They are Python's own documentation (`pydoc_data.topics`, PSF licence); each version of Python has its own.

    Args:
        context: T, characters of a sequence.
        stride: characters from the start of a training sequence to that of the next; None: `context`, without overlap.
        test_share: share of the text, at its end, that is the test set, in (0, 1).
        limit: characters from the start on that are taken; None: all.
    """
    import platform
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    note = f"the help texts of Python {platform.python_version()} (pydoc_data.topics, PSF licence)"
    return _sequences("english", text, "characters", context, stride, test_share, limit, note)


@of_task("tokens")
def text_file(
    *,
    path: str,
    name: str = "text_file",
    unit: Literal["characters", "bytes"] = "characters",
    context: PositiveInt = 64,
    stride: PositiveInt | None = None,
    test_share: Share = 0.1,
    limit: PositiveInt | None = None,
) -> Dataset:
    """Any UTF-8 file as sequences of characters or bytes; what is not named here is as of `english`.

    Args:
        path: the file, from here on or from a folder in which data is looked for.
        name: what the dataset is called.
        unit: what a token is: a character, or a byte of UTF-8.

    Raises:
        UserError: there is no such file, it is not UTF-8, or it is too short for a sequence in each part.
    """
    return _sequences(name, read_corpus(path), unit, context, stride, test_share, limit)


def read_corpus(path: str, knob: str = "dataset.path") -> str:
    """A UTF-8 file as it is, from here on or from the places of data; `knob` is what names it.

    Raises:
        UserError: there is none, it is empty, or it is not UTF-8.
    """
    tried = [Path(path).expanduser(), *(place / path for place in search_folders(None))]
    file = next((file for file in tried if file.is_file()), None)
    if file is None:
        raise UserError(f"{knob} must be a file that exists: looked for {path_list(list(dict.fromkeys(tried)))}.")
    found = file.read_bytes()
    try:
        text = found.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{knob} must be a UTF-8 text, got byte 0x{found[error.start]:02x} at position {error.start:,} of {file}."
        ) from error
    if not text:
        raise UserError(f"{knob} must be a text, got the empty file {file}.")
    return text


def _sequences(
    name: str, text: str, unit: Literal["characters", "bytes"], context: int, stride: int | None, test_share: float,
    limit: int | None, *notes: str,
) -> Dataset:  # fmt: skip
    text, stride = text[:limit], stride or context
    cut = round(len(text) * (1 - test_share))
    cut = text.rfind("\n", 0, cut) + 1 or cut
    parts = (text[:cut], text[cut:])
    tokens, rest = map(list, parts) if unit == "characters" else ([f"<0x{b:02X}>" for b in p.encode()] for p in parts)
    vocabulary = sorted(set(tokens))
    index = {token: place for place, token in enumerate(vocabulary)}
    strange = collections.Counter(token for token in rest if token not in index)
    learned = np.array([index[token] for token in tokens], dtype=np.int64)
    tested = np.array([index.get(token, len(vocabulary)) for token in rest], dtype=np.int64)
    train, test = _windows(learned, context, stride), _windows(tested, context, context)
    gap = context // stride
    if len(test) < 1 or len(train) < 2 * gap + 2:
        raise UserError(
            f"dataset.context must leave a sequence for test and {2 * gap + 2} for the rest, got {context} of "
            f"{len(tested):,} and {len(learned):,} {unit}."
        )
    rows = torch.cat([train, test])
    said = f"{len(text):,} characters as {len(rows):,} sequences of {context} {unit}, {len(vocabulary)} different"
    references = _references(*parts, learned, tested, len(vocabulary))
    lines = ", ".join(f"{label} {value:.2f}" for label, value in references.items())
    known = (
        f"bits per character of the test part after the rest: {lines} (n-grams by Witten-Bell; compressors: what the "
        f"test part adds)"
    )
    unknown = [
        f"{strange.total():,} of the {unit} of the test part, {len(strange)} different, unknown outside it: read as "
        f"one token of their own, they count nowhere as targets"
    ] * bool(strange)
    return Dataset(
        name=name,
        task="tokens",
        inputs=rows[:, :-1].contiguous(),
        targets=rows[:, 1:].contiguous(),
        class_names=(*vocabulary, *([_UNKNOWN] if strange else ())),
        ignore_index=len(vocabulary) if strange else None,
        source_splits={"test": torch.arange(len(train), len(rows))},
        gap=gap,
        references=references,
        notes=(*notes, said, *unknown, known),
    )


def _references(before: str, text: str, learned: Symbols, tested: Symbols, size: int) -> dict[str, float]:
    """Bits per character of `text` after all that lies `before` it; unknown tokens count for n-grams nowhere."""
    # Of bytes too the share of the known ones stands for their share of the characters.
    known = len(text) * float((tested < size).mean())
    grams = enumerate(("unigram", "bigram", "trigram"))
    found = {name: float(np.nansum(ngram_bits(learned, tested, order, size))) / known for order, name in grams}
    packed = compressed_bits(text.encode(), before.encode())
    return found | {name: bits / len(text) for name, bits in packed.items()}


def _windows(tokens: Symbols, context: int, stride: int) -> Tensor:
    """Sequences [N, context + 1] of tokens and the one that follows, `stride` from one start to the next."""
    if len(tokens) <= context:
        return torch.zeros(0, context + 1, dtype=torch.int64)
    return torch.from_numpy(tokens).unfold(0, context + 1, stride)
