"""The table of runs: every cell as a few numbers, compact, for the page to sort, filter and show."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepstake.base.specs import label
from sweepstake.read import analysis, claims
from sweepstake.read.analysis import Row, StudyLike

HEADS = (("seed", "seed"), ("status", "status"), ("rounds", "rounds"), ("kept", "weights remaining (%)"),
         ("accuracy", "test accuracy (%)"), ("dense", "dense network's test accuracy (%)"),
         ("ticket", "smallest winning ticket (%)"), ("seconds", "seconds"), ("id", "id"))
"""The columns after the axes: their names in a CSV, and over the table. Kept and accuracy are of the last round."""


def section(study: StudyLike, results: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> dict[str, Any]:
    """The columns, and a list of values a cell: labels and statuses by their place in a list of them."""
    tickets = {rounds[0]["id"]: claims.smallest_winning(rounds) for rounds in claims.finished(rows)}
    axes = list(study.axes)
    labels = {axis: list(dict.fromkeys(label(result["labels"].get(axis, "")) for result in results)) for axis in axes}
    place = {axis: {one: number for number, one in enumerate(found)} for axis, found in labels.items()}
    statuses = list(dict.fromkeys(result["status"] for result in results))
    return {
        "axes": [[axis, labels[axis]] for axis in axes], "statuses": statuses, "heads": HEADS,
        "cells": [[*(place[axis][label(result["labels"].get(axis, ""))] for axis in axes), result["seed"],
                   statuses.index(result["status"]), *_numbers(result, tickets.get(result["id"])), result["id"]]
                  for result in results]}


def _numbers(result: Mapping[str, Any], ticket: float | None) -> list[float | int | None]:
    """How many rounds, what the last one kept and ended with, the dense network's accuracy, the ticket, seconds."""
    rounds = result["rounds"]
    if not rounds:
        return [0, None, None, None, None, None]
    first, last = rounds[0], rounds[-1]
    dense = _accuracy(first) if first["round"] == 0 and first["kept_fraction"] == 1 else None
    return [len(rounds), _percent(last["kept_fraction"]), _accuracy(last), dense, _percent(ticket),
            _short(analysis.spent(result) if result["provenance"] else
                   sum(sum(record["seconds"].values()) for record in rounds))]


def _accuracy(record: Mapping[str, Any]) -> float | None:
    return None if record["diverged"] else round(100 * record["end"]["test"]["accuracy"], 2)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else _short(100 * fraction)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
