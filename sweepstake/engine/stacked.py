"""Many cells as one program: weights lie (C, N) on the device, and one network's step is mapped over the cells.

A step is written for one network and mapped with torch.func.vmap (He & Zou 2021), so that any module can be stacked.
On CUDA it is recorded once as a graph and replayed; on the CPU it runs as it is. Numbers agree with the other trainers
to rounding, not to the bit; dropout, which draws its own, in distribution. Not yet measured on a GPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.build import build_net
from sweepstake.engine.examples import OfImages
from sweepstake.engine.images import Images, Split
from sweepstake.engine.memory import copies, kept_an_image, out_of_memory
from sweepstake.engine.network import Slot
from sweepstake.engine.stand_ins import GOLDEN, for_stacks, mixed
from sweepstake.engine.train import (
    Measured,
    Start,
    Trained,
    Watch,
    curve_steps,
    first_step,
    in_top5,
    measured,
    order_seed,
    progress,
    steps_in_round,
    train_round,
)
from sweepstake.pieces import lr_schedule

ALIGNED = 64
"""A cell's row is padded to a multiple of this: vector loads and GEMMs are fast from such boundaries."""


# Optimisers

FUSED = torch.ops.aten
"""Home of torch.optim's fused kernels. Those called tensor_lr read the rate on the device, the others on the host."""


class Optimiser:
    """torch.optim's own fused kernels, each row a cell. Cells with the same options share a launch.

    They are the kernels that step a cell alone: no arithmetic is written here.
    """

    def __init__(self, cells: Sequence[Cell], w_CN: Tensor, grad_CN: Tensor, rate_C: Tensor):
        first = cells[0]
        self.kind, self.w_CN = first.optimiser, w_CN
        count = 2 if self.kind != "sgd" else int(any(cell.momentum for cell in cells))
        self.moments_CN = [torch.zeros_like(w_CN) for _ in range(count)]
        self.done_C = torch.zeros(len(cells), device=w_CN.device)
        self.has_moments = [self.kind != "sgd" or cell.momentum > 0 for cell in cells]
        alike: dict[tuple[object, ...], list[int]] = {}
        for c, cell in enumerate(cells):
            options = cell.lr, cell.momentum, cell.weight_decay, str(cell.lr_schedule), cell.reset.name
            alike.setdefault(options, []).append(c)
        self._launches = [self._launch(cells[rows[0]], rows, grad_CN, rate_C) for rows in alike.values()]

    def _launch(self, cell: Cell, rows: Sequence[int], grad_CN: Tensor, rate_C: Tensor) -> Callable[[], object]:
        w, grad, *moments = ([x[c] for c in rows] for x in (self.w_CN, grad_CN, *self.moments_CN))
        shared: dict[str, Any] = {"lr": rate_C[rows[0]], "weight_decay": cell.weight_decay, "maximize": False}
        if self.kind == "sgd":
            # From a buffer of 0, momentum's first step is the one that torch takes without a buffer.
            shared |= {"momentum": cell.momentum, "dampening": 0.0, "nesterov": False, "is_first_step": False}
            buffers = moments[0] if cell.momentum else []
            return lambda: FUSED._fused_sgd_.tensor_lr(w, grad, buffers, **shared)
        step = FUSED._fused_adamw_.tensor_lr if self.kind == "adamw" else FUSED._fused_adam_.tensor_lr
        done = [self.done_C[c] for c in rows]
        return lambda: step(w, grad, *moments, [], done, beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False, **shared)

    def load(self, starts: Sequence[Start], dead_CN: Tensor) -> None:
        """Set each row's moments for the beginning of its round: those kept, or 0. A dead weight's are always 0."""
        for moment_CN in self.moments_CN:
            moment_CN.zero_()
        self.done_C.zero_()
        for c, start in enumerate(starts):
            for moment_CN, moment in zip(self.moments_CN, start.moments, strict=False):
                moment_CN[c, :len(moment)] = moment.to(moment_CN.device)
            if len(start.moments) == 3:
                self.done_C[c] = float(start.moments[2])
        for moment_CN in self.moments_CN:
            moment_CN.masked_fill_(dead_CN, 0)

    @torch.no_grad()
    def step(self) -> None:
        self.done_C.add_(1)
        for launch in self._launches:
            launch()

    def moments(self, c: int, learnt: int) -> list[Tensor]:
        """As `train.Trainer` leaves them: [momentum] or [first, second, steps]."""
        if not self.has_moments[c]:
            return []
        flat = [moment_CN[c, :learnt].cpu().clone() for moment_CN in self.moments_CN]
        return flat if self.kind == "sgd" else [*flat, self.done_C[c].cpu().clone()]


# The step, recorded

def recorded(step: Callable[[], None], rehearse: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The step as one CUDA graph, so that its hundred small kernels are launched at once; on a CPU the step itself.

    All that a step reads and writes must keep its address, the step's number too. `rehearse` makes a step whose result
    is thrown away: libraries set themselves up in the first few, which cannot be recorded.
    """
    if device.type != "cuda":
        return step
    with torch.cuda.device(device):
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(3):
                rehearse()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # On the warm stream, which is this recording's own. PyTorch's default one is shared: when any graph on it goes,
        # what libraries hold there is cleared.
        with torch.cuda.graph(graph, stream=side):
            step()
    return graph.replay


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Float32 without TF32, and cuDNN with its deterministic kernels."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(allowed)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class StackTrainer:
    """Trains and measures cells of one program all at once, each as a `Trainer` does alone."""

    name = "stacked"

    def __init__(self, cells: Sequence[Cell], images: Images, device: str | torch.device = "cpu",
                 watch: Watch = lambda *_: None):
        self.cells, self.images, self.device, self.watch = list(cells), images, torch.device(device), watch
        self.examples = OfImages(images)
        first, count = self.cells[0], len(self.cells)
        self.net = build_net(first, images.inputs, images.classes)
        self.dtype = self.net.w.dtype
        self.steps = steps_in_round(first, len(images.train.y))
        self.grid = curve_steps(first, self.steps, len(images.train.y))
        self._held = _to(images, self.device)
        self._module, self._dropouts = for_stacks(self.net.module)
        self._module.to(self.device)

        learnt = [slot for slot in self.net.slots if slot.role != "statistic"]
        statistics = [slot for slot in self.net.slots if slot.role == "statistic"]
        self._names = [slot.name for slot in (*learnt, *statistics)]
        self.learnt = self.net.learnt
        padded = -(-self.learnt // ALIGNED) * ALIGNED

        # What a step reads and writes. None of it may move: a recorded step holds the addresses.
        new = {"dtype": self.dtype, "device": self.device}
        self.w_CN = torch.zeros(count, padded, **new)
        self.grad_CN = torch.zeros_like(self.w_CN)
        self.dead_CN = torch.zeros(count, padded, dtype=torch.bool, device=self.device)
        # A tensor for each: vmap updates a batch norm's statistics in place only where they lie without gaps.
        self.statistics = [(slot, torch.zeros(count, *slot.shape, **new)) for slot in statistics]
        self._order_seeds = list(dict.fromkeys(order_seed(cell) for cell in self.cells))
        order_of_cells = [self._order_seeds.index(order_seed(cell)) for cell in self.cells]
        self._order_of_C = torch.tensor(order_of_cells, device=self.device)
        shape = max(self.steps, 1), len(self._order_seeds), first.batch_size
        self.order = torch.zeros(shape, dtype=torch.int32, device=self.device)
        # Float32 whatever the precision: the fused kernels on CUDA read it so.
        self.rates = torch.zeros(max(self.steps, 1), count, device=self.device)
        self.rate_C = torch.zeros(count, device=self.device)
        self.keys_CD = torch.zeros(count, len(self._dropouts), dtype=torch.int64, device=self.device)
        self.t = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.loss_C = torch.zeros(count, dtype=torch.float64, device=self.device)
        """Summed since the last point of the curve."""
        self.optimiser = Optimiser(self.cells, self.w_CN, self.grad_CN, self.rate_C)
        # A leaf for each parameter. Were they slices of one leaf, each gradient would be padded to the whole and added.
        self._leaves = [each_of(slot, self.w_CN).requires_grad_() for slot in learnt]
        self._grads = [(each_of(slot, self.grad_CN), each_of(slot, self.dead_CN)) for slot in learnt]
        self._zero = torch.zeros((), **new)
        self._piece = max(2 * first.batch_size, copies(self.net) // kept_an_image(self.net, images.inputs))
        """Images measured at a time: they take no more memory than two steps do, or the copies of the weights."""
        self._run: Callable[[], None] | None = None
        self._try()

    # One network, and the map over many

    def _logits(self, values: Sequence[Tensor], keys: Tensor, x: Tensor) -> Tensor:
        keyed = {f"{name}.key": key for name, key in zip(self._dropouts, keys.unbind(), strict=True)}
        return functional_call(self._module, {**dict(zip(self._names, values, strict=True)), **keyed}, (x,))

    def _forward(self, x: Tensor, of_each: bool) -> Tensor:
        """Logits (C, B, classes). `of_each`: each cell has a batch of its own; otherwise they share one."""
        for name in self._dropouts:
            self._module.get_submodule(name).calls = 0  # pyright: ignore[reportArgumentType]
        # Convolutions' weights channels first. Channels last (as slots lie), their output would be so too, and a norm
        # asks for its input's layout, which a mapped tensor does not know.
        values = [leaf.clone(memory_format=torch.contiguous_format) if leaf.dim() == 5 else leaf
                  for leaf in self._leaves]
        values += [value for _, value in self.statistics]
        mapped = vmap(self._logits, in_dims=(0, 0, 0 if of_each else None))
        return mapped(values, mixed(self.keys_CD + self.t * GOLDEN), x)

    def _step(self) -> None:
        """One step of every cell. Its number `t` is on the device, so that every step is the same program."""
        train, precision = self._held.train, self.cells[0].precision
        self._module.train()
        chosen_KB = self.order.index_select(0, self.t)[0]
        alone = len(chosen_KB) == 1
        x = self._held.batch(train.x.index_select(0, chosen_KB.flatten()), self.dtype)
        y = train.y.index_select(0, chosen_KB.flatten())
        if not alone:
            x = x.view(*chosen_KB.shape, *x.shape[1:]).index_select(0, self._order_of_C)
            y = y.view(chosen_KB.shape).index_select(0, self._order_of_C)
        # No cached casts: a recorded step would replay the cast of its first weights for ever.
        half = precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if half else nullcontext():
            logits = self._forward(x, of_each=not alone)
            loss_C = _losses(logits, y).mean(1)
        # Cells share no weight, so the gradient of the sum is each cell's own, and a NaN stays in its row.
        gradients = torch.autograd.grad(loss_C.sum(), self._leaves, allow_unused=True)
        for each, (grad, dead) in zip(gradients, self._grads, strict=True):
            torch.where(dead, self._zero, self._zero if each is None else each, out=grad)
        torch.index_select(self.rates, 0, self.t, out=self.rate_C.view(1, -1))
        self.optimiser.step()
        self.loss_C += loss_C.detach()
        self.t += 1

    def _rehearse(self) -> None:
        self.t.zero_()
        self._step()

    def _try(self) -> None:
        """Refuse, before anything is trained, a module that cannot be mapped."""
        shape = min(2, self.cells[0].batch_size), *self.images.inputs
        inputs = torch.zeros(shape, dtype=self.dtype, device=self.device)
        try:
            with torch.no_grad():
                self._module.train()
                self._forward(inputs, of_each=False)
        except (RuntimeError, ValueError) as error:
            if out_of_memory(error):
                raise
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f'model = "{self.cells[0].model.name}": cannot be trained in a stack: {reason} '
                f"Train its cells one at a time; draws of a module's own must come from an nn.Dropout in it."
            ) from error

    # A round

    def train(self, starts: Sequence[Start], round_: int, names: Sequence[str] | None = None) -> list[Trained]:
        """One round of every cell. The host waits for the device at points of the curve, never between."""
        names = names or [""] * len(self.cells)
        with _exact(self.device):
            self.prepare(starts, round_)
            return train_round(self, self, self.cells, round_, names)

    def prepare(self, starts: Sequence[Start], round_: int) -> None:
        """The round of every cell, at its first step."""
        if self.steps and self._run is None:
            self._run = recorded(self._step, self._rehearse, self.device)
        alive = torch.stack([start.mask[:self.learnt] for start in starts])
        self.dead_CN[:, :self.learnt] = ~alive.to(self.device)
        self._load([start.w for start in starts])
        self._had_moments = [bool(start.moments) for start in starts]
        # Dead weights begin at 0 with moments of 0 and never see a gradient, so that no step moves them.
        self.w_CN.masked_fill_(self.dead_CN, 0)
        self.optimiser.load(starts, self.dead_CN)
        if self.steps:
            count, batch = len(self.images.train.y), self.cells[0].batch_size
            orders = [streams.batch_order(count, batch, self.steps, seed, round_) for seed in self._order_seeds]
            self.order.copy_(torch.stack(orders, 1))
            self.rates.copy_(self._rates(round_))
        keys = [[int(streams.generator(cell.seed, "dropout", round_, number).integers(2**62))
                 for number in range(len(self._dropouts))] for cell in self.cells]
        self.keys_CD.copy_(torch.tensor(keys, dtype=torch.int64))
        self.t.fill_(first_step(self.cells[0], round_))
        _synchronise(self.device)

    def _load(self, ws: Sequence[Tensor]) -> None:
        w = torch.stack(list(ws)).to(self.device)
        self.w_CN[:, :self.learnt] = w[:, :self.learnt]
        for slot, value in self.statistics:
            value.copy_(w[:, slot.start:slot.stop].view_as(value))

    def _rates(self, round_: int) -> Tensor:
        factors: dict[tuple[str, float], list[float]] = {}
        rates: list[list[float]] = []
        for cell in self.cells:
            key = str(cell.lr_schedule), progress(cell, round_, 0, self.steps)
            if key not in factors:
                schedule, options = lr_schedule.get(cell.lr_schedule.name), cell.lr_schedule.options
                at = [progress(cell, round_, step, self.steps) for step in range(self.steps)]
                factors[key] = [schedule({"progress": lambda here=here: here}, options) for here in at]
            rates.append([cell.lr * factor for factor in factors[key]])
        return torch.tensor(rates).T

    # What the loop asks for

    def advance(self, first: int, last: int, losses: list[float]) -> list[float]:
        """As `train.Round`: the host waits for the device at the end, never between steps."""
        assert self._run
        self.loss_C.copy_(torch.tensor(losses, dtype=torch.float64))
        for _ in range(first, last):
            self._run()
        return self.loss_C.tolist()

    def points(self) -> list[dict[str, float]]:
        validation = self._here(self._held.validation) if self._held.validation else None
        splits = {**({"validation": validation} if validation else {}), "test": self._here(self._held.test)}
        return [{f"{name}_{key}": each[c][key] for name, each in splits.items() for key in ("loss", "accuracy")}
                for c in range(len(self.cells))]

    def w(self, seat: int = 0) -> Tensor:
        """A copy of one cell's whole vector, on the device."""
        return torch.cat([self.w_CN[seat, :self.learnt], *[value[seat].flatten() for _, value in self.statistics]])

    def moments(self, seat: int = 0) -> list[Tensor]:
        return self.optimiser.moments(seat, self.learnt) if self.steps or self._had_moments[seat] else []

    # Measuring

    def measure(self, ws: Sequence[Tensor]) -> list[Measured]:
        """Loss and accuracy of a whole vector for each cell, on every split, each image counted once."""
        with _exact(self.device):
            self._load(ws)
            splits = {"train": self._held.train, "validation": self._held.validation, "test": self._held.test}
            seen = {name: self._here(split) if split else [None] * len(self.cells) for name, split in splits.items()}
        return [{name: each[c] for name, each in seen.items()} for c in range(len(self.cells))]

    @torch.no_grad()
    def _here(self, split: Split) -> list[dict[str, float]]:
        self._module.eval()
        loss_C, correct_C = torch.zeros_like(self.loss_C), torch.zeros_like(self.t).repeat(len(self.cells))
        top5_C = torch.zeros_like(correct_C)
        for x, y in zip(split.x.split(self._piece), split.y.split(self._piece), strict=True):
            logits = self._forward(self._held.batch(x, self.dtype), of_each=False)
            loss_C += _losses(logits.double(), y).sum(1)
            correct_C += (logits.argmax(2) == y).sum(1)
            top5_C += in_top5(logits, y.expand(logits.shape[:2])).sum(1)
        count = len(split.y)
        return [measured(loss, correct, top5, count)
                for loss, correct, top5 in zip(loss_C.tolist(), correct_C.tolist(), top5_C.tolist(), strict=True)]


def each_of(slot: Slot, flat_CN: Tensor) -> Tensor:
    """`slot.of` for every row at once: a view (C, *shape), in whatever order the slot lays its values."""
    strides = slot.of(torch.empty(slot.stop, device="meta")).stride()
    laid = sorted(range(len(slot.shape)), key=lambda d: -strides[d])
    part = flat_CN.detach()[:, slot.start:slot.stop].unflatten(1, [slot.shape[d] for d in laid])
    return part.permute(0, *[1 + laid.index(d) for d in range(len(laid))])


def _losses(logits: Tensor, y: Tensor) -> Tensor:
    """Cross entropy (C, B). Labels are (C, B), or (B) and the same for every cell."""
    each = logits.shape[:2]
    return cross_entropy(logits.flatten(0, 1), y.expand(each).flatten(), reduction="none").view(each)


def _to(images: Images, device: torch.device) -> Images:
    def moved(split: Split) -> Split:
        return Split(split.x.to(device), split.y.to(device))

    validation = moved(images.validation) if images.validation else None
    return replace(images, train=moved(images.train), validation=validation, test=moved(images.test),
                   shift=images.shift.to(device), scale=images.scale.to(device))
