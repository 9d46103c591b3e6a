"""The command line: what it prints, and one sentence with exit code 2 for every mistake, with nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]

MISTAKES = {
    "an unknown loss": (("loss=cee",), "Unknown loss 'cee'. Did you mean 'ce'? Nearest of "),
    "an unknown dataset": (("dataset=mnits",), "Unknown dataset 'mnits'. Did you mean 'mnist'?"),
    "an unknown model": (("model=lenett",), "Unknown model 'lenett'. Did you mean 'lenet'?"),
    "a negative rate": (("optimizer.lr=-1",), "optimizer.lr must be > 0, got -1."),
    "a smoothing over 1": (("loss=custom_ce", "loss.smoothing=1.5"), "loss.smoothing must be in [0, 1), got 1.5."),
    "a word for a number": (("loss=custom_ce", "loss.gamma=abc"), "loss.gamma must be a number >= 0, got 'abc'."),
    "no such knob": (("optimizer.l=1",), "Unknown config key 'optimizer.l'. Did you mean 'optimizer.lr'?"),
    "a loss without knobs": (("loss.gamma=1",), "Unknown config key 'loss.gamma': the chosen loss has no knobs."),
    "no such key": (("trainer.epoch=3",), "Unknown config key 'trainer.epoch'. Did you mean 'trainer.epochs'?"),
    "no such group": (("los=ce",), "Unknown config key 'los'. Did you mean 'loss'?"),
    "a key of one's own": (("+optimiser.lr=1",), "Unknown config key 'optimiser'. Did you mean 'optimizer'?"),
    "half an override": (("loss",), "'loss' must be written KEY=VALUE."),
    "no epochs": (("trainer.epochs=0",), "trainer.epochs must be in [1, 1e+06], got 0."),
    "a negative seed": (("seed=-1",), "seed must be >= 0, got -1."),
    "another task's metric": (("trainer.monitor=miou",), "Unknown metric of multiclass 'miou'."),
    "a device that is not there": (("trainer.device=cuda:7",), "trainer.device=cuda:7 is not available here"),
    "a device that is no device": (("trainer.device=gpu",), "Unknown trainer.device 'gpu'."),
    "a model of another task": (("model=unet",), "The task multiclass needs a model with one score per class"),
    "a loss that does not exist": (("loss._target_=xentlab.losses.cee",), "Unknown name in xentlab.losses 'cee'."),
    "a module that does not exist": (("loss._target_=nowhere.loss",), "loss._target_ must be a dotted path"),
    "an empty compound": (("loss=compound",), "loss.terms must name at least one loss, got none."),
    "an unknown term": (("loss=compound", "loss.terms={cee: {}}"), "Unknown name in xentlab.losses 'cee'"),
    "mixed links": (("loss=compound", "loss.terms={ce: {}, bce: {}}"), "loss.terms must share one link"),
    "a tracking URI of no kind": (("tracking=mlflow", "tracking.uri=ftp://a"), "tracking.uri must start with one of"),
    "a class count": (("dataset.imbalance=0.5",), "dataset.imbalance must be >= 1, got 0.5."),
    "data that is not there": (("dataset=mnist", "dataset.root=nowhere", "dataset.download=false"), "mnist"),
    "a root below a file": (("output.root=a_file/runs",), "output.root must be a directory that can be written"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_one_sentence_and_leaves_nothing(run: Run, here: Path, mistake: str) -> None:
    overrides, sentence = MISTAKES[mistake]
    (here / "a_file").touch()
    code, out, err = run("train", "tracking=off", *overrides)
    assert code == 2
    assert err.startswith("xentlab: ")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1, err
    assert out == ""
    assert [p.name for p in here.iterdir()] == ["a_file"]


def test_a_truncated_mnist_file_is_named_and_nothing_is_trained(run: Run, here: Path) -> None:
    raw = here / "MNIST" / "raw"
    raw.mkdir(parents=True)
    header = {"images": (2051, 10, 28, 28), "labels": (2049, 10)}
    for part in ("train", "t10k"):
        for kind, numbers in header.items():
            body = np.array(numbers, dtype=">u4").tobytes() + bytes(10 * (784 if kind == "images" else 1))
            (raw / f"{part}-{kind}-idx{len(numbers) - 1}-ubyte").write_bytes(body)
    broken = raw / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:-100])
    code, _, err = run("train", "dataset=mnist", f"dataset.root={here}", "tracking=off")
    assert code == 2
    assert "train-images-idx3-ubyte" in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()


def folder_of_masks(root: Path, *, value: int = 1, orphan: bool = False) -> None:
    from PIL import Image

    for part in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(root / part / "images" / f"{i}.png")
            Image.fromarray(np.full((16, 16), i % 2, np.uint8)).save(root / part / "masks" / f"{i}.png")
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(root / "train" / "masks" / "1.png")
    if orphan:
        (root / "train" / "masks" / "0.png").unlink()


@pytest.mark.parametrize(("changes", "words"), [({"value": 7}, ("1.png", "7")), ({"orphan": True}, ("0.png", "mask"))])
def test_broken_masks_are_named(run: Run, here: Path, changes: dict[str, int], words: tuple[str, ...]) -> None:
    folder_of_masks(here / "data", **changes)  # type: ignore[arg-type]
    code, _, err = run(
        "train", "dataset=segmentation_folder", f"dataset.root={here / 'data'}", "dataset.class_names=[a,b]",
        "model=unet", "tracking=off",
    )  # fmt: skip
    assert code == 2
    assert all(word in err for word in words)
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()


def test_a_training_prints_its_table_and_the_second_time_its_record(run: Run, here: Path) -> None:
    code, out, err = run("train", "trainer.epochs=2", "tracking=off", "seed=3")
    assert (code, err) == (0, "")
    assert "ce · lr 0.05 · seed 3" in out
    assert "2 epochs" in out
    (segment,) = (here / "xentlab-runs" / "journal").iterdir()
    events = [json.loads(line) for line in segment.read_text().splitlines()]
    assert [e["event"] for e in events] == ["session", "trial", "epoch", "epoch", "end"]
    assert events[0]["environment"]["packages"]["torch"]
    assert events[1]["config"]["trainer"]["epochs"] == 2
    folder = here / "xentlab-runs" / events[-1]["artifacts"]
    kept = {"answers.npz", "config.yaml", "environment.json", "final.pt", "best.pt", "opening.jsonl"}
    assert {p.name for p in folder.iterdir()} == kept
    code, out, _ = run("train", "trainer.epochs=2", "tracking=off", "seed=3")
    assert code == 0
    assert "Already trained" in out
    assert len(list((here / "xentlab-runs" / "journal").iterdir())) == 1
    code, out, _ = run("train", "trainer.epochs=2", "tracking=off", "seed=3", "output.fresh=true")
    assert code == 0
    assert "Already trained" not in out
    assert len(list((here / "xentlab-runs" / "journal").iterdir())) == 2


def test_the_kept_weights_load_safely_and_give_the_recorded_result(run: Run, here: Path) -> None:
    import torch

    from xentlab.data import digits, split
    from xentlab.models import mlp

    assert run("train", "trainer.epochs=3", "tracking=off")[0] == 0
    (folder,) = (here / "xentlab-runs" / "trials").iterdir()
    model = mlp((1, 8, 8), 10)
    model.load_state_dict(torch.load(folder / "final.pt", weights_only=True))
    data = digits()
    test = split(data, 0).test
    predicted = model(data.inputs[test].float() / 16).argmax(1)
    (segment,) = (here / "xentlab-runs" / "journal").iterdir()
    summary = json.loads(segment.read_text().splitlines()[-1])["summary"]
    same = (folder / "best.pt").samefile(folder / "final.pt")  # equal weights are kept once
    assert same == (summary["best_epoch"] == summary["epochs"])
    assert summary["test/error"] == pytest.approx((predicted != data.targets[test]).double().mean().item())


def test_a_sweep_runs_every_job_and_lists_its_failures(run: Run, here: Path) -> None:
    code, out, err = run("train", "-m", "loss=ce,mse", "optimizer.lr=0.1,-1", "trainer.epochs=1", "tracking=off")
    assert code == 1
    assert sum(line[:4].strip().isdigit() for line in out.splitlines()) == 2
    assert [row.split("│")[-2].strip() for row in out.splitlines() if row.startswith("│")] == ["1", "1"], "failed"
    assert "comparison.tune.optimizer.lr=[0.1]" in out.splitlines()[-1]
    failures = err.strip().splitlines()
    assert len(failures) == 2
    assert all("optimizer.lr must be > 0, got -1." in line and "optimizer.lr=-1" in line for line in failures)
    events = [
        json.loads(line) for f in (here / "xentlab-runs" / "journal").iterdir() for line in f.read_text().splitlines()
    ]
    kinds = [e["event"] for e in events]
    assert kinds.count("group") == kinds.count("group_end") == 1
    assert kinds.count("trial") == kinds.count("member") == kinds.count("end") == 2


def test_a_sweep_of_mistakes_only_is_a_mistake(run: Run, here: Path) -> None:
    code, _, err = run("train", "-m", "optimizer.lr=-1,-2", "tracking=off")
    assert code == 2
    assert len(err.strip().splitlines()) == 2
    assert not (here / "xentlab-runs" / "journal").exists()


def test_a_users_own_loss_and_config_directory(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "losses_of_a_user.py").write_text(
        "import torch.nn.functional as F\n\n"
        "def mine(logits, target, *, power=1.0):\n"
        "    return F.cross_entropy(logits, target, reduction='none') ** power\n"
    )
    (here / "own" / "loss").mkdir(parents=True)
    (here / "own" / "loss" / "mine.yaml").write_text("_target_: losses_of_a_user.mine\n_partial_: true\npower: 1.0\n")
    monkeypatch.syspath_prepend(here)
    code, out, err = run("train", "loss._target_=losses_of_a_user.mine", "trainer.epochs=1", "tracking=off")
    assert code == 0
    assert err.startswith("xentlab: loss mine: one value per example of logits and class indices or distributions")
    code, out, err = run(
        "train", "--config-dir", str(here / "own"), "loss=mine", "loss.power=1.5", "trainer.epochs=1", "tracking=off"
    )
    assert code == 0
    assert err.startswith("xentlab: loss mine: one value per example")
    assert "mine · lr" in out


@pytest.mark.parametrize("command", ["train", "compare", "list", "explain", "ui", "sync", "doctor"])
def test_help_has_two_examples(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.count(f"xentlab {command}") >= 3


@pytest.mark.parametrize(
    "kind", ["losses", "datasets", "models", "optimizers", "schedules", "regularizers", "executors", "comparisons"]
)
def test_list(run: Run, kind: str) -> None:
    code, out, _ = run("list", kind)
    assert code == 0
    assert kind in out


def test_list_shows_one_in_full_and_names_what_exists(run: Run) -> None:
    code, out, _ = run("list", "losses", "custom_ce")
    assert code == 0
    assert "smoothing: 0.0" in out
    assert "log_base" in out
    assert run("list", "losses", "cee")[2].startswith("xentlab: Unknown loss 'cee'. Did you mean 'ce'?")
    assert run("list", "loses")[0] == 2


def test_explain_prints_the_worked_numbers(run: Run) -> None:
    code, out, _ = run("explain", "0.7,0.2,0.1", "--against", "0.5,0.3,0.2", "--base", "2")
    assert code == 0
    for number in ("0.5146", "2.3219", "3.3219", "1.1568", "1.2796", "0.1228"):
        assert number in out
    code, _, err = run("explain", "0.7,0.2")
    assert code == 2
    assert "sum" in err


def test_cfg_job_prints_the_config_and_trains_nothing(run: Run, here: Path) -> None:
    code, out, _ = run("train", "--cfg", "job", "loss=mse")
    assert code == 0
    assert "_target_: xentlab.losses.mse" in out
    assert not list(here.iterdir())


def test_doctor_answers_without_writing(run: Run, here: Path) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert "torch" in out
    assert "no database yet" in out
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--logits", "0,0"), "0.6931"),
        (("--counts", "3,1", "--base", "2"), "H(p) = 0.8113"),
        (("--counts", "3,4,1", "--onehot", "1"), "H(p, q) = 0.6931"),
        (("0.9,0.2,0.7", "--multilabel", "1,0,1"), "0.6852"),
    ],
)
def test_explain_reads_what_people_have(run: Run, words: tuple[str, ...], said: str) -> None:
    code, out, _ = run("explain", *words)
    assert code == 0
    assert said in out
