"""A name stands for one thing: no two types, functions or files of the package share one, but for stated contracts."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "xentlab"
FILES = sorted(PACKAGE.rglob("*.py"))
# What several modules call by one name on purpose, and why.
CONTRACTS = {
    "adopt": "what every `foreign.py` does: something from outside becomes one of ours",
    "document": "what every renderer of a report does",
    "escape": "what every renderer does with text",
    "main": "what a program begins with",
    "train": "the command, and the same from Python",
    "compare": "the command, and the same from Python",
    "cosine": "a loss and a schedule; users name them so, in two groups of the config",
    "linear": "a loss and a model; users name them so, in two groups of the config",
}
ROOMS = {
    "contract": "what the members of a room obey",
    "foreign": "how a member of a room comes in from outside",
    "multilabel": "what a room holds for the task",
    "regression": "what a room holds for the task",
    "tokens": "what a room holds for the task",
    "dense": "what a room holds for maps of pixels; archives name its members",
    "published": "a command and its report",
}


def trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text()) for file in FILES}


def defined(tree: ast.Module) -> set[str]:
    """The public types (aliases too) and functions of a module."""
    names = {n.name for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    aliases = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    return {name for name in names | {a for a in aliases if not a.isupper()} if not name.startswith("_")}


def test_no_type_or_function_stands_for_two_things() -> None:
    places = defaultdict(list)
    for file, tree in trees().items():
        for name in defined(tree):
            places[name].append(str(file.relative_to(PACKAGE)))
    assert len(places) > 500
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in CONTRACTS} == {}
    assert set(CONTRACTS) <= set(twice), "a contract that is none"


def test_no_file_name_stands_for_two_things() -> None:
    places = defaultdict(list)
    for file in FILES:
        if not file.stem.startswith("__"):
            places[file.stem].append(str(file.relative_to(PACKAGE)))
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in ROOMS} == {}
    assert set(ROOMS) <= set(twice), "a room's name that is none"
