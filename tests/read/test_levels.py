"""Figures where every level of pruning is a cell of its own."""

import pytest

from sweepstake.base.specs import FigureSpec, figure_kind
from sweepstake.read import analysis, figures
from tests.read.fakes import fake_results

AXES = {"keep": ["0.5", "0.1"], "case": ["one", "other"]}


def results():
    """Cells of two rounds: dense, and pruned to their own level; accuracies by hand."""
    found = fake_results(AXES, seeds=2, rounds=1)
    for result in found:
        keep = float(result["labels"]["keep"])
        result["rounds"][0]["kept_fraction"], result["rounds"][1]["kept_fraction"] = 1.0, keep
        result["rounds"][0]["end"]["test"]["accuracy"] = 0.9
        result["rounds"][1]["end"]["test"]["accuracy"] = keep + 0.2 * result["seed"] + 0.1 * (result["labels"]["case"] == "other")
    return found


def points(**said):
    spec = figures.draw(FigureSpec(kind="accuracy_by_level", **said), analysis.tidy(results()), [], AXES)
    return [(point["group"], round(point["kept"], 3), round(point["mean"], 3), point["n"]) for point in spec["data"]["values"]]


def test_each_level_is_a_point_of_its_own_and_the_dense_network_one():
    assert sorted(points(by="case")) == [
        ("one", 10.0, 20.0, 2), ("one", 50.0, 60.0, 2), ("one", 100.0, 90.0, 2),
        ("other", 10.0, 30.0, 2), ("other", 50.0, 70.0, 2), ("other", 100.0, 90.0, 2)]


def test_by_rounds_those_levels_would_be_averaged():
    spec = figures.draw(FigureSpec(kind="accuracy_by_kept", by="case", panel="keep"), analysis.tidy(results()), [], AXES)
    assert len(spec["data"]["values"]) == 8


@pytest.mark.parametrize("key", ["by", "panel"])
def test_a_level_is_no_colour_and_no_panel(key):
    said = figure_kind.get("accuracy_by_level").check(FigureSpec(kind="accuracy_by_level", **{key: "keep"}), AXES)
    assert said == [f'{key} = "keep": levels lie along the curve. Name another axis.']


def test_kept_fractions_that_differ_by_a_rounding_are_one_level():
    from sweepstake.read.figures.by_level import by_level

    rows = [{"kept_fraction": kept} for kept in (1.0, 0.50002, 0.49998, 0.1)]
    assert [row["round"] for row in by_level(rows)] == [0, 1, 1, 2]
