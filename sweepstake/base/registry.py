"""Open sets: name -> plain function. The signature is the schema.

What the engine offers is taken by positional parameter name, as pytest takes fixtures; keyword-only parameters are
the piece's options in the study file: name, type, default. Built-ins and a user's plug-in file use the same decorator.

    @criterion
    def magnitude_increase(w_init, w_final, *, weight: float = 1.0):
        '''|w_final| - weight * |w_init|: keep what grew (Zhou et al. 2019).'''
        return w_final.abs() - weight * w_init.abs()
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import msgspec

from sweepstake.base.cell import Ref
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.values import convert, is_table

REQUIRED = msgspec.NODEFAULT


@dataclass(frozen=True)
class Option:
    """A keyword-only parameter of a piece: its type and default (REQUIRED when it has none)."""

    type: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def takes_a_list(self) -> bool:
        """A list-valued option: there a list is one value, and a list of lists an axis."""
        return _mentions(self.type, (list, tuple))

    def takes_a_table(self) -> bool:
        return _mentions(self.type, (dict,))


@dataclass(frozen=True)
class Piece:
    """One named function of an open set, and what its signature says."""

    set: str
    name: str
    function: Callable[..., Any]
    takes: tuple[str, ...]
    options: Mapping[str, Option]
    version: int
    neutral: Mapping[str, Any]
    traits: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    """Other names that a study may say; a cell holds `name`, so no alias reaches an id."""
    source: str = ""
    """The hash of the code of the plug-in that a piece comes from: other code is another piece. Empty for ours."""

    @property
    def claim(self) -> str:
        """The docstring's first line: one claim and its source."""
        return (inspect.getdoc(self.function) or "").split("\n")[0]

    def for_layer(self, layer: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as one layer sees them.

        Of a table {layer = value} that is its own value, or the default where the table does not name it.
        """
        return {key: value.get(layer, self.options[key].default) if self.varies_by_layer(key, value) else value
                for key, value in options.items()}

    def varies_by_layer(self, option: str, value: Any) -> bool:
        return is_table(value) and not self.options[option].takes_a_table()

    def __call__(self, offers: Mapping[str, Callable[[], Any]], options: Mapping[str, Any]) -> Any:
        """Call the function with the offers that it takes. An offer that nobody takes is never computed."""
        given = {name: offers[name]() for name in self.takes}
        try:
            return self.function(**given, **options)
        except Exception as error:
            if not self.source or isinstance(error, UserError):
                raise
            raise UserError(f"{self.told(error)} raised {type(error).__name__}: {error}. Mend the plug-in.") from error

    def told(self, error: Exception | None = None) -> str:
        """The piece as messages name it: `criterion = "mine" (mine.py:7)`.

        Of a plug-in's piece, with the last line of its own file that the error came through, or else where it begins.
        """
        named = f'{self.set} = "{self.name}"'
        if not self.source:
            return named
        code, trace = self.function.__code__, error.__traceback__ if error else None
        path, line = Path(code.co_filename), code.co_firstlineno
        while trace:
            line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
            trace = trace.tb_next
        return f"{named} ({path.name}:{line})"

    def misfit(self, value: Any, wanted: str, where: str = "") -> UserError:
        """The message for what the piece gave and cannot be used: its shape or kind, and what was expected."""
        shape = getattr(value, "shape", None)
        kind = type(value).__name__
        gave = f"a {kind}" if shape is None else f"{'' if kind == 'Tensor' else f'a {kind} of '}shape {tuple(shape)}"
        return UserError(f"{self.told()}: gave {gave}{f' for {where}' if where else ''}, expected {wanted}.")


@dataclass
class Registry:
    """An open set. Use it as a decorator; `offers` is the vocabulary its pieces may take by name."""

    set: str
    offers: Mapping[str, str]
    by_layer: bool = False
    """Called once a layer: then any scalar option may also be a table {layer = value}."""
    pieces: dict[str, Piece] = field(default_factory=dict[str, Piece])

    def __call__(self, function: Callable[..., Any] | None = None, *, version: int = 1,
                 neutral: Mapping[str, Any] | None = None, aliases: Sequence[str] = (), **traits: Any) -> Any:
        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._check_names(function, aliases)
            piece = self._read(function, version, neutral or {}, traits)
            self.pieces[piece.name] = replace(piece, aliases=tuple(aliases))
            return function

        return register if function is None else register(function)

    def _check_names(self, function: Callable[..., Any], aliases: Sequence[str]) -> None:
        """No two pieces of a set answer to one name."""
        where = f"{function.__module__}: {self.set} {function.__name__}"
        for name in (function.__name__, *aliases):
            if taken := self._find(name):
                what = "that name" if name == function.__name__ else f'the alias "{name}"'
                raise UserError(f"{where}: {what} is taken by {taken.function.__module__}. Choose another.")

    def _read(self, function: Callable[..., Any], version: int, neutral: Mapping[str, Any],
              traits: Mapping[str, Any]) -> Piece:
        name, where = function.__name__, f"{function.__module__}: {self.set} {function.__name__}"
        if not inspect.getdoc(function):
            raise UserError(f"{where}: has no docstring. Say in one line what it does and who proposed it.")
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
        takes = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        for taken in takes:
            if taken not in self.offers:
                raise UserError(unknown(f"{where}: takes {taken}", f"offer to a {self.set}", taken, self.offers,
                                        "Options of its own go after a `*` in the signature.",
                                        lists=f"`sweepstake pieces {self.set}`"))
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise UserError(f"{where}: takes *args or **kwargs. Name each parameter: the signature is the schema.")
        options = {p.name: Option(hints.get(p.name, Any), REQUIRED if p.default is p.empty else p.default)
                   for p in parameters if p.kind is p.KEYWORD_ONLY}
        for key, option in options.items():
            if key not in hints:
                raise UserError(f"{where}: option {key} has no type. Say {key}: float, or whatever it is.")
            if not option.required:
                self._check_default(option, f"{where}: {key}")
        for option in neutral:
            if option not in options:
                raise UserError(f"{where}: neutral names {option}, which is not one of its options.")
        return Piece(self.set, name, function, takes, options, version, dict(neutral), dict(traits))

    def _check_default(self, option: Option, place: str) -> None:
        try:
            convert(msgspec.to_builtins(option.default), option.type, place)
        except TypeError as error:
            raise UserError(
                f"{place}: a study file cannot say {option.type}. Use numbers, text, true or false, lists or tables."
            ) from error

    def _find(self, name: str) -> Piece | None:
        return self.pieces.get(name) or next((each for each in self.pieces.values() if name in each.aliases), None)

    def get(self, name: str, place: str = "") -> Piece:
        """The piece of that name or alias, or the message that names the nearest."""
        piece = self._find(name)
        if piece is None:
            known = [answers for each in self.pieces.values() for answers in (each.name, *each.aliases)]
            raise UserError(unknown(place or f'{self.set} = "{name}"', self.set, name, known,
                                    lists=f"`sweepstake pieces {self.set}`"))
        return piece

    def ref(self, name: str, given: Mapping[str, Any], place: str) -> Ref:
        """A piece as a cell holds it: by its own name, every option resolved, with its version."""
        piece = self.get(name, place)
        return Ref(piece.name, self.resolve(name, given, place), piece.version, piece.source)

    def resolve(self, name: str, given: Mapping[str, Any], place: str) -> dict[str, Any]:
        """All options of a piece, the given ones checked against the signature and the rest at their defaults."""
        piece, problems, resolved = self.get(name, place), list[str](), dict[str, Any]()
        for key in given:
            if key not in piece.options:
                problems.append(unknown(f"{place}: {key}", f"option of {name}", key, piece.options,
                                        f"See `sweepstake pieces {self.set}`."))
        for key, option in piece.options.items():
            if key not in given and option.required:
                problems.append(f"{place}: {name} needs {key}. Say {self.set} = {{name = \"{name}\", {key} = ...}}.")
                continue
            try:
                resolved[key] = self._convert(option, given.get(key, option.default), f"{place}: {key}")
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(*problems)
        return resolved

    def _convert(self, option: Option, value: Any, place: str) -> Any:
        if self.by_layer and is_table(value) and not option.takes_a_table():
            return {layer: self._convert(option, each, f"{place}.{layer}") for layer, each in sorted(value.items())}
        return msgspec.to_builtins(convert(value, option.type, place))


def _mentions(type_: Any, wanted: tuple[type, ...]) -> bool:
    origin = get_origin(type_) or type_
    return origin in wanted or any(_mentions(part, wanted) for part in getattr(type_, "__args__", ()))
