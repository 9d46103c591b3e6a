"""Holds the statistics to what they promise, on tables whose truth is known, and prints the full account.

    python scripts/simulate_truth.py --tables 2000

Three questions, for normal, skewed (exponential), heavy-tailed (t with 3 degrees of freedom) and very skewed
(log-normal) noise: how often a loss that differs in nothing is called better or worse, how often the 95 % intervals
hold the truth, and how often an effect of one paired standard deviation is found.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np

from xentlab.analysis import flip_interval, judge, summarise
from xentlab.analysis.interval import Array

NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda g, shape: g.standard_normal(shape),
    "skewed": lambda g, shape: g.standard_exponential(shape) - 1.0,
    "heavy": lambda g, shape: g.standard_t(3, shape),
    "log-normal": lambda g, shape: np.exp(g.standard_normal(shape)) - math.exp(0.5),
}
SD = {"normal": 1.0, "skewed": 1.0, "heavy": math.sqrt(3.0), "log-normal": math.sqrt((math.e - 1) * math.e)}


def false_claims(noise: str, *, n: int, losses: int, tables: int, seed: int) -> float:
    """Share of A/A tables (seed effect + noise, `losses` copies of the baseline) with any better or worse."""
    generator = np.random.default_rng(seed)
    wrong = 0
    for _ in range(tables):
        drawn = generator.standard_normal(n) + NOISE[noise](generator, (losses + 1, n))
        table = {f"loss{i}": dict(enumerate(map(float, row))) for i, row in enumerate(drawn)}
        verdicts = [row.verdict for row in judge(table, baseline="loss0", direction="min")]
        wrong += any(v in ("better", "worse") for v in verdicts)
    return wrong / tables


def coverage(noise: str, *, n: int, tables: int, seed: int) -> tuple[float, float, float]:
    """Share of intervals that hold the truth: paired difference, difference of unequal noise, and plain mean."""
    generator = np.random.default_rng(seed)
    hits = np.zeros(3)
    for _ in range(tables):
        ours, theirs = NOISE[noise](generator, (2, n))
        summary = summarise(ours)
        ends = (flip_interval(ours - theirs), flip_interval(ours - theirs / 2), (summary.low, summary.high))
        hits += [low <= 0.0 <= high for low, high in ends]
    same, unequal, mean = (hits / tables).tolist()
    return same, unequal, mean


def power(noise: str, *, n: int, tables: int, seed: int) -> float:
    """Share of tables in which a loss worse by one standard deviation of the paired differences is called worse."""
    generator = np.random.default_rng(seed)
    found = 0
    for _ in range(tables):
        baseline, loss = NOISE[noise](generator, (2, n))
        loss = loss + math.sqrt(2.0) * SD[noise]
        table = {"a": dict(enumerate(baseline.tolist())), "b": dict(enumerate(loss.tolist()))}
        found += judge(table, baseline="a", direction="min")[1].verdict == "worse"
    return found / tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables per cell")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tables, seed = options.tables, options.seed
    print(f"{tables} tables per cell; Monte-Carlo standard error {math.sqrt(0.05 * 0.95 / tables):.4f} at 5 %\n")
    print("share of A/A tables with any better or worse (promised: at most 0.05)")
    print(f"{'noise':12s}{'losses':>8s}" + "".join(f"{f'n={n}':>9s}" for n in (5, 10, 30)))
    for noise in NOISE:
        for losses in (1, 3):
            row = [false_claims(noise, n=n, losses=losses, tables=tables, seed=seed) for n in (5, 10, 30)]
            print(f"{noise:12s}{losses:8d}" + "".join(f"{share:9.4f}" for share in row), flush=True)
    print("\ncoverage of the 95 % intervals: paired difference | differing spreads | mean of one loss")
    for noise in NOISE:
        for n in (6, 10, 30):
            same, unequal, mean = coverage(noise, n=n, tables=tables, seed=seed)
            print(f"{noise:12s}  n={n:<4d}{same:9.4f}{unequal:9.4f}{mean:9.4f}", flush=True)
    print("\npower for an effect of one paired standard deviation at n=10 (promised: at least 0.75)")
    for noise in NOISE:
        print(f"{noise:12s}{power(noise, n=10, tables=tables, seed=seed):9.4f}", flush=True)


if __name__ == "__main__":
    main()
