"""Executors before anything is started: their configs, their refusals, how stacks are cut, and the rule of `auto`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from executor_lab import batch, trial
from support import compose_train

from xentlab.config.compose import config_dir
from xentlab.data import Dataset, digits, split
from xentlab.errors import UserError
from xentlab.models import lenet, mlp
from xentlab.run.executors import executor_of, need, processes
from xentlab.run.executors.auto import WORTH_S, Auto, forward_flops, seconds
from xentlab.run.executors.processes import Processes
from xentlab.train import Trial, prepare, signature, stacks
from xentlab.train.plan import cut

DATA = digits()


def read(one: Trial) -> Dataset:
    assert one.names["dataset"] == "digits"
    return DATA


REFUSALS = {
    "no workers": ("processes", {"workers": 0}, "executor.workers must be >= 1, got 0."),
    "no threads": ("auto", {"threads": 0}, "executor.threads must be >= 1, got 0."),
    "no time": ("processes", {"timeout": 0.0}, "executor.timeout must be > 0, got 0.0."),
    "retries below 0": ("processes", {"retries": -1}, "executor.retries must be >= 0, got -1."),
    "no cores": ("ray", {"num_cpus": 0}, "executor.num_cpus must be >= 1, got 0."),
    "no cluster of that kind": ("slurm", {"cluster": "pbs"}, "executor.cluster must be one of slurm, local"),
    "no memory": ("slurm", {"mem_gb": 0}, "executor.mem_gb must be > 0, got 0."),
    "no such knob": ("inline", {"worker": 1}, "Unknown knob of executor 'worker': there is none."),
}  # fmt: skip


@pytest.mark.parametrize("refusal", list(REFUSALS))
def test_a_mistake_is_one_sentence(refusal: str) -> None:
    name, given, sentence = REFUSALS[refusal]
    node = yaml.safe_load((config_dir() / "executor" / f"{name}.yaml").read_text())
    with pytest.raises(UserError) as caught:
        executor_of({"executor": node | given})
    assert str(caught.value).startswith(sentence)


def test_a_library_that_is_missing_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(UserError) as caught:
        need("a_library_that_nobody_has", "ray")
    assert str(caught.value).endswith("which is not installed: pip install 'xentlab[ray]'.")


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("executor=processes", "executor.workers=-1"), "executor.workers must be >= 1, got -1."),
        (("executor=proceses",), "Unknown executor 'proceses'. Did you mean 'processes'?"),
        (("executor.worker=1",), "Unknown config key 'executor.worker'. Did you mean 'executor.workers'?"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(run: Run, here: Path, overrides: Any, sentence: str) -> None:
    code, out, err = run("train", "tracking=off", *overrides)
    assert (code, out) == (2, "")
    assert err.startswith(f"xentlab: {sentence}")
    assert len(err.strip().splitlines()) == 1
    assert not list(here.iterdir())


def test_the_catalogue_shows_executors(run: Run) -> None:
    code, out, _ = run("list", "executors")
    assert code == 0
    assert all(name in out for name in ("auto", "inline", "processes", "ray", "slurm"))
    assert "processes" in run("train", "--help")[1].partition("executor ")[2].splitlines()[0]


def test_an_executor_is_no_part_of_a_trials_signature() -> None:
    one = prepare(compose_train())
    other = prepare(compose_train("executor=processes", "executor.workers=3"))
    assert one.config["executor"] != other.config["executor"]
    assert signature(one, "", "") == signature(other, "", "")


def test_looped_stacks_are_cut_into_trials_and_tensor_programs_stay_whole() -> None:
    planned = stacks(batch())
    assert [len(s) for s in planned] == [2, 2, 2]
    pieces = cut(planned, read)
    assert [len(p) for p in pieces] == [2, 2, 1, 1]
    assert [t for p in pieces for t in p] == [t for s in planned for t in s]


def test_a_worker_with_its_own_gpu_refuses_one_in_particular() -> None:
    one = trial()
    wanted = dataclasses.replace(one, trainer=dataclasses.replace(one.trainer, device="cuda:1"))
    with pytest.raises(UserError, match=r"got cuda:1\.$"):
        Processes().place([[wanted]], [wanted], read)


def test_the_work_of_a_model_is_that_of_its_layers() -> None:
    assert forward_flops(mlp((1, 8, 8), 10, hidden=(32,)), torch.zeros(1, 1, 8, 8)) == 2 * (64 * 32 + 32 * 10)
    convolutions = 2 * (6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25)
    linear = 2 * (400 * 120 + 120 * 84 + 84 * 10)
    assert forward_flops(lenet((1, 28, 28), 10), torch.zeros(1, 1, 28, 28)) == convolutions + linear


def convolutional(count: int, epochs: int) -> list[Trial]:
    return [trial("model=convnet", f"trainer.epochs={epochs}", seed=s) for s in range(count)]


def enough(count: int) -> int:
    """Epochs with which so many trials are just worth it."""
    return int(WORTH_S / (count * seconds(convolutional(1, 1), DATA))) + 1


def test_the_estimate_is_proportional_to_trials_and_epochs() -> None:
    one = seconds(convolutional(1, 1), DATA)
    assert seconds(convolutional(3, 5), DATA) == pytest.approx(15 * one)
    steps = -(-len(split(DATA, 0, **convolutional(1, 1)[0].sampling).train) // 16)
    assert one > 2e-3 * steps


def matrices(sizes: list[int], epochs: int) -> list[Trial]:
    """Trials that form one stack for each size of hidden layer, four to a stack."""
    return [trial(f"trainer.epochs={epochs}", f"model.hidden=[{size}]", seed=s) for size in sizes for s in range(4)]


def test_a_stack_pays_for_its_steps_once() -> None:
    one, four = (matrices([8], 1)[:n] for n in (1, 4))
    assert seconds(one, DATA) < seconds(four, DATA) < 2 * seconds(one, DATA)


def test_auto_takes_processes_where_the_rule_says_so() -> None:
    auto = Auto(workers=2)
    worth = convolutional(4, enough(4))
    pieces = auto.place(stacks(worth), worth, read)
    assert pieces is not None
    assert [len(p) for p in pieces] == [1] * 4
    assert Auto(workers=1).place(stacks(worth), worth, read) is None, "one core gains nothing"
    alone = convolutional(1, 100 * enough(1))
    assert auto.place(stacks(alone), alone, read) is None, "nothing that could be done at the same time"
    short = convolutional(4, 1)
    assert auto.place(stacks(short), short, read) is None, "over before a worker has started"
    several = matrices([8, 9], 100 * enough(4))
    pieces = auto.place(stacks(several), several, read)
    assert pieces is not None
    assert [len(p) for p in pieces] == [4, 4], "a tensor program stays whole"
    whole = matrices([8], 100 * enough(4))
    assert auto.place(stacks(whole), whole, read) is None, "one tensor program"


def test_auto_decides_alike_for_what_is_left_after_a_restart() -> None:
    wanted = convolutional(4, enough(4))
    left = stacks(wanted[-1:])
    assert Auto(workers=2).place(left, wanted, read) == left


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= processes.cores() <= (os.cpu_count() or 1)
