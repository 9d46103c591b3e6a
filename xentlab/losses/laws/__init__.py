"""The laws of losses: what every loss must do, and what it declares of itself, tried on the smallest inputs first.

    from xentlab.losses.laws import assert_lawful

    def test_mine():
        assert_lawful(my_loss)

`check` runs them on any function that obeys `xentlab.losses.contract` and returns a `LawReport`. Knows torch, the
losses and their schema; nothing of training, data or commands.

By theme: `numerics` (shape, finiteness, gradient), `symmetry` (independence, renaming, constants), `training` (stacks,
both forms of a target, weights) and `identities` (limits, proper scoring). To add a law: see `contract`.
"""

from xentlab.losses.laws.contract import Counterexample, Law, Skipped
from xentlab.losses.laws.suite import LAWS, LawReport, LawRow, assert_lawful, check
