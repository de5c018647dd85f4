"""Ray: of this machine alone (`--on ray`), or an existing cluster (`ray://HOST:PORT`); a share of a card a stack."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sweepstake.base.errors import UserError
from sweepstake.run import node
from sweepstake.run.executors.cluster import Came, Done, Lost
from sweepstake.run.settings import Settings
from sweepstake.run.stopping import signals_kept

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Nothing of ours calls home, and nothing that we start.

try:
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError, TaskCancelledError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise UserError('--on: needs Ray. `pip install "sweepstake[ray]"`, here and on every node.') from None

ASK_SECONDS = 120.0


def work(request: bytes) -> tuple[str, bytes]:
    """On a worker: the parcel computed; and the node's id. Ray interrupts what nobody wants any more."""
    return ray.get_runtime_context().get_node_id(), node.serve(request)


@contextmanager
def opened(settings: Settings, on_step: Callable[[bytes], None]) -> Iterator["Ray"]:
    """The cluster that the settings say; a Ray that the caller has begun already is used, and left as it is."""
    ours = not ray.is_initialized()
    if ours:
        begin(settings.on, settings.workers)
    cluster = Ray(settings)
    try:
        yield cluster
    finally:
        cluster.close()
        if ours:
            ray.shutdown()


def begin(on: str, cores: int) -> None:
    """Ray on so many cores of this machine, or a client of a cluster."""
    try:
        with signals_kept():  # ray.init answers SIGTERM by itself, with exit code 15.
            if on == "ray":
                ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False,
                         configure_logging=False)
            else:
                logging.getLogger("ray.client_builder").setLevel(logging.WARNING)
                with warnings.catch_warnings(action="ignore"):  # We say ourselves that nobody answers.
                    ray.init(on, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(f"--on {on}: no Ray cluster answers there ({_why(error)}). Start one with `ray start --head`. "
                        "One that asks for a token answers where RAY_AUTH_MODE=token is set, too.") from error


def _why(error: Exception) -> str:
    """What an error says first, and last where the cluster's own traceback stands between."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines) == 1 or "failure from server" not in lines[0] else f"{lines[0]} {lines[-1]}"


class Ray:
    """A Ray cluster, seen by its client."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.refs = dict[int, Any]()
        self.cards = (settings.card or 1.0) if settings.device == "cuda" else 0.0
        remote: Any = ray.remote(work)
        self.work = remote.options(num_cpus=1, num_gpus=self.cards, max_retries=0)
        self.serve: Any = ray.remote(node.serve)

    def slots(self) -> int:
        """Its cores, or as many as its cards are shared by."""
        try:
            there = ray.cluster_resources()
        except (RayError, ConnectionError, RuntimeError) as error:
            raise UserError(f"--on {self.settings.on}: the Ray cluster has gone ({type(error).__name__}). "
                            "What is finished is kept; start it again, and then the same command.") from error
        cores = int(there.get("CPU", 0))
        if not cores and self.settings.on == "ray":  # A cluster may get nodes later; this machine is the only one.
            raise UserError("--on ray: Ray's own processes on this machine have ended: killed, or out of memory. "
                            "What is finished is kept; the same command goes on.")
        return min(cores, int(there.get("GPU", 0) / self.cards + 1e-6)) if self.cards else cores

    def nodes(self) -> list[str]:
        return [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]

    def ask(self, nodes: Sequence[str], request: bytes) -> dict[str, bytes]:
        """Of the nodes that live; one that has gone says nothing."""
        refs = {name: self.serve.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(
            name, soft=False)).remote(request) for name in nodes}
        said: dict[str, bytes] = {}
        for name, ref in refs.items():
            with suppress(RayError, GetTimeoutError):
                said[name] = ray.get(ref, timeout=ASK_SECONDS)
        return said

    def submit(self, request: bytes, done: Done) -> None:
        ref = self.work.remote(request)
        number = id(ref)
        self.refs[number] = ref

        def ended(future: Any) -> None:
            self.refs.pop(number, None)
            done(_outcome(future))

        ref.future().add_done_callback(ended)

    def close(self) -> None:
        """Every parcel is taken back."""
        for ref in list(self.refs.values()):
            with suppress(Exception):
                ray.cancel(ref, force=False)


def _outcome(future: Any) -> Came | Lost | Exception:
    try:
        return Came(*future.result())
    except (TaskCancelledError, ConnectionError) as error:
        return Lost(str(error), blame=False)
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except RayError as error:
        return Lost(str(error), blame=True)
    except Exception as error:
        return error
