"""Running trials: look each up by its signature, have what is missing trained, and write down everything as it happens.

Between `train`, which knows nothing of disks, and the commands, which know nothing of training. A `Unit` is a stack as
plain data, so that any process on any machine that shares the output directory can train it; an `Executor` is whatever
brings units to their end. Without one, a `Lab` trains in its own process.
"""

from xentlab.run.lab import EpochCallback, Lab
from xentlab.run.unit import Executor, Failure, TrainingError, Unit, perform

__all__ = ["EpochCallback", "Executor", "Failure", "Lab", "TrainingError", "Unit", "perform"]
