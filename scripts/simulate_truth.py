"""Holds the statistics to what they promise, on tables whose truth is known, and prints the full account.

    python scripts/simulate_truth.py --tables 2000
    python scripts/simulate_truth.py --trainings
    python scripts/simulate_truth.py --faults

The first draws noise: normal, skewed (exponential) and heavy-tailed (t with 3 degrees of freedom) in both losses of a
seed, trials that collapse in one replicate of ten, and differences that are themselves skewed around zero, which no
sign-flip test promises anything for. Every share stands with its exact 95 % binomial interval. `--trainings` asks the
same of real trainings, each side tuned as a comparison tunes (see `training_pool.py`). `--faults` measures again what
was once wrong with verdicts, line by line (see `fault_table.py`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable

import numpy as np
from fault_table import print_faults
from training_pool import print_trainings, train_pool

from xentlab import analysis
from xentlab.analysis.interval import Array

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _collapsed(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal values, one in ten of which is a trial that ended at the trivial predictor, far behind."""
    return np.where(generator.random(shape) < 0.1, 60.0, generator.standard_normal(shape))


# What both losses of a seed draw: the two are exchangeable, which is the null of the sign-flip test.
EXCHANGEABLE: dict[str, Draw] = {
    "normal": lambda g, shape: g.standard_normal(shape),
    "exponential": lambda g, shape: g.standard_exponential(shape),
    "heavy-tailed": lambda g, shape: g.standard_t(3, shape),
    "collapses": _collapsed,
}
# What one loss draws beside a baseline without noise: differences of mean zero that are skewed.
SKEWED: dict[str, Draw] = {
    "exponential": lambda g, shape: g.standard_exponential(shape) - 1.0,
    "collapses": lambda g, shape: _collapsed(g, shape) - 6.0,
}
SD = {"normal": 1.0, "exponential": 1.0, "heavy-tailed": math.sqrt(3.0)}
LOOKS = analysis.Looks((10, 15, 20, 30))


def share_with_interval(hits: int, n: int) -> str:
    """`4.2 % [3.4, 5.2]`, exact binomial."""
    from scipy.stats import binomtest

    found = binomtest(hits, n).proportion_ci(method="exact")
    return f"{100 * hits / n:5.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def any_claim(differences: Array) -> bool:
    """Whether Holm over the losses calls any row of `differences` [losses, n] better or worse."""
    return bool((analysis.holm(analysis.sign_flips(differences)) < 0.05).any())


def level(draw: Draw, *, compared: int, n: int, tables: int, seed: int, baseline: bool) -> int:
    """In how many tables of losses that do not differ any is called better or worse."""
    generator, wrong = np.random.default_rng(seed), 0
    for _ in range(tables):
        if baseline:
            drawn = draw(generator, (compared + 1, n))
            wrong += any_claim(drawn[1:] - drawn[0])
        else:
            wrong += any_claim(draw(generator, (compared, n)))
    return wrong


def missed(draw: Draw, *, compared: int, n: int, tables: int, seed: int) -> int:
    """In how many tables any interval of the family leaves out the truth."""
    generator, count = np.random.default_rng(seed), 0
    for _ in range(tables):
        drawn = draw(generator, (compared + 1, n))
        table = {f"loss{i}": dict(enumerate(map(float, row))) for i, row in enumerate(drawn)}
        rows = analysis.judge(table, baseline="loss0", direction="min")[1:]
        count += any(row.diff_low > 0 or row.diff_high < 0 for row in rows)
    return count


def first_place(draw: Draw, behind: float, *, losses: int, n: int, tables: int, seed: int) -> int:
    """In how many tables any of equally good losses is denied the first place, the baseline being `behind` them."""
    generator, count = np.random.default_rng(seed), 0
    for _ in range(tables):
        drawn = draw(generator, (losses, n))
        drawn[0] += behind
        table = {f"loss{i}": dict(enumerate(map(float, row))) for i, row in enumerate(drawn)}
        count += not all(row.best for row in analysis.judge(table, baseline="loss0", direction="min")[behind > 0 :])
    return count


def equivalent_at_margin(draw: Draw, *, n: int, tables: int, seed: int) -> int:
    """How often a loss that differs by exactly the margin is called equivalent."""
    generator, count = np.random.default_rng(seed), 0
    for _ in range(tables):
        ours, theirs = draw(generator, (2, n))
        count += 2 * analysis.equivalence(ours - theirs + 1.5, 1.5) < 0.05
    return count


def looked(draw: Draw, effect: float, *, tables: int, seed: int) -> tuple[int, float, int]:
    """Verdicts of the planned looks, their average number of seeds, and verdicts of all seeds judged once."""
    generator, claims, seeds, fixed = np.random.default_rng(seed), 0, 0, 0
    for _ in range(tables):
        ours, theirs = draw(generator, (2, LOOKS.seeds[-1]))
        table = {"a": dict(enumerate(theirs.tolist())), "b": dict(enumerate((ours + effect).tolist()))}
        found = analysis.judge_looks(analysis.Question(table, "min"), LOOKS, baseline="a")
        claims += found.rows[1].verdict != "inconclusive"
        seeds += found.seeds["b"]
        fixed += analysis.sign_flip(ours + effect - theirs) < 0.05
    return claims, seeds / tables, fixed


def power(draw: Draw, effect: float, *, n: int, tables: int, seed: int) -> int:
    """How often a loss that is worse by `effect` is called worse."""
    drawn = draw(np.random.default_rng(seed), (2, tables, n))
    differences = drawn[0] - drawn[1] + effect
    return int(((analysis.sign_flips(differences) < 0.05) & (differences.mean(axis=1) > 0)).sum())


def _print_rows(title: str, columns: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> None:
    print(f"\n{title}\n{'':16s}" + "".join(f"{column:>24s}" for column in columns))
    for name, cells in rows:
        print(f"{name:16s}" + "".join(f"{cell:>24s}" for cell in cells), flush=True)


def print_tables(tables: int, seed: int) -> None:
    """The account on drawn tables."""
    print(f"{tables} tables per cell, shares with their exact 95 % binomial intervals")
    sizes = [(1, 10), (3, 10), (10, 11), (53, 14)]
    names = [f"{c} losses, n = {n}" for c, n in sizes]

    def shares(draw: Draw, baseline: bool) -> Iterable[str]:
        for compared, n in sizes:
            hits = level(draw, compared=compared, n=n, tables=tables, seed=seed, baseline=baseline)
            yield share_with_interval(hits, tables)

    title = "any false better or worse, exchangeable losses (promised: at most 5 %)"
    _print_rows(title, names, ((name, shares(draw, True)) for name, draw in EXCHANGEABLE.items()))
    title = "the same where the differences themselves are skewed around zero (not promised: a note says so)"
    _print_rows(title, names, ((name, shares(draw, False)) for name, draw in SKEWED.items()))
    few = max(100, tables // 4)
    _print_rows(
        f"any interval of five losses leaves out the truth | any of six equal losses is denied the first place, or of "
        f"five that beat the baseline by 1 or 4 ({few})",
        ["intervals, n = 10", "first place, n = 10", "baseline 1 behind", "baseline 4 behind"],
        (
            (
                name,
                (
                    share_with_interval(missed(draw, compared=5, n=10, tables=few, seed=seed), few),
                    *(
                        share_with_interval(first_place(draw, far, losses=6, n=10, tables=few, seed=seed), few)
                        for far in (0.0, 1.0, 4.0)
                    ),
                ),
            )
            for name, draw in EXCHANGEABLE.items()
        ),
    )
    _print_rows(
        "called equivalent at exactly the margin (promised: at most 5 %)",
        ["n = 6", "n = 10", "n = 20"],
        (
            (
                name,
                (
                    share_with_interval(equivalent_at_margin(draw, n=n, tables=tables, seed=seed), tables)
                    for n in (6, 10, 20)
                ),
            )
            for name, draw in EXCHANGEABLE.items()
        ),
    )
    rows = []
    for name, sd in SD.items():
        paired_sd = math.sqrt(2.0) * sd
        for effect in (0.0, 0.6, 1.0):
            claims, seeds, fixed = looked(EXCHANGEABLE[name], effect * paired_sd, tables=few, seed=seed)
            cells = (share_with_interval(claims, few), f"{seeds:.1f}", share_with_interval(fixed, few))
            rows.append((f"{name[:8]} {effect:g} sd", cells))
    title = f"looks at {', '.join(map(str, LOOKS.seeds))} seeds, a quarter of alpha each, against 30 at once ({few})"
    _print_rows(title, ["any verdict", "seeds on average", "any verdict, 30 at once"], rows)
    planned = [f"n = {n}: {100 * analysis.power(1.0, n):.0f} % planned" for n in (8, 10, 14)]
    _print_rows(
        "power for an effect of one paired standard deviation",
        planned,
        (
            (
                name,
                (
                    share_with_interval(
                        power(EXCHANGEABLE[name], math.sqrt(2.0) * sd, n=n, tables=tables, seed=seed), tables
                    )
                    for n in (8, 10, 14)
                ),
            )
            for name, sd in SD.items()
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables per cell")
    parser.add_argument("--trainings", action="store_true", help="whole comparisons on real trainings instead")
    parser.add_argument("--faults", action="store_true", help="what was once wrong with verdicts, measured again")
    parser.add_argument("--comparisons", type=int, default=200, help="of --trainings and --faults, a cell")
    parser.add_argument("--pool", type=int, default=100, help="replicates trained per loss for both")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pools = train_pool(options.pool) if options.trainings or options.faults else {}
    if options.trainings:
        print_trainings(pools, options.comparisons, options.seed, share_with_interval)
    if options.faults:
        print_faults(pools, options.comparisons, options.seed, share_with_interval)
    if not pools:
        print_tables(options.tables, options.seed)


if __name__ == "__main__":
    main()
