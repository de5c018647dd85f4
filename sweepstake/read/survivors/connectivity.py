"""Whether two trainings of one ticket, which differ in the order of the data, end in one linearly connected minimum."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.errors import UserError
from sweepstake.base.specs import Where
from sweepstake.engine.train import order_seed
from sweepstake.pieces.datasets import with_places
from sweepstake.read.analysis import Row
from sweepstake.read.statistics import mean
from sweepstake.read.survivors.analysis import Analysis
from sweepstake.read.survivors.barriers import drawn
from sweepstake.read.survivors.cells import One, Pair, Results, chosen, trained_tickets
from sweepstake.read.survivors.errors import Errors, Images
from sweepstake.tickets.analysis.connectivity import ALPHAS, STABLE, barrier, errors_along, one_ticket
from sweepstake.tickets.ticket import Ticket

TOLD = ("setting", "of", "round", "kept_fraction", "split", "n", "ends", "barrier", "least", "most", "stable")
BY = ("setting", "of", "round", "split")
EXAMPLE = ('case = [{label = "order 0", order_seed = 0}, {label = "order 1", order_seed = 1, control = "transplant", '
           "donor = {order_seed = 0}}]")
STATES = {(True, True): "one ticket", (True, False): "one mask, other starts", (False, True): "masks differ",
          (False, False): "masks differ"}
"""What two trainings are of: whether their masks are the same, and whether they began at the same weights."""


def connectivity(results: Results, *, where: Where | None = None, round: int | None = None,
                 splits: Sequence[str] = ("test", "train"), norms: str = "interpolated",
                 data: str | Path | None = None) -> Analysis:
    """The error along the line between two trainings that differ in the order of the data (Frankle et al. 2020).

    A row a pair, round, split and place on the line (`alpha`), with the pair's barrier beside it: the largest error of
    the line less the mean of its ends'; below two points the pair is stable. The summary is over pairs. Only a pair of
    the same masks and the same start is one ticket: `of` says so. Running statistics of batch norms are interpolated
    with the weights, or, with norms = "remeasured", measured anew on the training images at each place of the line.
    Nothing trains.
    """
    cells = chosen("connectivity", results, where, round)
    pairs = pairs_by_order(cells)
    measured = Images(data or results.study.machine.data)
    rows = list[Row]()
    wanted = [one for one in cells if any(one in (pair.a, pair.b) for pair in pairs)]
    for round_, tickets in trained_tickets("connectivity", results, wanted, round):
        for pair in pairs:
            if pair.a.id in tickets and pair.b.id in tickets:
                cell = with_places(pair.a.cell, results.study.folder)
                rows += _line(pair, round_, tickets, measured.errors_of(cell, splits, norms))
    summary = _summarise(rows)
    return Analysis("connectivity", rows, summary, drawn(summary), TOLD)


def pairs_by_order(cells: Sequence[One]) -> list[Pair]:
    """Every two cells that are equal but for the order of the data, and for a transplant that gives both one mask."""
    pairs = [Pair(a, b) for a, b in combinations(cells, 2)
             if order_seed(a.cell) != order_seed(b.cell) and _but_for_order(a) == _but_for_order(b)]
    if not pairs:
        raise UserError(f"connectivity: no two of these cells differ in order_seed alone. Say pairs in the study, the "
                        f"second with the masks of the first: {EXAMPLE}")
    return pairs


def _but_for_order(one: One) -> bytes:
    changed: dict[str, Any] = {"order_seed": None}
    if one.cell.control == "transplant" and set(one.cell.donor or {}) == {"order_seed"}:
        changed |= {"control": "none", "donor": None}
    return msgspec.json.encode(msgspec.structs.replace(one.cell, **changed), order="deterministic")


def _line(pair: Pair, round_: int, tickets: Mapping[str, Ticket], errors: Errors) -> list[Row]:
    a, b = tickets[pair.a.id], tickets[pair.b.id]
    alike = [each for axis, each in pair.a.place.items() if axis != "seed" and pair.b.place[axis] == each]
    at = {"setting": ", ".join(alike) or "all", "of": STATES[one_ticket(a, b)], "id_a": pair.a.id, "id_b": pair.b.id,
          "seed": pair.a.cell.seed, "order_a": order_seed(pair.a.cell), "order_b": order_seed(pair.b.cell),
          "round": round_, "kept_fraction": pair.kept_fraction(round_)}
    measured = errors_along(a, b, errors)
    return [row for split in errors.splits for row in _rows(at, split, [each[split] for each in measured])]


def _rows(at: Row, split: str, line: Sequence[float]) -> list[Row]:
    return [{**at, "split": split, "alpha": alpha, "error": error, "barrier": barrier(line)}
            for alpha, error in zip(ALPHAS, line, strict=True)]


def _summarise(rows: Sequence[Row]) -> list[Row]:
    """Over pairs: the mean error of the ends, the mean barrier, the least and the most, and how many are stable."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in BY), []).append(row)
    return [{**dict(zip(BY, group, strict=True)), **_summary(members)} for group, members in groups.items()]


def _summary(members: Sequence[Row]) -> Row:
    ends = [row for row in members if row["alpha"] in (0, 1)]
    barriers = [row["barrier"] for row in members if row["alpha"] == 0]
    return {"kept_fraction": mean([row["kept_fraction"] for row in ends]), "n": len(barriers),
            "ends": mean([row["error"] for row in ends]), "barrier": mean(barriers), "least": min(barriers),
            "most": max(barriers), "stable": sum(each < STABLE for each in barriers)}
