"""A study's results in a line, and in a small table: what `repr` and a notebook show of them."""

from collections import Counter
from collections.abc import Iterable
from html import escape
from typing import NamedTuple, Self

from sweepstake.base.records import Result
from sweepstake.read import origins
from sweepstake.study.study import Study

STATUSES = ("diverged", "failed", "damaged", "missing")
MOST = 12
"""Labels of an axis that are told."""


class Outline(NamedTuple):
    """How far a study has come, and what computed it."""

    study: Study
    done: int
    all: int
    others: dict[str, int]
    """Cells that are not done, by what they are."""
    rounds: int
    numerics: list[str]

    @classmethod
    def of(cls, study: Study, results: Iterable[Result]) -> Self:
        results = list(results)
        counts = Counter(result["status"] for result in results)
        others = {status: counts[status] for status in STATUSES if counts[status]}
        rounds = sum(len(result["rounds"]) for result in results)
        return cls(study, counts["done"], len(results), others, rounds, list(origins.numerics(results)))

    @property
    def cells(self) -> str:
        return ", ".join([f"{self.done:,} of {self.all:,} cells done",
                          *(f"{count:,} {status}" for status, count in self.others.items())])

    def __str__(self) -> str:
        parts = [self.cells, f"{self.rounds:,} rounds", *([", ".join(self.numerics)] if self.numerics else [])]
        return f"Results of {self.study.name}: {'; '.join(parts)}"

    def html(self) -> str:
        """A row a fact, escaped: a study may be somebody else's text."""
        study = self.study
        facts = {"study": study.name, "cells": self.cells, "rounds": f"{self.rounds:,}",
                 **{axis: _some(list(map(str, labels))) for axis, labels in study.axes.items()},
                 "seeds": _some(list(map(str, study.seeds))), "numerics": ", ".join(self.numerics) or "–"}
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(said)}</td></tr>" for name, said in facts.items())
        return f"<table><caption>{escape(study.title)}</caption>{rows}</table>"


def _some(labels: list[str]) -> str:
    more = len(labels) - MOST
    return ", ".join(labels[:MOST]) + (f" and {more:,} more" if more > 0 else "")
