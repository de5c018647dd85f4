"""Clusters are killed at seeded random moments, and the table must be that of an undisturbed run, to the bit.

    python bench/torture_away.py                     30 trials of Dask: two nodes over TCP, each in a network of its own
    python bench/torture_away.py --engine ray        10 trials of Ray on this machine
    python bench/torture_away.py --trials 3 --seed 7

Of Dask a trial kills a worker, all processes of a node, the scheduler or the driver, several times, and begins again what a supervisor
would; the driver is the plain command, and is begun again until it ends with 0. Nodes are hosts of their own where the machine allows it
(`ip netns`), else they are told apart by their caches. Of Ray it kills workers, what trains for them, and the driver.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweepstake.run.store import Store
from sweepstake.study.study import load_study
from tests.run.clusters import Nodes, command_of, descendants

STUDY = """title = "Torture"
model = {name = "mlp", hidden = [100, 50]}
init = ["xavier_normal", "kaiming_normal"]
steps = 3000
eval_every = 1000
rounds = 5
batch_size = 60
seeds = 3
"""
COMMAND = """
import sys
from sweepstake.cli import main
from sweepstake.run.executors import away

away.SECONDS = 1.0
sys.exit(main())
"""
LIMIT_SECONDS = 3600
"""On a machine that others use, too."""
PAUSE = (3, 15)
"""Seconds of processor time between two kills."""
NODES = {"one": 1, "two": 1}
ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["dask", "ray"], default="dask")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that what was begun is ended.
    trials = given.trials or {"dask": 30, "ray": 10}[given.engine]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        (folder / "study.toml").write_text(STUDY)
        subprocess.run(command(folder, "here"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        expected = table(folder, "here")
        for seed in range(given.seed, given.seed + trials):
            trial = {"dask": DaskTrial, "ray": RayTrial}[given.engine](folder / f"trial-{seed}", random.Random(seed))
            began = time.monotonic()
            ended = trial.run()
            equal = ended and table(trial.folder, "runs") == expected
            bad += not equal
            print(json.dumps({"engine": given.engine, "seed": seed, "equal": equal, "seconds": round(time.monotonic() - began, 1),
                              "kills": dict(trial.kills), "drivers": trial.drivers,
                              **trial.told}), flush=True)
            if equal:
                shutil.rmtree(trial.folder, ignore_errors=True)
            else:
                kept = Path(tempfile.mkdtemp(prefix="torture-failed-"))
                shutil.copytree(trial.folder, kept, dirs_exist_ok=True)
                print(f"kept in {kept}", flush=True)
    print(f"{trials - bad} of {trials} equal to the bit")
    return int(bad > 0)


def command(folder: Path, store: str, *more: str) -> list[str]:
    """The plain command, but that parcels come back after a second: in seconds of a trial they go out often.

    With --retry, for a cell that was hit three times at one round is given up.
    """
    words = ["run", str(folder / "study.toml"), "--store", str(folder / store), "--out", str(folder / "report"), "--retry", *more]
    return [sys.executable, "-c", COMMAND, *words]


def table(folder: Path, store: str) -> list[Any]:
    """Every record of every round without its seconds, and the bytes of every mask."""
    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if "seconds" not in key}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    home = Store(folder / store, create=False)
    rows: list[Any] = []
    for planned in load_study(folder / "study.toml").planned:
        result = home.get(planned.id)
        masks = home.folder / "cells" / planned.id / "masks.safetensors"
        rows.append(result and (planned.id, result["status"], timeless(result["rounds"]), masks.read_bytes()))
    return rows


class Worked:
    """The processor time of all that this process has begun: moments are told by it, and so hang on no neighbour's load."""

    def __init__(self):
        self.by_process, self.total = dict[int, int](), 0

    def seconds(self) -> float:
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
                self.total += max(0, ticks - self.by_process.get(pid, 0))
                self.by_process[pid] = ticks
        return self.total / os.sysconf("SC_CLK_TCK")


class Trial:
    """A driver, and what it computes on; killed until three or more things have died."""

    victims: tuple[str, ...]
    told: Mapping[str, Any] = {}

    def __init__(self, folder: Path, draw: random.Random):
        self.folder, self.draw = folder, draw
        self.kills, self.drivers = Counter[str](), 0
        self.driver: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        (folder / "study.toml").write_text(STUDY)

    def start_driver(self, *on: str) -> None:
        self.drivers += 1
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
        with (self.folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(command(self.folder, "runs", *on), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                           env=environment, start_new_session=True)

    def kill_driver(self) -> None:
        assert self.driver
        with suppress(ProcessLookupError):
            os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()

    def torment(self) -> bool:
        """Kill at random until enough have died, then wait for the end; whether it came in time."""
        until, left, worked = time.monotonic() + LIMIT_SECONDS, self.draw.randint(3, 6), Worked()
        pause = self.draw.uniform(*PAUSE)
        while time.monotonic() < until:
            assert self.driver
            if (code := self.driver.poll()) is not None:
                if code == 0:
                    return True
                self.begin_again()
            if left and worked.seconds() > pause:
                victim = self.draw.choice(self.victims)
                self.kill(victim)
                self.kills[victim] += 1
                left -= 1
                pause = worked.seconds() + self.draw.uniform(*PAUSE)
            time.sleep(0.1)
        return False

    def kill(self, victim: str) -> None:
        raise NotImplementedError

    def begin_again(self) -> None:
        raise NotImplementedError

    def run(self) -> bool:
        raise NotImplementedError


class DaskTrial(Trial):
    victims = ("worker", "node", "scheduler", "driver")

    def run(self) -> bool:
        with Networks(list(NODES)) as networks, Nodes(self.folder, networks.ours) as self.nodes:
            self.networks, self.told = networks, {"networks": networks.made}
            self.nodes.start_scheduler()
            for name in NODES:
                self.start(name)
            self.begin_again()
            try:
                return self.torment()
            finally:
                self.kill_driver()

    def start(self, name: str) -> None:
        self.nodes.start_node(name, NODES[name], self.networks.within(name), self.networks.host(name))

    def begin_again(self) -> None:
        self.start_driver("--on", self.nodes.address)

    def kill(self, victim: str) -> None:
        name = self.draw.choice(list(NODES))
        if victim == "driver":
            self.kill_driver()
        elif victim == "worker":
            for pid in self.nodes.workers(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif victim == "node":
            self.nodes.kill(name)
            self.start(name)
        else:  # Its workers end with it: all are begun again, as by a supervisor.
            self.nodes.kill("scheduler")
            time.sleep(self.draw.uniform(0, 3))
            self.nodes.start_scheduler()
            for each in NODES:
                self.nodes.kill(each)
                self.start(each)


class RayTrial(Trial):
    victims = ("worker", "hand", "driver")

    def run(self) -> bool:
        self.begin_again()
        try:
            return self.torment()
        finally:
            self.kill_driver()
            self.clear()

    def begin_again(self) -> None:
        self.clear()
        self.start_driver("--on", "ray", "--workers", "2")

    def kill(self, victim: str) -> None:
        assert self.driver
        if victim == "driver":
            self.ours = descendants(self.driver.pid)
            self.kill_driver()
            return
        named = {"worker": b"ray::", "hand": b"sweepstake.run.hand"}[victim]
        found = [pid for pid in descendants(self.driver.pid) if named in command_of(pid)]
        if found:
            with suppress(ProcessLookupError):
                os.kill(self.draw.choice(found), signal.SIGKILL)

    ours: list[int] = []

    def clear(self) -> None:
        """What a killed driver's Ray has left, as a machine's restart would."""
        for pid in self.ours:
            if b"ray" in command_of(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Networks:
    """A network a node, joined by a bridge to ours; where that may not be made, all nodes are in ours."""

    def __init__(self, names: list[str]):
        self.names, self.made = names, False
        self.bridge, self.net = f"tort{os.getpid() % 10000}", f"10.{77 + os.getpid() % 100}.0"

    def __enter__(self) -> "Networks":
        try:
            self._ip("link", "add", self.bridge, "type", "bridge")
            self._ip("addr", "add", f"{self.net}.1/24", "dev", self.bridge)
            self._ip("link", "set", self.bridge, "up")
            for number, name in enumerate(self.names, 2):
                space, ours, theirs = self._space(name), f"{self.bridge}a{number}", f"{self.bridge}b{number}"
                self._ip("netns", "add", space)
                self._ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", space)
                self._ip("link", "set", ours, "master", self.bridge, "up")
                self._ip("-n", space, "addr", "add", f"{self.net}.{number}/24", "dev", theirs)
                self._ip("-n", space, "link", "set", theirs, "up")
                self._ip("-n", space, "link", "set", "lo", "up")
            self.made = True
        except (OSError, subprocess.CalledProcessError):
            self.__exit__()
        return self

    def __exit__(self, *_: Any) -> None:
        for name in self.names:
            with suppress(OSError, subprocess.CalledProcessError):
                self._ip("netns", "del", self._space(name))
        with suppress(OSError, subprocess.CalledProcessError):
            self._ip("link", "del", self.bridge)

    @property
    def ours(self) -> str:
        return f"{self.net}.1" if self.made else "127.0.0.1"

    def within(self, name: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._space(name)) if self.made else ()

    def host(self, name: str) -> str:
        return f"{self.net}.{2 + self.names.index(name)}" if self.made else "127.0.0.1"

    def _space(self, name: str) -> str:
        return f"{self.bridge}-{name}"

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
