"""What criteria may see of a network at one pruning: gradients, flows, activations, losses under unit masks.

Each is computed only if the criterion takes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.examples import Chosen, Examples, Given, Part, tensors_in
from sweepstake.engine.masks import alive_in, prunable, ranked_together, without_units
from sweepstake.engine.network import Net, Slot
from sweepstake.pieces import criterion
from sweepstake.pieces.networks import MLP

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

CHUNK = 500
"""Images at a time for a gradient, whose activations stay in memory."""
ENSEMBLE_CHUNK = 1000
"""Images at a time under unit masks: so many that the activations of one mask stay in the cache (bench/lfe.py)."""


class Scorer:
    """Scores of every layer by one criterion, at the weights given. Nothing is trained."""

    def __init__(self, net: Net, cell: Cell, stations: Mapping[str, Tensor], mask: Tensor, done: int,
                 examples: Examples | None, name: str, options: Mapping[str, Any]):
        self.net, self.cell, self.mask, self.done, self._given = net, cell, mask, done, examples
        self.piece, self.options = criterion.get(name), options
        self.stations = {**stations, "w_final": stations["w_final"] * mask}

    def scores(self, slots: Sequence[Slot]) -> dict[Slot, Tensor]:
        """Each layer's scores, flat: one a weight (and bias), or one a unit."""
        if self.done and self.options.get("once"):
            return self.at_first(torch.ones_like(self.mask)).scores(slots)
        scores = self.any_scores(slots)
        for slot, each in scores.items():
            if not each[alive_in(self.net, self.cell, slot, self.mask)].isfinite().all():
                raise UserError(f'{self.piece.told()}: a score of {slot.layer} is not a finite number.')
        return scores

    def any_scores(self, slots: Sequence[Slot]) -> dict[Slot, Tensor]:
        """The scores without the check that they are finite."""
        if self.piece.traits.get("joint"):
            return self._jointly(slots)
        return {
            slot: torch.cat([self._one(s).flatten() for s in ranked_together(self.net, self.cell, slot)])
            for slot in slots
        }

    def at_first(self, mask: Tensor) -> "Scorer":
        """The scorer of the first pruning, before any training: the same draws, at what this mask leaves alive."""
        drawn = dict.fromkeys(self.stations, self.stations["w_init"])
        return Scorer(self.net, self.cell, drawn, mask, 0, self._given, self.piece.name, self.options)

    def _jointly(self, slots: Sequence[Slot]) -> dict[Slot, Tensor]:
        sizes = [slot.shape[0] for slot in slots]
        joint = self.piece(self._joint_offers(slots), self.options)
        if not isinstance(joint, Tensor) or joint.shape != (sum(sizes),):
            raise self.piece.misfit(joint, f"{sum(sizes):,} scores, one a unit")
        return dict(zip(slots, joint.split(sizes), strict=True))

    def _one(self, slot: Slot) -> Tensor:
        shape = slot.shape[:1] if self.cell.granularity == "unit" else slot.shape
        offers: dict[str, Callable[[], Any]] = {
            name: (lambda flat=flat: slot.of(flat)) for name, flat in self.stations.items()
        }
        offers |= {
            "alive": lambda: slot.of(self.mask),
            "uniform": lambda: streams.uniform(shape, self.cell.seed, "criterion", self.done, slot.name),
            "noise": lambda: lambda shape: streams.uniform(tuple(shape), self.cell.seed, "noise", self.done, slot.name),
            "grad": lambda: slot.of(self.grad),
            "hessian_grad": lambda: slot.of(self.hessian_grad),
            "flow_grad": lambda: slot.of(self.flow_grad),
            "activation": lambda: self._activation(slot),
            "input_norm": lambda: self._input_norm(slot),
        }
        score = self.piece(self._known(offers), self.piece.for_layer(slot.layer, self.options))
        if not isinstance(score, Tensor) or score.shape != shape:
            raise self.piece.misfit(score, f"{tuple(shape)} (one a {self.cell.granularity})", slot.name)
        return score

    def _joint_offers(self, slots: Sequence[Slot]) -> dict[str, Callable[[], Any]]:
        return self._known({
            "alive": lambda: torch.cat([alive_in(self.net, self.cell, slot, self.mask) for slot in slots]),
            "noise": lambda: lambda shape: streams.uniform(tuple(shape), self.cell.seed, "noise", self.done),
            "loss_of": lambda: lambda on: self.losses(slots, on),
        })

    def _known(self, offers: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
        for name in self.piece.takes:
            if name not in offers:
                one = "joint" if self.piece.traits.get("joint") else "layer's"
                raise UserError(
                    f'{self.piece.told()}: takes {name}, which is not offered to a {one} criterion. '
                    f"Offered: {', '.join(sorted(offers))}."
                )
        return offers

    # Gradients

    @property
    def examples(self) -> Examples:
        if self._given is None:
            raise UserError(f'criterion = "{self.piece.name}": needs training data, and there is none here. '
                            "Give it as data = batches of (inputs, labels).")
        return self._given

    @cached_property
    def chosen(self) -> Chosen:
        """The training examples that the criterion asks for (never validation or test)."""
        return self.examples.choose(self.options.get("images", 0), self._order)

    def _order(self, count: int) -> np.ndarray:
        return streams.permutation(count, self.cell.seed, "criterion images", self.done)

    def _parts(self, size: int = CHUNK) -> Iterator[Part]:
        return self.chosen.parts(size, self.net.w.dtype)

    def _forward(self, flat: Tensor, given: Given) -> Any:
        """The network's output at these weights. Dropout is off; a batch norm uses these examples' own statistics."""
        self.net.module.eval()
        for module in self.net.module.modules():
            if isinstance(module, BATCH_NORMS):
                module.train()
        values = {
            slot.name: slot.of(flat).detach().clone() if slot.role == "statistic" else slot.of(flat)
            for slot in self.net.slots
        }
        counters = {
            name: buffer.clone() for name, buffer in self.net.module.named_buffers() if not buffer.is_floating_point()
        }
        return self._called({**values, **counters}, given)

    def _called(self, values: Mapping[str, Tensor], given: Given) -> Any:
        kwargs = dict(given.kwargs or {})
        return functional_call(self.net.module, dict(values), given.args, kwargs, tie_weights=True)

    def _losses(self, flat: Tensor) -> Iterator[Tensor]:
        """Parts of the loss that sum to its mean over the chosen examples."""
        temperature = self.options.get("temperature", 1.0)
        for given, labels in self._parts():
            yield self.examples.loss(self._forward(flat, given), labels, temperature) / self.chosen.count

    @cached_property
    def grad(self) -> Tensor:
        flat = self.stations["w_final"].clone().requires_grad_()
        return sum((torch.autograd.grad(loss, flat)[0] for loss in self._losses(flat)), torch.zeros_like(flat.detach()))

    @property
    def _grad_of_the_ranked(self) -> Tensor:
        """The gradient of ranked weights (and biases) of linear and conv layers, 0 elsewhere (Wang et al. 2020)."""
        kept = torch.zeros_like(self.grad)
        for layer in self.net.weights:
            for slot in ranked_together(self.net, self.cell, layer):
                slot.of(kept).copy_(slot.of(self.grad))
        return kept

    @cached_property
    def hessian_grad(self) -> Tensor:
        flat = self.stations["w_final"].clone().requires_grad_()
        towards, total = self._grad_of_the_ranked * self.mask, torch.zeros_like(self.grad)
        for loss in self._losses(flat):
            along = torch.autograd.grad(loss, flat, create_graph=True)[0]
            total += torch.autograd.grad((along * towards).sum(), flat)[0]
        return total

    @cached_property
    def flow_grad(self) -> Tensor:
        # In double: the flow is a product over layers and leaves float32 in deep networks.
        module = self.net.module.eval()
        flat = self.stations["w_final"].abs().double().requires_grad_()
        given = self.stations["w_final"].double()
        values = {slot.name: slot.of(given if slot.role == "statistic" else flat) for slot in self.net.slots}
        # Statistics are among the values given; only counters are left to the module.
        buffers = {name: buffer for name, buffer in module.named_buffers() if not buffer.is_floating_point()}
        output = self._called({**values, **buffers}, self.examples.ones())
        flow = torch.stack([each.sum() for each in tensors_in(output)])
        return torch.autograd.grad(flow.sum(), flat)[0]

    def _run(self, hooks: Sequence[RemovableHandle]) -> None:
        """Call the network on the chosen examples, and take these hooks away."""
        try:
            with torch.no_grad():
                for given, _ in self._parts():
                    self._forward(self.stations["w_final"], given)
        finally:
            for hook in hooks:
                hook.remove()

    # Inputs

    def _input_norm(self, slot: Slot) -> Tensor:
        """For each weight the norm of what it multiplies; a bias multiplies a 1, once an output."""
        layer = next(weight for weight in self.net.weights if weight.layer == slot.layer)
        if layer not in self._inputs:
            raise UserError(f'criterion = "{self.piece.name}": the inputs of {slot.layer} ({layer.kind}) are not seen. '
                            "Take it out with prune_layers.")
        squares, outputs = self._inputs[layer]
        if slot.role == "bias":
            return self.net.w.new_full(slot.shape, outputs**0.5)
        # A row a group of a grouped convolution, whose units read the channels of their own group alone.
        by_group = squares.sqrt().to(self.net.w.dtype).view(-1, slot.shape[1])
        by_unit = by_group.repeat_interleave(slot.shape[0] // len(by_group), 0)
        return by_unit.view(*by_unit.shape, *[1] * (len(slot.shape) - 2)).expand(slot.shape)

    @cached_property
    def _inputs(self) -> dict[Slot, tuple[Tensor, int]]:
        """Of each layer the sum of squares of each input feature or channel, and how many outputs a unit had."""
        seen: dict[Slot, tuple[Tensor, int]] = {}
        hooks = []
        for slot in self.net.weights:
            if not slot.by_unit:
                continue

            def add(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, slot: Slot = slot) -> None:
                x = inputs[0].double()
                by_feature = (x.transpose(1, -1) if slot.kind == "conv" else x).flatten(0, -2)
                squares, outputs = seen.get(slot, (0.0, 0))
                seen[slot] = by_feature.square().sum(0) + squares, outputs + output.numel() // slot.shape[0]

            hooks.append(self.net.module.get_submodule(slot.layer).register_forward_hook(add))
        self._run(hooks)
        return seen

    # Units

    def _activation(self, slot: Slot) -> Tensor:
        return self._activations[slot]

    @cached_property
    def _activations(self) -> dict[Slot, Tensor]:
        """Each unit's mean |output|, as the next layer sees it."""
        sums: dict[Slot, Tensor] = {}
        hooks = []
        for slot in prunable(self.net, self.cell):
            following = self.net.after(slot)
            if following is None:
                if slot is not self.net.weights[-1]:
                    raise UserError(
                        f'criterion = "{self.piece.name}": {slot.layer} feeds no single next layer, '
                        "where its activation could be seen. Take it out with prune_layers, or score by weights, "
                        "as unit_l2 does."
                    )
                continue
            sums[slot] = torch.zeros(slot.shape[0], dtype=self.net.w.dtype)

            def add(_: nn.Module, inputs: tuple[Tensor, ...], slot: Slot = slot) -> None:
                seen = inputs[0].detach().abs().reshape(len(inputs[0]), slot.shape[0], -1)
                sums[slot] += seen.mean(2).sum(0)

            hooks.append(self.net.module.get_submodule(following.layer).register_forward_pre_hook(add))
        self._run(hooks)
        return {slot: each / self.chosen.count for slot, each in sums.items()}

    @torch.no_grad()
    def losses(self, slots: Sequence[Slot], on: Tensor) -> Tensor:
        """The mean loss under each unit mask. A row of `on` is a mask: the units of `slots`, end to end."""
        total = torch.zeros(len(on), dtype=torch.float64)
        each = dict(zip(slots, on.split([slot.shape[0] for slot in slots], dim=1), strict=True))
        fast = type(self.net.module) is MLP and all(slot.role != "other" for slot in self.net.slots)
        for given, y in self._parts(ENSEMBLE_CHUNK):
            losses = self._losses_of_mlp if fast else self._losses_of_any
            total += losses(each, len(on), given, y)
        return total / self.chosen.count

    def _losses_of_mlp(self, on: Mapping[Slot, Tensor], masks: int, given: Given, y: Tensor) -> Tensor:
        """The losses of an MLP, without computing units that are off. The first layer is computed once for all masks.

        Activations lie unit by unit, (units, B), so that choosing units copies whole rows.
        """
        act, w = self.net.module.get_submodule("activation"), self.stations["w_final"]
        biases = [
            bias.of(w)[:, None] if (bias := self.net.bias_of(slot)) else w.new_zeros(slot.shape[0], 1)
            for slot in self.net.weights
        ]
        layers = [(slot, slot.of(w), bias) for slot, bias in zip(self.net.weights, biases, strict=True)]
        first, first_weight, first_bias = layers[0]
        begun = torch.addmm(first_bias, first_weight, given.args[0].flatten(1).T)
        begun = act(begun) if len(layers) > 1 else begun
        chosen = {slot: [row.nonzero().flatten() for row in on[slot]] for slot in on}
        losses, image = [], torch.arange(len(y))
        for m in range(masks):
            rows = chosen[first][m] if first in chosen else None
            h = begun if rows is None else begun.index_select(0, rows)
            for slot, weight, bias in layers[1:]:
                weight = weight if rows is None else weight.index_select(1, rows)
                rows = chosen[slot][m] if slot in chosen else None
                if rows is not None:
                    weight, bias = weight.index_select(0, rows), bias.index_select(0, rows)
                h = torch.addmm(bias, weight, h)
                h = act(h) if slot is not layers[-1][0] else h
            losses.append((h.logsumexp(0) - h[y, image]).sum())
        return torch.stack(losses).double()

    def _losses_of_any(self, on: Mapping[Slot, Tensor], masks: int, given: Given, y: Any) -> Tensor:
        """The losses of any network, mask by mask."""
        losses = []
        for m in range(masks):
            left = without_units(self.net, self.mask, {slot: on[slot][m] for slot in on})
            output = self._forward(self.stations["w_final"] * left, given)
            losses.append(self.examples.loss(output, y, 1.0))
        return torch.stack(losses).double()
