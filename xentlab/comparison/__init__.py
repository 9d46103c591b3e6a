"""The protocol: tune every loss at equal budgets, repeat the winners over fresh paired seeds, judge.

`run_comparison` returns one plain record, which `xentlab.report` lays out. What is already recorded is not run again.
"""

from xentlab.comparison.protocol import Protocol, read_protocol
from xentlab.comparison.record import make_record
from xentlab.comparison.runner import Result, run_comparison
from xentlab.comparison.tune import Tuning, tune

__all__ = ["Protocol", "Result", "Tuning", "make_record", "read_protocol", "run_comparison", "tune"]
