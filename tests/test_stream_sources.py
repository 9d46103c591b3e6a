"""What streams beside a folder in this process: datasets from outside, and trials in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from executor_lab import assert_same, close_all, kill, opened, worker_pids
from support import compose_train
from test_stream import SIZE, members, numbers, photographs

from xentlab.cli import main
from xentlab.run.executors.processes import Processes
from xentlab.train import Fit, prepare


class Noisy(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Draws an example once, or anew every time that it is asked for it."""

    classes = ("a", "b", "c")

    def __init__(self, fickle: bool = False, floats: bool = True) -> None:
        self.fickle, self.floats, self.asked = fickle, floats, 0

    def __len__(self) -> int:
        return 90

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.asked += 1
        draws = torch.Generator().manual_seed(index + self.fickle * self.asked)
        image = torch.rand(3, SIZE, SIZE, generator=draws) + torch.eye(3)[index % 3].view(3, 1, 1)
        return image if self.floats else (image * 100).to(torch.uint8), index % 3


@pytest.mark.parametrize("floats", [True, False])
def test_an_own_dataset_streams_as_it_is_held(floats: bool) -> None:
    fits = []
    for how in (True, False):
        node = {"_target_": "test_stream_sources.Noisy", "floats": floats, "resident": how}
        config = compose_train("model.hidden=[8]", "trainer.epochs=2", "trainer.batch_size=16")
        sampling = {k: v for k, v in config["dataset"].items() if k in ("val_fraction", "test_fraction", "label_noise")}
        one = prepare({**config, "dataset": {**sampling, **node}})
        fits.append(Fit([one], one.dataset()))
    held, streamed = fits
    assert [fit.rig.dataset.streams for fit in fits] == [False, True]
    assert streamed.rig.dataset.inputs.dtype == held.rig.dataset.inputs.dtype
    assert numbers(streamed) == numbers(held)
    assert torch.equal(streamed.rig.state.params, held.rig.state.params)


def test_an_own_dataset_that_draws_anew_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("dataset._target_=test_stream_sources.Noisy", "+dataset.fickle=true", f"output.root={tmp_path / 'lab'}")
    assert main(["train", *own, "+dataset.resident=false", "model.hidden=[8]", "tracking=off"]) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "dataset Noisy must give the same for an example every time, but example " in sentence
    assert sentence.endswith(" is another now: what draws at random belongs into augment.")
    assert main(["train", *own, "+dataset.resident=maybe", "model.hidden=[8]", "tracking=off"]) == 2
    assert "dataset.resident must be auto or true or false, got 'maybe'." in capsys.readouterr().err


@pytest.mark.slow
def test_a_stream_in_processes_one_killed_is_the_stream_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures = photographs(tmp_path / "photographs")
    trials = [
        t
        for seed in (0, 1)
        for t in members(pictures, "dataset.resident=false", f"seed={seed}", "trainer.epochs=8")[2:4]
    ]
    here = opened(tmp_path / "here").run(trials)
    pool = Processes(workers=2)
    killed: list[int] = []

    def kill_once(*_: Any) -> None:
        busy = [worker.pid for worker in pool._crew if worker.index is not None]
        if busy and not killed:
            killed.append(busy[0])
            kill(busy[0])

    elsewhere = opened(tmp_path / "there", pool).run(trials, on_epoch=kill_once)
    pool.close()
    close_all()
    assert len(killed) == 1
    # How many ever trained is the machine's affair: one may be killed before it began, and another take both streams.
    assert set(worker_pids(tmp_path / "there")) - set(killed)
    assert_same(elsewhere, here)
