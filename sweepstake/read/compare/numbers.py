"""What the cells of one pair come to: a row a method, size and seed, dense networks, a word on each difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Any

from sweepstake.base.records import Result
from sweepstake.pieces.datasets import spec_of
from sweepstake.read import analysis, claims, statistics
from sweepstake.read.analysis import Row
from sweepstake.study.compare import COMPRESSIONS, Comparison, Method, claims_between
from sweepstake.study.study import Study

WORDS = {"supported": "better", "contradicted": "worse", "undecided": "undecided"}


@dataclass(frozen=True)
class Outcome:
    """One pair: its study and the results that a store has of it."""

    name: str
    asked: Comparison
    study: Study
    results: Sequence[Result]

    @property
    def methods(self) -> tuple[Method, ...]:
        return self.asked.methods

    @cached_property
    def outputs(self) -> dict[str, int]:
        """How many numbers each unit of a layer puts out, which multiply-adds hang on."""
        from sweepstake.engine.build import build_net
        from sweepstake.engine.measure import outputs_a_unit

        cell = self.study.cells[0]
        spec = spec_of(cell.dataset)
        return outputs_a_unit(build_net(cell, spec.shape, spec.classes)) if spec else {}

    @cached_property
    def rows(self) -> list[Row]:
        """A row a method, size and seed."""
        return [self._row(result, record) for result in self.results if result["status"] != "failed"
                for record in result["rounds"] if record["kept_fraction"] < 1]

    def _row(self, result: Result, record: dict[str, Any]) -> Row:
        from sweepstake.engine.measure import multiply_adds

        kept, size, seed = record["kept_by_layer"], record["size_by_layer"], result["seed"]
        others = sum(each["size"] for each in record["unpruned"].values() if not each["counted"])
        asked = min(COMPRESSIONS, key=lambda each: abs(log(each * record["kept_fraction"])))
        made, whole = (multiply_adds(each, self.outputs) for each in (kept, size))
        test = {} if record["diverged"] else record["end"]["test"]
        dense = self.dense.get(seed, {})
        return {
            "pair": self.name, "method": result["labels"]["case"], "compression_asked": asked, "seed": seed,
            "kept_fraction": record["kept_fraction"], "compression": size_of(size) / max(size_of(kept), 1),
            "kept": record["kept"], "parameters": record["kept"] + others,
            "multiply_adds": made, "speedup": whole / max(made, 1),
            "test_accuracy": test.get("accuracy"), "test_top5": record.get("top5", {}).get("test"),
            "test_loss": test.get("loss"), "dense_accuracy": dense.get("accuracy"), "dense_top5": dense.get("top5"),
            "diverged": record["diverged"], "status": result["status"], "id": result["id"], "round": record["round"],
        }

    @cached_property
    def whole(self) -> list[tuple[int, dict[str, Any]]]:
        """Every dense network that was trained, with its seed: several of a seed, one for each cell."""
        return [(result["seed"], record) for result in self.results for record in result["rounds"][:1]
                if record["kept_fraction"] == 1 and not record["diverged"]]

    @cached_property
    def dense(self) -> dict[int, dict[str, float]]:
        """The dense network of each seed: its accuracies, and on how many images."""
        return {seed: {**record["end"]["test"], "top5": record.get("top5", {}).get("test")}
                for seed, record in self.whole}

    @property
    def same_dense(self) -> bool:
        """Whether all dense networks of a seed ended alike, as they must: same weights, same order of the images."""
        return all(record["end"]["test"]["loss"] == self.dense[seed]["loss"] for seed, record in self.whole)

    def over_seeds(self, metric: str) -> dict[tuple[str, int], Row]:
        """Mean and deviation of each method at each size."""
        cell = ["method", "compression_asked"] if self.asked.schedule == "one-shot" else ["method"]
        return {(one["method"], one["compression_asked"]): one
                for one in analysis.summarise(self.rows, cell, metric, key="compression_asked")}

    def dense_over_seeds(self, measure: str) -> tuple[float | None, float | None]:
        values = [each[measure] for each in self.dense.values() if each.get(measure) is not None]
        return (statistics.mean(values), statistics.std(values)) if values else (None, None)

    @cached_property
    def verdicts(self) -> dict[tuple[str, str, int], claims.Verdict]:
        """A verdict on each claim: (new method, baseline, compression) -> what the seeds' differences say."""
        found = claims.verdicts(self.study, self.results)
        return dict(zip(claims_between(self.asked), found, strict=True))


def size_of(by_layer: dict[str, int]) -> int:
    return sum(by_layer.values())


def word(verdict: claims.Verdict) -> str:
    """better, worse or undecided."""
    return WORDS[verdict.verdict]


def in_short(outcome: Outcome, mine: Method) -> list[tuple[str, dict[str, list[int]]]]:
    """For each baseline, at which compressions the new method is better, worse, or undecided."""
    said = list[tuple[str, dict[str, list[int]]]]()
    for other in outcome.asked.baselines:
        at: dict[str, list[int]] = {"better": [], "worse": [], "undecided": []}
        for compression in COMPRESSIONS:
            at[word(outcome.verdicts[mine.label, other.label, compression])].append(compression)
        said.append((other.label, at))
    return said
