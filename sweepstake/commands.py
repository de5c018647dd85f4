"""The commands, a function each: it calls what does the work, tells people what came out, and returns the exit code."""

import shlex
import sys
import warnings
import webbrowser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Unpack

from sweepstake.base.errors import UserError, unknown
from sweepstake.base.events import Event, Foreseen
from sweepstake.base.records import Result
from sweepstake.base.text import visible
from sweepstake.base.values import shown
from sweepstake.pieces import REGISTRIES, hash_of, load_plugin
from sweepstake.read import terminal
from sweepstake.read.ahead import heed
from sweepstake.read.aligned import aligned, fitting
from sweepstake.read.analysis import Table, to_csv, to_json, to_parquet
from sweepstake.read.compare.ahead import foresee, tell_ahead
from sweepstake.read.compare.numbers import Outcome
from sweepstake.read.compare.terminal import lacking, lost, tell_outcome
from sweepstake.read.compare.write import write_comparison, write_studies
from sweepstake.read.figures.paper import check_ending
from sweepstake.read.logs.asked import logger_of
from sweepstake.read.merged import tell_merged
from sweepstake.read.origins import Origins
from sweepstake.read.plot import Asked as AskedFigure
from sweepstake.read.plot import Part, Said, plot, said_where, sized
from sweepstake.read.publish import publish as write_publication
from sweepstake.read.report import folder_name, write_report
from sweepstake.read.watch import Server, has_screen, serve
from sweepstake.run.changed import changed, without_rounds
from sweepstake.run.data import data_directories, data_status, fetched_data, lacking_data
from sweepstake.run.fetch import fetch
from sweepstake.run.files import CannotWrite, write_text
from sweepstake.run.filesystem import tell, try_folder
from sweepstake.run.kin import nothing
from sweepstake.run.merge import Merge
from sweepstake.run.opened import Opened, damage_in, damaged, open_if_there, open_study
from sweepstake.run.progress import Counted, Downloads, Terminal, display
from sweepstake.run.run import compute
from sweepstake.run.scripts import SCHEDULERS, check_scheduler
from sweepstake.run.scripts.command import command_of
from sweepstake.run.scripts.job import Wanted, job_for
from sweepstake.run.settings import Asked, AskedHere, Settings
from sweepstake.run.stopping import exit_code
from sweepstake.study.compare import Pair, Schedule, When, comparison, files_of, pairs, study_of
from sweepstake.study.keys import cell_reference, own_reference
from sweepstake.study.study import Study, load_study


def run(study: str, overrides: Sequence[str] = (), quick: bool = False, *, out: str | None = None,
        log: Sequence[str] = (), **asked: Unpack[Asked]) -> int:
    """Compute what a study lacks, then write its report."""
    return _run(_load(study, overrides, quick), out, log, asked)


def demo(out: str | None = None, log: Sequence[str] = (), **asked: Unpack[Asked]) -> int:
    """Run the study that needs nothing but the package."""
    return _run(load_study("demo"), out, log, asked)


def show(study: str, overrides: Sequence[str] = (), quick: bool = False, *, store: str | None = None,
         data: str | None = None, workers: int | None = None, cells: bool = False) -> int:
    """Print a study's cells and stacks, and what it will cost."""
    from sweepstake.run.check import check_study, unchecked  # With PyTorch, which commands that only read do without.
    from sweepstake.run.estimate import estimate

    planned, console = _load(study, overrides, quick), Terminal()
    opened = open_if_there(planned, store)
    planned = opened.study if opened else planned
    settings = Settings.of(planned, store=store, workers=workers)
    foreseen = check_study(planned, list(planned.planned), data_directories(data) if data else None)
    warned = [*heed(planned, foreseen), *unchecked(planned, foreseen)]
    terminal.tell_outline(planned, foreseen, warned, console)
    terminal.tell_cost(estimate(planned, settings.workers, opened and opened.store), settings, console)
    if cells:
        for each in planned.planned:
            labels = [f"{key}={label}" for key, label in each.labels.items()]
            print(each.id, f"seed={each.cell.seed}", *labels, sep="\t")
    return 0


def script(study: str, overrides: Sequence[str] = (), quick: bool = False, *, scheduler: str,
           copies: int | None = None, hours: float | None = None, memory: str | None = None, cores: int | None = None,
           image: str | None = None, volume: str | None = None, out: str | None = None,
           **asked: Unpack[AskedHere]) -> int:
    """Print a script that runs many copies of one command on a cluster."""
    check_scheduler(scheduler)
    wanted = Wanted(copies=copies, hours=hours, memory=memory, cores=cores, image=image, volume=volume)
    planned = _load(study, overrides, quick)
    if asked.get("workers") is None:
        asked["workers"] = planned.machine.workers or 1
    settings = Settings.of(planned, **asked)
    command, folders = command_of(planned, settings, scheduler == "kubernetes", out, **asked)
    from sweepstake.run.estimate import estimate  # With PyTorch.

    opened = open_if_there(planned, settings.store)
    cost = estimate(opened.study if opened else planned, 1, opened and opened.store)
    print(SCHEDULERS[scheduler](job_for(planned, settings, cost, wanted, command, folders)), end="")
    return 0


def status(study: str, overrides: Sequence[str] = (), quick: bool = False, store: str | None = None,
           prove: bool = False) -> int:
    """Say which cells of a study are done, begun, failed or missing."""
    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    kept = opened.kept if prove else opened.glanced
    counts = Counter(each.status for each in kept.values())
    for word in ("done", "diverged", "damaged", "begun", "failed", "missing"):
        if counts[word]:
            print(f"{word}\t{counts[word]}")
    terminal.tell_begun(opened, kept, console)
    terminal.tell_held(opened, console)
    terminal.tell_search(opened.study, console)
    terminal.tell_changed(opened, console)
    terminal.tell_other_text(opened, console)
    terminal.tell_lines(damage_in(opened.study, kept), console)
    terminal.tell_failed(opened, kept, console)
    return 0


def report(study: str, overrides: Sequence[str] = (), quick: bool = False, *, store: str | None = None,
           data: str | None = None, out: str | None = None) -> int:
    """Write the report of what is there."""
    planned = _load(study, overrides, quick)
    data_directories(data)  # A folder that is not there is refused.
    return _report(open_study(planned, store), out, Terminal(), data)


def watch(study: str, overrides: Sequence[str] = (), quick: bool = False, *, store: str | None = None,
          port: int = 0, browser: bool = True) -> int:
    """Serve the report of a study to this machine's browsers, made anew as its store is filled."""
    planned, console = _load(study, overrides, quick), Terminal()
    folder = planned.store_folder(store)
    if open_if_there(planned, folder) is None:
        console.print(f'store "{folder}": nothing is there yet. The page shows a run once it begins.', style="yellow")

    def ready(server: Server) -> None:
        print(server.address, flush=True)
        console.print("Ctrl-C ends this page; it ends no run.", style="dim")
        if browser and has_screen():
            webbrowser.open(server.address)

    try:
        serve(planned, folder, port, ready)
    except KeyboardInterrupt as stop:
        console.print("The page has ended. What a browser shows of it stays readable.")
        return exit_code(stop)
    return 0


def results(study: str, overrides: Sequence[str] = (), quick: bool = False, *, store: str | None = None,
            form: str | None = None, out: str | None = None, timing: bool = False, every: bool = False) -> int:
    """Print the tidy table: some of its columns in a terminal, all to a file or another program."""
    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    table, origins, bad, of_files = Table(timing), Origins(), list[Result](), list[Result]()
    for result in opened.each():
        table.add(result)
        origins.add(result)
        if result["status"] == "damaged":
            bad.append(result)
        if result["provenance"].get("data_files"):
            of_files.append(without_rounds(result))
    terminal.tell_lines(damaged(opened.study, bad), console)
    terminal.tell_lines(origins.warnings, console)
    terminal.tell_lines(changed(opened.study.folder, of_files), console)
    terminal.tell_other_text(opened, console)
    if not len(table):
        print(nothing(opened), file=sys.stderr)
        return 3
    if form == "parquet":
        if not out:
            raise UserError("--format parquet: is not text. Say where with --out FILE.")
        to_parquet(table.rows, Path(out))
        return 0
    if not (form or out) and (every or sys.stdout.isatty()):
        axes, width = list(opened.study.axes), get_terminal_size().columns
        sys.stdout.write(aligned(table) if every else fitting(table, axes, width))
        if not every:
            sys.stdout.flush()
            console.print(f"{len(table):,} rows. All {len(table.columns)} columns: --format csv or --all.", style="dim")
        return 0
    text = to_json(table) if form == "json" else to_csv(table)
    if out:
        write_text(Path(out), text)
    else:
        sys.stdout.write(text)
    return 0


def figure(studies: Sequence[str], overrides: Sequence[str] = (), quick: bool = False, *, stores: Sequence[str] = (),
           labels: Sequence[str] = (), where: Sequence[str] = (), width: str = "240pt", height: str | None = None,
           font_size: float = 8.0, style: str = "print", title: bool = False, form: str | None = None, dpi: int = 300,
           out: str | None = None, **asked: Unpack[Said]) -> int:
    """Write one figure for a paper."""
    if len(stores) not in (0, 1, len(studies)):
        raise UserError(f"--store: {len(stores)} for {len(studies)} studies. "
                        "Give one for all, or one each in their order.")
    if labels and (len(labels) != len(studies) or len(studies) == 1):
        raise UserError(f"--label: {len(labels)} for {len(studies)} studies. Give each of several one, in their order.")
    size = sized(width, height, font_size, style, title, "--")
    if not 30 <= dpi <= 2400:
        raise UserError(f"--dpi {dpi}: say 30 to 2400 dots an inch.")
    path = Path(out or f"{'-'.join(Path(study).stem for study in studies)}.{form or 'svg'}")
    if form not in (None, check_ending(path)):
        raise UserError(f"--format {form}: --out {path} ends in {path.suffix}. Let both say one.")
    homes = list(stores) if len(stores) == len(studies) else [*stores, None][:1] * len(studies)
    opened = [open_study(_load(study, overrides, quick), home) for study, home in zip(studies, homes, strict=True)]
    console, parts = Terminal(), list[Part]()
    for name, each in zip(labels or [each.study.name for each in opened], opened, strict=True):
        if any(result["rounds"] for result in each.results):
            parts.append(Part(each.study, each.results, name))
            terminal.tell_doubts(each, console)
        else:
            console.print(nothing(each), soft_wrap=True)
    if not parts:
        return 3
    chart = plot(parts, AskedFigure(**asked, where=said_where(where, [part.study for part in parts]), say="--"), size)
    chart.save(path, dpi)
    console.print(chart.caption, soft_wrap=True)
    print(path)
    return 0


def ticket(study: str, overrides: Sequence[str] = (), quick: bool = False, *, out: str, store: str | None = None,
           where: Sequence[str] = (), round_: int | None = None, weights: str | None = None) -> int:
    """Write one cell's ticket to a file."""
    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    if not any(result["rounds"] for result in opened.results):
        terminal.tell_damaged(opened, console)
        print(nothing(opened), file=sys.stderr)
        return 3
    from sweepstake.tickets.of_study.choose import choose, said
    from sweepstake.tickets.of_study.finished import ticket_of, write  # With PyTorch.

    chosen = choose(opened.results, said(where))
    made = ticket_of(opened.study, opened.store, chosen, round_)
    path = write(opened.study, opened.store, made, Path(out), weights)
    terminal.tell_ticket(made, console)
    print(path)
    return 0


def analyse(study: str, overrides: Sequence[str] = (), quick: bool = False, *, what: str, where: Sequence[str] = (),
            round: int | None = None, out: str | None = None, form: str = "table", store: str | None = None,
            data: str | None = None) -> int:
    """Say what survives in a study: rows to stdout or a table to people, and the figure."""
    from sweepstake.read.results import Results  # These two with PyTorch, which commands that only read do without.
    from sweepstake.read.survivors import by_name

    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    terminal.tell_flaws(opened, console)
    if not any(result["rounds"] for result in opened.results):
        console.print(nothing(opened))
        return 3
    with warnings.catch_warnings(action="ignore"):  # What it would warn of has been told.
        results = Results(opened.study, opened.results, opened.store)
    found = by_name(what, results, where, round, data)
    if out:
        print(found.figure(out), file=sys.stderr)
    if form == "table":
        console.print(str(found))
    else:
        sys.stdout.write(to_csv(found.rows) if form == "csv" else to_json(found.rows))
    return 0


def publish(study: str, overrides: Sequence[str] = (), quick: bool = False, *, store: str | None = None,
            out: str | None = None, partial: bool = False) -> int:
    """Write a study's table, figures, verdicts and provenance as files to keep."""
    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    terminal.tell_damaged(opened, console)
    folder = Path(out or "results") / folder_name(opened.study)
    folder = write_publication(opened.study, opened.results, folder, partial=partial)
    terminal.tell_origins(opened, console)
    terminal.tell_changed(opened, console)
    print(folder)
    return 0


def log(study: str, overrides: Sequence[str] = (), quick: bool = False, *, to: Sequence[str],
        store: str | None = None) -> int:
    """Write the finished cells of a study into loggers."""
    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    terminal.tell_damaged(opened, console)
    if not any(result["rounds"] for result in opened.results):
        console.print(nothing(opened))
        return 3
    with logger_of(to, opened.study, opened.store.folder, console, "--to") as logger:
        pass  # It looks through the whole store as it ends.
    for sink in logger.sinks:
        print(sink.where)
    return int(len(logger.feeds) < len(logger.sinks))


def slides(study: str, overrides: Sequence[str] = (), quick: bool = False, *, out: str,
           store: str | None = None) -> int:
    """Write a study's question, plan, figures and verdicts as PowerPoint slides."""
    opened, console = open_study(_load(study, overrides, quick), store), Terminal()
    terminal.tell_flaws(opened, console)
    if not any(result["rounds"] for result in opened.results):
        console.print(nothing(opened))
        return 3
    from sweepstake.read.slides import write_slides

    print(write_slides(opened.study, opened.results, out))
    return 0


def merge(sources: Sequence[str], into: str, dry: bool = False) -> int:
    """Join stores made apart into one."""
    merging, console = Merge.of(sources, into, dry), Terminal()
    stopped: KeyboardInterrupt | None = None
    try:
        with Counted("cells", console) as bar:
            for done, total in merging.each():
                bar(done, total)
    except KeyboardInterrupt as stop:
        stopped = stop
    except CannotWrite as error:
        raise CannotWrite(error.path, error.error, "--into") from error
    tell_merged(merging, console)
    if stopped:
        console.print("stopped. What is merged is kept; the same command goes on.")
        return exit_code(stopped)
    return int(not merging.is_whole)


def compare(criteria: Sequence[str], on: Sequence[str] = (), quick: bool = False, *, seeds: int = 5,
            allocation: str = "global", when: When = "after", schedule: Schedule = "one-shot",
            out: str | None = None, **asked: Unpack[AskedHere]) -> int:
    """Compare a criterion with known ones on several pairs of a data set and a network."""
    _tell_plugins(files_of(criteria))
    compared = comparison(criteria, allocation=allocation, when=when, schedule=schedule, seeds=seeds)
    console, folder = Terminal(), Path(out or Path("reports") / f"compare{'-quick' * quick}")
    here, absent = _present(pairs(on, quick), asked.get("data"), bool(on))
    for line in absent:
        console.print(line, style="yellow", soft_wrap=True)
    studies = {name: study_of(name, pair, compared, folder) for name, pair in here.items()}
    settings = {name: Settings.of(study, **asked) for name, study in studies.items()}
    costs = foresee(compared, studies, settings)
    tell_ahead(costs, studies, settings, console)
    write_studies(compared, list(studies.values()), folder)
    outcomes = list[Outcome]()
    for name, study in studies.items():
        if name in costs:
            console.print(name, style="bold")
        opened = _computed(study, settings[name], console)
        if isinstance(opened, int):
            return opened
        outcomes.append(Outcome(name, compared, study, opened.results))
        tell_outcome(outcomes[-1], opened, console)
    command = shlex.join(["sweepstake", *sys.argv[1:]])
    page = write_comparison(compared, outcomes, folder, command, [*absent, *lacking(outcomes), *lost(outcomes)])
    console.print("comparison:", end=" ")
    console.file.flush()
    print(page, flush=True)
    return int(bool(lacking(outcomes)))


def check(filesystem: str, machines: int = 1) -> int:
    """Try whether a folder gives what a shared store needs."""
    fits = tell(try_folder(Path(filesystem), machines), print)
    if not fits:
        print(f"A store in {filesystem} may lose work when several machines fill it. Take another file system, or let "
              "one machine fill it at a time.", file=sys.stderr)
    return int(not fits)


def pieces(open_set: str | None = None, plugins: Sequence[str] = ()) -> int:
    """List what a study can name, with options and sources, or say."""
    paths = [Path(path) for path in plugins]
    _tell_plugins(paths)
    for path in paths:
        load_plugin(path)
    if open_set == "study":
        print("study:")
        for key, default, says in (*own_reference(), *cell_reference()):
            print(f"  {key}{f' = {default}' if default else ''}\n      {says}")
        return 0
    if open_set and open_set not in REGISTRIES:
        then = "`sweepstake pieces` lists all, `sweepstake pieces study` the keys of a study file."
        raise UserError(unknown(f"pieces {open_set}", "open set", open_set, [*REGISTRIES, "study"], then))
    for name, registry in REGISTRIES.items():
        if open_set in (None, name):
            print(f"{name}:")
            for each, piece in sorted(registry.pieces.items()):
                options = ", ".join(f"{key} = {'(required)' if option.required else shown(option.default)}"
                                    for key, option in piece.options.items())
                names = ", ".join((each, *piece.aliases))
                print(visible(f"  {names}{f'  [{options}]' if options else ''}\n      {piece.claim}"))
            if open_set:
                print("takes by name:", *(f"  {key}: {says}" for key, says in registry.offers.items()), sep="\n")
    return 0


def data(action: str | None = None, name: str | None = None, data: str | None = None,
         mirrors: Sequence[str] = ()) -> int:
    """Say which data sets are here, or fetch one."""
    if action == "fetch":
        if not name:
            raise UserError("data fetch: say which, as in `sweepstake data fetch mnist`. "
                            "`sweepstake data` lists them.")
        with Downloads(Terminal()) as bars:
            paths = fetch(name, Path(data) if data else fetched_data(), list(mirrors) or None, bars)
        print(*paths, sep="\n")
        return 0
    directories = data_directories(data)
    for row in data_status(directories):
        print(row.name, row.state, row.where or row.how, f"{row.size / 1e6:.1f} MB" if row.size else "", sep="\t")
    Terminal().print("looked in: " + ", ".join(map(str, directories)), style="dim")
    return 0


def _present(wanted: dict[str, Pair], data: str | Path | None, said: bool) -> tuple[dict[str, Pair], list[str]]:
    """The pairs whose data set is here, and a line for each other one; refused where it was asked for by name."""
    directories = data_directories(data)
    how = {name: lacking_data(pair.dataset, directories) for name, pair in wanted.items()}
    absent = [f"{name}: {wanted[name].dataset} is not here, so this pair is left out. Get it with `{get}`, or say "
              "where it lies with --data DIR." for name, get in how.items() if get]
    if absent and (said or len(absent) == len(wanted)):
        quick = "--quick needs no data: it compares on the digits inside the package."
        raise UserError(*absent, *([] if said else [quick]))
    return {name: pair for name, pair in wanted.items() if not how[name]}, absent


def _run(study: Study, out: str | None, log: Sequence[str], asked: Asked) -> int:
    console = Terminal()
    settings = Settings.of(study, **asked)
    data_directories(asked.get("data"))  # A folder that is not there is refused, even if nothing is left to compute.
    opened = _computed(study, settings, console, log)
    if isinstance(opened, int):
        return opened
    return _report(opened, out, console, settings.data, ran=True, waited=settings.wait)


def _computed(study: Study, settings: Settings, console: Terminal, log: Sequence[str] = ()) -> Opened | int:
    """What the store lacks of a study, computed; or the exit code, where Ctrl-C or a signal stopped it."""
    terminal.tell_changes(study, console)
    if there := open_if_there(study, settings.store):
        terminal.tell_changed(there, console)
        terminal.tell_other_text(there, console)
    progress, logger = display(console), logger_of(log, study, settings.store, console)

    def on_event(event: Event) -> None:
        if isinstance(event, Foreseen):
            for line in heed(study, event.cells):
                console.print(line, style="yellow")
        progress(event)
        logger(event)

    try:
        with logger, progress:
            return compute(study, settings, on_event)
    except KeyboardInterrupt as stop:
        terminal.tell_stopped(open_study(study, settings.store), sys.argv[1:], console)
        return exit_code(stop)


def _report(opened: Opened, out: str | None, console: Terminal, data: str | Path | None, *, ran: bool = False,
            waited: bool = True) -> int:
    """The table and the verdicts to people, the report to a file, its path to stdout.

    After a run nothing may miss, but for what other runs compute, where it has not waited for them.
    """
    statuses = Counter(result["status"] for result in opened.results)
    whole = any(result["rounds"] for result in opened.results)
    bad = bool(statuses["failed"] or statuses["damaged"])
    terminal.tell_results(opened, console, ran=ran and waited)
    if ran and not waited:
        terminal.tell_held(opened, console)
    if not whole and ran and not waited and not bad:
        return 0
    if not whole:
        console.print("Nothing is finished yet, so there is no report." if ran or bad
                      else nothing(opened))
        return 1 if ran or bad else 3
    page = write_report(opened.study, opened.results, out, opened.store, data)
    console.print("report:", end=" ")
    console.file.flush()
    print(page, flush=True)
    lacks = ran and waited and statuses["missing"] > 0
    return int(bad or statuses["diverged"] == len(opened.results) or lacks)


def _load(study: str, overrides: Sequence[str], quick: bool) -> Study:
    return load_study(study, overrides=overrides, quick=quick, before_plugins=_tell_plugins)


def _tell_plugins(paths: Sequence[Path]) -> None:
    """Name the plug-ins, with their hashes, before any of their code runs."""
    files = [path for path in paths if path.is_file()]
    named = [f"{path.name} (sha256 {hash_of(path.read_bytes())})" for path in files]
    if named:
        Terminal().print(f"Plug-ins are Python code that runs with your rights: {', '.join(named)}. "
                         "Use only those that you have read, or whose author you trust.", style="dim", soft_wrap=True)
