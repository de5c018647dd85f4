"""The page: one HTML document that opens anywhere, offline, made of a study and its results. It writes nothing."""

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from sweepstake.base.specs import label
from sweepstake.base.text import visible
from sweepstake.read import analysis, claims, counted, figures, means, origins, summary, trials
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.page.charts import charts

Results = Sequence[Mapping[str, Any]]

MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}


class Reading(NamedTuple):
    """What the results of a study come to: what the page shows, and what is written beside it."""

    rows: list[Row]
    groups: list[Row]
    verdicts: list[claims.Verdict]
    drawn: list[tuple[str, figures.Spec]]
    """Each figure with its name."""


def read(study: StudyLike, results: Results) -> Reading:
    """Rows, summary, verdicts and figures of whatever results there are."""
    rows = analysis.tidy(results)
    return Reading(rows, summary.summarise(list(study.axes), rows), claims.verdicts(study, results),
                   list(drawings(study, rows, analysis.curves(results))))


def drawings(study: StudyLike, rows: list[Row], curves: list[Row]) -> Iterable[tuple[str, figures.Spec]]:
    for number, figure in enumerate(study.figures or figures.default_figures(rows), 1):
        spec = figures.draw(figure, rows, curves, study.axes, study.planned, study.references) \
            if rows else None
        if spec is not None:
            yield f"{number}-{figure.kind}", spec
    if (searched := getattr(study, "searched", None)) and (spec := trials.drawn(searched)):
        yield "search", spec


@cache
def _templates() -> Any:
    """Each compiled once, though the page is made often."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("sweepstake.read.page"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True,
                              finalize=lambda value: visible(value) if type(value) is str else value)
    environment.filters["code"] = _code
    return environment


def page(study: StudyLike, results: Results, reading: Reading | None = None, *, nonce: str = "") -> str:
    """The page of a study, from results whole or begun; `reading` is what `read` gives, where a caller has it.

    With a `nonce` it is the page of `sweepstake watch`: it follows the study through its server, each script of ours
    carries the nonce, the policy comes with the server's answer, and no figure has a still.
    """
    from markupsafe import Markup

    found = reading or read(study, results)
    drawn = charts(results, found.rows, found.drawn, live=bool(nonce))
    return _templates().get_template("report.html.j2").render(
        live=bool(nonce), nonce=Markup(' nonce="{}"').format(nonce) if nonce else "",
        study=study, verdicts=[told(verdict) for verdict in found.verdicts], marks=MARKS, ran=_ran(results),
        warnings=_warnings(study, results),
        figures=drawn.figures, runs=drawn.runs, library=drawn.library,
        search=trials.section(searched) if (searched := getattr(study, "searched", None)) else None,
        table=means.table(study, found.rows), counted=counted.lines(results, list(study.axes)),
        summary=_summary(study, found.groups), checks=_checks(results),
        provenance=_provenance(results), failures=_failures(results),
        cells=[{"id": result["id"], "who": _who(result), "status": result["status"]} for result in results])


def _code(text: str) -> Any:
    """Words in backticks as code, the rest escaped."""
    from markupsafe import Markup

    return Markup("").join(Markup("<code>{}</code>").format(part) if odd % 2 else part
                           for odd, part in enumerate(visible(text).split("`")))


def _ran(results: Results) -> list[tuple[str, str]]:
    rounds = [record for result in results for record in result["rounds"]]
    seconds = sum(map(analysis.spent, results))
    whole = [result for result in results if result["status"] in ("done", "diverged")]
    minutes = seconds / 60
    spent = f"{seconds:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes" if minutes < 120 else \
        f"{minutes / 60:.1f} hours"
    return [("cells", f"{len(whole)} of {len(results)}" if len(whole) < len(results) else str(len(results))),
            ("seeds", str(len({result["seed"] for result in results}))),
            ("rounds", f"{len(rounds):,}"), ("of training and measuring", spent)]


def _warnings(study: StudyLike, results: Results) -> list[str]:
    """What a reader must know before any number: said first, and loudly."""
    said: list[str] = []
    if study.quick:
        said.append("Quick run: the study's own reduced scale (--quick). These are not the study's numbers.")
    if study.overrides:
        said.append(f"Changed from the study as shipped: {', '.join(study.overrides)}.")
    count = Counter(result["status"] for result in results)
    of, again, with_store = f"{len(results)} cells", _command(study), "(with the same --store, if any)"
    if count["missing"]:
        said.append(f"{count['missing']} of {of} not finished. `{again}` {with_store} goes on where it stopped.")
    if count["failed"]:
        said.append(f"{count['failed']} of {of} failed, in no mean. `{again} --retry` {with_store} tries again.")
    if count["damaged"]:
        files = ", ".join(result["error"].replace("\n", ", ") for result in results if result["status"] == "damaged")
        said.append(f"{count['damaged']} of {of} damaged on disk, in no mean: {files}. `{again}` {with_store} computes "
                    "again.")
    if count["diverged"]:
        said.append(f"{count['diverged']} of {of} diverged (a loss that is not a number), in no mean from that "
                    "round on.")
    return said + origins.warnings(results)


def _command(study: StudyLike) -> str:
    """What runs these very cells: the study as named, at its scale, with its changes. The store is not known here."""
    changes = [word for override in study.overrides for word in ("--set", override)]
    return shlex.join(["sweepstake", "run", getattr(study, "path", "") or study.name,
                       *(["--quick"] if study.quick else []), *changes])


def told(verdict: claims.Verdict) -> dict[str, Any]:
    """A verdict with its numbers as they are shown."""
    effect, span = claims.shown(verdict)
    return {**msgspec.to_builtins(verdict), "mark": MARKS[verdict.verdict], "shown": effect, "range": span,
            "instead": claims.instead(verdict)}


def _who(result: Mapping[str, Any]) -> str:
    return ", ".join([*map(label, result["labels"].values()), f"seed {result['seed']}"])


def _failures(results: Results) -> list[tuple[str, str]]:
    return [(_who(result), result["error"] or "no reason was kept") for result in results
            if result["status"] == "failed"]


def _summary(study: StudyLike, groups: Sequence[Row]) -> dict[str, Any]:
    """The groups as they are shown, the most robust first; empty where nothing was pruned from a dense network."""
    told = summary.ordered(groups)
    p = told[0]["friedman_p"] if told else None
    return {
        "axes": ", ".join(study.axes) or "study", "down_to": figures.percent(100 * told[0]["down_to"]) if told else "",
        "diverged": any(one["diverged"] for one in told),
        "alike": "" if p is None else claims.p_value(p), "rows": [{
            "group": ", ".join(str(one[axis]) for axis in study.axes) or study.name, "n": one["n"],
            "winners": summary.winners(one),
            **summary.numbers_told(one)} for one in told]}


CHECKS = {"counts": "every layer kept exactly the count it was asked to",
          "dead_weights": "pruned weights were exactly 0 after training",
          "reset": "survivors were what the reset says", "shuffle": "a shuffled mask moved and kept its counts"}


def _checks(results: Results) -> list[tuple[str, int]]:
    """Each self-check and in how many rounds it passed. A round that breaks one fails its cell and is not here."""
    proofs = [record["proofs"] for result in results for record in result["rounds"]]
    said = [(told, sum(proof.get(name) not in (None, "unchecked") for proof in proofs))
            for name, told in CHECKS.items()]
    far = [abs(value) for proof in proofs for name, value in proof.items() if name.startswith("correlation.")
           and isinstance(value, float) and math.isfinite(value)]
    if far:
        said.append((f"new draws did not follow the old weights (largest correlation {max(far):.3f})", len(far)))
    return [(told, count) for told, count in said if count]


def _provenance(results: Results) -> list[tuple[str, str]]:
    """Which numerics made how many cells; then every other fact kept beside the results, with its values."""
    facts: dict[str, dict[str, int]] = {}
    for result in results:
        for name, value in _flat(result.get("provenance") or {}):
            facts.setdefault(name, {}).setdefault(value, 0)
            facts[name][value] += 1
    facts.pop("numerics", None)
    made = origins.numerics(results)
    first = [("numerics", origins.counted(made))] if made else []
    return first + [(name, " · ".join([*list(values)[:4], *[f"and {len(values) - 4} more"] * (len(values) > 4)]))
                    for name, values in facts.items()]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _flat(inner, f"{name}.{key}" if name else str(key))  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        yield name, " ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    elif value is not None and len(str(value)) < 400:
        yield name, f"{value:,.1f}" if isinstance(value, float) else str(value)
