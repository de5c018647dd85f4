"""Results with plausible numbers, in the shape the run floor hands to the read floor; drawn, not trained."""

import hashlib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sweepstake.base.specs import ClaimSpec, FigureSpec, ReferenceSpec

SIZES = {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}
UNITS = {"fc1": 300, "fc2": 100, "fc3": 10}


@dataclass
class FakeStudy:
    name: str = "prune-ready"
    title: str = "Do inits differ in how well they survive pruning?"
    about: str = "LeNet-300-100 on digits: train, prune 20 %, rewind, again."
    text: str = 'title = "Do inits differ?"\ninit = ["xavier_normal", "kaiming_normal"]\nseeds = 5\n# </script><b>not markup</b>\n'
    folder: Path = Path()
    quick: bool = False
    overrides: list[str] = field(default_factory=list)
    axes: dict[str, list[Any]] = field(default_factory=lambda: {"init": ["xavier_normal", "kaiming_normal"]})
    planned: list[Any] = field(default_factory=list)
    figures: list[FigureSpec] = field(default_factory=list)
    claims: list[ClaimSpec] = field(default_factory=list)
    references: list[ReferenceSpec] = field(default_factory=list)


def fake_results(axes: dict[str, list[Any]], seeds: int = 5, rounds: int = 15, early: bool = True,
                 spread: float = 0.003) -> list[dict[str, Any]]:
    """One result per cell: dense near 95 %, a shoulder that depends on the label's place, a fall at the end."""
    results: list[dict[str, Any]] = []
    for place, labels in enumerate(product(*axes.values())):
        for seed in range(seeds):
            draw = np.random.default_rng([place, seed])
            said = dict(zip(axes, map(str, labels), strict=True))
            results.append({
                "id": hashlib.sha256(repr((said, seed)).encode()).hexdigest()[:16], "cell": {}, "labels": said, "seed": seed,
                "status": "done",
                "rounds": [_record(round_, place, draw, early, spread) for round_ in range(rounds + 1)], "error": None,
                "provenance": {"sweepstake": "0.1.0", "torch": "2.13.0", "machine": {"cpu": "a CPU", "cores": 2}, "commit": "e190934",
                               "command": "sweepstake run prune-ready"},
            })
    return results


def scheduled(schedules: dict[str, list[float]], seeds: int = 3) -> list[dict[str, Any]]:
    """Cells of one axis, `how`, each at the kept fractions of its own schedule: group g in round r has accuracy 0.90 - 0.1 g - 0.01 r."""
    results = fake_results({"how": list(schedules)}, seeds=seeds, rounds=max(map(len, schedules.values())) - 1)
    for result in results:
        schedule = schedules[result["labels"]["how"]]
        del result["rounds"][len(schedule):]
        for record, kept in zip(result["rounds"], schedule, strict=True):
            record["kept_fraction"] = kept
            record["end"]["test"]["accuracy"] = 0.90 - 0.1 * list(schedules).index(result["labels"]["how"]) - 0.01 * record["round"]
    return results


def _record(round_: int, place: int, draw: np.random.Generator, early: bool, spread: float) -> dict[str, Any]:
    kept = {layer: round(size * 0.8**round_) for layer, size in SIZES.items()}
    fraction = sum(kept.values()) / sum(SIZES.values())
    accuracy = 0.955 + 0.004 * np.exp(-((np.log10(fraction) + 0.7) ** 2) * 8) - 0.25 * np.exp(-fraction * (140 - 9 * place))
    accuracy = float(np.clip(accuracy + draw.normal() * spread * (1 + 0.04 / fraction), 0, 1))

    def point(value: float) -> dict[str, Any]:
        return {"loss": -float(np.log(value)) * 2, "accuracy": value, "correct": round(value * 360), "count": 360}

    splits = {"train": point(min(1.0, accuracy + 0.04)), "validation": point(accuracy - 0.002) if early else None, "test": point(accuracy)}
    steps = list(range(0, 401, 40))
    rise = [0.1 + (accuracy - 0.1) * (1 - np.exp(-step / (40 + 4 / fraction))) for step in steps]
    return {
        "round": round_, "kept": sum(kept.values()), "kept_fraction": fraction, "kept_by_layer": kept, "size_by_layer": SIZES,
        "asked_by_layer": {},
        "units_by_layer": UNITS, "alive_units": UNITS, "degrees": {layer: {"in": _spread(kept[layer] / units), "out": _spread(kept[layer] / inputs)}
                                                                  for (layer, units), inputs in zip(UNITS.items(), (784, 300, 100), strict=True)},
        "steps": 400, "diverged": False, "end": splits,
        "early": {"step": int(120 + 10 * round_ + draw.integers(0, 3) * 40), **splits} if early else None,
        "curve": {"step": steps, "train_loss": [None, *(-np.log(np.array(rise[1:]))).tolist()], "test_accuracy": [float(r) for r in rise],
                  "test_loss": [float(-np.log(r)) for r in rise]},
        "proofs": {"counts": "exact", "reset": "exact", "dead_weights": 0.0} if round_ else {"dead_weights": 0.0},
        "seconds": {"train": 1.5 + float(draw.random()), "evaluate": 0.1},
    }


def _spread(mean: float) -> dict[str, float]:
    """Degrees from half the mean to one and a half of it."""
    return {"min": round(mean / 2), "q1": 0.75 * mean, "median": mean, "q3": 1.25 * mean, "max": round(1.5 * mean), "mean": mean, "zero": 0}
