"""A name stands for one thing: no two types, functions or files of the package share one, but for stated contracts."""

from __future__ import annotations

import ast
import functools
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
    "sigmoid": "of a list of numbers, without torch, and of tensors",
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
# Words that say nothing to whoever did not choose them, as names that are seen from another module.
VAGUE = {
    "border", "passes", "pieces", "canvas", "evidence", "exhibits", "several", "words", "deferred", "served", "soft",
    "Lab", "Unit", "found", "told", "mine", "shown", "kept",
}  # fmt: skip
A_SCREEN = 40  # lines
# Keys that users write: a knob of scenes, what is smaller in a size of a published experiment.
KEYS = {"scenes(canvas)", "Size.words"}


@functools.cache
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


def vague(tree: ast.Module) -> list[str]:
    """Where a vague word crosses a screen: what a type offers, what a public function asks for, long lives."""
    seen = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name.lstrip("_") in VAGUE:
            seen.append(f"{node.name} {node.lineno}")
        if isinstance(node, ast.ClassDef):
            fields = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
            seen += [f"{node.name}.{f.id} {f.lineno}" for f in fields if isinstance(f, ast.Name) and f.id in VAGUE]
        if isinstance(node, ast.FunctionDef):
            asked = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            seen += [f"{node.name}({a.arg}) {node.lineno}" for a in asked if a.arg in VAGUE and node.name[0] != "_"]
            lives = defaultdict(list)
            for n in ast.walk(node):
                if isinstance(n, ast.Name) and n.id in VAGUE:
                    lives[n.id].append(n.lineno)
            seen += [f"{name} in {node.name}" for name, at in lives.items() if max(at) - min(at) > A_SCREEN]
    return seen


def test_vague_words_stay_within_a_screen() -> None:
    wrong = "class A:\n    kept: int\ndef f(found):\n    pass\ndef mine():\n    pass\n"
    assert len(vague(ast.parse(wrong))) == 3
    seen = {f"{f.relative_to(PACKAGE)} {what}" for f, tree in trees().items() for what in vague(tree)}
    assert {what for what in seen if what.split()[1] not in KEYS} == set()
