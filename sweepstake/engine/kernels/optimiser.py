"""sgd, momentum, Adam and AdamW, as torch.optim has them."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from typing import NamedTuple

import numpy as np

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import fill, fma, root
from sweepstake.engine.kernels.memory import load, store
from sweepstake.engine.kernels.records import f32

SGD, MOMENTUM, ADAM = 0, 1, 2


class Rule(NamedTuple):
    """What stays the same over a round's steps. By value, so that no store makes it be read again."""

    kind: int
    l2: f32
    momentum: f32
    beta1_rest: f32  # 1 - beta1
    beta2: f32
    beta2_rest: f32
    eps: f32


class Pace(NamedTuple):
    """A step's own numbers."""

    rate: f32    # lr; of Adam, over the first moment's bias correction
    second: f32  # 1 / sqrt(the second moment's)
    decay: f32   # 1 - lr * decay of AdamW; else 1


PACE = np.dtype([(name, f32) for name in Pace._fields])


@inner
def pace_of(paces, step):
    """One of them, by value."""
    pace = paces[step]
    return Pace(pace.rate, pace.second, pace.decay)


@inner
def stepped(w, g, m, v, at, rule, pace):
    """16 parameters w of gradient g a step on; their moments are stepped where they lie, from `at` on.

    sgd: w -= lr g.   momentum: m = mu m + g, w -= lr m.
    adam: m += (1 - b1)(g - m), v = b2 v + (1 - b2) g^2, w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
    g is the gradient + l2 * w; AdamW multiplies w by 1 - lr * decay first.
    """
    g = fma(rule.l2, w, g)
    if rule.kind == ADAM:
        first = load(m, at, 16)
        first = fma(rule.beta1_rest, g - first, first)
        second = fma(rule.beta2_rest, g * g, fill(rule.beta2, 16) * load(v, at, 16))
        store(m, at, first)
        store(v, at, second)
        move = first / fma(pace.second, root(second), fill(rule.eps, 16))
        return fma(-pace.rate, move, fill(pace.decay, 16) * w)
    if rule.kind == MOMENTUM:
        g = fma(rule.momentum, load(m, at, 16), g)
        store(m, at, g)
    return fma(-pace.rate, g, w)


@inner
def optimise(w, m, v, at, count, g, g_at, rule, pace):
    """One step of `count` parameters (a multiple of 16), whose gradient is g[g_at : g_at + count]."""
    for i in range(0, count, 16):
        store(w, at + i, stepped(load(w, at + i, 16), load(g, g_at + i, 16), m, v, at + i, rule, pace))
