"""Augmentations: torchvision's operations under draws of ours, alike for every loss of a seed; masks move along."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import test_data_small_images
import torch
from support import compose_train, small_digits
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from xentlab.data import augment, generator
from xentlab.data.randaugment import _operations, randaugment
from xentlab.train import Fit, prepare

Run = Callable[..., tuple[int, str, str]]
IMAGES = torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6)


def draws() -> torch.Generator:
    return generator(0, "test")


def test_flip_and_crop_are_torchvisions_and_move_masks() -> None:
    mirrored, same = augment.flip(IMAGES, LABELS, draws(), chance=1.0)
    assert torch.equal(mirrored, tv.horizontal_flip(IMAGES))
    assert same is LABELS
    masks = (IMAGES[:, 0] * 255).to(torch.uint8)
    moved, moved_masks = augment.crop_flip(IMAGES, masks, draws(), pad=3)
    again = draws()
    moves, turned = torch.randint(-3, 4, (2, 6, 1), generator=again), torch.rand(6, 1, generator=again) < 0.5
    assert turned.any() and not turned.all()  # noqa: PT018
    for i, (down, across) in enumerate(moves.squeeze(-1).T.tolist()):
        padded = tv.pad(IMAGES[i], [3, 3, 3, 3], padding_mode="edge")
        wanted = tv.crop(padded, 3 + down, 3 + across, 12, 10)
        wanted = tv.horizontal_flip(wanted) if turned[i] else wanted
        assert torch.equal(moved[i], wanted)
        assert torch.equal(moved_masks[i], (wanted[0] * 255).to(torch.uint8))


def test_cutout_hides_a_square_under_the_mean_colour() -> None:
    plain, _ = augment.crop_flip(IMAGES, LABELS, draws())
    cut, _ = augment.cifar(IMAGES, LABELS, draws(), cutout=4)
    hidden = (cut != plain).any(1)
    assert 4 <= int(hidden.flatten(1).sum(1).min()) <= int(hidden.flatten(1).sum(1).max()) == 16
    assert torch.equal(cut, torch.where(hidden.unsqueeze(1), plain.mean((2, 3), keepdim=True), plain))


def test_randaugments_operations_are_torchvisions() -> None:
    reference = v2.RandAugment(magnitude=9)
    table = _operations(9 / 30, 12, 10)
    assert len(table) == len(reference._AUGMENTATION_SPACE) == 14
    for (operate, strength, signed), (name, (values, sign)) in zip(
        table, reference._AUGMENTATION_SPACE.items(), strict=True
    ):
        magnitudes = values(31, 12, 10)
        magnitude = 0.0 if magnitudes is None else float(magnitudes[9])
        assert signed == sign
        wanted = reference._apply_image_or_video_transform(
            IMAGES, name, -magnitude if sign else magnitude, v2.InterpolationMode.NEAREST, {Tensor: None}
        )
        torch.testing.assert_close(operate(IMAGES, -strength if sign else strength), wanted, rtol=1e-5, atol=1e-6)
    changed, _ = randaugment(IMAGES, LABELS, draws(), operations=1)
    assert 0 < int((changed != IMAGES).flatten(1).any(1).sum()) <= 6


def test_mixed_images_have_the_targets_that_they_are_made_of() -> None:
    classes = torch.eye(6)
    marked = classes.view(6, 6, 1, 1).expand(6, 6, 12, 10).contiguous()  # an image that is its class everywhere
    for mix in (augment.mixup, augment.cutmix):
        images, target = mix(marked, classes, draws())
        assert 0 < float(target.max(1).values.min()) < 1
        torch.testing.assert_close(images.mean((2, 3)), target)


@pytest.mark.parametrize("side", [None, 8])
def test_a_part_of_an_image_and_of_its_mask_are_the_same_part(side: int | None) -> None:
    columns, rows = torch.arange(24.0).expand(5, 20, 24), torch.arange(20.0).unsqueeze(1).expand(5, 20, 24)
    images, masks = torch.stack([columns, rows], 1), (24 * rows + columns).long()
    parts, moved = augment.segmentation(images, masks, draws(), brightness=0.0, side=side)
    assert parts.shape[2:] == moved.shape[1:] == ((20, 24) if side is None else (8, 8))
    seen = torch.stack([moved % 24, moved // 24], 1)
    assert float((parts - seen).abs().max()) <= 0.5 + 1e-4
    assert not torch.equal(parts[0], parts[1])


def test_every_loss_of_a_seed_sees_the_same_augmented_batches() -> None:
    def batches(*words: str) -> list[Tensor]:
        config = compose_train("model.hidden=[8]", "augment=crop_flip", *words)
        return [x for x, _ in Fit([prepare(config)], small_digits()).rig.batches.training(slice(0, 1), 1, 16)]

    ce, mse, plain = batches("loss=ce"), batches("loss=mse"), batches("augment=none")
    assert all(torch.equal(a, b) for a, b in zip(ce, mse, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(ce, plain, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(ce, batches("seed=1"), strict=True))


def test_files_of_cifars_format_train_under_their_augmentation(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_data_small_images, "TRAIN", 100)
    test_data_small_images.cifar10(here, monkeypatch)
    words = ("dataset=cifar10", f"dataset.root={here}", "model=convnet", "trainer.batch_size=8", "trainer.epochs=2")
    code, page, errors = run("train", *words, "augment=cifar", "trainer.accumulate=2", "tracking=off")
    assert code == 0, errors
    assert "2 epochs in" in page
    assert list(here.glob("xentlab-runs/trials/*/augmented.png"))


OWN = """
import torch
def noise(inputs, target, generator, *, size: float = 0.1):
    return inputs + size * torch.randn(inputs.shape, generator=generator), target
def wrong(inputs, target, generator):
    return inputs[:1], target
def indices(logits, target):
    return torch.nn.functional.nll_loss(logits.log_softmax(1), target, reduction="none")
def breaks(inputs, target, generator):
    raise ValueError("no luck")
"""
SMALL = ("trainer.epochs=1", "model.hidden=[4]", "tracking=off")


def test_an_own_augmentation_trains_and_sixteen_examples_are_pictured(run: Run, here: Path) -> None:
    from PIL import Image

    (here / "own_augment.py").write_text(OWN)
    assert run("train", "augment._target_=own_augment.noise", "+augment.size=0.2", *SMALL)[0] == 0
    (file,) = here.glob("xentlab-runs/trials/*/augmented.png")
    picture = Image.open(io.BytesIO(file.read_bytes()))
    assert picture.size == (240, 240), "four by four digits of 8 pixels with an edge, six times as large"
    opening = json.loads(next(here.glob("xentlab-runs/trials/*/opening.jsonl")).read_text().splitlines()[0])
    assert "own_augment.noise" in json.dumps(opening)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("augment=mixup", "loss._target_=own_augment.indices"),
            "loss indices has no meaning on augment=mixup: it takes class indices, not distributions, as ce and kl do.",
        ),
        (
            ("augment=cutmix", "dataset=diabetes", "loss=mse"),
            "augment=cutmix has no meaning on a regression dataset: it blends",
        ),
        (
            ("augment=flip", "dataset=diabetes", "loss=mse"),
            "augment=flip is for images, got inputs of shape [10]: augment=none",
        ),
        (("augment=randaugment", "dataset=scenes_small", "model=unet"), "augment=randaugment has no meaning on a seg"),
        (("augment=crop",), "Unknown augment 'crop'. Did you mean 'crop_flip'?"),
        (("augment=flip", "augment.p=1"), "Unknown config key 'augment.p'. Did you mean 'augment.chance'?"),
        (("augment=flip", "augment.chance=2"), "augment.chance must be in [0, 1], got 2."),
        (("augment._target_=own_augment.wrong",), "augment wrong must return inputs and targets like those that it is"),
        (("augment._target_=own_augment.breaks",), "augment breaks on two blank examples failed: ValueError: no luck"),
        (("trainer.accumulate=99",), "trainer.accumulate must be at most 18, the batches of an epoch of 1150 examples"),
        (("schedule.warmup=3 epochs",), "schedule.warmup must be shorter than the training, 1 epochs of 18 steps, got"),
        (("schedule.warmup=3 hours",), "schedule.warmup must be a number in [0, 1) or so many steps or epochs, such"),
        (("trainer.patience=0",), "trainer.patience must be >= 1, got 0."),
        (
            ("trainer.sampling=balanced", "dataset=diabetes", "loss=mse"),
            "trainer.sampling must be shuffle for a regression",
        ),
        (("trainer.window=8",), "trainer.window must be null for a multiclass dataset, got 8."),
        (("trainer.ema=1",), "trainer.ema must be in (0, 1), got 1."),
        (("trainer.decay=norms",), "trainer.decay must be one of all, weights, got 'norms'."),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    run: Run, here: Path, words: tuple[str, ...], sentence: str
) -> None:
    (here / "own_augment.py").write_text(OWN)
    code, out, err = run("train", *SMALL[: 1 if "dataset=scenes_small" in words else 2], "tracking=off", *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (here / "xentlab-runs").exists()
