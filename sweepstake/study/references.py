"""What others have measured: the `[[reference]]` tables of a study, their numbers read, and the claims about them."""

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import msgspec

from sweepstake.base.errors import UserError, unknown
from sweepstake.base.specs import ClaimSpec, ReferenceSpec
from sweepstake.base.values import shown


def with_numbers(references: Sequence[ReferenceSpec], folder: Path, place: str,
                 problems: list[str]) -> list[ReferenceSpec]:
    """The references with their points as fractions, read from their files where they name one."""
    found: list[ReferenceSpec] = []
    for number, one in enumerate(references, 1):
        at = f"{place} {number}"
        if one.label in [other.label for other in found]:
            problems.append(f"{at}: label = {shown(one.label)} stands twice. A claim names a reference by its label.")
        if bool(one.points) == bool(one.csv):
            problems.append(f"{at}: say points = [[kept, value], ...] or csv = \"FILE.csv\""
                            f"{', not both' if one.csv else ''}.")
            continue
        points = one.points or _read(folder / one.csv, one, f"{at}: csv = {shown(one.csv)}", problems)
        points = [(kept, value / 100 if one.percent else value) for kept, value in points]
        problems += _check_points(one, points, at)
        found.append(msgspec.structs.replace(one, points=sorted(points, reverse=True), percent=False))
    return found


def _check_points(one: ReferenceSpec, points: Sequence[tuple[float, float]], place: str) -> list[str]:
    problems: list[str] = []
    kept = [each for each, _ in points]
    problems += [f"{place}: {twice:g} of the weights stands twice, with one value each. Leave one out."
                 for twice in sorted({each for each in kept if kept.count(each) > 1})]
    share = one.y.endswith("accuracy") or one.y == "alive_units"
    wrong = next((value for _, value in points if share and not 0 <= value <= 1), None)
    if wrong is not None:
        as_written = wrong * 100 if one.percent else wrong
        then = "Values in per cent lie between 0 and 100." if one.percent else \
            "It is a fraction, from 0 to 1; of values in per cent say percent = true."
        problems.append(f"{place}: a {one.y} of {as_written:g}. {then}")
    return problems


def _read(path: Path, one: ReferenceSpec, place: str, problems: list[str]) -> list[tuple[float, float]]:
    """The two columns of a CSV file; a line without a value is left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            names = lines.fieldnames or []
            problems += [unknown(f"{place}: columns: {name}", "column", name, names,
                                 'Say which two with columns = ["KEPT", "VALUE"].')
                         for name in one.columns if name not in names]
            points = [_point(line, one, lines.line_num) for line in lines
                      if set(one.columns) <= {*names} and (line[one.columns[1]] or "").strip()]
    except FileNotFoundError:
        problems.append(f"{place}: no such file. Its path is relative to the study file: {path}.")
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{place}: cannot be read ({getattr(error, 'strerror', None) or error}).")
        return []
    except ValueError as error:
        problems.append(f"{place}: {error}.")
        return []
    if not points and set(one.columns) <= {*names}:
        problems.append(f"{place}: has no line with a value.")
    return points


def _point(line: dict[str, str], one: ReferenceSpec, number: int) -> tuple[float, float]:
    kept, value = (line[name] or "" for name in one.columns)
    try:
        found = float(kept), float(value)
    except ValueError:
        raise ValueError(f"line {number}: {shown(kept)} and {shown(value)} are not two numbers") from None
    if not (0 < found[0] <= 1 and isfinite(found[1])):
        raise ValueError(f"line {number}: {kept} is no fraction of weights remaining, above 0 and at most 1"
                         if isfinite(found[1]) else f"line {number}: {value} is no number to compute with")
    return found


def with_values(claims: Sequence[ClaimSpec], references: Sequence[ReferenceSpec], place: str,
                problems: list[str]) -> list[ClaimSpec]:
    """The claims, each about a reference with the value that this has at the kept fraction they name."""
    known = {one.label: one for one in references}
    found: list[ClaimSpec] = []
    for number, claim in enumerate(claims, 1):
        if not claim.reference:
            found.append(claim)
            continue
        at = f"{place} {number}: reference = {shown(claim.reference)}"
        try:
            found.append(msgspec.structs.replace(claim, value=_value(claim, known, at)))
        except UserError as error:
            problems += error.problems
    return found


def _value(claim: ClaimSpec, known: dict[str, ReferenceSpec], place: str) -> float:
    if claim.reference not in known:
        raise UserError(unknown(place, "[[reference]]", claim.reference, known))
    one = known[claim.reference]
    if claim.value is not None:
        raise UserError(f"{place}: is the number to be met, and so is value = {claim.value:g}. Leave one out.")
    if claim.than or claim.kept_than is not None:
        other = "than" if claim.than else "kept_than"
        raise UserError(f"{place}: is the other side, and so is {other}. Leave one out.")
    if (claim.metric, claim.at) != (one.y, one.at):
        raise UserError(f"{place}: is of {_measure(one.y, one.at)}, the claim of {_measure(claim.metric, claim.at)}. "
                        "Let both be of one.")
    low, high = one.points[-1][0], one.points[0][0]
    if claim.kept is None:
        raise UserError(f"{place}: needs kept: at which fraction of weights remaining, from {high:g} to {low:g}.")
    value = one.value_at(claim.kept)
    if value is None:
        has = f"only {high:g}" if low == high else f"{high:g} to {low:g}"
        raise UserError(f"{place}: has no level at kept = {claim.kept:g}; it has {has}. Say one of those.")
    return value


def _measure(metric: str, at: str) -> str:
    return f"{metric}{' at early stop' if at == 'early' else ''}"
