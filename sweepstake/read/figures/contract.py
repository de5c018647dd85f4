"""What a figure's kind is: one object that checks what a study file says, and draws rows as a Vega-Lite spec."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sweepstake.base.specs import FigureSpec, figure_kind
from sweepstake.read.analysis import PlannedLike, Row
from sweepstake.read.figures.style import Spec, settings


class Data(NamedTuple):
    """All that a figure may be drawn from. Rows and curves are of the cells that it names, without failed ones."""

    figure: FigureSpec
    rows: list[Row]
    curves: list[Row]
    axes: Mapping[str, Sequence[Any]]
    planned: Sequence[PlannedLike]
    by: str | None
    """The axis that colours."""
    panel: str | None
    """The axis of the panels."""

    @property
    def over(self) -> list[str]:
        """The axes that are told apart."""
        return [axis for axis in (self.by, self.panel) if axis]

    @property
    def panels(self) -> list[str]:
        """The panels in the study's order, where they are the labels of one axis."""
        return settings([self.panel] if self.panel else [], self.axes)

    def shows(self, round_: int) -> bool:
        """Whether a round is among those that the figure shows."""
        return round_ % (self.figure.every or 1) == 0


class Drawn(NamedTuple):
    """The parts of a figure, before it is laid out alone or in panels."""

    points: list[Row]
    layers: list[Spec]
    title: str
    subtitle: str
    panels: Sequence[str] = ()
    """The panels in their order, where points have a `panel`."""
    columns: int = 2
    shared: bool = True
    """Whether the panels have one scale."""
    averaged: bool = True
    """Whether a point is over all cells that its axes leave open."""
    made: Mapping[str, Any] = {}
    """What the page needs to draw the same of another metric: kept in the spec's `usermeta`, which no picture shows."""


class FigureKind:
    """A figure's kind. A subclass says below what it needs, and draws; `@figure_kind` gives it its name."""

    name: str = ""
    says: str = ""
    """What it shows, in the words of the study file's reference."""
    tabled: bool = False
    """Its metric is the one that the table of means tells."""
    of_curves: bool = False
    """It is drawn from curves; otherwise from rows."""

    def check(self, figure: FigureSpec, axes: Mapping[str, Sequence[Any]]) -> list[str]:
        """What is wrong with the figure as it is written, beside the names of its axes; nothing when all is well."""
        return []

    def column(self, figure: FigureSpec) -> str | None:
        """The column without which there is nothing to draw; None where any result will do."""
        return None

    def by_default(self, rows: Sequence[Row]) -> bool:
        """Whether a study that names no figure shows this one."""
        return False

    def draw(self, data: Data) -> Drawn | None:
        """The figure's points and marks; None where there is nothing to draw yet."""
        raise NotImplementedError


def kind_of(figure: FigureSpec) -> FigureKind:
    return figure_kind.get(figure.kind)  # pyright: ignore[reportReturnType]
