"""The sender: brings MLflow to what the journal says. What is there already is found by its tags, never made again.

A run is identified by the tags `xentlab.trial` and `xentlab.group`. Its last write is `xentlab.complete`; until then
every pass may send its points again, which changes nothing, as they carry the journal's own timestamps.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from xentlab.journal import GroupRecord, Records, TrialRecord, new_id
from xentlab.tracking import content
from xentlab.tracking.backend import Backend, Change, Found, New
from xentlab.tracking.client import AT_ONCE, each
from xentlab.tracking.content import MetricPoint
from xentlab.tracking.files import copy_into, local_folder, locked, send_into
from xentlab.tracking.keys import Key, parent_of, place_of, record_of
from xentlab.tracking.sent import SendReport, SentRun, shelved
from xentlab.tracking.settings import Destination, mlflow_module
from xentlab.tracking.store import open_store

TOGETHER = 32  # runs that are brought up to date at once
PICTURES = 8  # trials of a sweep that get pictures: the first ones
Render = Callable[[TrialRecord, Path], object]


Work = tuple[Key, SentRun, TrialRecord | GroupRecord]


class Sender:
    """Sends records to one store. Opens it with its first work, so that nothing to send makes no database.

    Of a sweep, the first 8 trials get pictures of their own, as every trial outside of a sweep does: drawing them
    takes far longer than sending all their numbers, and MLflow draws the curves of every trial itself.
    """

    def __init__(self, destination: Destination, *, render: Render | None = None) -> None:
        self.destination = destination
        self.render = render
        self.report = SendReport()
        self.runs: dict[Key, SentRun] = {}
        self._opened: Backend | None = None
        self._stamp: str | None = None
        self._drawn: set[str] = set()

    def send(self, records: Records, keys: Iterable[Key]) -> Iterator[None]:
        """Bring these runs up to date, parents first; yields after each few.

        Raises:
            Unreachable: the store does not answer; what was not sent is sent by the next pass.
            UserError: the store cannot be used as it is.
        """
        wanted = list(keys)
        if not wanted:
            return
        if self._opened is None:
            self._opened = open_store(self.destination)
        self._ensure(self._opened, records, wanted)
        work: list[Work] = []
        for key in shelved(self._opened, records, self.runs, wanted):
            run, record = self.runs[key], record_of(records, key)
            if run.closed or self._settled(run, record):
                self.report.skipped += 1
            else:
                work.append((key, run, record))
        for first in range(0, len(work), TOGETHER):
            self._bring(self._opened, work[first : first + TOGETHER], records)
            yield

    def pending(self, records: Records, keys: Iterable[Key]) -> int:
        """About how many points these runs still lack, as far as this process knows."""
        lacking = 0
        for key in keys:
            record, run = record_of(records, key), self.runs.get(key)
            if isinstance(record, TrialRecord) and not (run and (run.closed or self._settled(run, record))):
                epochs = content.planned_epochs(record)
                lacking += (record.epochs - (run.sent if run else 0)) // content.stride(epochs) * len(record.curves)
        return lacking

    def forget(self) -> None:
        """Look at the store again before the next pass: it was away, and may have come back as another."""
        self._stamp = None

    def _settled(self, run: SentRun, record: TrialRecord | GroupRecord) -> bool:
        if not run.state:
            return False
        # a record that still runs, read before another sender completed the run, is older than the run
        return run.state == content.state(record) or (record.status == "running" and run.writer >= _writer(record))

    # ---- runs: found or made -------------------------------------------------------------------------------------

    def _ensure(self, store: Backend, records: Records, wanted: list[Key]) -> None:
        if self._stamp is not None and all(key in self.runs for key in wanted):
            return
        with locked(self.destination.root / "mlflow.lock") as file:
            # whoever makes runs stamps the file first: an unchanged stamp says that nobody has made any since
            stamp = file.read()
            if stamp != self._stamp or self._stamp is None:
                for found in store.search():
                    self._remember(found)
            missing = list(self._missing(records, wanted))
            if missing:
                stamp = new_id()
                file.truncate(0)
                file.write(stamp)
                file.flush()
            for key in missing:
                if key[0] is None:  # a group is the parent of what follows
                    self._create(store, [key], records)
            self._create(store, [key for key in missing if key[0] is not None], records)
            self._stamp = stamp

    def _missing(self, records: Records, wanted: list[Key]) -> Iterator[Key]:
        seen: set[Key] = set()

        def chain(key: Key) -> Iterator[Key]:
            parent = parent_of(records, key)
            if parent is not None:
                yield from chain(parent)
            if key not in self.runs and key not in seen and not place_of(records, key):
                seen.add(key)
                yield key

        for key in wanted:
            yield from chain(key)

    def _remember(self, found: Found) -> None:
        tags = found.tags
        key = (tags.get("xentlab.trial"), tags.get("xentlab.group"))
        if key == (None, None):
            return  # someone else's run in the same experiment
        run = self.runs.setdefault(key, SentRun(found.id))
        run.artifacts, run.status = found.artifacts, found.status
        run.writer = (int(tags.get("xentlab.attempt", 0)), tags.get("xentlab.session", ""))
        run.state = tags.get("xentlab.state", "") if tags.get("xentlab.complete") == "true" else ""
        run.params = found.params
        run.away = not found.active and tags.get("xentlab.away") == "true"
        run.closed = run.closed or not (found.active or run.away)

    def _create(self, store: Backend, keys: Sequence[Key], records: Records) -> None:
        for first in range(0, len(keys), TOGETHER):
            part = keys[first : first + TOGETHER]
            new = []
            for key in part:
                record, parent = record_of(records, key), parent_of(records, key)
                tags = content.opening_tags(record, key, records)
                if parent is not None:
                    tags["mlflow.parentRunId"] = self.runs[parent].id
                new.append(New(content.label_of(record), record.start, tags))
            for key, made in zip(part, store.create(new), strict=True):
                self.runs[key] = SentRun(made.id, made.artifacts, writer=_writer(record_of(records, key)))
                self.report.created += 1

    # ---- their content -------------------------------------------------------------------------------------------

    def _bring(self, store: Backend, work: Sequence[Work], records: Records) -> None:
        """Send what these runs lack; then complete those that are over, with their artifacts."""
        runs = {run.id: run for _, run, _ in work}

        def landed(name: str, points: Sequence[MetricPoint]) -> None:
            self.report.points += len(points)
            if points:  # the last epoch of a batch may go on in the next one
                runs[name].sent = max(runs[name].sent, max(step for *_, step in points) - 1)

        changes = [change for key, run, record in work for change in self._changes(key, run, record, records)]
        work = self._accepted(work, store.write(changes, landed))
        for _, run, record in work:
            if _reopens(run, record):
                run.status, run.writer, run.state = "RUNNING", _writer(record), ""
            run.described, run.sent = True, record.epochs if isinstance(record, TrialRecord) else 0
        over = [item for item in work if item[2].status != "running"]
        refused: dict[str, str] = {}
        uploads: dict[str, Callable[[], None]] = {}
        for key, run, record in over:
            try:
                upload = self._place_artifacts(key, run, record, records)
            except OSError as error:
                refused[run.id] = str(error)
            else:
                uploads |= {run.id: upload} if upload is not None else {}
        over = self._accepted(over, refused | (each(uploads, AT_ONCE) if uploads else {}))
        ends = []
        for _, run, record in over:
            tags = {"xentlab.state": content.state(record), "xentlab.complete": "true"}
            ends.append(Change(run.id, content.STATUS[record.status], content.end_time(record, records), tags=tags))
        for _, run, record in self._accepted(over, store.write(ends, landed)):
            run.status, run.state, run.writer = content.STATUS[record.status], content.state(record), _writer(record)
            self.report.completed += 1

    def _accepted(self, work: Sequence[Work], refused: dict[str, str]) -> list[Work]:
        for _, run, record in work:
            if run.id in refused:
                run.closed = True
                reason = refused[run.id]
                self.report.warnings.append(f"MLflow refuses the run '{content.label_of(record)}': {reason}.")
        return [item for item in work if item[1].id not in refused]

    def _changes(self, key: Key, run: SentRun, record: TrialRecord | GroupRecord, records: Records) -> Iterator[Change]:
        over = record.status != "running"
        if _reopens(run, record):
            status = None if over else "RUNNING"
            back = {"xentlab.complete": "false", **content.writer_tags(record)}
            yield Change(run.id, status, tags=back | {"status": record.status}, gone=["reason"])
        trial = record if isinstance(record, TrialRecord) else None
        params: dict[str, str] = {}
        dataset: tuple[str, str, str] | None = None
        if not run.described:
            params = {k: v for k, v in content.params(content.config_of(record)).items() if k not in run.params}
            facts = content.dataset_facts(trial) if trial is not None else None
            if trial is not None and facts is not None:
                name, digest = facts
                source = json.dumps({"dataset": name, "fingerprint": trial.tags["fingerprint"]})
                dataset = (name, digest, source)
        points = content.points(trial, run.sent) if trial else []
        tags: dict[str, str] = {}
        if over:
            points += content.final_points(record, content.end_time(record, records))
            tags = content.closing_tags(record, key, records)
        if dataset or params or points or tags:
            yield Change(run.id, dataset=dataset, params=params, points=points, tags=tags)

    def _place_artifacts(
        self, key: Key, run: SentRun, record: TrialRecord | GroupRecord, records: Records
    ) -> Callable[[], None] | None:
        """Draw a run's pictures and copy its artifacts; returns what sends them, where no local folder takes them."""
        folder = self.destination.root / record.artifacts if record.artifacts else None
        if folder is not None and not folder.is_dir():
            self.report.warnings.append(f"The artifacts of '{content.label_of(record)}' are gone: no folder {folder}.")
            folder = None
        if folder is not None and isinstance(record, TrialRecord) and record.status == "finished":
            self._draw(key, record, folder, records)
        # params may be cut; this is the full text
        written = isinstance(record, GroupRecord) or (folder is not None and (folder / "config.yaml").exists())
        local = local_folder(run.artifacts)
        if local is not None:  # MLflow's client would copy them as well, after asking the store where to
            if folder is not None:
                copy_into(local, folder)
            if not written:
                local.mkdir(parents=True, exist_ok=True)
                _write_config(local, record)
            return None

        def upload() -> None:
            registry = mlflow_module("mlflow.store.artifact.artifact_repository_registry")
            place = registry.get_artifact_repository(run.artifacts, tracking_uri=self.destination.uri)
            if folder is not None:
                send_into(place, folder)
            if not written:
                with tempfile.TemporaryDirectory() as scratch:
                    _write_config(Path(scratch), record)
                    place.log_artifacts(scratch)

        return upload

    def _draw(self, key: Key, record: TrialRecord, folder: Path, records: Records) -> None:
        group = records.groups[key[1]] if key[1] is not None else None
        if group is not None and group.kind == "sweep" and record.id not in group.members[:PICTURES]:
            return
        if self.render is None or record.id in self._drawn:
            return
        self._drawn.add(record.id)
        try:
            self.render(record, folder)
        except Exception as error:  # a picture that fails must not keep the numbers back; it is reported
            self.report.warnings.append(f"The pictures of '{record.label}' could not be drawn: {error!r}.")


def _write_config(folder: Path, record: TrialRecord | GroupRecord) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(content.config_of(record)), sort_keys=False))


def _reopens(run: SentRun, record: TrialRecord | GroupRecord) -> bool:
    """Whether a run is complete no more: its trial was taken up again by a later session."""
    return bool(run.state and record.status != "running") or (run.status != "RUNNING" and run.writer < _writer(record))


def _writer(record: TrialRecord | GroupRecord) -> tuple[int, str]:
    return record.attempt, record.session
