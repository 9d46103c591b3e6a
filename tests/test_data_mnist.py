"""MNIST and Fashion-MNIST: where the files are found, how they arrive, and every way in which they can be spoiled."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import struct
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from xentlab import data
from xentlab.data.images import _FILES
from xentlab.errors import UserError

MNIST = "8c612133961524db6628efbabdc0c43944b0d33aa836e86fee1484217f82d2e1"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision asks a port of this computer at which nobody answers."""
    from torchvision import datasets

    for family in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(family, "mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with four well-formed idx files: all pixels zero (sparse on disk), labels 0..9 in turn."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, shape in _FILES.items():
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
        with (folder / name).open("wb") as file:
            file.write(header)
            if len(shape) == 1:
                file.write(bytes(i % 10 for i in range(shape[0])))
            else:
                file.truncate(len(header) + int(np.prod(shape)))
    return folder


def sentence(caught: pytest.ExceptionInfo[UserError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    return text


@pytest.mark.skipif(
    not Path(os.environ.get("XENTLAB_DATA", "/nowhere"), "MNIST", "raw").is_dir(),
    reason="XENTLAB_DATA names no folder with MNIST",
)
def test_real_mnist() -> None:
    from torchvision import datasets

    dataset = data.mnist(download=False)
    assert tuple(dataset.inputs.shape) == (70_000, 1, 28, 28)
    assert torch.bincount(dataset.targets[:60_000]).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert torch.bincount(dataset.targets[60_000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(dataset.inputs[:60_000].double().mean()) / 255 == pytest.approx(0.1307, abs=5e-5)
    assert dataset.fingerprint == MNIST
    reference = datasets.MNIST(os.environ["XENTLAB_DATA"], train=False)
    assert torch.equal(dataset.inputs[dataset.source_splits["test"], 0], reference.data)
    assert torch.equal(dataset.targets[dataset.source_splits["test"]].long(), reference.targets)


def test_mnist_reads_its_files_and_their_gz(raw: Path, tmp_path: Path) -> None:
    dataset = data.mnist(root=str(tmp_path), download=False)
    assert dataset.targets[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert dataset.source_splits["test"].tolist() == list(range(60_000, 70_000))
    for name in _FILES:
        if "labels" in name:
            (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes(), 1))
            (raw / name).unlink()
    assert data.mnist(root=str(tmp_path), download=False).fingerprint == dataset.fingerprint


def test_mnist_is_found_in_xentlab_data_and_in_the_users_cache(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENTLAB_DATA", str(tmp_path))
    assert len(data.mnist(download=False).inputs) == 70_000
    monkeypatch.setenv("XENTLAB_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "xentlab").mkdir(parents=True)
    (tmp_path / "cache" / "xentlab" / "data").symlink_to(raw.parents[1])
    assert len(data.mnist(download=False).inputs) == 70_000


@pytest.mark.parametrize("name", list(_FILES))
@pytest.mark.parametrize("change", [-1, -5000, 3])
def test_an_idx_file_of_another_length_is_refused(raw: Path, tmp_path: Path, name: str, change: int) -> None:
    size = (raw / name).stat().st_size
    os.truncate(raw / name, size + change)
    with pytest.raises(UserError) as caught:
        data.mnist(root=str(tmp_path), download=False)
    text = sentence(caught)
    assert str(raw / name) in text
    assert f"{size:,} bytes" in text
    assert f"found {size + change:,}" in text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte", b"", "magic number 2051, found 0"),
        ("train-images-idx3-ubyte", struct.pack(">4I", 2049, 60000, 28, 28), "magic number 2051, found 2049"),
        (
            "train-images-idx3-ubyte",
            struct.pack(">4I", 2051, 50000, 28, 28),
            "60000 x 28 x 28 values, found 50000 x 28",
        ),
        ("t10k-images-idx3-ubyte", struct.pack(">4I", 2051, 60000, 28, 28), "10000 x 28 x 28 values, found 60000"),
        ("t10k-labels-idx1-ubyte", struct.pack(">2I", 2049, 9999) + bytes(9999), "10000 values, found 9999"),
        ("t10k-labels-idx1-ubyte", struct.pack(">2I", 2049, 10000) + bytes([17]) * 10000, "labels 0 to 9, found 17"),
        ("train-labels-idx1-ubyte", b"<html>not here</html>", "magic number 2049"),
    ],
)
def test_a_wrong_idx_file_is_refused(raw: Path, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (raw / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        data.mnist(root=str(tmp_path), download=False)
    assert words in sentence(caught)
    assert str(raw / name) in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_broken_gz_is_refused(raw: Path, tmp_path: Path, damage: str) -> None:
    name = "t10k-labels-idx1-ubyte"
    packed = gzip.compress((raw / name).read_bytes(), 1)
    (raw / f"{name}.gz").write_bytes(packed[: len(packed) // 2] if damage == "cut" else b"not gzip at all")
    (raw / name).unlink()
    with pytest.raises(UserError) as caught:
        data.mnist(root=str(tmp_path), download=False)
    assert f"{name}.gz cannot be read to its end" in sentence(caught)


def test_missing_mnist_says_what_was_sought_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        data.fashion_mnist(root=str(tmp_path), download=False)
    text = sentence(caught)
    for part in ("fashion_mnist", str(tmp_path / "FashionMNIST" / "raw"), "dataset.download is false", "dataset.root"):
        assert part in text


def test_one_missing_file_is_named(raw: Path, tmp_path: Path) -> None:
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte is missing there"):
        data.mnist(root=str(tmp_path), download=False)


@pytest.mark.usefixtures("no_network")
def test_a_failing_download_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        data.mnist(root=str(tmp_path))
    assert "downloading failed" in sentence(caught)
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()


def test_a_download_arrives_where_it_is_looked_for(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torchvision import datasets

    mirror, home = tmp_path / "mirror", tmp_path / "home"
    mirror.mkdir()
    sums = []
    for name in _FILES:
        packed = gzip.compress((raw / name).read_bytes(), 1)
        (mirror / f"{name}.gz").write_bytes(packed)
        sums.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", sums)
        dataset = data.mnist(root=str(home))
        server.shutdown()
    assert dataset.fingerprint == data.mnist(root=str(tmp_path), download=False).fingerprint
    assert sorted(p.name for p in (home / "MNIST" / "raw").iterdir()) == sorted(_FILES)
    assert [p.name for p in home.iterdir()] == ["MNIST"]
    capsys.readouterr()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a_file"
    blocked.write_text("")
    monkeypatch.delenv("XENTLAB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with pytest.raises(UserError) as caught:
        data.mnist()
    assert f"{blocked}/xentlab/data cannot be written: set dataset.root" in sentence(caught)


def test_scenes_of_mnist_never_put_its_training_digits_into_test(raw: Path, tmp_path: Path) -> None:
    """Training digits are made white squares and test digits left empty: then only training scenes may have ink."""
    with (raw / "train-images-idx3-ubyte").open("r+b") as file:
        file.seek(16)
        file.write(b"\xff" * (60_000 * 784))
    dataset = data.scenes(source="mnist", root=str(tmp_path), canvas=40, samples=100, download=False)
    inked = dataset.inputs.flatten(1).any(1)
    assert inked[dataset.source_splits["train"]].all()
    assert inked[dataset.source_splits["val"]].all()
    assert not inked[dataset.source_splits["test"]].any()
