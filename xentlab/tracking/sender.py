"""The sender: brings MLflow to what the journal says. What is there already is found by its tags, never made again.

A run is identified by the tags `xentlab.trial` and `xentlab.group`. Its last write is `xentlab.complete`; until then
every pass may send its points again, which changes nothing, as they carry the journal's own timestamps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xentlab.journal import GroupRecord, Records, TrialRecord, new_id
from xentlab.tracking import content
from xentlab.tracking.content import Key, Point
from xentlab.tracking.settings import Destination, load
from xentlab.tracking.store import Refused, locked, open_store, translated

BATCH = 1000  # points per call, MLflow's own limit
PAGE = 1000  # runs per search
Render = Callable[[TrialRecord, Path], object]


@dataclass
class Report:
    """What a pass did: points sent, runs made, completed, and passed over as complete; and one sentence per trouble."""

    points: int = 0
    created: int = 0
    completed: int = 0
    skipped: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass
class Run:
    """A run as MLflow has it. `sent` is the last epoch that this process has sent."""

    id: str
    status: str = "RUNNING"
    session: str = ""
    state: str = ""  # what it is complete for; empty while it is not
    closed: bool = False  # deleted by a user, or refused by the store: left alone
    params: frozenset[str] = frozenset()  # those it has already; a param cannot change
    described: bool = False
    sent: int = 0


class Sender:
    """Sends records to one store. Opens it with its first work, so that nothing to send makes no database."""

    def __init__(self, destination: Destination, *, render: Render | None = None) -> None:
        self.destination = destination
        self.render = render
        self.report = Report()
        self.runs: dict[Key, Run] = {}
        self._store: tuple[Any, str] | None = None
        self._stamp: str | None = None
        self._drawn: set[str] = set()

    def send(self, records: Records, keys: Iterable[Key]) -> Iterator[None]:
        """Bring these runs up to date, parents first; yields after each.

        Raises:
            Unreachable: the store does not answer; what was not sent is sent by the next pass.
            UserError: the store cannot be used as it is.
        """
        wanted = list(keys)
        if not wanted:
            return
        if self._store is None:
            self._store = open_store(self.destination)
        with translated():
            self._ensure(records, wanted)
        for key in wanted:
            run, record = self.runs[key], record_of(records, key)
            if run.closed or self._settled(run, record):
                self.report.skipped += 1
            else:
                try:
                    with translated():
                        self._bring(run, record, records)
                except Refused as error:
                    run.closed = True
                    self.report.warnings.append(f"MLflow refuses the run '{content.label_of(record)}': {error}.")
            yield

    def pending(self, records: Records, keys: Iterable[Key]) -> int:
        """About how many points these runs still lack, as far as this process knows."""
        lacking = 0
        for key in keys:
            record, run = record_of(records, key), self.runs.get(key)
            if isinstance(record, TrialRecord) and not (run and (run.closed or self._settled(run, record))):
                lacking += (record.epochs - (run.sent if run else 0)) * len(record.curves)
        return lacking

    def forget(self) -> None:
        """Look at the store again before the next pass: another sender may have been there."""
        self._stamp = None

    def _settled(self, run: Run, record: TrialRecord | GroupRecord) -> bool:
        if not run.state:
            return False
        # a record that still runs, read before another sender completed the run, is older than the run
        return run.state == content.state(record) or (record.status == "running" and run.session >= record.session)

    # ---- runs: found or made -------------------------------------------------------------------------------------

    def _ensure(self, records: Records, wanted: list[Key]) -> None:
        if self._stamp is not None and all(key in self.runs for key in wanted):
            return
        with locked(self.destination.root / "mlflow.lock") as file:
            # whoever makes runs stamps the file first: an unchanged stamp says that nobody has made any since
            stamp = file.read()
            if stamp != self._stamp or self._stamp is None:
                self._search()
            missing = list(self._missing(records, wanted))
            if missing:
                stamp = new_id()
                file.truncate(0)
                file.write(stamp)
                file.flush()
            for key in missing:
                self._create(key, records)
            self._stamp = stamp

    def _missing(self, records: Records, wanted: list[Key]) -> Iterator[Key]:
        seen: set[Key] = set()

        def chain(key: Key) -> Iterator[Key]:
            parent = parent_of(records, key)
            if parent is not None:
                yield from chain(parent)
            if key not in self.runs and key not in seen:
                seen.add(key)
                yield key

        for key in wanted:
            yield from chain(key)

    def _search(self) -> None:
        client, experiment = self._opened()
        view = load("mlflow.entities").ViewType.ALL
        token: str | None = None
        while True:
            page = client.search_runs([experiment], run_view_type=view, max_results=PAGE, page_token=token)
            for run in page:
                self._remember(run)
            token = page.token
            if not token:
                return

    def _remember(self, found: Any) -> None:
        tags = found.data.tags
        key = (tags.get("xentlab.trial"), tags.get("xentlab.group"))
        if key == (None, None):
            return  # someone else's run in the same experiment
        run = self.runs.setdefault(key, Run(found.info.run_id))
        run.status, run.session = found.info.status, tags.get("xentlab.session", "")
        run.state = tags.get("xentlab.state", "") if tags.get("xentlab.complete") == "true" else ""
        run.params = frozenset(found.data.params)
        run.closed = run.closed or found.info.lifecycle_stage != "active"

    def _create(self, key: Key, records: Records) -> None:
        client, experiment = self._opened()
        record, parent = record_of(records, key), parent_of(records, key)
        tags = content.opening_tags(record, key, records)
        if parent is not None:
            tags["mlflow.parentRunId"] = self.runs[parent].id
        made = client.create_run(experiment, start_time=record.start, tags=tags, run_name=content.label_of(record))
        self.runs[key] = Run(made.info.run_id, session=record.session)
        self.report.created += 1

    def _opened(self) -> tuple[Any, str]:
        assert self._store is not None
        return self._store

    # ---- one run -------------------------------------------------------------------------------------------------

    def _bring(self, run: Run, record: TrialRecord | GroupRecord, records: Records) -> None:
        client, _ = self._opened()
        over = record.status != "running"
        if (run.state and over) or (run.status != "RUNNING" and run.session < record.session):
            self._reopen(run, record)
        trial = record if isinstance(record, TrialRecord) else None
        params: dict[str, str] = {}
        if not run.described:
            params = {k: v for k, v in content.params(content.config_of(record)).items() if k not in run.params}
            if trial is not None:
                self._log_dataset(run, trial)
        points = content.points(trial, run.sent) if trial else []
        tags: dict[str, str] = {}
        if over:
            points += content.final_points(record, content.end_time(record, records))
            tags = content.closing_tags(record)
        self._log(run, points, params=params, tags=tags)
        run.described, run.sent = True, trial.epochs if trial else 0
        if over:
            client.set_terminated(run.id, content.STATUS[record.status], content.end_time(record, records))
            self._log_artifacts(run, record)
            self._log(run, [], tags={"xentlab.state": content.state(record), "xentlab.complete": "true"})
            run.status, run.state, run.session = content.STATUS[record.status], content.state(record), record.session
            self.report.completed += 1

    def _reopen(self, run: Run, record: TrialRecord | GroupRecord) -> None:
        """Take back that a run is complete: its trial was taken up again by a later session."""
        client, _ = self._opened()
        back = {"xentlab.complete": "false", "xentlab.session": record.session, "status": record.status, "reason": ""}
        self._log(run, [], tags=back)
        if record.status == "running":
            client.update_run(run.id, status="RUNNING")
        run.status, run.session, run.state = "RUNNING", record.session, ""

    def _log(
        self, run: Run, points: list[Point], *, params: dict[str, str] | None = None, tags: dict[str, str] | None = None
    ) -> None:
        client, _ = self._opened()
        entities = load("mlflow.entities")
        if params or tags:
            given = [entities.Param(name, value) for name, value in (params or {}).items()]
            client.log_batch(run.id, params=given, tags=[entities.RunTag(*tag) for tag in (tags or {}).items()])
        for first in range(0, len(points), BATCH):
            batch = points[first : first + BATCH]
            client.log_batch(run.id, metrics=[entities.Metric(*point) for point in batch])
            self.report.points += len(batch)
            run.sent = max(run.sent, batch[-1][3] - 1)  # the last epoch of a batch may go on in the next one

    def _log_dataset(self, run: Run, trial: TrialRecord) -> None:
        facts = content.dataset_facts(trial)
        if facts is None:
            return
        client, _ = self._opened()
        entities = load("mlflow.entities")
        name, digest = facts
        source = json.dumps({"dataset": name, "fingerprint": trial.tags["fingerprint"]})
        dataset = entities.Dataset(name, digest, source_type="local", source=source)
        context = entities.InputTag("mlflow.data.context", "training")
        with locked(self.destination.root / "mlflow.lock"):  # a dataset has no identity that would stop a double
            client.log_inputs(run.id, datasets=[entities.DatasetInput(dataset, [context])])

    def _log_artifacts(self, run: Run, record: TrialRecord | GroupRecord) -> None:
        client, _ = self._opened()
        folder = self.destination.root / record.artifacts if record.artifacts else None
        if folder is not None and not folder.is_dir():
            self.report.warnings.append(f"The artifacts of '{content.label_of(record)}' are gone: no folder {folder}.")
            folder = None
        if folder is not None:
            if isinstance(record, TrialRecord) and record.status == "finished":
                self._draw(record, folder)
            client.log_artifacts(run.id, str(folder))
        if isinstance(record, TrialRecord) and (folder is None or not (folder / "config.yaml").exists()):
            client.log_dict(run.id, record.config, "config.yaml")  # params may be cut; this is the full text

    def _draw(self, record: TrialRecord, folder: Path) -> None:
        if self.render is None or record.id in self._drawn:
            return
        self._drawn.add(record.id)
        try:
            self.render(record, folder)
        except Exception as error:  # a picture that fails must not keep the numbers back; it is reported
            self.report.warnings.append(f"The pictures of '{record.label}' could not be drawn: {error!r}.")


def record_of(records: Records, key: Key) -> TrialRecord | GroupRecord:
    """The record behind a run."""
    trial, group = key
    if trial is not None:
        return records.trials[trial]
    assert group is not None
    return records.groups[group]


def parent_of(records: Records, key: Key) -> Key | None:
    """The run under which a run is nested: a trial under its group, a group under its parent."""
    trial, group = key
    if group is None:
        return None
    if trial is not None:
        return (None, group)
    parent = records.groups[group].parent
    return (None, parent) if parent is not None and parent in records.groups else None
