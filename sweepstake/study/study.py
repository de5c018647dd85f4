"""A study file (TOML) becomes a Study, a Study becomes cells. Every mistake of a file is told at once.

A list is an axis: `init = ["xavier_normal", "kaiming_normal"]` runs both, and all axes multiply. `seeds = 5` are seeds
0 to 4. `[[case]]` tables vary several keys together. `[quick]` is a smaller study of the same name.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from sweepstake.base.cell import PIECE_DEFAULTS, SETS, Cell, Keep
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.specs import ClaimSpec, FigureSpec, ReferenceSpec, check_name, check_specs
from sweepstake.base.text import hidden_in, hidden_texts, label_problem, visible
from sweepstake.base.values import LARGEST, convert, is_list, is_table, read_table, shown
from sweepstake.pieces import REGISTRIES, cell_id, cell_id_by_seed, load_plugin
from sweepstake.pieces.criteria import unfit
from sweepstake.pieces.datasets import spec_of, too_few
from sweepstake.pieces.donors import donor_of
from sweepstake.study.keys import CELL_KEYS, FIELDS, KEYS, LISTING
from sweepstake.study.references import with_numbers, with_values
from sweepstake.study.search import Search, SearchSpec, check_search, read_space, waits

SHIPPED = Path(__file__).parent.parent / "studies"
MOST_CELLS = 100_000
"""A study of more cells is a slip of the hand."""

Spec = TypeVar("Spec", ClaimSpec, FigureSpec, ReferenceSpec)


class Slurm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[machine.slurm]`: what a job of `--on slurm` is."""

    jobs: Annotated[int, Meta(ge=1)] = 1
    cores: Annotated[int, Meta(ge=1)] = 1
    memory: Annotated[str, Meta(min_length=1)] = "4GB"
    walltime: Annotated[str, Meta(min_length=1)] = "01:00:00"
    partition: str | None = None
    account: str | None = None
    interface: str | None = None
    directives: list[str] = []
    prologue: list[str] = []
    python: str | None = None


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[machine]`: settings that cannot change numbers. The same option on the command line wins."""

    workers: Annotated[int, Meta(ge=1)] | None = None
    store: Annotated[str, Meta(min_length=1)] | None = None
    data: Annotated[str, Meta(min_length=1)] | None = None
    timeout_minutes: Annotated[float, Meta(gt=0)] | None = None
    device: Literal["cpu", "cuda"] | None = None
    stack: Annotated[int, Meta(ge=1)] | None = None
    engine: Literal["fast", "reference"] | None = None
    save_weights: Literal["none", "last", "all"] | None = None
    on: Annotated[str, Meta(min_length=1)] | None = None
    card: Annotated[float, Meta(gt=0, le=1)] | None = None
    slurm: Slurm | None = None


@dataclass(frozen=True)
class Planned:
    """A cell of a study, with its id and its label on each axis."""

    id: str
    cell: Cell
    labels: dict[str, str]

    @property
    def waits(self) -> bool:
        """Whether a search must find a value of it first."""
        return waits(self.cell)


@dataclass(frozen=True, repr=False)
class Study:
    """A study file, read and checked: what is fixed, what varies, what is claimed, what is drawn."""

    name: str
    path: str
    text: str
    title: str
    about: str
    axes: dict[str, list[str]]
    planned: tuple[Planned, ...]
    figures: tuple[FigureSpec, ...]
    claims: tuple[ClaimSpec, ...]
    machine: Machine
    quick: bool
    overrides: tuple[str, ...]
    plugins: tuple[str, ...]
    search: Search | None = None
    searched: dict[str, Any] | None = None
    """The search as a store holds it, where a store was read."""
    folder: Path = Path()
    """From which its files of images and of references are said."""
    references: tuple[ReferenceSpec, ...] = ()

    def __repr__(self) -> str:
        changed = f" with {' and '.join(self.changes)}" if self.changes else ""
        return f"Study {self.name}{changed}: {self.size}"

    @property
    def size(self) -> str:
        """Its cells, counted: `4 init x 5 seeds = 20 cells`."""
        axes = {axis: len(labels) for axis, labels in self.axes.items()} | {"seeds": len(self.seeds)}
        count = len(self.planned)
        return f"{' x '.join(f'{n:,} {axis}' for axis, n in axes.items())} = {count:,} cell{'s' * (count != 1)}"

    @property
    def cells(self) -> list[Cell]:
        """Every cell of the study, in its order."""
        return [planned.cell for planned in self.planned]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its cells."""
        return sorted({planned.cell.seed for planned in self.planned})

    @property
    def changes(self) -> tuple[str, ...]:
        """What makes it another than the study as written, as the command line says it: `--quick`, `--set seeds=2`."""
        return (*(["--quick"] if self.quick else []), *(f"--set {each}" for each in self.overrides))

    def store_folder(self, named: str | Path | None = None) -> Path:
        """The folder of its results: the one named, or that of `[machine]`, or `runs`."""
        return Path(named or self.machine.store or "runs")


RIVALS = {"epochs": "steps", "steps": "epochs", "keep_target": "keep", "keep": "keep_target", "remove": "keep"}
"""Two keys for one thing: an override of one replaces the other."""


def shipped_studies() -> dict[str, Path]:
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def load_study(source: str | Path, *, overrides: Sequence[str] = (), quick: bool = False,
               before_plugins: Callable[[Sequence[Path]], None] = lambda _: None) -> Study:
    """A shipped study by name, or a study file by path; `overrides` are `key=value` as on the command line.

    Plug-ins are Python files that a study names, and reading the study runs them: read the code of others first.
    `before_plugins` is called with their paths before any is run.
    """
    path = _find(str(source))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{source}: byte {error.start} is not UTF-8. A study is a text file; save it as UTF-8."
        ) from error
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOML's own, and Python's for a number of 5,000 digits.
        raise UserError(
            f"{source}: not TOML: {error}. Text wants quotes, a list wants commas, a key stands once."
        ) from error
    folder = Path() if path.parent == SHIPPED else path.parent  # Beside a shipped study nobody has files.
    return read_study(table, name=path.stem, path=str(source), text=text, folder=folder,
                      overrides=overrides, quick=quick, before_plugins=before_plugins)


def _find(source: str) -> Path:
    path, shipped = Path(source), shipped_studies()
    if path.suffix != ".toml" and source in shipped:
        return shipped[source]
    try:
        if path.is_file():
            return path
        if path.is_dir():
            raise UserError(
                f'study "{source}": is a folder. Give the path of a .toml file, or the name of a shipped study.'
            )
    except (OSError, ValueError):  # A name no file can have.
        pass
    raise UserError(unknown(f'study "{source}"', "study file, and no shipped study", source, shipped,
                            "Give the path of a .toml file, or one of these names."))


def read_study(table: Mapping[str, Any], *, name: str, path: str = "", text: str = "", folder: Path = Path(),
               overrides: Sequence[str] = (), quick: bool = False,
               before_plugins: Callable[[Sequence[Path]], None] = lambda _: None) -> Study:
    """A study from its parsed TOML."""
    place, problems = path or name, list[str]()
    table = _changed(table, overrides, quick, place, problems)
    hidden = [f"{visible(text)}: {problem}." for text in dict.fromkeys([place, name]) if (problem := hidden_in(text))]
    hidden += hidden_texts(table, visible(place))
    if hidden:
        raise UserError(*hidden)
    _check_keys(table, place, problems)
    plugins = _load_plugins(table, folder, before_plugins, place, problems)
    seeds = _seeds(table.get("seeds", 1), place, problems)
    search = _read_search(table, f"{place}: [search]", problems) if "search" in table else None
    if "search" in table and search is None:
        raise UserError(*problems)  # Without a search, the messages about cells that wait for it would be wrong.
    axes, fixed = _read_keys(table, place, problems, search)
    cases = _read_cases(table["case"], place, problems) if "case" in table else []
    machine = read_table(table.get("machine", {}), Machine, f"{place}: [machine]", problems) or Machine()
    figures = _specs(table["figure"], FigureSpec, f"{place}: [[figure]]", problems) if "figure" in table else []
    claims = _specs(table["claim"], ClaimSpec, f"{place}: [[claim]]", problems) if "claim" in table else []
    references = with_numbers(
        _specs(table["reference"], ReferenceSpec, f"{place}: [[reference]]", problems) if "reference" in table else [],
        folder, f"{place}: [[reference]]", problems)
    claims = with_values(claims, references, f"{place}: [[claim]]", problems)
    title, about = (_convert(table.get(key, ""), str, f"{place}: {key}", problems) for key in ("title", "about"))
    count = prod(map(len, [*axes.values(), cases or [None], seeds]))
    if count > MOST_CELLS:
        problems.append(
            f"{place}: that is {count:,} cells; a study holds at most {MOST_CELLS:,}. Take values from its axes."
        )
    if problems:
        raise UserError(*problems)
    if search:
        check_search(search, seeds, f"{place}: [search]")
    planned = list(_expand(fixed, axes, cases, seeds, place))
    labels = {axis: [label for label, _ in values] for axis, values in axes.items()}
    if cases:
        labels["case"] = [label for label, _ in cases]
    problems += [f"{place}: {axis}: label {shown(label)}: {problem}." for axis, axis_labels in labels.items()
                 for label in axis_labels if (problem := label_problem(label))]
    problems = problems or [f"{place}: {problem}" for problem in check_specs(labels, figures, claims,
                                                                            references)]
    if problems:
        raise UserError(*problems)
    return Study(name, path, text, title or name, about, labels, tuple(planned), tuple(figures), tuple(claims),
                 machine, quick, tuple(overrides), plugins, search, folder=folder.absolute(),
                 references=tuple(references))


def _changed(table: Mapping[str, Any], overrides: Sequence[str], quick: bool, place: str,
             problems: list[str]) -> dict[str, Any]:
    """The table without [quick], changed by it under --quick, and by the overrides."""
    table = dict(table)
    smaller = table.pop("quick", {})
    if not is_table(smaller):
        problems.append(
            f"{place}: quick = {shown(smaller)}: expected a table, [quick], of keys and their smaller values.")
        smaller = {}
    elif quick and not smaller:
        raise UserError(
            f"{place}: has no [quick] table, so there is no --quick. Say `--set seeds=2` and the like instead.")
    _check_keys(smaller, f"{place}: [quick]", problems, " ")
    if quick:
        for key, value in smaller.items():
            _override(table, [key], value)
    for override in overrides:
        _override(table, *_parse_override(override, problems))
    return table


def _check_keys(table: Mapping[str, Any], place: str, problems: list[str], between: str = ": ") -> None:
    for key in table:
        if key not in KEYS or key == "quick":
            others = set(KEYS) - {key}
            problems.append(unknown(f"{place}{between}{key}", "study key", key, others, lists=LISTING))


def _load_plugins(table: Mapping[str, Any], folder: Path, before: Callable[[Sequence[Path]], None], place: str,
                  problems: list[str]) -> tuple[str, ...]:
    """Run the study's plug-ins. A mistake in one ends the reading: its pieces would be missed later."""
    names: list[str] = _convert(table.get("plugins", []), list[str], f"{place}: plugins", problems) or []
    paths = [folder / name for name in names]
    if paths:
        before(paths)
    for path in paths:
        try:
            load_plugin(path)
        except UserError as error:
            raise UserError(*problems, *(f"{place}: {problem}" for problem in error.problems)) from error
    return tuple(map(str, paths))


# Keys and their values

Value = tuple[str, Any]
"""A label, which tables and figures show, and the value itself."""


def _read_search(table: Mapping[str, Any], place: str, problems: list[str]) -> Search | None:
    """`[search]`: the space, and the cells of a trial: the study's fixed keys, changed by `[search.cell]`."""
    spec = read_table(table["search"], SearchSpec, place, problems)
    if spec is None:
        return None
    given = table.get(spec.field)
    if spec.name not in (given if is_list(given) else [given]):
        problems.append(
            f'{place}: {spec.field} names no "{spec.name}". '
            f'Put it where the found value goes: {spec.field} = [..., "{spec.name}"].'
        )
    ours = {key: value for key, value in table.items() if key in (*CELL_KEYS, "keep_target") and key != spec.field}
    for key, value in spec.cell.items():
        if key not in (*CELL_KEYS, "keep_target") or key == spec.field:
            problems.append(
                unknown(f"{place}: cell: {key}", "cell key", key, set(CELL_KEYS) - {spec.field}, lists=LISTING))
        _override(ours, [key], value)
    axes, fixed = _read_keys(ours, place, problems)
    problems += [f"{place}: {axis} is an axis, and a trial has one value. Say which in [search.cell]." for axis in axes]
    knobs = read_space(spec, place, problems)
    if problems:
        return None
    cells = [_cell(fixed, seed, place, problems) for seed in spec.seeds]
    return Search(spec, knobs, tuple(cell for cell in cells if cell)) if all(cells) else None


def _read_keys(table: Mapping[str, Any], place: str, problems: list[str],
               search: Search | None = None) -> tuple[dict[str, list[Value]], dict[str, Any]]:
    """The keys of a cell in two tables: those that vary (an axis of labelled values) and those that are fixed."""
    axes: dict[str, list[Value]] = {}
    fixed: dict[str, Any] = {}
    for key in table:
        if key not in CELL_KEYS and key != "keep_target":
            continue
        searched = search if search and search.spec.field == key else None
        values = list(_values(key, table[key], f"{place}: {key}", problems, searched))
        if len(values) == 1 and not _is_axis(key, table[key]):
            fixed[key] = values[0][1]
        elif not values:
            if table[key] == []:
                problems.append(f"{place}: {key} = []: an axis with no values. Give one value, or a list of several.")
        else:
            for twice in [label for label, count in Counter(label for label, _ in values).items() if count > 1]:
                problems.append(f"{place}: {key}: {twice} stands twice on this axis. Take one out.")
            axes[key] = values
    return axes, fixed


def _is_axis(key: str, given: Any) -> bool:
    """A list is an axis. Where the value itself is a list (prune_layers), a list of lists is."""
    if not is_list(given):
        return False
    return key != "prune_layers" or (bool(given) and all(is_list(each) for each in given))


def _values(key: str, given: Any, place: str, problems: list[str], search: Search | None) -> Iterator[Value]:
    for each in given if _is_axis(key, given) else [given]:
        if search and each == search.spec.name:
            yield each, search.stand_in
            continue
        if key in SETS:
            yield from _refs(key, each, place, problems)
            continue
        value = _convert(each, Keep if key == "keep_target" else FIELDS[key].type, place, problems)
        if value is not None:
            yield _label(each), value


def _label(value: Any) -> str:
    if is_table(value):
        return ", ".join(f"{k}={_label(v)}" for k, v in value.items()) or "{}"
    if is_list(value):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refs(key: str, given: Any, place: str, problems: list[str]) -> Iterator[Value]:
    """A piece by name or by table. A list for an option that takes a single value is an axis of its own."""
    registry = REGISTRIES[SETS[key]]
    if isinstance(given, str):
        given = {"name": given}
    if not is_table(given) or not isinstance(given.get("name"), str):
        problems.append(
            f'{place} = {shown(given)}: say a name ("{PIECE_DEFAULTS[key]}") or a table {{name = "...", option = ...}}.'
        )
        return
    options = {k: v for k, v in given.items() if k not in ("name", "label")}
    name, label = given["name"], given.get("label")
    if label is not None and (not isinstance(label, str) or not label):
        problems.append(f'{place}: label = {shown(label)}: expected some text in quotes.')
        return
    try:
        piece = registry.get(name, f'{place} = "{name}"')
    except UserError as error:
        problems += error.problems
        return
    several = {k: v for k, v in options.items() if is_list(v) and k in piece.options
               and (not piece.options[k].takes_a_list() or (v and all(is_list(each) for each in v)))}
    if any(not v for v in several.values()):
        problems.append(f"{place}: {name}: an option with an empty list: an axis with no values.")
        return
    for combination in product(*several.values()):
        chosen = {**options, **dict(zip(several, combination, strict=True))}
        try:
            ref = registry.ref(name, chosen, place)
        except UserError as error:
            problems += error.problems
            continue
        labelled = {key: chosen[key] for key in several} if label else chosen
        yield (label or name) + (f"({_label(labelled)})" if labelled else ""), ref


def _convert(value: Any, type_: Any, place: str, problems: list[str]) -> Any:
    try:
        return convert(value, type_, place)
    except UserError as error:
        problems += error.problems
        return None


def _tables(given: Any, place: str, problems: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """The tables under [[double brackets]], each with its place."""
    if not is_list(given) or not given or not all(is_table(each) for each in given):
        problems.append(f"{place}: write the brackets twice, {place.rpartition(' ')[2]}, and a table under each.")
        return []
    return [(f"{place} {number}", each) for number, each in enumerate(given, 1)]


def _specs(given: Any, type_: type[Spec], place: str, problems: list[str]) -> list[Spec]:
    made = list[Spec]()
    for where, table in _tables(given, place, problems):
        problems += check_name(where, type_, table)
        if (each := read_table(table, type_, where, problems)) is not None:
            made.append(each)
    return made


def _seeds(given: Any, place: str, problems: list[str]) -> list[int]:
    """The seeds of a study, which says how many (5: 0 to 4) or which ([42, 43])."""
    whole = type(given) is int and given <= MOST_CELLS
    seeds = list(range(given)) if whole else given
    if not is_list(seeds) or not seeds or not all(type(seed) is int and 0 <= seed <= LARGEST for seed in seeds):
        problems.append(f"{place}: seeds = {shown(given)}: say how many (`seeds = 5`, at most {MOST_CELLS:,}) "
                        f"or which (`seeds = [42, 43]`, from 0 up).")
        return []
    for twice in sorted(seed for seed, count in Counter(seeds).items() if count > 1):
        problems.append(f"{place}: seeds: {twice} stands twice; a replicate is one seed once.")
    return seeds


def _read_cases(given: Any, place: str, problems: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """`[[case]]`: a label and any keys of a cell, fixed together."""
    cases: list[tuple[str, dict[str, Any]]] = []
    for where, table in _tables(given, f"{place}: [[case]]", problems):
        label = table.get("label")
        if not isinstance(label, str) or not label:
            problems.append(f'{where}: needs a label, `label = "ticket"`.')
            continue
        for key in table:
            if key not in CELL_KEYS and key not in ("label", "keep_target"):
                problems.append(unknown(f"{where}: {key}", "cell key", key, CELL_KEYS, lists=LISTING))
        axes, fixed = _read_keys({k: v for k, v in table.items() if k != "label"}, where, problems)
        for key in axes:
            problems.append(f"{where}: {key} is a list; a case holds one value a key. Write a [[case]] for each.")
        if label in [other for other, _ in cases]:
            problems.append(f'{where}: label "{label}" stands twice.')
        cases.append((label, fixed))
    return cases


# Overrides

def _parse_override(override: str, problems: list[str]) -> tuple[list[str], Any]:
    """`key=value` or `key.option=value`; the value is TOML, or else plain text."""
    key, equals, value = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        problems.append(f"--set {override}: say key=value, as in --set rounds=3 or --set 'init=[\"xavier_normal\"]'.")
        return [], None
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        parsed = {}
    return path, parsed["value"] if list(parsed) == ["value"] else value.strip()


def _override(table: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a key of the table.

    Options without a name (`model.hidden=[100]`) go into the piece that stands there; of an axis, into each.
    """
    if not path:
        return
    key, *inner = path
    table.pop(RIVALS.get(key, ""), None)
    for part in reversed(inner):
        value = {part: value}
    old = table.get(key)
    if is_table(value) and key in SETS and "name" not in value:
        stand = old if is_list(old) and old else [PIECE_DEFAULTS[key] if old is None else old]
        merged = [
            {**({"name": each} if isinstance(each, str) else each), **value} if isinstance(each, str | dict) else each
            for each in stand
        ]
        value = merged if is_list(old) else merged[0]
    elif is_table(value) and is_table(old) and (inner or key in ("machine", "search")):
        value = {**old, **value}
    table[key] = value


# Cells

def _expand(fixed: dict[str, Any], axes: dict[str, list[Value]], cases: list[tuple[str, dict[str, Any]]],
            seeds: list[int], place: str) -> Iterator[Planned]:
    """The cells of a study, in the order of its axes."""
    problems, made = list[str](), dict[str, Planned]()
    for combination in product(*axes.values()):
        varied = dict(zip(axes, combination, strict=True))
        for case_label, case in cases or [("", {})]:
            labels = {axis: label for axis, (label, _) in varied.items()} | ({"case": case_label} if cases else {})
            for key in sorted(set(case) & set(varied)):
                problems.append(f"{place}: {key} is an axis and also in [[case]] {case_label}. Leave it in one place.")
            fields = {**fixed, **{axis: value for axis, (_, value) in varied.items()}, **case}
            for id_, cell in _over_seeds(fields, seeds, place, problems):
                if id_ in made and not problems:
                    one, other = _in_words(made[id_].labels), _in_words(labels)
                    problems.append(f"{place}: {one} and {other} are the same cell (seed {cell.seed}). Take one out.")
                made[id_] = Planned(id_, cell, labels)
    if problems:
        raise UserError(*dict.fromkeys(problems))
    yield from made.values()


def _over_seeds(fields: dict[str, Any], seeds: list[int], place: str,
                problems: list[str]) -> Iterator[tuple[str, Cell]]:
    """A cell a seed, with its id; they are checked as one, unless they take the masks of others."""
    first = _cell(fields, seeds[0], place, problems)
    if first is None:
        return
    if first.donor is None:
        id_of = cell_id_by_seed(first)
        for seed in seeds:
            yield id_of(seed), msgspec.structs.replace(first, seed=seed)
        return
    for seed in seeds:
        if (cell := _cell(fields, seed, place, problems)) is None:
            return
        yield cell_id(cell), cell


def _in_words(labels: dict[str, str]) -> str:
    return ", ".join(f"{axis} = {label}" for axis, label in labels.items()) or "the study"


def _cell(fields: Mapping[str, Any], seed: int, place: str, problems: list[str]) -> Cell | None:
    """A cell from one value for each key, after the checks that need several keys."""
    fields = dict(fields)
    before = len(problems)
    target = fields.pop("keep_target", None)
    rounds = fields.get("rounds", FIELDS["rounds"].default)
    if target is not None:
        prunings = rounds + (fields.get("prune_when", "after") != "after")
        if "keep" in fields:
            problems.append(f"{place}: keep and keep_target: say one. keep_target = p keeps p^(1/rounds) a round.")
        elif prunings == 0:
            problems.append(
                f"{place}: keep_target = {target} with rounds = 0: nothing is ever pruned. Say rounds = 1 for one-shot."
            )
        else:
            fields["keep"] = target ** (1 / prunings)
    if fields.get("remove") is not None and "keep" in fields:
        problems.append(
            f"{place}: remove and {'keep' if target is None else 'keep_target'}: say one. "
            "remove counts what a layer loses in a round."
        )
    if (fields.get("epochs") is None) == (fields.get("steps") is None):
        problems.append(f"{place}: say how long a round trains: epochs = 5 or steps = 5000, "
                        f"{'not both' if fields.get('epochs') else 'one of the two'}.")
    optimiser = fields.get("optimiser", "adam")
    if fields.get("momentum") and optimiser != "sgd":
        problems.append(
            f"{place}: momentum = {fields['momentum']} does nothing under {optimiser}. "
            'Take it out, or say optimiser = "sgd".'
        )
    for key, default in PIECE_DEFAULTS.items():
        if key not in fields:
            registry = REGISTRIES[SETS[key]]
            fields[key] = registry.ref(default, {}, f"{place}: {key}")
    if problem := unfit(f"{place}: criterion", fields["criterion"].name, fields.get("granularity", "weight")):
        problems.append(problem)
    spec = spec_of(fields["dataset"])
    held, subset = fields.get("validation", 0), fields.get("subset", 0)
    if spec and (problem := too_few(fields["dataset"].name, spec.train, held, subset)):
        problems.append(f"{place}: {problem}")
    if len(problems) != before:
        return None
    cell = Cell(**fields, seed=seed)
    if cell.donor is None:
        return cell
    try:
        donor = donor_of(cell)
    except UserError as error:
        problems += [f"{place}: {problem}" for problem in error.problems]
        return None
    # With every option and version of the donor's pieces, since they can change the numbers.
    return msgspec.structs.replace(cell, donor={key: msgspec.to_builtins(getattr(donor, key)) for key in cell.donor})
