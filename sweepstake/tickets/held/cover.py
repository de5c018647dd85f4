"""A cover: the masked parameters of one module, as the very tensors they are, and which of their weights are dead.

Everything that sets a dead weight to 0 goes through here.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter, UninitializedParameter

from sweepstake.base.errors import UserError, unknown

COMPILED = "_orig_mod."
"""What torch.compile puts before a parameter's own name. DistributedDataParallel, DataParallel and AveragedModel put
`module.` there, which may also be a module's own child."""

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Cover:
    """The masked parameters of a module, and which of their weights are dead."""

    def __init__(self, module: nn.Module, masks: Mapping[str, Tensor]):
        """Every mask is checked against the module before anything is kept; nothing is changed."""
        own = dict(module.named_parameters())
        if problems := misfits(module, masks):
            raise UserError(*problems)
        self.module = module
        self.parameters = {name: parameter for name, parameter in own.items() if name in masks}
        self._bits = {name: _bits(masks[name].to(each.device)) for name, each in self.parameters.items()}

    @property
    def alive(self) -> dict[str, Tensor]:
        """Which weights of each parameter are alive, where the parameter lies."""
        return {name: self.bits(name) != 0 for name in self.parameters}

    def bits(self, name: str) -> Tensor:
        """All bits on where a weight of this parameter is alive, all off where it is dead, where the parameter lies."""
        device = self.parameters[name].device
        if self._bits[name].device != device:
            self._bits[name] = self._bits[name].to(device)
        return self._bits[name]

    def replace(self, name: str, alive: Tensor) -> None:
        """Other weights of this parameter are alive from here on."""
        self._bits[name] = _bits(alive)

    def clear(self, name: str, tensor: Tensor) -> None:
        """Set the dead of a tensor to 0, whatever they are."""
        _clear(tensor, self.bits(name).to(tensor.device))

    def clear_weights(self, names: Iterable[str] | None = None) -> None:
        for name in self.parameters if names is None else names:
            self.clear(name, self.parameters[name])

    def clear_gradient(self, name: str) -> None:
        """Set the dead of a parameter's gradient to 0, where it has one; of a sparse one, in the rows that it holds."""
        parameter = self.parameters[name]
        if parameter.grad is None:
            return
        if not parameter.grad.is_sparse:
            self.clear(name, parameter.grad)
            return
        gradient = parameter.grad.coalesce()
        _clear(gradient.values(), self.bits(name)[tuple(gradient.indices())])
        parameter.grad = gradient

    def of(self, other: nn.Module) -> dict[str, Parameter]:
        """The same parameters in another module: a copy, an average, or a wrapper of it."""
        theirs = {own_name(name, self.parameters): each for name, each in other.named_parameters()}
        problems = [f"masks: {name} is not in this {type(other).__name__}." for name in self.parameters
                    if name not in theirs]
        problems += [f"masks: {name} has shape {tuple(theirs[name].shape)} in this {type(other).__name__}, "
                     f"and its mask {tuple(mask.shape)}." for name, mask in self.parameters.items()
                     if name in theirs and theirs[name].shape != mask.shape]
        if problems:
            raise UserError(*problems)
        return {name: theirs[name] for name in self.parameters}

    def replaced(self) -> list[str]:
        """The parameters in whose place the module holds another tensor by now, in words."""
        now = dict(self.module.named_parameters())
        return [f"masks: {name} is no longer the tensor that is masked; something put another in its place, such as "
                "load_state_dict(..., assign=True). Leave assign out, or make the masks again with masks.on(model)."
                for name, parameter in self.parameters.items() if now.get(name) is not parameter]

    def broken(self, parameters: Mapping[str, Tensor]) -> list[str]:
        """The modules of which a dead weight is not 0, in words."""
        problems = list[str]()
        for name, parameter in parameters.items():
            wrong = int(((parameter.detach() != 0) & (self.bits(name) == 0).to(parameter.device)).sum())
            if wrong:
                layer, _, role = name.rpartition(".")
                problems.append(f"masks: {layer or type(self.module).__name__}: {wrong:,} dead of its {role} "
                                f"({name}) {'is' if wrong == 1 else 'are'} not 0.")
        return problems


def _bits(alive: Tensor) -> Tensor:
    return -alive.to(torch.int8)


def _clear(tensor: Tensor, bits: Tensor) -> None:
    """Keep a tensor's numbers where all bits are on, and make it 0 where they are off.

    A product would leave NaN of inf and NaN, and filling by a mask takes several times as long (bench/hold.py).
    """
    whole = tensor.detach()
    whole.view(INTEGERS[whole.element_size()]).bitwise_and_(bits)


def own_name(name: str, known: Iterable[str]) -> str:
    """A parameter's own name, without what wrappers put before it."""
    bare = name.replace(f".{COMPILED}", ".").removeprefix(COMPILED)
    while bare not in known and bare.startswith("module."):
        bare = bare.removeprefix("module.").removeprefix(COMPILED)
    return bare


def inside(module: nn.Module, names: Iterable[str]) -> nn.Module:
    """The module that has these names itself: this one, or the one that it wraps."""
    own = dict(module.named_parameters())
    within = next((each for each in (getattr(module, word, None) for word in ("module", "_orig_mod"))
                   if isinstance(each, nn.Module)), None)
    return module if within is None or all(name in own for name in names) else inside(within, names)


def misfits(module: nn.Module, masks: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with masks for this module, in words."""
    own, every = dict(module.named_parameters()), dict(module.named_parameters(remove_duplicate=False))
    if not masks:
        return ["masks: none were given. Name at least one parameter and which of its weights are alive."]
    problems = list[str]()
    for name, mask in masks.items():
        if name in own:
            problems += _misfit(name, own[name], mask)
        elif name in every:
            first = next(each for each, parameter in own.items() if parameter is every[name])
            problems.append(f"masks: {name} is the same tensor as {first}. Give its mask under {first} alone.")
        else:
            problems.append(unknown(f"masks: {name}", "parameter", name, own))
    return problems


def _misfit(name: str, parameter: Tensor, mask: object) -> list[str]:
    if isinstance(parameter, UninitializedParameter):
        return [f"masks: {name} has no shape yet. Put one batch through the module first."]
    if type(parameter.data) is not Tensor:
        return [f"masks: {name} is a {type(parameter.data).__name__}. Only plain tensors can be masked, "
                "not sharded or quantised ones."]
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = f"dtype {mask.dtype}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        return [f"masks: {name}: its mask is {given}, expected a tensor of dtype torch.bool, True where alive."]
    if not parameter.is_floating_point():
        return [f"masks: {name} is of dtype {parameter.dtype}, which no optimiser steps. Leave it out."]
    if mask.shape != parameter.shape:
        return [f"masks: {name} has shape {tuple(parameter.shape)}, and its mask {tuple(mask.shape)}."]
    return []
