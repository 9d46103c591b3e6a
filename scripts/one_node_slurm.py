#!/usr/bin/env python
"""A Slurm of one node on this machine, for as long as a command runs: one_node_slurm.py xentlab train executor=slurm

Needs the programs of slurm-wlm and munge, no systemd, no accounting: `sacct` has no answer, as on many small clusters.
Everything lies in a folder of its own and listens on loopback; without a command it waits until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
START_S = 30.0

CONFIG = """
ClusterName=xentlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MinJobAge=10
KillWait=5
MailProg=/bin/true
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why it cannot run here; empty where it can."""
    missing = [name for name in NEEDED if _program(name) is None]
    return f"{', '.join(missing)} not installed here: apt-get install slurm-wlm munge" if missing else ""


@contextlib.contextmanager
def one_node_slurm() -> Iterator[Path]:
    """Within it this process and its children have a Slurm of one node; yields its folder, with its logs."""
    folder = Path(tempfile.mkdtemp(prefix="xentlab-slurm-"))
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    folder.chmod(0o755)  # munged refuses a socket that others cannot reach
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    conf = folder / "slurm.conf"
    conf.write_text(
        CONFIG.format(
            host=host, control=_free_port(), node=_free_port(), folder=folder, user=getpass.getuser(),
            cpus=os.cpu_count() or 1, memory=max(256, memory - 256),
        )
    )  # fmt: skip
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "log", "pid", "seed")]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start(folder, ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files]))
        _until(lambda: (folder / "munge.socket").exists(), folder)
        started.append(_start(folder, ["slurmctld", "-D", "-f", str(conf)]))
        started.append(_start(folder, ["slurmd", "-D", "-f", str(conf), "-N", host]))
        _until(lambda: "idle" in _said("sinfo", "-h", "-o", "%T"), folder)
        yield folder
    finally:
        _said("scancel", "-u", getpass.getuser())
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def _start(folder: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
    program = _program(command[0])
    assert program is not None
    with open(folder / f"{command[0]}.log", "wb") as log:
        return subprocess.Popen([program, *command[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _until(true: object, folder: Path) -> None:
    assert callable(true)
    until = time.monotonic() + START_S
    while not true():
        if time.monotonic() > until:
            logs = "\n".join(f"{log.name}: {log.read_text()[-600:]}" for log in sorted(folder.glob("*.log")))
            raise RuntimeError(f"Slurm did not start within {START_S:.0f} s:\n{logs}")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    if why := lacking():
        print(why, file=sys.stderr)
        return 2
    with one_node_slurm() as folder, contextlib.suppress(KeyboardInterrupt):
        if sys.argv[1:]:
            return subprocess.run(sys.argv[1:], check=False).returncode
        print(f"export SLURM_CONF={folder}/slurm.conf", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
