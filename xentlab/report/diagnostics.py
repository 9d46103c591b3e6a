"""What a record holds beside judged metrics: reliability, the cross-loss matrix, and examples as arrays in text."""

from __future__ import annotations

import base64
import binascii
import io
import math
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xentlab.analysis import Verdict
from xentlab.errors import UserError

# A record from elsewhere may not unpack to more than this, in bytes.
_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Pixels:
    """An array of whole numbers 0 to 255: its shape, and its bytes in C order, packed by zlib, in base64."""

    shape: list[int]
    data: str

    def array(self) -> NDArray[np.uint8]:
        """The array, uint8.

        Raises:
            UserError: the data are damaged, of another size than the shape says, or too large.
        """
        size = math.prod(self.shape)
        if not self.shape or min(self.shape) < 1 or size > _LIMIT:
            raise UserError(f"pixels must have a shape of at most {_LIMIT} values, got {self.shape}.")
        try:
            unpacker = zlib.decompressobj()
            values = unpacker.decompress(base64.b64decode(self.data, validate=True), size + 1)
        except (binascii.Error, zlib.error) as error:
            raise UserError(f"pixels must be zlib data in base64, got damaged data ({error}).") from error
        if len(values) != size:
            raise UserError(f"pixels must hold as many values as their shape {self.shape} says.")
        return np.frombuffer(values, np.uint8).reshape(self.shape)


@dataclass(frozen=True)
class Reliability:
    """What one loss's probabilities say and what comes true, over all final seeds that ended well.

    Attributes:
        n: number of those seeds.
        low, high: edges of each bin of stated probability.
        share: of all statements that fall into the bin, in [0, 1].
        confidence: mean probability stated there, or null where none is.
        frequency: how often it came true, or null.
        of: what is stated: probabilities, or the levels of quantiles, whose share of targets below is the frequency.
    """

    loss: str
    n: int
    low: list[float]
    high: list[float]
    share: list[float]
    confidence: list[float | None]
    frequency: list[float | None]
    of: Literal["probabilities", "quantiles"] = "probabilities"


@dataclass(frozen=True)
class Predicted:
    """Numbers that one loss's models predict for test examples.

    Attributes:
        n: number of final seeds that ended well.
        true, predicted: of examples of the first of them, in the target's unit.
        residuals: for each tenth of all predictions the median one, and of true minus predicted the quantiles at 5, 25,
            50, 75 and 95 %.
    """

    loss: str
    n: int
    true: list[float]
    predicted: list[float]
    residuals: list[list[float]]


@dataclass(frozen=True)
class Cross:
    """Mean test value of the loss `under` for models trained with `loss`, over `n` seeds; `best` in its column."""

    loss: str
    under: str
    mean: float | None
    n: int
    best: bool = False


@dataclass(frozen=True)
class Wider:
    """Intervals of one loss on one metric for new seeds and new test examples; its verdict rests on those of its row.

    Attributes:
        metric: key of the metric, among `Record.metrics`.
        examples: of the test set.
        low, high: of its mean, 95 %.
        diff_low, diff_high: of its difference from the baseline, at the level of its family; null for the baseline.
    """

    metric: str
    loss: str
    examples: int
    low: float | None
    high: float | None
    diff_low: float | None = None
    diff_high: float | None = None


@dataclass(frozen=True)
class Rounding:
    """One loss on the primary metric, trained again from the same seeds in float64: what rounding alone changes.

    Attributes:
        n: seeds that ended well both times.
        sd: over the seeds, as it was judged.
        noise: the part of it that is rounding: of what the two trainings of a seed differ in, over the root of 2.
        change: mean of float64 - as judged.
        difference, diff_low, diff_high, verdict: against the baseline in float64, judged by the same rule.
    """

    loss: str
    n: int
    sd: float | None
    noise: float | None
    change: float | None
    difference: float | None
    diff_low: float | None
    diff_high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Duel:
    """One seed's model against the baseline's: test examples that each alone gets right, and McNemar's exact p."""

    loss: str
    seed: int
    ours: int
    theirs: int
    p: float


@dataclass(frozen=True)
class MaskExamples:
    """Segmented test images [n, H, W, 1 or 3], their true masks and each loss's masks [n, H, W] of class indices."""

    class_names: list[str]
    images: Pixels
    truth: Pixels
    predictions: dict[str, Pixels]
    ignore_index: int | None = None


def check_examples(examples: MaskExamples) -> None:
    """Refuse masks that do not belong to the images, or that hold what is no class."""
    shape = examples.images.shape
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise UserError(f"record.examples.images must be [n, H, W, 1 or 3], got {shape}.")
    examples.images.array()
    for name, mask in {"truth": examples.truth, **examples.predictions}.items():
        if mask.shape != shape[:3]:
            raise UserError(f"record.examples {name} must be {shape[:3]} as the images are, got {mask.shape}.")
        values = mask.array()
        allowed = values == examples.ignore_index if name == "truth" else np.zeros(values.shape, bool)
        strange = values[(values >= len(examples.class_names)) & ~allowed]
        if strange.size:
            raise UserError(
                f"record.examples {name} must hold indices of {len(examples.class_names)} classes, got {strange[0]}."
            )


def png_data(pixels: NDArray[Any]) -> str:
    """The picture [H, W, 3] in [0, 1] or uint8 as a `data:` address of a PNG."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
