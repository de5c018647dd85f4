"""A comparison before it runs: every pair checked, every new criterion tried out, and what all of it will cost."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.run.opened import open_if_there
from sweepstake.run.progress import Terminal, clock
from sweepstake.run.settings import Settings
from sweepstake.study.compare import Comparison, reduced
from sweepstake.study.study import Planned, Study

if TYPE_CHECKING:
    from sweepstake.run.estimate import Estimate


def foresee(asked: Comparison, studies: Mapping[str, Study], settings: Mapping[str, Settings]) -> "dict[str, Estimate]":
    """What each pair will cost that still lacks cells; the first mistake of any is refused before one trains."""
    from sweepstake.run.check import check_study  # With PyTorch, which a comparison that is there does without.
    from sweepstake.run.estimate import estimate
    from sweepstake.run.tryout import try_out

    todo = {name: lacking for name, study in studies.items() if (lacking := _lacking(study, settings[name]))}
    for name in todo:
        with _told_of(name, studies[name]):
            check_study(studies[name], list(studies[name].planned), settings[name].directories)
    for name, lacking in todo.items():
        for cell in _tried(asked, lacking):
            with _told_of(name, studies[name]):
                try_out(cell, settings[name].directories, studies[name].folder)
    there = {name: open_if_there(studies[name], settings[name].store) for name in todo}
    return {name: estimate(studies[name], settings[name].workers, opened and opened.store)
            for name, opened in there.items()}


def _lacking(study: Study, settings: Settings) -> list[Planned]:
    """The cells that a run will compute."""
    opened = open_if_there(study, settings.store)
    return [each for each in study.planned if not opened or opened.kept[each.id].status in settings.lacking]


def _tried(asked: Comparison, lacking: Sequence[Planned]) -> list[Cell]:
    """A cell of each new method: the last, which is of the smallest size."""
    last = {each.labels["case"]: each.cell for each in lacking}
    return [last[method.label] for method in asked.new if method.label in last]


@contextmanager
def _told_of(pair: str, study: Study) -> Iterator[None]:
    """A mistake is told of the pair: its study file is not written yet."""
    try:
        yield
    except UserError as error:
        problems = [problem.removeprefix(f"{study.path}: ") for problem in error.problems]
        raise UserError(*(f"{pair}: {problem}" for problem in problems)) from error


def tell_ahead(costs: "Mapping[str, Estimate]", studies: Mapping[str, Study], settings: Mapping[str, Settings],
               console: Terminal) -> None:
    """A line a pair, and the sum."""
    for name, study in studies.items():
        cost = costs.get(name)
        if cost is None:
            console.print(f"{name}: {len(study.cells)} cells, all in {settings[name].store} already")
            continue
        smaller = f"; reduced: {reduced(name)}" if reduced(name) else ""
        left = f"{cost.missing} cells" if cost.missing == cost.cells else f"{cost.missing} of {cost.cells} cells"
        console.print(f"{name}: {left}, {_long(cost.seconds)}{smaller}", soft_wrap=True)
    if costs:
        workers = next(iter(settings.values())).workers
        known = [cost.seconds for cost in costs.values()]
        seconds = None if None in known else sum(each for each in known if each is not None)
        size = sum(cost.bytes or 0 for cost in costs.values()) / 1e6
        console.print(f"In all {sum(cost.missing for cost in costs.values())} cells, {_long(seconds)} on {workers} "
                      f"worker{'s' * (workers != 1)}, and {size:.1f} MB of disk. Ctrl-C stops it, and the same command "
                      "goes on.", soft_wrap=True)


def _long(seconds: float | None) -> str:
    return "for a time not known" if seconds is None else f"about {clock(seconds)}"
