"""A Slurm of one node, started for a test without systemd and without accounting, and stopped with all that it began.

Its configuration, key, sockets, state and logs lie in one folder, and every process of it says that folder in its
environment (SLURM_CONF). Its ports are free ones of 127.0.0.1. It runs jobs as root.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
STARTS_IN, STOPS_IN = 20.0, 20.0
"""Seconds after which it does not start, and after which what it began is killed."""

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log

# No cgroups, no accounting.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none

# So many tasks at once, however many cores there are.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} NodeAddr=127.0.0.1 CPUs={tasks} RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP

# What is asked for happens soon; a job that is cut off may be begun again.
JobRequeue=1
KillWait=5
OverTimeLimit=0
MinJobAge=300
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
"""


class CannotStart(Exception):
    """Why there is no Slurm here, for the reason of a skipped test."""


@dataclass(frozen=True)
class Slurm:
    """A Slurm that runs: what a user would type, as methods."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a command of Slurm needs to find this one."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def said(self, *command: object, **more: str) -> str:
        """What a command prints; `more` is its environment."""
        done = subprocess.run([str(word) for word in command], env={**self.environment, **more}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def submit(self, *arguments: object, **more: str) -> str:
        """The number of a new job, or array."""
        return self.said("sbatch", "--parsable", *arguments, **more)

    def states(self, job: str) -> dict[str, str]:
        """The state of each task of an array, by its index; of a job that is no array under ""."""
        rows = (line.split() for line in self.said("squeue", "--noheader", "--states=all", "--array", "--jobs", job, "--format=%K %T").splitlines())
        return {"" if index == "N/A" else index: state for index, state in rows}

    def cancel(self, job: str) -> None:
        self.said("scancel", job)

    def requeue(self, job: str) -> None:
        self.said("scontrol", "requeue", job)

    def begin_now(self, job: str) -> None:
        """A requeued job waits two minutes, once it has left its node; of them two seconds are enough.

        In the second in which it was ended its node takes it for that end.
        """
        self.wait(lambda: self.said("squeue", "--noheader", f"--jobs={job}", "--format=%r") == "BeginTime")
        self.said("scontrol", "update", f"JobId={job}", "StartTime=now+2")

    def end_in(self, job: str, seconds: int) -> None:
        """Its time is over then. Slurm looks every 30 seconds: it sends the warning that was asked for, or ends the job."""
        self.said("scontrol", "update", f"JobId={job}", f"EndTime=now+{seconds}")

    def wait(self, true: Callable[[], bool], seconds: float = 240.0) -> None:
        """Until something is true."""
        wait_for(true, seconds, lambda: f"{self.said('squeue', '--states=all')}\n{_tail(self.folder / 'slurmctld.log')}")


def wait_for(true: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    """Until something is true; after so many seconds the test fails and says what there is instead."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


@contextmanager
def running(tasks: int = 4) -> Iterator[Slurm]:
    """A Slurm that takes so many tasks at once, until the block ends; `CannotStart` where there can be none."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_path()["PATH"]) is None]
    if lacking:
        raise CannotStart(f"no Slurm on this machine ({', '.join(lacking)} not found; Debian has them in slurm-wlm)")
    if os.geteuid() != 0:
        raise CannotStart("Slurm's daemons run as root here, and this is not root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # A socket's path must be short, so not the test's own folder.
    slurm = Slurm(folder)
    with ExitStack() as at_end:
        at_end.callback(shutil.rmtree, folder, ignore_errors=True)
        at_end.callback(_kill_what_is_left, folder)
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host, (controller, daemon) = socket.gethostname().partition(".")[0], _free_ports(2)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, tasks=tasks, controller=controller, daemon=daemon))
        for command in (["mungekey", "--create", "--keyfile=key"],
                        ["munged", "--foreground", "--key-file=key", f"--socket={folder}/munge.socket", "--pid-file=munged.pid",
                         "--log-file=munged.log", "--seed-file=seed", "--num-threads=2"],
                        ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            _start(command, folder, at_end)
        _until_ready(slurm)
        yield slurm
        with suppress(AssertionError, subprocess.TimeoutExpired):
            slurm.said("scancel", "--full", "--user=root")
            slurm.wait(lambda: not slurm.said("squeue", "--noheader"), STOPS_IN)


def _start(command: list[str], folder: Path, at_end: ExitStack) -> None:
    """A program of Slurm, in its folder; a daemon is ended with the block."""
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=_path(SLURM_CONF=str(folder / "slurm.conf")), stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT)
    if command[0] == "mungekey":
        process.wait()
        return
    at_end.callback(_end, process)
    if command[0] == "munged":
        _until(lambda: (folder / "munge.socket").exists(), folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_IN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until_ready(slurm: Slurm) -> None:
    """Until its node takes jobs."""
    def ready() -> bool:
        done = subprocess.run(["sinfo", "--noheader", "--format=%t"], env=slurm.environment, capture_output=True, text=True)
        return done.stdout.strip() == "idle"

    _until(ready, slurm.folder)


def _until(true: Callable[[], bool], folder: Path) -> None:
    try:
        wait_for(true, STARTS_IN, lambda: "")
    except AssertionError as error:
        last = [_tail(path, 1) for path in sorted(folder.glob("*.log")) + sorted(folder.glob("*.out"))]
        raise CannotStart(f"Slurm did not start in {STARTS_IN:.0f} s; the last of its logs: {' | '.join(filter(None, last))}") from error


def of_folder(folder: Path) -> list[int]:
    """The processes that say this folder in their environment: daemons, steps, and all that jobs began."""
    found, mark = [], f"SLURM_CONF={folder}/".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes() and int(path.parts[2]) != os.getpid():
                found.append(int(path.parts[2]))
    return found


def _kill_what_is_left(folder: Path) -> None:
    """After its daemons have ended: no step, and nothing that a job began, outlives the test."""
    end = time.monotonic() + STOPS_IN
    while left := of_folder(folder):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < end, f"cannot be killed: {left}"
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _path(**more: str) -> Mapping[str, str]:
    """The environment with the folders of daemons on its path."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", **more}


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""
