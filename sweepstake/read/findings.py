"""What all published studies came to: the page of findings and README's result, from the files in results/ alone."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweepstake.base.errors import UserError
from sweepstake.engine.numerics import UNVERSIONED
from sweepstake.read.origins import numerics_of
from sweepstake.read.page.document import MARKS
from sweepstake.read.publish import (
    NOTES,
    cell,
    effect,
    lines,
    reasons,
    summary_table,
    text_hash,
    verdict,
    verdict_table,
)
from sweepstake.study.search import in_words
from sweepstake.study.study import shipped_studies

ORDER = ("prune-ready", "prune-ready-output", "prune-ready-baselines", "frankle-carbin", "winning-tickets",
         "random-pruning", "neuron-sparsity", "reduced-parameters", "reduced-parameters-longer",
         "dense-supermasks", "dense-supermasks-wide", "dense-supermasks-ablation", "custom-init", "prune-ready-conv",
         "prune-ready-conv-full")
"""The shipped studies as `make studies` runs them and the page tells them; any other follows by name."""
WRITTEN = ("<!-- Written by docs/generate.py from results/: "
           "its words are in results/*/notes.md, its numbers in the other files there. -->\n")
BLOCK = re.compile(r"(<!-- published: (\S*) -->\n)(.*?)(<!-- /published -->)", re.DOTALL)


class Published(NamedTuple):
    """One study's folder under results/, read back."""

    name: str
    folder: Path
    provenance: Mapping[str, Any]
    verdicts: Sequence[Mapping[str, Any]]
    groups: list[dict[str, Any]]
    notes: str

    @property
    def stale(self) -> bool:
        """Whether the shipped study of this name has changed since; one that is not shipped cannot be compared."""
        path = shipped_studies().get(self.provenance["study"])
        return path is not None and text_hash(path.read_text(encoding="utf-8-sig")) != self.provenance["study_sha256"]


def published(folder: Path) -> list[Published]:
    """Every study's folder there, in the order of the page."""
    found = [path.parent for path in sorted(folder.glob("*/provenance.json"))]
    place = {name: number for number, name in enumerate(ORDER)}
    return [Published(each.name, each, _read(each / "provenance.json"), _read(each / "verdicts.json"),
                      _read(each / "summary.json"), _notes(each))
            for each in sorted(found, key=lambda path: (place.get(path.name, len(ORDER)), path.name))]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}). "
                        f"Write it again with `sweepstake publish {path.parent.name}`.") from error


def _notes(folder: Path) -> str:
    path = folder / NOTES
    return path.read_text(encoding="utf-8").strip() + "\n" if path.exists() else ""


def page(results: Path, beside: Path) -> str:
    """The page of findings, for the folder `beside`, from which its links lead."""
    studies, up = published(results), Path(os.path.relpath(results, beside)).as_posix()
    if not studies:
        return (f"{WRITTEN}# Findings\n\n"
                "Nothing is published yet. `make studies` runs every study and writes this page.\n")
    return "\n".join([
        f"{WRITTEN}# Findings\n", f"{_count(studies)}.\n", _introduction(studies),
        *_unversioned(studies), *filter(None, [_notes(results)]),
        "## Every study\n", _every_study(studies),
        "## Every claim\n", _every_claim(studies), "## What did not hold\n", _contradicted(studies),
        *(_section(study, f"{up}/{study.name}") for study in studies)])


def _introduction(studies: Sequence[Published]) -> str:
    """How to read the page, what the runs took, and how to repeat them."""
    took = _told(sum(study.provenance["seconds"]["all"] for study in studies))
    return (
        "A claim is a sentence of a paper, with a test and a margin that were written down before the run\n"
        "([what a claim can say](study-file.md#claim)). The interval over seeds decides: the claim is **supported**, "
        "**contradicted** or **undecided**\n([how](statistics.md)). The sentence states what was claimed, "
        "the effect what the runs found.\n"
        '[How far to trust "more seeds would decide"](results.md#what-a-verdict-holds).\n\n'
        f"All runs took {took} of one core. A cell that two studies share is counted in each. "
        "`make studies` runs all of them, and goes on where it\n"
        "stopped. `sweepstake publish STUDY` writes the files of one study again from its store.\n")


def _unversioned(studies: Sequence[Published]) -> list[str]:
    """What tables from before numerics versions were kept are worth; nothing where there are none."""
    old = [study for study in studies
           if any(numerics_of(one).endswith(UNVERSIONED) for one in study.provenance["made_by"])]
    if not old:
        return []
    return [f"The numbers of {len(old)} of the {len(studies)} studies are *{UNVERSIONED}*: they were computed before "
            "results kept the version of the\ncode that trained them. "
            "A run today agrees with them to rounding, not to the digit ([more](results.md#numerics)).\n"]


def _count(studies: Sequence[Published]) -> str:
    """How many claims there are and what became of them."""
    judged = [one["verdict"] for study in studies for one in study.verdicts]
    said = ", ".join(f"{judged.count(word)} {word}" for word in MARKS)
    ran = f"{len(studies)} stud{'ies' if len(studies) != 1 else 'y'}"
    return f"{ran}, {len(judged)} claim{'s' * (len(judged) != 1)}: {said}"


def _every_study(studies: Sequence[Published]) -> str:
    """How many claims of each study came to which verdict."""
    lines = ["| study | " + " | ".join(f"{mark} {word}" for word, mark in MARKS.items()) + " |",
             "|---|" + "---|" * len(MARKS)]
    lines += [f"| [{study.name}](#{study.name}): {cell(study.provenance['title'])} | "
              + " | ".join(_many(study.verdicts, word) for word in MARKS) + " |" for study in studies]
    return "\n".join(lines) + "\n"


def _every_claim(studies: Sequence[Published]) -> str:
    lines = ["| study | claim | what is claimed | after | verdict | effect (95 % interval) |",
             "|---|---|---|---|---|---|"]
    lines += [f"| [{study.name}](#{study.name}) | {cell(one['claim'])} | {cell(one['says'])} "
              f"| {cell(one['source'].partition(',')[0])} | {verdict(one)} | {effect(one)} |"
              for study in studies for one in study.verdicts]
    return "\n".join(lines) + "\n"


def _contradicted(studies: Sequence[Published]) -> str:
    """What was claimed and what was found instead.

    Claims that a second run did not contradict stand last, and say so.
    """
    found = [(study, one) for study in studies for one in study.verdicts if one["verdict"] == "contradicted"]
    lines = [f"- [{study.name}](#{study.name}) **{cell(one['claim'])}**. Claimed: \"{cell(one['says'])}\" "
             f"Found: {effect(one)}.{_not_again(one)}"
             for study, one in sorted(found, key=lambda each: bool(_not_again(each[1])))]
    return "\n".join(lines or ["No claim was contradicted."]) + "\n"


def _not_again(one: Mapping[str, Any]) -> str:
    """What a second run of the same cells says, where it says another word."""
    again = one.get("again")
    return f" Run again, {again['verdict']}: {again['effect']}." if again and again["verdict"] != one["verdict"] else ""


def _section(study: Published, up: str) -> str:
    said, warned = study.provenance, []
    about = lines(said["about"])
    if study.stale:
        warned.append("Stale: the study file has changed since these files were written. "
                      f"`sweepstake publish {said['study']}` writes them again.")
    if not said["whole"]:
        warned.append(f"Not the whole study as written: {cell(said['title'])}.")
    if lost := said["cells"].get("diverged"):
        warned.append(f"{lost} of {said['cells']['planned']} cells diverged and are in no mean from that round on.")
    files = [name for name in ("verdicts.json", "rows.csv", "rows.parquet", "provenance.json")
             if (study.folder / name).exists()]
    return "\n".join([
        f"## {study.name}\n", f"**{cell(said['title'])}**\n",
        *(f"> **{warning}**\n" for warning in warned),
        about + "\n" * bool(about),
        _ran(said) + f" Files: {', '.join(f'[{name}]({up}/{name})' for name in files)}.\n",
        verdict_table(study.verdicts),
        *(f"<details><summary>{title}</summary>\n\n{text}\n</details>\n" for title, text in (
            ("What was measured, claim by claim", reasons(study.verdicts)),
            ("Smallest winning tickets and robustness to pruning", summary_table(study.groups).lstrip("\n"))) if text),
        *([study.notes] if study.notes else []),
        *(f"![{cell(one['title'])}]({up}/{one['file']})\n" for one in said["figures"])])


def _ran(said: Mapping[str, Any]) -> str:
    """In a sentence or two: how much was run, on what, when."""
    axes = [*(f"{len(labels)} {axis}" for axis, labels in said["axes"].items()), f"{len(said['seeds'])} seeds"]
    rounds = " or ".join(str(count) for count in said["rounds_a_cell"])
    days = list(dict.fromkeys(moment[:10] for moment in said["finished"]))
    made = [cell(one) for one in dict.fromkeys(map(_made_by, said["made_by"]))]
    parts = [f"{said['cells']['planned']} cells ({' x '.join(axes)}){f', {rounds} rounds each' if rounds else ''}",
             f"{_told(said['seconds']['all'])} of one core in all",
             *([" to ".join(days)] if days else []), *filter(None, made)]
    searched = f" Searched: {cell(in_words(said['searched']))}" if said.get("searched") else ""
    return f"Run: {'; '.join(parts)}.{searched}"


def _made_by(one: Mapping[str, Any]) -> str:
    parts = [str(one.get("processor", "")), f"torch {one['torch']}" if "torch" in one else "",
             f"numerics {numerics_of(one)}"]
    return ", ".join(filter(None, parts))


def _told(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def filled(text: str, results: Path, beside: Path) -> str:
    """A page's text with what stands between its markers written anew.

    That is the figure that the marker names, and the verdict on each claim of its study.
    """
    return BLOCK.sub(lambda found: found[1] + _block(published(results), results, beside, found[2]) + found[4], text)


def _block(studies: Sequence[Published], results: Path, beside: Path, figure: str) -> str:
    if not studies:
        return ""
    up = Path(os.path.relpath(results, beside)).as_posix()
    study, shown = next(((study, one) for study in studies for one in study.provenance["figures"]
                         if f"{study.name}/{one['file']}" == figure), (studies[0], None))
    drawn = f"![{cell(shown['title'])}]({up}/{figure})\n\n" if shown else ""
    lines = ["| claim | verdict | found (95 % interval) |", "|---|---|---|"]
    lines += [f"| {cell(one['says'])} | {verdict(one)} | {effect(one)} |" for one in study.verdicts]
    return (drawn + "\n".join(lines) + f"\n\nThis is one of the shipped studies: {_count(studies)}. "
            "[Findings](docs/findings.md) tells each with its numbers.\n")


def _many(judged: Iterable[Mapping[str, Any]], word: str) -> str:
    return str(sum(one["verdict"] == word for one in judged) or "–")
