"""Paired statistics on a tidy table: numbers in, numbers out, with numpy and scipy and nothing else of this project.

A table is `loss -> seed -> value`; the values of one seed are paired across losses. Every source of randomness takes a
stated seed, so that the same table gives the same verdict to the last digit. `scripts/simulate_truth.py` holds the
procedures to what they promise: false positives, coverage and power on tables whose truth is known.

To add a statistic: one pure function here, its law in `tests/test_analysis.py`, its column in `Judgement`.
"""

from xentlab.analysis.interval import Band, Summary, band, summarise
from xentlab.analysis.paired import Direction, Paired, equivalence, holm, paired, seeds_needed
from xentlab.analysis.permutation import flip_interval, sign_flip, sign_test
from xentlab.analysis.profile import Profile, performance_profiles
from xentlab.analysis.ranks import Friedman, critical_difference, friedman, inseparable
from xentlab.analysis.survival import TimeToTarget, time_to_target
from xentlab.analysis.verdict import Judgement, Table, Verdict, best, judge

__all__ = [
    "Band",
    "Direction",
    "Friedman",
    "Judgement",
    "Paired",
    "Profile",
    "Summary",
    "Table",
    "TimeToTarget",
    "Verdict",
    "band",
    "best",
    "critical_difference",
    "equivalence",
    "flip_interval",
    "friedman",
    "holm",
    "inseparable",
    "judge",
    "paired",
    "performance_profiles",
    "seeds_needed",
    "sign_flip",
    "sign_test",
    "summarise",
    "time_to_target",
]
