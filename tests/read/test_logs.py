"""Loggers hold what the store holds, each thing once, read back from the real files by the real libraries."""

import json
import queue
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.read.logs.asked import sinks_of
from sweepstake.read.logs.contents import picture, rounds_of, settings_of, steps_of
from sweepstake.read.logs.contract import Run
from sweepstake.read.logs.logger import Logger
from sweepstake.read.logs.tensorboard import _quiet
from sweepstake.run import worker
from sweepstake.run.opened import Opened, open_study
from sweepstake.run.settings import Saves, Task
from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study
from tests.read.fakes import fake_results
from tests.small import small_study

NAMES = ["xavier_normal, seed 0", "xavier_normal, seed 1"]


def computed(study: Study, folder: Path, saves: Saves = "all", on_event: Callable[[events.Event], None] = events.ignore) -> Opened:
    """The study, trained in this process."""
    for each in study.planned:
        task = Task(each.id, each.cell, str(folder), [], [], study.name, "", engine="reference", save_weights=saves)
        worker.compute(task, Store(folder), on_event)
    return open_study(study, folder)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Two cells of three rounds, two points of the curve after the first, all weights kept."""
    return computed(small_study(init=["xavier_normal"]), tmp_path_factory.mktemp("logs") / "runs")


@pytest.fixture(scope="module")
def written(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sweepstake log` leaves in all three, asked twice."""
    folder = tmp_path_factory.mktemp("written")
    for _ in range(2):
        assert logged(opened, f"tensorboard:{folder / 'tb'}", f"wandb:{folder}", "trackio") == []
        told = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
        (folder / "told.json").write_text(json.dumps(told))
    return folder


def logged(opened: Opened, *asked: str) -> list[str]:
    """All of a store into loggers; what was told."""
    told = list[str]()
    with feeding(opened, sinks_of(asked, opened.study.name, opened.store.folder), told):
        pass
    return told


def feeding(opened: Opened, sinks: list[Any], told: list[str]) -> Logger:
    return Logger(sinks, lambda: opened, told.append, lambda: nullcontext(lambda *_: None))


class Memory:
    """A logger that remembers, in order, what it gets; after so many things it is full."""

    def __init__(self, room: int = 10_000):
        self.said, self.where, self.got, self.room, self.whole = "memory", "nowhere", list[tuple[Any, ...]](), room, dict[str, str]()

    def holds(self, run: Run) -> bool:
        return self.whole.get(run.id) == run.finished

    def begin(self, run: Run) -> "Memory":
        self.run = run
        return self._get("begin", run.name)

    def _get(self, *what: Any) -> "Memory":
        if len(self.got) >= self.room:
            raise OSError(28, "No space left on device")
        self.got.append(what)
        return self

    def step(self, step: int, values: Any) -> None:
        self._get("step", step, dict(values))

    def round(self, round_: int, values: Any) -> None:
        self._get("round", round_, dict(values))

    def weights(self, round_: int, values: Any, pictures: Any) -> None:
        self._get("weights", round_, {name: len(each) for name, each in values.items()}, sorted(pictures))

    def end(self) -> None:
        self._get("end")
        self.whole[self.run.id] = self.run.finished

    def drop(self) -> None:
        self._get("drop")

    def close(self) -> None:
        self._get("close")

    @property
    def order(self) -> list[Any]:
        return [each[:2] if each[0] in ("begin", "round") else each[0] for each in self.got if each[0] not in ("step", "weights")]


# What is logged

def test_steps_are_counted_over_all_rounds_and_a_rounds_first_point_stands_one_step_after_the_last_of_the_round_before():
    result = fake_results({"init": ["a"]}, seeds=1, rounds=2)[0]

    steps = list(steps_of(result))

    assert [step for step, _ in steps] == [*range(0, 401, 40), *range(401, 802, 40), *range(802, 1203, 40)]
    assert [step for step, _ in steps_of(result, 2)] == list(range(802, 1203, 40))
    assert set(steps[0][1]) == {"test/accuracy", "test/loss"}
    assert set(steps[1][1]) == {"train/loss", "test/accuracy", "test/loss"}
    assert steps[0][1]["test/accuracy"] == pytest.approx(0.1)


def test_a_round_is_logged_as_the_table_has_it_with_its_seconds_and_what_each_layer_keeps():
    result = fake_results({"init": ["a"]}, seeds=1, rounds=2)[0]

    (_, dense), (one, pruned), _ = rounds_of(result)

    record = result["rounds"][1]
    assert (one, dense["round/kept_fraction"], dense["kept/fc1"], pruned["kept/fc1"]) == (1, 1.0, 1.0, 0.8)
    assert pruned["round/test_accuracy"] == record["end"]["test"]["accuracy"]
    assert pruned["round/early_step"] == record["early"]["step"]
    assert pruned["round/seconds"] == record["seconds"]["train"] + 0.1
    assert [round_ for round_, _ in rounds_of(result, 1)] == [1, 2]


def test_a_run_has_every_key_of_its_cell_as_a_hyperparameter_and_a_case_by_its_label():
    (planned, *_) = load_study("demo").planned
    (case, _) = small_study(seeds=1, case=[{"label": "slow", "lr": 0.001}, {"label": "fast", "lr": 0.1}]).planned

    said = settings_of(planned)

    assert {key: said[key] for key in ("dataset", "init", "keep", "seed", "prune_biases", "prune_layers")} == {
        "dataset": "digits", "init": "xavier_normal", "keep": 0.8, "seed": 0, "prune_biases": False, "prune_layers": '["all"]'}
    assert "donor" not in said
    assert (settings_of(case)["case"], settings_of(case)["lr"]) == ("slow", 0.001)


def test_a_mask_is_a_row_an_output_and_a_large_one_shows_the_share_alive_of_a_square():
    assert picture(torch.tensor([[True, False], [False, False], [True, True]])).tolist() == [[255, 0], [0, 0], [255, 255]]
    assert picture(torch.ones(4, 3, 2, 2, dtype=torch.bool)).shape == (4, 12)
    large = torch.zeros(300, 511, dtype=torch.bool)
    large[0, :3] = large[299] = True
    shown = picture(large)
    assert shown.shape == (150, 256)
    assert shown[0].tolist()[:3] == [128, 64, 0]  # Two of four, and one of four.
    assert set(shown[149].tolist()) == {128}  # The last column, too, which has two weights a pixel.


# TensorBoard

def of_tensorboard(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "histograms", "images", "tensors"), 0)).Reload()


def test_tensorboard_has_a_folder_a_cell_with_scalars_histograms_of_survivors_and_masks(opened: Opened, written: Path):
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    ids = [each["id"] for each in opened.results]
    assert sorted(path.name for path in (written / "tb" / "small").iterdir()) == [
        f"{name}, {id_[:6]}" for name, id_ in zip(NAMES, ids, strict=True)]
    run = of_tensorboard(written / "tb" / "small" / f"{NAMES[1]}, {ids[1][:6]}")
    result = opened.results[1]

    assert [event.step for event in run.Scalars("test/loss")] == [0, 5, 10, 11, 16, 21, 22, 27, 32]
    assert [event.step for event in run.Scalars("train/loss")] == [5, 10, 16, 21, 27, 32]
    kept = [(event.step, event.value) for event in run.Scalars("round/test_accuracy")]
    assert kept == [(record["round"], pytest.approx(record["end"]["test"]["accuracy"])) for record in result["rounds"]]
    for when in ("initial", "trained"):
        survivors = [event.histogram_value.num for event in run.Histograms(f"{when}/fc1.weight")]
        assert survivors == [record["kept_by_layer"]["fc1"] for record in result["rounds"]]
    images = run.Images("mask/fc1.weight")
    assert [(image.step, image.width, image.height) for image in images] == [(0, 64, 12), (1, 64, 12), (2, 64, 12)]
    metadata = run.summary_metadata["_hparams_/session_start_info"]
    settings = parse_session_start_info_plugin_data(metadata.plugin_data.content).hparams
    assert (settings["init"].string_value, settings["seed"].number_value, settings["id"].string_value) == ("xavier_normal", 1.0, ids[1])


def test_asked_again_a_logger_writes_nothing_anew(written: Path):
    now = sorted([str(path), path.stat().st_mtime_ns] for path in written.rglob("*")
                 if path.is_file() and path.suffix != ".log" and path.name != "told.json")

    assert [each for each in json.loads((written / "told.json").read_text()) if not each[0].endswith("told.json")] == now
    assert len([path for path, _ in now if "tfevents" in path]) == 2
    assert len([path for path, _ in now if path.endswith(".wandb")]) == 2


def test_another_result_of_a_cell_is_logged_in_the_place_of_the_old_one_and_without_kept_weights_only_the_beginnings(
        opened: Opened, tmp_path: Path):
    study = small_study(init=["xavier_normal"], seeds=1)
    asked = f"tensorboard:{tmp_path / 'tb'}"
    folder = tmp_path / "tb" / "small" / f"{NAMES[0]}, {study.planned[0].id[:6]}"
    assert logged(open_study(study, opened.store), asked) == []
    assert "trained/fc1.weight" in of_tensorboard(folder).Tags()["histograms"]

    assert logged(computed(study, tmp_path / "again", "none"), asked) == []

    run = of_tensorboard(folder)
    assert run.Tags()["histograms"] == ["initial/fc1.weight", "initial/fc2.weight"]
    assert [event.step for event in run.Scalars("round/kept_fraction")] == [0, 1, 2]
    assert len(list(folder.glob("*tfevents*"))) == 1


def test_what_fails_in_a_thread_of_tensorboard_is_told_once_where_we_write_next(monkeypatch: pytest.MonkeyPatch):
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

    told, plain, theirs = list[Any](), threading.Thread(), _AsyncWriterThread(queue.Queue(), None, 0)
    monkeypatch.setattr(threading, "excepthook", told.append)
    _quiet.__wrapped__()
    for thread in (plain, theirs):
        threading.excepthook(threading.ExceptHookArgs((OSError, OSError(28, "full"), None, thread)))
    assert [each.thread for each in told] == [plain]


# Weights & Biases

def of_wandb(path: Path) -> Iterator[Any]:
    """The records of an offline run: a log of LevelDB after seven bytes, each of Weights & Biases' own message."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, part = struct.unpack("<IHB", data[at:at + 7])
        whole, at = whole + data[at + 7:at + 7 + size], at + 7 + size
        if part in (1, 4):  # Whole, or the last of several.
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def row_of(record: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}


def test_wandb_has_an_offline_run_a_cell_that_ended_with_curves_by_step_and_the_rest_by_round(opened: Opened, written: Path):
    ids = [each["id"] for each in opened.results]
    (path,) = written.glob(f"wandb/offline-run-*-{ids[0]}/run-{ids[0]}.wandb")
    records = list(of_wandb(path))
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    rows = [row_of(record) for record in records if record.WhichOneof("record_type") == "history"]

    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.run_id, run.display_name, run.project) == (ids[0], NAMES[0], "small")
    assert {key: config[key] for key in ("init", "seed", "id", "study", "keep")} == {
        "init": "xavier_normal", "seed": 0, "id": ids[0], "study": "small", "keep": 0.8}
    assert [row["step"] for row in rows if "test/loss" in row] == [0, 5, 10, 11, 16, 21, 22, 27, 32]
    accuracies = [row["round/test_accuracy"] for row in rows if "round/test_accuracy" in row]
    assert accuracies == [record["end"]["test"]["accuracy"] for record in opened.results[0]["rounds"]]
    drawn = [row for row in rows if any(key.startswith("mask/") for key in row)]
    assert [row["round"] for row in drawn] == [0, 1, 2]
    assert sum(drawn[2]["trained/fc1.weight/values"]) == opened.results[0]["rounds"][2]["kept_by_layer"]["fc1"]
    assert (path.parent / "files" / drawn[2]["mask/fc1.weight/path"]).stat().st_size > 50
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [0]
    axes = {record.metric.glob_name: record.metric.step_metric for record in records if record.WhichOneof("record_type") == "metric"}
    assert (axes["test/*"], axes["round/*"], axes["mask/*"]) == ("step", "round", "round")


def test_wandb_reports_nothing_to_its_makers(written: Path):
    import os

    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


# Trackio

def test_trackio_has_a_run_a_cell_with_its_hyperparameters_rows_histograms_and_pictures(opened: Opened, written: Path):
    import trackio

    ids = [each["id"] for each in opened.results]
    runs = {run.id: run for run in trackio.Api().runs("small")}
    assert {id_: run.name for id_, run in runs.items()} == dict(zip(ids, NAMES, strict=True))
    config = runs[ids[1]].config
    rows = trackio.SQLiteStorage.get_logs("small", NAMES[1], run_id=ids[1])

    assert config is not None
    assert {key: config[key] for key in ("init", "seed", "id", "study", "finished")} == {
        "init": "xavier_normal", "seed": 1, "id": ids[1], "study": "small", "finished": opened.results[1]["provenance"]["finished"]}
    assert [row["step"] for row in rows if "test/loss" in row] == [0, 5, 10, 11, 16, 21, 22, 27, 32]
    assert [row["round/kept_fraction"] for row in rows if "round/kept_fraction" in row] == [
        record["kept_fraction"] for record in opened.results[1]["rounds"]]
    drawn = [row for row in rows if "mask/fc1.weight" in row]
    assert [row["step"] for row in drawn] == [0, 1, 2]
    assert sum(drawn[2]["initial/fc1.weight"]["values"]) == opened.results[1]["rounds"][2]["kept_by_layer"]["fc1"]
    assert (Path(trackio.TRACKIO_DIR) / "media" / drawn[2]["mask/fc1.weight"]["file_path"]).stat().st_size > 50


# When

def test_each_round_is_logged_as_it_ends_and_masks_and_weights_once_the_cell_is_finished(tmp_path: Path):
    study, memory, seen = small_study(seeds=1), Memory(), list[int]()

    def watching(event: events.Event) -> None:
        logger(event)
        if isinstance(event, events.Round):
            while ("round", event.round) not in memory.order:  # The next round waits here, until this one is there.
                pass
            seen.append(event.round)

    home = Store(tmp_path)
    with feeding(open_study(study, home), [memory], []) as logger:
        logger(events.Plan(1, 1, {}, {}))
        computed(study, tmp_path, "last", watching)

    assert seen == [0, 1, 2]
    assert memory.order == [("begin", "seed 0"), ("round", 0), ("round", 1), ("round", 2), "end", "close"]
    weights = [(round_, set(values)) for kind, round_, values, *_ in (each for each in memory.got if each[0] == "weights")]
    of_layers = {f"initial/{layer}.weight" for layer in ("fc1", "fc2")}
    assert weights == [(0, of_layers), (1, of_layers), (2, of_layers | {f"trained/{layer}.weight" for layer in ("fc1", "fc2")})]


def test_a_run_that_was_stopped_is_logged_whole_the_next_time_and_nothing_of_it_twice(tmp_path: Path):
    study, asked = small_study(seeds=1), f"tensorboard:{tmp_path / 'tb'}"
    home = Store(tmp_path / "runs")

    def stopping(event: events.Event) -> None:
        logger(event)
        if isinstance(event, events.Round) and event.round == 1:
            while not list((tmp_path / "tb").rglob("*tfevents*")):
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), feeding(open_study(study, home), list(sinks_of([asked], "small", home.folder)), []) as logger:
        logger(events.Plan(1, 1, {}, {}))
        computed(study, home.folder, on_event=stopping)
    assert home.status(study.planned[0].id) == "begun"
    assert not list((tmp_path / "tb").rglob("sweepstake.json"))

    assert logged(computed(study, home.folder), asked) == []

    (folder,) = (tmp_path / "tb" / "small").iterdir()
    run = of_tensorboard(folder)
    assert [event.step for event in run.Scalars("round/kept_fraction")] == [0, 1, 2]
    assert [event.step for event in run.Scalars("test/loss")] == [0, 5, 10, 11, 16, 21, 22, 27, 32]


def test_a_logger_that_fails_is_told_once_and_stops_neither_the_training_nor_the_others(tmp_path: Path):
    study, full, whole, told = small_study(), Memory(room=5), Memory(), list[str]()

    with feeding(open_study(study, Store(tmp_path)), [full, whole], told) as logger:
        logger(events.Plan(2, 2, {}, {}))
        done = computed(study, tmp_path, "none", logger)

    assert [each["status"] for each in done.results] == ["done", "done"]
    assert told == ["memory: has failed (OSError: [Errno 28] No space left on device), and nothing more is logged there. "
                    "No result hangs on it. Logged again, it gets what it lacks."]
    assert whole.order.count("end") == 2


def test_results_that_cannot_be_read_end_the_logging_and_not_the_run(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("sweepstake.read.logs.logger.weights_of", broken)
    told, memory = list[str](), Memory()

    with feeding(opened, [memory], told):
        pass

    assert [line.partition(" (")[2].partition(")")[0] for line in told] == ["RuntimeError: no such luck"]


# How they are asked for

def wrong(said: str, store: Path = Path("runs")) -> str:
    with pytest.raises(UserError) as told:
        sinks_of([said], "small", store)
    return str(told.value)


def test_a_logger_that_is_none_or_has_no_folder_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("")
    assert wrong("tensorbord:tb").splitlines()[:2] == [
        "--log tensorbord:tb: no logger of that name.", '  Did you mean "tensorboard"?  Known: tensorboard, trackio, wandb.']
    assert wrong("tensorboard").startswith("--log tensorboard: says no folder. Say tensorboard:DIR, ")
    assert wrong("wandb:").startswith("--log wandb:: says no folder.")
    assert wrong("trackio:").startswith("--log trackio:: says no project.")
    assert wrong("trackio:registry-x").startswith("--log trackio:registry-x: Project name 'registry-x' is not allowed")
    assert "File exists" in wrong("wandb:a file") or "Not a directory" in wrong("wandb:a file")
    assert wrong("tensorboard:runs/tb") == (
        "--log tensorboard:runs/tb: that is in the store (runs), which holds nothing but results. Name another folder.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file"]


@pytest.mark.parametrize(("said", "library"), [("tensorboard:tb", "torch.utils.tensorboard"), ("trackio", "trackio"), ("wandb", "wandb")])
def test_a_library_that_is_not_there_is_named_with_its_extra_before_anything_trains(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                                     said: str, library: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)

    code, out, err = call("run", "demo", "--log", said)

    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith(f"is not installed. `pip install sweepstake[{said.partition(':')[0]}]`, or leave --log out.")
    assert list(tmp_path.iterdir()) == []


def test_a_command_without_loggers_imports_none_of_them():
    import subprocess

    code = "import sys, sweepstake.commands\nprint({'torch', 'tensorboard', 'trackio', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_run_and_log_on_the_command_line(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sweepstake.commands.write_report", lambda *_: "the page")
    (tmp_path / "own.toml").write_text('title = "Own"\nmodel = {name = "mlp", hidden = [4]}\nsteps = 2\nrounds = 1\n')

    assert call("log", "own.toml", "--to", "tensorboard:tb")[0] == 2  # No store yet.
    code, out, err = call("run", "own.toml", "--stack", 1, "--engine", "reference", "--log", "tensorboard:tb")
    assert (code, out) == (0, "the page\n"), err
    assert len(list((tmp_path / "tb" / "own").rglob("sweepstake.json"))) == 1

    assert call("log", "own.toml", "--to", "tensorboard:other", "--to", "tensorboard:tb")[:2] == (
        0, "other (look with `tensorboard --logdir other`)\ntb (look with `tensorboard --logdir tb`)\n")
    assert len(list((tmp_path / "other").rglob("*tfevents*"))) == len(list((tmp_path / "tb").rglob("*tfevents*"))) == 1
    assert call("log", "own.toml", "--set", "seeds=[9]", "--to", "tensorboard:other")[0] == 3
