"""A figure as it is printed: its size, its fonts, its groups without colour; read back from the files themselves."""

import json
import re
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from sweepstake.read import figures
from sweepstake.read.figures import paper
from sweepstake.read.plot import Asked, Part, plot
from sweepstake.read.results import Results
from tests.read.fakes import FakeStudy, fake_results
from tests.small import SMALL_TOML, write_small

AXES = {"init": ["xavier_normal", "kaiming_normal"], "reset": ["rewind", "fresh"]}
ONE = {"init": AXES["init"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small study in it, run."""
    folder = tmp_path_factory.mktemp("home")
    write_small(folder, SMALL_TOML + '\n[machine]\nworkers = 1\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ss.run_study("small.toml", progress=False)
    return folder


@pytest.fixture
def figure(home: Path, monkeypatch: pytest.MonkeyPatch, call):
    monkeypatch.chdir(home)
    return lambda *arguments: call("figure", "small.toml", *arguments)


def part(axes: dict[str, list[Any]] = ONE, name: str = "prune-ready", **options: Any) -> Part:
    return Part(FakeStudy(name=name, axes=axes), fake_results(axes, seeds=3, rounds=5, **options), name)


def of(kind: str, layers: list[dict[str, Any]]) -> dict[str, Any]:
    return next(layer["encoding"] for layer in layers if layer["mark"]["type"] == kind)


def test_an_svg_has_the_width_and_the_fonts_that_were_asked_for(figure):
    code, out, err = figure("--width", "85mm", "--height", "160pt", "--font-size", 7, "--out", "a.svg")
    svg = Path("a.svg").read_text()
    assert (code, out) == (0, "a.svg\n")
    assert re.findall(r'^<svg [^>]*width="([^"]*)" height="([^"]*)" viewBox="([^"]*)"', svg) == [("240.945pt", "160pt", "0 0 240.945 160")]
    assert set(re.findall(r'font-size="([^"]*)"', svg)) == {"7px"}  # Of its own units, which are points.
    assert "weights remaining (%)</text>" in svg
    assert "Mean of 2 seeds; bars: standard deviation over seeds" in err


def test_a_pdfs_page_is_the_width_and_its_text_is_text_in_an_embedded_font(figure):
    assert figure("--width", "3in", "--format", "pdf")[:2] == (0, "small.pdf\n")
    pdf = Path("small.pdf").read_bytes()
    [(width, height)] = re.findall(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+)", pdf)
    assert float(width) == 216.0
    assert 100 < float(height) < 216
    assert b"/FontFile2" in pdf


def test_a_pngs_pixels_are_its_points_at_the_dots_an_inch(figure):
    assert figure("--width", "240pt", "--height", "150pt", "--dpi", 300, "--out", "figures/a.png")[0] == 0
    png = Path("figures/a.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (1000, 625)
    assert struct.unpack(">I", png[png.index(b"pHYs") + 4:][:4]) == (11811,)  # Dots a metre: 300 an inch.


def test_groups_are_told_by_marker_and_dashes_and_the_legend_shows_both():
    spec = paper.fitted(plot([part()], Asked()).spec, paper.Paper())
    legend, body = spec["vconcat"]
    domain = AXES["init"]
    assert of("point", body["layer"])["shape"]["scale"] == {"domain": domain, "range": ["circle", "square"]}
    assert of("line", body["layer"])["strokeDash"]["scale"] == {"domain": domain, "range": [[1, 0], [5, 1.5]]}
    assert of("rule", legend["layer"])["strokeDash"]["scale"]["range"] == [[1, 0], [5, 1.5]]
    assert of("point", legend["layer"])["shape"]["scale"]["range"] == ["circle", "square"]
    assert [entry["entry"] for entry in legend["data"]["values"]] == domain
    svg = figures.to_svg(spec)
    assert svg.count('stroke-dasharray="5,1.5"') == 2  # The curve and its entry.
    assert "NaN" not in svg


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_printed_colours_are_greys_apart_in_black_and_white(count: int):
    axes = {"init": [f"init {place}" for place in range(count)]}
    spec = paper.fitted(plot([part(axes)], Asked()).spec, paper.Paper())
    greys = [paper.lightness(one) for one in of("line", spec["vconcat"][1]["layer"])["color"]["scale"]["range"]]
    assert len(greys) == count
    assert min(high - low for low, high in pairwise(greys)) > {2: 60, 3: 30, 4: 14, 8: 5}[count]
    assert paper.lightness("#000000") == 0.0
    assert paper.lightness("#ffffff") == pytest.approx(100)


def test_on_a_screen_the_colours_are_the_reports_and_lines_are_whole():
    spec = paper.fitted(plot([part()], Asked()).spec, paper.Paper(style="screen"))
    line = of("line", spec["vconcat"][1]["layer"])
    assert line["color"]["scale"]["range"] == list(figures.PALETTE[:2])
    assert line["strokeDash"]["scale"]["range"] == [[1, 0], [1, 0]]


@pytest.mark.parametrize("kind", ["learning_curves", "weights_remaining", "early_stop_by_kept", "layer_density", "unit_degrees", "alive_units"])
def test_every_kind_of_figure_is_printed_at_its_width(kind: str):
    spec = plot([part(AXES)], Asked(kind=kind)).spec
    svg = figures.to_svg(paper.fitted(spec, paper.Paper(width=300, title=True)))
    assert 299 <= float(re.findall(r'width="([\d.]+)"', svg)[0]) <= 300
    assert set(re.findall(r'font-size="([^"]*)"', svg)) == {"8px"}


def test_several_studies_are_told_apart_by_an_axis_of_their_own():
    first, second = part(ONE, "first"), part(AXES, "second")
    values = plot([first, second], Asked(panel="none")).spec["data"]["values"]
    assert {point["group"] for point in values} == {"first", "second"}
    by_init = plot([first, second], Asked(by="init", panel="study")).spec
    assert by_init["facet"]["sort"] == ["first", "second"]
    assert {(point["panel"], point["group"]) for point in by_init["data"]["values"]} == {
        (study, init) for study in ("first", "second") for init in ONE["init"]}
    one = plot([first, second], Asked(where={"study": "second", "reset": "fresh"}, by="init", panel="none"))
    assert {point["n"] for point in one.spec["data"]["values"]} == {3}
    with pytest.raises(UserError, match='study "first": stands twice'):
        plot([first, first], Asked())


def test_an_axis_that_one_study_fixes_is_its_cells_value_there(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    whole, one = ss.load_results("small.toml"), ss.load_results(ss.load_study("small.toml", overrides=["init=kaiming_normal"]))
    assert {cell["status"] for cell in one.cells} == {"done"}
    chart = ss.plot([whole, one], labels=["two inits", "one"], by="init", panel="study")
    assert {(point["panel"], point["group"]) for point in chart.spec["data"]["values"]} == {
        ("two inits", "xavier_normal"), ("two inits", "kaiming_normal"), ("one", "kaiming_normal")}


def test_two_studies_by_the_command_with_a_label_each(home: Path, monkeypatch: pytest.MonkeyPatch, call):
    monkeypatch.chdir(home)
    Path("other.toml").write_text(Path("small.toml").read_text())
    code, out, err = call("figure", "small.toml", "other.toml", "--label", "ours", "--label", "theirs", "--panel", "none")
    assert (code, out) == (0, "small-other.svg\n")
    svg = Path("small-other.svg").read_text()
    assert [name for name in ("ours", "theirs") if f">{name}</text>" in svg] == ["ours", "theirs"]
    assert "Averaged over init." in err


def test_error_is_what_accuracy_lacks_and_compression_the_inverse_of_weights_remaining():
    accuracy, error = (plot([part({})], Asked(y=y)).spec["data"]["values"] for y in ("accuracy", "error"))
    assert [one["mean"] + other["mean"] for one, other in zip(accuracy, error, strict=True)] == pytest.approx([100] * 6)
    spec = plot([part({})], Asked(x="compression")).spec
    assert [point["x"] for point in spec["data"]["values"]] == pytest.approx([0.8**-round_ for round_ in range(6)], rel=1e-4)
    x = of("line", spec["layer"])["x"]
    assert (x["title"], x["axis"]["values"]) == ("compression ratio", [1, 2])
    assert plot([part({})], Asked(x="round")).spec["data"]["values"][5]["x"] == pytest.approx(5)
    assert "Test error at early stop against weights remaining" in plot([part({})], Asked(y="error", at="early")).caption
    assert "test error" in str(plot([part({})], Asked(y="error", at="early")).spec["layer"][-1]["encoding"]["y"]["title"])


def test_any_column_can_be_drawn():
    spec = plot([part({})], Asked(y="kept.fc3")).spec
    assert [point["mean"] for point in spec["data"]["values"]][:3] == [1000, 800, 640]
    assert plot([part({})], Asked(y="seconds")).spec["layer"][-1]["encoding"]["y"]["title"] == "seconds of training"


@pytest.mark.parametrize(("asked", "said"), [
    (Asked(by="inti", say="--"), r'--by inti: no axis of that name\.\n  Did you mean "init"\?  Known: init, reset\.'),
    (Asked(panel="init", by="init", say="--"), "--by and --panel are both init"),
    (Asked(where={"init": "xavier"}, say="--"), r'--where: init = "xavier": no label of init of that name'),
    (Asked(y="acuracy", say="--"), r'--y acuracy: no column of that name\.\n  Did you mean "accuracy"\?'),
    (Asked(kind="acuracy_by_kept", say="--"), "--kind acuracy_by_kept: "),
    (Asked(figure="9", say="--"), r"--figure 9: no figure of that name\.\n  Known: 1-accuracy_by_kept"),
    (Asked(figure="search", say="--"), "--figure search: prune-ready has no search"),
    (Asked(x="kpt", say="--"), '--x kpt: no x of that name'),
    (Asked(x="compression", kind="learning_curves"), "x = compression: this figure is not drawn against weights remaining"),
    (Asked(y="validation_accuracy"), "nothing to draw: no finished cell has a number for validation_accuracy"),
    (Asked(error="sem"), 'error sem: no value of error of that name'),
])
def test_what_is_not_there_is_said_with_what_is(asked: Asked, said: str):
    with pytest.raises(UserError, match=said):
        plot([part(AXES, early=False)], asked)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--width", "3"], "--width 3: is 3 points. Say 60pt to 2000pt."),
    (["--width", "wide"], "--width wide: not a length. Say a number and a unit: 240pt, 85mm, 8.5cm or 3.3in."),
    (["--font-size", "0"], "--font-size 0: say 3 to 48 points."),
    (["--out", "a.jpg"], 'figure "a.jpg": ends in .jpg. Say .svg, .pdf or .png.'),
    (["--format", "pdf", "--out", "a.svg"], "--format pdf: --out a.svg ends in .svg. Let both say one."),
    (["--label", "a", "--label", "b"], "--label: 2 for 1 studies. Give each of several one, in their order."),
    (["--where", "init"], "--where init: say AXIS=LABEL, or several with commas, as in --where init=a,b."),
    (["--dpi", "5"], "--dpi 5: say 30 to 2400 dots an inch."),
])
def test_a_wrong_option_is_one_line_and_exit_2(figure, arguments: list[str], said: str):
    code, out, err = figure(*arguments)
    assert (code, out, err.splitlines()) == (2, "", [said])


def test_a_label_with_a_comma_is_one_label():
    from sweepstake.read.plot import said_where

    study = FakeStudy(axes={"init": ["normal(std=0.1, scale=2)", "zeros"]})
    assert said_where(["init=normal(std=0.1, scale=2)"], [study]) == {"init": ["normal(std=0.1, scale=2)"]}
    assert said_where(["init=zeros,ones"], [study]) == {"init": ["zeros", "ones"]}


def test_nothing_finished_is_exit_3(home: Path, monkeypatch: pytest.MonkeyPatch, call):
    monkeypatch.chdir(home)
    code, out, err = call("figure", "small.toml", "--set", "steps=11")
    assert (code, out) == (3, "")
    assert "holds no finished cell of small" in err


def test_the_studys_own_figures_are_printed_by_number_or_name(figure):
    assert figure("--figure", 2, "--out", "two.svg")[:2] == (0, "two.svg\n")
    assert figure("--figure", "2-learning_curves", "--out", "named.svg")[0] == 0
    two, named = (re.sub(r"clip\d+", "clip", Path(f"{name}.svg").read_text()) for name in ("two", "named"))
    assert two == named
    assert "training step of the round" in two


def results(axes: dict[str, list[Any]] = ONE) -> Results:
    study: Any = FakeStudy(axes=axes)
    return Results(study, fake_results(axes, seeds=3, rounds=3))  # pyright: ignore[reportArgumentType]


def test_a_chart_shows_itself_in_a_notebook_and_saves_what_it_shows(tmp_path: Path):
    chart = results().plot(y="loss", where={"init": "xavier_normal"})
    bundle = chart._repr_mimebundle_()
    assert sorted(bundle) == ["application/vnd.vegalite.v6+json", "image/svg+xml", "text/plain"]
    assert bundle["application/vnd.vegalite.v6+json"] is chart.spec
    assert json.loads(json.dumps(chart.spec))["$schema"].endswith("/v6.json")
    assert bundle["image/svg+xml"].startswith("<svg")
    assert repr(chart) == bundle["text/plain"] == "<Chart: Test loss against weights remaining>"
    assert [chart.save(tmp_path / f"a.{ending}").read_bytes()[:4] for ending in ("svg", "pdf", "png")] == [b"<svg", b"%PDF", b"\x89PNG"]
    printed = results().plot(width="240pt", style="print")
    assert 'width="240pt"' in printed.svg()
    assert repr(printed) == "<Chart: Test accuracy against weights remaining, 240 pt wide>"
    with pytest.raises(UserError, match=r"Say \.svg, \.pdf or \.png"):
        chart.save(tmp_path / "a.eps")


def test_a_plot_of_nothing_says_so():
    study: Any = FakeStudy()
    with pytest.raises(UserError, match="plot: no cell of prune-ready is finished"):
        Results(study, []).plot()
