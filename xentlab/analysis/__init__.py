"""Paired statistics on a tidy table: numbers in, numbers out, with numpy and scipy and nothing else of this project.

A table is `loss -> seed -> value`; the values of one seed are paired across losses. Every source of randomness takes a
stated seed, so that the same table gives the same verdict to the last digit. `scripts/simulate_truth.py` holds the
procedures to what they promise: false positives, coverage and power on tables whose truth is known.

To add a statistic: one pure function here, its law in `tests/test_analysis_*.py`, its column in `Judgement`.
"""

from xentlab.analysis.agreement import Agreement, Sample, welch
from xentlab.analysis.examples import McNemar, crossed, mcnemar, rooted
from xentlab.analysis.first import Leader, first_places, leader
from xentlab.analysis.interval import Band, Summary, band, summarise
from xentlab.analysis.judgement import Judgement, Question, Verdict
from xentlab.analysis.looks import Looked, Looks, judge_looks
from xentlab.analysis.paired import Direction, Paired, equivalence, holm, paired
from xentlab.analysis.permutation import flip_below, flip_interval, sign_flip, sign_flips
from xentlab.analysis.planning import detectable, power, seeds_for, seeds_needed
from xentlab.analysis.profile import Profile, performance_profiles
from xentlab.analysis.ranks import Friedman, friedman, inseparable
from xentlab.analysis.survival import TimeToTarget, time_to_target
from xentlab.analysis.verdict import judge, judge_family
