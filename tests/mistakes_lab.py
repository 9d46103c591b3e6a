"""Losses, models and data of a user who makes mistakes."""

from __future__ import annotations

LOSS = """
import sys
from collections import namedtuple
import numpy as np
import torch, torch.nn.functional as F
from torch import nn
NUMBER = 3
def fine(z, y): return F.cross_entropy(z, y, reduction="none")
def one(z): return z.mean(1)
def kwargs(z, y, **more): return fine(z, y)
def outer(z, y): return (z.max(1, keepdim=True).values - y.float()) ** 2
def column(z, y): return fine(z, y).unsqueeze(1)
def number(z, y): return 3.0
def constant(z, y): return torch.ones(len(z))
def boom(z, y): raise ValueError("temperature too low")
def leaves(z, y): sys.exit(3)
def named_tuple(z, y): return namedtuple("Out", "loss other")(fine(z, y), 0)
def numpy_values(z, y): return np.log(z.numpy())
def nan(z, y): return fine(z, y) * float("nan")
def mean(z, y): return F.cross_entropy(z, y)
def squares(z, y): return (z - y) ** 2
def per_class(z, y): return (z - F.one_hot(y, z.shape[1])) ** 2
def in_place(z, y):
    z -= z.max(1, keepdim=True).values
    return fine(z, y)
class Needs(nn.Module):
    def __init__(self, weight: float):
        super().__init__(); self.weight = weight
    def forward(self, z, y): return self.weight * fine(z, y)
class Binary(nn.Module):
    def forward(self, z, y): return F.binary_cross_entropy_with_logits(z.squeeze(1), y.float(), reduction="none")
def late(z, y):
    if len(z) > 20: raise RuntimeError("batch too large for me")
    return fine(z, y)
def folds(z, y): return fine(z, y) if len(z) < 20 else fine(z, y).unsqueeze(1) + 0 * z
def of_size(z, y): return fine(z, y) if z.shape[1] < 5 else z[:, :3].sum(1) * torch.ones(7)
"""

MODEL = """
import torch
from torch import nn
def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
class fails(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(64, 10)
    def forward(self, x): raise RuntimeError("no forward today")
def number(): return 3
class Refuses(nn.Module):
    def __init__(self, num_classes): raise ValueError("not for me")
class Needs(nn.Module):
    def __init__(self, in_features, num_classes, depth): super().__init__()
class Sized(nn.Sequential):
    def __init__(self, in_features, num_classes, width=3):
        super().__init__(nn.Flatten(), nn.Linear(in_features, width), nn.Linear(width, num_classes))
def flat(in_features, num_classes): return nn.Linear(in_features, num_classes)
def bn(in_features, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))
class strings(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(64, 10)
    def forward(self, x): return "logits"
class no_params(nn.Module):
    def forward(self, x): return x.flatten(1)[:, :10]
class half(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(64, 10).half()
    def forward(self, x): return self.l(x.flatten(1).half())
class tuple_out(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(64, 10)
    def forward(self, x): return self.l(x.flatten(1)), x
def frozen(in_features, num_classes):
    net = nn.Sequential(nn.Flatten(), nn.Linear(in_features, num_classes)); net.requires_grad_(False); return net
class big(no_params):
    def __init__(self): super().__init__(); self.l = nn.Linear(64, 10)
    def forward(self, x):
        if len(x) > 20: raise RuntimeError("too many examples")
        return self.l(x.flatten(1))
class tires(big):
    calls = 0
    def forward(self, x):
        self.calls += self.training
        if self.calls > 5: raise RuntimeError("tired")
        return self.l(x.flatten(1))
class nan_out(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(64, 10)
    def forward(self, x): return self.l(x.flatten(1)) * float("nan")
"""

DATA = """
import torch, numpy as np, pandas as pd
from torch.utils.data import Dataset, IterableDataset
X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)); Y = (X[:, 0] > 0).long()
class Rows(Dataset):
    def __init__(self, count=60): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, i):
        if i >= self.count: raise IndexError(i)
        return X[i], int(Y[i])
class ragged(Rows):
    def __getitem__(self, i): return X[i, :3 + i % 2], int(Y[i])
class breaks(Rows):
    def __getitem__(self, i): raise KeyError("no such file")
class triples(Rows):
    def __getitem__(self, i): return X[i], int(Y[i]), i
class Stream(IterableDataset):
    def __iter__(self): yield X[0], 0
def empty(): return Rows(0)
def one_class(): return X, torch.zeros(60, dtype=torch.long)
def negative(): return X, Y - 1
class words(Rows):
    def __getitem__(self, i): return "a sentence", int(Y[i])
def nan(): x = X.clone(); x[3, 2] = float("nan"); return x, Y
def inf(): x = X.clone(); x[3, 2] = float("inf"); return x, Y
def strings(): return "some/folder"
def number(): return 3
class no_len:
    def __getitem__(self, i): return X[i], int(Y[i])
class late_break(Rows):
    def __getitem__(self, i):
        if i == 40: raise OSError("disk gone")
        return X[i], int(Y[i])
def unequal(): return X, Y[:50]
class dicts(Rows):
    def __getitem__(self, i): return {"a": X[i], "b": int(Y[i])}
def far(): return X, Y + 1000
def two_sources(): return Rows(), Rows()
def few(): return Rows(3)
def lone(): y = Y.clone(); y[0] = 7; return X, y
class none(Rows):
    def __getitem__(self, i): return X[i], None
class mixed(Rows):
    def __getitem__(self, i): return X[i], "cat" if i % 2 else 3
class masks_big(Rows):
    def __getitem__(self, i): return torch.zeros(1, 8, 8), torch.zeros(6, 6, dtype=torch.long)
def frame_missing(): return pd.DataFrame({"a": [1.0, None, 3.0] * 10, "y": ["u", "v", "w"] * 10})
def frame_words(): return pd.DataFrame({"a": [str(i) + "x" for i in range(150)], "y": ["u", "v", "w"] * 50})
def parts_only_test(): return {"test": Rows()}
"""

FILES = {
    "bad_loss": LOSS,
    "bad_model": MODEL,
    "bad_data": DATA,
    "broken_file": "def f(:\n",
    "raising_file": 'raise ValueError("not today")\n',
    "leaving_file": "import sys; sys.exit(4)\n",
}
