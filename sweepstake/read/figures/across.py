"""A figure against weights remaining, drawn against compression or rounds instead."""

from collections.abc import Callable, Sequence
from typing import Literal

from sweepstake.base.errors import UserError
from sweepstake.read.analysis import Row
from sweepstake.read.figures.contract import Drawn
from sweepstake.read.figures.style import Spec

Across = Literal["kept", "compression", "round"]
NICE = tuple(one * 10**power for power in range(6) for one in (1, 2, 5))


def across(drawn: Drawn, x: Across) -> Drawn:
    """The figure over another x. Points keep the little step aside that tells groups at one level apart."""
    if x == "kept":
        return drawn
    if any({"kept", "x"} - point.keys() for point in drawn.points):
        raise UserError(f"x = {x}: this figure is not drawn against weights remaining. Leave x out.")
    points = [point for point in drawn.points if x == "compression" or "round" in point]
    longest = max(point.get("round", 0) for point in points)
    place: Callable[[Row], float] = (lambda point: 100 / point["x"]) if x == "compression" else \
        (lambda point: point["round"] + (1 - point["x"] / point["kept"]) * longest / 4)
    moved = [{**point, "x": place(point)} for point in points]
    axis = _compression([point["x"] for point in moved]) if x == "compression" else ROUNDS
    layers = [{**layer, "encoding": {**layer["encoding"], "x": axis}} if "x" in layer["encoding"] else layer
              for layer in drawn.layers]
    title = drawn.title.replace("weights remaining", TOLD[x])
    return drawn._replace(points=moved, layers=layers, title=title)


TOLD = {"compression": "compression", "round": "rounds"}
ROUNDS: Spec = {"field": "x", "type": "quantitative", "title": "round", "scale": {"nice": False},
                "axis": {"tickMinStep": 1, "format": "d", "grid": False}}


def _compression(found: Sequence[float]) -> Spec:
    """How many times fewer weights: 1 is the dense network."""
    low, high = min(*found, 1), max(found)
    return {"field": "x", "type": "quantitative", "title": "compression ratio",
            "scale": {"type": "log", "domain": [low * 0.94, high * 1.07], "nice": False},
            "axis": {"values": [one for one in NICE if low * 0.94 <= one <= high * 1.07], "format": "~r",
                     "labelOverlap": "greedy", "labelSeparation": 5, "grid": False}}
