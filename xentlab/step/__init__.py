"""The one training step, and its two lifts. Knows torch only; model, loss, penalty and optimizer are arguments.

`Objective` is written for one trial. `Looped` runs it through the module itself, one trial at a time, without the cost
of functional calls; `Vectorised` lifts it over R trials with `torch.vmap` and takes one gradient of their sum (rows
share nothing, so the gradient of the sum is every row's own). Both act on the same `State`: R rows of flat parameters.
No host synchronisation anywhere in a step.

Axes: R trials in a stack, B batch, C classes, P parameters of one trial.
"""

from xentlab.step.lift import Lift, Update
from xentlab.step.lifts import Looped, Vectorised
from xentlab.step.objective import Facts, Given, Objective, weighted_mean
from xentlab.step.state import State, row_norms, state_dict, trained
from xentlab.step.tape import peak_bytes
from xentlab.step.windows import in_windows
