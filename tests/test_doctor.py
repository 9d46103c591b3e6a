"""What is damaged is found, and made again from what the other files still say; nothing is removed."""

from __future__ import annotations

import random
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from xentlab import doctor
from xentlab.journal import Records, TrialRecord
from xentlab.run.checkpoint import Checkpoint, check_tensors
from xentlab.tracking import SendReport, database_damage, resolve_destination

Run = Callable[..., tuple[int, str, str]]
SMALL = ("trainer.epochs=3", "model.hidden=[4]", "dataset=digits", "dataset.train_fraction=0.2")
# mlflow's own queries use what its SQLAlchemy deprecates; a warning that xentlab causes names another module
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")


def read(root: Path) -> Records:
    records = Records(root)
    records.update()
    records.mark_killed()
    return records


def facts(trial: TrialRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(trial).items() if key not in ("session", "start")}


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def harm(path: Path) -> None:
    """Change bytes in the middle of a file."""
    body = bytearray(path.read_bytes())
    for at in random.Random(0).sample(range(len(body) // 4, len(body)), min(200, len(body) // 4)):
        body[at] ^= 0xFF
    path.unlink()  # another name of it keeps what it has
    path.write_bytes(body)


def harm_line(path: Path, kind: str) -> None:
    """Damage the first line of this kind."""
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith(b'{"event": "%s"' % kind.encode()))
    lines[at] = lines[at].replace(b'"time"', b'"tame"')
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("line", ["group", "trial", "member", "epoch", "end"])
def test_a_journal_is_repaired_from_its_whole_lines_and_the_folders_of_its_trials(
    run: Run, recorded: Run, here: Path, line: str
) -> None:
    assert recorded("train", "-m", "seed=0,1", *SMALL, "tracking=off")[0] == 0
    root = here / "xentlab-runs"
    (segment,) = (root / "journal").glob("*.jsonl")
    whole, before = read(root), segment.read_bytes()
    harm_line(segment, line)
    damaged = segment.read_bytes()
    code, out, _ = run("doctor")
    assert code == 1
    assert "its checksum differs" in " ".join(out.split())
    code, out, _ = run("doctor", "--repair")
    out = " ".join(out.split())
    assert "damaged, it is" in out
    assert (code, "problem" in out) == (0, False)
    assert (root / "journal" / f"{segment.name}.damaged").read_bytes() == damaged
    assert len(segment.read_bytes().splitlines()) == len(before.splitlines()) - 1
    found = read(root)
    assert found.loss() is None
    assert found.lost == set()
    if line in ("trial", "member"):  # what the trial's folder says as well
        assert {name: facts(trial) for name, trial in found.trials.items()} == {
            name: facts(trial) for name, trial in whole.trials.items()
        }
    (group,) = found.groups.values()
    assert set(group.members) == set(whole.trials) or line == "member"
    if line == "group":  # the root keeps its opening a second time
        (told,) = whole.groups.values()
        times = ("session", "start", "end")
        one, other = ({k: v for k, v in vars(g).items() if k not in times} for g in (group, told))
        assert one == other
    assert run("doctor", "--repair")[0] == 0  # again it finds nothing to do
    assert read(root).trials.keys() == whole.trials.keys()
    assert len(list((root / "journal").iterdir())) == 2 + (line in ("group", "trial"))


def test_what_cannot_be_made_again_is_said_and_set_aside(run: Run, here: Path) -> None:
    assert run("train", *SMALL, "tracking=off")[0] == 0
    root = here / "xentlab-runs"
    (name,) = read(root).trials
    harm(root / "trials" / name / "best.pt")
    checkpoint = Checkpoint(root, ["s"])
    checkpoint.save([name], {"done": 1})
    harm(checkpoint.path)
    (segment,) = (root / "journal").glob("*.jsonl")
    harm_line(segment, "trial")
    (root / "trials" / name / "opening.jsonl").unlink()
    (here / "shared.zip").write_bytes(b"no archive")
    assert len(doctor.examine(resolve_destination(None, None, root), [here / "shared.zip"])) == 5
    bodies = sorted(files(root).values())
    code, out, _ = run("doctor", "shared.zip", "--repair")
    out = " ".join(out.split())
    assert code == 1
    assert f"The line that opened {name} cannot be made again" in out
    assert "best.pt.damaged: training again takes its place" in out
    assert "problem: shared.zip must be an archive" in out
    kept = list(files(root).values())
    assert all(body in kept for body in bodies)  # nothing is gone


def test_whatever_byte_of_a_tensor_file_is_changed_it_is_damaged_or_whole(tmp_path: Path) -> None:
    file = tmp_path / "final.pt"
    torch.save({"weight": torch.zeros(3)}, file)
    body, told = file.read_bytes(), 0
    for at in range(0, len(body), 3):
        file.write_bytes(body[:at] + bytes([body[at] ^ 0x9C]) + body[at + 1 :])
        try:
            check_tensors(file)
        except (OSError, zipfile.BadZipFile):  # both of which callers expect
            told += 1
    assert told > 50


@pytest.mark.slow
def test_mlflow_is_made_again_from_the_journal(run: Run, here: Path) -> None:
    assert run("train", "-m", "seed=0,1", *SMALL, "tracking.wait=100")[0] == 0
    root = here / "xentlab-runs"
    store = root / "mlflow.db"

    def told() -> list[Any]:
        with closing(sqlite3.connect(store)) as connection:
            points = connection.execute("SELECT key, step, value FROM metrics ORDER BY 1, 2, 3").fetchall()
            return [points, connection.execute("SELECT status FROM runs").fetchall()]

    whole = told()
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    harm(store)
    damaged = store.read_bytes()
    assert database_damage(store) is not None
    code, out, _ = run("doctor")
    assert code == 1
    code, out, _ = run("doctor", "--repair")
    out = " ".join(out.split())
    assert code == 0, out
    assert "3 runs made" in out
    assert (root / "mlflow.db.damaged").read_bytes() == damaged
    assert told() == whole


def test_nothing_is_sent_where_nothing_was_tracked(run: Run, here: Path) -> None:
    assert run("train", *SMALL, "tracking=off")[0] == 0

    def send() -> SendReport:
        raise AssertionError("it was called")

    assert list(doctor.repair(resolve_destination(None, None, here / "xentlab-runs"), send)) == []
