"""The formats of `export`: each writes a module to a file and gives what runs that file."""

import inspect
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.exported.example import Inputs, tensors_in


class Failed(Exception):
    """A module did not get into a file, and why."""

    def __init__(self, what: str, error: BaseException | None = None, next_step: str = ""):
        super().__init__(what if error is None else f"{what} ({_reason(error)})")
        self.next_step = next_step


WEIGHTS_ALONE = 'Change the module there, or keep its weights alone with to = "safetensors".'


@dataclass(frozen=True)
class Written:
    run: Callable[[Inputs], list[Tensor]]
    """The answers of the file, read again."""
    any_batch: bool
    said: tuple[str, ...] = ()


def safetensors(module: nn.Module, inputs: Inputs, file: Path) -> Written:
    """Every tensor of the module's state by its name. The file is read into a copy that holds none of them."""
    from safetensors.torch import load_model, save_model

    try:
        save_model(module, str(file))
        copy = deepcopy(module)
        with torch.no_grad():
            for value in copy.state_dict().values():
                value.fill_(float("nan") if value.is_floating_point() else 0)
        load_model(copy, file)
    except Exception as error:
        raise Failed("safetensors does not take its weights", error) from error
    return Written(lambda given: tensors_in(given.into(copy)), any_batch=False,
                   said=("weights alone: whoever reads them needs the module's code.",))


def torch_export(module: nn.Module, inputs: Inputs, file: Path) -> Written:
    """The module's graph as torch.export has it."""
    program, said = _program(module, inputs)
    try:
        with _quiet():
            torch.export.save(program, file)
            read = torch.export.load(file).module()
    except Exception as error:
        raise Failed("torch.export does not save it", error) from error
    return Written(lambda given: tensors_in(given.into(read)), not said, said)


def onnx(module: nn.Module, inputs: Inputs, file: Path) -> Written:
    """The same graph as ONNX, its weights inside, run by ONNX Runtime on the CPU."""
    _need("onnx", "onnxscript", "onnxruntime")
    if any(tensor.dtype == torch.bfloat16 for tensor in [*module.parameters(), *inputs.tensors]):
        raise Failed("ONNX Runtime has no bfloat16 on the CPU: export module.float() instead")
    program, said = _program(module, inputs)
    axes: list[dict[int, str] | None] = [None] * len(inputs.tensors)
    if not said:
        axes[next(place for place, each in enumerate(inputs.tensors) if inputs.is_batched(each))] = {0: "batch"}
    try:
        with _quiet():
            torch.onnx.export(program, f=file, dynamo=True, verbose=False, external_data=False,
                              dynamic_shapes=None if said else tuple(axes))
    except Exception as error:
        raise Failed("ONNX does not take it", error, WEIGHTS_ALONE) from error
    return Written(_onnx_runtime(file), not said, said)


def _onnx_runtime(file: Path) -> Callable[[Inputs], list[Tensor]]:
    try:
        import onnx
        import onnxruntime

        onnx.checker.check_model(str(file), full_check=True)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Failed("ONNX Runtime does not take the file", error) from error
    names = [each.name for each in session.get_inputs()]

    def run(given: Inputs) -> list[Tensor]:
        tensors = given.tensors
        if len(names) != len(tensors):
            raise Failed(f"the file takes {len(names)} inputs, and the example has {len(tensors)} tensors: "
                         "leave out what the module does not read")
        try:
            fed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
            return [torch.from_numpy(answer) for answer in session.run(None, fed)]
        except Exception as error:
            raise Failed("ONNX Runtime does not run the file", error) from error

    return run


def _program(module: nn.Module, inputs: Inputs) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """The module's graph for any batch; where it has none, for the example's batch alone, and that said."""
    # torch.export takes a batch of 1 for a constant.
    several = inputs.of_batch(max(2, inputs.batch))
    try:
        return _traced(module, several, {0: torch.export.Dim("batch")}), ()
    except Failed:
        program = _traced(module, inputs, None)
    return program, (f"of batch {inputs.batch} alone: the module's own code fixes the batch.",)


def _traced(module: nn.Module, inputs: Inputs, batch: dict[int, Any] | None) -> torch.export.ExportedProgram:
    def axes(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: axes(each) for name, each in value.items()}
        return tuple(map(axes, value)) if isinstance(value, tuple) else batch if inputs.is_batched(value) else None

    by_name = inspect.signature(module.forward).bind(*inputs.args, **inputs.kwargs).arguments
    shapes = axes(by_name) if batch else None
    with _inside(module) as entered, _quiet():
        try:
            return torch.export.export(module, inputs.args, inputs.kwargs, dynamic_shapes=shapes, strict=False)
        except Exception as error:
            where = entered[-1] if entered else ""
            what = f"torch.export does not take {f'its {where}' if where else 'it'}"
            raise Failed(what, error, WEIGHTS_ALONE) from error


@contextmanager
def _inside(module: nn.Module) -> Iterator[list[str]]:
    """The modules that run at the moment, outermost first: where an error is from, the last."""
    entered: list[str] = []
    hooks = []

    def left(*_: Any) -> None:
        entered.pop()

    for name, each in module.named_modules():
        told = f"{name} ({type(each).__name__})" if name else ""
        hooks.append(each.register_forward_pre_hook(lambda *_, told=told: entered.append(told), prepend=True))
        hooks.append(each.register_forward_hook(left))
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _reason(error: BaseException) -> str:
    """The first line of what was at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    first = lines[0].rstrip(".:") if lines else ""
    return f"{type(error).__name__}: {first[:200]}".rstrip(": ")


def _need(*packages: str) -> None:
    if missing := [package for package in packages if find_spec(package) is None]:
        raise UserError(f'export to ONNX needs {", ".join(missing)}: pip install "sweepstake[export]".')


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporters say of themselves, and of nothing in the module, is not said."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
