"""Sparse layers made dense again, for what knows only dense ones.

A sparse layer is a module with a method `to_dense`, which gives its dense twin.
"""

from copy import deepcopy
from typing import Any

from torch import nn


def sparse_layers(module: nn.Module) -> dict[str, Any]:
    """By name, outermost first: a chain of sparse layers before each of them."""
    return {name: layer for name, layer in module.named_modules() if hasattr(layer, "to_dense")}


def own_names(module: nn.Module) -> list[str]:
    """The sparse layers that hold weights themselves: of a chain of them its parts."""
    return [name for name, layer in sparse_layers(module).items() if not any(layer.children())]


def dense_copy(module: nn.Module) -> nn.Module:
    """A copy of the module in evaluation, each sparse layer replaced by its dense twin."""
    # A sparse layer is never copied itself: PyTorch copies no CSR tensor.
    twins = {id(layer): deepcopy(layer.to_dense()) for layer in sparse_layers(module).values()}
    return deepcopy(module, twins).eval()
