"""The shapes of files from before they carried a seal.

Nothing proves such a file, but what could not be read is never taken for one.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sweepstake.base.cell import Cell

Number = float | None
"""NaN is null in JSON."""


class Split(Struct):
    loss: Number
    accuracy: Number


class End(Struct):
    train: Split | None
    validation: Split | None
    test: Split | None


class Early(End):
    step: int


class Record(Struct):
    round: int
    kept: int
    kept_fraction: float
    kept_by_layer: dict[str, int]
    size_by_layer: dict[str, int]
    alive_units: dict[str, int]
    steps: int
    diverged: bool
    end: End
    early: Early | None
    curve: dict[str, list[Number]]
    proofs: dict[str, Any]
    seconds: dict[str, float]
    units_by_layer: dict[str, int] = {}
    degrees: dict[str, dict[str, dict[str, float]]] = {}


class Provenance(Struct):
    seconds: Number = None
    finished: str | None = None
    engine: str | None = None
    machine: dict[str, Any] = {}
    versions: dict[str, Any] = {}


class Result(Struct, forbid_unknown_fields=True):
    status: Literal["done", "diverged"]
    rounds: Annotated[list[Record], Meta(min_length=1)]
    provenance: Provenance


class Failure(Struct, forbid_unknown_fields=True):
    error: str
    traceback: str
    provenance: Provenance


class Trial(Struct, forbid_unknown_fields=True):
    params: dict[str, Any]
    cells: list[str]
    value: Number


class Search(Struct, forbid_unknown_fields=True):
    study: str
    metric: str
    trials: list[Trial]


class Store(Struct, forbid_unknown_fields=True):
    layout: int


class State(Struct, forbid_unknown_fields=True):
    records: str
    meta: str


class Next(Struct, forbid_unknown_fields=True):
    round: int
    asked: dict[str, int]
    proofs: dict[str, Any]
    seconds: float


def fits(kind: str, said: Any, content: bytes) -> bool:
    """Whether a file without a seal has the shape its kind had: of a safetensors file its metadata and its tensors.

    A kind that is younger than seals never was without.
    """
    try:
        return kind in _CHECKS and _CHECKS[kind](said, content)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return False


def _result(said: Any, _: bytes) -> bool:
    return _rounds_fit(msgspec.convert(said, Result).rounds)


def _rounds_fit(records: list[Record]) -> bool:
    return all(record.round == place
               and record.kept_by_layer.keys() == record.size_by_layer.keys() == record.alive_units.keys()
               and record.units_by_layer.keys() in (record.kept_by_layer.keys(), set()) and "step" in record.curve
               for place, record in enumerate(records))


def _state(said: Any, content: bytes) -> bool:
    texts = msgspec.convert(said, State)
    msgspec.json.decode(texts.meta, type=Next)
    records = msgspec.json.decode(texts.records, type=list[Record])
    return _rounds_fit(records) and {"w", "alive"} <= _tensors(content).keys()


def _masks(said: Any, content: bytes) -> bool:
    tensors = _tensors(content)
    size = tensors.pop("size", None)
    if said or size is None or size["dtype"] != "I64" or len(size["data"]) != 8:
        return False
    packed = -(-int.from_bytes(size["data"], "little") // 8)
    return tensors.keys() == {f"round.{r}" for r in range(len(tensors))} and all(
        each["dtype"] == "U8" and each["shape"] == [packed] for each in tensors.values())


def _donor(said: Any, content: bytes) -> bool:
    return not said and all(name.isdecimal() and each["dtype"] == "U8" for name, each in _tensors(content).items())


def _tensors(content: bytes) -> dict[str, dict[str, Any]]:
    from safetensors import SafetensorError, deserialize

    try:
        return dict(deserialize(content))
    except SafetensorError as error:
        raise msgspec.ValidationError(str(error)) from error


def _struct(kind: type) -> Any:
    return lambda said, _: msgspec.convert(said, kind) is not None


_CHECKS: dict[str, Any] = {
    "result": _result,
    "masks": _masks,
    "state": _state,
    "donor": _donor,
    "failure": _struct(Failure),
    "search": _struct(Search),
    "store": _struct(Store),
    "ticket": lambda said, _: False,  # There were seals before there were tickets.
    "cell": lambda said, _: bool(said) and set(said) <= {field.name for field in msgspec.structs.fields(Cell)},
}
