"""How weights begin: (a drawn normal or uniform tensor, fans) -> weights of one layer.

`normal` is N(0, 1) and `uniform` is U(-1, 1), both of the layer's shape, so a line here reads as its formula does.
"""

from math import erf, sqrt
from typing import Annotated

from msgspec import Meta

from sweepstake.base.errors import UserError
from sweepstake.base.registry import Registry

Scale = Annotated[float, Meta(gt=0)]

init = Registry("init", by_layer=True, offers={
    "normal": "N(0, 1) of the parameter's shape, drawn for this cell",
    "uniform": "U(-1, 1) of the parameter's shape, drawn for this cell",
    "shape": "the parameter's shape: (out, in) or (out, in, height, width); (out,) for a bias",
    "fan_in": "connections into a unit of the layer",
    "fan_out": "connections out of an input of the layer",
})


@init
def xavier_uniform(uniform, fan_in, fan_out, *, scale: Scale = 1.0):
    """U(-a, a), a = scale sqrt(6 / (in + out)): keeps variance both ways (Glorot & Bengio 2010)."""
    return uniform * (scale * sqrt(6 / (fan_in + fan_out)))


@init
def xavier_normal(normal, fan_in, fan_out, *, scale: Scale = 1.0):
    """N(0, std), std = scale sqrt(2 / (in + out)): keeps variance both ways (Glorot & Bengio 2010)."""
    return normal * (scale * sqrt(2 / (fan_in + fan_out)))


@init
def kaiming_uniform(uniform, fan_in, *, gain: Scale = 1.0, scale: Scale = 1.0):
    """U(-a, a), a = scale gain sqrt(3 / in); gain = sqrt 2 is He's for ReLU (He et al. 2015)."""
    return uniform * (scale * gain * sqrt(3 / fan_in))


@init
def kaiming_normal(normal, fan_in, *, gain: Scale = 1.0, scale: Scale = 1.0):
    """N(0, std), std = scale gain sqrt(1 / in); gain = sqrt 2 is He's for ReLU (He et al. 2015)."""
    return normal * (scale * gain * sqrt(1 / fan_in))


@init
def normal(normal, *, std: Scale = 0.1):
    """N(0, std), one width for every layer (Sandor 2020 takes 0.1)."""
    return normal * std


@init
def uniform(uniform, *, a: Scale = 0.1):
    """U(-a, a), one width for every layer (LeCun et al. 1998)."""
    return uniform * a


@init
def truncated_normal(uniform, *, std: Scale = 0.1, cut: Scale = 2.0):
    """N(0, std) cut off at `cut` stds, by the inverse distribution (TensorFlow's default, Abadi et al. 2016)."""
    return (uniform * erf(cut / sqrt(2))).erfinv().mul(sqrt(2)).clamp(-cut, cut) * std


@init
def signed_constant(uniform, fan_in, *, gain: Scale = 1.0, scale: Scale = 1.0):
    """+-c by a fair coin, c = scale gain sqrt(1 / in), Kaiming's std (Zhou et al. 2019; Ramanujan et al. 2020)."""
    return uniform.new_full(uniform.shape, scale * gain * sqrt(1 / fan_in)).copysign(uniform)


@init
def orthogonal(normal, *, gain: Scale = 1.0):
    """Orthonormal rows (or columns, whichever are fewer) times gain: a layer keeps lengths (Saxe et al. 2014)."""
    if normal.dim() < 2:
        raise UserError(
            'init = "orthogonal": needs a matrix, and a bias is a vector. Give biases another bias_init, as "zeros".'
        )
    from torch.linalg import qr

    rows = normal.flatten(1)
    wide = rows.shape[0] < rows.shape[1]
    q, r = qr((rows.T if wide else rows).double())
    q = q * r.diagonal().sign()  # Uniform over rotations only with R's diagonal positive (Mezzadri 2007).
    return gain * (q.T if wide else q).to(normal.dtype).reshape(normal.shape)


@init
def framework_default(uniform, fan_in):
    """U(-a, a), a = 1 / sqrt(in), weights and biases alike: PyTorch's default (LeCun et al. 1998)."""
    return uniform / sqrt(fan_in)


@init
def zeros(uniform):
    """All 0: the usual start of biases (Frankle & Carbin 2019)."""
    return uniform.new_zeros(uniform.shape)
