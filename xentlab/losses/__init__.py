"""The losses, by family: pure functions `(logits, target, *, knobs) -> per-element values`. See `contract`.

To add one: a function in its family's module, re-exported here, and a YAML in `configs/loss` that lists its knobs.
"""

from xentlab.losses.binary import bce
from xentlab.losses.compound import compound
from xentlab.losses.contract import LossSpec, loss, spec_of
from xentlab.losses.cross_entropy import ce, custom_ce
from xentlab.losses.squared import mse, mse_logits

__all__ = ["LossSpec", "bce", "ce", "compound", "custom_ce", "loss", "mse", "mse_logits", "spec_of"]
