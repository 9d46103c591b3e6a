"""The examples in the losses' docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import sys

import pytest

from xentlab.losses.contract import catalogue

EXAMPLES = {
    name: found
    for name, function in catalogue().items()
    for found in doctest.DocTestFinder(recurse=False).find(function, name, globs=vars(sys.modules[function.__module__]))
    if found.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_gives_what_it_says(name: str) -> None:
    said: list[str] = []
    result = doctest.DocTestRunner().run(EXAMPLES[name], out=said.append, clear_globs=False)
    assert result.attempted
    assert not result.failed, "".join(said)


def test_the_losses_that_people_use_most_have_one() -> None:
    wanted = {"ce", "bce", "mse", "label_smoothing", "focal", "custom_ce", "gce", "dice", "asl", "logit_adjusted"}
    assert wanted <= set(EXAMPLES)
