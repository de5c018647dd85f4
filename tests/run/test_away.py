"""Cells on other machines: what travels, what is refused, and what the death of a process costs. The engines are real."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sweepstake import pieces
from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import Data
from sweepstake.run import node, parcel, provenance, sent
from sweepstake.run.claims import TAKES
from sweepstake.run.executors import away
from sweepstake.run.executors.cluster import Came, Done, Lost
from sweepstake.run.queue import Queue
from sweepstake.run.run import run_study
from sweepstake.run.sealed import Damaged
from sweepstake.run.settings import Settings, Task
from sweepstake.run.shipping import files_for, made, take_in
from sweepstake.run.store import Store
from sweepstake.study.study import load_study
from tests.run.clusters import ROOT, Nodes, command_of, descendants, free_port
from tests.run.slurm import wait_for
from tests.small import small_study, write_small

PLUGIN = '''
from sweepstake import Data, criterion, dataset, init

@init
def mine(normal, fan_in, *, scale: float = 1.0):
    """Half of them (nobody, never)."""
    return normal * scale / fan_in

@dataset(shape=(1, 4, 4), classes=2, train=40, test=20)
def tiny():
    """Told from a file beside it, which no node has (nobody, never)."""
    import numpy as np
    from pathlib import Path

    x = np.frombuffer(Path(SEEN).read_bytes(), np.uint8).reshape(60, 1, 4, 4)
    y = (x.sum((1, 2, 3)) % 2).astype(np.int64)
    return Data(x[:40], y[:40], x[40:], y[40:], 2)

@criterion(granularity="weight")
def deadly(w_final, *, flag: str):
    """Kills its process while a file is there (nobody, never)."""
    import os
    if os.path.exists(flag):
        os.kill(os.getpid(), 9)
    return w_final.abs()
'''


@pytest.fixture(autouse=True)
def no_piece_of_another_test() -> Iterator[None]:
    yield
    for path in list(pieces._loaded):
        pieces._forget(path)


class Here:
    """A cluster of threads in this process, for what no engine has a part in: `node.serve` is called as an engine calls it."""

    def __init__(self, serve: Callable[[bytes], bytes] = node.serve):
        self.serve, self.asked, self.sent = serve, list[Any](), list[parcel.Parcel]()

    def slots(self) -> int:
        return 2

    def nodes(self) -> list[str]:
        return ["a", "b"]

    def ask(self, nodes: list[str], request: bytes) -> dict[str, bytes]:
        self.asked.append(parcel.asked(request))
        return {name: self.serve(request) for name in nodes}

    def submit(self, request: bytes, done: Done) -> None:
        said = parcel.asked(request)
        assert isinstance(said, parcel.Parcel)
        self.sent.append(said)

        def run() -> None:
            try:
                done(Came("a", self.serve(request)))
            except Exception as error:
                done(error)

        threading.Thread(target=run, daemon=True).start()


def tasks_of(study: Any, store: Path) -> list[Task]:
    return [Task(p.id, p.cell, str(store), [], [str(Path(each).absolute()) for each in study.plugins], study.name, "") for p in study.planned]


def drive(study: Any, store: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch, **how: Any) -> list[Any]:
    from contextlib import nullcontext

    heard: list[Any] = []
    monkeypatch.setattr(away, "cluster_for", lambda _: lambda *_: nullcontext(cluster))
    settings = Settings.of(study, store=store, on="dask", **how)
    with Queue(tasks_of(study, store), Store(store), heard.append) as queue:
        away.execute(queue, settings, heard.append)
    return heard


def plugged(folder: Path, **keys: str) -> Any:
    (folder / "seen.bin").write_bytes(np.random.default_rng(0).integers(0, 256, 60 * 16, np.uint8).tobytes())
    (folder / "mine.py").write_text(PLUGIN.replace("SEEN", repr(str(folder / "seen.bin"))))
    said = {"model": '{name = "mlp", hidden = [6]}', "steps": "5", "rounds": "2", "batch_size": "10", **keys}
    (folder / "s.toml").write_text('plugins = ["mine.py"]\n' + "".join(f"{key} = {value}\n" for key, value in said.items()))
    return load_study(folder / "s.toml")


def table(store: Path, study: Any) -> list[Any]:
    """What must be equal: status and every number of every round, without seconds."""
    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if "seconds" not in key}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    got = [Store(store, create=False).get(each.id) for each in study.planned]
    return [each and (each["status"], timeless(each["rounds"])) for each in got]


def test_a_plugin_and_its_data_reach_a_node_that_has_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study = plugged(tmp_path, init='"mine"', dataset='"tiny"', seeds="3")
    run_study(study, tmp_path / "here", workers=1)
    cluster = Here()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    drive(study, tmp_path / "away", cluster, monkeypatch)
    assert table(tmp_path / "away", study) == table(tmp_path / "here", study)
    assert None not in table(tmp_path / "away", study)
    came = [each.name for each in cluster.asked if isinstance(each, parcel.Piece)]
    assert came == ["train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy", ""]  # Once, for three cells.
    kept = list(sent.sent_images().iterdir())
    assert [each.name for each in kept] == [cluster.sent[0].data]
    again = Here()
    drive(study, tmp_path / "again", again, monkeypatch)
    assert not [each for each in again.asked if isinstance(each, parcel.Piece)]


def test_a_node_that_finds_the_same_images_itself_is_sent_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draw = np.random.default_rng(1)
    np.savez(tmp_path / "own.npz", train_x=draw.integers(0, 256, (40, 4, 4), np.uint8), train_y=draw.integers(0, 2, 40),
             test_x=draw.integers(0, 256, (20, 4, 4), np.uint8), test_y=draw.integers(0, 2, 20))
    study = small_study(dataset={"name": "npz", "path": str(tmp_path / "own.npz")}, seeds=2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cluster = Here()
    drive(study, tmp_path / "away", cluster, monkeypatch)
    assert not [each for each in cluster.asked if isinstance(each, parcel.Piece)]
    assert [each and each[0] for each in table(tmp_path / "away", study)] == ["done", "done"]
    assert [each.name for each in sent.sent_images().iterdir()] == [cluster.sent[0].data]  # Decoded once, by one of two cells.


def test_images_that_arrive_changed_are_refused():
    x, y = np.arange(48, dtype=np.uint8).reshape(3, 1, 4, 4), np.zeros(3, np.int64)
    data = Data(x, y, x, y, 2)
    digest = sent.hash_of_images(data)
    assert digest == sent.hash_of_images(Data(x.copy(), y.copy(), x, y, 2))
    assert digest != sent.hash_of_images(Data(x, y, x, y, 3))
    other = Data(x + 1, y, x, y, 2)
    *first, last = sent.pieces_of(other, digest)
    for each in first:
        sent.take_piece(each)
    with pytest.raises(ValueError, match="not those that were sent"):
        sent.take_piece(last)
    for wrong in (msgspec.structs.replace(first[0], data="../../x"), msgspec.structs.replace(first[0], name="../x.npy")):
        with pytest.raises(ValueError):
            sent.take_piece(wrong)


def test_one_process_at_a_time_decodes_and_a_dead_one_is_not_waited_for_for_ever(tmp_path: Path):
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with sent.alone(tmp_path / "x.lock"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (most, list(tmp_path.iterdir())) == (1, [])
    (tmp_path / "x.lock").touch()
    began = time.monotonic()
    with sent.alone(tmp_path / "x.lock", patience=0.3):
        assert time.monotonic() - began < 5
    assert not (tmp_path / "x.lock").exists()


def test_another_version_on_a_node_is_told_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there = {**provenance.comparable(), "torch": "2.12.0"}

    def old(request: bytes) -> bytes:
        with monkeypatch.context() as patched:
            patched.setattr(provenance, "comparable", lambda: there)
            return node.serve(request)

    cluster = Here(old)
    with pytest.raises(UserError) as told:
        drive(small_study(), tmp_path, cluster, monkeypatch)
    here = provenance.comparable()["torch"]
    assert [line.split(": ", 2)[2] for line in told.value.problems] == [
        f"torch 2.12.0 there, {here} here. Install the same everywhere, or let that node go."] * 2
    assert "(a)" in told.value.problems[0]
    assert "(b)" in told.value.problems[1]
    assert cluster.sent == []


def test_a_node_that_joins_late_with_another_text_of_ours_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = {**provenance.comparable(), "sweepstake": "0.0.1 (text 00000000)"}

    def late(request: bytes) -> bytes:
        if isinstance(parcel.asked(request), parcel.Hello):
            return node.serve(request)
        with monkeypatch.context() as patched:
            patched.setattr(provenance, "comparable", lambda: other)
            return node.serve(request)

    with pytest.raises(UserError, match=r"sweepstake 0\.0\.1 \(text 00000000\) there, "):
        drive(small_study(), tmp_path, Here(late), monkeypatch)


def test_a_plugin_that_is_edited_after_the_study_was_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study = plugged(tmp_path, init='"mine"', seeds="1")
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace("* scale /", "* 2 * scale /"))
    with pytest.raises(UserError, match="the plug-in of mine is .* there, .* here"):
        drive(study, tmp_path / "away", Here(), monkeypatch)
    assert Store(tmp_path / "away").whole() == []


def test_a_cell_whose_process_dies_every_time_has_failed_and_its_neighbours_have_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "flag").touch()
    study = plugged(tmp_path, seeds="1", criterion=f'[{{name = "deadly", flag = "{tmp_path}/flag"}}, "magnitude"]')
    bad, good = study.planned
    heard = drive(study, tmp_path / "away", Here(), monkeypatch)
    assert [(e.code, e.again) for e in heard if isinstance(e, events.Died)] == [(-9, True), (-9, True), (-9, False)]
    assert "ended each time without a word: killed, or out of memory" in (Store(tmp_path / "away").failure(bad.id) or {})["error"]
    assert Store(tmp_path / "away").status(good.id) == "done"


def test_a_cell_that_dies_now_and_then_but_gets_on_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(away, "SECONDS", 0.0)
    study, turn = small_study(seeds=1, rounds=6), iter(range(1000))

    def every_second(request: bytes) -> bytes:
        back = node.serve(request)
        said = parcel.answered(back)
        if isinstance(said, parcel.Back) and next(turn) % 2:
            return parcel.encode(parcel.Back(said.host, [], {}, code=-9))
        return back

    heard = drive(study, tmp_path / "away", Here(every_second), monkeypatch)
    assert sum(isinstance(e, events.Died) for e in heard) > TAKES
    assert [e.round for e in heard if isinstance(e, events.Round)] == list(range(7))
    run_study(study, tmp_path / "here", workers=1)
    assert table(tmp_path / "away", study) == table(tmp_path / "here", study)


def test_a_cell_over_its_limit_is_a_failure_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(away, "SECONDS", 0.0)
    study = small_study(rounds=4000, steps=200, seeds=1, machine={"timeout_minutes": 0.02})
    heard = drive(study, tmp_path, Here(), monkeypatch)
    assert [e.error for e in heard if isinstance(e, events.Failed)] == ["over its limit of 0.02 minutes"]
    assert (Store(tmp_path).failure(study.planned[0].id) or {})["error"] == "over its limit of 0.02 minutes"


def test_weights_that_are_kept_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(away, "SECONDS", 0.0)
    for saves, rounds in (("last", [2]), ("all", [0, 1, 2])):
        study = small_study(seeds=1, reset={"name": "rewind", "step": 5}, machine={"save_weights": saves})
        (task,) = tasks_of(study, tmp_path / saves)
        task = msgspec.structs.replace(task, save_weights=saves)
        monkeypatch.setattr(f"{__name__}.tasks_of", lambda *_, task=task: [task])
        drive(study, tmp_path / saves, Here(), monkeypatch)
        run_study(study, tmp_path / f"{saves} here", workers=1)
        kept, here = (Store(tmp_path / name).weights(task.id) for name in (saves, f"{saves} here"))
        assert kept.rounds == here.rounds == rounds
        for which in (*rounds, "step"):
            assert kept.path(which).read_bytes() == here.path(which).read_bytes()


def test_a_transplant_takes_its_donors_masks_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(away, "SECONDS", 0.0)
    study = small_study(seeds=1, case=[{"label": "donor", "init": "kaiming_normal"},
                                       {"label": "taken", "init": "xavier_normal", "control": "transplant", "donor": {"init": "kaiming_normal"}}])
    donor, taken = study.planned
    run_study(study, tmp_path / "here", workers=1)
    cluster = Here()
    drive(study, tmp_path / "away", cluster, monkeypatch, workers=1)
    assert table(tmp_path / "away", study) == table(tmp_path / "here", study)
    first = next(each for each in cluster.sent if each.tasks[0].id == taken.id)
    assert set(first.files[donor.id]) == {"masks.safetensors", "result.json", "cell.json"}


# What a node sends is not believed

def sent_back(tmp_path: Path) -> tuple[Store, str, dict[str, bytes]]:
    study = small_study(seeds=1)
    run_study(study, tmp_path / "there", workers=1)
    id_ = study.planned[0].id
    return Store(tmp_path / "here"), id_, made(Store(tmp_path / "there"), id_, {})


def test_files_are_proven_before_one_of_them_is_written(tmp_path: Path):
    store, id_, files = sent_back(tmp_path)
    assert set(files) == {"cell.json", "masks.safetensors", "result.json"}
    broken = {**files, "result.json": files["result.json"].replace(b'"done"', b'"gone"')}
    for wrong in (broken, {"result.json": files["result.json"]}, {**files, "masks.safetensors": files["masks.safetensors"][:-1] + b"\xff"}):
        with pytest.raises(Damaged):
            take_in(store, id_, wrong, last_weights=False)
    with pytest.raises(Damaged):
        take_in(store, "another", files, last_weights=False)
    with pytest.raises(ValueError, match="no file of a cell"):
        take_in(store, id_, {"../../x": b""}, last_weights=False)
    assert list((store.folder / "cells").iterdir()) == []
    take_in(store, id_, files, last_weights=False)
    assert store.status(id_) == "done"
    assert files_for(store, id_, small_study(seeds=1).cells[0]) == {id_: {}}


def test_damage_on_the_way_is_told_and_the_rounds_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study, turn = small_study(seeds=1), iter(range(100))

    def once(request: bytes) -> bytes:
        back = parcel.answered(node.serve(request))
        if isinstance(back, parcel.Back) and next(turn) == 0:
            files = {id_: {name: content[:-2] + b"!!" for name, content in named.items()} for id_, named in back.files.items()}
            back = msgspec.structs.replace(back, files=files)
        return parcel.encode(back)

    heard = drive(study, tmp_path / "away", Here(once), monkeypatch)
    kinds = [e.kind for e in heard if e.kind not in ("began", "resumed", "compiling")]
    assert kinds == ["damaged", "died", "round", "round", "round", "done"]
    run_study(study, tmp_path / "here", workers=1)
    assert table(tmp_path / "away", study) == table(tmp_path / "here", study)


def test_a_cluster_without_a_worker_is_told_once_for_each_time_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cluster, there = Here(), iter([0, 0, 0, 1, 0, 0, 0])
    monkeypatch.setattr(cluster, "slots", lambda: next(there, 1))
    monkeypatch.setattr(away, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(away, "SLOTS_SECONDS", 0.0)
    heard = drive(small_study(seeds=2), tmp_path, cluster, monkeypatch)
    assert [e.why for e in heard if e.kind == "waiting"] == ["--on dask: no worker answers. The run goes on once one does."] * 2
    assert [e.kind for e in heard if e.kind in ("failed", "done")] == ["done", "done"]


def test_a_parcel_that_was_lost_on_the_way_is_nobodys_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cluster, lost = Here(), iter(range(5))
    submit = cluster.submit

    def unlucky(request: bytes, done: Done) -> None:
        done(Lost("the scheduler has gone", blame=False)) if next(lost, None) is not None else submit(request, done)

    cluster.submit = unlucky
    heard = drive(small_study(seeds=1), tmp_path, cluster, monkeypatch)
    assert [e.kind for e in heard if e.kind in ("died", "done")] == ["done"]


# What is refused

@pytest.mark.parametrize(("on", "said"), [
    ("dusk", "--on dusk: say dask, ray or slurm, or where a cluster is: tcp://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT."),
    ("tcp://node-1", "--on tcp://node-1: say dask, ray or slurm, or where a cluster is: tcp://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT."),
    ("http://a:1", "--on http://a:1: say dask, ray or slurm, or where a cluster is: tcp://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT.")])
def test_a_cluster_that_cannot_be_is_one_line(on: str, said: str):
    with pytest.raises(UserError) as told:
        Settings.of(small_study(), on=on)
    assert told.value.problems == (said,)


def test_a_card_elsewhere_needs_the_size_of_a_stack():
    with pytest.raises(UserError, match=r"--on ray --device cuda: say how many cells train side by side on a card there: --stack 16\."):
        Settings.of(small_study(), on="ray", device="cuda")
    assert Settings.of(small_study(machine={"on": "ray", "card": 0.5, "stack": 4, "device": "cuda"})).card == 0.5


@pytest.mark.parametrize(("on", "library", "extra"), [
    ("dask", "distributed", "dask"), ("tcp://127.0.0.1:1", "distributed", "dask"), ("ray", "ray", "ray")])
def test_without_the_library_one_line_says_what_to_install(tmp_path: Path, on: str, library: str, extra: str):
    hide = f"import sys\nsys.modules['{library}'] = None\nfrom sweepstake.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", hide, "run", str(write_small(tmp_path)), "--store", str(tmp_path / "runs"), "--on", on],
                          capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path[:1]))})
    assert done.returncode == 2
    assert f'pip install "sweepstake[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_scheduler_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dask = pytest.importorskip("sweepstake.run.executors.dask")
    monkeypatch.setattr(dask, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match="no Dask scheduler answers there"):
        run_study(small_study(), tmp_path, on="tcp://127.0.0.1:1")


# Dask and Ray themselves

def test_a_worker_the_scheduler_and_a_node_are_killed_and_the_table_is_that_of_an_undisturbed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(away, "SECONDS", 0.0)
    study = small_study(seeds=3, rounds=8, steps=300)
    run_study(study, tmp_path / "here", workers=1)
    with Nodes(tmp_path) as nodes:
        nodes.start_scheduler()
        nodes.start_node("one", workers=1)
        nodes.start_node("two", workers=1)
        rounds = 0

        def hear(event: events.Event) -> None:
            nonlocal rounds
            rounds += isinstance(event, events.Round)
            if isinstance(event, events.Round) and rounds == 4:
                for pid in nodes.workers("one"):
                    os.kill(pid, signal.SIGKILL)
            if isinstance(event, events.Round) and rounds == 9:  # All are begun again, as a supervisor does.
                for name in ("scheduler", "one", "two"):
                    nodes.kill(name)
                nodes.start_scheduler()
                nodes.start_node("one", workers=1)
                nodes.start_node("two", workers=1)
            if isinstance(event, events.Round) and rounds == 16:
                nodes.kill("two")

        run_study(study, tmp_path / "away", on=nodes.address, on_event=hear)
    assert rounds == 27
    assert table(tmp_path / "away", study) == table(tmp_path / "here", study)
    assert None not in table(tmp_path / "away", study)


def test_why_a_ray_cluster_does_not_answer_is_said_with_the_end_of_its_own_traceback(monkeypatch: pytest.MonkeyPatch):
    ours = pytest.importorskip("sweepstake.run.executors.ray")

    def init(*_: object, **__: object) -> None:
        raise ConnectionAbortedError("Initialization failure from server:\nTraceback:\n  a line\nRuntimeError: the server is slow.\n")

    monkeypatch.setattr(ours.ray, "init", init)
    with pytest.raises(UserError, match=r"there \(Initialization failure from server: RuntimeError: the server is slow\.\)\. Start one"):
        ours.begin("ray://head:10001", 1)


@pytest.mark.long
def test_a_client_of_a_ray_cluster_has_the_table_of_one_machine(tmp_path: Path):
    pytest.importorskip("ray")
    port, client = free_port(), free_port()
    head = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", f"--ray-client-server-port={client}",
            "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a token that is long enough for Ray",
                   "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120"}  # Of a server a client, which a slow machine starts in more than 30 s.
    study = write_small(tmp_path)
    with (tmp_path / "ray.log").open("wb") as log:
        cluster = subprocess.Popen(head, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment)
    try:
        log = tmp_path / "ray.log"
        wait_for(lambda: "Ray runtime started" in log.read_text(), 120, log.read_text)
        done = subprocess.run([sys.executable, "-m", "sweepstake", "run", study, "--on", f"ray://127.0.0.1:{client}", "--store", "away"],
                              cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment)
    finally:
        os.killpg(cluster.pid, signal.SIGTERM)
        cluster.wait(60)
    assert done.returncode == 0, done.stderr[-3000:]
    read = load_study(study)
    run_study(read, tmp_path / "here", workers=1)
    assert table(tmp_path / "away", read) == table(tmp_path / "here", read)
    assert None not in table(tmp_path / "away", read)


def test_a_stack_may_take_a_share_of_a_card_on_ray(monkeypatch: pytest.MonkeyPatch):
    ours = pytest.importorskip("sweepstake.run.executors.ray")
    monkeypatch.setattr(ours.ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    for card, slots in ((None, 2), (0.5, 4), (0.1, 16)):
        machine = {"on": "ray", "device": "cuda", "stack": 8, **({"card": card} if card else {})}
        assert ours.Ray(Settings.of(small_study(machine=machine))).slots() == slots
    assert ours.Ray(Settings.of(small_study(), on="ray")).slots() == 16


def test_a_ray_of_this_machine_alone_that_has_no_core_has_ended_and_a_cluster_may_get_one(monkeypatch: pytest.MonkeyPatch):
    ours = pytest.importorskip("sweepstake.run.executors.ray")
    monkeypatch.setattr(ours.ray, "cluster_resources", lambda: {"node:__internal_head__": 1.0})
    assert ours.Ray(Settings.of(small_study(), on="ray://head:10001")).slots() == 0
    with pytest.raises(UserError, match="--on ray: Ray's own processes on this machine have ended: killed, or out of memory"):
        ours.Ray(Settings.of(small_study(), on="ray")).slots()


@pytest.mark.long
def test_a_run_whose_ray_is_killed_ends_with_a_line_and_goes_on_with_the_same_command(tmp_path: Path):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "sweepstake", "run", write_small(tmp_path), "--on", "ray", "--workers", "1", "--store", "away",
               "--set", "steps=2000", "--set", "seeds=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)

    def raylets() -> list[int]:
        return [pid for pid in descendants(running.pid) if b"/raylet" in command_of(pid).split(b"\0")[0]]

    wait_for(lambda: any(b"sweepstake.run.hand" in command_of(pid) for pid in descendants(running.pid)), 120, lambda: "it computed nothing")
    os.kill(raylets()[0], signal.SIGKILL)
    said = running.communicate(timeout=120)[1]
    assert running.returncode == 2, said
    assert "--on ray: Ray's own processes on this machine have ended" in said and "Traceback" not in said
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=200, env=environment).returncode == 0


def test_after_an_interrupt_no_node_trains_on(tmp_path: Path, dask_address: str):
    study = small_study(seeds=1, rounds=0, steps=3_000_000, eval_every=10_000)
    from distributed import Client

    def stop(event: events.Event) -> None:
        if isinstance(event, events.Step):  # A round of minutes: it is told while it trains.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path, on=dask_address, on_event=stop)
    pids = [pid for pid in descendants(os.getpid()) if b"sweepstake.run.hand" in command_of(pid)]
    with Client(dask_address) as client:
        until = time.monotonic() + 20
        while (busy := sum(map(len, client.processing().values())) + sum(map(is_busy, pids))) and time.monotonic() < until:
            time.sleep(0.1)
    assert busy == 0
    with Store(tmp_path).claim(study.planned[0].id) as free:
        assert free


def is_busy(pid: int) -> bool:
    """Whether a process computes now: it takes processor time in a tenth of a second."""
    def ticks() -> int:
        try:
            return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        except OSError:
            return 0

    before = ticks()
    time.sleep(0.1)
    return ticks() > before


SBATCH = '''#!/bin/sh
cp "$1" "{folder}/job-$$.sh"
grep -v "^#SBATCH" "$1" > "{folder}/plain-$$.sh"
setsid sh "{folder}/plain-$$.sh" > "{folder}/job-$$.log" 2>&1 &
echo $! >> "{folder}/queued"
echo "Submitted batch job $!"
'''
SCANCEL = '''#!/bin/sh
echo "$@" >> "{folder}/cancelled"
for job in "$@"; do kill -KILL -- -"$job" 2>/dev/null; done
exit 0
'''


def test_slurms_jobs_are_queued_as_the_study_says_and_cancelled_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a stand-in for `sbatch` that begins a job at once on this machine."""
    if find_spec("dask_jobqueue") is None:  # Not importorskip: importing it takes Ctrl-C away.
        pytest.skip("dask-jobqueue is not installed")
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(node.__file__).parents[2]))
    said = {"jobs": 2, "memory": "1GB", "walltime": "00:10:00", "partition": "short", "directives": ["--gres=gpu:0"], "prologue": ["cd /"]}
    study = small_study(seeds=2, machine={"on": "slurm", "slurm": said})
    run_study(study, tmp_path / "away")
    run_study(small_study(seeds=2), tmp_path / "here", workers=1)
    assert table(tmp_path / "away", study) == table(tmp_path / "here", study)
    assert None not in table(tmp_path / "away", study)
    jobs = [path.read_text() for path in tmp_path.glob("job-*.sh")]
    assert len(jobs) == 2
    for line in ("#SBATCH -p short", "#SBATCH -t 00:10:00", "#SBATCH --cpus-per-task=1", "#SBATCH --gres=gpu:0", "cd /"):
        assert line in jobs[0]
    assert set((tmp_path / "cancelled").read_text().split()) == set((tmp_path / "queued").read_text().split())


def test_slurm_without_its_table_is_one_line():
    slurm = pytest.importorskip("sweepstake.run.executors.slurm")
    with pytest.raises(UserError, match=r"--on slurm: the study has no \[machine\.slurm\]"), slurm.jobs(Settings.of(small_study(), on="slurm")):
        pass
