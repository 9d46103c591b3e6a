"""Hydra's launcher `stack`: all jobs are called first, then the work that they share runs together.

A job goes through Hydra's `run_job`, as with its basic launcher, unless it differs from another in values alone and the
config asks for none of what that does. One whose function returns `promise.Promise` is finished after the last job has
been called, back in its own directory and logging; only then do its callbacks hear of its end.

Hydra imports all that is installed in the namespace `hydra_plugins` in every Hydra program. So the plugin's class lies
in a folder of this package that is on no path until `register_launcher` puts it there.
"""

from __future__ import annotations

import copy
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import (
    JobReturn,
    JobRuntime,
    JobStatus,
    configure_log,
    env_override,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from xentlab.config.loader import PlainJob, RememberingLoader
from xentlab.config.promise import Promise, waiting

log = logging.getLogger(__name__)


def register_launcher() -> None:
    """Make `hydra/launcher=stack` known to Hydra's plugins; calling it again changes nothing."""
    plugins = str(Path(__file__).resolve().parent / "plugins")
    if plugins not in sys.path:
        sys.path.append(plugins)
    module = importlib.import_module("hydra_plugins.xentlab_stack")
    # Hydra looks for plugins once per process, which may have been before.
    Plugins.instance().register(module.StackLauncher)


def launch(
    loader: RememberingLoader,
    callbacks: Any,
    task_function: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    initial_job_idx: int,
) -> list[JobReturn]:
    """Run one job for each list of overrides; a job that fails does not stop the others.

    Args:
        task_function: what a job calls with its config; its attribute `plain`, where it has one, is called with a job
            for which nothing is left to Hydra, see `RememberingLoader.plain_job`.

    Returns:
        One JobReturn per job, in order: COMPLETED with its value, or FAILED with its exception.

    Raises:
        HydraException: a job's overrides do not compose.
    """
    setup_globals()
    _log_as_sweep(config)
    Path(str(config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    log.info(f"Launching {len(job_overrides)} jobs in stacks")
    ends = _Ends(callbacks)
    context = HydraContext(config_loader=loader, callbacks=ends)
    call = getattr(task_function, "plain", None)
    returns: list[JobReturn] = []
    with waiting():
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            log.info(f"\t#{number} : {' '.join(filter_overrides(overrides))}")
            if call and not callbacks.callbacks and (plain := loader.plain_job(list(overrides))):
                returns.append(_run_plain(call, plain, ends))
                continue
            job = loader.for_job(config, list(overrides))
            with open_dict(job):
                job.hydra.job.id = number
                job.hydra.job.num = number
            keys = {"job_dir_key": "hydra.sweep.dir", "job_subdir_key": "hydra.sweep.subdir"}
            returns.append(run_job(hydra_context=context, task_function=task_function, config=job, **keys))
            _log_as_sweep(config)
    failures: dict[int, Exception] = {}
    for batch in {id(job.promise.batch): job.promise.batch for job in ends.held}.values():
        try:
            batch.run()
        except Exception as error:  # the failure of the jobs that wait on it
            failures[id(batch)] = error
    for waited in ends.held:
        _finish(waited, failures.get(id(waited.promise.batch)))
    _log_as_sweep(config)
    return returns


def _run_plain(call: Callable[[PlainJob], Any], job: PlainJob, ends: _Ends) -> JobReturn:
    """A job without Hydra's part in it: no directory, no logging, no HydraConfig, no callbacks."""
    done = JobReturn(overrides=job.overrides, working_dir=os.getcwd(), task_name=JobRuntime.instance().get("name"))
    try:
        done.return_value, done.status = call(job), JobStatus.COMPLETED
    except Exception as error:  # as run_job: the sweeper decides what a failed job means
        done.return_value, done.status = error, JobStatus.FAILED
    ends.on_job_end(None, done)
    return done


def _log_as_sweep(config: DictConfig) -> None:
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)


@dataclass(frozen=True)
class _Unfinished:
    """A job that was called and whose result is a promise."""

    promise: Promise
    config: DictConfig | None
    job_return: JobReturn
    callbacks: Any


class _Ends:
    """The callbacks as `run_job` sees them: the end of a job that made a promise is held back."""

    def __init__(self, callbacks: Any) -> None:
        self._callbacks = callbacks
        self.held: list[_Unfinished] = []

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction) -> None:
        self._callbacks.on_job_start(config=config, task_function=task_function)

    def on_job_end(self, config: DictConfig | None, job_return: JobReturn) -> None:
        promise = job_return.return_value if job_return.status is JobStatus.COMPLETED else None
        if not isinstance(promise, Promise):
            self._callbacks.on_job_end(config=config, job_return=job_return)
            return
        # A callback may keep its job's directory from start to end, and other jobs start in between: so each job has
        # copies, as in launchers whose jobs are processes.
        own = copy.copy(self._callbacks)
        own.callbacks = [copy.copy(callback) for callback in own.callbacks]
        job_return.status, job_return.return_value = JobStatus.UNKNOWN, None
        self.held.append(_Unfinished(promise, config, job_return, own))


def _finish(job: _Unfinished, failure: Exception | None) -> None:
    """Put the promised value, or what went wrong, in the job's return, and tell its callbacks."""
    with _inside(job.config):
        try:
            if failure is not None:
                raise failure
            job.job_return.return_value = job.promise.resolve()
            job.job_return.status = JobStatus.COMPLETED
        except Exception as error:  # as run_job: the sweeper decides what a failed job means
            job.job_return.return_value = error
            job.job_return.status = JobStatus.FAILED
        job.callbacks.on_job_end(config=job.config, job_return=job.job_return)


@contextmanager
def _inside(config: DictConfig | None) -> Iterator[None]:
    """Where a job's function runs: its HydraConfig, logging, environment and, if it asked for it, directory."""
    if config is None:
        yield
        return
    here, outside = os.getcwd(), HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        if config.hydra.job.chdir:
            os.chdir(config.hydra.runtime.output_dir)
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        with env_override(config.hydra.job.env_set):
            yield
    finally:
        HydraConfig.instance().cfg = outside
        os.chdir(here)
