"""The contract of every claim test and every figure kind, ours and a plug-in's."""

import inspect
import json
import re
from pathlib import Path

import msgspec
import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec, check_specs, claim_test, figure_kind
from sweepstake.read import analysis, claims, figures
from sweepstake.read.ahead import heed
from sweepstake.read.page import document as page
from sweepstake.run.check import check_study
from sweepstake.study.study import load_study, read_study
from tests.read.fakes import FakeStudy, fake_results
from tests.small import SMALL, small_study

AXES = {"init": ["xavier_normal", "kaiming_normal"]}
SIDES = {"this": {"init": "xavier_normal"}, "than": {"init": "kaiming_normal"}}
TESTS, KINDS = list(claim_test.known), list(figure_kind.known)


def claim_of(name: str) -> ClaimSpec:
    """A claim that this test takes, made of what the test says of itself."""
    test = claim_test.get(name)
    sides = {} if test.sides == "one" else SIDES
    return ClaimSpec(says="x", test=name, margin=0.1, **sides, **({"value": 0.5} if test.value == "needed" else {}))


@pytest.mark.parametrize("known", [claim_test, figure_kind], ids=lambda known: known.set)
def test_every_object_says_in_one_line_what_it_is_and_whose(known):
    for name, one in known.known.items():
        assert one.name == name and one.says and "\n" not in one.says
        assert re.search(r"\([^()]{4,}\)", inspect.getdoc(type(one)) or ""), f"{known.set} {name}: no source in parentheses"


@pytest.mark.parametrize("name", TESTS)
def test_a_claim_test_takes_a_claim_made_for_it_and_refuses_nonsense_in_a_line(name):
    test, claim = claim_test.get(name), claim_of(name)
    assert test.check(claim) == []
    nonsense = [msgspec.structs.replace(claim, metric="early_step", at="early"),
                msgspec.structs.replace(claim, this={}, than={"init": "kaiming_normal"}),
                msgspec.structs.replace(claim, value=7.0 if test.value == "no" else None, than={}, kept_than=None),
                msgspec.structs.replace(claim, metric="smallest_winning", kept=0.5)]
    for each in nonsense:
        assert (problems := test.check(each)), each
        assert all(problem.endswith(".") and "\n" not in problem for problem in problems)


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("seeds", [0, 1, 5])
def test_a_claim_test_gives_a_verdict_that_is_json_and_a_sentence(name, seeds):
    study = FakeStudy(axes=AXES, claims=[claim_of(name)])
    [verdict] = claims.judge(study, analysis.tidy(fake_results(AXES, seeds=seeds, rounds=4) if seeds else []))
    assert json.loads(json.dumps(page.told(verdict)))["test"] == name
    assert verdict.reason.endswith(".") and claims.sentence(verdict)
    assert (verdict.effect is None) == (seeds == 0 or (seeds == 1 and claim_test.get(name).needs_seeds))
    assert verdict.n == (0 if verdict.effect is None else seeds)
    assert verdict.unit == claim_test.get(name).unit(claim_of(name))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("axes", [{}, AXES, {**AXES, "reset": ["rewind", "fresh"]}], ids=len)
def test_a_figure_kind_draws_a_spec_that_is_json_and_a_picture(name, axes):
    planned = read_study({"dataset": "mnist", "epochs": 1, **axes}, name="x").planned
    results = fake_results(axes, seeds=3, rounds=4)
    figure = FigureSpec(kind=name)
    spec = figures.draw(figure, analysis.tidy(results), analysis.curves(results), axes, planned)
    assert json.loads(json.dumps(spec)) == spec and {"title", "description", "data"} <= set(spec)
    assert spec["data"]["values"] and all(point["told"] for point in spec["data"]["values"])
    assert figures.to_svg(spec).startswith("<svg") and figure_kind.get(name).check(figure, axes) == []
    assert figures.draw(figure, [], [], axes) is None


def test_names_that_nobody_registered_are_refused_with_those_that_would_do():
    with pytest.raises(UserError) as error:
        read_study({**SMALL, "figure": [{"kind": "pie"}], "claim": [{"says": "x", "test": "bettr"}]}, name="s")
    assert error.value.problems == (
        's: [[figure]] 1: kind = "pie": expected "accuracy_by_kept", "accuracy_by_level", "learning_curves", "weights_remaining", '
        '"early_stop_by_kept", "init_density", "layer_density", "unit_degrees" or "alive_units".',
        's: [[claim]] 1: test = "bettr": expected "matches_dense", "better", "similar", "about", "more_stable", "peaks_at" or "unimodal".')


def recipe(title: str) -> str:
    """The Python of a recipe in CONTRIBUTING."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"## How to add {title}\n")[2].partition("```python\n")[2].partition("```")[0]


PLUGIN = f"""from sweepstake import claim_test, figure_kind
from sweepstake.read import statistics
from sweepstake.read.claims import LevelTest
from sweepstake.read.figures import Drawn, FigureKind

{recipe("a claim test")}
{recipe("a figure")}"""


@pytest.fixture
def plugin(tmp_path):
    """Writes a plug-in and a study beside it, and takes back what the plug-in registered."""
    from sweepstake.pieces import _forget  # pyright: ignore[reportPrivateUsage]

    def write(text: str = PLUGIN, claim: str = 'test = "worst_seed"\nvalue = 0.5', figure: str = 'kind = "dots"'):
        (tmp_path / "mine.py").write_text(text)
        keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in SMALL.items() if not isinstance(value, dict))
        (tmp_path / "s.toml").write_text(f'plugins = ["mine.py"]\nmodel = {{name = "mlp", hidden = [8]}}\n{keys}\n'
                                         f'[[claim]]\nsays = "x"\n{claim}\n[[figure]]\n{figure}\n')
        return load_study(tmp_path / "s.toml")

    yield write
    _forget((tmp_path / "mine.py").resolve())
    assert list(claim_test.known) == TESTS and list(figure_kind.known) == KINDS


def test_a_plug_in_adds_a_claim_test_and_a_figure_kind_with_our_decorators(plugin):
    study = plugin()
    same = small_study(model={"name": "mlp", "hidden": [8]})
    assert [planned.id for planned in study.planned] == [planned.id for planned in same.planned]  # Reading is in no id.
    results = fake_results(study.axes, seeds=3, rounds=2)
    [verdict] = claims.judge(study, analysis.tidy(results))
    assert (verdict.test, verdict.verdict) == ("worst_seed", "supported")
    assert "; more than 0.5 in every seed was claimed." in verdict.reason
    [(name, spec)] = list(page.drawings(study, analysis.tidy(results), []))
    assert name == "1-dots" and len(spec["data"]["values"]) == len(analysis.tidy(results))
    assert heed(study, check_study(study, list(study.planned), None)) == [
        "1 of 1 claims have fewer than 3 seeds, so they will stay undecided."] * (len(study.seeds) < 3)
    log = PLUGIN + '    def check(self, figure, axes):\n        return [] if figure.x == "log" else ["dots are on a log scale."]\n'
    with pytest.raises(UserError, match=r"\[\[figure\]\] 1: dots are on a log scale\."):
        plugin(log, figure='kind = "dots"\nx = "linear"')
    with pytest.raises(UserError, match=r'\[\[claim\]\] 1: test = "worst_seed" needs value\.'):
        plugin(claim='test = "worst_seed"')


def test_a_plug_in_that_changed_its_text_is_read_anew(plugin):
    plugin()
    plugin(PLUGIN.replace('"One a round."', '"Twice."'))
    results = fake_results({}, seeds=3, rounds=2)
    assert figures.draw(FigureSpec(kind="dots"), analysis.tidy(results), [], {})["title"]["subtitle"] == ["Twice."]


@pytest.mark.parametrize(("text", "problem"), [
    (PLUGIN.replace('"worst_seed"', '"better"'), "claim test better: that name is taken by sweepstake.read.claims.levels. Choose another."),
    (PLUGIN.replace('    says = "a dot a cell and round"\n', ""), "figure kind dots: has no docstring or no `says`."),
    (PLUGIN.replace('    """The smallest number of any seed (nobody, never)."""\n', ""), "claim test worst_seed: has no docstring or no `says`.")])
def test_a_plug_in_that_does_not_fit_is_told_in_a_line(plugin, text, problem):
    with pytest.raises(UserError) as error:
        plugin(text)
    assert problem in str(error.value) and "mine.py" in str(error.value)


def test_an_error_of_a_plug_ins_object_is_a_line_with_its_place(plugin):
    lines = PLUGIN.splitlines()
    first, second = (next(number for number, line in enumerate(lines, 1) if text in line) for text in ("min(values)", "points = ["))
    study = plugin(PLUGIN.replace("min(values)", "min(values) / 0").replace('row["id"]', 'row["idd"]'))
    rows = analysis.tidy(fake_results(study.axes, seeds=3, rounds=2))
    with pytest.raises(UserError, match=rf'claim test = "worst_seed" \(mine.py:{first}\) raised ZeroDivisionError: .*\. Mend the'):
        claims.judge(study, rows)
    with pytest.raises(UserError, match=rf'figure kind = "dots" \(mine.py:{second}\) raised KeyError: .idd.\. Mend the plug-in\.'):
        list(page.drawings(study, rows, []))


def test_the_decorators_are_at_the_door():
    assert ss.claim_test is claim_test and ss.figure_kind is figure_kind
    assert check_specs({}, [FigureSpec()], []) == [] and small_study().figures == ()
