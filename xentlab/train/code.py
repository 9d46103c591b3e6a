"""What a source file says: its code without comments, docstrings and layout, and what it imports.

Reading the hundred files behind a trial takes a third of a second, so what each came to is kept in the user's cache by
the sha256 of its content. This file and Python's version decide it: the cache has one file for each pair of them.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from xentlab.disk import cache, written_whole

# What of a syntax tree's node holds statements, or what holds them.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_RULE = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()
# As many files the cache holds: those that were read first leave it.
_MOST = 2000


class Code(NamedTuple):
    """A source file, as plain data.

    Attributes:
        digest: sha256; equal for two files that differ in comments, docstrings and layout only.
        imports: level, module and names of every import but for type checking alone; `import a` is level 0 of no name.
        bound: level, module, name, and the name here, of what stands imported by name at the file's outermost level.
    """

    digest: str
    imports: list[tuple[int, str, list[str]]]
    bound: list[tuple[int, str, str, str]]


def read_code(file: Path) -> Code:
    """What a file says; one that is not Python's source is its bytes, and imports nothing."""
    content = file.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    if file.suffix != ".py":
        return Code(key, [], [])
    found = _cached().get(key) or _unkept.get(key)
    if found is None:
        found = _unkept[key] = _parsed(content)
    return found


def keep_read() -> None:
    """Have the cache hold what was read, where it can be written."""
    if _unkept:
        cached = _cached()
        cached |= _unkept
        _unkept.clear()
        words = json.dumps(dict(list(cached.items())[-_MOST:]))
        with contextlib.suppress(OSError), written_whole(_file()) as own:
            own.write_text(f"{_checksum(words)}\n{words}", encoding="utf-8")


_unkept: dict[str, Code] = {}


@functools.cache
def _cached() -> dict[str, Code]:
    """Content's sha256 -> what it says. A cache that is damaged or not of this rule counts as none."""
    try:
        checksum, _, words = _file().read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return {}
    known = json.loads(words) if checksum == _checksum(words) else {}
    return {key: Code(*entry) for key, entry in known.items()}


def _file() -> Path:
    return cache("code") / f"{_RULE[:16]}.json"


def _checksum(words: str) -> str:
    return hashlib.sha256((_RULE + words).encode()).hexdigest()


def _parsed(content: bytes) -> Code:
    tree = ast.parse(content)
    imports = _imports(tree)
    bound = [
        (node.level, node.module or "", alias.name, alias.asname or alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    words: list[str] = []
    _spell(tree, words)
    return Code(hashlib.sha256(" ".join(words).encode()).hexdigest(), imports, bound)


def _imports(tree: ast.Module) -> list[tuple[int, str, list[str]]]:
    found: list[tuple[int, str, list[str]]] = []
    ahead: list[ast.AST] = [tree]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            ahead += node.orelse
        else:  # statements alone: no expression imports
            ahead += [inner for block in _BLOCKS for inner in getattr(node, block, ())]
    return found


def _spell(node: Any, words: list[str]) -> None:
    """Add a syntax tree to `words`. Unlike `ast.dump` it is the same on every Python: what is empty is left out."""
    if isinstance(node, list):
        words.append("[")
        for item in node:
            _spell(item, words)
        words.append("]")
    elif isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != [] and not isinstance(value, ast.expr_context):
                words.append(field)
                _spell(value, words)
        words.append(".")
    else:
        words.append(repr(node))
