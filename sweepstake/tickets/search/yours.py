"""A user's own training function and evaluation, as the engine's rounds call a trainer."""

import inspect
import time
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.examples import Examples
from sweepstake.engine.network import Net
from sweepstake.engine.rounds import Record
from sweepstake.engine.train import Measured, Start, Trained, first_step, rewind_step
from sweepstake.tickets.held.masks import Masks
from sweepstake.tickets.names import unwrapped
from sweepstake.tickets.search import shadow
from sweepstake.tickets.search.untouched import Before

Train = Callable[..., Any]
"""train(model), and by keyword what it names of: masks, round_, first_step."""
Evaluate = Callable[..., Any]
"""evaluate(model): a number, higher is better; or a table of numbers, of which the first is the score."""

VALUE = "value"
"""What a score is called in a record, under its own name."""

TAKEN = ("round", "kept_fraction")
"""What a ticket's table of rounds says beside the scores."""


class Yours:
    """Trains and measures a module by its user's functions; dead weights stay 0 whatever those do."""

    name = "yours"

    def __init__(self, model: nn.Module, net: Net, examples: Examples | None, train: Train, evaluate: Evaluate,
                 before: Before):
        self.model, self.own = model, unwrapped(model)
        self.net, self.examples = net, examples
        self._train, self._evaluate, self._before = train, evaluate, before
        self._counters = {name: each.clone() for name, each in self.own.named_buffers() if not each.is_floating_point()}

    def train(self, cell: Cell, start: Start, round_: int, name: str = "") -> Trained:
        """One round: the weights where it begins are put into the module, and the user's function trains it."""
        began = time.perf_counter()
        if not any(slot.of(start.mask).any() for slot in self.net.weights):
            raise UserError(f"find_ticket: round {round_} has no weight left. Keep more a round, say fewer rounds, or "
                            'allocation = "per_layer", which leaves some in every layer.')
        self._begin(start.w)
        masks = Masks(self.own, shadow.masks_of(self.net, start.mask))
        step = rewind_step(cell, round_)
        kept: list[Tensor] = [shadow.flat_of(self.net, self.own)] if step == 0 else []

        def on_step(count: int) -> None:
            if count == step:
                kept.append(shadow.flat_of(self.net, self.own))

        offers = {"masks": masks, "round_": round_, "first_step": first_step(cell, round_)}
        with masks.held(on_step=on_step) as holding:
            self._check_gave(self._train(self.model, **_named(self._train, offers)))
            self._check_parts("train", round_)
        if step is not None and not kept:
            raise UserError(f'find_ticket: reset = "{cell.reset.name}" goes back to step {step}, and train made '
                            f"{holding.steps} steps in round 0. Say a step that it makes.")
        w = shadow.flat_of(self.net, self.own)
        self._check_finite(w, round_)
        return Trained(w, None, None, kept[0] if kept else None, [], {}, holding.steps,
                       {"train": time.perf_counter() - began})

    def measure(self, w: Tensor) -> Measured:
        """The user's evaluation of the module, which holds these weights."""
        said = self._evaluate(self.model)
        scores = _numbers(said)
        bad = next((key for key, value in scores.items() if isnan(value)), None)
        if bad is not None:
            raise UserError(f"find_ticket: evaluate gave NaN as {bad}, and every weight of "
                            f"{type(self.own).__name__} is finite. Look for a division by 0 in evaluate.")
        self._check_parts("evaluate", None)
        now = shadow.flat_of(self.net, self.own)
        for slot in self.net.slots:
            if not torch.equal(slot.of(now), slot.of(w)) and slot.role != "statistic":
                raise UserError(f"find_ticket: evaluate changed {slot.name}. It may only measure.")
        return {name: {VALUE: score} for name, score in scores.items()}

    @torch.no_grad()
    def _begin(self, w: Tensor) -> None:
        """Every round begins alike, whatever train and evaluate left behind, and so a resumed one too."""
        self._before.put_modes_back()
        self.model.zero_grad(set_to_none=True)
        shadow.put(self.net, self.own, w)
        for name, each in self.own.named_buffers():
            if name in self._counters:
                each.copy_(self._counters[name])

    def _check_gave(self, answer: object) -> None:
        if isinstance(answer, nn.Module) and unwrapped(answer) is not self.own:
            raise UserError("find_ticket: train gave another module than the one it was given. It has to train that "
                            "one in place, and no copy of it; what it returns is not read.")

    def _check_parts(self, function: str, round_: int | None) -> None:
        if replaced := self._before.replaced():
            when = "" if round_ is None else f" in round {round_}"
            raise UserError(f"find_ticket: {function} put another tensor in place of {replaced[0]}{when}. Change "
                            "weights in place, as optimisers do; load_state_dict without assign=True.")

    def _check_finite(self, w: Tensor, round_: int) -> None:
        bad = next((slot for slot in self.net.slots if not bool(slot.of(w).isfinite().all())), None)
        if bad is not None:
            raise UserError(f"find_ticket: {bad.name} is not finite after train in round {round_}: it diverged. "
                            "Lower the learning rate, or keep more weights a round.")


def _named(function: Callable[..., Any], offers: Mapping[str, Any]) -> dict[str, Any]:
    """What a function names of the offers, in its signature."""
    try:
        names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in offers.items() if name in names}


def _numbers(said: Any) -> dict[str, float]:
    """What an evaluation gave, as numbers by name."""
    table = said if isinstance(said, Mapping) else {"score": said}
    try:
        plain = {str(key): value.detach() if isinstance(value, Tensor) else value for key, value in table.items()}
        numbers = {key: float(value) for key, value in plain.items()}
    except (TypeError, ValueError, RuntimeError):
        numbers = {}
    if not numbers:
        raise UserError(f"find_ticket: evaluate gave a {type(said).__name__}. "
                        'Return a number, higher is better, or a table of numbers as {"accuracy": 0.98}.')
    if taken := [name for name in TAKEN if name in numbers]:
        raise UserError(f'find_ticket: evaluate gave a score of the name "{taken[0]}", which the ticket says of '
                        "itself. Say another name.")
    return numbers


def scores_of(record: Record) -> dict[str, float]:
    """What the user's evaluation gave at the end of a round, in its order."""
    return {name: said[VALUE] for name, said in record["end"].items()}
