"""Dask: workers on this machine (`--on dask`), of a scheduler (`tcp://HOST:PORT`), or as jobs (`slurm`)."""

import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any

from sweepstake.base.errors import UserError
from sweepstake.run import node
from sweepstake.run.children import import_path, quiet
from sweepstake.run.executors.cluster import Came, Done, Lost
from sweepstake.run.settings import Settings

try:
    import dask.config
    import distributed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker
except ImportError:
    raise UserError('--on: needs Dask. `pip install "sweepstake[dask]"`, here and on every node.') from None

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 60.0
"""How long a scheduler that does not answer is waited for."""
STEP_SECONDS = 1.0
"""How often a cell tells how far its round is."""
TOPIC = "sweepstake-steps"


def work(request: bytes) -> tuple[str, bytes]:
    """On a worker: the parcel computed, unless nobody wants it any more; and the worker's address."""
    worker, told = distributed.get_worker(), 0.0
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    def on_step(line: bytes) -> None:
        nonlocal told
        if b'"step"' not in line or time.monotonic() - told > STEP_SECONDS:
            told = time.monotonic()
            worker.log_event(TOPIC, line)

    return worker.address, node.serve(request, wanted, on_step)


@contextmanager
def opened(settings: Settings, on_step: Callable[[bytes], None]) -> Iterator["Dask"]:
    """A client of the cluster that the settings say."""
    with ExitStack() as stack:
        address = stack.enter_context(_address(settings))
        cluster = Dask(settings.on, address, on_step)
        stack.callback(cluster.close)
        yield cluster


@contextmanager
def _address(settings: Settings) -> Iterator[str]:
    if settings.on == "slurm":
        from sweepstake.run.executors.slurm import jobs

        with jobs(settings) as address:
            yield address
    elif settings.on == "dask":
        with _here(settings.workers) as address:
            yield address
    else:
        yield settings.on


@contextmanager
def _here(workers: int) -> Iterator[str]:
    """A scheduler in this process and workers in others, which end with it however it ends."""
    made: Any = distributed.LocalCluster
    with TemporaryDirectory(prefix="sweepstake-dask-", ignore_cleanup_errors=True) as folder, \
            dask.config.set({"distributed.scheduler.allowed-failures": 0}), \
            made(n_workers=0, dashboard_address=None, silence_logs=50) as cluster:
        address: str = cluster.scheduler_address
        environment = {**os.environ, **quiet(), "PYTHONPATH": os.pathsep.join(import_path()), "TMPDIR": folder}
        started = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1", "--nthreads", "1",
             "--nworkers", str(workers), "--no-dashboard", "--memory-limit", "0", "--local-directory", folder],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        try:
            yield address
        finally:
            started.terminate()
            with suppress(subprocess.TimeoutExpired):
                started.wait(5)
            started.kill()
            started.wait()


class Dask:
    """A Dask scheduler, seen by its client."""

    def __init__(self, said: str, address: str, on_step: Callable[[bytes], None]):
        self.said, self.address, self.on_step = said, address, on_step
        self.heard = time.monotonic()
        self.log = logging.getLogger("distributed.client")
        self.level = self.log.level
        self.log.setLevel(logging.CRITICAL)  # What it says of lost connections is told by us, where it lasts.
        self.futures = dict[str, Any]()
        self.client: Any = self._connect()

    def _connect(self) -> Any:
        try:
            client = distributed.Client(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"--on {self.said}: no Dask scheduler answers there ({type(error).__name__}). "
                            "Start one with `dask scheduler`, and workers with `dask worker`.") from error
        client.subscribe_topic(TOPIC, lambda event: self.on_step(event[1]))
        return client

    def slots(self) -> int:
        """The threads of its workers; 0 while it does not answer, and a UserError when that has been too long."""
        try:
            if self.client.status == "closed":
                self.client = self._connect()
            if self.client.status == "running":
                count = sum(self.client.nthreads().values())
                self.heard = time.monotonic()
                return count
        except (OSError, TimeoutError, UserError):
            pass
        if time.monotonic() - self.heard > SILENT_SECONDS:
            raise UserError(f"--on {self.said}: the scheduler has not answered for {SILENT_SECONDS:g} seconds. "
                            "What is finished is kept; start it again, and then the same command.")
        time.sleep(0.2)
        return 0

    def nodes(self) -> list[str]:
        return list(self.client.nthreads())

    def ask(self, nodes: Sequence[str], request: bytes) -> dict[str, bytes]:
        """Of the nodes that live; one that has gone says nothing."""
        said = self.client.run(node.serve, request, workers=list(nodes), on_error="return") if nodes else {}
        return {name: each for name, each in said.items() if isinstance(each, bytes)}

    def submit(self, request: bytes, done: Done) -> None:
        with warnings.catch_warnings(action="ignore"):  # Of its size: weights are what there is to send.
            key = f"sweepstake-{os.urandom(8).hex()}"
            self.futures[key] = future = self.client.submit(work, request, pure=False, key=key)
        future.add_done_callback(lambda ended: done(self._outcome(key, ended)))

    def _outcome(self, key: str, future: Any) -> Came | Lost | Exception:
        try:
            return Came(*future.result(timeout=SILENT_SECONDS))
        except KilledWorker as error:
            return Lost(str(error), blame=True)
        except (FutureCancelledError, OSError, TimeoutError) as error:
            return Lost(str(error), blame=False)
        except Exception as error:
            return error
        finally:
            self.futures.pop(key, None)

    def close(self) -> None:
        """Every parcel is taken back: its node sees that nobody wants it, and stops."""
        with suppress(Exception):
            self.client.cancel(list(self.futures.values()), force=True)
        with suppress(Exception):
            self.client.close(timeout=5)
        self.log.setLevel(self.level)
