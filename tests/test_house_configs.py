"""Configs say what signatures say, and comparisons their command."""

from __future__ import annotations

import yaml

from xentlab.cli.listing import first_comments
from xentlab.config.compose import config_dir
from xentlab.data import soften, split
from xentlab.dotted import locate
from xentlab.models import Start
from xentlab.schema import check_knob, knobs
from xentlab.train import Trainer

CONFIGS = config_dir()
GROUPS = ("dataset", "model", "loss", "regularizer", "optimizer", "schedule", "augment", "executor")
COMPONENTS = sorted(f for g in GROUPS for f in (CONFIGS / g).glob("*.yaml"))
# What every file of a group begins with.
SHARED = {"dataset": "sampling", "model": "start"}
# A preset chooses values of its own; its keys must still be knobs.
PRESETS = {
    "camvid": "segmentation_folder", "scenes_small": "scenes", "heteroscedastic": "regression_synthetic",
    "heavy_tailed": "regression_synthetic", "dice_ce": "compound", "focal_dice": "compound", "compound": "compound",
}  # fmt: skip
RENAMED = {"step": "step_decay", "none": "unchanged", "torchvision": "resnet18"}


def test_a_config_lists_the_knobs_of_its_signature_with_their_defaults_and_meaning() -> None:
    assert len(COMPONENTS) > 100
    for file in COMPONENTS:
        group, text = file.parent.name, file.read_text()
        node = yaml.safe_load(text)
        assert node["_partial_"] is True, file
        assert text.startswith("# "), f"{file}: the first line says what it is"
        shared = SHARED.get(group)
        assert node.get("defaults") == ([{f"/{shared}@_here_": "default"}, "_self_"] if shared else None), file
        name = node["_target_"].rpartition(".")[2]
        assert name in (file.stem, PRESETS.get(file.stem), RENAMED.get(file.stem)) or group == "executor", file
        function = locate("_target_", node["_target_"])
        if node["_target_"].startswith("torchvision."):
            continue
        schema = knobs(function)
        given = {k: v for k, v in node.items() if not k.startswith("_") and k not in ("defaults", *knobs(Start))}
        assert given.keys() == schema.keys(), file
        assert all(" # " in line for line in text.splitlines() if line.partition(":")[0] in given), file
        for name, knob in schema.items():
            default = list(knob.default) if isinstance(knob.default, tuple) else knob.default
            if knob.required:
                assert given[name] in ("???", None), (file, name)
            elif file.stem not in PRESETS:
                assert given[name] == default, (file, name)
            elif given[name] is not None:
                check_knob(group, knob, given[name])


def test_every_optimizer_schedule_regularizer_and_executor_has_its_file() -> None:
    named = {group: {f.stem for f in COMPONENTS if f.parent.name == group} for group in GROUPS}
    assert named["optimizer"] == {"sgd", "adam", "adamw", "lion", "rmsprop", "adagrad"}
    assert named["schedule"] == {"constant", "cosine", "step", "exponential", "one_cycle", "plateau"}
    assert named["regularizer"] == {"elastic", "l1", "l2", "none"}
    assert named["executor"] == {"auto", "inline", "processes", "ray", "slurm"}
    penalties = [locate("_target_", f"xentlab.regularizers.{name}") for name in named["regularizer"]]
    assert all(knob.is_data for penalty in penalties for knob in knobs(penalty).values())


def test_the_root_config_lists_the_trainers_knobs() -> None:
    node = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    assert node["trainer"] == {k.name: k.default for k in knobs(Trainer).values()}
    sampling = yaml.safe_load((CONFIGS / "sampling" / "default.yaml").read_text())
    assert sampling == {k.name: k.default for function in (split, soften) for k in knobs(function).values()}
    start = yaml.safe_load((CONFIGS / "start" / "default.yaml").read_text())
    assert start == {k.name: k.default for k in knobs(Start).values()}


def test_every_comparison_begins_with_its_command() -> None:
    files = sorted((CONFIGS / "comparison").rglob("*.yaml"))
    assert files
    for file in files:
        name = file.relative_to(CONFIGS / "comparison").with_suffix("")
        assert first_comments(file)[0] == f"xentlab compare comparison={name}"


def test_scalars_say_what_they_are() -> None:
    body = (CONFIGS / "train.yaml").read_text().partition("\nseed:")[2].partition("\nhydra:")[0]
    lines = [line for line in body.splitlines()[1:] if line.startswith("  ")]
    assert len(lines) > 15
    assert all("#" in line for line in lines)
