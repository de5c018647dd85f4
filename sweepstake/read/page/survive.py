"""What survives: figures of a few groups, and, from the masks in a store, which pixels and weights they keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstake.base.errors import UserError
from sweepstake.base.specs import FigureSpec, label
from sweepstake.read import analysis, figures, summary
from sweepstake.read.analysis import Row, StudyLike

if TYPE_CHECKING:
    from sweepstake.base.records import Result
    from sweepstake.run.store import Store
    from sweepstake.study.study import Study

GROUPS, SEEDS, LEVELS, LAYERS, INITS, PAIRS = 4, 3, 6, 5, 8, 2
"""What is shown at most: groups, cells of each, kept levels, layers, inits, pairs of a setting.

So a large study takes no longer.
"""
ROOM = 30_000
"""Bytes that the still of one of these figures may take."""
PREFIXES = ("kept.", "size.", "units.", "alive_units.", "in_degree.", "out_degree.")
KINDS = ("learning_curves", "layer_density", "alive_units", "unit_degrees")


@dataclass(frozen=True)
class Some:
    """Results of some cells, as an analysis of what survives reads them."""

    study: "Study"
    cells: "list[Result]"
    store: "Store | None"
    data: Path | str | None
    """Where data sets are looked for first."""


@dataclass(frozen=True)
class Choice:
    """The groups that are looked at, by their labels on all axes, and how that is said."""

    groups: list[tuple[str, ...]]
    says: str

    def rows(self, study: StudyLike, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if tuple(str(row[axis]) for axis in study.axes) in self.groups]


def choice(study: StudyLike, groups: Sequence[Row]) -> Choice:
    """All groups where there are few; else the most and the least robust, and some between."""
    ranked = summary.ordered(groups)
    found = [tuple(str(one[axis]) for axis in study.axes) for one in ranked or groups]
    if len(found) <= GROUPS:
        return Choice(found, "")
    places = [round(place * (len(found) - 1) / (GROUPS - 1)) for place in range(GROUPS)]
    how = "the most robust, the least robust, and two between" if ranked else "the first, the last, and two between"
    return Choice([found[place] for place in places], f"{GROUPS} of {len(found)} groups are shown: {how}.")


def alike(rows: Sequence[Row]) -> dict[str, str]:
    """Figures that would show one line, each with the sentence that stands in its place."""
    whole = [row for row in rows if not row["diverged"] and row["kept_fraction"] > 0]
    layers = [key.removeprefix("size.") for key in (rows[0] if rows else ()) if key.startswith("size.")]
    shares = [row[f"kept.{layer}"] / row[f"size.{layer}"] / row["kept_fraction"] for row in whole for layer in layers
              if row.get(f"size.{layer}")]
    found: dict[str, str] = {}
    if shares and max(abs(share - 1) for share in shares) <= analysis.SAME_LEVEL:
        found["layer_density"] = "Every layer keeps the same share of its weights as the whole network."
    if whole and all(row["alive_units"] == 1 for row in whole):
        found["alive_units"] = "No hidden unit has lost all of its weights."
    return found


def drawings(study: StudyLike, chosen: Choice, rows: Sequence[Row], results: Sequence[Mapping[str, Any]],
             store: "Store | None") -> list[tuple[str, figures.Spec]]:
    """Each kind of figure about curves, inits, layers and units that the study does not draw itself.

    Those of inits take PyTorch, and so a report with its store.
    """
    own = {figure.kind for figure in study.figures} if study.figures else {"learning_curves"}
    own |= {*alike(chosen.rows(study, rows))}
    few = _few_layers(chosen.rows(study, rows))
    if not few:
        return []
    ids, every = {row["id"] for row in few}, max(1, -(-max(row["round"] for row in few) // LEVELS))
    kinds = [*KINDS, *(["init_density"] if store and 1 < len(study.axes.get("init", ())) <= INITS else [])]
    curves = [] if "learning_curves" in own else analysis.curves(each for each in results if each["id"] in ids)
    drawn = [(kind, figures.draw(FigureSpec(kind=kind, every=every), _shown(study, kind, chosen, few), curves,
                                 study.axes, study.planned)) for kind in kinds if kind not in own]
    return [(kind, lean(spec)) for kind, spec in drawn if spec is not None]


def _shown(study: StudyLike, kind: str, chosen: Choice, rows: list[Row]) -> list[Row]:
    """The rows of a figure: of one that has panels for each group, only those of the first group and of the last."""
    return Choice([chosen.groups[0], chosen.groups[-1]], "").rows(study, rows) if kind == "unit_degrees" else rows


def _few_layers(rows: list[Row]) -> list[Row]:
    """Rows with the columns of a few layers: the first, the last, and some between."""
    layers = [key.removeprefix("size.") for key in (rows[0] if rows else ()) if key.startswith("size.")]
    if len(layers) <= LAYERS:
        return rows
    kept = {layers[round(place * (len(layers) - 1) / (LAYERS - 1))] for place in range(LAYERS)}

    def stays(column: str) -> bool:
        prefix = next((prefix for prefix in PREFIXES if column.startswith(prefix)), None)
        if prefix is None:
            return True
        layer = column.removeprefix(prefix)
        return (layer.rpartition(".")[0] if "degree" in prefix else layer) in kept

    columns = [column for column in rows[0] if stays(column)]
    return [{column: row[column] for column in columns} for row in rows]


def lean(spec: figures.Spec) -> figures.Spec:
    """The same figure with as many digits as can be seen."""
    points = [{key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in point.items()}
              for point in spec["data"]["values"]]
    return {**spec, "data": {"values": points}}


# From masks

def section(study: StudyLike, results: Sequence[Mapping[str, Any]], chosen: Choice,
            store: "Store | None", data: Path | str | None = None) -> dict[str, Any]:
    """Pixels that are still read, weights that two tickets share, and error barriers; of each, why it is not there."""
    found: dict[str, Any] = {"pixels": [], "figures": [], "barriers": [], "notes": [], "says": ""}
    some = _some(study, results, chosen, store, data)
    if some is None:
        return found
    found["says"] = f"From the masks of {len(some.cells)} of {len(results):,} cells" \
                    f"{f': up to {SEEDS} seeds of each group shown' if len(some.cells) < len(results) else ''}."
    for of in (_pixels, _overlap, _connectivity):
        try:
            of(some, found)
        except (UserError, OSError, KeyError) as error:
            found["notes"].append(str(error).partition("\n")[0])
    return found


def _some(study: StudyLike, results: Sequence[Mapping[str, Any]], chosen: Choice,
          store: "Store | None", data: Path | str | None) -> Some | None:
    if store is None or not study.planned:
        return None
    cells, taken = list[Any](), dict[tuple[str, ...], int]()
    for result in results:
        group = tuple(label(result["labels"][axis]) for axis in study.axes)
        if group in chosen.groups and len(result["rounds"]) > 1 and result["status"] == "done" \
                and taken.get(group, 0) < SEEDS:
            taken[group] = taken.get(group, 0) + 1
            cells.append(result)
    return Some(study, cells, store, data) if cells else None  # pyright: ignore[reportArgumentType]


def _pixels(some: Some, found: dict[str, Any]) -> None:
    """A row of pictures a group: how many live weights read each pixel, at a few levels.

    Groups whose first layer gives no pixel a weight of its own, as convolutions do not, are named instead.
    """
    import torch

    from sweepstake.read.page.pictures import data_uri
    from sweepstake.read.survivors.cells import chosen, masks_of
    from sweepstake.tickets.analysis.pixels import pixels_read, reads_pixels

    cells = chosen("pixels", some, None, None)
    masks = masks_of("pixels", some, cells, some.data)
    groups: dict[str, list[Any]] = {}
    for one in cells:
        said = [each for axis, each in one.place.items() if axis != "seed"]
        groups.setdefault(", ".join(said) or some.study.name, []).append(one)
    others = list[str]()
    for group, members in groups.items():
        if not all(reads_pixels(masks[one.id][0], masks[one.id].net.inputs) for one in members):
            others.append(group)
            continue
        rounds = sorted({round_ for one in members for round_ in one.rounds(None)})
        shown = sorted({rounds[round(place * (len(rounds) - 1) / (LEVELS - 1))] for place in range(LEVELS)})
        pictures = []
        for round_ in shown:
            here = [one for one in members if one.rounds(round_)]
            read = torch.stack([pixels_read(masks[one.id][round_], masks[one.id].net.inputs) for one in here]).double()
            kept = figures.percent(100 * sum(one.kept_fraction(round_) for one in here) / len(here))
            dead = float((read == 0).sum()) / len(here)
            pictures.append({
                "uri": data_uri(_heat(read.mean(0)).numpy()), "kept": kept, "dead": f"{dead:.4g}",
                "told": f"{group} at {kept} of the weights: {dead:.4g} of {read[0].numel()} pixels are read by no "
                        f"weight"})
        found["pixels"].append({"group": group, "pictures": pictures, "cells": len(members)})
    if others:
        of = f" of {'; '.join(others)}" if found["pixels"] else ""
        found["notes"].append(f"Which pixels are still read is not shown{of}: the first layer is no linear one, which "
                              "has a weight for each pixel. A convolution reads every pixel with the same few weights.")


LIGHT, DARK, NONE = (222, 235, 247), (8, 48, 107), (213, 94, 0)
"""Few readers, many readers, none: as in the figures of `sweepstake analyse`."""


def _heat(read: Any) -> Any:
    """A colour a pixel: by how many live weights read it, on a logarithmic scale; one that nothing reads, orange."""
    import torch

    live = read > 0
    if not live.any():
        return torch.tensor(NONE, dtype=torch.uint8).expand(*read.shape, 3).contiguous()
    logs = read.clamp(min=float(read[live].min())).log()
    span = float(logs[live].max() - logs[live].min()) or 1.0
    share = ((logs - logs[live].min()) / span).unsqueeze(-1)
    colours = torch.tensor(LIGHT) * (1 - share) + torch.tensor(DARK) * share
    return torch.where(live.unsqueeze(-1), colours, torch.tensor(NONE, dtype=colours.dtype)).to(torch.uint8)


def _overlap(some: Some, found: dict[str, Any]) -> None:
    """The weights that two tickets both keep, against chance at the same counts."""
    from sweepstake.read.survivors import overlap
    from sweepstake.read.survivors.pairs import drawn
    from sweepstake.tickets.analysis.overlap import WHOLE

    if len(some.cells) < 2:
        return
    made = overlap(some, data=some.data)
    layers = list(dict.fromkeys(row["layer"] for row in made.summary if row["layer"] != WHOLE))
    shown = {WHOLE, *layers[:1], *layers[-2:]}
    rounds = sorted({row["round"] for row in made.summary})
    some_rounds = {rounds[round(place * (len(rounds) - 1) / 7)] for place in range(8)}
    few = [row for row in made.summary if row["layer"] in shown and row["round"] in some_rounds]
    spec = drawn(few, "overlap", "survivors in common", "Survivors that two tickets share",
                 "Of the one ticket's survivors, the share that the other keeps too.", log=True)
    found["figures"].append(("overlap", lean(spec)))


def _connectivity(some: Some, found: dict[str, Any]) -> None:
    """Error barriers between trainings in other orders of the data, where weights of such pairs were kept."""
    from sweepstake.read.survivors.cells import Pair, chosen
    from sweepstake.read.survivors.connectivity import connectivity, pairs_by_order

    if not any(some.store and some.store.weights(each["id"]).rounds for each in some.cells):
        return
    try:
        pairs = pairs_by_order(chosen("connectivity", some, None, None))
    except UserError:
        return
    taken: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        alike = tuple(each for axis, each in pair.a.place.items() if axis != "seed" and pair.b.place[axis] == each)
        taken.setdefault(alike, []).append(pair)
    ids = {one.id for each in taken.values() for pair in each[:PAIRS] for one in (pair.a, pair.b)}
    few = replace(some, cells=[each for each in some.cells if each["id"] in ids])
    last = min(each["rounds"][-1]["round"] for each in few.cells)
    made = connectivity(few, splits=("test",), round=last, data=some.data)
    found["barriers"] = [{
        "setting": row["setting"], "of": row["of"], "kept": figures.percent(100 * row["kept_fraction"]),
        "ends": f"{100 * row['ends']:.2f} %", "barrier": f"{100 * row['barrier']:.2f} points", "pairs": row["n"],
    } for row in made.summary]
