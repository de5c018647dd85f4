"""A network's forward as a graph of plain torch calls on its own parameters, by TorchDynamo.

Whatever does not follow from the inputs or the weights is a constant of the graph.
"""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from sweepstake.tickets.thinning.inputs import Inputs
from sweepstake.tickets.thinning.structure import NoStructure


def by_dynamo(model: nn.Module, inputs: Inputs) -> Captured:
    """The graph that torch.compile hands to its backend, once the network has run on the example."""
    import torch._dynamo as dynamo

    got: list[tuple[fx.GraphModule, list[Any]]] = []

    def backend(graph: fx.GraphModule, example: list[Any]) -> Any:
        got.append((graph, example))
        return graph.forward

    dynamo.reset()
    try:
        with dynamo.config.patch(allow_rnn=True), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            inputs.run(torch.compile(model, backend=backend, fullgraph=True, dynamic=False))  # pyright: ignore
    except Exception as problem:
        raise NoStructure(f"TorchDynamo: {str(problem).strip().splitlines()[0]}") from problem
    finally:
        dynamo.reset()
    if len(got) != 1:
        raise NoStructure("TorchDynamo: no single graph")
    module, example = got[0]
    places = [node for node in module.graph.nodes if node.op == "placeholder"]
    return plain(model, module, dict(zip(places, example, strict=True)))


class _Constants(fx.Interpreter):
    """Runs a graph once and keeps what follows from nothing that varies."""

    def __init__(self, module: fx.GraphModule, values: dict[fx.Node, Any], varies: set[int], fixed: set[int]):
        super().__init__(module)
        self.given, self.varies, self.fixed = values, varies, fixed
        self.varying, self.constants = set[fx.Node](), dict[fx.Node, Any]()

    def run_node(self, n: fx.Node) -> Any:
        value = self.given[n] if n.op == "placeholder" else super().run_node(n)
        own = id(value) in self.varies
        given = n.op == "placeholder" and isinstance(value, Tensor) and id(value) not in self.fixed
        if own or given or n.op == "output" or any(each in self.varying for each in n.all_input_nodes):
            self.varying.add(n)
        else:
            self.constants[n] = value
        return value


@dataclass(frozen=True)
class Captured:
    """A graph with all its weights and constants in one module, its inputs, and the weights' names in the network."""

    module: fx.GraphModule
    inputs: tuple[Tensor, ...]
    names: dict[str, str]


def plain(model: nn.Module, module: fx.GraphModule, values: dict[fx.Node, Any]) -> Captured:
    """The same graph, in which what follows from neither inputs nor weights is a constant."""
    own = {id(value): name for name, value in [*model.named_buffers(), *model.named_parameters()]
           if value.is_floating_point()}
    run = _Constants(module, values, {id(value) for value in model.parameters()},
                     {id(value) for value in model.buffers()})
    with torch.no_grad():
        run.run(*values.values())
    root, graph, made = dict[str, Any](), fx.Graph(), dict[fx.Node, Any]()
    inputs, names = list[Tensor](), dict[str, str]()
    for node in module.graph.nodes:
        value = values.get(node, run.constants.get(node))
        if node.op == "get_attr":
            value = _attribute(module, str(node.target))
        if id(value) in own and node.op in ("placeholder", "get_attr"):
            name = f"weight{list(own).index(id(value))}"
            root[name], names[name] = value, own[id(value)]
            made[node] = graph.get_attr(name)
        elif node.op == "placeholder" and node not in run.constants and isinstance(value, Tensor):
            made[node] = graph.placeholder(f"input{len(inputs)}")
            inputs.append(value)
    for node in module.graph.nodes:
        if node in made:
            continue
        if node in run.constants:
            made[node] = _constant(run.constants[node], root, graph)
        elif node.op == "placeholder":
            made[node] = values[node]
        elif node.target is operator.getitem and new_axes(node.args[1]):
            made[node] = unsqueezed(graph, made[node.args[0]], node.args[1])
        else:
            made[node] = graph.node_copy(node, lambda each: made[each])
    graph.eliminate_dead_code()
    return Captured(fx.GraphModule(root, graph).eval(), tuple(inputs), names)


def new_axes(index: Any) -> bool:
    """Whether an index only takes slices and makes new axes."""
    return type(index) is tuple and None in index and all(each is None or each == slice(None) for each in index)


def unsqueezed(graph: fx.Graph, value: Any, index: Any) -> Any:
    """x[:, None] as x.unsqueeze(1), which torch-kirigami follows."""
    for axis, each in enumerate(index):
        if each is None:
            value = graph.call_method("unsqueeze", (value, axis))
    return value


def _constant(value: Any, root: dict[str, Any], graph: fx.Graph) -> Any:
    if isinstance(value, Tensor):
        name = f"constant{len(root)}"
        root[name] = value.detach()
        return graph.get_attr(name)
    if type(value) in (tuple, list):
        return type(value)(_constant(each, root, graph) for each in value)
    return value


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value
