"""The one yardstick: what trials are compared by, whatever loss they were trained with.

What lives here are pure functions of *probabilities* (after the loss's link, normalised), never of logits, batched
over a leading axis R of trials, on whatever device the probabilities live, and beside them one `Metric` for each number
that they give. Which of them a task is measured by, its object says (`xentlab.tasks`):

    parts = [task.statistics(probs, target, ignore_index) for each chunk]
    values = task.finish(task.combine(parts))  # {metric: float64 [R]}

so that the chunks of a large split give what the whole would. A trial's non-finite probabilities reach none of its
neighbours; its own `nll`, `brier` and `ece` become NaN, while what only counts decisions stays finite.

To add a metric: compute it in its task's `*_metrics`, give it its entry beside, and its reference in the tests.
"""

from xentlab.metrics.bins import calibration_counts
from xentlab.metrics.categorical import (
    CLASS_METRICS,
    MAP_METRICS,
    add,
    constant_counts,
    join,
    multiclass_answers,
    multiclass_counts,
    multiclass_metrics,
    segmentation_counts,
    segmentation_metrics,
)
from xentlab.metrics.contract import Metric
from xentlab.metrics.multilabel import LABEL_METRICS, POSTERIOR_METRICS, multilabel_metrics, posterior_metrics
from xentlab.metrics.regression import (
    CONDITIONAL_METRICS,
    REGRESSION_METRICS,
    conditional_metrics,
    regression_answers,
    regression_columns,
    regression_metrics,
)
from xentlab.metrics.tokens import TOKEN_METRICS, token_counts, token_metrics
