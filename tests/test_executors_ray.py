"""Ray: a local two-node cluster that loses a node in the middle of a comparison ends with the right table."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_lab import alive, kill, records, start, until, worker_pids
from test_executors_driver import COMPARISON, assert_same_comparison

from xentlab.errors import UserError
from xentlab.run.executors.ray_cluster import RayCluster, check_shared

pytestmark = pytest.mark.slow
CLOSED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
with pytest.MonkeyPatch.context() as patch:
    for key, value in CLOSED.items():  # read when Ray is imported, and again by every process of a cluster
        patch.setenv(key, value)
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'xentlab[ray]'")


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    """Clusters that nobody can use who has no token."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in CLOSED.items():
            patch.setenv(key, value)
        yield


@pytest.fixture(scope="module")
def cluster(closed: None) -> Iterator[tuple[Any, Any]]:  # noqa: ARG001
    """A cluster of a head and another node, one core each; and that node."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made, made.add_node(num_cpus=1)
    ray.shutdown()
    made.shutdown()


def test_an_address_without_a_cluster_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^executor\.address must be that of a Ray cluster that answers, got nowhere"):
        RayCluster(address="nowhere")._connect()


def test_a_directory_that_a_node_does_not_see_is_named(
    cluster: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = RayCluster(address=cluster[0].address)
    module = executor._connect()
    check_shared(module, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)  # the nodes' processes were started elsewhere
    with pytest.raises(
        UserError, match=r"^output\.root must be on a file system that every node .* see /proc/self/cwd\.$"
    ):
        check_shared(module, Path("/proc/self/cwd"))
    assert not list(tmp_path.iterdir())
    executor.close()
    assert not ray.is_initialized()


def test_a_node_that_is_lost_in_the_middle_of_a_comparison_changes_no_number(
    run: Callable[..., tuple[int, str, str]], here: Path, cluster: tuple[Any, Any]
) -> None:
    code, _, err = run(*COMPARISON, "executor=inline", "output.root=whole")
    assert (code, err) == (0, "")
    root = here / "xentlab-runs"
    over = threading.Event()
    lost: list[bool] = []

    def lose_a_node() -> None:
        until(lambda: over.is_set() or sum(t.epochs for t in records(root).trials.values()) > 30)
        if not over.is_set():
            cluster[0].remove_node(cluster[1], allow_graceful=False)
            lost.append(True)

    saboteur = threading.Thread(target=lose_a_node)
    saboteur.start()
    try:
        code, _, err = run(*COMPARISON, "executor=ray", f"executor.address={cluster[0].address}")
    finally:
        over.set()
        saboteur.join()
    assert (code, err) == (0, "")
    assert lost
    assert_same_comparison(root, here / "whole")
    assert not any(alive(pid) for pid in worker_pids(root))


def test_a_driver_that_is_killed_leaves_nothing_running_and_nothing_is_lost_or_doubled(
    run: Callable[..., tuple[int, str, str]], here: Path, cluster: tuple[Any, Any]
) -> None:
    code, _, err = run(*COMPARISON, "executor=inline", "output.root=whole")
    assert (code, err) == (0, "")
    root = here / "xentlab-runs"
    distributed = (*COMPARISON, "executor=ray", f"executor.address={cluster[0].address}")
    driver = start(here, *distributed)
    until(lambda: sum(t.epochs for t in records(root).trials.values()) > 30, driver)
    kill(driver.pid)
    driver.communicate()
    # a task that was on its way may still begin; the cluster ends it as well
    until(lambda: not [t for t in records(root).trials.values() if t.status == "running"])
    pids = worker_pids(root)
    assert pids
    until(lambda: not any(alive(pid) for pid in pids))
    code, _, err = run(*distributed)
    assert (code, err) == (0, "")
    assert_same_comparison(root, here / "whole")
