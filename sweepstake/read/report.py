"""The page: one HTML file that opens anywhere, offline, and beside it the figures and the rows."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sweepstake.base.specs import label
from sweepstake.read import analysis, claims, figures
from sweepstake.read.analysis import Row, StudyLike

if TYPE_CHECKING:
    from rich.table import Table

Results = Sequence[Mapping[str, Any]]

MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}


def write_report(study: StudyLike, results: Results, folder: Path | str) -> Path:
    """report.html, figures/*.svg and *.pdf, rows.csv and verdicts.json in the folder; the path of the page."""
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    rows = analysis.tidy(results)
    verdicts = claims.judge(study, rows)
    (folder / "rows.csv").write_text(analysis.to_csv(rows), encoding="utf-8")
    (folder / "verdicts.json").write_text(json.dumps(claims.table(verdicts), indent=1) + "\n", encoding="utf-8")
    drawn = [_figure(name, spec, folder) for name, spec in _specs(study, rows, analysis.curves(results))]
    page = folder / "report.html"
    page.write_text(_page(study, results, rows, verdicts, drawn), encoding="utf-8")
    return page


def _specs(study: StudyLike, rows: list[Row], curves: list[Row]) -> Iterable[tuple[str, figures.Spec]]:
    for number, figure in enumerate(study.figures or figures.default_figures(rows), 1):
        spec = figures.draw(figure, rows, curves, study.axes) if rows else None
        if spec is not None:
            yield f"{number}-{figure.kind}", spec


def _figure(name: str, spec: figures.Spec, folder: Path) -> dict[str, Any]:
    figures.to_svg(spec, folder / "figures" / f"{name}.svg")
    figures.to_pdf(spec, folder / "figures" / f"{name}.pdf")
    title = spec["title"]
    bare = {key: value for key, value in spec.items() if key not in ("title",
                                                                     "$schema")}  # The page says the title itself, where it can wrap.
    return {"name": name, "title": title["text"], "about": " ".join(title["subtitle"]), "svg": figures.to_svg(bare), "spec": _script(bare)}


def _script(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _page(study: StudyLike, results: Results, rows: list[Row], verdicts: list[claims.Verdict], drawn: list[dict[str, Any]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=PackageLoader("sweepstake.read", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters["code"] = _code
    return environment.get_template("report.html.j2").render(
        study=study, verdicts=[_told(verdict) for verdict in verdicts], marks=MARKS, ran=_ran(results), warnings=_warnings(study, results),
        figures=[{**one, "svg": Markup(one["svg"]), "spec": Markup(one["spec"])} for one in drawn],
        library=Markup(_library() if drawn else ""),
        table=_table(study, rows), checks=_checks(results), provenance=_provenance(results), failures=_failures(results),
        cells=[{"id": result["id"], "who": _who(result), "status": result["status"]} for result in results])


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script; the same program with "</script" said so that it cannot end its element."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=figures.VEGALITE).replace("</script", "<\\/script")


def _code(text: str) -> Any:
    """Words in backticks as code, the rest escaped."""
    from markupsafe import Markup

    return Markup("").join(Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(text.split("`")))


def _ran(results: Results) -> list[tuple[str, str]]:
    rounds = [record for result in results for record in result["rounds"]]
    seconds = sum(sum(record["seconds"].values()) for record in rounds)
    whole = [result for result in results if result["status"] in ("done", "diverged")]
    minutes = seconds / 60
    spent = f"{seconds:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return [("cells", f"{len(whole)} of {len(results)}" if len(whole) < len(results) else str(len(results))),
            ("seeds", str(len({result["seed"] for result in results}))),
            ("rounds trained", f"{len(rounds):,}"), ("of training and measuring", spent)]


def _warnings(study: StudyLike, results: Results) -> list[str]:
    """What a reader must know before any number: said first, and loudly."""
    said: list[str] = []
    if study.quick:
        said.append("Quick run: the study's own reduced scale (--quick). These are not the study's numbers.")
    if study.overrides:
        said.append(f"Changed from the study as shipped: {', '.join(study.overrides)}.")
    count = {status: sum(result["status"] == status for result in results) for status in ("missing", "failed", "diverged")}
    of = f"{len(results)} cells"
    if count["missing"]:
        said.append(f"{count['missing']} of {of} not finished. `sweepstake run {study.name}` goes on where it stopped.")
    if count["failed"]:
        said.append(f"{count['failed']} of {of} failed, in no mean. `sweepstake run {study.name} --retry` tries again.")
    if count["diverged"]:
        said.append(f"{count['diverged']} of {of} diverged (a loss that is not a number), in no mean from that round on.")
    return said


def _told(verdict: claims.Verdict) -> dict[str, Any]:
    """A verdict with its numbers as they are shown: accuracies in points, or in % where the mean itself is judged."""
    plain = msgspec.to_builtins(verdict)
    if verdict.effect is None:
        return {**plain, "mark": MARKS[verdict.verdict], "shown": "–", "range": ""}
    amount = claims.amounts(verdict.metric, signed=verdict.test != "about")
    spread = "" if verdict.low is None or verdict.high is None else f"{amount(verdict.low, False)}, {amount(verdict.high, False)}"
    return {**plain, "mark": MARKS[verdict.verdict], "shown": amount(verdict.effect, True), "range": spread}


def _who(result: Mapping[str, Any]) -> str:
    return ", ".join([*map(label, result["labels"].values()), f"seed {result['seed']}"])


def _failures(results: Results) -> list[tuple[str, str]]:
    return [(_who(result), result["error"] or "no reason was kept") for result in results if result["status"] == "failed"]


def _groups(study: StudyLike, rows: Sequence[Row], most: int, metric: str) -> tuple[list[float], list[tuple[str, list[Row | None]]]]:
    """Kept levels, and for each group (a setting of all axes) its summary at each of them."""
    axes = list(study.axes)
    by_group: dict[str, list[Row]] = {}
    for one in analysis.summarise(rows, axes, metric):
        by_group.setdefault(", ".join(str(one[axis]) for axis in axes) or "all", []).append(one)
    shown = analysis.levels((row["kept_fraction"] for row in rows), most)
    return shown, [(group, [analysis.nearest(members, kept, 0.1) for kept in shown]) for group, members in by_group.items()]


def _metric(study: StudyLike) -> str:
    first = next((figure for figure in study.figures if figure.kind == "accuracy_by_kept"), None)
    return analysis.column(first.metric, first.at) if first else "test_accuracy"


def _table(study: StudyLike, rows: Sequence[Row]) -> dict[str, Any]:
    metric = _metric(study)
    shown, groups = _groups(study, rows, 7, metric)
    cells = [(group, [_cell(one, metric, 2) for one in summaries]) for group, summaries in groups]
    return {"metric": _metric_told(metric), "levels": [figures.percent(100 * kept) for kept in shown], "groups": cells,
            "axes": ", ".join(study.axes) or "group"}


def _cell(one: Row | None, metric: str, digits: int) -> dict[str, Any]:
    if one is None or one["mean"] is None:
        return {"mean": "–", "std": "", "note": f"{one['diverged']} diverged" if one and one["diverged"] else ""}
    scale, style = (100, f".{digits}f") if metric.endswith("accuracy") else (1, f".{digits + 2}g" if one["mean"] < 1000 else ",.0f")
    std = "" if one["std"] is None else f"± {one['std'] * scale:{style}}"
    return {"mean": f"{one['mean'] * scale:{style}}", "std": std, "note": f"{one['diverged']} diverged" if one["diverged"] else ""}


def _metric_told(metric: str) -> str:
    early = metric.startswith("early_") and metric != "early_step"
    return (figures.NAMES.get(metric) or metric.removeprefix("early_").replace("_", " ")) + (" at early stop" if early
        else "") + (" (%)" if metric.endswith("accuracy") else "")


CHECKS = {"counts": "every layer kept exactly the count it was asked to", "dead_weights": "pruned weights were exactly 0 after training",
          "reset": "survivors were what the reset says", "shuffle": "a shuffled mask moved and kept its counts"}


def _checks(results: Results) -> list[tuple[str, int]]:
    """Each self-check and in how many rounds it passed. A round that breaks one fails its cell, so it is never among these."""
    proofs = [record["proofs"] for result in results for record in result["rounds"]]
    said = [(told, sum(proof.get(name) is not None and proof[name] != "unchecked" for proof in proofs)) for name, told in CHECKS.items()]
    far = [abs(value) for proof in proofs for name, value in proof.items() if name.startswith("correlation.")
           and isinstance(value, float) and math.isfinite(value)]
    if far:
        said.append((f"new draws did not follow the old weights (largest correlation {max(far):.3f})", len(far)))
    return [(told, count) for told, count in said if count]


def _provenance(results: Results) -> list[tuple[str, str]]:
    """Every fact kept beside the results, with all the values it took."""
    facts: dict[str, dict[str, int]] = {}
    for result in results:
        for name, value in _flat(result.get("provenance") or {}):
            facts.setdefault(name, {}).setdefault(value, 0)
            facts[name][value] += 1
    return [(name, " · ".join([*list(values)[:4], *([f"and {len(values) - 4} more"] if len(values) > 4 else [])])) for name,
            values in facts.items()]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _flat(inner, f"{name}.{key}" if name else str(key))  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        yield name, " ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    elif value is not None and len(str(value)) < 400:
        yield name, f"{value:,.1f}" if isinstance(value, float) else str(value)


def terminal_table(study: StudyLike, rows: Sequence[Row], width: int = 80) -> "Table":
    """Mean +- std at the kept levels that fit the width, a row a group."""
    from rich.table import Table

    metric = _metric(study)
    _, names = _groups(study, rows, 1, metric)
    longest = min(28, max([len(name) for name, _ in names] + [len(", ".join(study.axes) or "group")]))
    shown, groups = _groups(study, rows, max(1, min(8, (width - longest - 4) // 14)), metric)
    table = Table(title=f"{_metric_told(metric)}, mean ± std over seeds, by weights remaining", title_justify="left", header_style="bold",
                  width=None)
    table.add_column(", ".join(study.axes) or "group", max_width=28, overflow="fold")
    for kept in shown:
        table.add_column(figures.percent(100 * kept), justify="right", no_wrap=True)
    for group, summaries in groups:
        told = [_cell(one, metric, 1 if metric.endswith("accuracy") else 2) for one in summaries]
        table.add_row(group, *[f"{one['mean']} {one['std'].replace('± ', '±')}".strip() + ("*" if one["note"] else "") for one in told])
    if any(row["diverged"] for row in rows):
        table.caption = "* some cells diverged and are left out"
    return table
