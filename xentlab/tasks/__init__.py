"""Tasks: what is to be predicted, and all that follows from it. One object in one file each; see `contract.py`.

A task of one's own: build a `Task` and `register` it in the module that holds its dataset.
"""

from xentlab.errors import unknown
from xentlab.metrics import Metric
from xentlab.tasks.contract import Examples, Facts, Form, Link, Statistics, Task
from xentlab.tasks.links import probabilities, simplex_projection
from xentlab.tasks.multiclass import MULTICLASS
from xentlab.tasks.multilabel import MULTILABEL
from xentlab.tasks.regression import REGRESSION
from xentlab.tasks.segmentation import SEGMENTATION
from xentlab.tasks.tokens import TOKENS

TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known by its name; it takes the place of one of the same name."""
    every = known_metrics()
    for entry in (*task.metrics, *task.truth_metrics):
        known = every.get(entry.name, entry)
        # A record names its metrics, not its tasks' objects: one name has one direction and one scale everywhere.
        assert (known.direction, known.is_share) == (entry.direction, entry.is_share), entry.name
    TASKS[task.name] = task
    return task


def find(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: there is none.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def known_metrics() -> dict[str, Metric]:
    """Every metric by its name, as the first task that has it says."""
    tasks = reversed(TASKS.values())
    return {entry.name: entry for task in tasks for entry in (*task.metrics, *task.truth_metrics)}


def metric(name: str) -> Metric:
    """The metric of that name, where no task is at hand: its direction and scale are the same on all.

    Raises:
        UserError: no task has it.
    """
    known = known_metrics()
    if name not in known:
        raise unknown("metric", name, known)
    return known[name]


for _task in (MULTICLASS, MULTILABEL, SEGMENTATION, REGRESSION, TOKENS):
    register(_task)
