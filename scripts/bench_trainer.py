#!/usr/bin/env python
"""How fast is one trial? An epoch of MNIST in xentlab beside two that anyone would write, in one alternating run.

    scripts/bench_trainer.py [--model mlp|lenet] [--repeats 7] [--batch-size 128] [--device cpu|cuda] [--json FILE]

- `xentlab`: the training part of one epoch of a trial: batches, step, optimizer, objective.
- `by hand`: the same loop in plain PyTorch on resident tensors, with torch.optim.
- `DataLoader`: torchvision's dataset with ToTensor and a DataLoader, the same model, loss and optimizer.

Ratios are medians of the ratios turn by turn. Without MNIST under XENTLAB_DATA the images are random bytes of its
shape, which costs the same.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import harness
import torch
from harness import ByHand, Training

from xentlab.data import Dataset, as_torchvision, mnist
from xentlab.errors import UserError
from xentlab.train import Fit, prepare

MODELS: dict[str, dict[str, Any]] = {"mlp": {"hidden": [100]}, "lenet": {}}


def images() -> tuple[str, Dataset]:
    """MNIST, or bytes of its shape."""
    try:
        return "MNIST", mnist(download=False)
    except UserError:
        draws = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (70_000, 1, 28, 28), dtype=torch.uint8, generator=draws)
    targets = torch.randint(0, 10, (70_000,), dtype=torch.uint8, generator=draws)
    parts = {"train": torch.arange(60_000), "test": torch.arange(60_000, 70_000)}
    names = tuple(map(str, range(10)))
    return "random bytes", Dataset("random", "multiclass", inputs, targets, names, scale=1 / 255, source_splits=parts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = harness.parser(__doc__ or "")
    parser.add_argument("--model", choices=list(MODELS), default="mlp")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-loader", action="store_true", help="leave out the slowest of the three")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    source, data = images()
    facts = {"epochs": options.repeats + 1, "batch_size": options.batch_size, "device": options.device}
    trial = prepare(harness.config("mnist", options.model, knobs=MODELS[options.model], **facts))
    ours, hand, other = Training(Fit([trial], data)), ByHand(trial, data), ByHand(trial, data)

    def with_loader() -> None:
        total = 0.0
        for inputs, target in loader:
            total += other.step(inputs.to(device), target.to(device)).item()

    work: list[Callable[[], Mapping[str, float]]] = [
        lambda: {"xentlab": ours.epoch()[0]},
        lambda: {"by hand": harness.seconds(hand.epoch, device)},
    ]
    for one in work:
        one()  # warm-up
    if not options.without_loader:
        loader = torch.utils.data.DataLoader(
            as_torchvision(data, hand.train), batch_size=options.batch_size, shuffle=True
        )
        work.append(lambda: {"DataLoader": harness.seconds(with_loader, device)})
    taken = harness.take_turns(work, options.repeats)
    rows = []
    for name in ("xentlab", "by hand", "DataLoader"):
        if name in taken:
            values = (statistics.median(taken[name]), min(taken[name]), max(taken[name]))
            rows.append([name, *(f"{v:.3f}" for v in values), f"{harness.ratio(taken['xentlab'], taken[name]):.3f}"])
    title = (
        f"{options.model} on {source}, batch {options.batch_size}, {device}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {options.repeats} repeats"
    )
    harness.show(title, ("", "s an\nepoch", "least", "most", "xentlab /\nthis"), rows)
    harness.write(options, {"model": options.model, "source": source, "seconds": taken})
    return 0


if __name__ == "__main__":
    sys.exit(main())
