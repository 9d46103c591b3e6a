"""`xentlab list`, and the help of the commands that take overrides."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from xentlab.cli.console import console, titled
from xentlab.cli.contract import Command
from xentlab.config.words import KINDS, config_dir
from xentlab.errors import unknown

if TYPE_CHECKING:
    from xentlab.losses.contract import LossSpec
    from xentlab.schema import Knob


def list_components(kind: str, name: str | None) -> int:
    """Print every choice of one kind with its knobs, or one of them in full."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    folder = config_dir() / KINDS[kind]
    files = {f.relative_to(folder).with_suffix("").as_posix(): f for f in sorted(folder.rglob("*.yaml"))}
    if name is not None:
        if name not in files:
            raise unknown(KINDS[kind], name, files)
        return _show(files[name])
    if kind == "losses":
        return _losses(files)
    heads = (KINDS[kind], "what it is", "knobs with their defaults" if kind != "comparisons" else "command")
    table = titled(f"{len(files)} {kind}", heads, left=heads)
    for stem, file in files.items():
        comments = first_comments(file)
        if kind == "comparisons":
            table.add_row(stem, " ".join(comments[1:]), comments[0])
        else:
            table.add_row(stem, comments[0], _knobs(yaml.safe_load(file.read_text())))
    console().print(table)
    console().print(f"xentlab list {kind} NAME shows one in full.")
    return 0


def _losses(files: dict[str, Path]) -> int:
    """Every loss by family: what it is, its link and tasks, its knobs with ranges and defaults, what it declares."""
    from xentlab.dotted import locate
    from xentlab.losses.contract import spec_of
    from xentlab.schema import knobs

    entries = []
    for stem, file in files.items():
        node = yaml.safe_load(file.read_text())
        function = locate("_target_", node["_target_"])
        schema = knobs(function)
        words = "\n".join(f"{k}={_short(v)}  {_rule(schema[k])}".rstrip() for k, v in node.items() if k in schema)
        entries.append((spec_of(function), stem, words))
    page = console()
    table = Table(title=f"{len(files)} losses", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("loss", no_wrap=True)
    table.add_column("what it is, and where it comes from", min_width=16)
    table.add_column("knobs: default, range", max_width=25)
    table.add_column("link, properties", max_width=17)
    family = ""
    for spec, stem, words in sorted(entries, key=lambda e: (e[0].family, e[1])):
        if spec.family != family:
            table.add_row("")
            table.add_row(Text(spec.family.replace("_", " "), style="bold"))
            family = spec.family
        what = Text(first_comments(files[stem])[0])
        if spec.reference:
            what.append(f" ({spec.reference})", style="dim")
        link = spec.link if spec.link != "task" else "task's own link"
        table.add_row(f" {stem}", what, Text(words), ", ".join([link, *_properties(spec)]))
    page.print(table)
    page.print(
        "Tasks are all those with classes unless named. Targets are class indices, or distributions as augment=mixup, "
        "cutmix and dataset.soft_targets give them. Proper: least in expectation only at the true probabilities. "
        "xentlab list losses NAME shows one in full, xentlab plot-loss NAME ... draws it.",
    )
    return 0


def _rule(knob: Knob) -> str:
    """The values that a knob may have, in a few signs."""
    if knob.choices:
        return " | ".join(map(str, knob.choices))
    return str(knob.range) if knob.range else ""


def _properties(spec: LossSpec) -> list[str]:
    """What a loss declares, in words, where it is not what one expects."""
    from xentlab.losses.contract import UNDECLARED

    words = {
        f"only {' and '.join(spec.tasks)}": spec.tasks != UNDECLARED.tasks,
        "proper": spec.proper,
        "shift-invariant": spec.shift_invariant,
        "classes differ": not spec.symmetric,
        "index targets only": not spec.float_targets,
        "couples a batch": spec.coupled,
        "may not raise the truth most": not spec.raises_truth,
        "no lower bound": spec.minimum is None,
        f"minimum {spec.minimum or 0.0:g}": bool(spec.minimum),
    }
    return [word for word, holds in words.items() if holds]


def first_comments(file: Path) -> list[str]:
    """The comment lines that a config begins with, without Hydra's own directives."""
    lines = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if not text.startswith("@package"):
            lines.append(text)
    return lines or [""]


def _knobs(node: dict[str, Any]) -> str:
    return ", ".join(f"{k}={_short(v)}" for k, v in node.items() if not k.startswith("_") and k != "defaults")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(value) + "}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) > 4:
        return f"[{value[0]}, ..., {value[-1]}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _show(file: Path) -> int:
    """A config file, and the docstring of what it names."""
    print(file.read_text().rstrip())
    node = yaml.safe_load(file.read_text())
    if "_target_" in node:
        from xentlab.dotted import locate

        function = locate("_target_", node["_target_"])
        if documentation := inspect.getdoc(function):
            print(f"\n{node['_target_']}\n\n{documentation}")
    return 0


def print_hydra_help(command: Command) -> None:
    """The help of a command whose arguments are Hydra's overrides: groups, keys and two examples."""
    print(f"usage: xentlab {command.name} [-m] [GROUP=NAME ...] [KEY=VALUE ...]\n")
    print(f"{command.summary[0].upper()}{command.summary[1:]}.")
    print("GROUP=NAME chooses a file of configs/GROUP, KEY=VALUE sets a value; as in Hydra.\n")
    groups = ["dataset", "model", "loss", "augment", "regularizer", "optimizer", "schedule", "executor", "tracking"]
    if command.name == "compare":
        groups = ["comparison", *groups]
    print("groups:")
    for group in groups:
        names = sorted(f.stem for f in (config_dir() / group).glob("**/*.yaml"))
        print(f"  {group:<12} {', '.join(names)}")
    print("\nkeys (configs/train.yaml):")
    body = (config_dir() / "train.yaml").read_text().partition("\nseed:")[2].partition("\nhydra:")[0]
    print("\n".join(f"  {line}" if line else "" for line in f"seed:{body}".splitlines()))
    if command.name == "compare":
        print("\noptions:")
        print("  --extend NAME       a recorded comparison with losses or seeds more; what it has trained is reused")
        print("  --dry-run           say what would run and how long it would take")
        print("  --fresh             train again what is recorded; --own: what was imported")
    print("\noptions of Hydra:")
    print("  -m, --multirun      one training for each combination of comma-separated values")
    print("  --cfg job           print the composed config and stop")
    print("  --config-dir DIR    a directory of your own, searched beside the built-in configs")
    print("\nExamples:")
    for example in command.examples:
        print(f"  {example}")
