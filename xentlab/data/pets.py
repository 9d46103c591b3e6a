"""The Oxford-IIIT pets with their masks: found on disk as torchvision lays them out, or downloaded."""

from __future__ import annotations

from typing import Annotated, Literal

from xentlab.data.dataset import Dataset, of_task
from xentlab.data.masks import of_pairs
from xentlab.data.pixels import Remarks
from xentlab.data.small_images import parts_found
from xentlab.schema import Range

_BORDER = 3


@of_task("segmentation")
def oxford_pets(
    *,
    root: str | None = None,
    download: bool = True,
    size: Annotated[int, Range(1, None)] = 128,
    resident: Literal["auto"] | bool = "auto",
) -> Dataset:
    """7,349 photographs of cats and dogs, pet or background in each pixel: inputs uint8 [N, 3, size, size].

    The pixels of the border between them, which the source leaves undecided, count nowhere. Its 3,669 test photographs
    stay test.

    Args:
        root: the folder that holds `oxford-iiit-pet`; None looks in XENTLAB_DATA and in the user's cache.
        download: whether torchvision may download what is missing.
        size: height and width in pixels to which images (bilinear) and masks (nearest) are brought.
        resident: as of `image_folder`; masks are held in any case.

    Raises:
        UserError: the files are missing and cannot be had, or one of them is not what it should be.

    Reference:
        Parkhi, Vedaldi, Zisserman and Jawahar, Cats and Dogs, 2012.
    """
    ways = [{"split": split, "target_types": "segmentation"} for split in ("trainval", "test")]
    found = parts_found("oxford_pets", "OxfordIIITPet", root, download, ways)
    by_part = {
        part: list(zip(one._images, one._segs, strict=True)) for part, one in zip(("train", "test"), found, strict=True)
    }
    classes, folder = ("pet", "background"), found[0]._base_folder
    return of_pairs("oxford_pets", folder, by_part, classes, (), _BORDER, (size, size), resident, Remarks())
