"""The protocol: tune every loss at equal budgets, repeat the winners over fresh paired seeds, judge.

`make_record` gives the typed record that `xentlab.report` lays out. What is already recorded is not run again.
"""

from xentlab.comparison.cells import Setting, StudyPlan, read_study
from xentlab.comparison.overview import make_overview
from xentlab.comparison.protocol import Protocol
from xentlab.comparison.recording import make_record
from xentlab.comparison.runner import Result, first_trial, run_comparison
from xentlab.comparison.tune import Tuning, tune
