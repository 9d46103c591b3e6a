"""Published results, run again: protocols from the literature with the published values beside, and their verdicts.

Each lives in `configs/comparison/published/NAME.yaml`, which says its source, its protocol, what the source leaves
open, its arms, its sizes, and its claims with their published values (`plan`, `claims`). An experiment trains its arms
at fixed settings over paired seeds (`trainings`) or traces one neuron exactly (`neuron`), and every claim is judged
(`verdicts`): agrees, disagrees by how much, not decidable, or not tested here. Nothing is tuned towards a number.

To add one: a file there. What its claims need beyond the metrics of a trial: an evaluation in `trainings`.
"""

from xentlab.published.experiment import estimate_experiment, run_experiment, save, saved, write_pages
from xentlab.published.spec import Plan, read_plan
