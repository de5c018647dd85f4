"""The page: one HTML document that opens anywhere, offline, made of a study and its results. It writes nothing."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sweepstake.base.specs import label
from sweepstake.base.text import all_visible, visible
from sweepstake.read import analysis, claims, counted, figures, means, origins, summary, trials
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.page import answer, cost, examples, plan, provenance, rows, runs, survive
from sweepstake.read.page.charts import charts, held

if TYPE_CHECKING:
    from sweepstake.run.store import Store

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
    timed = any(claim.metric == "train_seconds" for claim in study.claims)
    verdicts = claims.verdicts(study, results) if timed else claims.judge(study, rows)
    return Reading(rows, summary.summarise(list(study.axes), rows), verdicts, list(drawings(study, rows, results)))


def drawings(study: StudyLike, rows: list[Row], results: Results) -> Iterable[tuple[str, figures.Spec]]:
    shown = study.figures or figures.default_figures(rows)
    curves = analysis.curves(results) if any(figures.kind_of(figure).of_curves for figure in shown) else []
    for number, figure in enumerate(shown, 1):
        spec = figures.draw(figure, rows, curves, study.axes, study.planned, study.references) \
            if rows else None
        if spec is not None:
            yield f"{number}-{figure.kind}", spec
    if (searched := getattr(study, "searched", None)) and (spec := trials.drawn(searched)):
        yield "search", spec


def _data(value: Any) -> Any:
    """JSON that cannot end the script it stands in."""
    from markupsafe import Markup

    text = json.dumps(all_visible(value), separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


@cache
def _templates() -> Any:
    """Each compiled once, though the page is made often."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("sweepstake.read.page"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True,
                              finalize=lambda value: visible(value) if type(value) is str else value)
    environment.filters["code"] = _code
    environment.filters["data"] = _data
    return environment


def page(study: StudyLike, results: Results, reading: Reading | None = None, store: "Store | None" = None, *,
         data: Path | str | None = None, nonce: str = "", version: int = 0) -> str:
    """The page of a study, from results whole or begun; `reading` is what `read` gives, where a caller has it.

    With the store that they are of, it also tells what only masks and the data set's files know; these lie in `data`,
    else where the study says. With a `nonce` it is the page of `sweepstake watch` in this `version`: it follows the
    study through its server, each script of ours carries the nonce, the policy comes with the server's answer, no
    figure has a still, and there are none of what survives, and no rows to save: it is made often.
    """
    from markupsafe import Markup

    found = reading or read(study, results)
    drawn = charts(results, found.rows, found.drawn, live=bool(nonce))
    chosen = survive.choice(study, found.groups)
    data = data or data_of(study)
    masked = survive.section(study, results, chosen, store, data)
    surviving = [] if nonce else [*survive.drawings(study, chosen, found.rows, results, store), *masked["figures"]]
    planned = plan.plan(study, results)
    verdicts = [told(verdict) for verdict in found.verdicts]
    searched = getattr(study, "searched", None)
    return _templates().get_template("report.html.j2").render(
        live=bool(nonce), version=version, nonce=_attribute(nonce),
        study=study, question=answer.question(study.about), verdicts=verdicts,
        answer=answer.section(study, verdicts, found.groups, found.rows), ran=_ran(results),
        warnings=_warnings(study, results), figures=drawn.figures, runs=drawn.runs, library=drawn.library,
        search=trials.section(searched) if searched else None, searched=searched,
        table=means.table(study, found.rows), counted=counted.lines(results, list(study.axes)),
        summary=_summary(study, found.groups), checks=_checks(results),
        run_list=runs.section(study, results, found.rows),
        rows=None if nonce else rows.section(results, found.rows), masked=masked,
        surviving=[held(f"survive-{name}", spec, survive.ROOM) for name, spec in surviving],
        few=" ".join([*survive.alike(chosen.rows(study, found.rows)).values(), *filter(None, [chosen.says])]),
        cost=cost.section(results), plan=plan.in_words(planned),
        drawn_plan=[(kind, Markup(plan.svg(planned, width))) for kind, width in (("wide", plan.WIDE),
                                                                                ("narrow", plan.NARROW))],
        examples=examples.section(results, study, data) if store else [],
        provenance=provenance.facts(results), again=provenance.reproduction(study, results),
        failures=_failures(results))


def waiting(study: StudyLike, problem: str, read: int | None, nonce: str) -> str:
    """What stands in the place of a live page until that is made. Its script asks until there is another.

    So many cells are `read`; None: all are, and the page is being made.
    """
    cells = f"{len(study.planned):,}"
    does = f"Reading the store: {read:,} of {cells} cells." if read is not None else \
        f"Making the figures and verdicts of {cells} cells."
    template = _templates().get_template("waiting.html.j2")
    return template.render(study=study, says=problem or does, nonce=_attribute(nonce))


def _attribute(nonce: str) -> Any:
    """Of a script, what lets the server's policy run it."""
    from markupsafe import Markup

    return Markup(' nonce="{}"').format(nonce) if nonce else ""


def data_of(study: StudyLike) -> str | None:
    """Where the study says that its images lie."""
    return getattr(getattr(study, "machine", None), "data", None)


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
    of, again, with_store = f"{len(results)} cells", provenance.command(study), "(with the same --store, if any)"
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
        "diverged": any(one["diverged"] for one in told), "ranked": any(one["rank"] is not None for one in told),
        "csv": analysis.to_csv([{key: float(f"{value:.6g}") if isinstance(value, float) else value
                                 for key, value in one.items()} for one in groups]) if told else "",
        "alike": "" if p is None else claims.p_value(p), "rows": [{
            "group": ", ".join(str(one[axis]) for axis in study.axes) or study.name, "n": one["n"],
            "winners": summary.winners(one), "drawn": _rank_drawn(one, len(told)),
            **summary.numbers_told(one)} for one in told]}


def _rank_drawn(one: Row, groups: int) -> dict[str, float | None] | None:
    """Where a mean rank and its interval stand, in % of the way from rank 1 to the last."""
    def place(rank: float | None) -> float | None:
        return None if rank is None else round(100 * (rank - 1) / max(1, groups - 1), 1)

    return None if one["rank"] is None else {
        "at": place(one["rank"]), "low": place(one["rank_low"]), "high": place(one["rank_high"])}


CHECKS = {"counts": "every layer kept exactly as many weights as asked",
          "dead_weights": "pruned weights were exactly 0 after training",
          "reset": "after a reset, the surviving weights had exactly the values that the study's reset names",
          "shuffle": "a shuffled mask differed from the original and kept as many weights in every layer"}


def _checks(results: Results) -> list[tuple[str, int]]:
    """Each self-check and in how many rounds it passed. A round that breaks one fails its cell and is not here."""
    proofs = [record["proofs"] for result in results for record in result["rounds"]]
    said = [(told, sum(proof.get(name) not in (None, "unchecked") for proof in proofs))
            for name, told in CHECKS.items()]
    far = [abs(value) for proof in proofs for name, value in proof.items() if name.startswith("correlation.")
           and isinstance(value, float) and math.isfinite(value)]
    if far:
        said.append(("weights drawn anew were uncorrelated with the old ones (largest absolute correlation "
                     f"{max(far):.3f})", len(far)))
    return [(told, count) for told, count in said if count]
