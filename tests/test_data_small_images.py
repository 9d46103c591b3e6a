"""torchvision's small sets: tiny files in the same formats, found where data lies, downloaded, or refused."""

from __future__ import annotations

import functools
import hashlib
import http.server
import pickle
import struct
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from xentlab import data
from xentlab.errors import UserError

TRAIN, TEST = 20, 10
DRAWS = np.random.default_rng(0)
Checks = pytest.MonkeyPatch


def batch(file: Path, count: int, key: str, classes: int) -> str:
    images = DRAWS.integers(0, 256, (count, 3072), dtype=np.uint8)
    entry = {"data": images, key: [i % classes for i in range(count)]}
    return write(file, entry)


def write(file: Path, entry: object) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(entry))
    return hashlib.md5(file.read_bytes()).hexdigest()


def cifar10(root: Path, checks: Checks) -> None:
    folder = root / "cifar-10-batches-py"
    parts = [[f"data_batch_{k}", batch(folder / f"data_batch_{k}", TRAIN // 5, "labels", 10)] for k in range(1, 6)]
    checks.setattr(datasets.CIFAR10, "train_list", parts)
    checks.setattr(datasets.CIFAR10, "test_list", [["test_batch", batch(folder / "test_batch", TEST, "labels", 10)]])
    md5 = write(folder / "batches.meta", {"label_names": [f"thing{k}" for k in range(10)]})
    checks.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})


def cifar100(root: Path, checks: Checks) -> None:
    folder = root / "cifar-100-python"
    for part, count in (("train", TRAIN), ("test", TEST)):
        checks.setattr(datasets.CIFAR100, f"{part}_list", [[part, batch(folder / part, count, "fine_labels", 100)]])
    md5 = write(folder / "meta", {"fine_label_names": [f"thing{k}" for k in range(100)]})
    checks.setattr(datasets.CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5})


def svhn(root: Path, checks: Checks) -> None:
    known = {}
    for part, count in (("train", TRAIN), ("test", TEST)):
        file = root / f"{part}_32x32.mat"
        labels = np.array([[1 + i % 10] for i in range(count)], dtype=np.uint8)  # 10 stands for the digit 0
        scipy.io.savemat(file, {"X": DRAWS.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels})
        known[part] = ["http://127.0.0.1:9/", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    checks.setattr(datasets.SVHN, "split_list", known)


def idx(folder: Path, prefix: str, count: int, classes: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = DRAWS.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = bytes(first + i % classes for i in range(count))
    (folder / f"{prefix}images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + images.tobytes())
    (folder / f"{prefix}labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)


def kmnist(root: Path, checks: Checks) -> None:  # noqa: ARG001
    idx(root / "KMNIST" / "raw", "train-", TRAIN, 10)
    idx(root / "KMNIST" / "raw", "t10k-", TEST, 10)


def emnist(root: Path, checks: Checks) -> None:  # noqa: ARG001
    for part, classes, first in (("balanced", 47, 0), ("letters", 26, 1)):
        idx(root / "EMNIST" / "raw", f"emnist-{part}-train-", TRAIN, classes, first)
        idx(root / "EMNIST" / "raw", f"emnist-{part}-test-", TEST, classes, first)


@pytest.mark.parametrize(
    ("write_files", "shape", "classes", "names"),
    [
        (cifar10, (3, 32, 32), 10, ("thing0", "thing1")),
        (cifar100, (3, 32, 32), 100, ("thing0", "thing1")),
        (svhn, (3, 32, 32), 10, ("0", "1")),
        (kmnist, (1, 28, 28), 10, ("o", "ki")),
        (emnist, (1, 28, 28), 47, ("0", "1")),
    ],
)
def test_tiny_files_are_read_as_torchvision_reads_them(
    write_files: Callable[[Path, Checks], None], shape: tuple[int, ...], classes: int, names: tuple[str, ...],
    tmp_path: Path, monkeypatch: Checks,
) -> None:  # fmt: skip
    write_files(tmp_path, monkeypatch)
    monkeypatch.setenv("XENTLAB_DATA", str(tmp_path))
    read = getattr(data, write_files.__name__)(download=False)
    assert (read.input_shape, len(read.inputs), read.num_classes) == (shape, TRAIN + TEST, classes)
    assert read.class_names[:2] == names
    assert (read.inputs.dtype, read.scale) == (torch.uint8, 1 / 255)
    assert read.source_splits["test"].tolist() == list(range(TRAIN, TRAIN + TEST))
    source = getattr(datasets, write_files.__name__.upper())
    ways = {"svhn": {"split": "test"}, "emnist": {"split": "balanced", "train": False}}
    reference = source(tmp_path, **ways.get(write_files.__name__, {"train": False}))
    picture = torch.from_numpy(np.array(reference[3][0]))
    picture = picture.permute(2, 0, 1) if picture.ndim == 3 else picture.unsqueeze(0)
    if write_files is emnist:  # whose files lie on their side
        picture = picture.transpose(1, 2)
    assert torch.equal(read.inputs[TRAIN + 3], picture)
    assert int(read.targets[TRAIN + 3]) == reference[3][1]
    assert getattr(data, write_files.__name__)(root=str(tmp_path)).fingerprint == read.fingerprint


def test_the_letters_count_from_nought(tmp_path: Path, monkeypatch: Checks) -> None:
    emnist(tmp_path, monkeypatch)
    read = data.emnist(root=str(tmp_path), part="letters", download=False)
    assert (read.class_names[0], read.num_classes, read.targets[:3].tolist()) == ("a", 26, [0, 1, 2])


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torchvision unpacks so
def test_what_is_missing_is_downloaded(tmp_path: Path, monkeypatch: Checks) -> None:
    cifar10(tmp_path / "made", monkeypatch)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    root = tmp_path / "here"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        try:
            assert len(data.cifar10(root=str(root)).inputs) == TRAIN + TEST
        finally:
            server.shutdown()
            thread.join()
    assert (root / "cifar-10-batches-py" / "test_batch").is_file()


def test_what_is_nowhere_or_damaged_is_one_sentence(tmp_path: Path, monkeypatch: Checks) -> None:
    with pytest.raises(UserError, match=r"were looked for in .* and not found, or are damaged, and dataset.download"):
        data.svhn(root=str(tmp_path), download=False)
    svhn(tmp_path, monkeypatch)
    (tmp_path / "test_32x32.mat").write_bytes(b"no")
    with pytest.raises(UserError, match="and downloading failed"):
        data.svhn(root=str(tmp_path))
    emnist(tmp_path, monkeypatch)
    file = tmp_path / "EMNIST" / "raw" / "emnist-balanced-test-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"The files of emnist in .* cannot be read \(.*\): get them anew\."):
        data.emnist(root=str(tmp_path))


def pets(root: Path) -> None:
    """Photographs of three sizes, each with a square pet (1) on its background (2), a border (3) between them."""
    folder = root / "oxford-iiit-pet"
    for sub in ("images", "annotations/trimaps"):
        (folder / sub).mkdir(parents=True)
    for part, count in (("trainval", 12), ("test", 4)):
        names = [f"Abyssinian_{part}_{k}" for k in range(count)]
        lines = "".join(f"{name} 1 1 1\n" for name in names)
        (folder / "annotations" / f"{part}.txt").write_text(lines)
        for k, name in enumerate(names):
            trimap = np.full((20 + k % 3, 24), 2, dtype=np.uint8)
            trimap[4:16, 4:16], trimap[6:14, 6:14] = 3, 1
            image = np.where(trimap[..., None] == 1, [220, 160, 60], [40, 60, 90]) + DRAWS.integers(0, 30, (3,))
            Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{name}.jpg")
            Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{name}.png")


def test_pets_train_on_crops_of_photographs_of_many_sizes(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    pets(tmp_path)
    held, streamed = (data.oxford_pets(root=str(tmp_path), size=24, resident=how) for how in (True, False))
    assert held.inputs.shape == (16, 3, 24, 24)
    assert held.class_names == ("pet", "background")
    assert held.ignore_index == 3
    assert held.targets.unique().tolist() == [0, 1, 3]
    assert held.source_splits["test"].tolist() == [12, 13, 14, 15]
    assert streamed.stream is not None
    assert torch.equal(streamed.stream.gather(torch.arange(16)), held.inputs)
    crops = (
        "model=unet",
        "model.width=2",
        "model.depth=1",
        "augment=segmentation",
        "augment.side=16",
        "trainer.epochs=2",
        "trainer.batch_size=4",
        "tracking=off",
    )
    code, out, err = run("train", "dataset=oxford_pets", f"dataset.root={tmp_path}", "dataset.size=24", *crops)
    assert code == 0, err
    assert "2 epochs in" in out
    (tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt").unlink()
    with pytest.raises(
        UserError, match=r"^The files of oxford_pets in .* cannot be read \(.*test\.txt.*: get them anew"
    ):
        data.oxford_pets(root=str(tmp_path))
