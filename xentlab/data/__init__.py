"""Datasets: each builder hands back one source as CPU tensors, and `split` says which examples a seed may see.

A builder is `name(*, knobs) -> Dataset` (see `dataset.py` for the contract). It reads or draws the whole source,
checks it before anything is used, and knows nothing of seeds, batches or devices. Its knobs are the source's own; how
the source is split, thinned and disturbed is the same for all and lives in `splits.py`.

To add one: a function here or in a module of its own, and `configs/dataset/<name>.yaml`. Libraries that are slow to
import (torchvision, PIL, scikit-learn) are imported inside the builder.
"""

from xentlab.data.canvas import scenes
from xentlab.data.dataset import Dataset, Split, of_task
from xentlab.data.folders import image_folder
from xentlab.data.images import as_torchvision, digits, fashion_mnist, mnist
from xentlab.data.masks import segmentation_folder
from xentlab.data.pets import oxford_pets
from xentlab.data.quantities import diabetes, regression_synthetic, rotated_digits, sinusoid, uci
from xentlab.data.small_images import cifar10, cifar100, emnist, kmnist, svhn
from xentlab.data.soft import soften, write_soft_targets
from xentlab.data.splits import generator, split
from xentlab.data.synthetic import multilabel_synthetic
from xentlab.data.tables import tabular
from xentlab.data.texts import english, text_file
