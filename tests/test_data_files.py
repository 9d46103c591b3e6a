"""Datasets read from a user's files: what is read, against other readers, and what is refused, in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xentlab import data
from xentlab.errors import UserError
from xentlab.tasks.classes import counts

CLASSES = ("sky", "road", "car")
CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def picture(file: Path, *, seed: int = 0, size: tuple[int, int] = (10, 8), mode: str = "RGB") -> np.ndarray:
    """Write random pixels, `size` = (width, height), and hand them back."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256 if mode == "RGB" else 3, shape, dtype=np.uint8)
    Image.fromarray(pixels, mode=None).save(file)
    return pixels


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """3 training, 2 validation and 1 test image of 10 x 8 pixels with masks of three classes."""
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for i in range(count):
            picture(tmp_path / part / "images" / f"{part}{i}.png", seed=i)
            picture(tmp_path / part / "masks" / f"{part}{i}.png", seed=i, mode="L")
    return tmp_path


def read_streets(root: Path) -> data.Dataset:
    return data.segmentation_folder(root=str(root), class_names=CLASSES)


# --- segmentation_folder --------------------------------------------------------------------------------------------


def test_segmentation_folder_holds_the_files_pixels(streets: Path) -> None:
    dataset = read_streets(streets)
    assert dataset.task == "segmentation"
    assert tuple(dataset.inputs.shape) == (6, 3, 8, 10)
    assert {k: v.tolist() for k, v in dataset.source_splits.items()} == {"train": [0, 1, 2], "val": [3, 4], "test": [5]}
    files = [
        streets / p / "images" / f"{p}{i}.png" for p, n in (("train", 3), ("val", 2), ("test", 1)) for i in range(n)
    ]
    for index, file in enumerate(files):
        np.testing.assert_array_equal(dataset.inputs[index].permute(1, 2, 0).numpy(), np.array(Image.open(file)))
        mask = np.array(Image.open(file.parents[1] / "masks" / file.name))
        np.testing.assert_array_equal(dataset.targets[index].numpy(), mask)
    assert dataset.fingerprint == read_streets(streets).fingerprint


def test_palette_masks_are_their_indices_and_ignored_pixels_stay(streets: Path) -> None:
    indices = np.array([[0, 1, 2, 255] * 2 + [0, 0]] * 8, dtype=np.uint8)
    mask = Image.fromarray(indices).convert("P")
    mask.putdata(indices.ravel().tolist())
    mask.putpalette([i * 7 % 256 for i in range(768)])
    mask.save(streets / "train" / "masks" / "train0.png")
    dataset = data.segmentation_folder(root=str(streets), class_names=CLASSES, ignore_index=255)
    np.testing.assert_array_equal(dataset.targets[0].numpy(), indices)
    assert dataset.ignore_index == 255
    assert counts(dataset.targets, dataset).sum() == 6 * 80 - 16


def test_resizing_keeps_masks_to_class_indices(streets: Path) -> None:
    picture(streets / "train" / "images" / "large.jpg", size=(40, 32))
    picture(streets / "train" / "masks" / "large.png", size=(40, 32), mode="L")
    dataset = data.segmentation_folder(root=str(streets), class_names=CLASSES, height=16, width=20)
    assert tuple(dataset.inputs.shape) == (7, 3, 16, 20)
    assert tuple(dataset.targets.shape) == (7, 16, 20)
    assert dataset.targets.max() == 2
    original = torch.from_numpy(np.array(Image.open(streets / "train" / "masks" / "train0.png")))
    assert torch.equal(dataset.targets[1], original.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_classes_txt_names_the_classes(streets: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.class_names must list the classes"):
        data.segmentation_folder(root=str(streets))
    (streets / "classes.txt").write_text("sky\nroad\ncar\n")
    assert data.segmentation_folder(root=str(streets)).class_names == CLASSES


def test_a_folder_with_train_alone_is_carved_by_seed(streets: Path) -> None:
    for part in ("val", "test"):
        (streets / part).rename(streets / f"not_{part}")
    for i in range(3, 10):
        picture(streets / "train" / "images" / f"more{i}.png", seed=i)
        picture(streets / "train" / "masks" / f"more{i}.png", seed=i, mode="L")
    dataset = read_streets(streets)
    assert list(dataset.source_splits) == ["train"]
    s = data.split(dataset, 0)
    assert (len(s.train), len(s.val), len(s.test)) == (6, 2, 2)


def image_without_mask(root: Path) -> str:
    (root / "val" / "masks" / "val1.png").unlink()
    return f"{root}/val/images/val1.png must have a mask {root}/val/masks/val1.png, found none."


def mask_without_image(root: Path) -> str:
    (root / "val" / "images" / "val1.png").unlink()
    return f"{root}/val/masks/val1.png must have an image of the same stem in {root}/val/images, found none."


def mask_beyond_the_classes(root: Path) -> str:
    file = root / "train" / "masks" / "train2.png"
    mask = np.array(Image.open(file))
    mask[0, :5] = 7
    Image.fromarray(mask).save(file)
    return f"{file} must hold class indices 0 to 2 (3 classes), found 7 in 5 of its 80 pixels."


def mask_of_sixteen_bits(root: Path) -> str:
    file = root / "train" / "masks" / "train2.png"
    Image.fromarray(np.full((8, 10), 256, dtype=np.uint16)).save(file)
    return f"{file} must hold class indices 0 to 2 (3 classes), found 256 in 80 of its 80 pixels."


def mask_in_colour(root: Path) -> str:
    file = root / "train" / "masks" / "train2.png"
    picture(file)
    return f"{file} holds colours, so dataset.colors must say the colour of each class"


def mask_as_jpeg(root: Path) -> str:
    file = root / "train" / "masks" / "train2.png"
    file.rename(file.with_suffix(".jpg"))
    return f"{file.with_suffix('.jpg')} must be a PNG file"


def mask_of_another_size(root: Path) -> str:
    file = root / "train" / "masks" / "train2.png"
    picture(file, size=(9, 8), mode="L")
    return f"{file} must be as large as its image (10 x 8 pixels), found 9 x 8 pixels."


def image_of_another_size(root: Path) -> str:
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        picture(root / "test" / kind / "test0.png", size=(12, 8), mode=mode)
    return f"{root}/test/images/test0.png must be as large as the first image (10 x 8 pixels), found 12 x 8 pixels"


def image_cut_short(root: Path) -> str:
    file = root / "train" / "images" / "train1.png"
    os.truncate(file, file.stat().st_size // 2)
    return f"{file} cannot be read as an image ("


def image_that_is_text(root: Path) -> str:
    file = root / "train" / "images" / "train0.png"
    file.write_text("not an image")
    return f"{file} cannot be read as an image ("


def two_images_of_one_stem(root: Path) -> str:
    picture(root / "train" / "images" / "train0.jpg")
    return "train0.png and train0.jpg must have different stems: which one counts?"


def no_masks_folder(root: Path) -> str:
    (root / "val" / "masks").rename(root / "val" / "painted")
    return f"{root}/val must hold a folder of images (images, image, imgs, img, jpegimages) and one of masks"


def no_images(root: Path) -> str:
    for file in (root / "test" / "images").iterdir():
        file.rename(file.with_suffix(".txt"))
    return f"{root}/test/images must hold images, found test0.txt"


def no_train_folder(root: Path) -> str:
    (root / "train").rename(root / "first")
    return f"{root} must hold a folder train beside first, test, val."


@pytest.mark.parametrize(
    "spoil",
    [
        image_without_mask, mask_without_image, mask_beyond_the_classes, mask_of_sixteen_bits, mask_in_colour,
        mask_as_jpeg, mask_of_another_size, image_of_another_size, image_cut_short, image_that_is_text,
        two_images_of_one_stem, no_masks_folder, no_images, no_train_folder,
    ],
)  # fmt: skip
def test_a_spoiled_folder_is_refused_in_one_sentence(streets: Path, spoil: Callable[[Path], str]) -> None:
    words = spoil(streets)
    with pytest.raises(UserError) as caught:
        read_streets(streets)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value)[-1] in ".?"


def test_missing_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dataset.root must be a folder that exists, got .*/nothing"):
        data.segmentation_folder(root=str(tmp_path / "nothing"), class_names=CLASSES)
    monkeypatch.setenv("XENTLAB_DATA", str(tmp_path))
    with pytest.raises(UserError, match=rf"Dataset 'camvid' was looked for as {tmp_path}/camvid and .*dataset.root"):
        data.segmentation_folder(name="camvid", class_names=CLASSES)
    with pytest.raises(UserError, match=r"dataset.height and dataset.width must be given together, got 4 and None"):
        data.segmentation_folder(root=str(tmp_path), class_names=CLASSES, height=4)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(os.environ.get("XENTLAB_DATA", "/nowhere"), "camvid").is_dir(),
    reason="XENTLAB_DATA names no folder with camvid",
)
def test_real_camvid() -> None:
    dataset = data.segmentation_folder(name="camvid", class_names=CAMVID, ignore_index=11)
    assert tuple(dataset.inputs.shape) == (701, 3, 180, 240)
    assert {k: len(v) for k, v in dataset.source_splits.items()} == {"train": 367, "val": 101, "test": 233}
    found = counts(dataset.targets, dataset).tolist()
    assert found == [4762065, 7286005, 299133, 8918937, 2023971, 3381819, 325973, 432587, 1406151, 193376, 161913]
    assert int((dataset.targets == 11).sum()) == 1091270
    s = data.split(dataset, 0)
    assert torch.equal(s.train, dataset.source_splits["train"])


# --- image_folder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    for split, count in (("train", 4), ("test", 2)):
        for label in ("cat", "dog", "Ant"):
            for i in range(count):
                deeper = "more" if i == 1 else "."
                picture(tmp_path / split / label / deeper / f"{i}.png", seed=len(label) + i, size=(12, 8))
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_image_folder_is_torchvisions(animals: Path, fit: str) -> None:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    dataset = data.image_folder(root=str(animals), size=8, fit=fit)
    steps = [transforms.CenterCrop(8)] if fit == "crop" else [transforms.Resize((8, 8))]
    position = 0
    for split in ("train", "test"):
        reference = ImageFolder(str(animals / split), transforms.Compose([*steps, transforms.PILToTensor()]))
        assert dataset.class_names == tuple(reference.classes)
        assert len(dataset.source_splits[split]) == len(reference)
        found = [(dataset.inputs[i], int(dataset.targets[i])) for i in dataset.source_splits[split].tolist()]
        wanted = sorted(((x.numpy().tobytes(), y) for x, y in reference), key=lambda pair: (pair[1], pair[0]))
        assert sorted(((x.numpy().tobytes(), y) for x, y in found), key=lambda pair: (pair[1], pair[0])) == wanted
        position += len(reference)
    assert position == len(dataset.inputs) == 18


def test_image_folder_without_splits_and_in_grey(animals: Path) -> None:
    dataset = data.image_folder(root=str(animals / "train"), size=6, grayscale=True)
    assert tuple(dataset.inputs.shape) == (12, 1, 6, 6)
    assert dataset.source_splits == {}
    assert len(data.split(dataset, 0, val_fraction=0.3, test_fraction=0.3).train) > 0


def test_spoiled_image_folders(animals: Path) -> None:
    picture(animals / "test" / "fox" / "0.png")
    with pytest.raises(UserError, match=r"test/fox must be a class of the training folder, which has Ant, cat, dog"):
        data.image_folder(root=str(animals))
    (animals / "train" / "eel").mkdir()
    noted = data.image_folder(root=str(animals / "train"), size=6)
    assert noted.class_names == ("Ant", "cat", "dog")
    assert "without an image, left out: train/eel" in noted.notes
    (animals / "train" / "dog" / "0.png").write_bytes(b"\x89PNG")
    (animals / "train" / "eel").rmdir()
    with pytest.raises(UserError, match=r"dog/0.png cannot be read as an image"):
        data.image_folder(root=str(animals / "train"))
    with pytest.raises(UserError, match=r"train/cat/more must hold one folder of images per class, found 1.png"):
        data.image_folder(root=str(animals / "train" / "cat" / "more"))
