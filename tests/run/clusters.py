"""A Dask scheduler and nodes as processes of their own, which can be killed one by one; a node in a network of its own if asked."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Nodes:
    """Processes of one cluster, each group in a session of its own."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0):
        self.folder, self.host, self.port = folder, host, port or free_port()
        self.groups: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        for name in list(self.groups):
            self.kill(name)

    def start_scheduler(self) -> None:
        self._start("scheduler", "distributed.cli.dask_scheduler", "--host", self.host, "--port", str(self.port), "--no-dashboard", "--no-show")

    def start_node(self, name: str, workers: int, within: tuple[str, ...] = (), host: str = "127.0.0.1") -> None:
        """Workers that share a cache of their own, as those of a machine do."""
        self._start(name, "distributed.cli.dask_worker", self.address, "--nworkers", str(workers), "--nthreads", "1", "--no-dashboard",
                    "--memory-limit", "0", "--host", host, "--local-directory", str(self.folder / name), "--death-timeout", "60", within=within)

    def _start(self, name: str, module: str, *words: str, within: tuple[str, ...] = ()) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]), "PYTHONSAFEPATH": "1",
                       "XDG_CACHE_HOME": str(self.cache(name)), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        self.cache(name).mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.groups[name] = subprocess.Popen([*within, sys.executable, "-m", module, *words], env=environment, stdin=subprocess.DEVNULL,
                                                 stdout=log, stderr=log, start_new_session=True)

    def cache(self, name: str) -> Path:
        return self.folder / f"cache-{name}"

    def kill(self, name: str) -> None:
        """All processes of it at once, as when a machine goes dark."""
        process = self.groups.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def workers(self, name: str) -> list[int]:
        """The processes of a node's workers: the nannies' children, not what trains for them."""
        return [pid for pid in descendants(self.groups[name].pid) if b"spawn_main" in command_of(pid) and b"resource_tracker" not in command_of(pid)]


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(each) for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "children").read_text().split()]
    except OSError:
        return []


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
