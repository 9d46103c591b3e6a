"""Foreign code is refused, and never imported, wherever a record names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from reproduce_lab import Run, forge, rewrite, trials

from xentlab.dotted import locate, only
from xentlab.errors import UserError
from xentlab.reproduce import ALLOWED, check_targets

pytest_plugins = ("reproduce_fixtures",)


MARKER = "from pathlib import Path\nPath('imported').touch()\n"


def with_config(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    """Change the protocol's config and that of every trial."""

    def apply(members: dict[str, bytes]) -> None:
        protocol = yaml.safe_load(members["comparison/protocol.yaml"])
        change(protocol)
        members["comparison/protocol.yaml"] = yaml.safe_dump(protocol).encode()
        events = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        for event in events:
            if event["event"] == "trial":
                change(event["config"])
        members["journal.jsonl"] = "".join(json.dumps(event) + "\n" for event in events).encode()

    return apply


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a target of its own": (lambda c: c["loss"].update(_target_="os.system"), "os.system"),
    "a module that acts": (lambda c: c["model"].update(_target_="marker.model"), "marker.model"),
    "deep inside": (lambda c: c["dataset"].update(a=[{"b": {"_target_": "marker.x"}}]), "marker.x"),
    "a term of a compound": (
        lambda c: c["loss"].update(_target_="xentlab.losses.compound", terms={"a": {"_target_": "marker.x"}}),
        "marker.x",
    ),
    "a target that is no word": (lambda c: c["loss"].update(_target_=["os.system"]), "os.system"),
    "beginning well": (lambda c: c["loss"].update(_target_="xentlabx.loss"), "xentlabx.loss"),
    "a module that is a program": (lambda c: c["loss"].update(_target_="xentlab.__main__.x"), "xentlab.__main__.x"),
}


@pytest.mark.parametrize("how", list(HOSTILE))
def test_foreign_code_is_refused_and_never_imported(run: Run, made: Path, here: Path, how: str) -> None:
    (here / "marker.py").write_text(MARKER)
    change, named = HOSTILE[how]
    archive = forge(made, here / "hostile.zip", with_config(change))
    code, out, err = run("reproduce", "--from", str(archive), "--no-tracking")
    assert code == 2
    assert out == ""
    assert f"names {named}, which is not imported" in err
    assert len(err.strip().splitlines()) == 1
    assert not (here / "imported").exists()
    assert not (here / "xentlab-runs").exists()


@pytest.mark.parametrize("kind", ["trial", "comparison"])
def test_a_journal_of_ones_own_is_not_believed_either(
    run: Run, copy: Path, here: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "marker.py").write_text(MARKER + "from xentlab.losses import ce\n")
    monkeypatch.syspath_prepend(here)

    def change(event: dict[str, Any]) -> None:
        if event["event"] == "trial" and event["config"]["loss"]["_target_"] == "xentlab.losses.ce":
            event["config"]["loss"]["_target_"] = "marker.ce"

    rewrite(copy, change)
    name = trials(copy, "final")[0].id if kind == "trial" else "quickstart"
    code, _, err = run("reproduce", name, "--no-tracking")
    assert code == 2
    assert "loss._target_ names marker.ce" in err
    assert not (here / "imported").exists()
    if kind == "trial":  # the code would have run: --trust lets it
        assert run("reproduce", name, "--no-tracking", "--trust")[0] == 0
        assert (here / "imported").exists()


def test_a_way_out_through_an_allowed_module_is_closed() -> None:
    with only(ALLOWED):
        assert locate("loss", "xentlab.losses.ce").__name__ == "ce"
        assert locate("loss", "torch.nn.Linear").__name__ == "Linear"
        assert locate("model", "torchvision.models.resnet18").__name__ == "resnet18"
        for target in ("xentlab.journal.writer.os.system", "xentlab.losses.adapters.functools.partial", "os.system"):
            with pytest.raises(UserError, match="which is not imported"):
                locate("loss", target)
    assert locate("loss", "os.system").__name__ == "system"
    check_targets({"a": [{"_target_": "torch.nn.Linear"}, {"_target_": "torchvision.models.resnet18"}]})
    with pytest.raises(UserError, match=r"comparison\.axes\._target_ names os\.system|axes"):
        check_targets({"comparison": {"axes": {"loss._target_": ["os.system"]}}})


def test_a_term_by_name_cannot_leave_the_losses(run: Run, made: Path, here: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        terms = {"adapters.inspect.os.system": {}}
        config["loss"] = {"_target_": "xentlab.losses.compound", "_partial_": True, "terms": terms, "smoothing": 0.0}

    archive = forge(made, here / "hostile.zip", with_config(change))
    trial = trials(made / "xentlab-runs", "final")[0].id
    code, _, err = run("reproduce", trial, "--from", str(archive), "--no-tracking")
    assert code == 2
    assert "os.system, which is not imported" in err
