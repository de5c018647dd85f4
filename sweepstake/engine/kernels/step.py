"""Steps of training, and the measuring of images.

Neither allocates, so both are compiled without counting who holds an array (_nrt=False): the count took a tenth of a
small step. What allocates does not compile here.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from typing import NamedTuple

import numpy as np

from sweepstake.engine.kernels.activations import activate, drop
from sweepstake.engine.kernels.batches import show
from sweepstake.engine.kernels.bias import bias_gradient
from sweepstake.engine.kernels.cache import are_warm, compiled
from sweepstake.engine.kernels.kinds import backward, forward, learn
from sweepstake.engine.kernels.loss import cross_entropy, tally
from sweepstake.engine.kernels.optimiser import Rule, optimise, pace_of
from sweepstake.engine.kernels.records import PANEL, f32


class Recipe(NamedTuple):
    """How a round is trained."""

    rule: Rule
    paces: np.ndarray      # PACE   (steps)
    slope: f32             # of the activation, below 0
    drop_keys: np.ndarray  # uint64 (steps, hidden layers)
    drop_below: int        # of 2^32: the share of units that dropout keeps


@compiled(nogil=True, error_model="numpy", _nrt=False)
def train_steps(first, last, batches, layout, state, room, recipe):
    """Steps first .. last - 1 of a round; returns the sum over steps of the mean loss."""
    layers, images, unit, rule = layout.layers, batches.images, batches.unit[0], recipe.rule
    act, gain, delta, swept = room.act, room.gain, room.delta, layout.swept
    panels, depth, loss = (images + PANEL - 1) // PANEL, len(layers), 0.0
    out = layers[depth - 1]
    for step in range(first, last):
        pace = pace_of(recipe.paces, step)
        show(layers[0], batches, step * images, images, act)
        for n in range(depth):
            layer = layers[n]
            for panel in range(panels):
                forward(layer, unit, panel, state.w, layout, room)
                if n + 1 < depth:
                    activate(layer, panel, recipe.slope, act, gain)
                    if recipe.drop_below < 4294967296:
                        key = recipe.drop_keys[step * (depth - 1) + n]
                        drop(layer, panel, key, recipe.drop_below, layout.units, act, gain)
        summed = 0.0
        for panel in range(panels):
            summed += cross_entropy(out, panel, images, batches.labels, batches.order, step * images, act, delta)
        loss += summed / images
        for n in range(depth - 1, -1, -1):
            layer = layers[n]
            if n > 0:
                for panel in range(panels):
                    backward(layer, panel, state.w, layout, room)
            learn(layer, unit, images, state, layout, room, rule, pace)
            bias_gradient(layer, panels, layout, delta, state.g)
        optimise(state.w, state.m, state.v, swept, len(state.w) - swept, state.g, swept, rule, pace)
    return loss


@compiled(nogil=True, error_model="numpy", _nrt=False)
def evaluate(count, batches, layout, w, room, slope):
    """The summed loss of the first `count` images, and how many labels have the largest, or a top-5, output."""
    layers, unit, act = layout.layers, batches.unit[0], room.act
    depth, loss, correct, top5 = len(layers), 0.0, 0, 0
    for first in range(0, count, PANEL):
        images = min(PANEL, count - first)
        show(layers[0], batches, first, images, act)
        for n in range(depth):
            forward(layers[n], unit, 0, w, layout, room)
            if n + 1 < depth:
                activate(layers[n], 0, slope, act, room.gain)
        loss, correct, top5 = tally(layers[depth - 1], images, batches.labels, first, act, loss, correct, top5)
    return loss, correct, top5


def are_compiled() -> bool:
    """Whether the disk holds these as they are now, for this CPU."""
    return are_warm(train_steps, evaluate)
