"""The cell: one run, fully specified. Its id is the name of its result for ever.

A cell holds only what can change the numbers: no machine, workers, kernels or paths. Each field has a *default*, which
is hashed, or a *neutral*, the value at which the feature does not exist. A neutral value is not hashed, so that a new
field renames no result. The descriptions here are the reference of the study file.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct


class Ref(Struct, frozen=True, forbid_unknown_fields=True):
    """A piece as a cell holds it: its name, every option, and the version of its numbers.

    `source` is the hash of what the plug-in that the piece comes from says (`pieces.source.code_hash`); empty for ours.
    """

    name: str
    options: dict[str, Any] = {}
    version: int = 1
    source: str = ""

    def __str__(self) -> str:
        return self.name + (f"({', '.join(f'{k}={v}' for k, v in self.options.items())})" if self.options else "")


class Scaling(Struct, frozen=True, forbid_unknown_fields=True):
    """An explicit normalisation: (pixel / 255 - mean) / std, a number a channel."""

    mean: list[float]
    std: list[Annotated[float, Meta(gt=0)]]


Keep = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Epochs = Annotated[float, Meta(gt=0, le=1_000_000)]
Steps = Annotated[int, Meta(ge=0, le=100_000_000)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Cell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can change the numbers of one run."""

    dataset: Annotated[Ref, Meta(description="The images. A name from `sweepstake pieces dataset`.")]
    normalise: Annotated[Literal["standard", "unit", "none"] | Scaling, Meta(description=(
        "`standard`: the mean and standard deviation of the training images, per channel; `unit`: pixels in [0, 1]; "
        "`none`: raw pixels; or `{mean = [...], std = [...]}`."))] = "standard"
    subset: Annotated[Count, Meta(description=(
        "Train on only this many training images, drawn by split_seed (0: all)."))] = 0
    validation: Annotated[Count, Meta(description=(
        "Training images held out for early stopping (0: none, and then nothing is stopped early)."))] = 0
    split_seed: Annotated[Seed, Meta(description=(
        "The draw of the validation split and the subset; the same for all cells."))] = 0

    model: Annotated[Ref, Meta(description="The network. A name from `sweepstake pieces model`.")]
    init: Annotated[Ref, Meta(description="How weights begin. A name from `sweepstake pieces init`.")]
    bias_init: Annotated[Ref, Meta(description="How biases begin; the same set of names.")]

    optimiser: Annotated[Literal["adam", "adamw", "sgd"], Meta(description=(
        "`adam`, `adamw` (decoupled decay) or `sgd`."))] = "adam"
    lr: Annotated[Positive, Meta(description="Learning rate.")] = 0.0012
    momentum: Annotated[float, Meta(ge=0, lt=1, description="Momentum of sgd.")] = 0.0
    weight_decay: Annotated[float, Meta(ge=0, description=(
        "L2 penalty (adam, sgd) or decoupled decay (adamw), on every parameter."))] = 0.0
    lr_schedule: Annotated[Ref, Meta(description=(
        "The factor on lr over a round. A name from `sweepstake pieces lr_schedule`."))]
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000, description=(
        "Images a step; every batch is full (an epoch's tail is filled from the next epoch's order)."))] = 60
    epochs: Annotated[Epochs | None, Meta(description=(
        "How long a round trains, in passes over the training images (or say steps)."))] = None
    steps: Annotated[Steps | None, Meta(description=(
        "How long a round trains, in steps (or say epochs). 0: no training at all."))] = None
    eval_every: Annotated[Count, Meta(description=(
        "Steps between two points of the learning curve, the grid early stopping looks at (0: once an epoch)."))] = 0

    rounds: Annotated[int, Meta(ge=0, le=10_000, description=(
        "Prune, reset and train this many times after round 0, which trains the whole network."))] = 10
    keep: Annotated[Keep | dict[str, Keep], Meta(description=(
        "The fraction kept in a round, of what was left: a number, or a table of layers or kinds, "
        "`{conv = 0.9, linear = 0.8, fc3 = 0.9}` (a layer's name wins over its kind; what is not named keeps all)."
        ))] = 0.8
    output_keep: Annotated[Keep | None, Meta(description=(
        "The fraction the output layer keeps in a round, if it has its own."))] = None
    remove: Annotated[dict[str, Annotated[int, Meta(ge=1)]] | None, Meta(description=(
        "Instead of keep: how many weights (or units) a layer loses in a round, `{fc1 = 6, fc2 = 2}`; layers not named "
        "lose none."))] = None
    prune_layers: Annotated[list[str], Meta(min_length=1, description=(
        "Which layers may be pruned: `all`, kinds (`linear`, `conv`, `embedding`, `attention`) or layer names. A word "
        "that is a layer's name and a kind is refused. A list of lists is an axis.")
        )] = msgspec.field(default_factory=lambda: ["all"])
    prune_biases: Annotated[bool, Meta(description=(
        "Whether biases are ranked and pruned among the weights of their layer."))] = False
    criterion: Annotated[Ref, Meta(description="The score; low scores die. A name from `sweepstake pieces criterion`.")]
    prune_when: Annotated[Literal["after", "before", "both"], Meta(description=(
        "`after`: round 0 trains the whole network, and each later round begins with a pruning scored on what the last "
        "one trained. `before`: every round, round 0 too, first prunes the weights it is about to train, so "
        "`rounds = 0` prunes at init and trains once (SNIP, GraSP, SynFlow), and round r has seen r + 1 prunings. "
        "`both`: before round 0, then after training."))] = "after"
    granularity: Annotated[Literal["weight", "unit"], Meta(description=(
        "Prune single weights, or whole units (neurons, channels)."))] = "weight"
    allocation: Annotated[Ref, Meta(description=(
        "How the kept count is shared over layers: each by itself (`per_layer`), one ranking over all (`global`), ... "
        "A name from `sweepstake pieces allocation`."))]
    reset: Annotated[Ref, Meta(description="What happens to the survivors. A name from `sweepstake pieces reset`.")]
    control: Annotated[Literal["none", "shuffle", "invert", "transplant"], Meta(description=(
        "`shuffle`: each round, rank and prune this cell's own network, then move each layer's mask to random places, "
        "counts kept. The next round ranks that shuffled network, so with one ranking of all layers the layers' counts "
        "part from those of the ticket from the second pruning on. "
        "`transplant`: take the masks of another cell, the `donor`; with `donor_mask = \"shuffled\"` it is the "
        "published control, a ticket's own masks shuffled within layers (Frankle & Carbin 2019). "
        "`invert`: keep the lowest scores."))] = "none"
    donor: Annotated[dict[str, Any] | None, Meta(description=(
        "Whose masks a transplant takes: the cell equal to this one but for these fields, as `{seed = 7}` or "
        "`{init = \"kaiming_normal\"}`; pieces by name or by table. `{}` is this cell itself without its control, for "
        "`donor_mask = \"shuffled\"`."))] = None
    donor_mask: Annotated[Literal["as_it_is", "shuffled"], Meta(description=(
        "What a transplant does with each of its donor's masks. `as_it_is`: it takes the mask to the bit. `shuffled`: "
        "it moves the mask of each layer to random places, drawn for each round, and every layer keeps as many weights "
        "(or units) as the donor's. `control = \"shuffle\"` moves a mask of its own ranking instead."))] = "as_it_is"
    optimiser_state: Annotated[Literal["cleared", "kept"], Meta(description=(
        "The optimiser's moments through a reset."))] = "cleared"

    seed: Annotated[Seed, Meta(description="The replicate: every draw of the cell comes from it.")] = 0
    order_seed: Annotated[Seed | None, Meta(description=(
        "The order of the data (default: the seed). One number shares the order among cells."))] = None
    precision: Annotated[Literal["float32", "bfloat16", "float64"], Meta(description=(
        "Of the arithmetic in training."))] = "float32"


SETS = {"dataset": "dataset", "model": "model", "init": "init", "bias_init": "init", "lr_schedule": "lr_schedule",
        "criterion": "criterion", "allocation": "allocation", "reset": "reset"}
"""The fields that name a piece, and the open set each is from."""

PIECE_DEFAULTS = {"dataset": "digits", "model": "mlp", "init": "xavier_normal", "bias_init": "zeros",
                  "lr_schedule": "constant", "criterion": "magnitude", "allocation": "per_layer", "reset": "rewind"}

NEUTRAL: dict[str, Any] = {
    "subset": 0, "validation": 0, "split_seed": 0, "bias_init": "zeros", "momentum": 0.0, "weight_decay": 0.0,
    "lr_schedule": "constant", "epochs": None, "steps": None, "eval_every": 0, "output_keep": None,
    "prune_layers": ["all"], "prune_biases": False, "remove": None, "prune_when": "after", "donor": None,
    "donor_mask": "as_it_is",
    "granularity": "weight", "control": "none", "optimiser_state": "cleared", "order_seed": None,
    "precision": "float32",
}
"""Field -> the value at which the feature does not exist. It is never hashed and never changes.

Of a field that names a piece: the piece's name, without options.
"""


def hash_cell(cell: Cell, neutral_options: Callable[[str, str], Mapping[str, Any]]) -> str:
    """16 hex digits of SHA-256 over the resolved fields: what can change the numbers, and nothing else.

    `neutral_options(set, name)` gives the neutral option values that a piece's decorator declares.
    `pieces.cell_id` knows them: call that one.
    """
    return hash_by_seed(cell, neutral_options)(cell.seed)


def hash_by_seed(cell: Cell, neutral_options: Callable[[str, str], Mapping[str, Any]]) -> Callable[[int], str]:
    """The hash of the same cell under any seed: a study has many, and only their digits differ in what is hashed."""
    hashed = _hashed(cell, neutral_options)
    before, after = ({key: value for key, value in hashed.items() if (key < "seed") is first and key != "seed"}
                     for first in (True, False))
    head = _encoded(before)[:-1] + (b"," if before else b"") + b'"seed":'
    tail = (b"," if after else b"") + _encoded(after)[1:]
    begun = hashlib.sha256(head)

    def of(seed: int) -> str:
        whole = begun.copy()
        whole.update(b"%d%b" % (seed, tail))
        return whole.hexdigest()[:16]

    return of


def _encoded(hashed: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(hashed, order="deterministic")


def _hashed(cell: Cell, neutral_options: Callable[[str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """What can change the numbers: every field, less what is neutral."""
    hashed: dict[str, Any] = {}
    for key, value in msgspec.to_builtins(cell).items():
        if key in SETS:
            neutral = neutral_options(SETS[key], value["name"])
            options = {k: v for k, v in value["options"].items() if not (k in neutral and neutral[k] == v)}
            value = {**value, "options": options}
        if key in SETS and not value["source"]:
            value = {k: v for k, v in value.items() if k != "source"}
        if key in NEUTRAL and _is_neutral(NEUTRAL[key], value):
            continue
        hashed[key] = value
    return hashed


def _is_neutral(neutral: Any, value: Any) -> bool:
    if isinstance(value, dict) and "version" in value:
        return value == {"name": neutral, "options": {}, "version": 1}
    return value == neutral
