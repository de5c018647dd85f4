"""Whether seeds and inits find the same weights: what each two tickets of a study both keep, against chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sweepstake.base.specs import Where
from sweepstake.read.analysis import Row
from sweepstake.read.survivors.analysis import Analysis
from sweepstake.read.survivors.cells import Masks, Pair, Results, by_round, chosen, masks_of, pairs_of
from sweepstake.read.survivors.pairs import drawn, summarise
from sweepstake.tickets.analysis.overlap import Shared, counts_in_both, layers_of, rows_of

TOLD = ("pair", "round", "kept_fraction", "n", "overlap", "chance", "jaccard", "z")


def overlap(results: Results, *, where: Where | None = None, round: int | None = None,
            data: str | Path | None = None) -> Analysis:
    """The share of one ticket's survivors that another keeps too: a row a pair of cells, round and layer."""
    cells = chosen("overlap", results, where, round)
    two = pairs_of("overlap", cells)
    masks = masks_of("overlap", results, [one for one in cells if any(one in (pair.a, pair.b) for pair in two)], data)
    rows = [row for round_, both in by_round(two, round) for row in _round(round_, both, masks)]
    summary = summarise([{**row, "overlap": _mean(row["overlap"], row["overlap_b"]),
                                "chance": _mean(row["chance"], row["chance_b"])} for row in rows], "overlap", "jaccard")
    spec = drawn(summary, "overlap", "survivors in common", "Survivors that two tickets share",
                       "Of the one ticket's survivors, the share that the other keeps too.", log=True)
    return Analysis("overlap", rows, summary, spec, TOLD)


def _round(round_: int, two: Sequence[Pair], masks: Mapping[str, Masks]) -> list[Row]:
    """The rows of one round: what each two masks share is counted in one product a layer."""
    rows = list[Row]()
    for network in dict.fromkeys(pair.a.network for pair in two):
        here = [pair for pair in two if pair.a.network == network]
        ids = list(dict.fromkeys(one.id for pair in here for one in (pair.a, pair.b)))
        place = {id_: number for number, id_ in enumerate(ids)}
        of_round = [layers_of(masks[id_][round_]) for id_ in ids]
        counts = {layer: (mask.numel(), counts_in_both([each[layer] for each in of_round]))
                  for layer, mask in of_round[0].items()}
        for pair in here:
            a, b = place[pair.a.id], place[pair.b.id]
            layers = [Shared(layer, size, *(int(found[i, j]) for i, j in ((a, a), (b, b), (a, b))))
                      for layer, (size, found) in counts.items()]
            rows += [{**pair.who(), "round": round_, "kept_fraction": pair.kept_fraction(round_), **row}
                     for row in rows_of(layers)]
    return rows


def _mean(a: float | None, b: float | None) -> float | None:
    """Of both directions: the two shares differ where one ticket keeps more."""
    return None if a is None or b is None else (a + b) / 2
