"""A comparison: a criterion against known ones, on several pairs of a data set and a network, each pair a study file.

One-shot, as Blalock et al. (2020) compare: train, prune once to the size asked, train on from the trained weights. A
size is a cell of its own, and `keep` an axis. Iterative: half of the weights, five times. Criteria made for untrained
networks (SNIP, GraSP, SynFlow) prune before the only training. Of a seed, every method begins at the same weights.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sweepstake.base.errors import UserError, unknown
from sweepstake.base.values import is_list, is_table
from sweepstake.pieces import allocation as allocations
from sweepstake.pieces import criterion, dataset, load_plugin, model
from sweepstake.pieces.criteria import unfit
from sweepstake.study.study import Study, read_study

COMPRESSIONS = (2, 4, 8, 16, 32)
Schedule = Literal["one-shot", "iterative"]
When = Literal["after", "before"]


class Pair(NamedTuple):
    """A data set and a network, and how it trains."""

    dataset: str
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    reduced: str = ""
    """What is smaller or shorter than is usual, for two cores to end within the hour; empty where nothing is."""


def _pair(dataset: str, model: Mapping[str, Any], reduced: str = "", **training: Any) -> Pair:
    return Pair(dataset, model, {"optimiser": "adam", "lr": 0.0012, "batch_size": 60, **training}, reduced)


PAIRS = {
    "mnist/lenet-300-100": _pair("mnist", {"name": "mlp", "hidden": [300, 100]}, epochs=3),
    "fashion_mnist/lenet-5": _pair("fashion_mnist", {"name": "lenet5"}, "2 epochs of 20,000 images",
                                   epochs=2, subset=20_000),
    "cifar10/conv-2": _pair("cifar10", {"name": "conv2", "width": 0.25},
                            "a quarter of the width, 2 epochs of 10,000 images", epochs=2, subset=10_000),
    "digits/mlp": _pair("digits", {"name": "mlp", "hidden": [100, 50]}, epochs=10),
    "digits/deep": _pair("digits", {"name": "mlp", "hidden": [60, 60, 60, 60]}, epochs=10),
    "digits/conv": _pair("digits", {"name": "conv2", "width": 0.125}, epochs=10),
}
FULL = ("mnist/lenet-300-100", "fashion_mnist/lenet-5", "cifar10/conv-2")
QUICK = ("digits/mlp", "digits/deep", "digits/conv")
OTHER: Mapping[str, Any] = {"epochs": 3}
"""The training of a pair that is none of ours, `DATASET/MODEL`."""


class Method(NamedTuple):
    """A way to prune: its name in tables, the criterion, how counts are shared over layers, and when."""

    label: str
    criterion: str
    allocation: str = "global"
    when: When = "after"


BASELINES = (
    Method("magnitude, global", "magnitude"),
    Method("magnitude, per layer", "magnitude", "per_layer"),
    Method("random", "random", "per_layer"),
    Method("random, at init", "random", "erk", "before"),
    Method("SNIP", "snip", when="before"),
    Method("GraSP", "grasp", when="before"),
    Method("SynFlow", "synflow", when="before"),
)


class Named(NamedTuple):
    """A criterion as the command line names it, `mine.py:my_score` or a built-in's name; the file is loaded."""

    name: str
    file: Path | None = None


class Comparison(NamedTuple):
    """What is compared: the new methods, each against every baseline, on each pair, and the files they come from."""

    new: tuple[Method, ...]
    files: tuple[Path, ...]
    schedule: Schedule
    seeds: int
    baselines: tuple[Method, ...]

    @property
    def methods(self) -> tuple[Method, ...]:
        return (*self.new, *self.baselines)


# What is compared

def comparison(given: Sequence[str], *, allocation: str, when: When, schedule: Schedule, seeds: int) -> Comparison:
    """The comparison that the command line asks for; every mistake in it is told before anything is written."""
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: at least 1, and a verdict needs 3.")
    allocations.get(allocation, f"--allocation {allocation}")
    named = [_named(each) for each in dict.fromkeys(given)]
    files = tuple(dict.fromkeys(each.file for each in named if each.file))
    if len({file.name for file in files}) < len(files):
        raise UserError("--criterion: two files have one name, and both go beside the report. Rename one.")
    new = tuple(Method(each.name, each.name, allocation, when) for each in named)
    for method, other in product(new, BASELINES):
        if method[1:] == other[1:]:
            raise UserError(f'--criterion {method.criterion}: is the baseline "{other.label}" already. Name another '
                            "criterion, or another --allocation or --when.")
        if method.label == other.label:
            raise UserError(f'--criterion {method.label}: a baseline has that name. Name another criterion.')
    return Comparison(new, files, schedule, seeds, BASELINES)


def files_of(given: Sequence[str]) -> list[Path]:
    """The files that the command line names, in its order."""
    return [Path(path) for path, _ in map(_split, given) if path]


def _split(given: str) -> tuple[str, str]:
    """`mine.py:my_score` as its file and its name; a built-in has no file."""
    path, colon, name = given.rpartition(":")
    if given.endswith(".py"):
        return given, ""
    return (path, name) if colon and path.endswith(".py") else ("", given)


def _named(given: str) -> Named:
    path, name = _split(given)
    place = f"--criterion {given}"
    if not path:
        return Named(_of_weights(place, name))
    file = Path(path)
    if not file.is_file():
        raise UserError(f'{place}: no file "{path}".')
    try:
        load_plugin(file)
    except UserError as error:
        raise UserError(*(f"{place}: {problem.removeprefix('plugins: ')}" for problem in error.problems)) from error
    here = [each.name for each in criterion.pieces.values()
            if each.function.__code__.co_filename == str(file.resolve())]
    if not here:
        raise UserError(f"{place}: {file.name} has no criterion. Write @criterion above a function of it; "
                        "CONTRIBUTING.md shows one.")
    if name not in here:
        said = f"has no criterion {name}" if name else "say which of its criteria"
        raise UserError(f"{place}: {said}. {file.name} has {', '.join(here)}: --criterion {path}:{here[0]}.")
    return Named(_of_weights(place, name), file)


def _of_weights(place: str, name: str) -> str:
    """The criterion's own name; refused where it scores units."""
    piece = criterion.get(name, place)
    if unfit(place, piece.name, "weight"):
        raise UserError(f"{place}: scores units, and a comparison prunes single weights. Name a criterion of weights.")
    return piece.name


def pairs(on: Sequence[str], quick: bool) -> dict[str, Pair]:
    """The pairs by name: ours, or any `DATASET/MODEL`."""
    return {name: PAIRS.get(name) or _other(name) for name in dict.fromkeys(on or (QUICK if quick else FULL))}


def _other(name: str) -> Pair:
    images, slash, network = name.partition("/")
    if not slash or images not in dataset.pieces or network not in model.pieces:
        raise UserError(unknown(f"--on {name}", "pair", name, PAIRS,
                                "Or say DATASET/MODEL, by names that `sweepstake pieces` lists."))
    return _pair(images, {"name": network}, **OTHER)


# A pair as a study file

def study_of(name: str, pair: Pair, asked: Comparison, folder: Path) -> Study:
    """The study of one pair, as its file in the folder will read."""
    text = text_of(name, pair, asked)
    table = tomllib.loads(text)
    if asked.files:
        table["plugins"] = [str(file.resolve()) for file in asked.files]
    file = file_name(name)
    return read_study(table, name=Path(file).stem, path=str(folder / file), text=text, folder=folder)


def reduced(pair: str) -> str:
    """What of a pair of ours is smaller or shorter than is usual."""
    return PAIRS[pair].reduced if pair in PAIRS else ""


def file_name(pair: str) -> str:
    return f"compare-{pair.replace('/', '-')}.toml"


def text_of(name: str, pair: Pair, asked: Comparison) -> str:
    """The study file of one pair."""
    smaller = f" (reduced: {pair.reduced})" if pair.reduced else ""
    title = f"{_listed(asked.new)} against known criteria on {name}"
    lines = [f"title = {_toml(title + smaller)}", f"about = {_toml(_about(asked))}"]
    if asked.files:
        lines.append(f"plugins = {_toml([file.name for file in asked.files])}")
    lines += ["", f"dataset = {_toml(pair.dataset)}", f"model = {_toml(pair.model)}", f"seeds = {asked.seeds}"]
    lines += [f"{key} = {_toml(value)}" for key, value in pair.training.items()]
    keep = [1 / compression for compression in COMPRESSIONS] if asked.schedule == "one-shot" else 1 / COMPRESSIONS[0]
    lines += ['reset = "none"', f"keep = {_toml(keep)}", ""]
    for method in asked.methods:
        rounds = (1 if asked.schedule == "one-shot" else len(COMPRESSIONS)) - (method.when == "before")
        lines += ["[[case]]", f"label = {_toml(method.label)}", f"criterion = {_toml(method.criterion)}",
                  f"allocation = {_toml(method.allocation)}", f"prune_when = {_toml(method.when)}",
                  f"rounds = {rounds}", *(['reset = "rewind"'] if method.when == "before" else []), ""]
    kind = "accuracy_by_level" if asked.schedule == "one-shot" else "accuracy_by_kept"
    lines += ["[[figure]]", f'kind = "{kind}"', f"title = {_toml(title)}", 'by = "case"', 'error = "ci"', ""]
    by_label = {method.label: method for method in asked.methods}
    for mine, other, compression in claims_between(asked):
        lines += _claim(by_label[mine], by_label[other], compression, asked.schedule)
    return "\n".join(lines)


def claims_between(asked: Comparison) -> list[tuple[str, str, int]]:
    """The claims of every pair's study, in order: new method, baseline, compression."""
    return [(mine.label, other.label, compression)
            for mine, other, compression in product(asked.new, asked.baselines, COMPRESSIONS)]


def _claim(mine: Method, other: Method, compression: int, schedule: Schedule) -> list[str]:
    """That the new method ends above the other at one size; of five sizes, corrected for their number."""
    at = {"keep": f"{1 / compression}"} if schedule == "one-shot" else {}
    lines = {"name": f"{mine.label} against {other.label}, {compression}x",
             "says": f"At {compression} times fewer weights, {mine.label} ends above {other.label}.",
             "test": "better", "kept": 1 / compression, "this": {"case": mine.label, **at},
             "than": {"case": other.label, **at}, "family": f"{mine.label} against {other.label}"}
    return ["[[claim]]", *(f"{key} = {_toml(value)}" for key, value in lines.items()), ""]


def _about(asked: Comparison) -> str:
    after = "pruned once, and trained as long again from the trained weights" if asked.schedule == "one-shot" else \
        "and five times pruned to half of its weights and trained as long again from the trained weights"
    before = [each.label for each in asked.methods if each.when == "before"]
    return (f"Written by `sweepstake compare`. The whole network is trained, {after} (Blalock et al. 2020 compare so). "
            f"{_spoken(before)} prune the untrained network, which then trains once. Of a seed every method begins at "
            "the same weights, and sees the images in the same order. No setting was tuned for any method.")


def _listed(methods: Sequence[Method]) -> str:
    return _spoken([method.label for method in methods])


def _spoken(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _toml(value: Any) -> str:
    """A value as TOML: text, numbers and lists of them are as in JSON."""
    if is_table(value):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if is_list(value):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
