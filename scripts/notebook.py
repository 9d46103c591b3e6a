# %% [markdown]
# # Does the loss matter for my model on my data?
# A notebook in percent format: open it in an editor that knows cells, or run it as it is.
# Figures and tables are written to the folder that is named on its command line, if one is.

# %%
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xentlab

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("xentlab-notebook")
FOLDER.mkdir(parents=True, exist_ok=True)
WHERE = (f"output.root={FOLDER / 'runs'}", "tracking=off")

# %% [markdown]
# ## My data, my model, my loss
# Two rings of points that overlap, a small network, and a cross-entropy that forgives confident mistakes.

# %%
DRAWS = torch.Generator().manual_seed(0)
ANGLE = torch.rand(600, generator=DRAWS) * 2 * torch.pi
RING = torch.arange(600) % 2
RADIUS = 1.0 + RING + 0.35 * torch.randn(600, generator=DRAWS)
POINTS = torch.stack([RADIUS * ANGLE.cos(), RADIUS * ANGLE.sin()], 1).numpy()


class Net(nn.Sequential):
    """Two hidden layers; its sizes are handed to it by their names."""

    def __init__(self, in_features: int, num_classes: int, width: int = 16) -> None:
        super().__init__(
            nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_classes)
        )


def forgiving(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy whose gradient fades where the true class has little probability: `(1 - p^0.7) / 0.7`."""
    return (1 - (-0.7 * F.cross_entropy(logits, target, reduction="none")).exp()) / 0.7


# %% [markdown]
# ## One training

# %%
run = xentlab.train(
    *WHERE, "trainer.epochs=30", "trainer.batch_size=32", dataset=(POINTS, RING.numpy()), model=Net, loss=forgiving
)
run.plot().savefig(FOLDER / "training.png", dpi=120)
print(run.table.round(3))

# %% [markdown]
# ## The comparison
# Every loss is tuned on each seed's validation examples, then meets that seed's test set.

# %%
found = xentlab.compare(
    *WHERE,
    "trainer.epochs=20",
    "trainer.batch_size=32",
    "comparison.final_seeds=8",
    "comparison.tune.optimizer.lr=[0.03,0.1,0.3]",
    dataset=(POINTS, RING.numpy()),
    model=Net,
    losses=["ce", {"forgiving": forgiving}, {"smoothed": nn.CrossEntropyLoss(label_smoothing=0.2)}, "mse"],
)
print(found.table.round(3))

# %%
found.plot().savefig(FOLDER / "differences.png", dpi=120)
found.plot("val/nll").savefig(FOLDER / "convergence.png", dpi=120)
found.verdicts.to_csv(FOLDER / "verdicts.csv", index=False)
print(found.report)
