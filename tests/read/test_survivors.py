"""What survives in a study: pairs of cells, pixels, signs and lines, on digits, and the command that asks for them."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.read.results import Results, load_results, run_study
from sweepstake.read.survivors import cells, connectivity, sign_agreement
from sweepstake.read.survivors.asked import where_of
from sweepstake.read.survivors.errors import Images, remeasure_norms
from tests.read.trained import Trained, trained
from tests.small import small_study, write_small

ORDERS = [{"label": "order 0", "order_seed": 0},
          {"label": "order 1", "order_seed": 1, "control": "transplant", "donor": {"order_seed": 0}}]
LOOSE = [{"label": "order 0", "order_seed": 0}, {"label": "order 1", "order_seed": 1}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two inits, two seeds, rounds 0 to 2, in a store."""
    study = small_study(init=["xavier_normal", "kaiming_normal"], keep=0.5)
    return run_study(study, tmp_path_factory.mktemp("run") / "runs", workers=1, engine="reference", progress=False)


@pytest.fixture(scope="module")
def lines() -> Trained:
    """Two orders of the data under one ticket, two seeds, with all weights."""
    return trained(small_study(case=ORDERS, steps=40))


@pytest.fixture(autouse=True)
def of_here(monkeypatch: pytest.MonkeyPatch):
    """Tickets of what was trained here come from there, and from a store otherwise."""
    of_store = cells.ticket_of
    monkeypatch.setattr(cells, "ticket_of", lambda results, one, round_: results.tickets[one.id, round_]
                        if isinstance(results, Trained) else of_store(results, one, round_))


# Overlap

def test_overlap_has_a_row_for_each_pair_round_and_layer(run: Results):
    rows = run.overlap().rows
    assert len(rows) == 6 * 3 * 3
    assert {(row["pair"], row["init_a"] == row["init_b"], row["seed_a"] == row["seed_b"]) for row in rows} == {
        ("other seed", True, False), ("other init", False, True), ("other init and seed", False, False)}
    assert [row["layer"] for row in rows[:3]] == ["fc1", "fc2", "all"]
    first = [row for row in rows if row["round"] == 0]
    assert {(row["overlap"], row["chance"], row["jaccard"], row["z"]) for row in first} == {(1.0, 1.0, 1.0, None)}


def test_overlap_counts_what_the_stores_masks_say(run: Results):
    row = next(row for row in run.overlap().rows if row["round"] == 2 and row["layer"] == "all")
    size = 64 * 12 + 12 * 10
    weights = torch.tensor([*[True] * 768, *[False] * 12, *[True] * 120, *[False] * 10])
    a, b = (run.store.masks(row[key])[2] & weights for key in ("id_a", "id_b"))
    assert (row["size"], row["kept_a"], row["both"]) == (size, int(a.sum()), int((a & b).sum()))
    assert row["kept_fraction"] == pytest.approx(0.25)


def test_other_seeds_are_near_chance_and_one_seed_shares_its_draw(run: Results):
    last = {row["pair"]: row for row in run.overlap(round=2).summary if row["layer"] == "all"}
    assert abs(last["other seed"]["z"]) < 4
    assert last["other seed"]["chance"] == pytest.approx(0.25, abs=0.001)
    assert last["other init"]["overlap"] > 0.8
    assert (last["other seed"]["n"], last["other init"]["n"], last["other init and seed"]["n"]) == (2, 2, 2)


def test_where_and_round_choose(run: Results):
    rows = run.overlap(where={"init": "xavier_normal"}, round=1).rows
    assert {(row["pair"], row["init_a"], row["round"]) for row in rows} == {("other seed", "xavier_normal", 1)}


@pytest.mark.parametrize(("asked", "said"), [
    ({"where": {"innit": "x"}}, "overlap: where innit: no axis of that name"),
    ({"where": {"init": "xavier"}}, 'overlap: where init = "xavier": no label of init of that name'),
    ({"where": {"init": "xavier_normal", "seed": 0}}, "overlap: compares two cells of one network, and there are no two among 1"),
    ({"round": 7}, "overlap: round 7: these cells have rounds 0 to 2."),
])
def test_what_cannot_be_asked_is_said(run: Results, asked: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        run.overlap(**asked)


def test_results_of_no_store_say_where_to_get_them(run: Results):
    with pytest.raises(UserError, match="overlap: these results are of no store"):
        Results(run.study, run.cells).overlap()


def test_cells_of_other_models_are_no_pair(tmp_path: Path):
    study = small_study(model=[{"name": "mlp", "hidden": [4]}, {"name": "mlp", "hidden": [5]}], seeds=1, rounds=0)
    with pytest.raises(UserError, match="no two among 2"):
        run_study(study, tmp_path / "runs", workers=1, engine="reference", progress=False).overlap()


# Pixels

def test_pixels_are_the_mean_over_seeds_of_live_weights(run: Results):
    found = run.surviving_pixels(where={"init": "xavier_normal"}, round=2)
    ids = [cell["id"] for cell in run.cells if cell["labels"]["init"] == "xavier_normal"]
    read = sum(run.store.masks(id_)[2][:768].view(12, 64).sum(0) for id_ in ids) / 2
    assert [row["read_by"] for row in found.rows] == read.tolist()
    assert (found.rows[9]["row"], found.rows[9]["column"], found.rows[9]["cells"]) == (1, 1, 2)
    assert found.summary[0]["dead_in_all"] == int((read == 0).sum())


def test_each_seed_can_be_told(run: Results):
    assert {row["setting"] for row in run.surviving_pixels(each_seed=True).rows} >= {"xavier_normal, seed 0", "kaiming_normal, seed 1"}


def test_a_convolution_reads_no_single_pixels(tmp_path: Path):
    study = small_study(model={"name": "conv2", "width": 0.1}, seeds=1, rounds=0, steps=1)
    with pytest.raises(UserError, match=r"pixels: the first layer .* does not read an image of 1 x 8 x 8 pixel by pixel"):
        run_study(study, tmp_path / "runs", workers=1, engine="reference", progress=False).surviving_pixels()


# Signs

def test_signs_are_of_each_cell_and_of_each_pair(lines: Trained):
    found = sign_agreement(lines)
    own = [row for row in found.rows if row["pair"] == "its own start"]
    assert len(own) == 4 * 3 * 3
    assert {row["id_b"] for row in own} == {None}
    assert {row["pair"] for row in found.rows} == {"its own start", "other case", "other seed", "other case and seed"}
    ticket, row = lines.tickets[own[0]["id_a"], 2], next(row for row in own if row["round"] == 2)
    mask, start, end = (tensors["fc1.weight"] for tensors in (ticket.masks, ticket.initial, ticket.trained))
    assert row["agree"] == int(((start > 0) == (end > 0))[mask].sum())
    assert row["compared"] == int(mask.sum())


def test_two_orders_of_one_ticket_agree_in_signs_and_two_seeds_are_near_chance(lines: Trained):
    last = {row["pair"]: row for row in sign_agreement(lines, round=2).summary if row["layer"] == "all"}
    assert last["other case"]["agreement"] > 0.95
    assert abs(last["other seed"]["z"]) < 4


# Connectivity

def test_one_ticket_in_two_orders_is_told_as_one(lines: Trained):
    found = connectivity(lines)
    assert {(row["of"], row["setting"], row["seed"]) for row in found.rows} == {("one ticket", "all", 0), ("one ticket", "all", 1)}
    assert len(found.rows) == 2 * 3 * 2 * 11
    assert [(row["round"], row["split"], row["n"]) for row in found.summary] == [
        (round_, split, 2) for round_ in range(3) for split in ("test", "train")]


def test_the_ends_of_a_line_are_the_errors_that_the_rounds_recorded(lines: Trained):
    recorded = {(cell["id"], record["round"]): record["end"] for cell in lines.cells for record in cell["rounds"]}
    found = connectivity(lines)
    for row in found.rows:
        if row["alpha"] in (0, 1):
            accuracy = recorded[row["id_b" if row["alpha"] else "id_a"], row["round"]][row["split"]]["accuracy"]
            assert row["error"] == pytest.approx(1 - accuracy, abs=1e-12)


def test_the_summary_is_of_the_barriers_of_all_pairs(lines: Trained):
    found = connectivity(lines, round=2, splits=["test"])
    errors = {seed: [row["error"] for row in found.rows if row["seed"] == seed] for seed in (0, 1)}
    barriers = [max(line) - (line[0] + line[-1]) / 2 for line in errors.values()]
    summary = found.summary[0]
    assert (summary["least"], summary["most"]) == (pytest.approx(min(barriers)), pytest.approx(max(barriers)))
    assert summary["barrier"] == pytest.approx(sum(barriers) / 2)
    assert summary["stable"] == sum(each < 0.02 for each in barriers)


def test_masks_that_differ_are_not_called_one_ticket():
    found = connectivity(trained(small_study(case=LOOSE, seeds=1, rounds=1)), splits=["test"])
    assert [(row["round"], row["of"]) for row in found.summary] == [(0, "one ticket"), (1, "masks differ")]
    assert "masks differ" in str(found.spec)


def test_rewound_to_a_later_step_the_starts_differ_and_it_is_said():
    study = small_study(case=ORDERS, seeds=1, rounds=1, reset={"name": "rewind", "step": 5})
    found = connectivity(trained(study), splits=["test"])
    assert [(row["round"], row["of"]) for row in found.summary] == [(0, "one ticket"), (1, "one mask, other starts")]


def test_without_a_pair_the_message_shows_one(run: Results):
    with pytest.raises(UserError, match=r"no two of these cells differ in order_seed alone.*case = \[\{label.*transplant"):
        connectivity(run)


def test_splits_and_norms_that_are_not_there_are_refused(lines: Trained):
    with pytest.raises(UserError) as said:
        connectivity(lines, splits=["valid"], norms="reset")
    assert said.value.problems == ('connectivity: split "valid": say test or train.',
                                   'connectivity: norms = "reset": say interpolated or remeasured.')


def test_remeasured_norms_have_the_mean_of_the_training_images():
    study = small_study(model={"name": "mlp", "hidden": [12], "norm": "batch"}, seeds=1, rounds=0)
    cell = study.planned[0].cell
    errors = Images(None).errors_of(cell, ["test"], "remeasured")
    net, images = errors.net, errors.images
    remeasure_norms(net, images)
    norm = next(module for module in net.module.modules() if isinstance(module, torch.nn.BatchNorm1d))
    first = next(module for module in net.module.modules() if isinstance(module, torch.nn.Linear))
    outputs = first(images.batch(images.train.x, torch.float32).flatten(1))
    assert torch.allclose(norm.running_mean, outputs.mean(0), atol=0.02)
    assert norm.momentum == 0.1
    assert not norm.training


# What comes out

@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_a_figure_is_written_by_its_suffix(run: Results, tmp_path: Path, suffix: str):
    path = run.overlap().figure(tmp_path / "new" / f"overlap{suffix}")
    assert path.read_bytes()[:5].lstrip() in (b"<svg ", b"%PDF-", b"\x89PNG\r")


def test_every_figure_draws_and_says_what_it_shows(run: Results, lines: Trained, tmp_path: Path):
    drawn = {found.name: found.figure(tmp_path / f"{found.name}.svg").read_text()
             for found in (run.overlap(), run.surviving_pixels(), sign_agreement(lines), connectivity(lines))}
    assert "dashed: chance" in drawn["overlap"]
    assert "Orange: a dead pixel" in drawn["pixels"]
    assert "its own start" in drawn["signs"]
    assert "dashed: two points" in drawn["connectivity"]


def test_another_suffix_is_refused(run: Results, tmp_path: Path):
    with pytest.raises(UserError, match=r"ends in \.jpg\. Say \.svg, \.pdf or \.png\."):
        run.overlap().figure(tmp_path / "overlap.jpg")


def test_an_analysis_tells_itself_in_a_few_lines(run: Results):
    lines = str(run.overlap()).splitlines()
    assert lines[0] == "overlap: 54 rows"
    assert lines[1].split() == ["pair", "round", "kept_fraction", "n", "overlap", "chance", "jaccard", "z"]
    assert len(lines) == 2 + 3 * 3


# The command

def test_analyse_prints_rows_for_machines_and_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, store = write_small(tmp_path), tmp_path / "runs"
    run_study(path, store, workers=1, engine="reference", progress=False)
    asked = ["analyse", str(path), "overlap", "--store", str(store), "--round", "2", "--where", "seed=0"]
    assert main([*asked, "--format", "csv", "--out", str(tmp_path / "o.svg")]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["pair"], row["layer"]) for row in rows] == [("other init", layer) for layer in ("fc1", "fc2", "all")]
    assert err.strip() == str(tmp_path / "o.svg")
    assert (tmp_path / "o.svg").read_text().startswith("<svg")
    assert main(asked) == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", "overlap: 3 rows")
    assert len(load_results(path, store).overlap().rows) == 6 * 3 * 3


def test_analyse_of_weights_that_were_not_kept_says_how_to_keep_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, store = write_small(tmp_path), tmp_path / "runs"
    run_study(path, store, workers=1, engine="reference", progress=False)
    assert main(["analyse", str(path), "signs", "--store", str(store)]) == 2
    assert 'signs: needs trained weights, and none were kept. Say save_weights = "all" under [machine]' in capsys.readouterr().err


def test_lines_and_signs_of_a_store_that_keeps_weights_are_those_of_the_same_trainings_in_memory(tmp_path: Path, lines: Trained):
    study = small_study(case=ORDERS, steps=40)
    kept = run_study(study, tmp_path / "runs", workers=1, engine="reference", progress=False, save_weights="all")
    assert connectivity(kept, splits=("test",)).rows == connectivity(lines, splits=("test",)).rows
    assert {row["of"] for row in kept.connectivity(splits=("test",)).rows} == {"one ticket"}
    assert kept.sign_agreement().rows == sign_agreement(lines).rows


def test_where_on_the_command_line_is_key_and_value():
    assert where_of(["init=a", "init=b", "seed=3"]) == {"init": ["a", "b"], "seed": ["3"]}
    with pytest.raises(UserError, match="--where init: say KEY=VALUE"):
        where_of(["init"])
