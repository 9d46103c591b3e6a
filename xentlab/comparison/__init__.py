"""The protocol: tune every loss at equal budgets, repeat the winners over fresh paired seeds, judge.

`recording.make_record` gives the record that `xentlab.report` lays out. What is already recorded is not run again.
"""

from xentlab.comparison.cells import StudyPlan, read_study
from xentlab.comparison.overview import make_overview
