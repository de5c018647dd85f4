"""The page: one HTML file that opens anywhere, offline, and beside it the figures and the rows."""

import hashlib
import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sweepstake.base.specs import label
from sweepstake.base.text import visible
from sweepstake.read import analysis, claims, counted, figures, origins, summary, trials
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.run.files import clear_abandoned, write_text

if TYPE_CHECKING:
    from rich.table import Table

Results = Sequence[Mapping[str, Any]]

MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}


def folder_name(study: StudyLike) -> str:
    """The study's name; one that is not as written has a folder of its own, so that it replaces no other report."""
    digest = hashlib.sha256("\n".join(study.overrides).encode()).hexdigest()[:6] if study.overrides else ""
    return "-".join([study.name, *(["quick"] if study.quick else []), *([digest] if digest else [])])


def write_report(study: StudyLike, results: Results, folder: Path | str | None = None) -> Path:
    """report.html, figures/*.svg and *.pdf, rows.csv, summary.csv and verdicts.json in the folder (else reports/STUDY); the page's path."""
    folder = Path(folder or Path("reports") / folder_name(study))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    clear_abandoned(folder)
    clear_abandoned(folder / "figures")
    rows = analysis.tidy(results)
    verdicts = claims.verdicts(study, results)
    write_text(folder / "rows.csv", analysis.to_csv(rows))
    groups = summary.summarise(list(study.axes), rows)
    if groups:
        write_text(folder / "summary.csv", analysis.to_csv(groups))
    write_text(folder / "verdicts.json", json.dumps(claims.table(verdicts), indent=1) + "\n")
    drawn = [_figure(name, spec, folder) for name, spec in drawings(study, rows, analysis.curves(results))]
    if searched := getattr(study, "searched", None):
        write_text(folder / "search.json", json.dumps(searched, indent=1) + "\n")
    page = folder / "report.html"
    write_text(page, _page(study, results, rows, groups, verdicts, drawn))
    return page


def drawings(study: StudyLike, rows: list[Row], curves: list[Row]) -> Iterable[tuple[str, figures.Spec]]:
    for number, figure in enumerate(study.figures or figures.default_figures(rows), 1):
        spec = figures.draw(figure, rows, curves, study.axes, study.planned) if rows else None
        if spec is not None:
            yield f"{number}-{figure.kind}", spec
    if (searched := getattr(study, "searched", None)) and (spec := trials.drawn(searched)):
        yield "search", spec


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


def _page(study: StudyLike, results: Results, rows: list[Row], groups: list[Row], verdicts: list[claims.Verdict],
          drawn: list[dict[str, Any]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=PackageLoader("sweepstake.read", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True, finalize=lambda value: visible(value) if type(value) is str else value)
    environment.filters["code"] = _code
    return environment.get_template("report.html.j2").render(
        study=study, verdicts=[told(verdict) for verdict in verdicts], marks=MARKS, ran=_ran(results), warnings=_warnings(study, results),
        figures=[{**one, "svg": Markup(one["svg"]), "spec": Markup(one["spec"])} for one in drawn],
        library=Markup(_library() if drawn else ""),
        search=trials.section(searched) if (searched := getattr(study, "searched", None)) else None,
        table=_table(study, rows), counted=counted.lines(results, list(study.axes)), summary=_summary(study, groups), checks=_checks(results),
        provenance=_provenance(results), failures=_failures(results),
        cells=[{"id": result["id"], "who": _who(result), "status": result["status"]} for result in results])


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script; the same program with "</script" said so that it cannot end its element."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=figures.VEGALITE).replace("</script", "<\\/script")


def _code(text: str) -> Any:
    """Words in backticks as code, the rest escaped."""
    from markupsafe import Markup

    return Markup("").join(Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(visible(text).split("`")))


def _ran(results: Results) -> list[tuple[str, str]]:
    rounds = [record for result in results for record in result["rounds"]]
    seconds = sum(map(analysis.spent, results))
    whole = [result for result in results if result["status"] in ("done", "diverged")]
    minutes = seconds / 60
    spent = f"{seconds:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
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
    count = {status: sum(result["status"] == status for result in results) for status in ("missing", "failed", "damaged", "diverged")}
    of, again = f"{len(results)} cells", _command(study)
    if count["missing"]:
        said.append(f"{count['missing']} of {of} not finished. `{again}` (with the same --store, if any) goes on where it stopped.")
    if count["failed"]:
        said.append(f"{count['failed']} of {of} failed, in no mean. `{again} --retry` (with the same --store, if any) tries again.")
    if count["damaged"]:
        files = ", ".join(result["error"].replace("\n", ", ") for result in results if result["status"] == "damaged")
        said.append(f"{count['damaged']} of {of} damaged on disk, in no mean: {files}. `{again}` (with the same --store, if any) computes again.")
    if count["diverged"]:
        said.append(f"{count['diverged']} of {of} diverged (a loss that is not a number), in no mean from that round on.")
    return said + origins.warnings(results)


def _command(study: StudyLike) -> str:
    """What runs these very cells: the study as it was named, at its scale and with its changes. The store is not known here."""
    changes = [word for override in study.overrides for word in ("--set", override)]
    return shlex.join(["sweepstake", "run", getattr(study, "path", "") or study.name, *(["--quick"] if study.quick else []), *changes])


def told(verdict: claims.Verdict) -> dict[str, Any]:
    """A verdict with its numbers as they are shown."""
    effect, span = claims.shown(verdict)
    return {**msgspec.to_builtins(verdict), "mark": MARKS[verdict.verdict], "shown": effect, "range": span, "instead": claims.instead(verdict)}


def _who(result: Mapping[str, Any]) -> str:
    return ", ".join([*map(label, result["labels"].values()), f"seed {result['seed']}"])


def _failures(results: Results) -> list[tuple[str, str]]:
    return [(_who(result), result["error"] or "no reason was kept") for result in results if result["status"] == "failed"]


class Numbers(NamedTuple):
    """The table of means: `columns` are kept fractions, or rounds where groups share few kept fractions; a row a group."""

    by_round: bool
    columns: list[float]
    groups: dict[str, dict[float, Row]]

    def shown(self, most: int) -> list[float]:
        """At most so many columns: the first, where each group ends, and others spread evenly between."""
        ends = Counter(list(cells)[-1] for cells in self.groups.values())
        must = list(dict.fromkeys([*self.columns[:1], *(end for end, _ in ends.most_common())]))[:most]
        room = most - len(must) + 2
        spread: Iterable[float] = []
        if len(must) < most:
            last = len(self.columns) - 1
            spread = (self.columns if last < room else [self.columns[round(last * place / (room - 1))] for place in range(room)]) \
                if self.by_round else analysis.levels(self.columns, room)
        return [column for column in self.columns if column in {*must, *spread}]

    def head(self, column: float) -> str:
        return f"round {column:g}" if self.by_round else figures.percent(100 * column)

    def skipped(self, shown: Sequence[float]) -> str:
        """What a reader must know when columns are left out."""
        what = "rounds" if self.by_round else "levels"
        return "" if len(shown) == len(self.columns) else f"{len(shown)} of {len(self.columns)} {what} shown"


def _numbers(study: StudyLike, rows: Sequence[Row], metric: str) -> Numbers:
    """Each group (a setting of all axes) at each kept level it was measured at; by round, if no group has two thirds of the levels."""
    axes, by_group = list(study.axes), dict[str, list[Row]]()
    for one in analysis.summarise(rows, axes, metric):
        by_group.setdefault(", ".join(str(one[axis]) for axis in axes) or study.name, []).append(one)
    levels = analysis.levels((one["kept_fraction"] for members in by_group.values() for one in members), len(rows))
    at = {group: {min(level for level in levels if level >= one["kept_fraction"]): one for one in members if one["kept_fraction"] > 0}
          for group, members in by_group.items()}
    one_each = all(len(at[group]) == len(members) for group, members in by_group.items())
    if one_each and 3 * max(map(len, at.values()), default=0) >= 2 * len(levels):
        return Numbers(False, list(levels), at)
    rounds = sorted({one["round"] for members in by_group.values() for one in members})
    return Numbers(True, rounds, {group: {one["round"]: one for one in members} for group, members in by_group.items()})


def _metric(study: StudyLike) -> str:
    first = next((figure for figure in study.figures if figures.kind_of(figure).tabled), None)
    return analysis.column(first.metric, first.at) if first else "test_accuracy"


def _table(study: StudyLike, rows: Sequence[Row]) -> dict[str, Any]:
    metric = _metric(study)
    numbers = _numbers(study, rows, metric)
    shown = numbers.shown(7)
    cells = [(group, [_cell(at.get(column), metric, 2, numbers.by_round) for column in shown]) for group, at in numbers.groups.items()]
    return {"metric": _metric_told(metric), "columns": [numbers.head(column) for column in shown], "groups": cells,
            "by_round": numbers.by_round, "skipped": numbers.skipped(shown), "axes": ", ".join(study.axes) or "study"}


def _cell(one: Row | None, metric: str, digits: int, by_round: bool) -> dict[str, Any]:
    kept = figures.percent(100 * one["kept_fraction"]) if one and by_round else ""
    if one is None or one["mean"] is None:
        return {"kept": kept, "mean": "–", "std": "", "note": f"{one['diverged']} diverged" if one and one["diverged"] else ""}
    scale, style = (100, f".{digits}f") if metric.endswith("accuracy") else (1, f".{digits + 2}g" if one["mean"] < 1000 else ",.0f")
    std = "" if one["std"] is None else f"± {one['std'] * scale:{style}}"
    note = f"{one['diverged']} diverged" if one["diverged"] else ""
    return {"kept": kept, "mean": f"{one['mean'] * scale:{style}}", "std": std, "note": note}


def _metric_told(metric: str) -> str:
    early = metric.startswith("early_") and metric != "early_step"
    return (figures.NAMES.get(metric) or metric.removeprefix("early_").replace("_", " ")) + (" at early stop" if early
        else "") + (" (%)" if metric.endswith("accuracy") else "")


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
            "ticket": _spread(one, "smallest_winning", lambda kept: figures.percent(100 * kept)) if one["winners"] else ("–", ""),
            "robustness": _spread(one, "robustness", "{:.4f}".format), "rank": _spread(one, "rank", "{:.1f}".format)} for one in told]}


def _spread(one: Row, name: str, amount: Callable[[float], str]) -> tuple[str, str]:
    """A mean and its interval."""
    mean, low, high = one[name], one[f"{name}_low"], one[f"{name}_high"]
    return "–" if mean is None else amount(mean), "" if low is None else f"{amount(low)}, {amount(high)}"


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
    """Which numerics made how many cells; then every other fact kept beside the results, with all the values it took."""
    facts: dict[str, dict[str, int]] = {}
    for result in results:
        for name, value in _flat(result.get("provenance") or {}):
            facts.setdefault(name, {}).setdefault(value, 0)
            facts[name][value] += 1
    facts.pop("numerics", None)
    made = origins.numerics(results)
    first = [("numerics", origins.counted(made))] if made else []
    return first + [(name, " · ".join([*list(values)[:4], *([f"and {len(values) - 4} more"] if len(values) > 4 else [])])) for name,
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
    """Mean +- std at as many kept levels (or rounds) as fit the width, a row a group."""
    from rich.table import Table

    metric, axes = _metric(study), ", ".join(study.axes) or "study"
    numbers = _numbers(study, rows, metric)
    told = {group: {column: _in_short(one, metric, numbers.by_round) for column, one in at.items()} for group, at in numbers.groups.items()}
    lines = [line for at in told.values() for text in at.values() for line in text.split("\n")]
    widest = max(map(len, [*lines, *map(numbers.head, numbers.columns)]), default=1)
    longest = min(28, max(map(len, [*told, axes])))
    shown = numbers.shown(max(1, (width - longest - 4) // (widest + 3)))
    by = "by round (with the weights remaining)" if numbers.by_round else "by weights remaining"
    table = Table(title=f"{_metric_told(metric)}, mean ± std over seeds, {by}", title_justify="left", header_style="bold",
                  caption_justify="left", show_lines=numbers.by_round)
    table.add_column(axes, max_width=28, overflow="fold")
    for column in shown:
        table.add_column(numbers.head(column), justify="right", no_wrap=True)
    for group, at in told.items():
        table.add_row(group, *[at.get(column, "–") for column in shown])
    skipped = numbers.skipped(shown)
    lost = "* some cells diverged and are left out" if any(row["diverged"] for row in rows) else ""
    table.caption = "\n".join(filter(None, [skipped and f"{skipped}; all in rows.csv", lost])) or None
    return table


def _in_short(one: Row, metric: str, by_round: bool) -> str:
    cell = _cell(one, metric, 1 if metric.endswith("accuracy") else 2, by_round)
    mean = f"{cell['mean']} {cell['std'].replace('± ', '±')}".strip() + ("*" if cell["note"] else "")
    return f"{cell['kept']}:\n{mean}" if by_round else mean
