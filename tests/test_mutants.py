"""Every law has been seen to fail: each mutant breaks the law that is meant for it."""

from __future__ import annotations

import pytest
from mutants import MUTANTS

from xentlab.losses.laws import LAWS, check
from xentlab.tasks import TASKS

# Where one mistake has one consequence, only its own law speaks.
PRECISE = [
    "cast_to_float32", "mean_inside", "weight_without_gradient", "noise_in_the_value", "target_broadcast",
    "zero_for_a_class_that_does_not_exist", "temperature_may_be_zero", "focal_cut_just_below_one",
    "coupled_in_words_only", "first_class_weighs_more", "asymmetric_in_words_only", "modest_in_words_only",
    "changes_under_a_constant_in_words_only", "below_its_minimum", "python_branch_on_a_knob", "item_of_a_knob",
    "boolean_mask", "ignored_pixels_count", "wrong_factor", "linear_called_proper",
    "positives_counted_twice", "improper_in_words_only", "slightly_smoothed",
]  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_law_catches_its_mutant(name: str) -> None:
    mutant = MUTANTS[name]
    report = check(mutant.function, mutant.task)
    broken = {row.law: row for row in report.broken}
    assert mutant.law in broken, str(report)
    assert broken[mutant.law].example is not None
    assert broken[mutant.law].detail in str(report)
    if name in PRECISE:
        # Noise shows wherever two calls are compared.
        allowed = {"independence", "renaming", "shift", "stacked inputs", "two forms", "ignored", "gradient", "proper"}
        others = {row.law for row in report.broken} - {mutant.law}
        assert not (others - allowed if name == "noise_in_the_value" else others), str(report)


def test_every_law_has_a_mutant() -> None:
    assert len(LAWS) == 24
    assert len(MUTANTS) >= 40
    assert {m.law for m in MUTANTS.values()} == {law.name for law in LAWS}
    assert {m.task for m in MUTANTS.values()} == set(TASKS)
