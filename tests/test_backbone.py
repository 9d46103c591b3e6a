"""First weights from a file: what fits is said and recorded, its digest is signed, mistakes are a sentence."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import compose_train, small_digits

from xentlab import models
from xentlab.errors import UserError
from xentlab.models import has_dropout
from xentlab.models.start import fix, tensors_in
from xentlab.train import Fit, Rig, prepare
from xentlab.train.modules import first_module
from xentlab.train.signature import signature

Run = Callable[..., tuple[int, str, str]]
MLP = ("model=mlp", "model.hidden=[8]")


def mlp_tensors(outputs: int = 10, hidden: int = 8) -> dict[str, torch.Tensor]:
    module = models.initial(lambda i, o: models.mlp(i, o, hidden=(hidden,)), (1, 8, 8), outputs, 99)
    return module.state_dict()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "mine.pt"
    torch.save(mlp_tensors(), file)
    return file


def trial(*overrides: str) -> Any:
    return prepare(compose_train(*MLP, *overrides))


def test_a_trial_begins_with_what_its_file_holds(weights: Path) -> None:
    one = trial(f"model.weights={weights}")
    rig = Rig([one], small_digits())
    given = mlp_tensors()
    assert all(torch.equal(value, given[name]) for name, value in rig.weights(0).items())
    assert first_module(one, small_digits(), 0)[1] == "model.weights=mine.pt: 4 of 4 tensors are the file's"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_wrapped_file_fits_all_but_a_last_layer_for_other_classes(tmp_path: Path, suffix: str) -> None:
    named = {f"module.{name}": value for name, value in mlp_tensors(outputs=3).items()}
    file = tmp_path / f"wrapped{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(named, file)
    else:
        torch.save({"epoch": torch.tensor(3), "state_dict": named}, file)
    module, said = first_module(trial(f"model.weights={file}"), small_digits(), 5)
    drawn, own = models.initial(trial().model, (1, 8, 8), 10, 5).state_dict(), module.state_dict()
    first, *_, last = own
    assert torch.equal(own[first], named[f"module.{first}"])
    assert torch.equal(own[last], drawn[last])
    layer = last.rpartition(".")[0]
    assert said == (
        f"model.weights=wrapped{suffix}: 2 of 4 tensors are the file's; at their first values {layer}.weight, "
        f"{layer}.bias (the last layer, [3, 8] in the file, [10, 8] here)"
    )


def test_what_a_file_holds_decides_the_signature_not_where_it_lies(weights: Path, tmp_path: Path) -> None:
    moved, other = tmp_path / "moved.pt", tmp_path / "other.pt"
    shutil.copy(weights, moved)
    torch.save({name: value + 1 for name, value in mlp_tensors().items()}, other)
    made = [signature(trial(f"model.weights={file}"), "data", "looped") for file in (weights, moved, other)]
    made.append(signature(trial(), "data", "looped"))
    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_torchvisions_own_names_are_files_of_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    net = ("model=torchvision", "model._target_=torchvision.models.mobilenet_v3_small")
    with pytest.raises(UserError, match="names of torchvision's: IMAGENET1K_V1, DEFAULT") as missing:
        prepare(compose_train(*net, "model.weights=IMAGENET1K_V1"))
    file = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
    assert str(file) in str(missing.value)
    file.parent.mkdir(parents=True)
    from torchvision.models import mobilenet_v3_small

    torch.save(mobilenet_v3_small(num_classes=1000).state_dict(), file)
    named = prepare(compose_train(*net, "model.weights=MobileNet_V3_Small_Weights.DEFAULT"))
    _, said = first_module(named, small_digits(), 0)
    assert "242 of 244 tensors are the file's; at their first values classifier.3.weight, classifier.3.bias" in said


def test_the_line_is_said_and_recorded_and_a_record_asks_for_its_file(run: Run, weights: Path, here: Path) -> None:
    small = (*MLP, "trainer.epochs=1", "tracking=off", "dataset.train_fraction=0.1")
    code, _, err = run("train", *small, f"model.weights={weights}")
    assert (code, err.count("4 of 4 tensors are the file's.")) == (0, 1)
    texts = [file.read_text() for file in (here / "xentlab-runs" / "journal").iterdir()]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    (opened,) = [line for line in lines if line["event"] == "trial"]
    assert opened["tags"]["model_found"] == "model.weights=mine.pt: 4 of 4 tensors are the file's"
    digest = opened["config"]["model"]["_sha256_"]
    torch.save(mlp_tensors(hidden=8), weights.with_name("not.pt"))
    weights.unlink()
    code, _, err = run("reproduce", opened["trial"])
    assert code == 2
    assert f"model.weights must be a file of sha256 {digest} that is here" in err
    shutil.copy(weights.with_name("not.pt"), weights)
    torch.save({name: value + 1 for name, value in mlp_tensors().items()}, weights)
    code, _, err = run("reproduce", opened["trial"])
    assert code == 2
    assert f"of sha256 {digest}, found {weights}" in err


def _damage(file: Path, how: str) -> None:
    whole = mlp_tensors()
    match how:
        case "missing":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case "cut":
            file.write_bytes(file.read_bytes()[:-200])
        case "flipped":
            body = bytearray(file.read_bytes())
            at = body.find(next(iter(whole.values())).numpy().tobytes()[:64])
            body[at + 5] ^= 255
            file.write_bytes(body)
        case "text":
            file.write_text("no weights at all")
        case "code":
            file.write_bytes(pickle.dumps(Path("x")))
        case "list":
            torch.save(list(whole.values()), file)
        case "not finite":
            torch.save({name: value * float("nan") for name, value in whole.items()}, file)
        case "other sizes":
            torch.save(mlp_tensors(hidden=9), file)
        case "other net":
            torch.save({f"layer.{i}": torch.zeros(2) for i in range(9)}, file)


MISTAKES = {
    "missing": "must be a file that is here, got",
    "folder": "must be a file that is here, got",
    "cut": "cannot: its end is missing.",
    "flipped": "the checksum of",
    "text": "must be a file of tensors alone, which",
    "code": "must be a file of tensors alone, which",
    "list": "must hold tensors by their names",
    "not finite": "must hold finite numbers",
    "other sizes": "must be of this net",
    "other net": "of the 9 tensors of",
}


@pytest.mark.parametrize("how", MISTAKES)
def test_a_file_that_will_not_do_is_a_sentence_and_nothing_is_written(
    how: str, run: Run, weights: Path, here: Path
) -> None:
    _damage(weights, how)
    code, out, err = run("train", *MLP, f"model.weights={weights}", "trainer.epochs=1", "tracking=off")
    assert (code, out) == (2, "")
    assert err.startswith("xentlab: model.weights ")
    assert MISTAKES[how] in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "xentlab-runs").exists()


def test_a_file_is_read_once_as_long_as_it_stays(weights: Path) -> None:
    assert tensors_in(weights) is tensors_in(weights)


@pytest.mark.parametrize(
    ("freeze", "sentence"),
    [
        ("layer9.*", "model.freeze=layer9.* must match some of the parameters, which are 1.weight, 1.bias, "),
        ("*", "model.freeze=* must leave something to train, but matches all 4 parameters."),
        ("", "model.freeze must be a text that is not empty"),
        ("[a,b]", "model.freeze must be a text that is not empty"),
    ],
)
def test_a_pattern_that_will_not_do_is_a_sentence(freeze: str, sentence: str, run: Run, here: Path) -> None:
    code, _, err = run("train", *MLP, f"model.freeze={freeze}", "trainer.epochs=1", "tracking=off")
    assert code == 2
    assert sentence in err
    assert not (here / "xentlab-runs").exists()


@pytest.mark.parametrize("lift", ["looped", "vectorised"])
def test_what_is_frozen_stays_batch_norm_and_dropout_included(lift: str) -> None:
    net = ("model=unet", "model.width=2", "model.depth=1", "dataset=scenes_small", f"trainer.lift={lift}")
    made = [prepare(compose_train(*net, "trainer.epochs=1", f"model.freeze={f}")) for f in ("backbone", "none")]
    data = made[0].dataset()
    changed = []
    for one in made:
        fit = Fit([one], data)
        before = fit.rig.weights(0)
        fit.train(1)
        changed.append([name for name, value in fit.rig.weights(0).items() if not torch.equal(value, before[name])])
    frozen, free = changed
    assert set(frozen) < set(free)
    assert len(frozen) == 2
    assert len(free) > 10


def test_a_frozen_dropout_draws_nothing() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 2))
    fix(module, "backbone", torch.zeros(2, 3))
    module.train()
    assert not has_dropout(module)
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]
    fix(
        kept := torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 2)),
        "0.*",
        torch.zeros(2, 3),
    )
    assert has_dropout(kept.train())


class Normed(torch.nn.Sequential):
    """A net whose batch norms are as slow as those of one that was trained for weeks."""

    def __init__(self, momentum: float = 0.01) -> None:
        norm = torch.nn.BatchNorm1d(8, momentum=momentum)
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 8), norm, torch.nn.Linear(8, 10))


def test_slow_batch_norms_follow_what_is_fine_tuned(tmp_path: Path) -> None:
    torch.save(Normed().state_dict(), tmp_path / "normed.pt")
    node = {"_target_": "test_backbone.Normed", "momentum": 0.01, "weights": str(tmp_path / "normed.pt")}
    for more, momentum, said in (
        ({}, 0.1, "; the statistics of its batch norms follow by 0.1 a step, not 0.01"),
        ({"momentum": 0.2}, 0.2, ""),
        ({"freeze": "backbone"}, 0.01, ""),
        ({"weights": None}, 0.01, ""),
    ):
        one = prepare({**compose_train(), "model": {**node, **more}})
        module, found = first_module(one, small_digits(), 0)
        assert [part.momentum for part in module.modules() if isinstance(part, torch.nn.BatchNorm1d)] == [momentum]
        assert found.endswith(said)
        assert ("batch norms" in found) == bool(said)
