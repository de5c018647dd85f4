"""A ticket in one sealed safetensors file.

    mask:NAME       a parameter's mask in bits: see `packing`
    initial:NAME    its initial weights, where they are kept as values
    trained:NAME    its trained weights, where they were kept
    metadata        `ticket`, the JSON of `Header`; `seal`, whose hash is of all bytes of the file

In place of the initial weights may stand a recipe: the cell in `made`, from which they are drawn again, and their hash.
Nothing of the file is ever run.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import msgspec
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.run.files import write_whole
from sweepstake.run.sealed import Damaged, File, read, seal_tensors
from sweepstake.tickets.saved.packing import digest, pack_mask, pack_values, unpack_mask, unpack_values, without_dead
from sweepstake.tickets.saved.plugged import load_plugins

KIND, LAYOUT, SUFFIX = "ticket", 1, ".safetensors"

Draw = Callable[[Mapping[str, Any]], tuple[nn.Module, Mapping[str, Tensor]]]
"""A cell's fields -> its module, and every parameter and floating-point buffer of it as the cell draws them."""

Form = Literal["auto", "values", "recipe"]


class Parts(Protocol):
    """What is kept of a ticket."""

    @property
    def masks(self) -> Mapping[str, Tensor]: ...
    @property
    def initial(self) -> Mapping[str, Tensor]: ...
    @property
    def trained(self) -> Mapping[str, Tensor] | None: ...
    @property
    def made(self) -> Mapping[str, Any]: ...
    @property
    def build(self) -> Callable[[], nn.Module] | None: ...


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """What a ticket's file says of its tensors."""

    layout: int
    masks: dict[str, tuple[int, ...]]
    """Parameter -> the shape of its mask."""
    initial: tuple[str, ...]
    """Names in the module's order."""
    trained: tuple[str, ...] | None
    drawn: str | None
    """The hash of the initial weights, where a recipe stands for them."""
    made: dict[str, Any]


def save(ticket: Parts, path: str | Path, *, weights: Form = "auto", trained: bool = True,
         draw: Draw) -> Path:
    """Write a ticket to a .safetensors file, whole or not at all.

    `weights` says how the initial weights are kept: as "values", or as the "recipe" by which `draw` gives them again,
    proven first to the bit; "auto" takes the recipe where there is one. `trained = False` leaves the trained ones out.
    """
    path = _named(path)
    _check(ticket, weights, path)
    why_not = "" if weights == "values" else _why_no_recipe(ticket, draw)
    if weights == "recipe" and why_not:
        raise UserError(f'{path}: weights = "recipe" cannot be: {why_not}. Say weights = "values".')
    drawn = None if weights == "values" or why_not else digest(ticket.initial)
    kept = {"initial": ticket.initial if drawn is None else {}, "trained": (ticket.trained or {}) if trained else {}}
    header = Header(LAYOUT, {name: tuple(mask.shape) for name, mask in ticket.masks.items()}, tuple(ticket.initial),
                    tuple(ticket.trained) if trained and ticket.trained is not None else None, drawn, dict(ticket.made))
    tensors = {f"mask:{name}": pack_mask(mask) for name, mask in ticket.masks.items()}
    for which, values in kept.items():
        tensors |= {f"{which}:{name}": pack_values(value, ticket.masks.get(name)) for name, value in values.items()}
    id_ = str(ticket.made.get("id", KIND))
    write_whole(path, seal_tensors(KIND, id_, tensors, ticket=msgspec.json.encode(header).decode()))
    return path


def load(path: str | Path, *, plugins: Sequence[str | Path] = (), draw: Draw) -> dict[str, Any]:
    """The fields of the ticket in a file that `save` wrote, proven by its hash."""
    path = Path(path)
    file = _sealed(path)
    header = _header(path, file)
    try:
        masks, stored = _stored(header, file)
    except (KeyError, ValueError, RuntimeError, zlib.error) as error:
        raise UserError(_not_whole(path, "its tensors are not those that it names")) from error

    def built() -> tuple[nn.Module, Mapping[str, Tensor]]:
        if "cell" not in header.made:
            raise UserError(_not_whole(path, "it has a recipe and no cell"))
        load_plugins(path, header.made["cell"], plugins)
        return draw(header.made["cell"])

    initial = stored["initial"] if header.drawn is None else _drawn(path, header, masks, built()[1])
    knows = "cell" in header.made
    trained = None if header.trained is None else stored["trained"]
    return {"masks": masks, "initial": initial, "trained": trained, "made": header.made,
            "build": (lambda: built()[0]) if knows else None}


def _named(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UserError(f'{path}: a ticket\'s file ends in {SUFFIX}. Say "{path.with_suffix(SUFFIX).name}".')
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}. Make it first, or name another.")
    return path


def _check(ticket: Parts, weights: Form, path: Path) -> None:
    if weights not in get_args(Form):
        raise UserError(f'{path}: weights = "{weights}". Say "auto", "values" or "recipe".')
    try:
        msgspec.json.encode(dict(ticket.made))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: what made the ticket is kept as JSON, and made is not: {error}. Give numbers, texts, "
                        "lists and tables in it.") from error
    wrong = [name for name, mask in ticket.masks.items() for values in (ticket.initial, ticket.trained)
             if values is not None and (name not in values or values[name].shape != mask.shape)]
    if wrong:
        raise UserError(f"{path}: the mask of {wrong[0]} has no weights of its shape in the ticket.")


def _why_no_recipe(ticket: Parts, draw: Draw) -> str:
    """Why the initial weights cannot be drawn again; nothing where they can."""
    if ticket.build is None or "cell" not in ticket.made:
        return "the ticket is not of a study's cell"
    try:
        drawn = draw(ticket.made["cell"])[1]
    except UserError as error:  # A piece of a plug-in that is not loaded here.
        return error.problems[0]
    if digest(without_dead(drawn, ticket.masks)) != digest(ticket.initial):
        return "its initial weights are not those that its cell draws (it was rewound to a later step, or reset)"
    return ""


def _sealed(path: Path) -> File:
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: not a ticket's file, which ends in {SUFFIX}. Name the file that ticket.save wrote.")
    try:
        file = read(path, KIND)
    except Damaged as error:
        raise UserError(_not_whole(path, error.why)) from error
    if file is None:
        raise UserError(f"{path}: there is no such file. Name the file that ticket.save wrote.")
    return file


def _header(path: Path, file: File) -> Header:
    try:
        layout = msgspec.json.decode(file.said["ticket"])["layout"]
        if layout != LAYOUT:
            raise UserError(f"{path}: a ticket of layout {layout}, and this version reads {LAYOUT}. "
                            "Read it with the version of sweepstake that wrote it, or a newer one.")
        return msgspec.json.decode(file.said["ticket"], type=Header)
    except (KeyError, TypeError, msgspec.DecodeError) as error:
        raise UserError(_not_whole(path, "what it says of itself cannot be read")) from error


def _stored(header: Header, file: File) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The masks, and the weights that the file has as values."""
    tensors = file.tensors
    masks = {name: unpack_mask(tensors[f"mask:{name}"], shape) for name, shape in header.masks.items()}
    named = {"initial": header.initial if header.drawn is None else (), "trained": header.trained or ()}
    return masks, {which: {name: unpack_values(tensors[f"{which}:{name}"], masks.get(name)) for name in names}
                   for which, names in named.items()}


def _drawn(path: Path, header: Header, masks: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the recipe, proven."""
    initial = without_dead(values, masks)
    if digest(initial) != header.drawn:
        raise UserError(f"{path}: its recipe draws other weights here than where the ticket was made: {_by(header)}. "
                        'Use those versions, or save it there with weights = "values".')
    return {name: initial[name] for name in header.initial}


def _by(header: Header) -> str:
    versions = header.made.get("versions")
    told = ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""
    return told or "versions unknown"


def _not_whole(path: Path, why: str) -> str:
    return f"{path}: not a whole ticket ({why}). Fetch the file again, or save the ticket anew."
