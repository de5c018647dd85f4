"""What made the results, in readable units, and the commands that make them again."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweepstake.read import analysis, origins
from sweepstake.read.analysis import StudyLike
from sweepstake.read.page.cost import told_seconds

Results = Sequence[Mapping[str, Any]]
Facts = dict[str, Counter[str]]
"""What was said of something, and by how many cells."""

SHOWN = 4
"""Differing values of one fact that are told."""
LIBRARIES = ("torch", "numpy", "numba", "scipy")
TOLD_APART = {"seconds", "finished", "study", "study_text", "numerics", "engine", "images", "command"}
"""What has a line of its own, or is said elsewhere on the page."""


def facts(results: Results) -> list[tuple[str, str]]:
    """A line a fact, with its value, or with several and how many cells say each."""
    found: Facts = {}
    made = [result["provenance"] for result in results if result["provenance"]]
    for one in made:
        for name, value in _said(one):
            found.setdefault(name, Counter())[value] += 1
    lines = [(name, _values(counts, len(made))) for name, counts in found.items()]
    numerics = origins.numerics(results)
    first = [("numerics", origins.counted(numerics))] if numerics else []
    return first + lines + _times(results, made)


def _said(made: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Each fact of one cell, in words."""
    versions, machine = made.get("versions") or {}, made.get("machine") or {}
    if versions:
        yield "software", ", ".join(f"{name} {value}" for name, value in versions.items() if name != "commit")
    if commit := versions.get("commit"):
        yield "commit", f"{commit.removesuffix('+')}{' and changes that were not committed' * commit.endswith('+')}"
    if machine:
        cores = machine.get("cores")
        processor = machine.get("processor") or machine.get("cpu")
        yield "processor", ", ".join(filter(None, [processor, cores and f"{cores} core{'s' * (cores != 1)}"]))
        for name in ("python", "system"):
            if machine.get(name):
                yield name, str(machine[name])
    if images := made.get("images"):
        yield "images", _images(images)
    rest = {**{key: value for key, value in made.items() if key not in {*TOLD_APART, "versions", "machine"}},
            "machine": {key: value for key, value in machine.items()
                        if key not in ("processor", "cpu", "cores", "python", "system")}}
    yield from _flat(rest)


def _images(images: Mapping[str, Any]) -> str:
    numbers = {way: ", ".join(f"{one:.4g}" for one in images.get(way, ())) for way in ("shift", "scale")}
    return (f"{images.get('train', 0):,} trained on, {images.get('test', 0):,} tested on; "
            f"from each pixel {numbers['shift'] or 0} is subtracted, and the rest divided by {numbers['scale'] or 1}")


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}: {key}" if name else str(key).replace("_", " "))
    elif isinstance(value, list):
        yield name, " ".join(map(str, value))
    elif value is not None and len(str(value)) < 400:
        bytes_ = isinstance(value, int) and ("bytes" in name or "memory" in name) and value > 1e6
        yield name, f"{value / 1e9:.1f} GB" if bytes_ else f"{value:,.4g}" if isinstance(value, float) else str(value)


def _values(counts: Counter[str], of: int) -> str:
    """One value; or the most frequent, each with how many cells it is of."""
    if len(counts) == 1 and counts.total() == of:
        return next(iter(counts))
    told = [f"{value} ({count:,} cell{'s' * (count != 1)})" for value, count in counts.most_common(SHOWN)]
    return "; ".join([*told, *([f"and {len(counts) - SHOWN:,} other values"] if len(counts) > SHOWN else [])])


def _times(results: Results, made: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    seconds = [analysis.spent(result) for result in results if result["provenance"]]
    ends = sorted(one["finished"] for one in made if one.get("finished"))
    lines = []
    if any(seconds):
        each = f"{told_seconds(min(seconds))} to {told_seconds(max(seconds))} a cell"
        lines.append(("time", f"{told_seconds(sum(seconds))} of one core in all, {each}"))
    if ends:
        first, last = (end[:16].replace("T", " ") for end in (ends[0], ends[-1]))
        lines.append(("finished", f"{first} UTC" if first == last else f"{first} to {last} UTC"))
    return lines


# How to make them again

def command(study: StudyLike, verb: str = "run", path: str = "") -> str:
    """What runs these very cells: the study as named, at its scale, with its changes. The store is not known here."""
    changes = [word for override in study.overrides for word in ("--set", override)]
    return shlex.join(["sweepstake", verb, path or getattr(study, "path", "") or study.name,
                       *(["--quick"] if study.quick else []), *changes])


def reproduction(study: StudyLike, results: Results) -> dict[str, Any]:
    """Commands from an empty folder with the study's text in it, and what they need beside it."""
    made = next((result["provenance"] for result in results if result["provenance"].get("versions")), {})
    versions, machine = made.get("versions") or {}, made.get("machine") or {}
    file = f"{study.name}.toml"
    wanted = [f"{name}=={versions[name].partition('+')[0]}" for name in ("sweepstake", *LIBRARIES) if name in versions]
    lines = [shlex.join(["python", "-m", "pip", "install", *wanted])] if wanted else []
    lines += [command(study, "show", file), command(study, "run", file)]
    names = sorted({result["cell"]["dataset"]["name"] for result in results if result["cell"].get("dataset")})
    needs = [f"Python {machine['python']}"] if machine.get("python") else []
    needs += [f"the data set {name}" for name in names if name != "digits"]
    needs += [f"the plug-in {name} beside the study (sha256 {hash_})"
              for name, hash_ in (made.get("plugins") or {}).items()]
    notes = [f"The results are of {name} {value}." for name, value in versions.items() if "+" in value
             and name in LIBRARIES]
    if commit := versions.get("commit"):
        notes.append(f"They were made by sweepstake at commit {commit}.")
    if any(name != "digits" for name in names):
        notes.append("`--data DIR` says where a data set lies; `sweepstake data` says which are here.")
    notes.append("On another processor or build, numbers agree to rounding.")
    return {"file": file, "commands": "\n".join(lines), "needs": ", ".join(needs), "notes": " ".join(notes)}
