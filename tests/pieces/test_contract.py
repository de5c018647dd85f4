"""The contract of every piece of every set, and its golden output. `python tests/pieces/test_contract.py --write` adds what is new."""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweepstake.pieces import REGISTRIES
from sweepstake.pieces.datasets import _is_a_file

GOLDEN = Path(__file__).parent.parent / "golden" / "pieces.json"
RULE = "output changed: bump version= in its decorator, or revert"
RUN = "no golden output. Run `python tests/pieces/test_contract.py --write`."
OURS = [(set_, name) for set_, registry in REGISTRIES.items() for name, piece in registry.pieces.items()
        if piece.function.__module__.startswith("sweepstake.")]

NEEDED = {("allocation", "like"): {"criterion": "magnitude"}}
"""Options a piece requires, for its golden output."""


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape))


def offers(set_: str, name: str) -> dict[str, Any]:
    """What each set offers its pieces, the same for ever."""
    piece = REGISTRIES[set_].get(name)
    if set_ == "init":
        return {"normal": some(6, 5), "uniform": some(6, 5, seed=1).tanh(), "shape": (6, 5), "fan_in": 5, "fan_out": 6}
    if set_ == "reset":
        return {offer: some(6, 5, seed=i) for i, offer in enumerate(sorted(REGISTRIES["reset"].offers))}
    if set_ == "criterion":
        units = piece.traits.get("joint", False)
        weights = {offer: some(6, 5, seed=i) for i, offer in enumerate(("w_init", "w_start", "w_final", "uniform", "grad", "hessian_grad"))}
        return {**weights, "flow_grad": some(6, 5, seed=7).abs(), "input_norm": some(6, 5, seed=10).abs(), "activation": some(6, seed=8).abs(),
                "alive": torch.arange(6) != 2 if units else some(6, 5) > 0,
                "noise": lambda shape: some(*shape, seed=9).tanh(),
                "loss_of": lambda on: on.double() @ torch.arange(6, dtype=torch.float64)}
    if set_ == "allocation":
        return {"sizes": [360, 600, 50], "shapes": [(20, 2, 3, 3), (30, 20), (5, 10)], "density": [0.5, 0.6, 0.9], "total": 600,
                "first": [True, False, False], "output": [False, False, True],
                "scores": [some(n, seed=n) for n in (360, 600, 50)], "alive": [torch.ones(n) > 0 for n in (360, 600, 50)],
                "top": [300, 270, 30], "top_by": lambda name, options, once: [len(name), 300, 30]}
    if set_ == "model":
        return {"inputs": (3, 32, 32), "classes": 10}
    return {}


def output(set_: str, name: str) -> Any:
    piece = REGISTRIES[set_].get(name)
    options = REGISTRIES[set_].resolve(name, NEEDED.get((set_, name), {}), set_)
    if set_ == "lr_schedule":
        return [float(f"{piece({'progress': lambda p=p: p}, options):.6g}") for p in (0.0, 0.04, 0.3, 0.5, 0.8, 0.99)]
    given = offers(set_, name)
    if set_ == "model":
        with torch.device("meta"):
            made = piece({k: (lambda v=v: v) for k, v in given.items()}, options)
        shapes = "\n".join(f"{key} {tuple(value.shape)}" for key, value in made.state_dict().items())
        return {"parameters": sum(p.numel() for p in made.parameters()), "shapes": hashlib.sha256(shapes.encode()).hexdigest()[:16]}
    found = piece({k: (lambda v=v: v) for k, v in given.items()}, options)
    if set_ == "dataset":
        arrays = [found.train_x, found.train_y, found.test_x, found.test_y]
        return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]
    return [float(f"{value:.6g}") for value in torch.as_tensor(found, dtype=torch.float64).flatten().tolist()]


def has_golden(set_: str, name: str) -> bool:
    """All but data sets whose files are elsewhere: those are checked against the hash of the file."""
    piece = REGISTRIES[set_].get(name)
    return "sources" not in piece.traits and not any(_is_a_file(option.type) for option in piece.options.values())


def close(one: Any, other: Any) -> bool:
    return one == pytest.approx(other, rel=1e-4, abs=1e-6) if isinstance(other, list) else one == other


@pytest.mark.parametrize(("set_", "name"), OURS)
def test_a_piece_is_one_claim_and_its_source_with_typed_options(set_, name):
    piece = REGISTRIES[set_].get(name)
    assert re.search(r"\([^()]{4,}\)", piece.claim), f"{set_} {name}: no source in parentheses: {piece.claim}"
    for key, option in piece.options.items():
        assert option.type is not Any, f"{set_} {name}: {key} has no type"
        if not option.required:
            assert REGISTRIES[set_]._convert(option, option.default, key) == option.default, f"{set_} {name}: {key}'s default is not of its type"
    assert piece.version >= 1


@pytest.mark.parametrize(("set_", "name"), [each for each in OURS if has_golden(*each)])
def test_a_piece_gives_its_golden_output(set_, name):
    golden = json.loads(GOLDEN.read_text()).get(set_, {}).get(name)
    piece = REGISTRIES[set_].get(name)
    assert golden is not None, f"{set_} {name}: {RUN}"
    assert golden["version"] == piece.version, f"{set_} {name}, version {piece.version}: {RUN}"
    assert close(output(set_, name), golden["output"]), f"{set_} {name}: {RULE}"


@pytest.mark.parametrize(("set_", "name"), [each for each in OURS if each[0] in ("init", "criterion", "allocation", "reset")])
def test_a_piece_is_a_pure_function(set_, name):
    """It gives the same twice, writes to nothing it is given, and moves no global generator."""
    piece = REGISTRIES[set_].get(name)
    options = REGISTRIES[set_].resolve(name, NEEDED.get((set_, name), {}), set_)
    given, before = offers(set_, name), torch.random.get_rng_state()
    untouched = offers(set_, name)
    once, twice = (torch.as_tensor(piece({k: (lambda v=v: v) for k, v in given.items()}, options)).clone() for _ in range(2))
    assert torch.equal(once, twice)
    assert torch.equal(before, torch.random.get_rng_state())
    for key, value in given.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, untouched[key]), f"{set_} {name} wrote to {key}"


def test_golden_outputs_are_of_pieces_that_exist():
    assert {(set_, name) for set_, pieces in json.loads(GOLDEN.read_text()).items() for name in pieces} <= set(OURS)


def test_every_offer_is_described_and_taken_only_if_offered():
    for set_, registry in REGISTRIES.items():
        assert all(len(text) > 10 for text in registry.offers.values()), set_
        for piece in registry.pieces.values():
            assert set(piece.takes) <= set(registry.offers)


def write() -> None:
    """Add the golden outputs of new pieces and new versions; refuse to change one whose version stands."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    fresh: dict[str, dict[str, Any]] = {}
    for set_, name in OURS:
        if has_golden(set_, name):
            version, old = REGISTRIES[set_].get(name).version, golden.get(set_, {}).get(name)
            made = {"version": version, "output": output(set_, name)}
            if old and old["version"] == version:
                if not close(made["output"], old["output"]):
                    sys.exit(f"{set_} {name}: {RULE}.")
                made = old
            fresh.setdefault(set_, {})[name] = made
    sets = []
    for set_, pieces in sorted(fresh.items()):
        lines = [f"    {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(pieces.items())]
        sets.append(f'  "{set_}": {{\n' + ",\n".join(lines) + "\n  }")
    GOLDEN.write_text("{\n" + ",\n".join(sets) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/pieces/test_contract.py --write")
    write()
