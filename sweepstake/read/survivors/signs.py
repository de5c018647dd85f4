"""Whether survivors keep their signs, and whether two tickets give their common survivors the same ones."""

from sweepstake.base.specs import Where
from sweepstake.read.analysis import Row
from sweepstake.read.survivors.analysis import Analysis
from sweepstake.read.survivors.cells import One, Pair, Results, chosen, same_network, trained_tickets
from sweepstake.read.survivors.pairs import drawn, summarise
from sweepstake.tickets.analysis.signs import common_signs, kept_signs

OWN = "its own start"
"""What the trained signs of a cell are compared with, beside those of other cells."""
TOLD = ("pair", "round", "kept_fraction", "n", "compared", "agreement", "chance", "z")


def sign_agreement(results: Results, *, where: Where | None = None, round: int | None = None) -> Analysis:
    """The share of survivors whose trained sign is that of the round's start, and of two cells' common ones, alike.

    A row a cell, round and layer (`pair` is "its own start"), and a row a pair of cells, round and layer. It needs
    trained weights, which a study keeps with save_weights under [machine].
    """
    cells = chosen("signs", results, where, round)
    rows = list[Row]()
    for round_, tickets in trained_tickets("signs", results, cells, round):
        here = [one for one in cells if one.id in tickets]
        for one in here:
            at = {**_alone(one), "round": round_, "kept_fraction": one.kept_fraction(round_)}
            rows += [{**at, **row} for row in kept_signs(tickets[one.id])]
        for pair in same_network(here):
            at = {**pair.who(), "round": round_, "kept_fraction": pair.kept_fraction(round_)}
            rows += [{**at, **row} for row in common_signs(tickets[pair.a.id], tickets[pair.b.id])]
    summary = summarise(sorted(rows, key=lambda row: row["pair"] != OWN), "agreement", "compared")
    spec = drawn(summary, "agreement", "signs alike", "Signs of survivors after training",
                       f"Of a ticket's survivors with {OWN}; of two tickets' common survivors with each other.")
    return Analysis("signs", rows, summary, spec, TOLD)


def _alone(one: One) -> Row:
    """The columns of a pair, of one cell."""
    return {**{key: None if key.endswith("_b") else value for key, value in Pair(one, one).who().items()}, "pair": OWN}
