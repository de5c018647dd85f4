"""The door for people: every command calls one function below. What a machine reads goes to stdout, the rest to stderr."""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstake.base.errors import UserError
from sweepstake.base.text import hidden_in, visible

if TYPE_CHECKING:
    from sweepstake.run.progress import Terminal
    from sweepstake.run.store import Store
    from sweepstake.study.study import Study

INTRO = """Say a lottery-ticket study in one small file; get every run of it trained, kept, and read back as
figures, statistics and a verdict on each claim.

A study that names plug-ins runs their Python code, whatever the command, and says so first.

first steps:
  sweepstake demo                      a whole study in under a minute, on digits inside the package
  sweepstake run prune-ready --quick   a paper's study, small; without --quick in full
  sweepstake pieces criterion          what a study can say
"""

EXITS = """exit codes:
  0    what was asked is done
  1    there are no results, or not all: cells failed, are missing or damaged at the end of a run, or all diverged
  2    a mistake in what was given, or a file that cannot be written (a full disk); what is finished is kept
  3    nothing is there to read: no cell of the study is finished
  130  stopped by Ctrl-C; every finished round is kept
"""


def command() -> None:
    """The command itself: main, and after Ctrl-C an end at once, for Python takes a second or two to put torch away."""
    code = main()
    if code == 130:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, as EXITS tells them."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    for said in arguments:
        if problem := hidden_in(said):
            print(f"{visible(said)}: {problem}.", file=sys.stderr)
            return 2
    options = parser.parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(visible(error), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has read enough; nothing more may be written there, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from sweepstake.run.files import CannotWrite

        print(visible(CannotWrite(error.filename or "disk", error)), file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:  # A folder whose name is no text, or an output that takes only ASCII.
        print(f"{visible(error.object[max(0, error.start - 60):error.end])!a} cannot be written in {error.encoding}. Name folders in UTF-8; "
              "for an output that takes less, say PYTHONUTF8=1.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sweepstake", description=INTRO, epilog=EXITS, formatter_class=argparse.RawDescriptionHelpFormatter)
    from sweepstake import __version__

    parser.add_argument("--version", action="version", version=f"sweepstake {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, function: Callable[[argparse.Namespace], int], says: str, example: str, study: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.", epilog=f"examples:\n{example}",
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
        made.set_defaults(command=function)
        if study:
            made.add_argument("study", metavar="STUDY", help="a shipped study by name, or the path of a .toml file")
            made.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                              help="override one key of the study; part of the study, so of the ids (repeat for more)")
            made.add_argument("--quick", action="store_true", help="the study's own [quick] scale: fewer seeds and rounds")
        return made

    def add_store(made: argparse.ArgumentParser) -> None:
        made.add_argument("--store", metavar="DIR", help="where results are kept (default: runs)")

    def add_running(made: argparse.ArgumentParser) -> None:
        add_store(made)
        made.add_argument("--data", metavar="DIR", help="where data sets lie (else the variable SWEEPSTAKE_DATA)")
        made.add_argument("--workers", metavar="N", type=int, help="processes at a time (default: one a core)")
        made.add_argument("--device", choices=["cpu", "cuda"], help="cpu, or cuda to train stacks of cells on a card (default: cpu)")
        made.add_argument("--stack", metavar="N", type=int,
                          help="cells side by side as one program (default: as many as fit on a card; on the CPU one cell a core)")
        made.add_argument("--engine", choices=["fast", "reference"],
                          help="fast: our own kernels where they cover the cell; reference: plain PyTorch for all (default: fast)")
        made.add_argument("--retry", action="store_true", help="compute failed cells again")
        add_out(made)

    def add_out(made: argparse.ArgumentParser) -> None:
        made.add_argument("--out", metavar="DIR", help="where the report goes (default: reports/STUDY)")

    made = add("run", run, "compute what a study lacks, then write its report", """  sweepstake run demo
  sweepstake run prune-ready --quick --data ~/data
  sweepstake run my-study.toml --set seeds=3 --set 'model={name="mlp", hidden=[100]}'
  sweepstake run my-study.toml            again after Ctrl-C or a crash: goes on at the last finished round""")
    add_running(made)

    made = add("show", show, "print a study's cells and stacks, and what it will cost, before anything runs", """  sweepstake show prune-ready
  sweepstake show my-study.toml --cells   every cell with its id""")
    made.add_argument("--cells", action="store_true", help="list every cell: id, seed and what varies (to stdout)")
    made.add_argument("--data", metavar="DIR", help="check the study against the data sets there, too")
    made.add_argument("--workers", metavar="N", type=int, help="estimate for this many processes (default: one a core)")
    add_store(made)

    made = add("status", status, "say which cells of a study are done, begun, failed or missing", """  sweepstake status demo
  sweepstake status prune-ready --store /data/runs""")
    add_store(made)

    made = add("report", report, "write the report of what is there; trains nothing", """  sweepstake report demo
  sweepstake report prune-ready --out ~/figures""")
    add_store(made)
    add_out(made)

    made = add("results", results, "print the tidy table: one row per cell and round", """  sweepstake results demo --format csv > demo.csv
  sweepstake results demo --format parquet --out demo.parquet
  sweepstake results demo --timing        with the measured seconds, which differ from run to run""")
    made.add_argument("--format", choices=["csv", "json", "parquet"], default="csv", help="csv or json to stdout; parquet to --out")
    made.add_argument("--out", metavar="FILE", help="write to this file instead of stdout")
    made.add_argument("--timing", action="store_true", help="add the columns of measured seconds")
    add_store(made)

    made = add("publish", publish, "write a study's table, figures, verdicts and provenance as files to keep", """  sweepstake publish demo
  sweepstake publish demo --store /data/runs --out ~/results""")
    add_store(made)
    made.add_argument("--out", metavar="DIR", help="where the study's folder goes (default: results)")
    made.add_argument("--partial", action="store_true", help="publish even with cells missing or failed, --quick or --set: every title will say so")

    made = add("pieces", pieces, "list every init, model, data set, criterion, ... with options and sources", """  sweepstake pieces
  sweepstake pieces criterion
  sweepstake pieces init --plugins mine.py""", study=False)
    made.add_argument("set", metavar="SET", nargs="?", help="one open set: dataset, model, init, lr_schedule, criterion, allocation or reset")
    made.add_argument("--plugins", metavar="FILE", nargs="*", default=[], help="plug-in files to load first: their code is run")

    made = add("demo", demo, "run the demo study: 4 inits x 5 seeds x 15 rounds on 8 x 8 digits", """  sweepstake demo
  sweepstake demo --store /tmp/demo""", study=False)
    add_running(made)

    made = add("data", data, "say which data sets are here, where, and how to get the rest; or fetch one", """  sweepstake data
  sweepstake data --data ~/data
  sweepstake data fetch mnist             download it, check it, keep it where every study finds it""", study=False)
    made.add_argument("action", metavar="fetch", nargs="?", choices=["fetch"], help="download a published data set")
    made.add_argument("name", metavar="NAME", nargs="?", help="which one")
    made.add_argument("--data", metavar="DIR", help="look here first, fetch to here (else the variable SWEEPSTAKE_DATA; else a cache of yours)")
    made.add_argument("--mirror", metavar="URL", action="append", default=[], help="fetch from here instead of the known mirrors (repeat for more)")
    return parser


def run(options: argparse.Namespace) -> int:
    return _run(_study(options), options)


def demo(options: argparse.Namespace) -> int:
    from sweepstake.study.study import load_study

    return _run(load_study("demo"), options)


def _run(study: "Study", options: argparse.Namespace) -> int:
    from sweepstake.read.ahead import heed
    from sweepstake.run.progress import display
    from sweepstake.run.run import run_study
    from sweepstake.run.store import MARKER, Store

    console = _console()
    if study.quick or study.overrides:
        said = " and ".join([*(["--quick"] if study.quick else []), *(f"--set {o}" for o in study.overrides)])
        console.print(f"{study.name}: not the study as written, but with {said}.", style="yellow")
    folder = study.store_folder(options.store)
    if (folder / MARKER).exists():
        _tell_other_text(study, Store(folder, create=False), console)
    shown = display(console)

    def heard(event: dict[str, Any]) -> None:
        if event["kind"] == "foreseen":
            for line in heed(study, event["cells"]):
                console.print(line, style="yellow")
        shown(event)

    try:
        with shown:
            found = run_study(study, options.store, data=options.data, workers=options.workers, device=options.device, stack=options.stack,
                              engine=options.engine, retry=options.retry, on_event=heard)
    except KeyboardInterrupt:
        return _stopped(study, options, console)
    return _tell(study, found, options, console, ran=True)


def _stopped(study: "Study", options: argparse.Namespace, console: "Terminal") -> int:
    from sweepstake.run.search import settled
    from sweepstake.run.store import Store

    store = Store(study.store_folder(options.store))
    study = settled(study, store)
    _tell_search(study, console)
    kept = [store.look(p.id) for p in study.planned]
    begun = [each.rounds_done for each in kept if each.status == "begun"]
    console.print(f"stopped. Kept in {store.folder}: {sum(each.status in ('done', 'diverged') for each in kept)} of {len(kept)} cells whole"
                  + (f", and {sum(begun)} finished rounds of {len(begun)} more" if begun else "") + ".")
    console.print(f"Go on with: sweepstake {' '.join(_quoted(sys.argv[1:]))}", soft_wrap=True)
    return 130


def _quoted(words: Sequence[str]) -> list[str]:
    import shlex

    return [shlex.quote(word) for word in words]


def _tell(study: "Study", found: list[dict[str, Any]], options: argparse.Namespace, console: "Terminal", *, ran: bool = False) -> int:
    """The table and the verdicts to people, the report to a file, its path to stdout. After a run nothing may be missing."""
    from sweepstake.read import counted
    from sweepstake.read.analysis import tidy
    from sweepstake.read.claims import sentence, verdicts
    from sweepstake.read.report import terminal_table, write_report
    from sweepstake.run.kin import nothing
    from sweepstake.run.search import settled
    from sweepstake.run.store import Store

    store = study.store_folder(options.store)
    study, rows = settled(study, Store(store, create=False)), tidy(found)
    if rows:
        console.print(terminal_table(study, rows))
        for line in counted.lines(found, list(study.axes), every=False):
            console.print(line)
        for verdict in verdicts(study, found):
            colour = {"supported": "green", "contradicted": "red"}.get(verdict.verdict, "yellow")
            console.print(f"{verdict.verdict:>12}", style=colour, end="  ")
            console.print(f"{sentence(verdict)}  ({verdict.reason})")
    _tell_search(study, console)
    _tell_origins(found, console)
    _bad(study, found, store, console)
    missing = sum(r["status"] == "missing" for r in found)
    diverged = all(r["status"] == "diverged" for r in found)
    if missing and (rows or ran):
        then = "was it removed meanwhile? The same command computes them" if ran else "`sweepstake run` computes them"
        console.print(f"{missing} of {len(found)} cells are missing from {store}; {then}.", style="yellow", soft_wrap=True)
    if diverged:
        console.print("Every cell diverged: a loss or weights are not numbers. Lower lr, or look at the curves in the report.",
                      style="yellow", soft_wrap=True)
    home = Store(store, create=False)
    _tell_other_text(study, home, console)
    if not rows:
        bad = ran or any(r["status"] in ("failed", "damaged") for r in found)
        console.print("Nothing is finished yet, so there is no report." if bad else nothing(study, home))
        return 1 if bad else 3
    page = write_report(study, found, options.out)
    console.print("report:", end=" ")
    console.file.flush()
    print(page, flush=True)
    return int(diverged or (ran and missing > 0) or any(r["status"] in ("failed", "damaged") for r in found))


def _tell_other_text(study: "Study", store: "Store", console: "Terminal") -> None:
    """What is missing only because a plug-in's text has changed."""
    from sweepstake.run.kin import other_text

    if line := other_text(study, store):
        console.print(line, style="yellow")


def _tell_search(study: "Study", console: "Terminal") -> None:
    """What a search has found, or how far it is."""
    from sweepstake.study.search import in_words

    if study.searched:
        console.print(f"search: {in_words(study.searched)}", soft_wrap=True)


def _tell_origins(found: list[dict[str, Any]], console: "Terminal") -> None:
    """Where the numbers are of several numerics or builds, a line that says so."""
    from sweepstake.read.origins import warnings

    for line in warnings(found):
        console.print(line, style="yellow", soft_wrap=True)


def _damaged(study: "Study", found: list[dict[str, Any]], console: "Terminal") -> None:
    from sweepstake.run.run import damaged

    for line in damaged(study, found):
        console.print(line, style="yellow", soft_wrap=True)


def _bad(study: "Study", found: list[dict[str, Any]], store: Path, console: "Terminal") -> None:
    _damaged(study, found, console)
    failed = [r for r in found if r["status"] == "failed"]
    for each in failed[:5]:
        said = ", ".join([*each["labels"].values(), f"seed {each['seed']}"])
        console.print(f"failed: {said} ({each['id']}): {(each['error'] or '').splitlines()[0]}", style="red")
    if len(failed) > 5:
        console.print(f"... and {len(failed) - 5} more.", style="red")
    if failed:
        where = store / "cells" / failed[0]["id"] / "failure.json"
        console.print(f"The whole story: {where}{' and its neighbours' if len(failed) > 1 else ''}. `sweepstake run ... --retry` computes "
                      f"{'them' if len(failed) > 1 else 'it'} again.", soft_wrap=True)


def show(options: argparse.Namespace) -> int:
    from rich.table import Table

    from sweepstake.pieces import told
    from sweepstake.read import counted
    from sweepstake.read.ahead import heed
    from sweepstake.run.data import data_directories
    from sweepstake.run.estimate import estimate
    from sweepstake.run.progress import clock
    from sweepstake.run.run import check_study, worker_count
    from sweepstake.run.search import settled, with_search
    from sweepstake.run.store import Store
    from sweepstake.study.plan import stack_cells
    from sweepstake.study.search import in_words

    study, console = _study(options), _console()
    folder = study.store_folder(options.store)
    store = Store(folder, create=False) if (folder / "sweepstake-store.json").exists() else None
    study = settled(study, store) if store else study
    workers = worker_count(study.machine.workers if options.workers is None else options.workers)
    foreseen = check_study(study, list(study.planned), data_directories(options.data) if options.data else None)
    warnings = heed(study, foreseen)
    console.print(study.title, style="bold")
    for line in warnings:
        console.print(line, style="yellow")
    table = Table(box=None, show_header=False, pad_edge=False)
    for axis, labels in study.axes.items():
        table.add_row(axis, ", ".join(labels))
    table.add_row("seeds", ", ".join(map(str, study.seeds)))
    console.print(table)
    for number, stack in enumerate(stack_cells(study.planned), 1):
        cell = stack.planned[0].cell
        long = f"{cell.epochs:g} epochs" if cell.epochs else f"{cell.steps} steps"
        console.print(f"stack {number}: {_count(len(stack.planned), 'cell')} of {told('model', cell.model)} on {cell.dataset.name}, "
                      f"{_count(cell.rounds, 'round')} after the first, {long} each")
        known = [foreseen[each.id] for each in stack.planned if each.id in foreseen]
        for line in dict.fromkeys(counted.told((each.weights, each.unpruned)) for each in known):
            console.print(f"  kept fractions are {line}")
    if study.search:
        spec = study.search.spec
        console.print(f"search: {spec.trials} trials of {_count(len(spec.seeds), 'seed')} each, for {spec.field} \"{spec.name}\"; "
                      + (in_words(study.searched) if study.searched else "not begun."))
    cost = estimate(with_search(study), workers, store)
    console.print(f"{_count(cost.cells, 'cell')} in {_count(cost.stacks, 'stack')}; "
                  f"{cost.cells - cost.missing} are in {folder} already.")
    if cost.seconds is None:
        console.print(f"No estimate: {cost.how}.")
    elif cost.missing:
        console.print(f"About {clock(cost.seconds)} on {workers} worker{'s' * (workers != 1)} ({cost.steps:,} steps; {cost.how}) "
                      f"and {(cost.bytes or 0) / 1e6:.1f} MB of disk.")
    if options.cells:
        for planned in study.planned:
            print(planned.id, f"seed={planned.cell.seed}", *(f"{k}={v}" for k, v in planned.labels.items()), sep="\t")
    return 0


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def status(options: argparse.Namespace) -> int:
    from collections import Counter

    from sweepstake.run.run import load_results
    from sweepstake.run.search import settled
    from sweepstake.run.store import Store

    console = _console()
    study = _study(options)
    store = Store(study.store_folder(options.store), create=False)
    study = settled(study, store)
    kept = {planned.id: store.look(planned.id) for planned in study.planned}
    counts = Counter(kept[p.id].status for p in study.planned)
    for word in ("done", "diverged", "damaged", "begun", "failed", "missing"):
        if counts[word]:
            print(f"{word}\t{counts[word]}")
    for planned in study.planned:
        if kept[planned.id].status == "begun":
            console.print(f"begun: {', '.join([*planned.labels.values(), f'seed {planned.cell.seed}'])}: "
                          f"{kept[planned.id].rounds_done} of {planned.cell.rounds + 1} rounds")
    _tell_search(study, console)
    _tell_other_text(study, store, console)
    _bad(study, load_results(study, store), store.folder, console)
    return 0


def report(options: argparse.Namespace) -> int:
    from sweepstake.run.run import load_results

    study = _study(options)
    return _tell(study, load_results(study, options.store), options, _console())


def results(options: argparse.Namespace) -> int:
    from sweepstake.read.analysis import tidy, to_csv, to_json, to_parquet
    from sweepstake.run.files import write_text
    from sweepstake.run.kin import nothing

    study, store, found = _found(options)
    console = _console()
    _damaged(study, found, console)
    _tell_origins(found, console)
    _tell_other_text(study, store, console)
    rows = tidy(found, timing=options.timing)
    if not rows:
        print(nothing(study, store), file=sys.stderr)
        return 3
    if options.format == "parquet":
        if not options.out:
            raise UserError("--format parquet: is not text. Say where with --out FILE.")
        to_parquet(rows, Path(options.out))
        return 0
    text = to_csv(rows) if options.format == "csv" else to_json(rows)
    if options.out:
        write_text(Path(options.out), text)
    else:
        sys.stdout.write(text)
    return 0


def publish(options: argparse.Namespace) -> int:
    from sweepstake.read.publish import publish
    from sweepstake.read.report import folder_name

    study, _, found = _found(options)
    console = _console()
    _damaged(study, found, console)
    folder = publish(study, found, Path(options.out or "results") / folder_name(study), partial=options.partial)
    _tell_origins(found, console)
    print(folder)
    return 0


def pieces(options: argparse.Namespace) -> int:
    from sweepstake.base.errors import unknown
    from sweepstake.base.values import shown
    from sweepstake.pieces import REGISTRIES, load_plugin

    paths = [Path(path) for path in options.plugins]
    if paths:
        _tell_plugins(paths)
    for path in paths:
        load_plugin(path)
    if options.set and options.set not in REGISTRIES:
        raise UserError(unknown(f"pieces {options.set}", "open set", options.set, REGISTRIES, "`sweepstake pieces` lists all."))
    for set_, registry in REGISTRIES.items():
        if options.set in (None, set_):
            print(f"{set_}:")
            for name, piece in sorted(registry.pieces.items()):
                said = ", ".join(f"{key} = {'(required)' if option.required else shown(option.default)}" for key, option in piece.options.items())
                print(visible(f"  {', '.join((name, *piece.aliases))}{f'  [{said}]' if said else ''}\n      {piece.claim}"))
            if options.set:
                print("takes by name:", *(f"  {name}: {says}" for name, says in registry.offers.items()), sep="\n")
    return 0


def data(options: argparse.Namespace) -> int:
    from sweepstake.run.data import data_directories, data_status, fetched_data

    console = _console()
    if options.action == "fetch":
        if not options.name:
            raise UserError("data fetch: say which, as in `sweepstake data fetch mnist`. `sweepstake data` lists them.")
        return _fetch(options.name, Path(options.data) if options.data else fetched_data(), options.mirror)
    directories = data_directories(options.data)
    for row in data_status(directories):
        print(row.name, row.state, row.where or row.how, f"{row.size / 1e6:.1f} MB" if row.size else "", sep="\t")
    console.print("looked in: " + ", ".join(map(str, directories)), style="dim")
    return 0


def _fetch(name: str, folder: Path, mirrors: list[str]) -> int:
    """Download with a bar for every file; the paths of what is there now go to stdout."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from sweepstake.run.fetch import fetch

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=_console()) as bars:
        shown: dict[str, Any] = {}

        def heard(file: str, done: int, total: int) -> None:
            if file not in shown:
                shown[file] = bars.add_task(file, total=total)
            bars.update(shown[file], completed=done)

        paths = fetch(name, folder, mirrors or None, heard)
    print(*paths, sep="\n")
    return 0


def _found(options: argparse.Namespace) -> "tuple[Study, Store, list[dict[str, Any]]]":
    """The study, with what its search has found, its store, and what that holds of it."""
    from sweepstake.run.run import load_results
    from sweepstake.run.search import settled
    from sweepstake.run.store import Store

    study = _study(options)
    store = Store(study.store_folder(options.store), create=False)
    return settled(study, store), store, load_results(study, store)


def _study(options: argparse.Namespace) -> "Study":
    from sweepstake.study.study import load_study

    return load_study(options.study, overrides=options.overrides, quick=options.quick, before_plugins=_tell_plugins)


def _tell_plugins(paths: Sequence[Path]) -> None:
    """Said before any of it runs: whose code that is, somebody must have looked."""
    told = [f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]})" for path in paths if path.is_file()]
    if told:
        _console().print(f"Plug-ins are Python code that runs with your rights: {', '.join(told)}. Use only those that you have read, or whose "
                         "author you trust.", style="dim", soft_wrap=True)


def _console() -> "Terminal":
    from sweepstake.run.progress import Terminal

    return Terminal()
