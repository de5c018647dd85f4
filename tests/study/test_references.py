"""What others have measured: read from a study or a file, drawn beside ours, and judged as the number to be met."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec, ReferenceSpec
from sweepstake.read import analysis, claims, figures
from sweepstake.read.figures import paper
from sweepstake.read.page.document import page
from sweepstake.read.plot import Asked, Part, plot
from sweepstake.study.study import Study, load_study, read_study
from tests.read.fakes import FakeStudy, fake_results
from tests.small import SMALL, SMALL_TOML

KNOWN: dict[str, Any] = {"label": "Frankle & Carbin 2019", "source": "arXiv:1803.03635, fig. 5",
                         "points": [[1.0, 0.97], [0.5, 0.98], [0.125, 0.96]]}
CLAIM: dict[str, Any] = {"says": "We end where they do.", "test": "about", "margin": 0.01, "reference": "Frankle & Carbin 2019", "kept": 0.5}


def study(folder: Path = Path(), **changes: Any) -> Study:
    return read_study({**SMALL, "reference": [KNOWN], **changes}, name="small", folder=folder)


def test_a_claim_has_the_references_value_at_its_kept_fraction_on_the_log_of_kept():
    [at, between] = study(claim=[CLAIM, {**CLAIM, "kept": 0.25}]).claims
    assert (at.value, between.value) == (0.98, pytest.approx(0.97))  # 0.25 is half way from 0.5 to 0.125.


def test_a_reference_is_in_no_cells_id():
    assert [one.id for one in study().planned] == [one.id for one in read_study(SMALL, name="small").planned]


def test_values_in_per_cent_become_fractions():
    [one] = study(reference=[{**KNOWN, "points": [[0.5, 98]], "percent": True}]).references
    assert (one.points, one.percent) == ([(0.5, 0.98)], False)


def test_a_csv_file_beside_the_study_has_the_points(tmp_path: Path):
    (tmp_path / "curve.csv").write_text("kept,runs,acc\n0.5,3,98\n1.0,3,97\n0.25,0,\n")
    (tmp_path / "small.toml").write_text(SMALL_TOML + """
[[reference]]
label = "theirs"
source = "a thesis, table 2"
csv = "curve.csv"
columns = ["kept", "acc"]
percent = true
""")
    assert load_study(tmp_path / "small.toml").references[0].points == [(1.0, 0.97), (0.5, 0.98)]


@pytest.mark.parametrize(("text", "said"), [
    (None, 'csv = "curve.csv": no such file. Its path is relative to the study file:'),
    ("kept,accuracy\n1,0.9\n", 'columns: value: no column of that name.'),
    ("kept,value\n1,0.9\n1.5,0.9\n", "line 3: 1.5 is no fraction of weights remaining, above 0 and at most 1."),
    ("kept,value\nall,0.9\n", 'line 2: "all" and "0.9" are not two numbers.'),
    ("kept,value\n1,nan\n", "line 2: nan is no number to compute with."),
    ("kept,value\n1,\n", "has no line with a value."),
])
def test_a_wrong_csv_is_told(tmp_path: Path, text: str | None, said: str):
    if text is not None:
        (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)):
        study(tmp_path, reference=[{"label": "a", "source": "b", "csv": "curve.csv"}])


@pytest.mark.parametrize(("reference", "said"), [
    ({"label": "a", "source": "b"}, '[[reference]] 1: say points = [[kept, value], ...] or csv = "FILE.csv".'),
    ({**KNOWN, "csv": "a.csv"}, 'say points = [[kept, value], ...] or csv = "FILE.csv", not both.'),
    ({**KNOWN, "points": [[0.5, 98]]}, "a test_accuracy of 98. It is a fraction, from 0 to 1; of values in per cent say percent = true."),
    ({**KNOWN, "points": [[0.5, 101]], "percent": True}, "a test_accuracy of 101. Values in per cent lie between 0 and 100."),
    ({**KNOWN, "points": [[0.5, 0.9], [0.5, 0.8]]}, "0.5 of the weights stands twice, with one value each."),
    ({**KNOWN, "points": [[50, 0.9]]}, "[[reference]] 1: points = [[50, 0.9]]: expected a list, each"),
    ({**KNOWN, "where": {"init": "a"}}, "[[reference]] 1: where: init: no axis of that name."),
    ({"label": "a", "points": [[1, 0.9]]}, "[[reference]] 1: needs source: some text in quotes."),
])
def test_a_wrong_reference_is_told(reference: dict[str, Any], said: str):
    with pytest.raises(UserError, match=re.escape(said)):
        study(reference=[reference])
    with pytest.raises(UserError, match="stands twice. A claim names a reference by its label"):
        study(reference=[KNOWN, KNOWN])


@pytest.mark.parametrize(("changes", "said"), [
    ({"reference": "Frankle"}, '[[claim]] 1: reference = "Frankle": no [[reference]] of that name.'),
    ({"kept": 0.1}, "has no level at kept = 0.1; it has 1 to 0.125. Say one of those."),
    ({"kept": None}, "needs kept: at which fraction of weights remaining, from 1 to 0.125."),
    ({"value": 0.9}, "is the number to be met, and so is value = 0.9. Leave one out."),
    ({"metric": "test_loss"}, "is of test_accuracy, the claim of test_loss. Let both be of one."),
    ({"at": "early"}, "is of test_accuracy, the claim of test_accuracy at early stop. Let both be of one."),
    ({"kept_than": 1.0}, "is the other side, and so is kept_than. Leave one out."),
    ({"test": "matches_dense"}, 'reference is for test = "about"'),
])
def test_a_claim_that_cannot_be_about_its_reference_is_told(changes: dict[str, Any], said: str):
    claim = {key: value for key, value in {**CLAIM, **changes}.items() if value is not None}
    with pytest.raises(UserError, match=re.escape(said)):
        study(claim=[claim])


def test_a_claim_is_judged_by_the_reference_and_its_reason_names_it():
    results = fake_results({}, seeds=4, rounds=2)
    for result, accuracy in zip(results, (0.971, 0.973, 0.975, 0.977), strict=True):
        result["rounds"][2]["end"]["test"]["accuracy"] = accuracy
    asked = study(claim=[{**CLAIM, "kept": 0.64, "margin": 0.01}, {**CLAIM, "test": "better", "kept": 0.64, "margin": 0.0}])
    about, better = claims.verdicts(FakeStudy(axes={}, claims=list(asked.claims)), results)
    assert asked.claims[0].value == pytest.approx(0.976439, abs=1e-6)
    assert (about.verdict, about.effect) == ("supported", pytest.approx(0.974))
    assert "97.64 % (Frankle & Carbin 2019) give or take 1.00 points was said" in about.reason
    assert (better.verdict, better.effect) == ("undecided", pytest.approx(0.974 - 0.976439, abs=1e-6))
    assert "against 97.64 % (Frankle & Carbin 2019): -0.24 points" in better.reason


def fake(axes: dict[str, list[Any]], **changes: Any) -> FakeStudy:
    points = [(1.0, 0.97), (0.5, 0.98), (0.01, 0.2)]
    return FakeStudy(axes=axes, references=[ReferenceSpec(label="theirs", source="a thesis, p. 7", points=points, **changes)])


def drawn(asked: FakeStudy, **figure: Any) -> figures.Spec:
    rows = analysis.tidy(fake_results(asked.axes, seeds=3, rounds=5))
    spec = figures.draw(FigureSpec(**figure), rows, [], asked.axes, references=asked.references)
    assert spec is not None
    return spec


def test_a_figure_of_its_metric_draws_the_reference_grey_and_dashed_with_label_and_source():
    spec = drawn(fake({"init": ["a", "b"]}))
    first, colour = spec["layer"][0], spec["layer"][-1]["encoding"]["color"]
    laid = [(point["x"], point["reference"]) for point in spec["data"]["values"] if "reference" in point]
    assert laid == [(100, 97), (50, 98)]  # Ours end at 33 %.
    assert (first["mark"]["type"], first["mark"]["strokeDash"]) == ("line", [3, 2])
    assert (colour["scale"]["domain"], colour["scale"]["range"][-1]) == (["a", "b", "theirs"], "#767676")
    assert spec["title"]["subtitle"][-1] == "Grey, dashed: theirs (a thesis, p. 7)."
    svg = figures.to_svg(spec)
    assert ">theirs</text>" in svg
    assert 'stroke="#767676"' in svg
    assert "NaN" not in svg


def test_a_reference_of_another_metric_or_of_other_cells_is_not_drawn():
    axes = {"init": ["a", "b"], "reset": ["rewind", "fresh"]}
    assert "theirs" not in str(drawn(fake(axes), metric="test_loss"))
    assert "theirs" not in str(drawn(fake(axes), at="early"))
    assert "theirs" not in str(drawn(fake(axes, where={"reset": "fresh"}), where={"reset": "rewind"}))
    panels = drawn(fake(axes, where={"reset": "fresh"}))["data"]["values"]
    assert {point["panel"] for point in panels if "reference" in point} == {"fresh"}
    whole = drawn(fake(axes))["data"]["values"]
    assert {point["panel"] for point in whole if "reference" in point} == {"rewind", "fresh"}


def test_the_axis_makes_room_for_the_reference():
    low = ReferenceSpec(label="low", source="x", points=[(0.5, 0.5)])
    asked = FakeStudy(axes={}, references=[low])
    spec = drawn(asked)
    assert all(layer["encoding"]["y"]["scale"]["domain"][0] < 50 for layer in spec["layer"] if "y" in layer["encoding"])
    assert [layer["mark"].get("shape") for layer in spec["layer"][-2:]] == ["cross", None]  # One number is a cross.
    assert spec["title"]["subtitle"][-1] == "Grey: low (x)."
    legend = paper.fitted(spec, paper.Paper())["vconcat"][0]["layer"]
    assert legend[0]["transform"] == [{"filter": {"field": "entry", "oneOf": ["all"]}}]  # A line for ours alone.


def test_the_command_and_the_report_draw_the_reference():
    asked, results = fake({"init": ["a", "b"]}), fake_results({"init": ["a", "b"]}, seeds=3, rounds=5)
    chart = plot([Part(asked, results, "x")], Asked(y="error"), paper.Paper())
    assert chart.told[-1] == "Grey, dashed: theirs (a thesis, p. 7)."
    assert [point["reference"] for point in chart.spec["data"]["values"] if "reference" in point] == pytest.approx([3, 2])
    legend = chart.spec["vconcat"][0]
    assert [entry["entry"] for entry in legend["data"]["values"]] == ["a", "b", "theirs"]
    assert "Grey, dashed: theirs (a thesis, p. 7)." in page(asked, results)


def test_the_pages_example_loads_and_meets_its_reference():
    text = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    loaded = read_study(tomllib.loads(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0]), name="page")
    assert loaded.claims[0].value == pytest.approx(0.9814)
    assert isinstance(loaded.claims[0], ClaimSpec)
