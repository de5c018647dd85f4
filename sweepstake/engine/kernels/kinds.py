"""The kinds of layers, and the one branch between them that each pass has.

A kind is a file. Its functions take what they need of the records; here they are given it. A convolution would be one
more file, one more name in KINDS, and one more branch a pass. Its parts:

    SWEPT      whether its weights' gradients go to state.g, where all are stepped in one sweep; else `learn` steps them
    place      where its survivors lie: put into Placing, said in its layer's record
    forward    act: x of a panel -> z of it
    backward   delta: d of a panel -> d_in of it
    learn      d and x of all panels -> its weights' gradient, or their step
"""

# pyright: basic, reportCallIssue=false

from sweepstake.engine.kernels import dense, sparse
from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.records import PANEL

KINDS = (sparse, dense)
"""A layer's `kind` is its place here."""
SPARSE, DENSE = KINDS.index(sparse), KINDS.index(dense)


@inner
def forward(layer, unit, panel, w, layout, room):
    """A panel's z, before the activation."""
    if layer.kind == DENSE:
        dense.forward(layer, panel, w, layout.still, layout.darks, room.act, room.lit)
    else:
        sparse.forward(layer, unit, panel, w, layout.still, layout.starts, layout.places, room.act)


@inner
def backward(layer, panel, w, layout, room):
    """A panel's gradient of the loss by the layer's inputs."""
    if layer.kind == DENSE:
        dense.backward(layer, panel, w, room.delta, room.gain)
    else:
        sparse.backward(layer, panel, w, layout.starts, layout.sources, layout.targets, room.delta, room.gain)


@inner
def learn(layer, unit, images, state, layout, room, rule, pace):
    """The gradient of the loss by the layer's weights."""
    if layer.kind == DENSE:
        dense.learn(layer, images, state, layout.bits, layout.darks, room, rule, pace)
    else:
        panels = (images + PANEL - 1) // PANEL
        sparse.gradient(layer, unit, panels, layout.starts, layout.places, room.act, room.delta, state.g)
