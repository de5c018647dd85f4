"""What people are told of a study in a terminal, line by line."""

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Column, Table

from sweepstake.base.events import Round
from sweepstake.base.records import Outlook
from sweepstake.base.text import visible
from sweepstake.pieces import told
from sweepstake.pieces.datasets import data_files
from sweepstake.read import counted
from sweepstake.read.analysis import tidy
from sweepstake.read.claims import sentence, verdicts
from sweepstake.read.origins import warnings
from sweepstake.read.report import terminal_table
from sweepstake.run.changed import changed
from sweepstake.run.kin import other_text
from sweepstake.run.opened import Opened, damaged
from sweepstake.run.progress import Terminal, clock, numbers_of
from sweepstake.run.settings import Settings
from sweepstake.run.store import Kept
from sweepstake.study.plan import stack_cells
from sweepstake.study.search import in_words
from sweepstake.study.study import Planned, Study

if TYPE_CHECKING:
    from sweepstake.run.estimate import Estimate
    from sweepstake.tickets.ticket import Ticket

SHOWN = 5
"""Failed cells that are named."""


# Before a run

def tell_outline(study: Study, foreseen: Mapping[str, Outlook], warned: Sequence[str], console: Terminal) -> None:
    """The study's title, its axes, its stacks and its search; of what a kept fraction is, where that is foreseen."""
    console.print(study.title, style="bold")
    for line in warned:
        console.print(line, style="yellow")
    table = Table(box=None, show_header=False, pad_edge=False)
    for axis, labels in study.axes.items():
        table.add_row(axis, ", ".join(labels))
    table.add_row("seeds", ", ".join(map(str, study.seeds)))
    console.print(table)
    for number, stack in enumerate(stack_cells(study.planned), 1):
        cell = stack[0].cell
        long = f"{cell.epochs:g} epochs" if cell.epochs else f"{cell.steps} steps"
        model = told("model", cell.model)
        console.print(f"stack {number}: {_count(len(stack), 'cell')} of {model} on {cell.dataset.name}, "
                      f"{_count(cell.rounds, 'round')} after the first, {long} each")
        known = [foreseen[each.id] for each in stack if each.id in foreseen]
        for line in dict.fromkeys(counted.told((each.weights, each.unpruned)) for each in known):
            console.print(f"  kept fractions are {line}")
    if study.search:
        spec = study.search.spec
        so_far = in_words(study.searched) if study.searched else "not begun."
        console.print(f"search: {spec.trials} trials of {_count(len(spec.seeds), 'seed')} each, "
                      f"for {spec.field} \"{spec.name}\"; {so_far}")


def tell_cost(cost: "Estimate", settings: Settings, console: Terminal) -> None:
    """How much there is to do, and for how long."""
    console.print(f"{_count(cost.cells, 'cell')} in {_count(cost.stacks, 'stack')}; "
                  f"{cost.cells - cost.missing} are in {settings.store} already.")
    if cost.seconds is None:
        console.print(f"No estimate: {cost.how}.")
    elif cost.missing:
        console.print(f"About {clock(cost.seconds)} on {_count(settings.workers, 'worker')} "
                      f"({cost.steps:,} steps; {cost.how}) and {(cost.bytes or 0) / 1e6:.1f} MB of disk.")


def tell_changes(study: Study, console: Terminal) -> None:
    """That the study is not as it is written."""
    if study.changes:
        with_ = " and ".join(study.changes)
        console.print(f"{study.name}: not the study as written, but with {with_}.", style="yellow")


def tell_ticket(ticket: "Ticket", console: Terminal) -> None:
    """What a ticket keeps of each layer."""
    table = Table("layer", *(Column(head, justify="right") for head in ("kept", "of", "%")), box=None, pad_edge=False)
    for name, mask in ticket.masks.items():
        kept, size = int(mask.sum()), mask.numel()
        table.add_row(visible(name.removesuffix(".weight")), f"{kept:,}", f"{size:,}", f"{100 * kept / size:.2f}")
    table.add_row("all", f"{ticket.kept:,}", f"{ticket.size:,}", f"{100 * ticket.kept_fraction:.2f}")
    labels = {**ticket.made["labels"], "seed": ticket.made["cell"]["seed"]}
    console.print(f"{', '.join(f'{axis} = {label}' for axis, label in labels.items())}, round {ticket.made['round']}")
    console.print(table)


# What is there

def tell_results(opened: Opened, console: Terminal, *, ran: bool) -> None:
    """The table and the verdicts, then all that is wrong with what they are of."""
    study, results = opened.study, opened.results
    rows = tidy(results)
    if rows:
        console.print(terminal_table(study, rows))
        for line in counted.lines(results, list(study.axes), every=False):
            console.print(line)
        for verdict in verdicts(study, results):
            colour = {"supported": "green", "contradicted": "red"}.get(verdict.verdict, "yellow")
            console.print(f"{verdict.verdict:>12}", style=colour, end="  ")
            console.print(f"{sentence(verdict)}  ({verdict.reason})")
    tell_search(study, console)
    tell_lines(warnings(results), console)
    tell_changed(opened, console)
    tell_lines(damaged(study, results), console)
    tell_failed(opened, opened.kept, console)
    missing = sum(result["status"] == "missing" for result in results)
    if missing and (rows or ran):
        then = "was it removed meanwhile? The same command computes them" if ran else "`sweepstake run` computes them"
        console.print(f"{missing} of {len(results)} cells are missing from {opened.store.folder}; {then}.",
                      style="yellow", soft_wrap=True)
    if all(result["status"] == "diverged" for result in results):
        console.print("Every cell diverged: a loss or weights are not numbers. Lower lr, or look at the curves in the "
                      "report.", style="yellow", soft_wrap=True)
    tell_other_text(opened, console)


def tell_stopped(opened: Opened, arguments: Sequence[str], console: Terminal) -> None:
    """What is kept after Ctrl-C, and how to go on."""
    tell_search(opened.study, console)
    kept = opened.glanced.values()
    begun = [each.rounds_done for each in kept if each.status == "begun"]
    whole = sum(each.status in ("done", "diverged") for each in kept)
    more = f", and {sum(begun)} finished rounds of {len(begun)} more" if begun else ""
    console.print(f"stopped. Kept in {opened.store.folder}: {whole} of {len(kept)} cells whole{more}.")
    console.print(f"Go on with: sweepstake {shlex.join(arguments)}", soft_wrap=True)


def tell_begun(opened: Opened, kept: Mapping[str, Kept], console: Terminal) -> None:
    """How far each begun cell is, and what its last finished round kept and ended with."""
    for planned in opened.study.planned:
        there = kept[planned.id]
        if there.status == "begun":
            last = numbers_of(Round.of(planned.id, there.rounds[-1]))
            console.print(f"begun: {_label(planned)}: {there.rounds_done} of {planned.cell.rounds + 1} rounds{last}",
                          soft_wrap=True)


def tell_held(opened: Opened, console: Terminal) -> None:
    """Who computes which cell now, since when, and when it last gave a sign, by this machine's clock."""
    held = opened.store.holders()
    for planned in opened.study.planned:
        if (claim := held.get(planned.id)) is None:
            continue
        if claim.holder.has_ended():
            sign = "which has ended: the next run takes it over"
        else:
            seconds = max(0.0, time.time() - claim.written)
            sign = f"since {claim.holder.since or 'a moment ago'}, last sign {clock(seconds)} ago"
        console.print(f"held: {_label(planned)}: by {claim.holder.told}, {sign}", soft_wrap=True)


def tell_flaws(opened: Opened, console: Terminal) -> None:
    """Damaged files, several numerics, images and plug-ins that have changed since."""
    tell_damaged(opened, console)
    tell_origins(opened, console)
    tell_changed(opened, console)
    tell_other_text(opened, console)


def tell_doubts(opened: Opened, console: Terminal) -> None:
    """What is to be known before its numbers are trusted: flaws, and cells that are in no mean."""
    tell_flaws(opened, console)
    if absent := sum(result["status"] in ("missing", "failed", "damaged") for result in opened.results):
        console.print(f"{opened.study.name}: {absent} of {len(opened.results)} cells are not finished, and in no mean.",
                      style="yellow")


def tell_search(study: Study, console: Terminal) -> None:
    """What a search has found, or how far it is."""
    if study.searched:
        console.print(f"search: {in_words(study.searched)}", soft_wrap=True)


def tell_origins(opened: Opened, console: Terminal) -> None:
    """That the numbers are of several numerics or builds, where they are."""
    tell_lines(warnings(opened.results), console)


def tell_changed(opened: Opened, console: Terminal) -> None:
    """What files of images are not what the results were made from; of a study that names none nothing is read."""
    datasets = {id(each.cell.dataset): each.cell.dataset for each in opened.study.planned}
    if any(map(data_files, datasets.values())):
        tell_lines(changed(opened.study.folder, opened.results), console)


def tell_other_text(opened: Opened, console: Terminal) -> None:
    """What is missing only because a plug-in's text has changed."""
    if line := other_text(opened):
        console.print(line, style="yellow")


def tell_damaged(opened: Opened, console: Terminal) -> None:
    """Every damaged file."""
    tell_lines(damaged(opened.study, opened.results), console)


def tell_lines(lines: Iterable[str], console: Terminal) -> None:
    """What is to be known before a number is trusted."""
    for line in lines:
        console.print(line, style="yellow", soft_wrap=True)


def tell_failed(opened: Opened, kept: Mapping[str, Kept], console: Terminal) -> None:
    """The first failed cells, and where the rest of it is told."""
    failed = [each for each in opened.study.planned if kept[each.id].status == "failed"]
    for each in failed[:SHOWN]:
        error = (kept[each.id].failure or {}).get("error") or ""
        console.print(f"failed: {_label(each)} ({each.id}): {error.splitlines()[0]}", style="red")
    if len(failed) > SHOWN:
        console.print(f"... and {len(failed) - SHOWN} more.", style="red")
    if failed:
        where, several = opened.store.folder / "cells" / failed[0].id / "failure.json", len(failed) > 1
        console.print(f"The whole story: {where}{' and its neighbours' if several else ''}. "
                      f"`sweepstake run ... --retry` computes {'them' if several else 'it'} again.", soft_wrap=True)


def _label(planned: Planned) -> str:
    return ", ".join([*planned.labels.values(), f"seed {planned.cell.seed}"])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
