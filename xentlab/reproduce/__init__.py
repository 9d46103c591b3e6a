"""Running a record again, and judging what comes out against what it says.

A record may come from anyone: `check_targets` refuses a config that names code from outside the allowed modules before
anything of it is looked up; `xentlab.dotted.only` holds that while it runs.

- `again`: a record as a training of this machine, and what is not as it was
- `rerun`: a trial or a comparison from its record to its judgement
- `judge`: every number, and every verdict, against the record

The contract: a number that is not judged is not reproduced. To judge one more, a row in `judge`.
"""

from xentlab.reproduce.again import ALLOWED, Difference, check_targets
from xentlab.reproduce.judge import CLOSENESS, Closeness, judge_comparison, judge_trial
from xentlab.reproduce.rerun import ComparisonAgain, Rerun, TrialAgain, find_record
