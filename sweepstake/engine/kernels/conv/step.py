"""Steps of training a chain of convolutions and linear layers, and the measuring of images.

As in kernels.step, neither allocates.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from typing import NamedTuple

import numpy as np

from sweepstake.engine.kernels.activations import activate, drop
from sweepstake.engine.kernels.bias import bias_gradient
from sweepstake.engine.kernels.cache import are_warm, compiled, inner
from sweepstake.engine.kernels.conv import passes
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.kinds import backward, forward, learn
from sweepstake.engine.kernels.lanes import fill
from sweepstake.engine.kernels.loss import cross_entropy, tally
from sweepstake.engine.kernels.memory import store
from sweepstake.engine.kernels.optimiser import Rule, optimise, pace_of
from sweepstake.engine.kernels.records import PANEL, f32


class ConvRecipe(NamedTuple):
    """How a round is trained."""

    rule: Rule
    paces: np.ndarray       # PACE   (steps)
    slope: f32              # of the activation, below 0
    drop_keys: np.ndarray   # uint64 (steps, linear layers): of the dropout in front of each
    drop_below: np.ndarray  # int64  (linear layers): of 2^32, the share of inputs that it keeps
    inputs: np.ndarray      # LAYER  (1): the inputs of the first linear layer, as if they were a layer's units
    numbers: np.ndarray     # int64  (inputs): which of the whole network's each is


@inner
def _drop_inputs(step, panel, layers, layout, room, recipe):
    """Dropout in front of the first linear layer."""
    if recipe.drop_below[0] < 4294967296:
        inputs = recipe.inputs[0]
        at = inputs.z + panel * inputs.z_panel
        for r in range(inputs.rows):
            store(room.gain, at + r * PANEL, fill(f32(1), PANEL))
        key = recipe.drop_keys[step * len(layers)]
        drop(inputs, panel, key, recipe.drop_below[0], recipe.numbers, room.act, room.gain)


@compiled(nogil=True, error_model="numpy", _nrt=False)
def train_steps(first, last, pictures, convs, conv_room, layout, state, room, recipe):
    """Steps first .. last - 1 of a round; returns the sum over steps of the mean loss."""
    layers, images, one, rule = layout.layers, pictures.images, f32(1), recipe.rule
    act, gain, delta, swept = room.act, room.gain, room.delta, layout.swept
    panels, strips = (images + PANEL - 1) // PANEL, (images + SIDE - 1) // SIDE
    depth, loss = len(layers), 0.0
    out, hand = layers[depth - 1], passes.hand_of(convs, state.w, conv_room, act, recipe.slope)
    for step in range(first, last):
        pace = pace_of(recipe.paces, step)
        passes.show(convs.convs[0], pictures, step * images, images, act)
        passes.forward(strips, hand)
        for panel in range(panels):
            _drop_inputs(step, panel, layers, layout, room, recipe)
        for n in range(depth):
            layer = layers[n]
            for panel in range(panels):
                forward(layer, one, panel, state.w, layout, room)
                if n + 1 < depth:
                    activate(layer, panel, recipe.slope, act, gain)
                    if recipe.drop_below[n + 1] < 4294967296:
                        key = recipe.drop_keys[step * depth + n + 1]
                        drop(layer, panel, key, recipe.drop_below[n + 1], layout.units, act, gain)
        summed = 0.0
        for panel in range(panels):
            summed += cross_entropy(out, panel, images, pictures.labels, pictures.order, step * images, act, delta)
        loss += summed / images
        for n in range(depth - 1, -1, -1):
            layer = layers[n]
            for panel in range(panels):
                backward(layer, panel, state.w, layout, room)
            learn(layer, one, images, state, layout, room, rule, pace)
            bias_gradient(layer, panels, layout, delta, state.g)
        passes.prepare(hand)
        passes.backward(strips, delta, hand)
        passes.gradients(hand, state.g)
        optimise(state.w, state.m, state.v, swept, len(state.w) - swept, state.g, swept, rule, pace)
    return loss


@compiled(nogil=True, error_model="numpy", _nrt=False)
def evaluate(count, pictures, convs, conv_room, layout, w, room, slope):
    """The summed loss of the first `count` images, and how many labels have the largest, or a top-5, output."""
    layers, act = layout.layers, room.act
    depth, loss, correct, top5 = len(layers), 0.0, 0, 0
    hand = passes.hand_of(convs, w, conv_room, act, slope)
    for first in range(0, count, PANEL):
        images = min(PANEL, count - first)
        passes.show(convs.convs[0], pictures, first, images, act)
        passes.forward((images + SIDE - 1) // SIDE, hand)
        for n in range(depth):
            forward(layers[n], f32(1), 0, w, layout, room)
            if n + 1 < depth:
                activate(layers[n], 0, slope, act, room.gain)
        loss, correct, top5 = tally(layers[depth - 1], images, pictures.labels, first, act, loss, correct, top5)
    return loss, correct, top5


def are_compiled() -> bool:
    """Whether the disk holds these as they are now, for this CPU."""
    return are_warm(train_steps, evaluate)
