"""A Slurm of this machine alone, for tests: its daemons, its settings, and what its commands say."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
NODES = ("n1", "n2")  # two daemons of this machine, which Slurm takes for two machines
PATIENCE = 300  # seconds

SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
# The scripts ask for more cores than a small machine has.
SlurmdParameters=config_overrides
GresTypes=gpu
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# cred_expire also says when a requeued job may start again, which otherwise is after two minutes.


class Cluster:
    """A running Slurm; ``environment`` is what its commands need to find it."""

    def __init__(self, folder: Path) -> None:
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

    def ask(self, *command: object, timeout: float = 60) -> str:
        """What a command prints; an ``AssertionError`` with what it complains of where it fails."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def is_ready(self) -> bool:
        command = ["sinfo", "--noheader", "--Node", "--format=%T"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.split() == ["idle"] * len(NODES)

    def states(self) -> dict[str, str]:
        """States of all jobs and array tasks, by their number (``7`` or ``7_0``)."""
        lines = self.ask("squeue", "--all", "--array", "--noheader", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait(self) -> dict[str, str]:
        """The final states of all jobs."""
        ended = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        wait_for(lambda: set(self.states().values()) <= ended)
        return self.states()


def wait_for(condition: Callable[[], object], pause: float = 0.1) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(pause)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start munge and Slurm; skips the test where that is not possible, and ends what was started."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm's daemons")
    with ExitStack() as stack:
        # Not pytest's folder: names of sockets may have 107 letters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm")))
        folder.chmod(0o755)
        _write_settings(folder)
        cluster = Cluster(folder)
        munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/key"]
        munge += [f"--pid-file={folder}/munge.pid", f"--seed-file={folder}/seed", f"--log-file={folder}/munge.log"]
        _start(stack, munge, cluster, folder)
        wait_for((folder / "munge.socket").exists)
        _start(stack, ["slurmctld", "-D", "-i"], cluster, folder)
        for node in NODES:
            _start(stack, ["slurmd", "-D", "-N", node], cluster, folder)
        try:
            wait_for(cluster.is_ready)
        except AssertionError:
            raise AssertionError((folder / "daemons.log").read_text()) from None
        try:
            yield cluster
        finally:
            cluster.ask("scancel", "--user=root")
            cluster.wait()


def _write_settings(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    ports = free_ports(1 + len(NODES))
    node = "NodeName={} NodeHostname={} NodeAddr=127.0.0.1 Port={} CPUs=32 RealMemory=1000 Gres=gpu:2 State=UNKNOWN"
    nodes = "\n".join(node.format(name, host, port) for name, port in zip(NODES, ports[1:], strict=True))
    settings = SETTINGS.format(host=host, folder=folder, controller_port=ports[0], nodes=nodes)
    (folder / "slurm.conf").write_text(settings)
    # Any device files do for GPUs that nobody uses.
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/tty[0-1]\n")
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    for name in ("state", *NODES):
        (folder / name).mkdir()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for entry in sockets:
            entry.bind(("127.0.0.1", 0))
        return [entry.getsockname()[1] for entry in sockets]


def _start(stack: ExitStack, command: list[str], cluster: Cluster, folder: Path) -> None:
    log = stack.enter_context((folder / "daemons.log").open("a"))
    daemon = subprocess.Popen(command, env=cluster.environment, stdout=log, stderr=log, start_new_session=True)
    stack.callback(_stop, daemon)


def _stop(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
