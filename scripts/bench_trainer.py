#!/usr/bin/env python
"""How fast is one trial? An epoch of MNIST in xentlab beside two that anyone would write, in one alternating run.

    scripts/bench_trainer.py [--model mlp|lenet] [--repeats 7] [--batch-size 128] [--device cpu|cuda] [--json FILE]

- `xentlab`: the training part of one epoch of a trial: batches, step, optimizer, objective.
- `by hand`: the same loop in plain PyTorch on resident tensors, with torch.optim.
- `DataLoader`: torchvision's dataset with ToTensor and a DataLoader, the same model, loss and optimizer.

Ratios are of medians over the repeats; every repeat runs all three one after another. Without MNIST under XENTLAB_DATA
the images are random bytes of its shape, which costs the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from xentlab.data import Dataset, as_torchvision, generator, mnist
from xentlab.models import initial
from xentlab.train import Fit, prepare

LR, MOMENTUM = 0.05, 0.9


def dataset() -> Dataset:
    """MNIST, or bytes of its shape."""
    if "XENTLAB_DATA" in os.environ:
        return mnist(download=False)
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (70_000, 1, 28, 28), dtype=torch.uint8, generator=draws)
    targets = torch.randint(0, 10, (70_000,), dtype=torch.uint8, generator=draws)
    parts = {"train": torch.arange(60_000), "test": torch.arange(60_000, 70_000)}
    names = tuple(map(str, range(10)))
    return Dataset("random", "multiclass", inputs, targets, names, scale=1 / 255, source_splits=parts)


def config(model: str, batch_size: int, device: str) -> dict[str, Any]:
    """The config of the trial, as plain data."""
    models = {"mlp": {"hidden": [100]}, "lenet": {}}
    return {
        "seed": 0,
        "dataset": {"_target_": "xentlab.data.mnist"},
        "model": {"_target_": f"xentlab.models.{model}", **models[model]},
        "loss": {"_target_": "xentlab.losses.ce"},
        "regularizer": {"_target_": "xentlab.regularizers.none"},
        "optimizer": {"_target_": "xentlab.optim.sgd", "lr": LR, "momentum": MOMENTUM},
        "schedule": {"_target_": "xentlab.optim.constant"},
        "trainer": {"epochs": 1000, "batch_size": batch_size, "device": device},
    }


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(epoch: Callable[[], None], device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    epoch()
    synchronise(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["mlp", "lenet"], default="mlp")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-loader", action="store_true", help="leave out the slowest of the three")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)

    data = dataset()
    trial = prepare(config(options.model, options.batch_size, options.device))
    fit = Fit([trial], data)
    train = fit.rig.batches._index["train"][0].cpu()
    seed = generator(0, "weights").initial_seed()

    def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
        module = initial(trial.model, (1, 28, 28), 10, seed).to(device)
        return module, torch.optim.SGD(module.parameters(), lr=LR, momentum=MOMENTUM)

    images = (data.inputs[train].float() / 255).to(device)
    labels = data.targets[train].long().to(device)
    by_hand_model, by_hand_optimizer = model_and_optimizer()

    def by_hand() -> None:
        total = torch.zeros((), device=device)
        order = torch.randperm(len(images)).to(device)
        for batch in order.split(options.batch_size):
            loss = F.cross_entropy(by_hand_model(images[batch]), labels[batch])
            by_hand_optimizer.zero_grad()
            loss.backward()
            by_hand_optimizer.step()
            total += loss.detach()
        total.item()

    loader_model, loader_optimizer = model_and_optimizer()

    def with_loader() -> None:
        total = 0.0
        for inputs, target in loader:
            loss = F.cross_entropy(loader_model(inputs.to(device)), target.to(device))
            loader_optimizer.zero_grad()
            loss.backward()
            loader_optimizer.step()
            total += loss.item()

    epochs = iter(range(1, 1000))
    runs: dict[str, Callable[[], None]] = {"xentlab": lambda: fit.train(next(epochs)), "by hand": by_hand}  # type: ignore[dict-item]
    if not options.without_loader:
        loader = torch.utils.data.DataLoader(as_torchvision(data, train), batch_size=options.batch_size, shuffle=True)
        runs["DataLoader"] = with_loader
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name in ("xentlab", "by hand"):
        runs[name]()  # warm-up
    for _ in range(options.repeats):
        for name, epoch in runs.items():
            seconds[name].append(timed(epoch, device))
    report(seconds, options, device, "MNIST" if "XENTLAB_DATA" in os.environ else "random bytes")


def report(seconds: dict[str, list[float]], options: argparse.Namespace, device: torch.device, source: str) -> None:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{options.model} on {source}, batch {options.batch_size}, {device}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}, {options.repeats} repeats")  # fmt: skip
    for name, values in seconds.items():
        low, high = np.min(values), np.max(values)
        ratio = medians["xentlab"] / medians[name]
        print(f"{name:<12} {medians[name]:8.3f} s an epoch [{low:.3f}, {high:.3f}]   xentlab / {name}: {ratio:.3f}")
    pairs = [a / b for a, b in zip(seconds["xentlab"], seconds["by hand"], strict=True)]
    print(f"median of the paired ratios xentlab / by hand: {statistics.median(pairs):.3f}")
    if options.json:
        facts = {"model": options.model, "batch_size": options.batch_size, "device": str(device), "seconds": seconds}
        options.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
