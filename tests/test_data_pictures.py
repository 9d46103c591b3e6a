"""Folders of images and masks in the shape of what people really have: read rightly and said, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xentlab import data
from xentlab.errors import UserError


def picture(file: Path, values: Any = None, **how: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8) if values is None else values
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(file, **how)


def classes(root: Path, *, suffix: str = ".png") -> None:
    for label in ("cat", "dog"):
        for i in range(3):
            picture(root / label / f"{i}{suffix}")


def upright(root: Path) -> None:
    """A photograph that its camera stored lying: its left half is white, its upper half is so as it is seen."""
    classes(root)
    lying = np.zeros((8, 16, 3), dtype=np.uint8)
    lying[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(root / "cat" / "z.jpg", lying, exif=exif)


def mirrored(root: Path) -> None:
    classes(root)
    exif = Image.Exif()
    exif[0x0112] = 2
    picture(root / "cat" / "z.jpg", exif=exif)
    picture(root / "dog" / "z.tiff", exif=exif)


def many_suffixes(root: Path) -> None:
    classes(root, suffix=".JPG")
    for suffix in (".webp", ".bmp", ".tiff", ".gif", ".ppm"):
        picture(root / "cat" / f"x{suffix}")
    picture(root / "dog" / "x.jfif", format="JPEG")


def twins(root: Path) -> None:
    """One image in both classes of the training part, and one of it in the test part again."""
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            for i in range(3):
                picture(root / part / label / f"{i}.png", draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    shutil.copy(root / "train" / "cat" / "1.png", root / "train" / "dog" / "9.png")
    shutil.copy(root / "train" / "cat" / "2.png", root / "test" / "cat" / "9.png")


def unreadable(root: Path) -> None:
    classes(root)
    (root / "cat" / "x.heic").write_bytes(b"abc")
    (root / "cat" / "x.svg").write_text("<svg/>")


def checkpoints(root: Path) -> None:
    classes(root)
    classes(root / ".ipynb_checkpoints")
    classes(root / "cat" / ".ipynb_checkpoints")
    classes(root / "__MACOSX")


def of_cameras(root: Path) -> None:
    classes(root)
    draws = np.random.default_rng(1)
    picture(root / "cat" / "u16.tiff", draws.integers(0, 65536, (8, 8), dtype=np.uint16))
    picture(root / "cat" / "float.tiff", draws.random((8, 8)).astype(np.float32))
    picture(root / "cat" / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))
    picture(root / "cat" / "clear.png", Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    picture(root / "cat" / "palette.gif", Image.new("P", (8, 8), 3))


def splits(*names: str) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for name in names:
            classes(root / name)

    return build


def flat(root: Path) -> None:
    for label in ("cat", "dog"):
        picture(root / f"{label}.0.jpg")


def empty_class(root: Path) -> None:
    classes(root)
    (root / "fox").mkdir()


def linked_to_nowhere(root: Path) -> None:
    classes(root)
    (root / "cat" / "x.png").symlink_to(root / "gone.png")


def stray(root: Path) -> None:
    classes(root)
    picture(root / "x.png")
    picture(root / "@eaDir" / "x.png")
    picture(root / "dog" / "puppies" / "x.png")


def below_classes(*names: str) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for name in names:
            classes(root / "cat" / name)
            classes(root / "dog" / name)

    return build


FOLDERS: list[tuple[str, Callable[[Path], None], str]] = [
    ("EXIF, turned", upright, "1 images are turned as their EXIF orientation says"),
    ("EXIF, mirrored", mirrored, "2 images are turned as their EXIF orientation says"),
    ("suffixes", many_suffixes, "12 images of 2 classes: cat 8, dog 4"),
    ("not read", unreadable, "2 files in cat are no images and were not read: .heic, .svg"),
    ("checkpoints", checkpoints, "6 images in hidden folders were not read"),
    ("cameras", of_cameras, "1 images have 16 bits: scaled to 8; 1 images hold floats in [0, 1]: scaled to 8 bits"),
    ("caps", splits("Train", "VALIDATION", "Testing"), "train Train, val VALIDATION, test Testing"),
    ("dev", splits("training", "dev"), "splits recognised by their names: train training, val dev"),
    ("empty class", empty_class, "without an image, left out: root/fox"),
    ("like splits", splits("seg_train", "seg_test"), "! found seg_test, seg_train: name them so"),
    ("a set of another name", splits("trainval", "test"), "! must hold a folder train beside test, trainval"),
    ("splits below classes", below_classes("train", "test"), "! in which folders test, train would be one"),
    ("folds", below_classes("a", "b"), "! which of them are the classes?"),
    ("stray", stray, "files beside the folders of classes, not read: x.png; folders inside classes, taken as part"),
    ("link to nowhere", linked_to_nowhere, "! x.png cannot be read as an image"),
    ("test alone", splits("test"), "! must hold a folder train beside test"),
    ("twins", twins, "classes: train/cat/1.png and train/dog/9.png; the same image in two splits: train/cat/2.png and"),
    ("flat", flat, "! must hold one folder of images per class, found cat.0.jpg, dog.0.jpg"),
]


@pytest.mark.parametrize(("build", "said"), [row[1:] for row in FOLDERS], ids=[row[0] for row in FOLDERS])
def test_a_public_folder_is_read_and_said_or_refused(tmp_path: Path, build: Callable[[Path], None], said: str) -> None:
    root = tmp_path / "root"
    build(root)
    if said.startswith("! "):
        with pytest.raises(UserError) as caught:
            data.image_folder(root=str(root), size=8)
        assert said[2:] in str(caught.value)
        return
    read = data.image_folder(root=str(root), size=8)
    assert read.class_names == ("cat", "dog")
    assert said in "; ".join(read.notes)


def test_pixels_are_what_one_sees(tmp_path: Path) -> None:
    upright(tmp_path / "a")
    read = data.image_folder(root=str(tmp_path / "a"), size=8, fit="stretch")
    photo = read.inputs[3].double()  # of JPEG, so not exactly
    assert photo[:, :3].min() > 240
    assert photo[:, 5:].max() < 15
    of_cameras(tmp_path / "b")
    clear, cmyk, float_, palette, u16 = data.image_folder(root=str(tmp_path / "b"), size=8).inputs[3:8]
    assert clear.unique().tolist() == [255]
    assert (cmyk[0] > 200).all() and (cmyk[1:] < 80).all()  # noqa: PT018
    with Image.open(tmp_path / "b" / "cat" / "u16.tiff") as image:
        np.testing.assert_array_equal(u16[0], np.round(np.asarray(image) / 257.0))
    with Image.open(tmp_path / "b" / "cat" / "float.tiff") as image:
        np.testing.assert_array_equal(float_[0], np.round(np.asarray(image) * np.float32(255)))
    assert len(palette.unique()) <= 3


# --- masks: how they are drawn, the list of classes, the classes found, one clause ----------------------------------

DRAWS = np.random.default_rng(2).integers(0, 3, (4, 8, 8))
RGB = np.array([[128, 0, 0], [0, 128, 0], [0, 0, 128]], dtype=np.uint8)


def of(values: list[int]) -> Callable[[int], Image.Image]:
    return lambda i: Image.fromarray(np.array(values, dtype=np.uint8)[DRAWS[i]])


def palette(i: int) -> Image.Image:
    image = Image.new("P", (8, 8))
    image.putdata(np.array([0, 1, 255])[DRAWS[i]].ravel().tolist())
    image.putpalette([k * 5 % 256 for k in range(768)])
    return image


def shades(i: int) -> Image.Image:
    return Image.fromarray(RGB[DRAWS[i]])


MASKS: list[tuple[str, Callable[[int], Image.Image], str, str, str]] = [
    ("indices", of([0, 1, 2]), "sky\nroad sign # with a post\ncar\n", "sky|road sign|car", "4 images with masks"),
    ("palette, border", palette, "\ufeffbackground\ncat\n", "background|cat", "mask value 255 counts nowhere"),
    ("0 and 255", of([0, 255, 255]), "", "background|foreground", "masks of 0 and 255: classes 0 and 1"),
    ("one bit", lambda i: of([0, 255, 255])(i).convert("1"), "", "background|foreground", "classes 0 and 1"),
    ("grey in RGB", lambda i: of([0, 255, 255])(i).convert("RGB"), "", "background|foreground", "three equal channels"),
    ("from one", of([1, 2, 3]), "1: a\n2: b c\n3: d\n", "a|b c|d", "masks count their classes from one: 1 is a"),
    ("from one, with a border", of([1, 2, 255]), "a\nb\n", "a|b", "counts nowhere (ignored); masks count"),
    ("from one, 0 is other", of([0, 1, 2]), "a\nb\n", "!", "is 0 a class without a name, or dataset.ignore_index=0?"),
    ("of one name", of([0, 1, 1]), "a\na\n", "!", "must be different from each other, got a more than once"),
    ("table of CVAT", shades, "# label:color_rgb:parts:actions\na:128,0,0::\nb:0,128,0::\nc:0,0,128::\n", "a|b|c",
     "#800000 for a"),
    ("table of numbers", shades, "name,r,g,b\nsky,128,0,0\nroad,0,128,0\ncar,0,0,128\n", "sky|road|car",
     "#800000 for sky"),
    ("table before", shades, "128 0 0\tsky\n0 128 0\tthe road\n0 0 128\tcar\n", "sky|the road|car", "from classes.txt"),
    ("table of hex", shades, "sky #800000\nroad #008000\ncar #000080\n", "sky|road|car", "from classes.txt"),
    ("16 bits", lambda i: Image.fromarray(DRAWS[i].astype(np.uint16)), "a\nb\nc\n", "a|b|c", "4 images with masks"),
    ("colours alone", shades, "a\nb\nc\n", "!", "holds colours, so dataset.colors must say the colour of each class"),
    ("shades of grey", of([0, 85, 170]), "a\nb\nc\n", "!", "must hold class indices 0 to 2 (3 classes), found 85"),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "listing", "classes", "said"), [row[1:] for row in MASKS], ids=[r[0] for r in MASKS])
def test_masks_as_people_draw_them(
    tmp_path: Path, draw: Callable[[int], Image.Image], listing: str, classes: str, said: str
) -> None:
    for i in range(4):
        picture(tmp_path / "train" / "images" / f"{i}.jpg")
        picture(tmp_path / "train" / "masks" / f"{i}.png", draw(i))
    if listing:
        (tmp_path / "classes.txt").write_text(listing)
    if classes == "!":
        with pytest.raises(UserError) as caught:
            data.segmentation_folder(root=str(tmp_path))
        assert said in str(caught.value)
        return
    read = data.segmentation_folder(root=str(tmp_path))
    assert read.class_names == tuple(classes.split("|"))
    assert said in "; ".join(read.notes)
    wanted = DRAWS if len(read.class_names) == 3 else np.minimum(DRAWS, 1)
    if read.ignore_index == 255:
        wanted = np.array([0, 1, 255])[DRAWS]
    np.testing.assert_array_equal(read.targets.numpy(), wanted)


@pytest.mark.parametrize(
    ("images", "masks", "end", "said"),
    [
        ("train/Images", "train/Masks", "", "4 images with masks"),
        ("train/imgs", "train/annotations", "_mask", "masks are called as their images, with _mask behind"),
        ("images", "labels", "", "4 images with masks"),
    ],
)
def test_folders_of_masks_as_people_call_them(tmp_path: Path, images: str, masks: str, end: str, said: str) -> None:
    for i in range(4):
        picture(tmp_path / images / f"{i}.jpg")
        picture(tmp_path / masks / f"{i}{end}.png", of([0, 1, 2])(i))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    read = data.segmentation_folder(root=str(tmp_path))
    np.testing.assert_array_equal(read.targets.numpy(), DRAWS)
    assert said in "; ".join(read.notes)


def test_a_first_class_that_counts_nowhere_is_not_the_first_of_the_others(tmp_path: Path) -> None:
    for i in range(4):
        for layout, file in (("images", f"{i}.jpg"), ("masks", f"{i}.png")):
            picture(tmp_path / layout / "train" / file, of([0, 1, 2])(i) if layout == "masks" else None)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    read = data.segmentation_folder(root=str(tmp_path), ignore_index=0)
    np.testing.assert_array_equal(read.targets.numpy(), np.array([255, 0, 1])[DRAWS])
    assert read.ignore_index == 255


def test_image_and_mask_are_turned_alike(tmp_path: Path) -> None:
    lying = np.zeros((8, 16, 3), dtype=np.uint8)
    lying[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "train" / "images" / "a.jpg", lying, exif=exif)
    picture(tmp_path / "train" / "masks" / "a.png", (lying[..., 0] // 255).astype(np.uint8))
    read = data.segmentation_folder(root=str(tmp_path), class_names=("dark", "light"))
    assert tuple(read.targets.shape) == (1, 16, 8)
    np.testing.assert_array_equal(read.targets[0].numpy() == 1, read.inputs[0, 0].numpy() > 128)
