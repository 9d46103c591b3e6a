"""No secret reaches a file: every byte that a comparison writes is searched for planted ones."""

from __future__ import annotations

import os
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from xentlab.cli import main
from xentlab.environment import git_state
from xentlab.secrets import redacted

IN_FILE, IN_URI, IN_QUERY, IN_VARIABLE = "s3cret-in-dotenv", "s3cret-in-uri", "s3cret-in-query", "s3cret-in-variable"
COMMAND = (
    "compare", "trainer.epochs=1", "dataset.train_fraction=0.2", "model.hidden=[4]", "comparison.losses=[ce,mse]",
    "comparison.tune.optimizer.lr=[0.1]", "comparison.final_seeds=2", "comparison.extensions=0",
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "checkout"
    here.mkdir()
    monkeypatch.chdir(here)
    for command in (["init", "-q"], ["config", "user.email", "a@b.c"], ["config", "user.name", "a"]):
        subprocess.run(["git", *command], check=True)
    (here / ".env").write_text("KEY=old\n")
    subprocess.run(["git", "add", ".env"], check=True)
    subprocess.run(["git", "commit", "-q", "-m", "x"], check=True)
    (here / ".env").write_text(f"KEY={IN_FILE}\n")
    return here


def leaks(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            bodies = {str(path): path.read_bytes()}
            if zipfile.is_zipfile(path):
                archive = zipfile.ZipFile(path)
                bodies |= {f"{path}/{name}": archive.read(name) for name in archive.namelist()}
            for name, body in bodies.items():
                if told := [s for s in (IN_FILE, IN_URI, IN_QUERY, IN_VARIABLE) if s.encode() in body]:
                    found[name] = told
    return found


def test_no_byte_that_is_written_holds_a_planted_secret(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_API_KEY", IN_VARIABLE)
    before = os.umask(0o022)
    try:
        uri = f"tracking.uri=mysql://ada:{IN_URI}@db.invalid/x?token={IN_QUERY}"
        question = f"comparison.question='is it {IN_VARIABLE} or https://ada:{IN_URI}@x.invalid'"
        assert main([*COMMAND, "tracking.enabled=false", uri, question]) == 0
        assert main(["export", "quickstart", "-o", "a.zip"]) == 0
    finally:
        os.umask(before)
    written = checkout / "xentlab-runs"
    assert len(list(written.rglob("*"))) > 10
    (checkout / ".env").unlink()
    assert leaks(checkout) == {}
    said = capsys.readouterr()
    assert IN_FILE not in said.out + said.err
    modes = {stat.S_IMODE(p.stat().st_mode) for p in written.rglob("*") if p.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in [written, *written.rglob("*")] if p.is_dir()} == {0o700}
    assert stat.S_IMODE((checkout / "a.zip").stat().st_mode) == 0o644


def test_the_difference_itself_is_kept_only_where_it_is_asked_for(checkout: Path) -> None:
    state = git_state(checkout)
    assert "diff" not in state
    assert state["changed"]["files"] == [".env"]
    assert len(state["changed"]["sha256"]) == 64
    assert IN_FILE in git_state(checkout, diff=True)["diff"]
    assert main(["train", "tracking=off", "trainer.epochs=1", "model.hidden=[4]", "output.diff=true"]) == 0
    journal = next((checkout / "xentlab-runs" / "journal").iterdir()).read_text()
    assert IN_FILE in journal


TEXTS: dict[str, Callable[[str], str]] = {
    "a login": lambda s: f"postgresql://ada:{s}@db/x",
    "a login in a text": lambda s: f"could not reach 'https://ada:{s}@host/x' today",
    "a token": lambda s: f"https://host/x?a=1&access_token={s}",
    "a variable's": lambda s: f"{s} said somebody",
}


@pytest.mark.parametrize("where", TEXTS)
def test_redaction(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    secret = "hunter2hunter2"
    monkeypatch.setenv("DB_PASSWORD", secret if where == "a variable's" else "unrelated-one")
    text = TEXTS[where](secret)
    told = redacted({"a": [text, 1, None], "b": {"c": text}})
    assert secret not in str(told)
    assert told["a"][0] == text.replace(secret, "***")
    assert told["a"][1:] == [1, None]
