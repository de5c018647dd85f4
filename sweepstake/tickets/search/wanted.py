"""What a user asks of a pruning of their own module, as a cell: the same pieces, ids and checks as a study's."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from torch import nn

from sweepstake.base.cell import SETS, Cell, Ref, hash_cell
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.values import convert
from sweepstake.pieces import REGISTRIES, neutral_options

YOURS = "yours"
"""The name of a data set and of a model that are the user's own."""

KEYS = ("keep", "output_keep", "remove", "rounds", "criterion", "allocation", "reset", "granularity", "prune_layers",
        "prune_biases", "prune_when", "control", "init", "bias_init", "seed")
"""What of a cell is asked of a module of one's own. The rest of a cell says how a study trains."""


def cell_of(place: str, model: nn.Module, name: str = "", **asked: Any) -> Cell:
    """The cell that says this pruning; every mistake in what is asked at once, each in one line."""
    given = {"allocation": "everywhere", "init": "framework_default", "bias_init": "zeros", "criterion": "magnitude",
             "reset": "rewind", **asked}
    fields = {each.name: each for each in msgspec.structs.fields(Cell)}
    values, problems = dict[str, Any](), list[str]()
    for key, value in given.items():
        try:
            if key not in KEYS:
                raise UserError(unknown(f"{place}: {key}", "argument", key, KEYS))
            where = f"{place}: {key}"
            values[key] = ref_of(SETS[key], value, where) if key in SETS else convert(value, fields[key].type, where)
        except UserError as error:
            problems += error.problems
    if values.get("control") == "transplant":
        problems.append(f'{place}: control = "transplant" takes the masks of a cell of a study. '
                        "Give another ticket's masks to Masks(model, ticket.masks).")
    if problems:
        raise UserError(*problems)
    own = Ref(YOURS, {"module": type(model).__qualname__, "name": name})
    schedule = REGISTRIES["lr_schedule"].ref("constant", {}, place)
    return Cell(dataset=Ref(YOURS), model=own, lr_schedule=schedule, **values)


def listed(layers: str | Sequence[str]) -> list[str]:
    """Kinds and names of layers; one may stand alone."""
    return [layers] if isinstance(layers, str) else list(layers)


def ref_of(set_: str, value: Any, place: str) -> Ref:
    """A piece by its name, or by a table of its name and options."""
    given: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f'{place} = {value!r}: give a name, as "magnitude", or a table, '
                        'as {"name": "magnitude_increase", "weight": 0.5}.')
    return REGISTRIES[set_].ref(name, given, place)


def id_of(cell: Cell) -> str:
    """The name of a search in a store."""
    return hash_cell(cell, lambda set_, name: {} if name == YOURS else neutral_options(set_, name))
