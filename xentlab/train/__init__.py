"""Training: from a config to a checked `Trial`, from trials to stacks, from a stack to epochs of metrics."""

from xentlab.train.fit import Epoch, Fit
from xentlab.train.outcome import examples, meet_test, on_test
from xentlab.train.plan import lift_of, stacks, structure
from xentlab.train.rig import Rig, first_gradient_norm
from xentlab.train.signature import signature
from xentlab.train.trial import (
    COMPONENTS,
    Trainer,
    Trial,
    check_teachable,
    component_name,
    find_device,
    prepare,
)
from xentlab.train.yardsticks import under_losses
