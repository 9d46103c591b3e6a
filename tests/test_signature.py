"""A signature changes with everything that decides numbers, however far away it stands, and with nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import compose_train

import xentlab
from xentlab.train import code, prepare, signature
from xentlab.train.signature import closure

HELPER = "POWER = 9.0\n\n\ndef scale(v):\n    return v * POWER\n"
MIDDLE = "import own_helper as helper\n\n\ndef scaled(v):\n    return helper.scale(v)\n"
LOSS = """import torch.nn.functional as F

from .between import scaled


def mine(logits, target):
    return scaled(F.cross_entropy(logits, target, reduction="none"))
"""


def test_it_follows_config_data_and_lift_and_not_how_they_are_computed() -> None:
    base = compose_train()
    reference = signature(prepare(base), "data", "vectorised")

    def changed(**trainer: object) -> str:
        return signature(prepare({**base, "trainer": {**base["trainer"], **trainer}}), "data", "vectorised")

    assert changed(max_stack=3) == changed(checkpoint_every=2) == changed(eval_batch_size=7) == reference
    # A trial that was a candidate first is the trial that meets the test set.
    assert signature(prepare(base, test=False), "data", "vectorised") == reference
    assert changed(lift="vectorised") == reference, "which lift `auto` means is what counts"
    assert signature(prepare({**base, "output": {"root": "elsewhere"}}), "data", "vectorised") == reference
    others = [changed(epochs=3), changed(batch_size=8), changed(precision="float64"), changed(compile=True)]
    others += [signature(prepare(base), "other data", "vectorised"), signature(prepare(base), "data", "looped")]
    others += [signature(prepare({**base, "seed": 1}), "data", "vectorised")]
    assert len({reference, *others}) == 1 + len(others)


def test_the_closure_of_a_loss_has_no_other_family_in_it() -> None:
    found = closure("xentlab.losses.cross_entropy", "xentlab.train.fit", "xentlab.step")
    assert {"xentlab.losses.likelihood", "xentlab.losses.adapters", "xentlab.step.objective"} <= set(found)
    assert {"xentlab.train.batches", "xentlab.train.rig", "xentlab.data.splits", "xentlab.metrics.bins"} <= set(found)
    families = {"xentlab.losses", "xentlab.losses.robust", "xentlab.losses.dense", "xentlab.losses.margin"}
    assert not families & set(found)
    assert not [name for name in found if not name.startswith("xentlab.")], "no installed package"


DECIDING = (
    "losses/likelihood.py", "losses/adapters.py", "losses/cross_entropy.py", "step/objective.py", "step/tape.py",
    "train/fit.py", "train/batches.py", "train/history.py", "metrics/bins.py", "metrics/categorical.py",
    "data/splits.py", "models/vector.py", "optim/schedules.py",
)  # fmt: skip
ASIDE = ("losses/robust.py", "losses/__init__.py", "report/record_tables.py", "journal/events.py")
# Reads an edit of a file of the package a line, and prints the signature that follows.
ASK = """
import json, sys
from xentlab.train import prepare, signature
import xentlab.train.signature
asked = sys.modules["xentlab.train.signature"]
trial = prepare(json.loads(sys.argv[1]))
for line in sys.stdin:
    path, edit = json.loads(line)
    text = open(path).read()
    if edit == "comment":
        changed = "# A word more.\\n" + text.replace('\"\"\"', '\"\"\"Said otherwise. ', 1)
    else:
        changed = text + "\\n" + edit
    open(path, "w").write(changed)
    for cached in vars(asked).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    print(signature(trial, "data", "vectorised"), flush=True)
    open(path, "w").write(text)
"""


@pytest.mark.slow
def test_an_edit_of_what_trains_counts_and_a_comment_or_another_loss_does_not(tmp_path: Path) -> None:
    package = tmp_path / "xentlab"
    shutil.copytree(Path(xentlab.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    edits = [[str(package / "errors.py"), ""]]
    edits += [[str(package / name), "_MORE = 1\n"] for name in DECIDING]
    edits += [[str(package / name), "comment"] for name in DECIDING[::3]]
    edits += [[str(package / name), "def another(logits, target):\n    return 0\n"] for name in ASIDE]
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(compose_train("loss=ce"))],
        input="".join(json.dumps(edit) + "\n" for edit in edits),
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reference, *found = done.stdout.split()
    cases = [(Path(path).name, edit[:7]) for path, edit in edits[1:]]
    told = {case: value != reference for case, value in zip(cases, found, strict=True)}
    assert told == {case: case[1].startswith("_MORE") for case in cases}


def train(folder: Path) -> str:
    command = [sys.executable, "-m", "xentlab", "train", "loss._target_=own_losses.deep.mine", "trainer.epochs=1"]
    environment = {**os.environ, "PYTHONPATH": f"{Path(xentlab.__file__).parent.parent}:{folder}"}
    done = subprocess.run([*command, "tracking=off"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_helper_two_imports_away_trains_again_and_a_docstring_does_not(tmp_path: Path) -> None:
    helper, package = tmp_path / "own_helper.py", tmp_path / "own_losses"
    package.mkdir()
    for file, text in (("__init__.py", ""), ("between.py", MIDDLE), ("deep.py", LOSS)):
        (package / file).write_text(text)
    helper.write_text(HELPER)
    assert "Already trained" not in train(tmp_path)
    assert "Already trained" in train(tmp_path)
    helper.write_text('"""Nine."""\n' + HELPER.replace("return v", "# nine times\n    return v"))
    assert "Already trained" in train(tmp_path)
    helper.write_text(HELPER.replace("9.0", "8.0"))
    assert "Already trained" not in train(tmp_path)


def test_a_function_typed_into_a_session_counts_by_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    import linecache
    import types

    config, found = compose_train(), []
    for factor in (1, 2):
        text = f"def typed(logits, target):\n    return logits.sum(1) * {factor}\n"
        module = types.ModuleType("typed_here")
        exec(compile(text, f"<cell {factor}>", "exec"), vars(module))
        linecache.cache[f"<cell {factor}>"] = (len(text), None, text.splitlines(True), f"<cell {factor}>")
        monkeypatch.setitem(sys.modules, "typed_here", module)
        found.append(signature(prepare({**config, "loss": {"_target_": "typed_here.typed"}}), "data", "vectorised"))
    assert found[0] != found[1]


def forget() -> None:
    """As a new process begins."""
    for remembered in (*vars(sys.modules["xentlab.train.signature"]).values(), code._cached):
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()


def test_a_signature_from_the_cache_is_the_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, found = prepare(compose_train()), []
    (tmp_path / "no folder").touch()
    for place in ("no folder", "cache", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
        forget()
        found.append(signature(trial, "data", "vectorised"))
    assert len(set(found)) == 1
    forget()
    monkeypatch.setattr(code, "_parsed", lambda content: pytest.fail(f"read again: {content!r}"))
    assert signature(trial, "data", "vectorised") == found[0]


def test_a_damaged_or_foreign_cache_of_what_files_say_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "own.py"
    file.write_text(LOSS)

    def asked() -> code.Code:
        forget()
        said = code.read_code(file)
        code.keep_read()
        return said

    said = asked()
    (cached,) = (tmp_path / "xentlab" / "code").iterdir()
    whole = cached.read_bytes()
    changed = whole.replace(said.digest.encode(), b"0" * 64)
    words = changed.partition(b"\n")[2]
    of_another_rule = hashlib.sha256(words).hexdigest().encode() + b"\n" + words
    for damaged in (b"", whole[:-9], changed, of_another_rule, b"\xff\x00\n[]"):
        assert damaged != whole
        cached.write_bytes(damaged)
        assert asked() == said
        assert cached.read_bytes() == whole, "the next command has it"
    file.write_text(LOSS.replace("none", "mean"))
    assert asked().digest != said.digest
