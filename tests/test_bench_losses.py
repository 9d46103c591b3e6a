"""The benchmark of the losses runs on small shapes, and counts memory as it is known from the sizes alone."""

from __future__ import annotations

import functools
import json

import bench_losses
import pytest
import torch
import torch.nn.functional as F


def test_table_and_file(capsys, tmp_path):
    file = tmp_path / "bench.json"
    sizes = ["--shapes", "65536x10,8x21x256x256", "--scale", "0.001", "--repeats", "1", "--seconds", "0"]
    which = ["--losses", "ce,custom_ce,dice", "--targets", "index,soft", "--devices", "cpu"]
    assert bench_losses.main([*sizes, *which, "--json", str(file)]) == 0
    assert capsys.readouterr().out.count("F.cross_entropy") == 4
    facts = json.loads(file.read_text())
    cells = {(c["shape"], c["target"], c["loss"]): c for c in facts["cells"]}
    shapes = {"66x10": ("ce", "custom_ce"), "8x21x8x8": ("ce", "custom_ce", "dice")}
    expected = {
        (s, k, n) for s, names in shapes.items() for k in ("index", "soft") for n in ("F.cross_entropy", *names)
    }
    assert set(cells) == expected
    assert all(c["time_ms"] > 0 and c["time_ratio"] > 0 and c["peak_mib"] > 0 for c in cells.values())
    for (shape, kind, name), cell in cells.items():
        if (shape, kind, name) == ("66x10", "index", "ce"):  # few classes are laid along the other axis, 66 as 80
            assert 1.0 < cell["memory_ratio"] < 1.25
        elif name == "F.cross_entropy" or (name == "ce" and kind == "index"):
            assert cell["memory_ratio"] == 1.0
        elif name == "ce":  # on soft targets a log-likelihood of its own
            assert cell["memory_ratio"] < (0.85 if shape == "66x10" else 0.8)


@pytest.mark.parametrize("kind", ["index", "soft"])
def test_peak_is_what_the_tensors_of_a_pass_add_up_to(kind):
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 100, generator=draws, requires_grad=True)
    target = torch.randint(100, (400,), generator=draws) if kind == "index" else torch.rand(400, 100, generator=draws)

    def exponential(z, _):
        return z.exp().sum(1)

    # The exponential itself is kept for the backward pass, whose only other tensor of that size is the gradient.
    size = logits.numel() * 4
    assert 2.0 * size <= bench_losses.peak(exponential, logits, target) <= 2.1 * size
    (custom,) = bench_losses.choose("custom_ce").values()
    own = bench_losses.peak(bench_losses.bound(custom, "multiclass", 100, logits.device), logits, target)
    theirs = bench_losses.peak(functools.partial(F.cross_entropy, reduction="none"), logits, target)
    # Log-probabilities and the gradient; PyTorch holds a gradient of the log-probabilities as well.
    assert 2.0 * size <= own <= 2.2 * size
    assert 3.0 * size <= theirs <= 3.2 * size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--losses", "dise"], "Unknown loss 'dise'. Did you mean 'dice'?"),
        (["--shapes", "8x21x256"], "--shapes must be NxC or NxCxHxW, got 8x21x256."),
    ],
)
def test_mistakes_are_one_sentence(capsys, given, message):
    assert bench_losses.main(given) == 2
    assert message in capsys.readouterr().err
