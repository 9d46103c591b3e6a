"""Losses of a user, in a folder of their own."""

from __future__ import annotations

import torch

OWN = """
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def element(logits, target):
    return F.cross_entropy(logits, target, reduction="none")


def averages(logits, target):
    return F.cross_entropy(logits, target)


def summed(logits, target):
    return F.cross_entropy(logits, target, reduction="sum")


def outer(logits, target):
    return (logits.max(1, keepdim=True).values - target.float()) ** 2


def column(logits, target):
    return F.cross_entropy(logits, target, reduction="none").unsqueeze(1)


def squares(logits, target):
    return (logits - target) ** 2


def boom(logits, target):
    raise ValueError("my own check: temperature too low")


def leaves(logits, target):
    sys.exit(3)


def number(logits, target):
    return 3.0


def flat(logits, target):
    return (logits.argmax(1) != target).float()


def prints(logits, target):
    print("hello")
    return element(logits, target)


def writes(logits, target):
    os.write(1, b"hello, ")
    os.write(2, b"descriptor")
    return element(logits, target)


def sleeps(logits, target):
    time.sleep(0.3)
    return element(logits, target)


def draws(logits, target):
    return element(logits, target) * (1 + torch.rand(()))


def margins(logits, target):
    signs = 2.0 * F.one_hot(target, logits.shape[1]) - 1.0
    return F.softplus(-signs * logits).sum(1)


def distances(logits, target):
    return ((logits - F.one_hot(target, logits.shape[1])) ** 2).sum(1)


def seeds(logits, target):
    torch.manual_seed(3)
    return element(logits, target)


def loops(logits, target):
    return element(logits, target) * logits.detach().mean().item()


def indices(logits, target):
    return F.nll_loss(torch.log_softmax(logits, 1), target, reduction="none")


def one_hot(logits, target):
    return -(target * torch.log_softmax(logits, 1)).sum(1)


def of_probs(p, target):
    return -p.gather(1, target.unsqueeze(1)).squeeze(1).log()


def of_some_probs(x, target):
    return -x.gather(1, target.unsqueeze(1)).squeeze(1).log()


def of_log_probs(x, target):
    return -x.gather(1, target.unsqueeze(1)).squeeze(1)


def truth_first(y_true, y_pred):
    return F.cross_entropy(y_pred, y_true, reduction="none")


def positional(logits, target, gamma=2.0, mode="plain"):
    return element(logits, target) * gamma * (2.0 if mode == "double" else 1.0)


def keywords(logits, target, *, gamma=2.0, mode="plain", flag=False):
    return element(logits, target) * gamma


class Module(nn.Module):
    def __init__(self, gamma=2.0, *, words="plain"):
        super().__init__()
        if gamma < 0:
            raise ValueError("gamma must not be negative")
        self.gamma = gamma

    def forward(self, logits, target):
        return element(logits, target) * self.gamma


class Reduced(nn.Module):
    def __init__(self, weight: float, reduction="mean"):
        super().__init__()
        self.weight, self.reduction = weight, reduction

    def forward(self, logits, target):
        values = self.weight * element(logits, target)
        return values if self.reduction == "none" else values.mean()


class Channel(nn.Module):
    # As in medical libraries: indices in one channel, and no single values.

    def __init__(self, reduction="mean"):
        super().__init__()
        if reduction == "none":
            raise ValueError("reduction must be mean or sum")

    def forward(self, y_pred, y_true):
        assert y_true.shape[1] == 1
        return F.cross_entropy(y_pred, y_true.squeeze(1))


def with_average(pred, target, average="micro", weight=None, ignore_index=-100):  # as in kornia
    assert average == "micro"
    return (1 - torch.softmax(pred, 1).gather(1, target.unsqueeze(1))).mean()


class Centres(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(num_classes, num_classes))

    def forward(self, x, labels):
        return (x - self.centres[labels]).square().sum(1).mean()


class Learns(nn.Module):
    def __init__(self):
        super().__init__()
        self.heat = nn.Parameter(torch.ones(()))

    def forward(self, logits, target):
        return element(logits * self.heat, target)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, logits, target):
        self.calls += 1
        return element(logits, target) * self.calls
"""


def batch(places: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 4, *places, generator=draws, dtype=torch.float64)
    return logits, torch.randint(4, (5, *places), generator=draws)
