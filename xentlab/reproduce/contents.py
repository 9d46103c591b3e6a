"""The zip: written in one order with one date, read with every name, size and sha256 checked before use."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xentlab.disk import not_written, written_whole
from xentlab.errors import UserError
from xentlab.typed import from_json

FORMAT = 1
# Nothing that could run: text, numbers and pictures.
SUFFIXES = (".html", ".md", ".tex", ".json", ".jsonl", ".yaml", ".csv", ".svg", ".png", ".txt")
MEMBERS = 1_000
# Bytes of all members unpacked; a small archive can declare far more than a disk holds.
BYTES = 2**29
_PIECE = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. +-]*(/[A-Za-z0-9_][A-Za-z0-9_. +-]*){0,4}")


def write_archive(out: Path, facts: Mapping[str, Any], members: Mapping[str, bytes]) -> int:
    """Write `members` and their manifest as a zip, replaced whole or not at all; returns its bytes."""
    size = sum(map(len, members.values()))
    if size > BYTES or len(members) >= MEMBERS:
        raise UserError(
            f"An archive holds at most {MEMBERS - 1} files of {BYTES >> 20} MiB in all, "
            f"the comparison has {len(members)} of {size >> 20} MiB."
        )
    for name in members:
        _check_name(name, out.name)
    listed = {
        name: {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)} for name, body in sorted(members.items())
    }
    manifest = json.dumps({"format": FORMAT, **facts, "members": listed}, indent=1, ensure_ascii=False) + "\n"
    try:
        out.parent.stat()  # it is not made
        with written_whole(out) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in [("manifest.json", manifest.encode()), *sorted(members.items())]:
                entry = zipfile.ZipInfo(name, _DATE)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, (stat.S_IFREG | 0o644) << 16
                entry.create_system = 3  # Unix, on every machine
                archive.writestr(entry, body)
    except OSError as error:
        raise not_written("-o must be a file", out, error) from error
    return out.stat().st_size


def read_members(file: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and every other member by its name.

    Raises:
        UserError: no archive, a later format, a name or size that is not allowed, or contents that the manifest denies.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, file.name)
            found = {entry.filename: _unpack(archive, entry) for entry in entries}
    except FileNotFoundError as error:
        raise UserError(f"{file} must be an archive of `xentlab export`, but there is no such file.") from error
    except OSError as error:
        raise UserError(f"{file} must be a file that can be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{file} must be an archive of `xentlab export`, but cannot be read: {error!s:.200}."
        ) from error
    if "manifest.json" not in found:
        raise UserError(f"{file.name} must hold a manifest.json: it is no archive of `xentlab export`.")
    manifest = json_of(found.pop("manifest.json"), "manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("members"), dict):
        raise UserError(f"The manifest of {file.name} must be a mapping that lists the members.")
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"{file.name} must be of format {FORMAT}, which this xentlab reads, got {manifest.get('format')!r}."
        )
    listed = manifest.pop("members")
    for name in sorted(listed.keys() ^ found.keys()):
        where = "lists but does not hold" if name in listed else "holds but does not list"
        raise UserError(f"{file.name} {where} {name}.")
    for name, body in found.items():
        facts = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
        if listed[name] != facts:
            raise UserError(f"{name} in {file.name} is not what the manifest says: its bytes or its sha256 differ.")
    return manifest, found


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member piece by piece, and no more of it than it declares: what it says of its size is not believed."""
    pieces, left = [], entry.file_size
    with archive.open(entry) as member:
        while piece := member.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename} is larger than it declares")
            pieces.append(piece)
    return b"".join(pieces)


def _check_entries(entries: list[zipfile.ZipInfo], archive: str) -> None:
    """Refuse names that leave the folder, links, doubles and sizes beyond the limits; unpacks nothing."""
    if len(entries) > MEMBERS:
        raise UserError(f"{archive} must hold at most {MEMBERS} files, got {len(entries)}.")
    size = sum(entry.file_size for entry in entries)
    if size > BYTES:
        raise UserError(f"{archive} must unpack to at most {BYTES >> 20} MiB, but declares {size >> 20} MiB.")
    seen: set[str] = set()
    for entry in entries:
        _check_name(entry.filename, archive)
        if entry.filename.lower() in seen:
            raise UserError(f"{archive} holds {entry.filename} twice.")
        seen.add(entry.filename.lower())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UserError(f"{archive} must hold plain files only, but {entry.filename} is a link or a device.")
        if entry.flag_bits & 1:
            raise UserError(f"{archive} must not be encrypted, but {entry.filename} is.")


def _check_name(name: str, archive: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise UserError(f"{archive} holds {name!r}, which is no plain relative path inside a folder.")
    if not name.endswith(SUFFIXES):
        raise UserError(f"{archive} holds {name}, but only {', '.join(SUFFIXES)} files belong into it.")


def decoded(body: bytes, name: str) -> str:
    """The member as text."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{name} must be UTF-8 text.") from error


def json_of(body: bytes, name: str) -> Any:
    """The member as JSON."""
    try:
        return from_json(Any, json.loads(decoded(body, name), parse_constant=refuse_constant), name)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} must be JSON: {error}.") from error


def refuse_constant(name: str) -> None:
    """NaN and infinity are no JSON, whatever Python's parser says."""
    raise ValueError(f"{name} is no number")
