"""Configs say what signatures say, and comparisons their command."""

from __future__ import annotations

import yaml

from xentlab.cli.listing import first_comments
from xentlab.config.compose import config_dir
from xentlab.data import soften, split
from xentlab.dotted import locate
from xentlab.models import Start
from xentlab.schema import knobs
from xentlab.train import Trainer

CONFIGS = config_dir()


COMPONENTS = sorted(
    f
    for g in ("dataset", "model", "loss", "regularizer", "optimizer", "schedule", "augment")
    for f in (CONFIGS / g).glob("*.yaml")
)


# A preset chooses values of its own; its keys must still be knobs.
PRESETS = {"camvid", "scenes_small", "compound", "heteroscedastic", "heavy_tailed"}


def test_a_config_lists_the_knobs_of_its_signature_with_their_defaults() -> None:
    assert len(COMPONENTS) > 100
    for file in COMPONENTS:
        node = yaml.safe_load(file.read_text())
        assert node["_partial_"] is True, file
        assert first_comments(file)[0], f"{file}: the first line says what it is"
        function = locate("_target_", node["_target_"])
        if node["_target_"].startswith("torchvision."):
            continue
        schema = knobs(function)
        given = {k: v for k, v in node.items() if not k.startswith("_") and k not in ("defaults", *knobs(Start))}
        assert given.keys() == schema.keys(), file
        if file.stem in PRESETS or node["_target_"].endswith(".compound"):
            continue
        for name, knob in schema.items():
            default = list(knob.default) if isinstance(knob.default, tuple) else knob.default
            assert given[name] in ("???", None) if knob.required else given[name] == default, (file, name)


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
