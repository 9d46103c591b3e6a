"""Real small file systems that are full or read-only: one sentence, exit code 1, nothing lost, and it goes on after."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_lab import command

from xentlab.journal import Records

SMALL = (
    "trainer.epochs=3", "trainer.checkpoint_every=1", "model.hidden=[4]", "dataset.train_fraction=0.2", "tracking=off",
)  # fmt: skip
COMPARE = (
    "compare", *SMALL, "comparison.losses=[ce,mse]", "comparison.tune.optimizer.lr=[0.1]", "comparison.final_seeds=2",
    "comparison.extensions=0",
)  # fmt: skip
SAFE = "; all that the journal holds is safe, and the same command goes on from there once it can be written."


def mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)):
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left: int) -> Path:
    """A file that leaves so many bytes."""
    found = os.statvfs(place)
    filler = place / "filler"
    with open(filler, "wb") as file:
        file.write(bytes(found.f_bavail * found.f_frsize - left))
    return filler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left", "words"),
    [(0, ("train", *SMALL)), (12_000, ("train", "-m", *SMALL, "seed=0,1")), (12_000, COMPARE), (60_000, COMPARE)],
    ids=["t-0", "m-12000", "c-12000", "c-60000"],
)
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    small: Path, left: int, words: tuple[str, ...]
) -> None:
    filler = fill(small, left)
    done = command(small, *words)
    if left < 60_000 or done.returncode:
        assert done.returncode == 1, done.stderr
        assert f" cannot be written any more: the disk is full{SAFE}" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    filler.unlink()
    assert command(small, *words).returncode == 0
    records = Records(small / "xentlab-runs")
    records.update()
    assert records.loss() is None
    finished = [t.signature for t in records.trials.values() if t.status == "finished"]
    assert len(finished) == len(set(finished)) > 0


@pytest.mark.slow
def test_what_is_read_only_is_looked_at_and_not_written(small: Path) -> None:
    assert command(small, *COMPARE).returncode == 0
    assert mount("-o", "remount,ro", str(small))
    for words in (("train", *SMALL), (*COMPARE, "comparison.final_seeds=3"), ("report", "quickstart")):
        done = command(small, *words)
        assert done.returncode == 1, done.stderr
        assert f" cannot be written any more: it is read-only{SAFE}" in done.stderr
        *laid, _ = done.stderr.strip().splitlines()
        assert not laid or (words[0] == "report" and " laid out " in laid[0])
    for words in (("report", "quickstart", "--format", "md"), ("compare", "--dry-run", *COMPARE[1:])):
        assert command(small, *words).returncode == 0


@pytest.fixture
def rationed(tmp_path: Path) -> Iterator[Path]:
    """A folder of a btrfs that may hold 3 MiB."""
    place, image = tmp_path / "mounted", tmp_path / "image"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(128 * 2**20)
    if shutil.which("mkfs.btrfs") is None or subprocess.run(["mkfs.btrfs", "-q", image], check=False).returncode:
        pytest.skip("a file system with quotas needs btrfs-progs")
    if not mount("-o", "loop", str(image), str(place)):
        pytest.skip("mounting a file system needs root")
    try:
        for words in (("quota", "enable", place), ("subvolume", "create", place / "x"), ("qgroup", "limit", "3M")):
            last = [place / "x"] if words[0] == "qgroup" else []
            subprocess.run(["btrfs", *words, *last], check=True, capture_output=True)
        yield place / "x"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def use_up(filler: Path) -> None:
    for _ in range(64):
        with open(filler, "ab") as file:
            file.write(bytes(2**16))
            os.fsync(file.fileno())


@pytest.mark.slow
def test_a_quota_that_is_used_up_is_one_sentence_and_the_same_command_goes_on(rationed: Path) -> None:
    filler = rationed / "filler"
    with pytest.raises(OSError, match="quota"):
        use_up(filler)
    done = command(rationed, "train", *SMALL)
    assert done.returncode == 1, done.stderr
    assert f" cannot be written any more: the quota is used up{SAFE}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    filler.unlink()
    assert command(rationed, "train", *SMALL).returncode == 0


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_sentence(here: Path) -> None:
    words = [sys.executable, "-m", "xentlab", "train", *SMALL, "model.hidden=[400]"]
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (40_000, 40_000))
    done = subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f" cannot be written any more: a file may not grow so large{SAFE}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    records = Records(here / "xentlab-runs")
    records.update()
    assert [t.status for t in records.trials.values()] == ["finished"]
