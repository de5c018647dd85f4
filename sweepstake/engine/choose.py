"""Which trainer takes a cell: the fastest that can. It depends on the cell and the kind of CPU alone."""

import torch
from torch import nn

from sweepstake.base.cell import Cell
from sweepstake.engine.chains import chain_of
from sweepstake.engine.conv import ConvTrainer
from sweepstake.engine.fast import FastTrainer
from sweepstake.engine.half import HalfTrainer
from sweepstake.engine.images import Images
from sweepstake.engine.kernels.amx import has_amx
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.thin import ThinTrainer
from sweepstake.engine.thin import covers as can_be_thinned
from sweepstake.engine.train import Start, Trainer, Watch
from sweepstake.pieces.networks import MLP

LARGEST_CONVOLUTION = 2**20
"""Weights of a convolution beyond which PyTorch trains it: the kernels keep 16 sums of each weight's gradient."""


def trainer_for(cell: Cell, images: Images, watch: Watch = lambda *_: None, engine: str = "fast") -> Trainer:
    """The trainer of a cell.

    Compiled kernels where they cover it, MLPs and chains of convolutions; elsewhere plain PyTorch, without dead units
    where that is possible. With `engine = "reference"` always plain PyTorch on the whole network.
    """
    reference = ReferenceTrainer(cell, images, watch)
    if engine != "fast":
        return reference
    if covers(cell, reference.net.module):
        return (HalfTrainer if cell.precision == "bfloat16" else FastTrainer)(cell, images, watch)
    if covers_chain(cell, reference.net.module, images.inputs):
        return ConvTrainer(cell, images, watch)
    return ThinTrainer(cell, images, watch) if can_be_thinned(reference.net) else reference


def covers(cell: Cell, module: nn.Module) -> bool:
    """Whether the kernels train this cell: an MLP with (leaky) ReLU in float32, or in bfloat16 on a CPU with AMX."""
    if type(module) is not MLP or not isinstance(module.activation, nn.ReLU | nn.LeakyReLU) or module.sizes[0] >= 2**16:
        return False
    layers = len(module.sizes) - 1
    return (cell.precision == "float32" and layers > 0) or (cell.precision == "bfloat16" and layers > 1 and has_amx())


def covers_chain(cell: Cell, module: nn.Module, inputs: tuple[int, ...]) -> bool:
    """Whether the kernels train this cell: convolutions, pooled or not, then linear layers, in float32."""
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    small = all(layer.weight.numel() <= LARGEST_CONVOLUTION for layer in convolutions)
    return cell.precision == "float32" and small and chain_of(module, inputs) is not None


def warm(cell: Cell, images: Images) -> None:
    """Compile the kernels, or read them from numba's cache on disk, by training a step."""
    trainer = FastTrainer(cell, images)
    whole = torch.ones_like(trainer.net.w, dtype=torch.bool)
    trainer.train(cell, Start(trainer.net.w.clone(), whole), 0)
