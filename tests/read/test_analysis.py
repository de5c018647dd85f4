"""Results become rows; what they come to over seeds."""

import json
import subprocess
import sys

import pytest

from sweepstake.base.errors import UserError
from sweepstake.read import analysis
from tests.read.fakes import fake_results

AXES = {"init": ["xavier_normal", "kaiming_normal"]}


def diverge(result, at):
    result["status"] = "diverged"
    result["rounds"] = result["rounds"][:at + 1]
    result["rounds"][at] |= {"diverged": True}
    result["rounds"][at]["end"]["test"] = {"loss": float("nan"), "accuracy": 0.1}


def test_one_row_per_cell_and_round_with_plain_columns():
    rows = analysis.tidy(fake_results(AXES, seeds=3, rounds=4))
    assert len(rows) == 2 * 3 * 5
    assert list(rows[0])[:7] == ["id", "init", "seed", "status", "round", "kept_fraction", "kept"]
    assert rows[2]["kept.fc1"] == 150_528 and rows[2]["alive_units.fc2"] == 100
    assert all(type(value) in (str, int, float, bool, type(None)) for row in rows for value in row.values())


def test_degrees_and_the_share_of_alive_units_are_columns():
    results = fake_results({}, seeds=1, rounds=1)
    results[0]["rounds"][1]["alive_units"] = {"fc1": 200, "fc2": 100, "fc3": 1}
    row = analysis.tidy(results)[1]
    assert row["alive_units"] == 0.75 and row["units.fc1"] == 300 and row["alive_units.fc1"] == 200
    assert row["in_degree.fc1.median"] == pytest.approx(0.8 * 784, abs=1) and row["out_degree.fc2.mean"] == pytest.approx(0.8 * 100)


def test_a_result_from_before_units_and_degrees_were_recorded_still_reads():
    results = fake_results({}, seeds=2, rounds=1)
    for record in results[0]["rounds"]:
        del record["units_by_layer"], record["degrees"]
    rows = analysis.tidy(results)
    assert rows[0].keys() == rows[2].keys()
    assert rows[0]["alive_units"] is None and rows[0]["in_degree.fc1.min"] is None and rows[0]["alive_units.fc1"] == 300
    assert "in_degree.fc1.min" not in analysis.tidy(results[:1])[0]


def test_seconds_are_only_there_when_asked_for_so_a_resumed_run_gives_the_same_bytes():
    first, again = fake_results(AXES, seeds=2), fake_results(AXES, seeds=2)
    for result in again:
        for record in result["rounds"]:
            record["seconds"] = {"train": 99.0, "evaluate": 9.0}
    assert analysis.to_csv(analysis.tidy(first)) == analysis.to_csv(analysis.tidy(again))
    assert analysis.tidy(again, timing=True)[0]["seconds.train"] == 99.0


def test_csv_and_json_hold_the_same_numbers_to_the_last_bit():
    rows = analysis.tidy(fake_results(AXES, seeds=1, rounds=1))
    header, first, *_ = analysis.to_csv(rows).splitlines()
    told = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(told["test_accuracy"]) == rows[0]["test_accuracy"] == json.loads(analysis.to_json(rows))[0]["test_accuracy"]


def test_a_layer_that_only_some_cells_have_is_empty_in_the_others():
    results = fake_results(AXES, seeds=1, rounds=0)
    results[1]["rounds"][0]["kept_by_layer"] = {"conv1": 5, "fc1": 7}
    rows = analysis.tidy(results)
    assert rows[0].keys() == rows[1].keys()
    assert rows[0]["kept.conv1"] is None and rows[1]["kept.conv1"] == 5 and rows[1]["kept.fc3"] is None


def test_without_a_validation_split_its_columns_are_empty():
    row = analysis.tidy(fake_results(AXES, seeds=1, rounds=0, early=False))[0]
    assert row["validation_loss"] is None and row["early_step"] is None and row["early_test_accuracy"] is None


def test_curves_are_one_row_a_point_and_the_missing_first_loss_stays_missing():
    points = analysis.curves(fake_results(AXES, seeds=1, rounds=1))
    assert len(points) == 2 * 2 * 11
    assert points[0]["step"] == 0 and points[0]["train_loss"] is None and points[1]["train_loss"] > 0


def test_summary_of_known_numbers():
    results = fake_results({}, seeds=3, rounds=0)
    for result, accuracy in zip(results, (0.90, 0.92, 0.97), strict=True):
        result["rounds"][0]["end"]["test"]["accuracy"] = accuracy
    [one] = analysis.summarise(analysis.tidy(results), [])
    assert (one["mean"], one["std"]) == (pytest.approx(0.93), pytest.approx(0.0360555))
    assert (one["min"], one["max"], one["n"], one["diverged"]) == (0.90, 0.97, 3, 0)
    assert 0.90 <= one["low"] < 0.93 < one["high"] <= 0.97


def test_several_cells_of_a_seed_count_as_one_seed():
    assert {one["n"] for one in analysis.summarise(analysis.tidy(fake_results(AXES, seeds=4, rounds=1)), [])} == {4}


def test_a_diverged_cell_is_counted_and_in_no_mean_from_its_round_on():
    results = fake_results({}, seeds=3, rounds=3)
    diverge(results[0], at=2)
    said = [(one["round"], one["n"], one["diverged"]) for one in analysis.summarise(analysis.tidy(results), [])]
    assert sorted(said) == [(0, 3, 0), (1, 3, 0), (2, 2, 1), (3, 2, 1)]


def test_a_diverged_round_has_no_accuracy_whatever_an_old_result_says():
    """Some class is the largest of NaNs, too: a network of NaNs was told to be right on one image in ten."""
    results = fake_results({}, seeds=1, rounds=1)
    diverge(results[0], at=1)
    sound, row = analysis.tidy(results)
    measured = [key for key in row if key.endswith(("_loss", "_accuracy", "early_step"))]
    assert len(measured) == 13 and all(row[key] is None for key in measured) and sound["test_accuracy"] is not None
    assert (row["diverged"], row["steps"], row["kept"]) == (True, 400, 212_960)
    last = [point for point in analysis.curves(results) if point["step"] == 400]
    assert [point["test_accuracy"] is None for point in last] == [False, True]


def test_a_failed_cell_is_in_no_mean():
    results = fake_results({}, seeds=3, rounds=1)
    results[0]["status"] = "failed"
    assert {one["n"] for one in analysis.summarise(analysis.tidy(results), [])} == {2}


def test_a_group_where_every_cell_diverged_has_no_mean():
    results = fake_results({}, seeds=2, rounds=0)
    for result in results:
        diverge(result, at=0)
    [one] = analysis.summarise(analysis.tidy(results), [])
    assert one["mean"] is None and one["n"] == 0 and one["diverged"] == 2


def test_the_nearest_round_is_nearest_on_a_log_scale_and_not_too_far():
    rows = [{"kept_fraction": fraction} for fraction in (1.0, 0.5, 0.04, 0.01)]
    assert analysis.nearest(rows, 0.035) == {"kept_fraction": 0.04}
    assert analysis.nearest(rows, 0.02) is None


def test_levels_are_spread_on_a_log_scale_with_both_ends():
    assert analysis.levels([0.8**k for k in range(21)], 3) == [1.0, 0.8**10, 0.8**20]
    assert analysis.levels([1.0, 1.0, 0.5], 5) == [1.0, 0.5]


def test_parquet_and_frame_or_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = analysis.tidy(fake_results(AXES, seeds=1, rounds=0))
    with pytest.raises(UserError, match="pyarrow is not installed"):
        analysis.to_parquet(rows, tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="pandas is not installed"):
        analysis.frame(rows)


def test_parquet_and_frame_hold_every_row(tmp_path):
    parquet, pandas = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pandas")
    rows = analysis.tidy(fake_results(AXES, seeds=2, rounds=2))
    assert parquet.read_table(analysis.to_parquet(rows, tmp_path / "rows.parquet")).num_rows == 12
    table = analysis.frame(rows)
    assert isinstance(table, pandas.DataFrame) and table.shape == (12, len(rows[0]))


def test_reading_imports_no_torch_and_none_of_the_slow_libraries():
    code = ("import sys, sweepstake.read.report, sweepstake.read.claims, sweepstake.read.figures;"
            "print([m for m in ('torch', 'scipy', 'numpy', 'vl_convert', 'jinja2', 'rich') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_cells_seconds_are_all_it_took_and_in_a_stack_those_of_its_rounds():
    rounds = [{"seconds": {"train": 2.0, "evaluate": 1.0}}, {"seconds": {"train": 1.0, "evaluate": 1.0}}]
    alone, stacked, old = {"engine": "fast", "seconds": 9.0}, {"engine": "stacked", "seconds": 9.0}, {}
    assert [analysis.spent({"rounds": rounds, "provenance": each}) for each in (alone, stacked, old)] == [9.0, 5.0, 5.0]


def test_a_table_gives_the_bytes_of_its_rows_whatever_layers_and_axes_its_cells_have():
    wide, other = fake_results({"steps": ["10", "20"]}, seeds=1, rounds=1), fake_results({"steps": ["30"]}, seeds=2, rounds=1)
    for result in other:
        for record in result["rounds"]:
            record["kept_by_layer"] = {"conv1": 3, **record["kept_by_layer"]}
    for results in (wide, [*wide, *other], [*other, *wide], []):
        table, rows = analysis.Table.of(results), analysis.tidy(results)
        assert analysis.to_csv(table) == analysis.to_csv(rows)
        assert analysis.to_json(table) == analysis.to_json(rows)
        assert len(table) == len(rows)
    header, row = (line.split(",") for line in analysis.to_csv(analysis.Table.of(wide)).splitlines()[:2])
    assert (header.count("steps"), row[header.index("steps")]) == (1, "400")  # Where a round ended, whatever its axis says.
