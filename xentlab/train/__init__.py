"""Training: from a config to a checked `Trial`, from trials to stacks, from a stack to epochs of metrics."""

from xentlab.train.fit import Epoch, Fit, first_gradient_norm
from xentlab.train.plan import choose_lift, stacks, structure
from xentlab.train.trial import COMPONENTS, Trainer, Trial, component_name, find_device, prepare, signature
from xentlab.train.yardsticks import under_losses

__all__ = [
    "COMPONENTS",
    "Epoch",
    "Fit",
    "Trainer",
    "Trial",
    "choose_lift",
    "component_name",
    "find_device",
    "first_gradient_norm",
    "prepare",
    "signature",
    "stacks",
    "structure",
    "under_losses",
]
