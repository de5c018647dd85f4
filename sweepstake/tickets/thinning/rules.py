"""What torch-kirigami is told of functions that it does not know: names that TorchDynamo uses, and torch.roll."""

from typing import Any

import torch
from torch_kirigami import AxisBarrier, AxisRelation, Operation, OperatorRegistry, OperatorRule, OperatorSpec
from torch_kirigami.dep_graph.operators.rules import PaddingRule, PointwiseRule, ReductionRule, ReshapeRule

from sweepstake.pieces import networks


class RollRule(OperatorRule):
    """Axes that are not rolled stay as they are; nothing is cut along the others."""

    def build_spec(self, operation: Operation) -> OperatorSpec:
        x: Any = operation.argument("input", 0)
        y: Any = operation.result
        dims: Any = operation.argument("dims", 2)
        rolled = range(len(x.shape)) if dims is None else [dims] if isinstance(dims, int) else dims
        fixed = {dim % len(x.shape) for dim in rolled}
        free, name = [dim for dim in range(len(x.shape)) if dim not in fixed], operation.node.name
        same: Any = tuple(AxisRelation.equal(x.axis(dim), y.axis(dim), name) for dim in free)
        barred = [AxisBarrier(each.axis(dim), "rolled positions stay", name) for each in (x, y) for dim in fixed]
        return OperatorSpec(same, tuple(barred))


def registry() -> OperatorRegistry:
    """The library's rules and these."""
    rules, native = OperatorRegistry.default(), torch._C
    rules.register(native._nn.pad, PaddingRule(fresh=True))  # pyright: ignore
    rules.register(native._linalg.linalg_vector_norm, ReductionRule(fresh=True))  # pyright: ignore
    rules.register(torch.roll, RollRule(evaluate_on_meta=True))
    rules.register(networks.Flatten, ReshapeRule(fresh=False))
    rules.register(networks.Dropout, PointwiseRule(fresh=False))
    return rules
