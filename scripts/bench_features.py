#!/usr/bin/env python
"""Heads on frozen features against fine-tuning: how much of one epoch of it do 100 trained heads cost?

    scripts/bench_features.py [--images 1000] [--size 96] [--losses 4] [--seeds 5] [--rates 5] [--epochs 10]
                              [--repeats 3] [--json FILE]

The backbone is EfficientNet-Lite0 as trained on ImageNet, the images are MNIST's first, brought to `--size` pixels
(bilinear), 64 % of them for training. Each turn computes the features of all images into an empty cache, trains every
head on them for all its epochs with all metrics, and fine-tunes one copy of the whole net for one epoch, of which only
the steps count. The ratio is of features and heads together to that epoch; `heads` is what more of them would cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
import tempfile
from collections.abc import Mapping

import harness
import torch
from harness import LOSSES, number, seconds

from xentlab.data import Dataset, mnist
from xentlab.run.encoding import encoded
from xentlab.train import Fit, Trial, prepare, stacks

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def trial(options: argparse.Namespace, freeze: str, loss: str, lr: float, seed: int) -> Trial:
    knobs = {"weights": "imagenet", "freeze": freeze}
    epochs = options.epochs if freeze != "none" else 1
    made = harness.config("mnist", "efficientnet_lite0", loss, lr=lr, seed=seed, knobs=knobs, epochs=epochs)
    return prepare({**made, "trainer": {**made["trainer"], "max_stack": 1000}})


def images(count: int, size: int) -> Dataset:
    """MNIST's first images at that size, without splits of their own."""
    whole = mnist(download=False)
    larger = torch.nn.functional.interpolate(whole.inputs[:count].float(), size=(size, size), mode="bilinear")
    inputs = larger.round().to(torch.uint8)
    return dataclasses.replace(whole, inputs=inputs, targets=whole.targets[:count], source_splits={})


def turn(options: argparse.Namespace, dataset: Dataset) -> Mapping[str, float]:
    """Seconds of the features, of all heads, and of one epoch of fine-tuning."""
    chosen = itertools.product(LOSSES[: options.losses], RATES[: options.rates], range(options.seeds))
    heads = [trial(options, "backbone", *one) for one in chosen]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        taught = encoded(heads[0], dataset, print)
        once = seconds(lambda: taught.seen)
        trained = seconds(lambda: [list(Fit(stack, taught).epochs()) for stack in stacks(heads)])
    whole = Fit([trial(options, "none", "ce", 0.01, 0)], dataset)
    return {"features": once, "heads": trained, "epoch": seconds(lambda: whole.train(1))}


def main() -> None:
    parser = harness.parser(__doc__ or "")
    for name, default in (("images", 1000), ("size", 96), ("losses", 4), ("seeds", 5), ("rates", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, default=10, help="of each head")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    dataset = images(options.images, options.size)
    turns = [turn(options, dataset) for _ in range(options.repeats)]
    count = options.losses * options.rates * options.seeds
    taken = {name: statistics.median(one[name] for one in turns) for name in turns[0]}
    ratio = statistics.median((one["features"] + one["heads"]) / one["epoch"] for one in turns)
    title = (
        f"{count} heads of {options.epochs} epochs on EfficientNet-Lite0, {options.images} images of {options.size}x"
    )
    rows = [[name, number(value, ".2f")] for name, value in taken.items()]
    harness.show(
        f"{title}{options.size}", ["", "seconds"], [*rows, ["(features + heads) / epoch", number(ratio, ".3f")]]
    )
    harness.write(options, {"turns": turns, "heads": count, "ratio": ratio})


if __name__ == "__main__":
    main()
