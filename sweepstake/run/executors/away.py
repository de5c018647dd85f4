"""Cells on other machines, which need no folder in common: a parcel goes out, and comes back after some rounds.

A parcel is all that a node needs (a cell, its last finished round, the text of plug-ins), and what comes back is all
that it made. So a cluster may reorder parcels, run one again or twice: a number can come out of it in one way only, and
what a node that dies loses is what it did since the parcel went out. The driver alone writes the store.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import OnEvent
from sweepstake.run import provenance
from sweepstake.run.changed import data_of
from sweepstake.run.claims import is_held
from sweepstake.run.executors.cluster import Came, Cluster, Lost, Open, Outcome
from sweepstake.run.files import CannotWrite
from sweepstake.run.parcel import Back, Files, Greeting, Hello, Parcel, Taken, answered, encode
from sweepstake.run.queue import Queue
from sweepstake.run.sealed import Damaged
from sweepstake.run.sent import hash_of_images, is_everywhere, pieces_of
from sweepstake.run.settings import Settings, Task
from sweepstake.run.shipping import files_for, take_in
from sweepstake.run.stopping import unstopped
from sweepstake.study.plan import program_of

SECONDS = 10.0
"""After which a parcel comes back, at the end of a round: all that the death of a node can lose, but a longer round."""
SLOTS_SECONDS = 1.0
"""How often the cluster is asked for its size."""
PATIENCE_SECONDS = 10.0
"""After which a cluster without a worker is told, once for each time that it loses all."""


def execute(queue: Queue, settings: Settings, on_event: OnEvent) -> None:
    """Compute what the queue has on the cluster that `--on` names."""
    if queue.is_over:
        return
    inbox = SimpleQueue[tuple[int, Outcome] | bytes]()
    with cluster_for(settings)(settings, inbox.put) as cluster:
        Driver(queue, settings, on_event, cluster, inbox).run()


def cluster_for(settings: Settings) -> Open:
    """The engine that `--on` names; a UserError says what to install."""
    if settings.on.startswith("ray"):
        from sweepstake.run.executors.ray import opened
    else:
        from sweepstake.run.executors.dask import opened
    return opened


@dataclass
class Flight:
    """A parcel that is out."""

    tasks: list[Task]
    left: float = field(default_factory=time.monotonic)


@dataclass
class Driver:
    """The parcels that are out, those that go out again, and what becomes of them."""

    queue: Queue
    settings: Settings
    on_event: OnEvent
    cluster: Cluster
    inbox: "SimpleQueue[tuple[int, Outcome] | bytes]"
    again: deque[list[Task]] = field(default_factory=deque[list[Task]])
    out: dict[int, Flight] = field(default_factory=dict[int, Flight])
    spent: dict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))
    resumed: set[str] = field(default_factory=set[str])
    number: int = 0

    def __post_init__(self):
        self.store = self.queue.store
        self.versions = provenance.comparable()
        self.supplies = Supplies(self.cluster, self.settings)
        self.plugins = dict[str, bytes]()

    def run(self) -> None:
        """Until every task has ended, or something is wrong with a machine."""
        self._greet()
        asked, slots, patient = 0.0, 0, time.monotonic() + PATIENCE_SECONDS
        while self.again or self.out or not self.queue.is_over:
            if time.monotonic() - asked > SLOTS_SECONDS or slots == 0:
                asked, slots = time.monotonic(), self.cluster.slots()
            if slots:
                patient = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > patient:
                patient = math.inf
                why = f"--on {self.settings.on}: no worker answers. The run goes on once one does."
                self.on_event(events.Waiting(why))
            self._send(min(slots, self.settings.at_once or slots))
            self._hear(0.2)

    def _greet(self) -> None:
        """Every difference of every node that is there, told before anything is computed."""
        heard = self.cluster.ask(self.cluster.nodes(), encode(Hello(self.versions)))
        lines: list[str] = []
        for node, content in heard.items():
            greeting = answered(content)
            if isinstance(greeting, Greeting):
                lines += [self._unlike(node, greeting.host, line) for line in greeting.unlike]
        if lines:
            raise UserError(*lines)

    def _unlike(self, node: str, host: str, line: str) -> str:
        return (f"--on {self.settings.on}: node {host.partition(':')[0]} ({node}): {line}. "
                "Install the same everywhere, or let that node go.")

    # Out

    def _send(self, slots: int) -> None:
        while len(self.out) < slots and (tasks := self.again.popleft() if self.again else self._taken()):
            self._fly(tasks)

    def _taken(self) -> list[Task]:
        """A cell, or so many as one program takes side by side: ours from now on."""
        first = self.queue.take()
        if first is None:
            return []
        tasks, program = [first], program_of(first.cell)
        while self.settings.side_by_side and len(tasks) < (self.settings.stack or 1):
            if (task := self.queue.take(lambda task: program_of(task.cell) == program)) is None:
                break
            tasks.append(task)
        for task in tasks:
            self.store.begin(task.id, task.cell)
            self.on_event(events.Began(task.id))
        return tasks

    def _fly(self, tasks: list[Task]) -> None:
        """These cells, on their way from where they are."""
        files: dict[str, Mapping[str, bytes]] = {}
        for task in list(tasks):
            if self._is_lost(task):
                tasks.remove(task)
                continue
            try:
                files |= files_for(self.store, task.id, task.cell)
            except CannotWrite:
                raise
            except Exception as error:
                from sweepstake.run.sitting import fail  # With PyTorch.

                fail(task, error, self.store, 0.0, self.on_event)
                self.queue.end(task.id)
                tasks.remove(task)
        if tasks:
            self.number += 1
            number = self.number
            self.out[number] = Flight(tasks)
            self.cluster.submit(encode(self._parcel(tasks, files)), lambda outcome: self.inbox.put((number, outcome)))

    def _parcel(self, tasks: Sequence[Task], files: Files) -> Parcel:
        limit = None if self.settings.side_by_side else self.settings.timeout_seconds
        return Parcel(
            tasks=list(tasks),
            files=files,
            plugins=[(Path(path).name, self._text(path)) for path in tasks[0].plugins],
            versions=self.versions,
            data=self.supplies.hash_of(tasks[0]),
            device=self.settings.device,
            stack=self.settings.stack,
            seconds=SECONDS,
            seconds_left=None if limit is None else max(0.0, limit - self.spent[tasks[0].id]),
        )

    def _text(self, path: str) -> bytes:
        """A plug-in's text, read once: a file that is edited meanwhile changes nothing."""
        if path not in self.plugins:
            self.plugins[path] = Path(path).read_bytes()
        return self.plugins[path]

    # Back

    def _hear(self, seconds: float) -> None:
        """What came back meanwhile, one after another; at least a moment is waited for the first."""
        try:
            said = self.inbox.get(timeout=seconds)
            while True:
                if isinstance(said, bytes):
                    self._step(said)
                else:
                    self._landed(self.out.pop(said[0]), said[1])
                said = self.inbox.get_nowait()
        except Empty:
            return

    def _step(self, line: bytes) -> None:
        event = events.decode(line)
        if isinstance(event, events.Step | events.Resumed) and event.id in self.queue.running:
            self._tell(event, "")

    def _landed(self, flight: Flight, outcome: Outcome) -> None:
        match outcome:
            case Came(node, content):
                back = answered(content)
                if not isinstance(back, Back):
                    raise UserError(f"--on {self.settings.on}: {node} said what was not asked.")
                self._unpack(flight, node, back)
            case Lost():
                if outcome.blame:
                    self._died([task for task in flight.tasks if not self._is_lost(task)], None)
                else:
                    self.again.append(flight.tasks)
            case error:
                raise UserError(f"--on {self.settings.on}: a node raised {type(error).__name__}: {error}. "
                                "Is the same sweepstake installed there?") from error

    def _unpack(self, flight: Flight, node: str, back: Back) -> None:
        """What a parcel brought, put into the store and told; and what is to follow."""
        if back.unlike:
            raise UserError(*(self._unlike(node, back.host, line) for line in back.unlike))
        if back.lacks:
            self.supplies.send(node, back.host, flight.tasks[0], since=flight.left)
            self.again.append(flight.tasks)
            return
        tasks = [task for task in flight.tasks if not self._is_lost(task)]
        for task in tasks:
            self.spent[task.id] += back.seconds
        whole = self._take_in(tasks, back)
        for line in back.events if whole else ():
            self._tell(events.decode(line), back.host)
        left = [task for task in tasks if task.id in self.queue.running]
        if back.code is not None or not whole:
            self._died(left, back.code)
        elif back.over or self._are_over(left):
            self._over(left)
        elif left:
            self.again.append(left)

    def _is_lost(self, task: Task) -> bool:
        """Whether another run has taken the cell over while we were frozen."""
        if is_held(task.claim):
            return False
        self.on_event(events.Busy(task.id))
        self.queue.lost(task.id)
        return True

    def _take_in(self, tasks: Sequence[Task], back: Back) -> bool:
        """Whether all that came is whole; else nothing of it is told."""
        try:
            for task in tasks:
                with unstopped():
                    take_in(self.store, task.id, back.files.get(task.id, {}),
                            last_weights=self.settings.save_weights == "last")
        except Damaged as damage:
            self.on_event(events.Damaged(str(damage), "its rounds are computed again", tasks[0].id))
            return False
        return True

    def _tell(self, event: events.Event, host: str) -> None:
        if isinstance(event, events.OfCell) and event.id not in self.queue.running:
            return  # Another run's by now.
        match event:
            case events.Stopped():
                raise UserError(f"{host}: {event.error}")
            case events.Resumed(id_):
                if id_ in self.resumed:
                    return  # It went out again, and that is all.
                self.resumed.add(id_)
            case events.Round(id_):
                self.queue.moved_on(id_)
            case events.Done(id_) | events.Failed(id_):
                self.queue.end(id_)
            case _:
                pass
        self.on_event(event)

    def _died(self, tasks: Sequence[Task], code: int | None) -> None:
        """Tried again, each by itself, so that the next death has one to blame; or given up."""
        for task in tasks:
            self.resumed.discard(task.id)
            again = self.queue.died(task.id)
            self.on_event(events.Died(task.id, code, again))
            if again:
                self.on_event(events.Began(task.id))
                self.again.append([task])

    def _are_over(self, tasks: Sequence[Task]) -> bool:
        limit = None if self.settings.side_by_side else self.settings.timeout_seconds
        return limit is not None and any(self.spent[task.id] > limit for task in tasks)

    def _over(self, tasks: Sequence[Task]) -> None:
        error = f"over its limit of {(self.settings.timeout_seconds or 0) / 60:g} minutes"
        for task in tasks:
            self.store.fail(task.id, error, "", {})
            self.queue.end(task.id)
            self.on_event(events.Failed(task.id, error, killed=True))


class Supplies:
    """The data sets of a run under their hashes, sent to a node that asks, once for all workers there."""

    def __init__(self, cluster: Cluster, settings: Settings):
        self.cluster, self.settings = cluster, settings
        self.hashes, self.sent = dict[str, str](), dict[tuple[str, str], float]()

    def hash_of(self, task: Task) -> str:
        """Of its images, decoded here; nothing for those that every node has."""
        ref = task.cell.dataset
        if is_everywhere(ref):
            return ""
        key = repr(ref)
        if key not in self.hashes:
            self.hashes[key] = hash_of_images(data_of(task))
        return self.hashes[key]

    def send(self, node: str, host: str, task: Task, since: float) -> None:
        """To this node, unless its host was sent them after it asked."""
        digest = self.hash_of(task)
        if self.sent.get((host, digest), 0.0) > since:
            return
        for piece in pieces_of(data_of(task), digest):
            for content in self.cluster.ask([node], encode(piece)).values():
                taken = answered(content)
                if isinstance(taken, Taken) and taken.error:
                    raise UserError(f"--on {self.settings.on}: {task.cell.dataset.name} could not be put on "
                                    f"{host}: {taken.error}.")
        self.sent[host, digest] = time.monotonic()
