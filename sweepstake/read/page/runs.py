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
    lines = [line(axes, result, tickets.get(result["id"])) for result in results]
    words = [*range(len(axes)), len(axes) + 1]
    known = {column: list(dict.fromkeys(one[column] for one in lines)) for column in words}
    place = {column: {word: number for number, word in enumerate(found)} for column, found in known.items()}
    return {
        "axes": [[axis, known[column]] for column, axis in enumerate(axes)], "statuses": known[words[-1]],
        "heads": HEADS,
        "cells": [[place[column][value] if column in place else value for column, value in enumerate(one)]
                  for one in lines]}


def line(axes: Sequence[str], result: Mapping[str, Any], ticket: float | None) -> list[Any]:
    """A cell as the table shows it: its labels, seed and status, its numbers and its id."""
    labels = [label(result["labels"].get(axis, "")) for axis in axes]
    return [*labels, result["seed"], result["status"], *_numbers(result, ticket), result["id"]]


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
