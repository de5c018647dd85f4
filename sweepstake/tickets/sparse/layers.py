"""Layers without their dead weights, for inference on a CPU: one alone, and a chain of them in one compiled call."""

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.sparse.program import Program, Rows, Step

Kernel = Literal["ours", "csr"]

_changes = [0]
"""How often the weights of any sparse layer have been loaded or moved: what was made of them before is made again."""


class _Inference(nn.Module):
    """A module that is ready when first called, and again after its weights were loaded or moved.

    A change of a buffer in place is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ready: Any = None
        self._ready_at = -1

    def ready(self) -> Any:
        if self._ready_at != _changes[0]:
            self._ready, self._ready_at = self.made_ready(), _changes[0]
        return self._ready

    def made_ready(self) -> Any:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None, "_ready_at": -1}  # It holds addresses: a copy has others.

    def _apply(self, *args: Any, **named: Any) -> Any:
        _changes[0] += 1
        return super()._apply(*args, **named)

    def _load_from_state_dict(self, *args: Any, **named: Any) -> None:
        _changes[0] += 1
        super()._load_from_state_dict(*args, **named)

    def taken(self, x: Tensor, columns: int) -> Tensor:
        """The input as contiguous float32, where this module can take it."""
        if self.training or (x.requires_grad and torch.is_grad_enabled()):
            raise UserError(f"{type(self).__name__} is for inference. Say module.eval() and torch.no_grad(), or train "
                            "what .to_dense() gives.")
        if not x.is_cpu or torch.compiler.is_compiling():
            raise UserError(f"{type(self).__name__} computes on the CPU, and cannot be traced or exported. "
                            "Take what .to_dense() gives.")
        if x.shape[-1] != columns:
            raise UserError(f"{type(self).__name__}: an input has {columns} columns, and this one {x.shape[-1]}.")
        if x.dtype is not torch.float32:
            if not x.is_floating_point():
                raise UserError(f"{type(self).__name__} takes floating-point numbers, and this input is {x.dtype}.")
            x = x.float()
        return x if x.is_contiguous() else x.contiguous()


class SparseLinear(_Inference):
    """nn.Linear without its dead weights, for inference: by our kernel, on one thread, or by torch's CSR.

    Its buffers are float32 values row by row, the column of each, and how many each row has.
    """

    values: Tensor
    columns: Tensor
    counts: Tensor
    bias: Tensor | None

    def __init__(self, rows: Rows, bias: Tensor | None, kernel: Kernel = "ours"):
        super().__init__()
        self.in_features, self.out_features, self.kernel = rows.width, len(rows.counts), kernel
        for name in ("values", "columns", "counts"):
            self.register_buffer(name, getattr(rows, name))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.eval()

    @classmethod
    def of(cls, layer: nn.Linear, mask: Tensor | None = None, kernel: Kernel = "ours") -> "SparseLinear":
        """A layer's weights where the mask is, or where they are not 0."""
        weight = layer.weight.detach()
        alive = weight != 0 if mask is None else mask
        columns = alive.nonzero()[:, 1].to(compact(layer.in_features - 1))
        counts = alive.sum(1).to(compact(layer.in_features))
        return cls(Rows(weight[alive].clone(), columns, counts, layer.in_features), layer.bias, kernel)

    @property
    def rows(self) -> Rows:
        return Rows(self.values, self.columns, self.counts, self.in_features)

    @property
    def step(self) -> Step:
        return Step(self.rows, self.out_features, self.in_features, self.bias, 1.0)

    def made_ready(self) -> Any:
        return Program([self.step]) if self.kernel == "ours" else self._csr()

    def _csr(self) -> tuple[Tensor, Tensor]:
        """The matrix as torch's CSR, and its bias as a column."""
        values, columns, counts = self.rows.checked()
        begins = torch.tensor([0, *counts.cumsum()], dtype=torch.int32)
        shape = (self.out_features, self.in_features)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
            matrix = torch.sparse_csr_tensor(begins, torch.from_numpy(columns).int(), torch.from_numpy(values), shape,
                                             check_invariants=True)
        return matrix, torch.zeros(len(counts), 1) if self.bias is None else self.bias[:, None]

    @property
    def weight(self) -> Tensor:
        """The dense matrix, made anew whenever it is read: for modules that look at a layer's weight."""
        return self.to_dense().weight.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **named: Any) -> None:
        for name in ("values", "columns"):  # How many weights survive is the file's to say.
            given = state_dict.get(prefix + name)
            if isinstance(given, Tensor) and given.dim() == 1:
                setattr(self, name, getattr(self, name).new_zeros(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **named)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.taken(x, self.in_features)
        if x.dim() != 2:
            flat = flat.view(-1, self.in_features)
        if self.kernel == "ours":
            out = self.ready()(flat)
        else:
            matrix, bias = self.ready()
            with torch.no_grad():
                out = torch.addmm(bias, matrix, flat.t()).t().contiguous()
        return like(out, x)

    def to_dense(self) -> nn.Linear:
        """The same as an nn.Linear, the dead at 0."""
        values, columns, counts = self.rows.checked()
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        row = torch.arange(self.out_features).repeat_interleave(torch.from_numpy(counts))
        with torch.no_grad():
            layer.weight.zero_()[row, torch.from_numpy(columns)] = torch.from_numpy(values)
            if self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer.eval()

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, kept={self.values.numel()}, kernel={self.kernel}"


def compact(largest: int) -> torch.dtype:
    """The smallest of int16 and int32 that holds it."""
    return torch.int16 if largest < 2**15 else torch.int32


def like(out: Tensor, x: Tensor) -> Tensor:
    """Rows of outputs in the shape and kind of the input."""
    if x.dim() != 2:
        out = out.view(*x.shape[:-1], out.shape[-1])
    return out if x.dtype is torch.float32 else out.to(x.dtype)


class SparseChain(_Inference):
    """Linear layers and the activations between them in one compiled call on one thread, for inference.

    Each layer is a child under its own name: a SparseLinear, or an nn.Linear that is computed whole.
    """

    def __init__(self, layers: Iterable[tuple[str, nn.Linear | SparseLinear, float]], flatten: bool = False):
        super().__init__()
        self.slopes: dict[str, float] = {}
        for name, layer, slope in layers:
            self.add_module(name, layer)
            self.slopes[name] = slope
        self.flatten = flatten
        self.columns = self.layers[0].in_features
        self.eval()

    @property
    def layers(self) -> Sequence[Any]:
        return list(self.children())

    def made_ready(self) -> Program:
        return Program([step_of(layer, slope) for layer, slope in
                        zip(self.layers, self.slopes.values(), strict=True)])

    def forward(self, x: Tensor) -> Tensor:
        if self.flatten and x.dim() != 2:
            x = x.flatten(1)
        flat = self.taken(x, self.columns)
        if x.dim() != 2:
            flat = flat.view(-1, self.columns)
        return like(self.ready()(flat), x)

    def to_dense(self) -> nn.Sequential:
        """The same as PyTorch's own layers, under the same names."""
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())] if self.flatten else []
        for (name, layer), slope in zip(self.named_children(), self.slopes.values(), strict=True):
            layers.append((name, layer.to_dense() if isinstance(layer, SparseLinear) else copy.deepcopy(layer)))
            if slope != 1:
                layers.append((f"{name}_active", nn.LeakyReLU(slope) if slope else nn.ReLU()))
        return nn.Sequential(OrderedDict(layers)).eval()


def step_of(layer: nn.Linear | SparseLinear, slope: float) -> Step:
    weight = layer.rows if isinstance(layer, SparseLinear) else layer.weight
    return Step(weight, layer.out_features, layer.in_features, layer.bias, slope)
