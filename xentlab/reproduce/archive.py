"""One file that holds a comparison, a sweep or a trial, for `xentlab export`, `import` and `reproduce --from`.

A zip without pickles, the same bytes whenever the same comparison is exported:

    manifest.json       the format's version, what the archive holds, and sha256 and bytes of every other member
    fingerprints.json   sha256 of each dataset's data
    journal.jsonl       the events of exactly the trials and groups concerned, by session
    comparison/...      a comparison's folder: report, verdicts, protocol, environment, list of trials

- `contents`: the zip itself, and what is refused in one that came from elsewhere
- `segments`: which events of a journal belong to a comparison, and which events may enter a journal

The contract: nothing that an archive says is believed before it is checked, and nothing is written before all is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xentlab import __version__
from xentlab.catalogue.trash import move
from xentlab.comparison.folder import groups_below, load_protocol, read_record
from xentlab.comparison.protocol import Name
from xentlab.disk import not_written, written_whole
from xentlab.errors import UserError
from xentlab.journal import GroupRecord, Records, TrialRecord
from xentlab.plain import one_line
from xentlab.report import html, latex, markdown
from xentlab.reproduce import contents, segments
from xentlab.typed import from_json

# Of a comparison's folder what is data; its pages are made anew.
_KEPT = (".json", ".yaml", ".csv")
_NEEDED = ("verdicts.json", "protocol.yaml", "environment.json", "trials.json")


@dataclass(frozen=True)
class Archive:
    """A comparison read from an archive and checked: its name, group, files by name, journal events and protocol.

    `digest` is of its journal, `source` the name of its file. A sweep or a trial has no files and no protocol; `group`
    of a trial is its id.
    """

    name: str
    group: str
    files: dict[str, bytes]
    sessions: list[segments.ArchivedSession]
    protocol: dict[str, Any] | None
    digest: str
    source: str

    @property
    def configs(self) -> list[Any]:
        """Every config that the archive holds: the protocol's, and each trial's."""
        opened = [e for s in self.sessions for e in s.events if e["event"] == "trial"]
        return [*([self.protocol] if self.protocol else []), *(event["config"] for event in opened)]

    @property
    def folder(self) -> str:
        """The name of its folder, which holds no path of its own."""
        return f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', self.name).strip('.') or '_'}-{self.group}"

    @property
    def ids(self) -> list[str]:
        """Every trial and group that it opens."""
        return [e[e["event"]] for s in self.sessions for e in s.events if e["event"] in ("trial", "group")]


@dataclass(frozen=True)
class Imported:
    """What an import brought: the comparison's folder if it is one, and how many trials and files were new."""

    folder: Path | None
    trials: int
    files: int


def export_record(
    records: Records, record: TrialRecord | GroupRecord, folder: Path | None, out: Path, *, diff: bool = False
) -> tuple[int, int]:
    """Write a comparison, a sweep or a trial as one archive.

    Args:
        out: the file to write; replaced whole or not at all.
        diff: leave the uncommitted difference in, where it was recorded.

    Returns:
        The number of trials, and the archive's size in bytes.

    Raises:
        UserError: the folder lacks what a stranger needs, or the file cannot be written.
    """
    missing = [name for name in _NEEDED if folder is not None and not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} must hold {missing[0]}, which it lacks: run the comparison again.")
    groups = groups_below(records, record.id) if isinstance(record, GroupRecord) else []
    trials = list(dict.fromkeys(member for name in groups for member in records.groups[name].members)) or [record.id]
    names = {name: records.groups[name].marks.get("name", "") for name in groups}
    members = {"journal.jsonl": segments.select(records.root, names, set(trials), diff=diff)}
    prints: dict[str, set[str]] = {}
    for trial in (records.trials[name] for name in trials):
        prints.setdefault(trial.tags["dataset"], set()).add(trial.tags["fingerprint"])
    ordered = {name: sorted(found) for name, found in sorted(prints.items())}
    members["fingerprints.json"] = (json.dumps(ordered, indent=1) + "\n").encode()
    if folder is not None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.suffix in contents.SUFFIXES:
                members[f"comparison/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    if not diff and folder is not None:
        kept = segments.without_diff(json.loads(members["comparison/environment.json"]))
        members["comparison/environment.json"] = (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode()
    name = record.name if isinstance(record, GroupRecord) else record.label
    kind = "comparison" if folder is not None else "sweep" if isinstance(record, GroupRecord) else "trial"
    facts = {"written_by": f"xentlab {__version__}", "name": name, "group": record.id}
    return len(trials), contents.write_archive(out, facts | ({} if folder is not None else {"kind": kind}), members)


def read_archive(file: Path) -> Archive:
    """Read and check an archive; writes nothing.

    Raises:
        UserError: what makes it no archive that can be trusted to be whole, in one sentence.
    """
    facts, members = contents.read_members(file)
    name, group, kind = facts.get("name"), facts.get("group"), facts.get("kind", "comparison")
    if not isinstance(name, str) or not isinstance(group, str) or not segments.is_id(group):
        raise UserError(f"The manifest of {file.name} must name a comparison and its group.")
    if kind not in ("comparison", "sweep", "trial"):
        raise UserError(f"The manifest of {file.name} must be of a comparison, a sweep or a trial, got {kind!r:.40}.")
    if kind == "comparison":
        from_json(Name, name, "The name in the manifest")
        for needed in (*(f"comparison/{part}" for part in _NEEDED), "journal.jsonl"):
            if needed not in members:
                raise UserError(f"{file.name} must hold {needed}, which it lacks.")
    else:
        name = one_line(name)[:200]
        if members.keys() - {"fingerprints.json"} != {"journal.jsonl"}:
            got = ", ".join(members)
            raise UserError(f"{file.name} must hold journal.jsonl and fingerprints.json alone, got {got}.")
    sessions = segments.read_sessions(contents.decoded(members["journal.jsonl"], "journal.jsonl"))
    event, said = ("trial", group) if kind == "trial" else ("group", f"the group {group}")
    if group not in {e[event] for s in sessions for e in s.events if e["event"] == event}:
        raise UserError(f"journal.jsonl of {file.name} must hold {said}, which its manifest names.")
    digest = hashlib.sha256(members["journal.jsonl"]).hexdigest()
    files, protocol = _read_folder(members, file.name) if kind == "comparison" else ({}, None)
    return Archive(name, group, files, sessions, protocol, digest, file.name)


def _read_folder(members: Mapping[str, bytes], source: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a comparison's folder that are to be kept, and its protocol."""
    files = {key.removeprefix("comparison/"): body for key, body in members.items() if key.startswith("comparison/")}
    protocol = load_protocol(contents.decoded(files["protocol.yaml"], "protocol.yaml"))
    for name, kind in (("verdicts.json", dict), ("environment.json", dict), ("trials.json", list)):
        if not isinstance(contents.json_of(files[name], name), kind):
            raise UserError(f"{name} of {source} must be a {'mapping' if kind is dict else 'list'}.")
    from_json(Name, protocol["comparison"].get("name"), "comparison.name of protocol.yaml")
    kept = {key: body for key, body in files.items() if key.endswith(_KEPT)}
    return kept | _laid_out(files["verdicts.json"]), protocol


def _laid_out(verdicts: bytes) -> dict[str, bytes]:
    """The pages of a record, made here: what a stranger's say or run is not taken over."""
    whole = contents.json_of(verdicts, "verdicts.json")
    try:
        record = read_record(whole)
        pages = {"report.html": html(record), "report.md": markdown(record), "report.tex": latex(record)}
        return {name: page.encode() for name, page in pages.items()}
    except UserError:
        raise
    except Exception as error:  # of a sound shape, yet of numbers that no axis can show
        raise UserError(f"verdicts.json must be a record that can be laid out, got {error!r:.120}.") from error


def import_archive(archive: Archive, root: Path) -> Imported:
    """Bring a comparison into an output directory: its events as closed segments of the journal, and its folder.

    What is there already stays as it is, so that importing twice adds nothing. Later comparisons reuse the trials and
    say so, unless they are to be their own.

    Raises:
        UserError: the comparison is here with other contents, or the directory cannot be written.
    """
    records = Records(root)
    records.update()
    folder = Path("comparisons") / archive.folder
    opened = {e["group"]: e["parent"] for s in archive.sessions for e in s.events if e["event"] == "group"}
    segments.check_circles(opened | {name: group.parent for name, group in records.groups.items()})
    for name in ("verdicts.json", "protocol.yaml", "trials.json"):
        path = root / folder / name
        if archive.files and path.is_file() and path.read_bytes() != archive.files[name]:
            raise UserError(f"{path} is here already and says something else than the archive: import it elsewhere.")
    try:
        folders = {archive.group: str(folder)} if archive.files else {}
        added = segments.write_sessions(archive.sessions, records, archive.digest, archive.source, folders)
        removed = {record.id for record in records.everything() if record.removed}
        back = [name for name in dict.fromkeys(archive.ids) if name in removed]
        move(records, back, "")
        added += sum(name in records.trials for name in back)
        written = 0
        for name, body in archive.files.items():
            path = root / folder / name
            if not path.exists():
                with written_whole(path) as scratch:
                    scratch.write_bytes(body)
                written += 1
    except OSError as error:
        raise not_written("--root must be a directory", root, error) from error
    return Imported(root / folder if archive.files else None, added, written)
