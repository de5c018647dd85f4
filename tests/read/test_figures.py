"""Pictures: what is drawn is what was measured."""

import pytest

from sweepstake.base.specs import FigureSpec
from sweepstake.read import analysis, figures
from tests.read.fakes import fake_results

AXES = {"init": ["xavier_normal", "kaiming_normal"], "reset": ["rewind", "fresh"]}
ONE = {"init": AXES["init"]}


def drawn(figure, axes=ONE, **options):
    results = fake_results(axes, seeds=3, rounds=5, **options)
    return figures.draw(figure, analysis.tidy(results), analysis.curves(results), axes)


@pytest.mark.parametrize("kind", ["accuracy_by_kept", "learning_curves", "weights_remaining", "early_stop_by_kept"])
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
