"""Pictures: what is drawn is what was measured."""

import math

import pytest

from sweepstake.base.specs import FigureSpec
from sweepstake.read import analysis, figures
from sweepstake.read.densities import densities
from sweepstake.study.study import read_study
from tests.read.fakes import fake_results

AXES = {"init": ["xavier_normal", "kaiming_normal"], "reset": ["rewind", "fresh"]}
ONE = {"init": AXES["init"]}


def drawn(figure, axes=ONE, **options):
    results = fake_results(axes, seeds=3, rounds=5, **options)
    return figures.draw(figure, analysis.tidy(results), analysis.curves(results), axes)


@pytest.mark.parametrize("kind", ["accuracy_by_kept", "learning_curves", "weights_remaining", "early_stop_by_kept", "layer_density",
                                  "unit_degrees", "alive_units"])
@pytest.mark.parametrize("axes", [{}, ONE, AXES])
def test_every_figure_becomes_svg_with_marks_and_without_a_script(kind, axes):
    svg = figures.to_svg(drawn(FigureSpec(kind=kind), axes))
    assert svg.startswith("<svg") and "aria-label" in svg and "<script" not in svg and "NaN" not in svg


def test_a_point_is_the_mean_over_seeds_and_its_bar_the_standard_deviation():
    results = fake_results({}, seeds=3, rounds=0)
    for result, accuracy in zip(results, (0.90, 0.92, 0.97), strict=True):
        result["rounds"][0]["end"]["test"]["accuracy"] = accuracy
    [point] = figures.draw(FigureSpec(), analysis.tidy(results), [], {})["data"]["values"]
    assert point["mean"] == pytest.approx(93.0) and point["hi"] - point["mean"] == pytest.approx(3.60555)
    assert point["told"] == "100 % of weights remaining: test accuracy 93.00 %, standard deviation 3.61 %, 3 seeds"


def test_a_group_that_diverged_whole_has_no_point_and_the_figure_says_so():
    results = fake_results(ONE, seeds=3, rounds=2)
    for result in results:
        if result["labels"]["init"] == "kaiming_normal":
            result["status"] = "diverged"
            del result["rounds"][1:]
            result["rounds"][0]["diverged"] = True
    spec = figures.draw(FigureSpec(), analysis.tidy(results), [], ONE)
    assert {point["group"] for point in spec["data"]["values"]} == {"xavier_normal"}
    assert "Diverged cells are left out (up to 3 a point)." in " ".join(spec["title"]["subtitle"])


def test_weights_remaining_run_from_the_dense_network_down_on_a_log_scale():
    x = drawn(FigureSpec())["layer"][-1]["encoding"]["x"]
    assert x["scale"]["type"] == "log" and x["scale"]["reverse"] is True
    assert x["axis"]["values"][0] == 100 and x["axis"]["values"][-1] == pytest.approx(32.8, abs=0.1)


def test_the_second_axis_makes_panels_and_where_chooses():
    assert "facet" in drawn(FigureSpec(), AXES)
    only = drawn(FigureSpec(where={"reset": "fresh"}), AXES)
    assert "facet" not in only and len(only["data"]["values"]) == 2 * 6


def test_a_third_axis_is_averaged_and_said():
    assert "Averaged over control." in drawn(FigureSpec(), {**AXES, "control": ["none", "shuffle"]})["title"]["subtitle"]


def test_groups_that_keep_alike_are_one_line():
    assert {point["group"] for point in drawn(FigureSpec(kind="weights_remaining"))["data"]["values"]} == {"whole network and 3 others"}


def test_nothing_measured_is_no_figure():
    assert figures.draw(FigureSpec(), [], [], ONE) is None
    assert drawn(FigureSpec(kind="early_stop_by_kept"), early=False) is None


def test_colours_and_shapes_differ_for_eight_groups():
    assert len(set(figures.PALETTE)) == len(set(figures.SHAPES)) == 8


def test_pdf_and_png_are_what_they_say(tmp_path):
    spec = drawn(FigureSpec())
    assert figures.to_pdf(spec, tmp_path / "a.pdf").read_bytes()[:5] == b"%PDF-"
    assert figures.to_png(spec, tmp_path / "a.png").read_bytes()[1:4] == b"PNG"


def test_a_round_0_that_was_pruned_is_not_drawn_as_the_dense_network():
    results = fake_results(ONE, seeds=3, rounds=3)
    figure = figures.draw(FigureSpec(), analysis.tidy(results), [], ONE)
    assert "dashed: the dense network" in figure["title"]["subtitle"][0] and "stroke-dasharray" in figures.to_svg(figure)
    for result in results:
        result["rounds"][0]["kept_fraction"] = 0.9
    figure = figures.draw(FigureSpec(), analysis.tidy(results), [], ONE)
    assert "dashed" not in str(figure["title"]) and "stroke-dasharray" not in figures.to_svg(figure)


def test_on_a_linear_scale_weights_remaining_run_from_100_to_0():
    x = drawn(FigureSpec(x="linear"))["layer"][-1]["encoding"]["x"]
    assert x["scale"] == {"reverse": True, "domain": [0, 102], "nice": False}


def test_on_a_linear_scale_networks_that_keep_most_weights_fill_the_picture():
    results = fake_results(ONE, seeds=3, rounds=5)
    for result in results:
        for record in result["rounds"]:
            record["kept_fraction"] = 1 - 0.008 * record["round"]
    figure = figures.draw(FigureSpec(x="linear"), analysis.tidy(results), [], ONE)
    x = figure["layer"][-1]["encoding"]["x"]
    assert x["scale"]["domain"] == [pytest.approx(100 - 4.2), pytest.approx(100 + 0.084)]
    assert max(abs(point["x"] - point["kept"]) for point in figure["data"]["values"]) < 0.05


def test_a_loss_is_drawn_with_its_range_and_without_percent():
    figure = drawn(FigureSpec(metric="test_loss", error="range"), {})
    first = analysis.summarise(analysis.tidy(fake_results({}, seeds=3, rounds=5)), [], "test_loss")[0]
    point = figure["data"]["values"][0]
    assert (point["lo"], point["mean"], point["hi"]) == (first["min"], first["mean"], first["max"])
    assert figure["layer"][-1]["encoding"]["y"]["title"] == "test loss" and "minimum to maximum" in figure["title"]["subtitle"][0]


def test_the_share_of_units_alive_can_be_drawn_as_any_metric():
    [last] = [point for point in drawn(FigureSpec(metric="alive_units", at="early"), {})["data"]["values"] if point["round"] == 5]
    assert last["mean"] == 100.0 and last["mean_told"] == "100.00 %"


def points_of(kind, change, axes=ONE, **said):
    results = fake_results(axes, seeds=3, rounds=2)
    for result in results:
        for record in result["rounds"]:
            change(result, record)
    return figures.draw(FigureSpec(kind=kind, **said), analysis.tidy(results), [], axes)


def test_a_layers_density_is_of_its_own_size_beside_the_whole_networks():
    def halve_the_output(_, record):
        record["kept_by_layer"] = {**record["kept_by_layer"], "fc3": 500}

    spec = points_of("layer_density", halve_the_output)
    assert {(p["panel"], p["mean"]) for p in spec["data"]["values"] if p["group"] == "fc3"} == {("xavier_normal", 50.0), ("kaiming_normal", 50.0)}
    assert [p["mean"] for p in spec["data"]["values"] if p["group"] == "whole network"][:3] == pytest.approx([100, 80, 64], abs=0.01)
    assert spec["facet"]["sort"] == ONE["init"]


def test_units_alive_are_a_panel_a_hidden_layer_and_a_line_a_setting():
    def kill_one_in_ten_with_its_seed(result, record):
        record["alive_units"] = {"fc1": 270 + 3 * result["seed"], "fc2": 50, "fc3": 10}

    spec = points_of("alive_units", kill_one_in_ten_with_its_seed, error="range")
    assert spec["facet"]["sort"] == ["fc1", "fc2"]
    assert {(p["group"], p["panel"], p["lo"], p["mean"], p["hi"]) for p in spec["data"]["values"]} == {
        (group, *numbers) for group in ONE["init"] for numbers in (("fc1", 90.0, 91.0, 92.0), ("fc2", 50.0, 50.0, 50.0))}


def test_an_output_layers_units_are_classes_in_a_shallower_network_too():
    def shallow(result, record):
        if result["labels"]["init"] == "kaiming_normal":
            for field in ("kept_by_layer", "size_by_layer", "units_by_layer", "alive_units", "degrees"):
                record[field] = {layer: record[field][layer] for layer in ("fc1", "fc2")}

    groups = {panel: {p["group"] for p in points_of("alive_units", shallow)["data"]["values"] if p["panel"] == panel} for panel in ("fc1", "fc2")}
    assert groups == {"fc1": {"xavier_normal", "kaiming_normal"}, "fc2": {"xavier_normal"}}


def test_degrees_are_the_median_unit_and_the_quartiles_into_and_out():
    spec = points_of("unit_degrees", lambda _, __: None)
    assert spec["facet"]["sort"] == [f"{init}, {way}" for init in ONE["init"] for way in ("into each unit", "out of each input")]
    dense = {(p["panel"], p["group"]): (p["lo"], p["mean"], p["hi"]) for p in spec["data"]["values"] if p["round"] == 0}
    assert dense["xavier_normal, into each unit", "fc1"] == (588.0, 784.0, 980.0)
    assert dense["kaiming_normal, out of each input", "fc3"] == (7.5, 10.0, 12.5)


def test_results_from_before_units_were_recorded_have_no_such_figure():
    def forget(_, record):
        del record["units_by_layer"], record["degrees"]

    assert points_of("alive_units", forget) is None and points_of("unit_degrees", forget) is None
    assert points_of("layer_density", forget) is not None


def init_study(init):
    return read_study({"dataset": "mnist", "init": init, "epochs": 1}, name="inits")


def test_the_density_of_a_uniform_init_is_a_box_and_a_normals_its_bell():
    box, bell = (densities(planned.cell)["fc3"] for planned in init_study(["kaiming_uniform", "kaiming_normal"]).planned)
    edge, deviation = 0.03**0.5, 0.1
    assert box[0][0] == pytest.approx(-edge, rel=2e-3) and box[-1] == (pytest.approx(edge, rel=2e-3), 0.0)
    assert {round(density * 2 * edge, 2) for _, density in box[1:-1]} == {1.0}
    for weight, density in bell[2:-2]:
        assert density == pytest.approx(math.exp(-(weight / deviation) ** 2 / 2) / (deviation * math.sqrt(2 * math.pi)), rel=0.02, abs=0.01)


def test_each_init_is_a_line_in_a_panel_a_layer_and_a_constant_has_none():
    study = init_study([{"name": "xavier_normal", "label": "narrow", "scale": {"fc2": 0.5}}, "orthogonal", "zeros"])
    spec = figures.draw(FigureSpec(kind="init_density"), [], [], study.axes, study.planned)
    values = spec["data"]["values"]
    assert spec["facet"]["sort"] == ["fc1", "fc2", "fc3"] and {p["group"] for p in values} == {"narrow", "orthogonal"}
    wide = {layer: max(p["weight"] for p in values if p["panel"] == layer and p["group"] == "narrow") for layer in ("fc1", "fc2")}
    assert wide["fc2"] / wide["fc1"] == pytest.approx(0.5 * (1084 / 400) ** 0.5, rel=0.01)
    only = figures.draw(FigureSpec(kind="init_density", where={"init": "orthogonal"}), [], [], study.axes, study.planned)
    assert {p["group"] for p in only["data"]["values"]} == {"orthogonal"} and "NaN" not in figures.to_svg(only)
    assert figures.draw(FigureSpec(kind="init_density"), [], [], study.axes) is None


def test_a_density_moves_no_global_random_state():
    import torch

    before = torch.random.get_rng_state()
    densities(init_study("xavier_normal").planned[0].cell)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_learning_curves_first_steps_may_lie_outside_and_are_said_to():
    results = fake_results({}, seeds=3, rounds=0)
    steps = list(range(0, 2100, 100))
    for result, end in zip(results, (0.97, 0.98, 0.99), strict=True):
        result["rounds"][0]["curve"] = {"step": steps, "test_accuracy": [0.1, *(end - 0.001 * (20 - n) for n in range(1, 21))]}
    spec = figures.draw(FigureSpec(kind="learning_curves"), analysis.tidy(results), analysis.curves(results), {})
    low, high = spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert (low, high) == (pytest.approx(95.1 - 0.195), pytest.approx(99.0 + 0.195))  # Mean and deviation from step 100 on, and a twentieth.
    assert all(layer["mark"]["clip"] for layer in spec["layer"]) and "5 % of the steps lie outside" in " ".join(spec["title"]["subtitle"])
