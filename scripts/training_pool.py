"""Whole comparisons on real trainings: how often a loss that differs in nothing is called better or worse.

A pool holds, for each loss and seed, one training of quickstart's small network on the digits at each of five rates,
trained in stacks. A replicate is the whole procedure: a seed of the pool chooses its rate on its own validation split,
and the test values at that rate are read. Comparisons are then drawn from the pool:

- ce against ce, two disjoint sets of n seeds. The same with the rate of each side chosen once on two seeds, which is
  what `replicate=point` does.
- two different losses, paired by seed, whose differences are re-centred on the pool and drawn with replacement.
- the power for a planted effect of one paired standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from xentlab import analysis
from xentlab.analysis.interval import Array
from xentlab.comparison.cells import read_study
from xentlab.comparison.protocol import Protocol
from xentlab.config.compose import compose_group, run_composed
from xentlab.train import Fit, stacks

METRICS = ("error", "nll", "brier", "ece")
SEEDS = (6, 10, 20)
_RATES = "comparison.tune.optimizer.lr=[0.01,0.03,0.1,0.3,1.0]"


@dataclass(frozen=True)
class Pool:
    """The trainings of one loss: validation error, NLL and test values, each [seeds, rates]; inf where one failed."""

    val: Array
    nll: Array
    test: dict[str, Array]

    def chosen(self) -> Array:
        """The place of the rate that each seed chooses on its own validation split, [seeds]; ties go by NLL."""
        return np.array([np.lexsort((nll, val))[0] for val, nll in zip(self.val, self.nll, strict=True)])

    def procedure(self, metric: str) -> Array:
        """Each replicate's test value, [seeds]."""
        return self.test[metric][np.arange(len(self.val)), self.chosen()]

    def point(self, metric: str, tuning: Array, final: Array) -> Array:
        """Test values of the final seeds at the rate with the best mean over the tuning seeds."""
        means = self.val[tuning].mean(0), self.nll[tuning].mean(0)
        values: Array = self.test[metric][final, np.lexsort((means[1], means[0]))[0]]
        return values


def quickstart() -> Protocol:
    """The protocol of quickstart."""
    found: list[Protocol] = []

    def job(config: dict[str, object], _: list[str]) -> None:
        study = read_study(config, compose_group)
        found.extend(setting.protocol for setting in study.cells.values())

    run_composed("compare", ["comparison=quickstart", "tracking=off", "comparison.final_seeds=2", _RATES], job)
    (protocol,) = found
    return protocol


def train_pool(size: int) -> dict[str, Pool]:
    """The pool of each of quickstart's losses over seeds 0 to size - 1."""
    if size < 2 * SEEDS[-1] + 4:
        raise SystemExit(f"--pool must be at least {2 * SEEDS[-1] + 4} seeds, got {size}.")
    protocol = quickstart()
    return {loss: _train(protocol, loss, size) for loss in protocol.losses}


def _train(protocol: Protocol, loss: str, size: int) -> Pool:
    rates = protocol.spaces[loss]["optimizer.lr"]
    shape = (size, len(rates))
    pool = Pool(np.full(shape, np.inf), np.full(shape, np.inf), {m: np.full(shape, np.inf) for m in METRICS})
    places = {
        protocol.trial(loss, (("optimizer.lr", rate),), seed, test=True): (seed, column)
        for seed in range(size)
        for column, rate in enumerate(rates)
    }
    dataset = next(iter(places)).dataset()
    for stack in stacks(list(places)):
        fit = Fit(stack, dataset)
        *_, last = fit.epochs()
        for row, (trial, outcome) in enumerate(zip(stack, fit.finish(), strict=True)):
            if not outcome.diverged:
                place = places[trial]
                pool.val[place], pool.nll[place] = (last.metrics[f"val/{m}"][row] for m in ("error", "nll"))
                for metric in METRICS:
                    pool.test[metric][place] = outcome.test[metric]
    return pool


def is_claim(differences: Array) -> bool:
    """Whether one loss against a baseline is called better or worse."""
    return analysis.sign_flip(differences) < 0.05


def same_loss(pool: Pool, metric: str, n: int, comparisons: int, seed: int) -> int:
    """False claims of ce against ce, every replicate the whole procedure."""
    generator, values = np.random.default_rng(seed), pool.procedure(metric)
    drawn = (generator.permutation(len(values))[: 2 * n] for _ in range(comparisons))
    return sum(is_claim(values[places[:n]] - values[places[n:]]) for places in drawn)


def same_loss_at_points(pool: Pool, metric: str, n: int, comparisons: int, seed: int) -> int:
    """False claims of ce against ce, the rate of each side chosen once on two seeds of its own."""
    generator, wrong = np.random.default_rng(seed), 0
    for _ in range(comparisons):
        places = generator.permutation(len(pool.val))[: 2 * n + 4]
        ours = pool.point(metric, places[:2], places[4 : 4 + n])
        wrong += is_claim(ours - pool.point(metric, places[2:4], places[4 + n :]))
    return wrong


def skewness(ours: Pool, theirs: Pool, metric: str) -> float:
    """Of the paired differences of two losses over the pool: what sign flips promise nothing for."""
    differences = ours.procedure(metric) - theirs.procedure(metric)
    centred = differences - differences.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def recentred(ours: Pool, theirs: Pool, metric: str, n: int, comparisons: int, seed: int) -> int:
    """False claims of two different losses whose paired differences were given mean 0."""
    generator = np.random.default_rng(seed)
    differences = ours.procedure(metric) - theirs.procedure(metric)
    differences = differences - differences.mean()
    return sum(is_claim(generator.choice(differences, n)) for _ in range(comparisons))


def planted(pool: Pool, metric: str, n: int, comparisons: int, seed: int) -> int:
    """How often ce is told from ce with one paired standard deviation added."""
    generator, values = np.random.default_rng(seed), pool.procedure(metric)
    effect, found = values.std(ddof=1) * np.sqrt(2.0), 0
    for _ in range(comparisons):
        places = generator.permutation(len(values))[: 2 * n]
        differences = values[places[:n]] + effect - values[places[n:]]
        found += is_claim(differences) and differences.mean() > 0
    return found


def print_trainings(pools: Mapping[str, Pool], comparisons: int, seed: int, share: Callable[[int, int], str]) -> None:
    """The account on real trainings; `share` writes a count of a number with its binomial interval."""
    ce = pools["ce"]
    size = len(ce.val)
    print(f"quickstart's network: {size} seeds x 5 rates of {', '.join(pools)}; {comparisons} comparisons a cell")
    times = np.bincount(ce.chosen(), minlength=5)
    print(f"ce chooses 0.01, 0.03, 0.1, 0.3, 1.0 in {', '.join(map(str, times))} of {size} seeds")
    tables = {
        "ce against ce, the whole procedure: false better or worse": partial(same_loss, ce),
        "ce against ce, each side's rate chosen once on two seeds: false better or worse": partial(
            same_loss_at_points, ce
        ),
        **{
            f"{ours} against {theirs}, re-centred: false better or worse": partial(
                recentred, pools[ours], pools[theirs]
            )
            for ours, theirs in combinations(pools, 2)
        },
        "ce against ce with one paired standard deviation planted: found": partial(planted, ce),
    }
    for title, count in tables.items():
        print(f"\n{title}\n{'':8s}" + "".join(f"{f'n = {n}':>24s}" for n in SEEDS))
        for metric in METRICS:
            found = (share(count(metric, n, comparisons, seed), comparisons) for n in SEEDS)
            skewed = f"   skew {skewness(*count.args, metric):+.1f}" if count.func is recentred else ""
            print(f"{metric:8s}" + "".join(f"{cell:>24s}" for cell in found) + skewed, flush=True)
