"""The house: floors and doors of the design, configs equal to signatures, comparisons that say their command."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from xentlab.cli.catalogue import first_comments
from xentlab.config.compose import config_dir
from xentlab.data import soften, split
from xentlab.schema import knobs, locate
from xentlab.train import Trainer

CHECKOUT = Path(__file__).parent.parent
PACKAGE = CHECKOUT / "xentlab"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    return ".".join([*file.relative_to(CHECKOUT).parts[:-1], file.stem]).removesuffix(".__init__")


MODULES = {module_name(file): file for file in FILES}

# What a module may import lies on a lower floor, or in its own room.
FLOORS = {
    "errors": 0, "schema": 0, "typed": 0, "step": 0, "environment": 0, "information": 1, "outcome": 1,
    "losses": 1, "regularizers": 1, "metrics": 1, "models": 1, "optim": 1, "data": 1,
    "train": 2, "losses.laws": 2,
    "journal": 3, "analysis": 3,
    "run": 4, "tracking": 4,
    "run.executors": 5, "comparison": 5, "report": 5,
    "reproduce": 6,
    "config": 7, "published": 7, "cli": 8, "__main__": 9, "__init__": 0,
}  # fmt: skip
# Neighbours on one floor that may know each other.
GRANTED = {("models", "data"), ("losses", "step"), ("schema", "errors"), ("typed", "errors"), ("typed", "schema")}
GRANTED |= {("metrics", "data")}  # for a type alone; goes when tasks have a room of their own
# Libraries that are slow, large or fickle have one door each.
DOORS = {
    "mlflow": {"tracking"},
    "hydra": {"config"},
    "omegaconf": {"config"},
    "torchvision": {"data", "models"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "sklearn": {"data"},
    "PIL": {"data"},
    "ray": {"run.executors"},
    "submitit": {"run.executors"},
}
# numpy and scipy only: a table in, numbers out.
WITHOUT_TORCH = {"analysis", "information", "journal", "errors", "schema", "report", "tracking"}


def imports(file: Path) -> list[tuple[str, bool]]:
    """Every module that a file imports, and whether only for type checking."""
    found = []
    tree = ast.parse(file.read_text())
    typed = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in typed) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
            found += [(name, id(node) in typed) for name in names]
    return found


def room_of(parts: Sequence[str]) -> str:
    """The room of a module by the parts of its name below `xentlab`: a room inside a room is one of its own."""
    inner = ".".join(parts[:2])
    return inner if inner in FLOORS else parts[0]


def room(file: Path) -> str:
    return room_of([part.removesuffix(".py") for part in file.relative_to(PACKAGE).parts])


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 40
    assert {room(f) for f in FILES} <= FLOORS.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_arrows_point_downwards(file: Path) -> None:
    here = room(file)
    for name, _ in imports(file):
        parts = name.split(".")
        if parts[0] != "xentlab" or len(parts) < 2:
            continue
        there = room_of(parts[1:])
        if there == here or (here, there) in GRANTED:
            continue
        assert FLOORS[there] < FLOORS[here], f"{here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that reach each other, by Tarjan: no room hides a circle, nor do names for types alone."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        waiting.append(module)
        for other in sorted(arrows[module]):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in waiting:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            place = waiting.index(module)
            if len(waiting) - place > 1:
                found.append(set(waiting[place:]))
            del waiting[place:]

    for module in arrows:
        if module not in number:
            visit(module)
    return found


# Circles that still stand: this set only ever shrinks.
KNOWN = [{"xentlab.train.fit", "xentlab.train.outcome"}]


def test_no_module_reaches_itself() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [{"b", "c"}]
    arrows = {name: {other for other, _ in imports(file)} & MODULES.keys() - {name} for name, file in MODULES.items()}
    assert sum(map(len, arrows.values())) > 300
    new = [circle for circle in circles(arrows) if not any(circle <= known for known in KNOWN)]
    assert new == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_every_library_has_its_door(file: Path) -> None:
    for name, typed in imports(file):
        library = name.split(".")[0]
        if library in DOORS and not typed:
            assert room(file) in DOORS[library], f"{library} is imported in {room(file)}"
        if library == "torch" and not typed:
            assert room(file) not in WITHOUT_TORCH


# Files that are still longer: this set only ever shrinks.
LONG = {"scripts/bench_scaling.py", "scripts/bench_stack.py", "scripts/bench_sweep.py"}


@pytest.mark.parametrize("folder", ["xentlab", "tests", "scripts"])
def test_no_file_outgrows_a_page(folder: str) -> None:
    lines = {
        str(file.relative_to(CHECKOUT)): len(file.read_text().splitlines())
        for file in (CHECKOUT / folder).rglob("*")
        if file.suffix in (".py", "") and file.is_file()
    }
    assert lines
    assert {name for name, count in lines.items() if count > 300} <= LONG


def run_python(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom xentlab.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*[m for m in ('torch', 'hydra', 'mlflow', 'numpy', 'rich', 'yaml') if m in sys.modules])"
    )
    assert not run_python(code) & {"torch", "hydra", "mlflow", "numpy", "rich", "yaml"}


def test_a_worker_listens_before_it_loads_anything_heavy() -> None:
    code = "import sys, xentlab.run.executors.worker\nprint(*[m for m in ('torch', 'numpy') if m in sys.modules])"
    assert not run_python(code)


def test_training_without_tracking_never_imports_mlflow(tmp_path: Path) -> None:
    code = (
        "import os, sys\nos.chdir(sys.argv[1])\nfrom xentlab.cli import main\n"
        "assert main(['train', 'trainer.epochs=1', 'tracking=off']) == 0\n"
        "print(*[m for m in ('mlflow', 'torchvision', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"mlflow", "torchvision", "matplotlib", "sklearn"}


def test_training_a_stack_never_imports_the_compiler(tmp_path: Path) -> None:
    code = (
        "import os, sys\nos.chdir(sys.argv[1])\nfrom xentlab.cli import main\n"
        "assert main(['train', '-m', 'seed=0,1', 'trainer.epochs=1', 'tracking=off']) == 0\n"
        "print(*[m for m in ('torch._dynamo', 'torch._inductor') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "torch._" not in done.stdout


CONFIGS = config_dir()
COMPONENTS = sorted(
    f
    for g in ("dataset", "model", "loss", "regularizer", "optimizer", "schedule")
    for f in (CONFIGS / g).glob("*.yaml")
)
# A preset chooses values of its own; its keys must still be knobs.
PRESETS = {"camvid", "scenes_small", "compound"}


@pytest.mark.parametrize("file", COMPONENTS, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_a_config_lists_the_knobs_of_its_signature_with_their_defaults(file: Path) -> None:
    node = yaml.safe_load(file.read_text())
    assert node["_partial_"] is True
    assert first_comments(file)[0], "the first line says what it is"
    function = locate("_target_", node["_target_"])
    if node["_target_"].startswith("torchvision."):
        return
    schema = knobs(function)
    given = {k: v for k, v in node.items() if not k.startswith("_") and k != "defaults"}
    assert given.keys() == schema.keys()
    if file.stem in PRESETS or node["_target_"].endswith(".compound"):
        return
    for name, knob in schema.items():
        wanted = None if knob.required else list(knob.default) if isinstance(knob.default, tuple) else knob.default
        if knob.required:
            assert given[name] in ("???", None)
        else:
            assert given[name] == wanted, name


def test_the_root_config_lists_the_trainers_knobs() -> None:
    node = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    assert node["trainer"] == {k.name: k.default for k in knobs(Trainer).values()}
    sampling = yaml.safe_load((CONFIGS / "sampling" / "default.yaml").read_text())
    assert sampling == {k.name: k.default for function in (split, soften) for k in knobs(function).values()}


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
