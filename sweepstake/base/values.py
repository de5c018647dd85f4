"""Values of a study file, converted to their types, and the messages where one does not fit."""

from math import isfinite
from typing import Any, TypeGuard, TypeVar

import msgspec
from msgspec import inspect as types

from sweepstake.base.errors import UserError, one_of, unknown

LARGEST = 2**63 - 1
Table = TypeVar("Table", bound=msgspec.Struct)


def is_table(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def shown(value: Any) -> str:
    """A value as a study file writes it; a long one is cut."""
    text = _toml(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if is_table(value):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if is_list(value):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"a whole number of {len(hex(value)) * 4 - 8} bits"  # str() refuses the longest.
    return str(value)


def description(type_: Any) -> str:
    """The description that a type's `Meta` gives: the reference of the study file is made of them."""
    schema: dict[str, str] = getattr(types.type_info(type_), "extra_json_schema", None) or {}
    return schema.get("description", "")


def convert(value: Any, type_: Any, place: str) -> Any:
    """The value as that type, or a UserError that names the place, the value and what is expected."""
    if (word := _not_a_number(value)) is not None:
        raise UserError(
            f"{place} = {shown(value)}: {word} is not a number to compute with. Give a finite one of at most 19 digits."
        )
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise UserError(f"{place} = {shown(value)}: expected {expected(type_)}.") from error


def read_table(given: Any, struct: type[Table], place: str, problems: list[str]) -> Table | None:
    """A table of the study file as that struct; every wrong key and value of it is added to `problems`."""
    before = len(problems)
    if not is_table(given):
        problems.append(f"{place} = {shown(given)}: expected {expected(struct)}.")
        return None
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            problems.append(unknown(f"{place}: {key}", "key", str(key), fields))
            continue
        try:
            values[key] = convert(value, fields[key].type, f"{place}: {key}")
        except UserError as error:
            problems += error.problems
    for key, field in fields.items():
        if field.required and key not in given:
            problems.append(f"{place}: needs {key}: {expected(field.type)}.")
    return struct(**values) if len(problems) == before else None


def expected(type_: Any) -> str:
    """The values of a type in words: `a number more than 0, at most 1`."""
    return _words(types.type_info(type_))


def _words(info: Any) -> str:
    match info:
        case types.Metadata():
            return _words(info.type)
        case types.UnionType():
            return " or ".join(_words(each) for each in info.types if not isinstance(each, types.NoneType))
        case types.LiteralType():
            return one_of([_toml(each) for each in info.values])
        case types.IntType():
            return f"a whole number{_bounds(info)}"
        case types.FloatType():
            return f"a number{_bounds(info)}"
        case types.BoolType():
            return "true or false"
        case types.StrType():
            return "some text in quotes" if info.min_length else "text in quotes"
        case types.ListType() | types.VarTupleType() | types.SetType():
            return f"a list{' that is not empty' if info.min_length else ''}, each {_words(info.item_type)}"
        case types.DictType():
            return f"a table, each value {_words(info.value_type)}"
        case types.StructType():
            return f"a table of {one_of([field.name for field in info.fields])}"
        case _:
            return "another kind of value"


def _bounds(info: types.IntType | types.FloatType) -> str:
    bounds = [
        f"{word} {bound:,}"
        for word, bound in (("more than", info.gt), ("at least", info.ge), ("less than", info.lt), ("at most", info.le))
        if bound is not None and abs(bound) < LARGEST
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _not_a_number(value: Any) -> str | None:
    """The infinity, NaN or too long whole number somewhere in a value, as a word; None where there is none."""
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a whole number this long"
    parts = list(value.values()) if is_table(value) else value if is_list(value) else []
    return next((word for part in parts if (word := _not_a_number(part)) is not None), None)
