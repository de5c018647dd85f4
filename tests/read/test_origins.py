"""A table never mixes two numerics without saying so."""

from typing import Any

import msgspec
import pytest

from sweepstake.base.specs import FigureSpec
from sweepstake.read import origins
from sweepstake.read.page.document import page
from sweepstake.read.results import Results
from tests.helpers import make_cell
from tests.read.fakes import FakeStudy, fake_results

MLP, CONV = {"name": "mlp"}, {"name": "conv2"}
CELL = msgspec.to_builtins(make_cell())


def cells(*made: dict[str, Any], models: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    """A finished cell for each of these provenances, and one that is missing."""
    found = fake_results({"init": ["xavier_normal"]}, seeds=len(made) + 1, rounds=1)
    for place, (cell, provenance) in enumerate(zip(found, made, strict=False)):
        cell["provenance"] = provenance
        cell["cell"] = {**CELL, "model": models[place] if models else MLP}
    return [*found[:-1], {**found[-1], "status": "missing", "rounds": [], "provenance": {}}]


FAST, FAST_2 = {"engine": "fast", "numerics": "fast 1"}, {"engine": "fast", "numerics": "fast 2"}
OLD, RESUMED = {"engine": "fast"}, {"engine": "fast", "numerics": "fast 1, fast 2"}
REFERENCE, THIN = {"engine": "reference", "numerics": "reference 1"}, {"engine": "thin", "numerics": "thin 1"}


def test_cells_are_counted_by_their_numerics():
    assert origins.numerics(cells(FAST, FAST_2, FAST, OLD, {})) == {"fast 1": 2, "fast 2": 1, "fast unversioned": 1, "unversioned": 1}


@pytest.mark.parametrize(("made", "models", "warned"), [
    ([FAST, FAST], (), ""),
    ([OLD, OLD], (), ""),
    ([FAST, FAST_2], (), "fast 1 (1 cell), fast 2 (1 cell)"),
    ([FAST, FAST, OLD], (), "fast 1 (2 cells), fast unversioned (1 cell)"),
    ([FAST, {}], (), "fast 1 (1 cell), unversioned (1 cell)"),
    ([FAST, REFERENCE], (), "fast 1 (1 cell), reference 1 (1 cell)"),
    ([RESUMED], (), "fast 1, fast 2 (1 cell)"),
    ([FAST, THIN], (MLP, CONV), ""),  # Each model's own.
    ([FAST, FAST_2], (MLP, CONV), "fast 1 (1 cell), fast 2 (1 cell)"),
    ([FAST, {"engine": "thin"}], (MLP, CONV), "fast 1 (1 cell), thin unversioned (1 cell)"),
])
def test_a_mixture_that_need_not_be_is_one_line(made: list[dict[str, Any]], models: tuple[dict[str, Any], ...], warned: str):
    said = origins.warnings(cells(*made, models=models))
    assert len(said) == bool(warned)
    if warned:
        assert said[0].startswith(f"The numbers are of several numerics: {warned}. ") and "\n" not in said[0]


def test_several_machines_or_libraries_are_one_line_more():
    one = {**FAST, "machine": {"processor": "A"}, "versions": {"torch": "2.12", "numba": "0.68"}}
    other = {**FAST, "machine": {"processor": "B"}, "versions": {"torch": "2.13", "numba": "0.68"}}
    unsaid = {**FAST, "versions": {"torch": "2.13"}}
    assert origins.warnings(cells(one, one)) == []
    assert origins.warnings(cells(one, other, unsaid)) == [
        "The numbers are of several machines or libraries: processor A (1 cell), B (1 cell); torch 2.13 (2 cells), 2.12 (1 cell). "
        "The same cell may differ by rounding there."]


def test_the_report_counts_numerics_and_warns_of_a_mixture_before_any_number():
    mixed, pure = page(FakeStudy(), cells(FAST, FAST, FAST_2)), page(FakeStudy(figures=[FigureSpec()]), cells(FAST, FAST))
    assert "<dt>numerics</dt><dd>fast 1 (2 cells), fast 2 (1 cell)</dd>" in mixed
    assert "<dt>numerics</dt><dd>fast 1 (2 cells)</dd>" in pure
    assert mixed.index("several numerics: fast 1 (2 cells)") < mixed.index('<section id="figures"')
    assert "several numerics" not in pure


def test_results_in_python_count_numerics_and_warn_of_a_mixture():
    with pytest.warns(UserWarning, match=r"several numerics: fast 1 \(1 cell\), fast 2 \(1 cell\)"):
        found = Results(FakeStudy(), cells(FAST, FAST_2))  # pyright: ignore[reportArgumentType]
    assert found.numerics() == {"fast 1": 1, "fast 2": 1}
    Results(FakeStudy(), cells(FAST, FAST))  # pyright: ignore[reportArgumentType]
