"""Each time to target has its estimate."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from xentlab import analysis
from xentlab.errors import UserError


@pytest.mark.parametrize(
    "epochs", [[3, 5, None, 2], [3, None, None], [1, 2, 3, 4, 5], [None, None], [4, 4, None, None]]
)
def test_the_median_is_kaplan_and_meiers(epochs):
    [row] = analysis.time_to_target({"a": dict(enumerate(epochs))}, horizon=10)
    data = scipy.stats.CensoredData.right_censored([e or 10 for e in epochs], [e is None for e in epochs])
    survival = scipy.stats.ecdf(data).sf
    reached = [t for t, s in zip(survival.quantiles, survival.probabilities, strict=True) if s <= 0.5]
    assert row.reached == sum(e is not None for e in epochs)
    assert (row.median is None and not reached) or row.median == min(reached)
    assert row.mean == pytest.approx(np.mean([e or 10 for e in epochs]))
    interval = scipy.stats.binomtest(row.reached, row.n).proportion_ci(method="exact")
    assert [row.low, row.high] == pytest.approx([interval.low, interval.high], rel=1e-9)
    assert not row.mean_high > 10


def test_time_to_target_refuses_times_beyond_the_horizon_and_takes_empty_rows():
    with pytest.raises(UserError, match=r"The time of a at seed 4 must be in \(0, 10\], got 11"):
        analysis.time_to_target({"a": {4: 11.0}}, horizon=10)
    [row] = analysis.time_to_target({"a": {}}, horizon=10)
    assert row.n == 0
    assert row.fraction is None
