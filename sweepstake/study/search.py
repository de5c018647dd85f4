"""`[search]`: one value of a study is found by trials, on seeds and images that judge no claim.

A trial is a point of the search space. Its cells are ordinary cells with ids of their own. Until the search has ended,
the study's cells that wait for its value hold a stand-in, and no result has their ids.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import log
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sweepstake.base.cell import SETS, Cell, Keep, Ref
from sweepstake.base.errors import UserError
from sweepstake.base.specs import LOWER_IS_BETTER
from sweepstake.base.values import convert, is_list, is_table, shown
from sweepstake.pieces import REGISTRIES, cell_id

WAITS = "waits for search "
"""The beginning of a stand-in's `source`: the found piece will take its place."""

Params = dict[str, Any]
"""A point of the space: knob -> value, a knob named by its path (`scale.fc1`)."""


class SearchSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[search]` of a study file."""

    name: Annotated[str, Meta(min_length=1, description=(
        "The word that stands for the found value on its axis, and its label."))] = "found"
    field: Annotated[Literal["init", "criterion", "allocation", "reset"], Meta(description=(
        "The key whose value is looked for."))] = "init"
    options: Annotated[dict[str, Any], Meta(description=(
        "The space: `name` and the options of the piece. A list is a choice, `{low = 0.1, high = 10, log = true}` "
        "a range; anything else is fixed. By layer, as in `scale = {fc1 = {low = ..., high = ...}}`."))]
    trials: Annotated[int, Meta(ge=1, le=10_000, description="Points of the space that are tried.")] = 40
    batch: Annotated[int, Meta(ge=1, le=1_000, description=(
        "Points proposed at a time, each batch from all results before it."))] = 8
    random: Annotated[int, Meta(ge=0, description="Points drawn at random before results guide the draw.")] = 16
    seeds: Annotated[list[Annotated[int, Meta(ge=0, le=2**63 - 1)]], Meta(min_length=1, description=(
        "The replicates of a trial; a trial's value is their mean. None of them may be a seed of the study."))]
    metric: Annotated[Literal["validation_accuracy", "validation_loss"], Meta(description=(
        "What a trial is worth, at the end of a round. The test set chooses nothing."))] = "validation_accuracy"
    kept: Annotated[Keep | list[Keep], Meta(description=(
        "At the round nearest to this fraction of weights remaining; of several, the mean (default: the last round)."
        ))] = msgspec.field(default_factory=list)
    seed: Annotated[int, Meta(ge=0, le=2**31, description="Of the draw of the points.")] = 0
    cell: Annotated[dict[str, Any], Meta(description=(
        "Keys of a cell that differ in trials, as `{epochs = 1}`."))] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Range:
    """Any number from low to high, evenly or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False

    def rounded(self, value: float) -> float:
        """To four digits, so that the value shown is the value that runs."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    @property
    def middle(self) -> float:
        return self.rounded((self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2)


Knob = list[Any] | Range


@dataclass(frozen=True)
class Search:
    """A search, read and checked: the space, and the cells (a seed each) into which a point of it goes."""

    spec: SearchSpec
    knobs: dict[str, Knob]
    cells: tuple[Cell, ...]

    @property
    def id(self) -> str:
        """The hash of all that can change what is found."""
        return self.id_by(cell_id)

    def id_by(self, id_of: Callable[[Cell], str]) -> str:
        """That hash, where cells have these ids."""
        spec = msgspec.structs.replace(self.spec, cell={}, name="")
        hashed = {"spec": spec, "cells": [id_of(cell) for cell in self.cells]}
        return hashlib.sha256(msgspec.json.encode(hashed, order="deterministic")).hexdigest()[:16]

    @property
    def middle(self) -> Params:
        return {path: knob.middle if isinstance(knob, Range) else knob[0] for path, knob in self.knobs.items()}

    @property
    def stand_in(self) -> Ref:
        """The middle of the space, in the place of the value until it is found. No result has its id."""
        return msgspec.structs.replace(self.ref(self.middle), source=WAITS + self.id)

    def ref(self, params: Params) -> Ref:
        """The piece at a point of the space."""
        return piece_of(self.spec.field, self.spec.options, params, f"[search] {self.spec.field}")

    def trial(self, params: Params) -> list[tuple[str, Cell]]:
        """The cells of a trial, with their ids."""
        cells = [msgspec.structs.replace(cell, **{self.spec.field: self.ref(params)}) for cell in self.cells]
        return [(cell_id(cell), cell) for cell in cells]


def waits(cell: Cell) -> bool:
    """Whether a cell waits for a value that is still to be found."""
    return any(getattr(cell, key).source.startswith(WAITS) for key in SETS)


def with_found(cell: Cell, found: Ref) -> Cell:
    """A cell that waited, with the found piece in place of the stand-in."""
    return msgspec.structs.replace(cell, **{key: found for key in SETS if getattr(cell, key).source.startswith(WAITS)})


def piece_of(key: str, options: Mapping[str, Any], params: Params, place: str) -> Ref:
    given, registry = filled(options, params), REGISTRIES[SETS[key]]
    registry.get(given["name"], f'{place}: name = "{given["name"]}"')
    return registry.ref(given["name"], {k: v for k, v in given.items() if k != "name"}, place)


def filled(options: Mapping[str, Any], params: Params, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options at a point of the space, as a study file would write them."""
    made: dict[str, Any] = {}
    for key, given in options.items():
        here = ".".join((*path, key))
        if here in params:
            made[key] = params[here]
        else:
            made[key] = filled(given, params, (*path, key)) if is_table(given) else given
    return made


def read_space(spec: SearchSpec, place: str, problems: list[str]) -> dict[str, Knob]:
    """The knobs of the space. A piece must accept the first and the last value of each."""
    before = len(problems)
    knobs = dict(_knobs(spec.options, (), place, problems))
    names: Any = knobs.get("name") or [spec.options.get("name")]
    if not all(isinstance(name, str) for name in names):
        problems.append(
            f"{place}: options: needs name, a piece or a list of pieces: "
            f"`sweepstake pieces {SETS[spec.field]}` lists them."
        )
    elif not knobs and len(problems) == before:
        problems.append(f"{place}: options: nothing varies. Give an option a list, or {{low = 0.1, high = 10}}.")
    if len(problems) > before:
        return knobs
    for name, end in product(names, (0, -1)):
        at: Params = {
            path: (knob.low, knob.high)[end] if isinstance(knob, Range) else knob[end] for path, knob in knobs.items()
        }
        try:
            piece_of(spec.field, spec.options, at | ({"name": name} if "name" in knobs else {}), f"{place}: options")
        except UserError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    return knobs


def _knobs(
    options: Mapping[str, Any], path: tuple[str, ...], place: str, problems: list[str]
) -> Iterator[tuple[str, Knob]]:
    for key, given in options.items():
        here = ".".join((*path, key))
        where = f"{place}: options: {here}"
        if is_table(given) and {"low", "high"} & set(given):
            try:
                yield here, _range(given, where)
            except UserError as error:
                problems += error.problems
        elif is_table(given):
            yield from _knobs(given, (*path, key), place, problems)
        elif is_list(given):
            if not given or not all(isinstance(each, str | int | float) for each in given):
                problems.append(f"{where} = {shown(given)}: a choice is a list of words or numbers.")
            else:
                yield here, given


def _range(given: dict[str, Any], where: str) -> Range:
    if set(given) - {"low", "high", "log"} or not {"low", "high"} <= set(given):
        raise UserError(
            f"{where} = {shown(given)}: a range is {{low = 0.1, high = 10}}, "
            "with log = true if it is even in the logarithm."
        )
    low, high = (float(convert(given[end], float, f"{where}.{end}")) for end in ("low", "high"))
    even_in_log = convert(given.get("log", False), bool, f"{where}.log")
    if not low < high or (even_in_log and low <= 0):
        raise UserError(
            f"{where} = {shown(given)}: low must be below high{', and above 0 for log = true' if even_in_log else ''}."
        )
    return Range(low, high, even_in_log)


def check_search(search: Search, seeds: list[int], place: str) -> None:
    """Refuse a search that would judge itself, or measure nothing."""
    spec, cell, problems = search.spec, search.cells[0], list[str]()
    if both := sorted(set(spec.seeds) & set(seeds)):
        problems.append(
            f"{place}: seeds: {', '.join(map(str, both))} also judge{'s' * (len(both) == 1)} (seeds of the study). "
            f"What is found must be judged on others."
        )
    if len(set(spec.seeds)) < len(spec.seeds):
        problems.append(f"{place}: seeds = {shown(spec.seeds)}: a replicate is one seed once.")
    if cell.validation == 0:
        problems.append(
            f'{place}: metric = "{spec.metric}" needs images held out. '
            "Say validation = 5000, for all cells or in [search.cell]."
        )
    if isinstance(cell.keep, float) and cell.remove is None:
        kept = [cell.keep ** (round_ + (cell.prune_when != "after")) for round_ in range(cell.rounds + 1)]
        for level in levels(spec):
            near = min(kept, key=lambda one: abs(log(one / level)))
            if abs(near / level - 1) > SAME:
                problems.append(
                    f"{place}: kept = {level}: no round of a trial keeps that; the nearest keeps {near:.3g}."
                )
    if problems:
        raise UserError(*problems)


SAME = 0.15
"""A level is measured at the round with the nearest kept fraction, if they differ by less than this share."""


def levels(spec: SearchSpec) -> list[float]:
    return spec.kept if isinstance(spec.kept, list) else [spec.kept]


def sign(metric: str) -> int:
    """1 where more of the metric is better, -1 where less is."""
    return -1 if metric in LOWER_IS_BETTER else 1


def in_words(searched: Mapping[str, Any]) -> str:
    """A search in one line: the value that it found, or how many trials have ended."""
    trials, of = len(searched["trials"]), searched["of"]
    if searched["found"] is None:
        return f'{trials} of {of} trials have ended; "{searched["name"]}" is not found yet.'
    best = max if sign(searched["metric"]) > 0 else min
    value = best(trial["value"] for trial in searched["trials"] if trial["value"] is not None)
    answer = f'"{searched["name"]}" is {searched["field"]} = {shown(searched["found"])}'
    return f"{answer}: {searched['metric']} {value:.4f}, best of {of} trials."
