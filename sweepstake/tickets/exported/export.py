"""A module in a file for others to run: ONNX, torch.export or safetensors.

The file is run and its answers compared with the module's before it stands under its name; else nothing is left.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.run.files import writing
from sweepstake.tickets.exported import formats
from sweepstake.tickets.exported.dense import dense_copy, own_names
from sweepstake.tickets.exported.example import Example, Inputs, plain, tensors_in
from sweepstake.tickets.exported.formats import Failed, Written

Format = Literal["onnx", "torch", "safetensors"]

WRITERS: dict[str, Callable[[nn.Module, Inputs, Path], Written]] = {
    "onnx": formats.onnx, "torch": formats.torch_export, "safetensors": formats.safetensors}

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Type -> how far answers may lie apart, as a share of the largest of them, or of 1 where all are smaller."""


@dataclass(frozen=True)
class Exported:
    """A file that was run and gave the module's answers."""

    path: Path
    bytes: int
    largest_difference: float
    """Of any number of the file's answers from the module's."""
    seconds: float
    said: tuple[str, ...]
    """What the file is not, in words."""


def export(module: nn.Module, path: str | Path, example: Example, *, to: Format = "onnx") -> Exported:
    """Write the module to a file in this format, run the file, compare, and only then put it in its place.

    The module is written in evaluation, as a copy on the CPU. ONNX and torch.export take any batch, unless the module
    itself takes only one; sparse layers go dense. Either is said in the result.
    """
    began, path = time.perf_counter(), _checked(Path(path), to)
    inputs = Inputs.of(example).to(torch.device("cpu"))
    dense = dense_copy(module).cpu()
    dense.register_forward_hook(lambda _, __, answer: plain(answer))
    inputs, fixed = inputs.fixed_in(dense)
    with writing(path), TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder, torch.no_grad():
        file = Path(folder) / f"new{SUFFIXES[to]}"
        with _blamed(path):
            expected = _answers(dense, inputs)
            written = WRITERS[to](dense, inputs, file)
            batches = (1, inputs.batch + 1) if written.any_batch else (inputs.batch,)
            apart = max(_apart(_answers(dense, each) if each.batch != inputs.batch else expected, written.run(each))
                        for each in map(inputs.of_batch, batches))
        size = file.stat().st_size
        os.replace(file, path)
    said = (*_said_of_sparse(module), *(f"with {each} fixed." for each in fixed if to != "safetensors"), *written.said)
    return Exported(path, size, apart, time.perf_counter() - began, said)


def _checked(path: Path, to: str) -> Path:
    if to not in get_args(Format):
        raise UserError(f'{path}: to = "{to}". Say "onnx", "torch" or "safetensors".')
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}. Make it first, or name another.")
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Name a file in it, as {path / ('model' + SUFFIXES[to])}.")
    return path


def _answers(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    try:
        return tensors_in(inputs.into(module))
    except UserError:
        raise
    except Exception as error:
        raise Failed("the module itself fails on the example", error) from error


def _apart(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of any number; refused where one is out of tolerance."""
    if [each.shape for each in expected] != [each.shape for each in found]:
        shapes = [[tuple(each.shape) for each in answers] for answers in (expected, found)]
        raise Failed(f"the file gives answers of the shapes {shapes[1]}, and the module {shapes[0]}")
    apart = 0.0
    for number, (one, other) in enumerate(zip(expected, found, strict=True), 1):
        tolerance, a, b = TOLERANCE.get(one.dtype, 0.0), one.double(), other.double()
        same = (a == b) | (a.isnan() & b.isnan())
        difference = float(torch.where(same, 0.0, (a - b).abs().nan_to_num(float("inf"))).max()) if one.numel() else 0.0
        finite = a[a.isfinite()].abs()
        if difference > tolerance * max(1.0, float(finite.max()) if finite.numel() else 1.0):
            raise Failed(f"answer {number} of the file is off by {difference:.2g}")
        apart = max(apart, difference)
    return apart


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """What fails in here is told in one line."""
    try:
        yield
    except Failed as error:
        raise UserError(f"{path}: not exported: {error}. Nothing was written. {error.next_step}".rstrip()) from error


def _said_of_sparse(module: nn.Module) -> list[str]:
    names = [name or "the module" for name in own_names(module)]
    return [f"sparse layers are dense in the file, their dead weights 0: {', '.join(names)}."] if names else []
