"""Slides are read back with python-pptx: what is on them, what can be edited, and that nothing overflows."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sweepstake.base.errors import UserError
from sweepstake.read.slides import write_slides
from sweepstake.read.slides.chart import axis
from sweepstake.read.slides.deck import ELLIPSIS, cut, lines
from sweepstake.study.study import Study, read_study
from tests.read.fakes import fake_results

C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
STUDY = {
    "title": "Do inits differ?", "about": "First what it asks.\n\n" + "Then a long story about it. " * 60,
    "init": ["xavier_normal", "kaiming_normal"], "optimiser": ["adam", "sgd"], "seeds": 3, "rounds": 4, "steps": 400,
    "reference": [{"label": "the paper", "source": "fig. 3", "points": [[1.0, 0.99], [0.5, 0.98]]}],
    "figure": [{"kind": "accuracy_by_kept", "by": "init", "panel": "optimiser"}, {"kind": "weights_remaining"}],
    "claim": [{"says": f"Claim {number}: " + "xavier ends above kaiming, whatever else is said of it. " * (1 + 6 * (number == 3)),
               "test": "better", "this": {"init": "xavier_normal"}, "than": {"init": "kaiming_normal"}} for number in range(1, 9)],
}


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study(STUDY, name="own", text='title = "Do inits differ?"\n')


@pytest.fixture(scope="module")
def talk(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pptx import Presentation

    results: Any = fake_results(dict(study.axes), seeds=3, rounds=4)
    path = write_slides(study, results, tmp_path_factory.mktemp("talk") / "talk.pptx")
    return Presentation(BytesIO(path.read_bytes()))


def titles(talk: Any) -> list[str]:
    return [slide.shapes.title.text_frame.text for slide in talk.slides]


def texts(slide: Any) -> str:
    return "\n".join(shape.text_frame.text for shape in slide.shapes if shape.has_text_frame)


def of_kind(talk: Any, kind: str) -> list[Any]:
    return [shape for slide in talk.slides for shape in slide.shapes if getattr(shape, kind, False)]


def test_a_talk_has_a_slide_an_idea_from_the_question_to_how_to_run_it_again(talk: Any, study: Study):
    figure = "Test accuracy against weights remaining"
    asked = titles(talk)

    assert (talk.slide_width / talk.slide_height) == pytest.approx(16 / 9, abs=1e-3)
    assert asked[:6] == ["Do inits differ?", "The question", "The plan", f"{figure}: adam", f"{figure}: sgd", "Weights remaining after each round"]
    assert asked[-1] == "How it was made, and how to run it again"
    assert texts(talk.slides[0]).splitlines()[1] == "own: 12 cells, 60 trainings"
    assert f"pip install sweepstake=={__import__('sweepstake').__version__}\nsweepstake run own" in texts(talk.slides[len(asked) - 1])
    assert study.text in talk.slides[len(asked) - 1].notes_slide.notes_text_frame.text


def test_a_chart_against_weights_remaining_can_be_edited_and_is_logarithmic_with_dense_on_the_left(talk: Any):
    charts = [shape.chart for shape in of_kind(talk, "has_chart")]
    assert len(charts) == 2
    x, y = charts[0].category_axis, charts[0].value_axis

    assert [series.name for series in charts[0].plots[0].series] == ["xavier_normal", "kaiming_normal", "the paper"]
    assert list(charts[0].plots[0].series[2].iter_values()) == [99, 98]
    assert next(iter(charts[0].plots[0].series[0].iter_values())) == pytest.approx(95.5, abs=1)
    xs = [float(v.text) for v in charts[0].plots[0].series[0]._element.find(f"{C}xVal").iter(f"{C}v")]
    assert xs == pytest.approx([100, 80, 64, 51.2, 40.96], abs=0.01)
    assert x._element.find(f"{C}scaling").find(f"{C}logBase").get("val") == "2"
    assert [child.tag for child in x._element.find(f"{C}scaling")] == [f"{C}{name}" for name in ("logBase", "orientation", "max", "min")]
    assert (x.reverse_order, x.minimum_scale, x.maximum_scale) == (True, 25, 100)
    assert y.minimum_scale < 95 < y.maximum_scale <= 100
    bars = charts[0].plots[0].series[0]._element.find(f"{C}errBars")
    assert len(list(bars.find(f"{C}plus").iter(f"{C}v"))) == 5
    assert (x.axis_title.text_frame.text, y.axis_title.text_frame.text) == ("weights remaining (%)", "test accuracy (%)")


def test_every_other_figure_is_a_picture_of_300_dots_an_inch_with_its_text(talk: Any):
    pictures = [shape for shape in of_kind(talk, "image") if shape.shape_type is not None]
    assert len(pictures) == 1
    (picture,) = pictures

    assert picture.image.size[0] / (picture.width / 914400) >= 299
    assert picture.width / 914400 > 6
    assert "Weights remaining" in picture._element.nvPicPr.cNvPr.get("descr")
    assert all("weights remaining" in shape._element.nvGraphicFramePr.cNvPr.get("descr") for shape in of_kind(talk, "has_chart"))


def test_at_most_six_claims_stand_on_a_slide_and_their_whole_text_in_the_notes(talk: Any):
    tables = [shape.table for shape in of_kind(talk, "has_table")][1:]  # The first is the plan.
    rows = [[cell.text_frame.text for cell in row.cells] for table in tables for row in list(table.rows)[1:]]
    notes = "\n".join(slide.notes_slide.notes_text_frame.text for slide in talk.slides if slide.has_notes_slide)

    assert all(len(table.rows) <= 7 for table in tables)
    assert [row[1].split(":")[0] for row in rows] == [f"Claim {number}" for number in range(1, 9)]
    assert {row[0].split()[0] for row in rows} <= {"✓", "✗", "?"}
    assert all(row[2] for row in rows)
    assert rows[2][1].endswith(ELLIPSIS)
    assert all(claim["says"].strip() in notes for claim in STUDY["claim"])


def test_nothing_overflows_and_no_letter_is_smaller_than_18_points(talk: Any):
    for slide in talk.slides:
        boxes = [shape for shape in slide.shapes if shape.width]
        for shape in boxes:
            assert shape.left >= 0
            assert shape.top >= 0
            assert shape.left + shape.width <= talk.slide_width + 1
            assert shape.top + shape.height <= talk.slide_height + 1
            if shape.has_text_frame:
                sizes = [run.font.size.pt for paragraph in shape.text_frame.paragraphs for run in paragraph.runs]
                assert min(sizes, default=18) >= 18
                taken = sum(lines(paragraph.text, shape.width / 914400 - 0.2, max(sizes, default=18)) for paragraph in shape.text_frame.paragraphs)
                assert taken * max(sizes, default=18) * 1.25 / 72 <= shape.height / 914400 + 0.35, shape.text_frame.text
        for one in boxes:
            for other in boxes:
                if one.shape_id < other.shape_id:
                    apart = (one.left + one.width <= other.left + 9144 or other.left + other.width <= one.left + 9144
                             or one.top + one.height <= other.top + 9144 or other.top + other.height <= one.top + 9144)
                    assert apart, (one.name, other.name, slide.shapes.title.text_frame.text)


def test_what_is_cut_says_so_and_is_whole_in_the_notes(talk: Any):
    asked = talk.slides[1]

    assert texts(asked).endswith(ELLIPSIS)
    assert asked.notes_slide.notes_text_frame.text.count("Then a long story about it.") == 60
    assert cut("short", 5, 18, 1) == "short"
    assert cut("one two three four five six seven eight nine ten eleven", 5, 18, 1) == "one two" + ELLIPSIS


def test_an_axis_has_round_ends():
    assert axis(94.13, 97.02) == (94, 98, 1)
    assert axis(0.5, 0.5003) == (0.5, 0.5003, 0.0001)
    assert axis(0, 400) == (0, 400, 100)


def test_slides_without_the_library_or_with_another_ending_are_refused(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    with pytest.raises(UserError, match=r"--out talk\.odp: slides are a PowerPoint file"):
        write_slides(study, [], "talk.odp")
    monkeypatch.setitem(sys.modules, "pptx", None)
    with pytest.raises(UserError, match=r"slides: python-pptx is not installed\. `pip install sweepstake\[slides\]`"):
        write_slides(study, [], tmp_path / "talk.pptx")
