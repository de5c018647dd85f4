"""What a study came to, as files to keep beside the code: rows, figures, verdicts, provenance.

The same store gives the same bytes.
"""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepstake.base.errors import UserError
from sweepstake.base.specs import label
from sweepstake.base.text import visible
from sweepstake.read import analysis, claims, figures, summary
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.page.document import MARKS, Results, drawings, told
from sweepstake.run.files import clear_abandoned, write_text

SMALL = 1_000_000
"""Up to so many bytes the rows are written as CSV, too."""
LARGEST = 300_000
"""A figure of more bytes than this is no picture for a page."""
MACHINE, VERSIONS = ("processor", "cores", "python"), ("sweepstake", "commit", "torch", "numpy", "numba")
NOTES, AGAIN = "notes.md", "again.csv"


def publish(study: StudyLike, results: Results, folder: Path | str, *, partial: bool = False) -> Path:
    """Write the folder: rows, figures, verdicts, provenance, and what else was found in them.

    `notes.md` there is never touched. A study that is not as written, or lacks cells, is refused; with `partial` every
    title says what it is.
    """
    folder, rows = Path(folder), analysis.tidy(results, timing=True)
    lacks = lacking(study, results)
    if not rows:
        raise UserError(f"publish {study.name}: no cell is finished in this store. "
                        f"Run it first: `sweepstake run {study.name}`.")
    if lacks and not partial:
        raise UserError(f"publish {study.name}: not the whole study as written: {'; '.join(lacks)}. "
                        f"Finish it with `sweepstake run {study.name}` and the same --store, "
                        "or publish with --partial: every title will say so.")
    said = f" ({'; '.join(lacks)})" if lacks else ""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    clear_abandoned(folder)
    clear_abandoned(folder / "figures")
    drawn = _draw(study, rows, results, folder / "figures", said)
    found = provenance(study, results, drawn, said)
    _write_rows(rows, folder)
    _write_verdicts(study, rows, folder, study.title + said)
    write_text(folder / "provenance.json", _json(found))
    return folder


def judge_again(study: StudyLike, folder: Path) -> None:
    """Verdicts and summary of a published folder anew, from its rows: as the judge words and counts them today."""
    import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]

    title = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["title"]
    _write_verdicts(study, parquet.read_table(folder / "rows.parquet").to_pylist(), folder, title)


def _write_verdicts(study: StudyLike, rows: Sequence[Row], folder: Path, title: str) -> None:
    judged, groups = _judged(study, rows), summary.summarise(list(study.axes), rows)
    if (folder / AGAIN).exists():
        second = _judged(study, _again(study, rows, folder / AGAIN))
        judged = [{**one, "again": {"verdict": other["verdict"], "effect": effect(other)}}
                  for one, other in zip(judged, second, strict=True)]
    write_text(folder / "summary.json", _json(groups))
    write_text(folder / "verdicts.json", _json(judged))
    tables = f"{verdict_table(judged)}\n{reasons(judged)}{summary_table(groups)}"
    write_text(folder / "verdicts.md", f"# {cell(title)}\n\n{tables}")


def _judged(study: StudyLike, rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [told(verdict) for verdict in claims.judge(study, rows)]


def _again(study: StudyLike, rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows with the numbers of a second run of the same cells, kept beside them by people.

    Its lines are found by their axes, seed and round.
    """
    keys = [*study.axes, "seed", "round"]
    with path.open(encoding="utf-8", newline="") as file:
        second = {tuple(one[key] for key in keys):
                      {name: float(value) for name, value in one.items() if name not in keys}
                  for one in csv.DictReader(file)}
    return [{**row, **second[tuple(str(row[key]) for key in keys)]} for row in rows]


def lacking(study: StudyLike, results: Results) -> list[str]:
    """In what these results are not the whole study as written; nothing when they are."""
    count = Counter(result["status"] for result in results)
    lost = [word for word in ("missing", "failed", "damaged") if count[word]]
    return [*(["quick run, not the study's scale"] if study.quick else []),
            *(f"--set {said}" for said in study.overrides),
            *(f"{count[word]} of {len(results)} cells {word}" for word in lost)]


def provenance(study: StudyLike, results: Results, drawn: Sequence[Mapping[str, str]], said: str) -> dict[str, Any]:
    """What was run, on what, when, from which text of the study.

    From the store alone, so that it is the same however often it is asked.
    """
    from sweepstake import __version__

    finished = sorted(result["provenance"]["finished"] for result in results if result["provenance"].get("finished"))
    records = [record for result in results for record in result["rounds"]]
    made = Counter(json.dumps(_made(result["provenance"]), sort_keys=True) for result in results if result["rounds"])
    by_count = sorted(made.items(), key=lambda item: (-item[1], item[0]))
    searched, files = getattr(study, "searched", None), _data_files(results)
    return {
        "study": study.name, "title": study.title + said, "about": study.about.strip(),
        "study_sha256": text_hash(study.text),
        "whole": not said, "command": f"sweepstake publish {study.name}", "sweepstake": __version__,
        "axes": {axis: [label(one) for one in labels] for axis, labels in study.axes.items()},
        "seeds": sorted({result["seed"] for result in results}),
        "cells": {"planned": len(results), **dict(sorted(Counter(result["status"] for result in results).items()))},
        "rounds": len(records),
        "rounds_a_cell": sorted({len(result["rounds"]) for result in results if result["status"] == "done"}),
        "seconds": {"training": round(sum(r["seconds"].get("train", 0.0) for r in records), 1),
                    "all": round(sum(map(analysis.spent, results)), 1)},
        "finished": finished[:1] + finished[-1:],
        "made_by": [{**json.loads(one), "cells": count} for one, count in by_count],
        **({"data_files": files} if files else {}),
        "figures": list(drawn), **({"searched": searched} if searched else {}),
    }


def _data_files(results: Results) -> dict[str, list[str]]:
    """Each file of images that results are from, with the hashes of what it held."""
    found = dict[str, set[str]]()
    for result in results:
        for said, hash_ in result["provenance"].get("data_files", {}).items():
            found.setdefault(said, set()).add(hash_)
    return {said: sorted(hashes) for said, hashes in sorted(found.items())}


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _made(found: Mapping[str, Any]) -> dict[str, Any]:
    machine, versions = found.get("machine") or {}, found.get("versions") or {}
    return {**{key: machine[key] for key in MACHINE if key in machine},
            **{key: versions[key] for key in VERSIONS if key in versions},
            **{key: found[key] for key in ("engine", "numerics", "device") if found.get(key)}}


def _write_rows(rows: Sequence[Row], folder: Path) -> None:
    analysis.to_parquet(rows, folder / "rows.parquet")
    text = analysis.to_csv(rows)
    if len(text.encode()) <= SMALL:
        write_text(folder / "rows.csv", text)
    else:
        (folder / "rows.csv").unlink(missing_ok=True)


def _draw(study: StudyLike, rows: list[Row], results: Results, folder: Path, said: str) -> list[dict[str, str]]:
    """Every figure of the study as a slim SVG; those of an earlier publication that are no more are taken away."""
    drawn: list[dict[str, str]] = []
    for name, spec in drawings(study, rows, results):
        title = {**spec["title"], "text": spec["title"]["text"] + said}
        svg = slim(figures.to_svg({**spec, "title": title}))
        if len(svg.encode()) > LARGEST:
            raise UserError(f"publish {study.name}: figure {name} has {len(svg.encode()):,} bytes, "
                            f"more than the {LARGEST:,} that a page bears. "
                            "Draw fewer lines or points: say where, or every, in its [[figure]].")
        write_text(folder / f"{name}.svg", svg)
        drawn.append({"file": f"figures/{name}.svg", "title": title["text"], "about": " ".join(title["subtitle"])})
    for old in folder.glob("*.svg"):
        if f"figures/{old.name}" not in [one["file"] for one in drawn]:
            old.unlink()
    return drawn


def slim(svg: str) -> str:
    """The same picture in fewer bytes: without what only a live page uses, coordinates to a hundredth of a pixel."""
    used = dict.fromkeys(re.findall(r"\bclip\d+\b", svg))  # Counted on from figure to figure.
    clips = {old: f"clip{number}" for number, old in enumerate(used)}
    svg = re.sub(r"\bclip\d+\b", lambda at: clips[at[0]], svg)
    svg = re.sub(r' (?:aria-[a-z]+|role|class|pointer-events)="[^"]*"', "", svg)
    svg = re.sub(r'<path(?: [a-z-]+="[^"]*")* opacity="0"(?: [a-z-]+="[^"]*")*/>', "", svg)
    return re.sub(r' (?:d|transform|x2|y2)="[^"]*"', lambda at: re.sub(r"(\.\d\d)\d+(?!\d*e)", r"\1", at[0]), svg)


def verdict_table(judged: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts as Markdown, a row a claim; their reasons stand below it, for they are long."""
    if not judged:
        return "This study claims nothing.\n"
    holm = any(one.get("p_holm") is not None for one in judged)
    lines = [f"| claim | what is claimed | verdict | effect (95 % interval) |{' p (Holm) |' * holm} seeds |",
             f"|---|---|---|---|{'---|' * holm}---|"]
    lines += [f"| {cell(one['claim'])} | {cell(one['says'])} | {verdict(one)} | {effect(one)} |"
              f"{f' {p_value(one)} |' * holm} {one['n']} |" for one in judged]
    return "\n".join(lines) + "\n"


def reasons(judged: Sequence[Mapping[str, Any]]) -> str:
    """In words what was measured, claim by claim."""
    sources = [f" ({cell(one['source'])})" if one.get("source") else "" for one in judged]
    return "".join(f"- **{cell(one['claim'])}**: {cell(one['reason'])}{source}\n"
                   for one, source in zip(judged, sources, strict=True))


def summary_table(groups: Sequence[Row]) -> str:
    """What each group came to, the most robust first; nothing where no network was pruned from a dense one."""
    ranked = summary.ordered(groups)
    if not ranked:
        return ""
    axes = [axis for axis in list(ranked[0])[:list(ranked[0]).index("n")] if len({one[axis] for one in ranked}) > 1]
    lines = [f"| {' | '.join([*map(cell, axes), 'smallest winning ticket', 'seeds with one', 'robustness', 'rank'])} |",
             "|" + "---|" * (len(axes) + 4)]
    for one in ranked:
        ticket, robustness, rank = (claims.with_range(*number) for number in summary.numbers_told(one).values())
        numbers = [ticket, summary.winners(one), robustness, rank]
        lines.append(f"| {' | '.join([*(cell(one[axis]) for axis in axes), *numbers])} |")
    p, lost = ranked[0]["friedman_p"], any(one.get("diverged") for one in ranked)
    last = "; a diverged network ranks last, and has no ticket and no robustness" * lost
    alike = ("" if p is None else " If all groups were alike, ranks at least so far apart would have a probability of "
             f"p = {claims.p_value(p)} (Friedman's test).")
    return ("\nSmallest winning ticket: the fewest weights remaining at a test accuracy at or above the cell's own "
            "dense network's; one such level is enough, and chance alone can make one. Geometric mean over seeds. "
            "Robustness: the area under test accuracy over the logarithm of weights remaining, "
            f"down to {figures.percent(100 * ranked[0]['down_to'])}, relative to the dense network's; 1 loses nothing. "
            "Rank: groups are ranked by robustness within each seed, 1 the best, and the mean over seeds is told"
            f"{last}.{alike} In brackets 95 % intervals over seeds (Student's t).\n\n" + "\n".join(lines) + "\n")


def verdict(one: Mapping[str, Any]) -> str:
    """The verdict; and that of a second run of the same cells, where it is another."""
    again, own = one.get("again"), one["verdict"]
    return f"{MARKS[own]} {own}" + (f" (run again: {again['verdict']})" if again and again["verdict"] != own else "")


def effect(one: Mapping[str, Any]) -> str:
    """The effect with its interval, as the claim's metric is told; of a contradicted claim, what was found instead."""
    return ", ".join(filter(None, [one.get("instead"), claims.with_range(one["shown"], one["range"])]))


def p_value(one: Mapping[str, Any]) -> str:
    return "–" if one.get("p_holm") is None else claims.p_value(one["p_holm"])


MARKUP = re.compile(r"<(?=[a-zA-Z/!?])|\](?=[(\[:])|&(?=#?\w+;)|\\(?=[!-/:-@[-`{-~])|[`*~$]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would take for a tag, a link, code, emphasis or mathematics, and not for the character that it is."""


def cell(text: str) -> str:
    """Text on one line of Markdown, or in a cell of a table: it shows as it was written, and is no more than text."""
    return MARKUP.sub(lambda at: f"&#{ord(at[0])};", " ".join(visible(text).split())).replace("|", "\\|")


def lines(text: str) -> str:
    """The same of several lines, none of which begins a heading, a list, a quotation or a line of a table."""
    return "\n".join(re.sub(r"^([#>+=-]|\d+(?=[.)]))", lambda at: f"{at[1][:-1]}&#{ord(at[1][-1])};", cell(line))
                     for line in text.split("\n"))


def _json(value: Any) -> str:
    return visible(json.dumps(value, indent=1, ensure_ascii=False)) + "\n"
