"""A campaign against a command line that is to lose nothing: kills, outages, clocks, damages, archives, bad input.

Every turn runs the real commands in child processes of this one, in a folder of its own, on loopback alone, and is
decided by the seed. A turn that finds something prints it; the table at the end counts what was tried and found.
Exit code 1 where anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from bad_input_lab import Key, bad_values, every_key
from children import SERVERS, Done, call, odd_server
from harness import show
from reproduce_lab import SMALL, forge
from test_journal_damage import HARMS, harmed
from test_reproduce_hostile import HOSTILE

from xentlab.journal import Records
from xentlab.tracking.settings import mlflow_module

PLANNED = {"kills": 100, "outages": 40, "clocks": 20, "damages": 60, "archives": 150, "bad input": 500}  # nightly
SHARE = {"kills": 0.3, "outages": 0.16, "clocks": 0.1, "damages": 0.16, "archives": 0.16, "bad input": 0.12}
TRAINING = (
    "train", "trainer.epochs=30", "trainer.checkpoint_every=3", "trainer.batch_size=16", "model.hidden=[8]",
    "trainer.train_sample=64", "dataset.train_fraction=0.3", "tracking=off",
)  # fmt: skip
FOUND = ("traceback", "exit code", "lost", "doubled", "RUNNING", "differs", "outside", "late", "not one sentence")


Numbers = dict[str, dict[str, list[tuple[int, float | None]]]]


def numbers(folder: Path) -> tuple[Numbers, list[str]]:
    """The curves of each finished trial by signature, and what is wrong with the records."""
    records = Records(folder / "xentlab-runs")
    records.update()
    records.mark_killed()
    found: Numbers = {}
    wrong = [f"RUNNING: {t.id}" for t in records.trials.values() if t.status == "running"]
    for trial in (t for t in records.trials.values() if t.status == "finished"):
        if trial.signature in found:
            wrong.append(f"doubled: {trial.label}")
        curves = {k: [(e, v) for e, _, v in p] for k, p in trial.curves.items() if not k.startswith("speed/")}
        wrong += [f"doubled: {k}" for k, p in curves.items() if len({e for e, _ in p}) < len(p)]
        found[trial.signature] = curves
    return found, wrong


def compared(folder: Path, wanted: Numbers) -> list[str]:
    """What an undisturbed run has and this one lacks, or has otherwise."""
    found, wrong = numbers(folder)
    wrong += [f"lost: {signature[:8]}" for signature in wanted.keys() - found.keys()]
    for signature in wanted.keys() & found.keys():
        for key, points in wanted[signature].items():
            have = dict(found[signature].get(key, []))
            wrong += [f"lost: {key} of epoch {epoch}" for epoch, _ in points if epoch not in have]
            wrong += [f"differs: {key}@{e}" for e, v in points if e in have and not _same(v, have[e])]
    return wrong


def _same(left: float | None, right: float | None) -> bool:
    return left == right or (left is not None and right is not None and math.isclose(left, right, rel_tol=1e-6))


def sound(done: Done, *codes: int) -> list[str]:
    """Whether a command ended as it may: with one of these codes, and with a sentence where it failed."""
    if done.code is None:
        return ["late"]
    wrong = ["traceback: " + done.err.strip().splitlines()[-1]] if "Traceback" in done.err + done.out else []
    wrong += [] if done.code in codes else [f"exit code {done.code}: {done.err.strip()[-200:]}"]
    told = [line for line in done.err.splitlines() if line.strip() and "warning" not in line]
    return wrong + (["not one sentence: " + done.err[-200:]] if done.code == 2 and len(told) != 1 else [])


def in_mlflow(folder: Path, database: Path | None = None) -> list[str]:
    """What is wrong with the store after `sync`; None is the folder's own."""
    finished, _ = numbers(folder)
    with closing(sqlite3.connect(database or folder / "xentlab-runs" / "mlflow.db")) as store:
        ended = [row[0] for row in store.execute("SELECT status FROM runs")]
        points = list(store.execute("SELECT COUNT(*), COUNT(DISTINCT step) FROM metrics GROUP BY run_uuid, key"))
    wrong = ["RUNNING: in MLflow"] if "RUNNING" in ended else []
    wrong += ["doubled: in MLflow"] if any(count > steps for count, steps in points) else []
    return wrong + (["lost: a run in MLflow"] if ended.count("FINISHED") < len(finished) else [])


@dataclass
class World:
    """What all turns share: an undisturbed training, a comparison with its archive, and a folder for each turn."""

    place: Path
    draws: random.Random
    wanted: Numbers
    seconds: float
    made: Path
    keys: list[Key]
    turn: int = 0

    @classmethod
    def begin(cls, place: Path, seed: int) -> World:
        whole, made = place / "whole", place / "made"
        whole.mkdir()
        made.mkdir()
        began = time.monotonic()
        done = call(whole, *TRAINING)
        assert done.code == 0, done.err
        seconds = time.monotonic() - began
        for words in (SMALL, ("export", "quickstart", "-o", "comparison.zip")):
            done = call(made, *words)
            assert done.code == 0, done.err
        return cls(place, random.Random(seed), numbers(whole)[0], seconds, made, list(every_key()))

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        self.turn += 1
        folder = self.place / f"turn{self.turn}" / "here"
        folder.mkdir(parents=True)
        yield folder
        shutil.rmtree(folder.parent)


def kills(world: World, folder: Path) -> list[str]:
    """kill -9 at up to three random moments, then the same command to its end."""
    for _ in range(world.draws.randint(1, 3)):
        call(folder, *TRAINING, kill_after=world.draws.uniform(0.05, 1.1) * world.seconds)
    return sound(call(folder, *TRAINING), 0) + compared(folder, world.wanted)


def clocks(world: World, folder: Path) -> list[str]:
    """Killed under one clock, gone on with under another: set back or forward by up to years."""
    for _ in range(2):
        after = world.draws.uniform(0.3, 0.9) * world.seconds
        call(folder, *TRAINING, kill_after=after, clock=world.draws.choice([-1, 1]) * 10 ** world.draws.uniform(0, 8))
    return sound(call(folder, *TRAINING), 0) + compared(folder, world.wanted)


def outages(world: World, folder: Path) -> list[str]:
    """A sender killed at a random moment and started again; or a server that answers oddly, and then a good one."""
    shutil.copytree(world.place / "whole" / "xentlab-runs", folder / "xentlab-runs")
    if world.draws.random() < 0.5:
        call(folder, "sync", kill_after=world.draws.uniform(0.1, 12.0))
        wrong = []
    else:
        with odd_server(world.draws.choice(SERVERS)) as address:
            wrong = sound(call(folder, "sync", "--uri", address, "--all"), 2)
    done = call(folder, "sync", "--all")
    return wrong + sound(done, 0) + (in_mlflow(folder) if done.code == 0 else [])


def damages(world: World, folder: Path) -> list[str]:
    """A journal's line, a checkpoint, weights or a folder damaged; then every command, and the training again."""
    kind = world.draws.choice(["line", "line", "checkpoint", "weights", "stray"])
    if kind == "checkpoint":
        call(folder, *TRAINING, kill_after=world.draws.uniform(0.5, 1.0) * world.seconds)
    else:
        shutil.copytree(world.place / "whole" / "xentlab-runs", folder / "xentlab-runs")
    root = folder / "xentlab-runs"
    files = {"line": "journal/*.jsonl", "checkpoint": "checkpoints/*.pt", "weights": "trials/*/*.pt", "stray": "x"}
    for path in sorted(root.glob(files[kind]))[:1]:
        if kind == "line":
            lines = path.read_bytes().splitlines(keepends=True)
            at = world.draws.randrange(len(lines))
            lines[at] = HARMS[world.draws.choice(sorted(HARMS))](lines[at])
            path.write_bytes(b"".join(lines))
        else:
            harmed(path, world.draws.choice(["cut", "empty", "another's", "bytes changed"]), world.draws)
    if kind == "stray":
        (root / "journal" / world.draws.choice(["x.jsonl", "old", "a b"])).mkdir(parents=True)
    wrong = sound(call(folder, "doctor"), 0, 1) + sound(call(folder, *TRAINING), 0)
    found = compared(folder, world.wanted)
    epochs = {words.rpartition(" ")[2] for words in found if words.startswith("lost: ")}
    # what a line said is lost with it, which is one epoch; its trial may have been trained again for it
    return wrong + (found if kind != "line" or len(epochs) > 1 else [w for w in found if w.startswith("differs")])


def archives(world: World, folder: Path) -> list[str]:
    """A hostile archive, or bytes changed anywhere; then what is here is looked at."""
    if world.draws.random() < 0.5:
        change, _ = HOSTILE[world.draws.choice(sorted(HOSTILE))]
        forge(world.made, folder / "a.zip", change)
    else:
        shutil.copy(world.made / "comparison.zip", folder / "a.zip")
        harmed(folder / "a.zip", world.draws.choice(["cut", "bytes changed"]), world.draws)
    words = world.draws.choice([("import", "a.zip"), ("reproduce", "--from", "a.zip", "--no-tracking")])
    wrong = sound(call(folder, *words), 0, 1, 2) + sound(call(folder, "doctor"), 0, 1)
    outside = {path.name for path in folder.parent.iterdir()} | {path.name for path in folder.iterdir()}
    return wrong + [f"outside: {name}" for name in outside - {"here", "a.zip", "xentlab-runs"}]


def bad_input(world: World, folder: Path) -> list[str]:
    """A bad value for a key of a config, made from the key's rule."""
    key = world.draws.choice(world.keys)
    wrong = sound(call(folder, *key.words(world.draws.choice(bad_values(key.knob)))), 2)
    return wrong + [f"outside: {path.name}" for path in folder.iterdir()]


TURNS: dict[str, Callable[[World, Path], list[str]]] = {
    "kills": kills, "outages": outages, "clocks": clocks, "damages": damages, "archives": archives,
    "bad input": bad_input,
}  # fmt: skip


def campaign(world: World, minutes: float, kinds: Sequence[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """As many turns of each kind as are planned or its share of the time allows; what was tried, and what was found."""
    tried: Counter[str] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    whole = sum(SHARE[kind] for kind in kinds)
    for kind in kinds:
        until = time.monotonic() + 60 * minutes * SHARE[kind] / whole
        while tried[kind] < PLANNED[kind] and (time.monotonic() < until or not tried[kind]):
            with world.folder() as folder:
                wrong = TURNS[kind](world, folder)
            tried[kind] += 1
            for words in wrong:
                print(f"{kind} {tried[kind]} (turn {world.turn}): {words}", file=sys.stderr, flush=True)
                found[kind, next(name for name in FOUND if words.startswith(name))] += 1
    return tried, found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=120.0, help="what all of it may take (default: %(default)g)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(PLANNED)} (default: all)")
    chosen = options.parse_args()
    kinds = chosen.kinds or list(PLANNED)
    if unknown := set(kinds) - set(PLANNED):
        options.error(f"KIND must be of {', '.join(PLANNED)}, got {', '.join(unknown)}")
    mlflow_module()  # imported once, for all children
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xentlab-chaos-") as place:
        tried, found = campaign(World.begin(Path(place), chosen.seed), chosen.minutes, kinds)
    rows = [[kind, f"{tried[kind]} of {PLANNED[kind]}", *(str(found[kind, name]) for name in FOUND)] for kind in kinds]
    title = f"chaos, seed {chosen.seed}, {(time.monotonic() - began) / 60:.1f} minutes"
    show(title, ["kind", "tried", *FOUND], rows, left=("kind",))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
